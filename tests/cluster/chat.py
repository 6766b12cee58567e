"""The chat on several nodes: one room, whose users see each other and write to each other wherever they are.

    python tests/cluster/chat.py BINARY [--redis one|list|cluster] [NAME ...]

As cluster.py, by which it is run. Needs Python's websockets.
"""

import json
import re
import signal
import sys
import time

import cluster
from cluster import until
from upgrades import Successor
from websockets.sync.client import connect

LISTENERS = """
[[listen]]
url = "websocket://127.0.0.1:0"
app = "chat"
{limits}
[[listen]]
url = "text://127.0.0.1:0"
app = "chat"
{limits}
"""


def room(limits=""):
    return LISTENERS.format(limits=limits)


def chat_ports(node):
    def found():
        found = re.findall(r"chat\s+(\w+)://127\.0\.0\.1:(\d+)", node.said())
        return {"text" if kind == "text" else "websocket": int(port) for kind, port in found}

    return until("its chat", lambda: len(found()) == 2 and found())


class User:
    """A user of the room, by websocket or by lines."""

    def __init__(self, node, name, by="websocket"):
        self.name, self.roster, self.rosters, self.heard = name, None, 0, []
        port = chat_ports(node)[by]
        if by == "websocket":
            self.connection = connect(f"ws://127.0.0.1:{port}", max_size=None, max_queue=None, compression=None)
            self.send, address = self.connection.send, self.connection.socket.getsockname()
        else:
            self.connection = cluster.Line(port)
            self.send, address = self.connection.send, self.connection.socket.getsockname()
        self.by, self.address = by, "%s:%s" % address
        self.send(f"login:{name}")
        for expected in ("notice:success", f"msg:welcome {name}"):
            told = self.receive(cluster.PATIENCE)
            assert told == expected, told
        until(f"a roster for {name}", lambda: self.take() or self.rosters)

    def receive(self, patience):
        if self.by == "websocket":
            return self.connection.recv(patience)
        self.connection.socket.settimeout(patience)
        try:
            return self.connection.receive()
        finally:
            self.connection.socket.settimeout(cluster.PATIENCE)

    def take(self):
        """Takes what has come."""
        while True:
            try:
                told = self.receive(0.02 if self.by == "websocket" else cluster.PATIENCE)
            except TimeoutError:
                return
            if not told.startswith("users:"):
                self.heard.append(told)
            else:
                self.roster = json.loads(told.removeprefix("users:"))
                self.rosters += 1
                # Whatever happens to the others.
                assert self.roster.get(self.address) == self.name, (self.address, self.roster)
            if self.by != "websocket":
                return

    def sees(self, *users):
        wanted = {user.address: user.name for user in users}

        def seen():
            if self.roster != wanted:
                self.take()
            return self.roster == wanted

        try:
            until("the users", seen, 30)
        except AssertionError:
            raise AssertionError(f"{self.name} sees {self.roster}, not {wanted}") from None

    def says(self, to, text):
        self.send(f"chat:<{to.address}>:{text}")

    def hears(self, *messages):
        def heard():
            if self.heard != list(messages):
                self.take()
            return self.heard == list(messages)

        try:
            until("the messages", heard, 30)
        except AssertionError:
            raise AssertionError(f"{self.name} has heard {self.heard}, not {messages}") from None
        self.heard = []

    def close(self):
        self.connection.close()


def nodes_of(scope, *cores, limits="", more=""):
    redis = scope.redis()
    nodes = [scope.node(redis, cores=number, more=room(limits), first=more) for number in cores]
    for node in nodes:
        node.settles()
    return redis, nodes


def all_see(*users):
    for user in users:
        user.sees(*users)


