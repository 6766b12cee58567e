"""Who is in a group of a cluster, as members on all nodes are told: each hears of each once, and there are no ghosts.

    python3 tests/cluster/presence.py BINARY [--redis one|list|cluster] [NAME ...]

As cluster.py, by which it is run.
"""

import base64
import json
import os
import random
import signal
import socket
import struct
import sys
import time

import cluster
from cluster import PATIENCE, until

ROOMS = """
paths = {{ "/ws" = "push" }}
roles = ["page", "api", "events", "websocket"]

[[groups]]
name = "*"
public = true
presence = true
presence_grace = "{grace}"
"""


def rooms(grace="0s"):
    return ROOMS.format(grace=grace)


class Member:
    """A client of ringpost.v1 by websocket: who is there, put together of the list and of what is told."""

    def __init__(self, node, uid, group="room"):
        self.uid, self.group, self.pending = uid, group, b""
        self.members, self.told, self.lists, self.complete = {}, [], 0, None
        # The list is to come: which piece of it, if any. What is told before is in it.
        self.awaited = "first"
        self.socket = socket.create_connection(("127.0.0.1", node.ports["page"]), timeout=PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: ringpost.v1\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.pending:
            self.more()
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        assert b" 101 " in head, head
        self.send({"type": "bind", "uid": uid, "groups": {group: None}})
        until(f"the list of {uid}", lambda: self.take(1) and self.lists)

    def more(self):
        piece = self.socket.recv(65_536)
        assert piece, f"{self.uid}: the connection ended"
        self.pending += piece

    def send(self, frame):
        text, mask = json.dumps(frame).encode(), os.urandom(4)
        size = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(text))
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        self.socket.sendall(b"\x81" + size + mask + masked)

    def frame(self):
        """The next whole one of what has come."""
        if len(self.pending) < 2:
            return None
        size, at = self.pending[1] & 127, 2
        if size == 126:
            at = 4
            size = int.from_bytes(self.pending[2:4], "big") if len(self.pending) >= 4 else 1 << 60
        elif size == 127:
            at = 10
            size = int.from_bytes(self.pending[2:10], "big") if len(self.pending) >= 10 else 1 << 60
        if len(self.pending) < at + size:
            return None
        kind, body = self.pending[0] & 15, self.pending[at : at + size]
        self.pending = self.pending[at + size :]
        return json.loads(body) if kind == 1 else {"type": None}

    def take(self, patience=0.01):
        """Takes what comes within that time."""
        self.socket.settimeout(patience)
        try:
            self.more()
        except TimeoutError:
            pass
        self.socket.settimeout(PATIENCE)
        while (frame := self.frame()) is not None:
            if frame["type"] == "members":
                self.lists += 1
                if self.awaited == "first":
                    self.members = {}
                self.members.update(frame["members"])
                self.complete = frame.get("complete", True)
                self.awaited = None if frame["cursor"] is None else "next"
                if self.awaited:
                    self.send({"type": "presence", "id": 1, "group": self.group, "limit": 1000, "cursor": frame["cursor"]})
            elif frame["type"] == "presence":
                self.told.append(frame)
                for name in frame["left"]:
                    was_there = self.members.pop(name, None) is not None
                    assert was_there or self.awaited, f"{self.uid}: {name} left twice: {self.told}"
                for name in frame["joined"]:
                    self.members.setdefault(name, 1)
        return True

    def sees(self, *names):
        def seen():
            self.take()
            return set(self.members) == set(names)

        try:
            until("they are there", seen, 25)
        except AssertionError:
            raise AssertionError(f"{self.uid} sees {sorted(self.members)}, not {names}") from None

    def ask(self):
        """The list anew."""
        lists, self.awaited = self.lists, "first"
        self.send({"type": "presence", "id": 1, "group": self.group, "limit": 1000, "cursor": None})
        until("a list", lambda: self.take() and self.lists > lists)
        return self.members

    def heard(self, kind, name):
        self.take()
        return sum(frame[kind].count(name) for frame in self.told)

    def close(self):
        self.socket.close()