def one_room_on_three_nodes(scope):
    _, (one, two, three) = nodes_of(scope, 1, 2, 2)
    ann = User(one, "ann")
    ann.sees(ann)
    bert = User(two, "bert")
    all_see(ann, bert)
    carl, dora = User(three, "李雷_"), User(three, "dora", by="text")
    all_see(ann, bert, carl, dora)
    # From each to each, in order.
    everybody = (ann, bert, carl, dora)
    for sender in everybody:
        for receiver in everybody:
            for number in range(3):
                sender.says(receiver, f"{sender.name}: {number}")
    for receiver in everybody:
        until("all of them", lambda receiver=receiver: receiver.take() or len(receiver.heard) >= 12, 30)
        for sender in everybody:
            own = [text for text in receiver.heard if text.startswith(f"msg:{sender.name}: ")]
            assert own == [f"msg:{sender.name}: {number}" for number in range(3)], receiver.heard
        assert len(receiver.heard) == 12, receiver.heard
        receiver.heard = []
    # What is said to nobody, and to one who has gone.
    ann.send("chat:<127.0.0.1:1>:x")
    ann.hears("notice:error no such user")
    bert.close()
    all_see(ann, carl, dora)
    ann.says(bert, "too late")
    ann.hears("notice:error no such user")
    # A client of another app that is in a group of the room's name is not in the room.
    other = one.client("stranger")
    assert one.post("/v1/groups/users-0/join", {"uid": "stranger"})["connections"] == 1
    # To a node where nobody was any more, and many who come and go.
    bert = User(two, "bert")
    for number in range(5):
        passing = [User(node, f"passing_{number}") for node in (one, two, three)]
        for user in passing[number % 3 :]:
            user.close()
        for user in passing[: number % 3]:
            user.close()
    last = User(one, "last")
    all_see(ann, bert, carl, dora, last)
    other.send("x")
    assert one.post("/v1/push", {"uid": "stranger", "text": "end"})["connections"] == 1
    assert other.receive() == "end"


def a_node_that_is_gone_takes_its_users_along(scope):
    _, (one, two, three) = nodes_of(scope, 2, 1, 2)
    ann, bert, carl = User(one, "ann"), User(two, "bert"), User(three, "carl")
    all_see(ann, bert, carl)
    two.signal(signal.SIGTERM)
    all_see(ann, carl)
    three.kill()
    all_see(ann)
    ann.says(carl, "x")
    ann.hears("notice:error no such user")


def redis_may_go_and_come(scope):
    redis, (one, two) = nodes_of(scope, 1, 2)
    ann, bert, carl = User(one, "ann"), User(two, "bert"), User(two, "carl")
    all_see(ann, bert, carl)
    redis.kill()
    until("it is noticed", lambda: all(node.is_away() for node in (one, two)))
    # Each goes on with its own users, beside those that it knows of.
    dora = User(one, "dora")
    ann.sees(ann, bert, carl, dora)
    dora.sees(ann, bert, carl, dora)
    ann.says(dora, "here")
    dora.hears("msg:here")
    carl.close()
    bert.sees(ann, bert)
    scope.redis(port=redis.port)
    for node in (one, two):
        node.joins(2)
    all_see(ann, bert, dora)
    dora.says(bert, "there")
    bert.hears("msg:there")


def limits_are_each_nodes_and_close_nobody(scope):
    """The room's users fit each node's outboxes, but not all of them together."""
    limits = 'outbox_bytes_max = "2 KiB"\nmessage_bytes_max = "256 B"\n'
    _, nodes = nodes_of(scope, 1, 2, limits=limits, more="chat.users_max = 15\n")
    users = [[User(node, f"user_{at}_{'x' * 9}{number:02}") for number in range(15)] for at, node in enumerate(nodes)]
    for own, others in (users, users[::-1]):
        wanted = {user.address: user.name for user in own}
        everybody = wanted | {user.address: user.name for user in others}
        last = own[-1]

        def shown(last=last, wanted=wanted):
            last.take()
            return wanted.items() <= last.roster.items() and len(last.roster) > len(wanted)

        until("some of the others", shown, 30)
        assert last.roster.items() < everybody.items(), last.roster
        assert len("users:" + json.dumps(last.roster, separators=(",", ":"))) <= 1024
    line = cluster.Line(chat_ports(nodes[0])["text"])
    assert line.ask("login:one_more") == "notice:error room is full"
    # They can all be written to.
    for user in users[1]:
        users[0][0].says(user, "hello")
    for user in users[1]:
        user.hears("msg:hello")


def an_upgrade_is_not_seen(scope):
    _, (one, two) = nodes_of(scope, 2, 1, more='upgrade_timeout = "1m"\n')
    ann, anton = User(one, "ann"), User(one, "anton")
    bert = User(two, "bert")
    all_see(ann, anton, bert)
    rosters = [user.rosters for user in (ann, anton, bert)]
    one.pid = one.running.pid
    Successor(scope, one)
    for user in (ann, anton):
        user.says(bert, user.name)
    until("both", lambda: bert.take() or len(bert.heard) == 2)
    bert.says(ann, "back")
    ann.hears("msg:back")
    time.sleep(2)
    for user, before in zip((ann, anton, bert), rosters):
        user.sees(ann, anton, bert)
        assert user.rosters == before, (user.name, before, user.rosters)
    anton.close()
    all_see(ann, bert)


TESTS = [
    one_room_on_three_nodes,
    a_node_that_is_gone_takes_its_users_along,
    redis_may_go_and_come,
    limits_are_each_nodes_and_close_nobody,
    an_upgrade_is_not_seen,
]


if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