def three(scope, grace="0s"):
    redis = scope.redis()
    nodes = [scope.node(redis, cores=cores, more=rooms(grace)) for cores in (1, 2, 2)]
    for node in nodes:
        node.settles()
    return redis, nodes


def members_see_each_other_on_all_nodes(scope):
    _, (one, two, three_) = three(scope)
    ann = Member(one, "ann")
    ann.sees("ann")
    bert = Member(two, "bert")
    # The list has whom the others have.
    assert set(bert.members) >= {"ann"} and bert.complete, (bert.members, bert.complete)
    bert.sees("ann", "bert")
    ann.sees("ann", "bert")
    carl = Member(three_, "carl")
    for each in (ann, bert, carl):
        each.sees("ann", "bert", "carl")
    # A second connection elsewhere is no news, and is counted.
    again = Member(three_, "ann")
    until("both are counted", lambda: bert.ask().get("ann") == 2)
    assert bert.complete
    again.close()
    until("one is left", lambda: bert.ask().get("ann") == 1)
    for each in (ann, bert, carl):
        assert each.heard("left", "ann") == 0, each.told
        assert each.heard("joined", "ann") <= 1, each.told
    ann.close()
    for each in (bert, carl):
        each.sees("bert", "carl")
        assert each.heard("left", "ann") == 1
    # Who comes to a node again where nobody was any more.
    ann = Member(one, "ann")
    for each in (ann, bert, carl):
        each.sees("ann", "bert", "carl")


def who_changes_nodes_in_time_has_not_left(scope):
    redis = scope.redis()
    one, two = (scope.node(redis, cores=1, more=rooms("20s")) for _ in range(2))
    ann, bert = Member(one, "ann"), Member(two, "bert")
    for each in (ann, bert):
        each.sees("ann", "bert")
    # It ends first, and comes back elsewhere; and the other way round.
    bert.close()
    time.sleep(0.3)
    bert = Member(one, "bert")
    assert set(bert.members) == {"ann", "bert"}
    again = Member(two, "bert")
    bert.close()
    until("it is on the other node alone", lambda: ann.ask() == {"ann": 1, "bert": 1})
    again.sees("ann", "bert")
    assert ann.heard("left", "bert") == 0 and ann.heard("joined", "bert") <= 1, ann.told


def a_node_that_is_gone_leaves_no_ghosts(scope):
    _, nodes = three(scope)
    one = nodes[0]
    ann = Member(one, "ann")
    others = [Member(nodes[1], "bert"), Member(nodes[2], "carl")]
    ann.sees("ann", "bert", "carl")
    # One that ends says so.
    nodes[1].signal(signal.SIGTERM)
    ann.sees("ann", "carl")
    # One that is frozen is silent, and comes back.
    nodes[2].signal(signal.SIGSTOP)
    ann.sees("ann")
    dora = Member(one, "dora")
    nodes[2].signal(signal.SIGCONT)
    ann.sees("ann", "carl", "dora")
    others[1].sees("ann", "carl", "dora")
    # One that is killed cannot say anything.
    nodes[2].kill()
    ann.sees("ann", "dora")
    until("the list is whole", lambda: set(dora.ask()) == {"ann", "dora"} and dora.complete)
    heard = [ann.heard("joined", "carl"), ann.heard("left", "carl"), ann.heard("left", "bert")]
    assert heard == [2, 2, 1], ann.told


def redis_may_go_and_come(scope):
    redis, (one, two, _) = three(scope)
    ann, bert, carl = Member(one, "ann"), Member(two, "bert"), Member(two, "carl")
    for each in (ann, bert, carl):
        each.sees("ann", "bert", "carl")
    redis.kill()
    until("it is noticed", lambda: all(node.is_away() for node in (one, two)))
    # Whoever was there stays, and the list says that it may not be right.
    assert set(ann.ask()) == {"ann", "bert", "carl"} and ann.complete is False
    carl.close()
    dora = Member(two, "dora")
    bert.sees("ann", "bert", "dora")
    # A group that begins meanwhile is what is here.
    emil = Member(one, "emil", group="later")
    assert set(emil.members) == {"emil"} and emil.complete is False, emil.members
    fred = Member(two, "fred", group="later")
    scope.redis(port=redis.port)
    for node in (one, two):
        node.joins(2)
    for each in (ann, bert, dora):
        each.sees("ann", "bert", "dora")
    for each in (emil, fred):
        each.sees("emil", "fred")
    until("all have told", lambda: set(ann.ask()) == {"ann", "bert", "dora"} and ann.complete)
    assert ann.heard("left", "bert") == 0 and ann.heard("left", "carl") == 1, ann.told


def a_large_list_comes_whole(scope):
    redis = scope.redis()
    one, two = (scope.node(redis, cores=2, more=rooms()) for _ in range(2))
    two.settles()
    names = [f"{'member' * 12} {number:04}" for number in range(1_200)]
    crowd = [Member(one, name) for name in names[:1]]
    crowd += [Quiet(one, name) for name in names[1:]]
    until("they are there", lambda: len(crowd[0].ask()) == len(names), PATIENCE)
    bert = Member(two, "bert")
    until("the pages", lambda: bert.take() and len(bert.members) >= len(names))
    bert.sees("bert", *names)
    # Those who were there are no news.
    assert bert.complete and all(frame["joined"] == ["bert"] for frame in bert.told), bert.told


class Quiet:
    """One who takes nothing of what it is told."""

    def __init__(self, node, uid, group="room"):
        self.socket = socket.create_connection(("127.0.0.1", node.ports["page"]), timeout=PATIENCE)
        uid = uid.replace(" ", "%20")
        self.socket.sendall(f"GET /v1/events?uid={uid}&group={group} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def close(self):
        self.socket.close()


def connections_end_amid_comings_and_goings(scope, seed):
    """Users come and go on three nodes, whose connections to Redis end again and again; a node is killed and started anew."""
    generator = random.Random(seed)
    redis, nodes = three(scope)
    watchers = [Member(node, f"watcher{at}") for at, node in enumerate(nodes)]
    there, killed = {}, False
    for step in range(150):
        at, kind = generator.randrange(3), generator.random()
        if kind < 0.55:
            uid = f"user{generator.randrange(12)}"
            if (at, uid) not in there:
                there[at, uid] = Quiet(nodes[at], uid)
        elif kind < 0.9 and there:
            key = generator.choice(list(there))
            there.pop(key).close()
        elif kind < 0.96:
            redis.ask("CLIENT", "KILL", "TYPE", generator.choice(["normal", "pubsub"]), "SKIPME", "yes")
        elif not killed and step > 60:
            killed = True
            nodes[2].kill()
            watchers[2] = None
            for key in [key for key in there if key[0] == 2]:
                there.pop(key)
            nodes[2] = scope.node(redis, cores=1, more=rooms())
            watchers[2] = Member(nodes[2], "watcher2")
        if generator.random() < 0.3:
            time.sleep(generator.random() * 0.1)
        for watcher in watchers:
            watcher.take(0.001)
    wanted = {uid for _, uid in there} | {f"watcher{at}" for at in range(3)}
    for watcher in watchers:
        watcher.sees(*wanted)
        until("whole", lambda watcher=watcher: set(watcher.ask()) == wanted and watcher.complete)


def comings_and_goings_1(scope):
    connections_end_amid_comings_and_goings(scope, 1)


def comings_and_goings_2(scope):
    connections_end_amid_comings_and_goings(scope, int(os.environ.get("SEED", time.time())))


TESTS = [
    a_node_that_is_gone_leaves_no_ghosts,
    members_see_each_other_on_all_nodes,
    who_changes_nodes_in_time_has_not_left,
    redis_may_go_and_come,
    a_large_list_comes_whole,
    comings_and_goings_1,
    comings_and_goings_2,
]


if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
