"""Nodes of a cluster and a real Redis, which is killed, frozen and lied to.

    python3 tests/cluster/cluster.py BINARY [--redis one|list|cluster] [--clock +1h] [NAME ...]

Starts both on free ports, for each test its own; $REDIS is the server, or the first redis-server on the PATH. With names
it runs those tests alone, and with `--redis` all of them over a list of three Redis or a Redis Cluster of three masters, but
for those that are about one. With `--clock` that of every second node is off by as much (faketime). Needs Python alone, and ends with a line "N passed, N failed".
"""

import argparse
import glob
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from servers import KINDS, PATIENCE, Process, Redis, RedisCluster, RedisList, free_port, until

# Tests at a time: each has a few processes that mostly wait.
SLOTS = 3

BINARY = None
# Which kind of Redis `Scope.redis` gives.
KIND = "one"
# How much the clock of every second node is off, as faketime has it.
CLOCK = None

NODE = """
cores = {cores}
# A test's client may be slow to read.
outbox_bytes_max = "64 MiB"

[cluster]
redis = "{redis}"
{cluster}
[[listen]]
url = "text://127.0.0.1:0"
app = "push"

[[listen]]
url = "text://127.0.0.1:0"
app = "relay"

[[listen]]
url = "text://127.0.0.1:0"
app = "push-backend"

[[listen]]
url = "http://127.0.0.1:0"
app = "page"
{more}"""


class Node(Process):
    """A node that serves; `cluster`, `first` and `more` are lines of its file, `second` another app than relay."""

    def __init__(self, scope, redis, cores=1, cluster="", more="", first="", second="relay", joins=True, links=1):
        scope.count += 1
        if CLOCK and scope.count % 2 == 0:
            # The time of day alone: that since the machine has started is the same for all.
            faked = {"LD_PRELOAD": fake_time(), "FAKETIME": CLOCK, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
            self.variables = self.variables | faked
        path = f"{scope.place}/node{scope.count}.toml"
        with open(path, "w", encoding="utf-8") as file:
            text = NODE.format(cores=cores, redis=redis, cluster=cluster, more=more)
            file.write(first + text.replace('app = "relay"', f'app = "{second}"'))
        super().__init__(scope, BINARY, "serve", "--config", path)
        self.links = links
        self.ports = until("its listeners", self.listeners)
        if joins:
            self.joins()

    def listeners(self):
        assert self.running.poll() is None, f"the node ended: {self.said()}"
        found = re.findall(r"(push|relay|push-backend|page)\s+\w+://127\.0\.0\.1:(\d+)(?!\d|/\w)", self.said())
        return {app: int(port) for app, port in found} if len(found) == 4 else None

    def joins(self, times=1):
        """So many times; where there are several Redis, all of them now."""
        until("it joins", lambda: self.said().count("cluster: joined") >= times)
        if self.links > 1:
            until("it joins all", lambda: self.http("GET", "/readyz") == (200, "ready\n"))

    def is_away(self):
        """From each Redis; from a single one now, or once."""
        if self.links == 1:
            return "cluster: away" in self.said()
        return all(it["away"] for it in self.get("/v1/nodes")["redis"])

    def settles(self):
        """Waits until it is sure of who is not there: a Redis that has just started may have had other nodes before."""
        for uid in ["nobody", *(f"nobody{number}" for number in range(0 if self.links == 1 else 24))]:
            until("it is sure", lambda uid=uid: self.backend_says(f"online {uid}") == "fail")

    def client(self, uid, app="push"):
        client = Line(self.ports[app])
        client.send(uid)
        if app == "relay":
            assert client.receive() == f"login success, your uid is {uid}"
        else:
            until(f"{uid} online", lambda: self.backend_says(f"online {uid}") == "ok")
        return client

    def backend(self):
        return Line(self.ports["push-backend"])

    def backend_says(self, line):
        return self.backend().ask(line)

    def http(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["page"], timeout=PATIENCE)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def post(self, path, body, status=200):
        found, text = self.http("POST", path, body)
        assert found == status, f"{path} {body}: {found} {text}"
        return json.loads(text)

    def get(self, path):
        found, text = self.http("GET", path)
        assert found == 200, f"{path}: {found} {text}"
        return json.loads(text)

    def knows(self, uid, connections=1):
        """Waits until it hears from all nodes that the uid has so many."""
        path = f"/v1/uids/{uid}"
        until(f"{uid} on {connections}", lambda: self.get(path)["connections"] == connections)


def fake_time():
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    assert found, "libfaketime is not here; tests/packages --all installs it"
    return found[0]


class Line:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def send(self, text):
        self.socket.sendall(f"{text}\n".encode())

    def receive(self):
        line = self.file.readline()
        assert line.endswith(b"\n"), f"the connection ended after {line}"
        return line.decode().rstrip("\n")

    def ask(self, text):
        self.send(text)
        return self.receive()

    def ends(self):
        assert self.file.readline() == b"", "it goes on"

    def close(self):
        # The file holds the socket, too.
        self.file.close()
        self.socket.close()


class Scope:
    """What a test has started."""

    def __init__(self, place):
        self.place, self.processes, self.count = place, [], 0

    def redis(self, *more, port=None):
        """One of the kind that the tests are run with, or those in whose place it is; with options a single one."""
        match port:
            case None:
                kind = Redis if more else KINDS[KIND]
            case tuple():
                kind = RedisCluster if isinstance(port[0], tuple) else RedisList
            case _:
                kind = Redis
        return kind(self, *more, port=port)

    def node(self, redis, **named):
        """Of the Redis, the one at a port, or that of a URL."""
        if isinstance(redis, str):
            return Node(self, redis, **named)
        if isinstance(redis, int):
            return Node(self, f"redis://127.0.0.1:{redis}", **named)
        return Node(self, redis.url(), links=redis.links, **named)

    def pair(self, **named):
        redis = self.redis()
        one, two = self.node(redis, cores=1, **named), self.node(redis, cores=2, **named)
        one.settles()
        two.settles()
        return redis, one, two


def not_over(*kinds, why):
    """A test that is not run over such kinds of Redis."""

    def marks(test):
        test.not_over, test.why = kinds, why
        return test

    return marks


def documented_rights():
    """What docs/cluster.md says that a user of Redis needs."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/cluster.md")
    with open(page, encoding="utf-8") as file:
        rights = file.read().split("ACL SETUSER ringpost on >PASSWORD ")[1].split("```")[0].split()
    return rights + (["+cluster|slots"] if KIND == "cluster" else [])


def verdict(node, uid, text="x"):
    return node.post("/v1/push", {"uid": uid, "text": text})["verdicts"][uid]


def a_push_reaches_users_of_other_nodes(scope):
    _, one, two = scope.pair()
    here, there, again = one.client("anna"), two.client("bert"), two.client("carl")
    both = [one.client("dora"), two.client("dora")]
    for uid in ("anna", "bert", "carl"):
        one.knows(uid)
        two.knows(uid)
    one.knows("dora", 2)
    # A line.
    assert one.backend_says('{"uid":"bert","n":1}') == "ok"
    assert there.receive() == '{"uid":"bert","n":1}'
    assert two.backend_says('{"uid":"anna","n":1}') == "ok"
    assert here.receive() == '{"uid":"anna","n":1}'
    assert one.backend_says('{"uid":"nobody","n":1}') == "fail"
    assert one.backend_says("online bert") == "ok" and one.backend_says("online nobody") == "fail"
    # A uid, wherever its connections are.
    told = one.post("/v1/push", {"uid": "dora", "text": "hi"})
    assert told == {"verdicts": {"dora": "delivered"}, "connections": 2}, told
    assert [client.receive() for client in both] == ["hi", "hi"]
    # Several.
    uids = ["anna", "bert", "nobody", "carl"]
    told = two.post("/v1/push", {"uids": uids, "text": "to some"})
    wanted = dict.fromkeys(uids, "delivered") | {"nobody": "offline"}
    assert told == {"verdicts": wanted, "connections": 3}, told
    assert [client.receive() for client in (here, there, again)] == ["to some"] * 3
    # Everybody, but for some.
    told = one.post("/v1/broadcast", {"text": "to all", "except": {"uids": ["carl", "dora"]}})
    assert told == {"connections": 2}, told
    assert [client.receive() for client in (here, there)] == ["to all"] * 2
    assert one.backend_says('{"uid":"all","n":2}') == "ok"
    for client in (here, there, again, *both):
        assert client.receive() == '{"uid":"all","n":2}'
    told = one.get("/v1/uids/dora")
    assert told["complete"] is True and len(told["list"]) == 2, told
    assert one.get("/v1/uids/anna")["complete"] is True


def groups_span_nodes(scope):
    _, one, two = scope.pair()
    here, there, apart = one.client("anna"), two.client("bert"), two.client("carl")
    for uid in ("anna", "bert", "carl"):
        one.knows(uid)
    # By whichever node a join is asked for.
    for node, uid in ((two, "anna"), (one, "bert")):
        two.knows(uid)
        told = node.post("/v1/groups/room/join", {"uid": uid})
        assert told == {"connections": 1, "refused": 0}, told

    def reached():
        return one.post("/v1/push", {"group": "room", "text": "probe"})["connections"] == 2

    until("the group spans both", reached)
    while here.receive() != "probe" or there.receive() != "probe":
        pass
    told = two.post("/v1/push", {"group": "room", "text": "to the room"})
    assert told == {"connections": 2}, told
    for client in (here, there):
        while (text := client.receive()) != "to the room":
            assert text == "probe", text
    assert one.post("/v1/groups/room/leave", {"uid": "bert"}) == {"connections": 1}
    assert two.post("/v1/push", {"group": "room", "text": "one left"}) == {"connections": 1}
    assert here.receive() == "one left"
    assert one.post("/v1/push", {"group": "empty", "text": "x"}) == {"connections": 0}
    assert verdict(one, "carl") == "delivered" and apart.receive() == "x"


def a_kick_and_a_connection_by_its_id(scope):
    _, one, two = scope.pair()
    there, other = two.client("bert"), two.client("bert2")
    one.knows("bert")
    one.knows("bert2")
    name = two.get("/v1/uids/bert2")["list"][0]["connection"]
    told = one.post("/v1/push", {"connection": name, "text": "by its id"})
    assert told["verdicts"] == {name: "delivered"}, told
    assert other.receive() == "by its id"
    assert one.get(f"/v1/connections/{name}")["uid"] == "bert2"
    assert one.post("/v1/kick", {"uid": "bert", "text": "bye"}) == {"connections": 1}
    assert there.receive() == "bye"
    there.ends()
    assert one.post("/v1/kick", {"connection": name}) == {"connections": 1}
    other.ends()
    assert one.post("/v1/kick", {"uid": "bert"}) == {"connections": 0}
    told = one.post("/v1/push", {"connection": name, "text": "too late"})
    assert told["verdicts"] == {name: "offline"}, told


def clients_of_relay_talk_across_nodes(scope):
    _, one, two = scope.pair()
    here, there = one.client("anna", "relay"), two.client("bert", "relay")
    one.knows("bert")
    two.knows("anna")
    here.send("bert:hello:there")
    assert there.receive() == "hello:there"
    there.send("anna:and back")
    assert here.receive() == "and back"
    here.send("nobody:x")
    assert here.receive() == 'error: uid "nobody" is not online'
    there.send("all:everybody")
    assert here.receive() == "everybody" and there.receive() == "everybody"


@not_over("list", "cluster", why="there is no order between what goes by two of them")
def what_one_sends_comes_in_its_order(scope):
    _, one, two = scope.pair()
    client = two.client("bert")
    one.knows("bert")
    one.post("/v1/groups/room/join", {"uid": "bert"})
    push = {"group": "room", "text": "probe"}
    until("the group", lambda: one.post("/v1/push", push)["connections"] == 1)
    count = 600
    # To the uid, its group and everybody in turn, each by another channel.
    targets = [{"push": {"uid": "bert"}}, {"push": {"group": "room"}}, {"broadcast": {}}]
    batch = []
    for number in range(count):
        [(kind, target)] = targets[number % 3].items()
        batch.append({kind: target | {"text": f"n{number}"}})
    answers = one.post("/v1/batch", batch)["answers"]
    assert all(answer["connections"] == 1 for answer in answers), answers
    found = []
    while len(found) < count:
        text = client.receive()
        if text != "probe":
            found.append(text)
    assert found == [f"n{number}" for number in range(count)]


def a_flood_arrives_whole(scope):
    _, one, two = scope.pair()
    client, backend = two.client("bert"), one.backend()
    one.knows("bert")
    count, pad = 20_000, "x" * 200

    def write():
        lines = (f'{{"uid":"bert","n":{number},"pad":"{pad}"}}\n' for number in range(count))
        backend.socket.sendall("".join(lines).encode())

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(count):
        assert json.loads(client.receive())["n"] == number
    assert [backend.receive() for _ in range(count)] == ["ok"] * count
    writer.join()


def while_redis_is_away_verdicts_are_unknown(scope):
    redis, one, two = scope.pair()
    here, there = one.client("anna"), two.client("bert")
    one.knows("bert")
    assert one.http("GET", "/readyz") == (200, "ready\n")
    redis.kill()
    until("it is noticed", lambda: one.is_away())
    assert verdict(one, "anna") == "delivered" and here.receive() == "x"
    told = one.post("/v1/push", {"uids": ["anna", "bert"], "text": "y"})
    assert told["verdicts"] == {"anna": "delivered", "bert": "unknown"}, told
    assert told["nodes_unknown"] == 1 and here.receive() == "y", told
    assert one.backend_says('{"uid":"bert"}') == "fail: unknown, the cluster's Redis is away"
    assert one.backend_says('{"uid":"anna"}') == "ok"
    assert one.backend_says("online bert").startswith("fail: unknown, ")
    told = one.post("/v1/broadcast", {"text": "z"})
    assert told == {"connections": 1, "nodes_unknown": 1}, told
    status, text = one.http("GET", "/readyz")
    assert status == 200 and "Redis is away" in text, text
    # It comes back, knowing nothing.
    redis = scope.redis(port=redis.port)
    for node in (one, two):
        node.joins(2)
    until("bert is found again", lambda: verdict(one, "bert") == "delivered")
    while there.receive() != "x":
        pass
    assert one.http("GET", "/readyz") == (200, "ready\n")
    time.sleep(0.2)
    # A master of a Redis Cluster may answer before all of it is well.
    assert KIND == "cluster" or one.said().count("cluster: joined") == 2 * one.links, one.said()


def a_frozen_redis_holds_up_nobody_at_home(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    here, there = one.client("anna"), two.client("bert")
    one.knows("bert")
    redis.signal(signal.SIGSTOP)
    told = one.post("/v1/push", {"uids": ["anna", "bert"], "text": "x"})
    assert told["verdicts"] == {"anna": "delivered", "bert": "unknown"}, told
    assert here.receive() == "x"
    until("it is noticed", lambda: one.is_away())
    assert one.backend_says('{"uid":"bert"}').startswith("fail: unknown, ")
    redis.signal(signal.SIGCONT)
    # The other may not have noticed.
    one.joins(2)
    until("bert is found again", lambda: verdict(one, "bert", "found") == "delivered")
    while there.receive() != "found":
        pass


def a_slow_redis_loses_nothing(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "20s"')
    client, backend = two.client("bert"), one.backend()
    one.knows("bert")
    count = 300
    for number in range(count):
        if number % 100 == 50:
            redis.ask("CLIENT", "PAUSE", "400", "ALL")
        backend.send(f'{{"uid":"bert","n":{number}}}')
    for number in range(count):
        assert json.loads(client.receive())["n"] == number
    assert [backend.receive() for _ in range(count)] == ["ok"] * count
    assert "cluster: away" not in one.said() + two.said()


def what_was_told_to_be_delivered_has_come(scope):
    """Redis is killed and started anew amid a flood: who was answered `ok` has it, and nobody has anything twice."""
    redis, one, two = scope.pair()
    client, backend = two.client("bert"), one.backend()
    one.knows("bert")
    count, found, answers = 6_000, [], []

    def read():
        while (text := client.receive()) != "the end":
            found.append(json.loads(text)["n"])

    def answered():
        for _ in range(count):
            answers.append(backend.receive())

    threads = [threading.Thread(target=read), threading.Thread(target=answered)]
    for thread in threads:
        thread.start()
    for number in range(count):
        if number in (2_000, 4_000):
            redis.kill()
            redis = scope.redis(port=redis.port)
        backend.send(f'{{"uid":"bert","n":{number}}}')
        if number % 50 == 0:
            time.sleep(0.001)
    threads[1].join()
    until("bert is found again", lambda: verdict(two, "bert", "the end") == "delivered")
    threads[0].join()
    assert found == sorted(set(found)), "twice, or out of order"
    told = {number for number, answer in enumerate(answers) if answer == "ok"}
    assert told <= set(found), f"told and not come: {sorted(told - set(found))}"
    others = {answer for answer in answers if answer != "ok"}
    # It was there all the while.
    assert all(it.startswith("fail: unknown, ") for it in others), others


def a_node_starts_without_redis(scope):
    port = free_port()
    one = scope.node(port, joins=False)
    two = scope.node(port, joins=False, cluster="ready_alone = false")
    until("it says so", lambda: one.is_away())
    client = one.client("anna", "relay")
    client.send("anna:to oneself")
    assert client.receive() == "to oneself"
    assert one.http("GET", "/readyz")[0] == 200
    assert two.http("GET", "/readyz") == (503, "the cluster's Redis is away\n")
    scope.redis(port=port)
    one.joins()
    two.joins()
    until("a is known", lambda: two.get("/v1/uids/anna")["connections"] == 1)
    assert two.http("GET", "/readyz") == (200, "ready\n")
    assert one.said().count("cluster: away") == 1, one.said()


def a_node_that_ends_is_gone_at_once(scope):
    redis, one, two = scope.pair()
    _client = two.client("bert")
    one.knows("bert")
    two.signal(signal.SIGTERM)
    two.running.wait()
    assert verdict(one, "bert") == "offline"
    assert "a node has left" in one.said(), one.said()
    # And one that is killed is, as soon as Redis has seen its end.
    three = scope.node(redis)
    _client = three.client("carl")
    one.knows("carl")
    three.kill()
    until("carl is offline", lambda: verdict(one, "carl") == "offline")
    assert one.backend_says('{"uid":"carl"}') == "fail"


def a_frozen_node_is_unknown(scope):
    _, one, two = scope.pair(cluster='answer_timeout = "300ms"')
    here, there = one.client("anna"), two.client("bert")
    one.knows("bert")
    two.signal(signal.SIGSTOP)
    told = one.post("/v1/push", {"uids": ["bert", "anna"], "text": "x"})
    assert told["verdicts"] == {"bert": "unknown", "anna": "delivered"}, told
    assert told["nodes_unknown"] == 1 and here.receive() == "x"
    answer = one.backend_says('{"uid":"bert"}')
    assert answer == "fail: unknown, 1 node has not answered", answer
    two.signal(signal.SIGCONT)
    # It had it in its socket.
    assert there.receive() == "x"
    assert there.receive() == '{"uid":"bert"}'


def prefixes_keep_clusters_apart(scope):
    redis = scope.redis()
    one, two = (scope.node(redis, cluster=f'prefix = "{name}"') for name in ("red", "blue"))
    two.settles()
    _client = one.client("anna")
    three = scope.node(redis, cluster='prefix = "red"')
    until("anna is known", lambda: three.get("/v1/uids/anna")["connections"] == 1)
    assert verdict(three, "anna") == "delivered"
    assert verdict(two, "anna") == "offline"
    assert two.post("/v1/broadcast", {"text": "x"}) == {"connections": 0}


@not_over("list", "cluster", why="each is a Redis by itself; shards.py has what is wrong with several")
def a_redis_that_will_not_do_is_named(scope):
    secret, wrong = f"{scope.place}/secret", f"{scope.place}/wrong"
    for path, text in ((secret, "s3cret-enough\n"), (wrong, "guess\n")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
    guarded = scope.redis("--requirepass", "s3cret-enough")
    node = scope.node(guarded, cluster=f'secret_file = "{secret}"')
    for cluster, words in (("", "wants a password"), (f'secret_file = "{wrong}"', "password is wrong")):
        node = scope.node(guarded, cluster=cluster, joins=False)
        until(words, lambda: words in node.said())
        assert "guess" not in node.said() and "s3cret" not in node.said()
    limited = scope.redis()
    rules = "default on nopass ~* +@all resetchannels &other:*"
    assert limited.ask("ACL", "SETUSER", *rules.split()) == "+OK"
    node = scope.node(limited, joins=False)
    until("the ACL", lambda: "ACL needs" in node.said())
    assert '"&ringpost:*"' in node.said(), node.said()
    node = scope.node(old_redis(), joins=False)
    until("the version", lambda: "it is Redis 5.0.7; a cluster needs 6.2" in node.said())


def old_redis():
    """Says of itself that it is a Redis 5; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(one):
        file = one.makefile("rb")
        while line := file.readline():
            words = []
            for _ in range(int(line[1:])):
                file.readline()
                words.append(file.readline().strip().upper())
            info = b"# Server\r\nredis_version:5.0.7\r\n"
            known = words[0] == b"INFO"
            one.sendall(b"$%d\r\n%s\r\n" % (len(info), info) if known else b"+OK\r\n")

    def accept():
        while True:
            one, _ = listener.accept()
            threading.Thread(target=serve, args=(one,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


@not_over("list", "cluster", why="it has one Redis shown")
def nodes_are_shown(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    _client = two.client("bert")
    three = scope.node(redis, cluster='node = "third"')
    told = one.get("/v1/nodes")
    assert len(told["nodes"]) == 3 and "nodes_unknown" not in told, told
    (engine,) = told["redis"]
    assert engine["address"] == f"127.0.0.1:{redis.port}" and engine["away"] is None
    assert sum(node["connections"] for node in told["nodes"]) == 1, told
    assert "third" in [node["node"] for node in told["nodes"]]
    until("an echo", lambda: all(node["echo_micros"] for node in one.get("/v1/nodes")["nodes"]))
    command = [BINARY, "nodes", "--to", f"127.0.0.1:{one.ports['page']}"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0 and "third" in run.stdout, run
    three.signal(signal.SIGSTOP)
    told = one.get("/v1/nodes")
    assert len(told["nodes"]) == 2 and told["nodes_unknown"] == 1, told
    assert subprocess.run(command, capture_output=True).returncode == 1
    three.kill()
    until("it is gone", lambda: "nodes_unknown" not in one.get("/v1/nodes"))
    redis.kill()
    until("it is noticed", lambda: one.get("/v1/nodes")["redis"][0]["away"])
    assert len(one.get("/v1/nodes")["nodes"]) == 1


def lists_are_those_of_all_nodes(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    three = scope.node(redis, cores=3)
    wanted, clients = [], []
    for number, node in enumerate((one, two, two, three, three, three)):
        wanted.append(f"u{number}")
        clients.append(node.client(wanted[-1]))
    clients.append(one.client("u5"))
    one.knows("u5", 2)
    for uid in wanted:
        assert one.post("/v1/groups/room/join", {"uid": uid})["refused"] == 0
    assert two.post("/v1/groups/own/join", {"uid": "u1"}) == {"connections": 1, "refused": 0}

    def all_of(path, key, node, limit):
        found, cursor, pages, complete = [], "", 0, True
        while cursor is not None:
            page = node.get(f"{path}?limit={limit}{cursor and '&cursor=' + cursor}")
            found += page[key]
            complete &= page["complete"]
            assert len(page[key]) <= limit, page
            cursor, pages = page["cursor"], pages + 1
            assert pages < 40, "no end of it"
        return found, complete

    until("the third is known", lambda: all(all_of("/v1/uids", "uids", node, 10)[1] for node in (one, two, three)))
    for node in (one, two, three):
        for limit in (1, 2, 1_000):
            found, complete = all_of("/v1/uids", "uids", node, limit)
            # Who is on two nodes may be listed on two pages.
            assert sorted(set(found)) == wanted and len(found) <= 7 and complete, found
        assert len(node.get("/v1/uids")["uids"]) == 6
        told = node.get("/v1/groups/room")
        members = dict.fromkeys(wanted, 1) | {"u5": 2}
        assert told == {"group": "room", "connections": 7, "members": members, "complete": True}, told
        told = node.get("/v1/groups/room?limit=2")
        assert told["connections"] == 7 and len(told["members"]) == 2 and not told["complete"], told
        assert node.get("/v1/groups/own")["members"] == {"u1": 1}
        assert node.get("/v1/groups/none") == {"group": "none", "connections": 0, "members": {}, "complete": True}
        for limit in (1, 100):
            found, complete = all_of("/v1/groups", "groups", node, limit)
            found = {group["group"]: group["connections"] for group in found}
            assert found == {"room": 7, "own": 1} and complete, found
    for cursor in ("x", "0", "0.0.0.0", "1.x.0.0.0", "zz.0.0.0.0"):
        assert one.http("GET", f"/v1/uids?cursor={cursor}")[0] == 400, cursor
    # A node that was listed half, and is gone: the rest is told, and that it is not all.
    assert one.get("/v1/uids?cursor=1.0.0.0.0")["complete"] is False
    three.signal(signal.SIGSTOP)
    assert one.get("/v1/groups/room")["complete"] is False
    found, complete = all_of("/v1/uids", "uids", one, 100)
    assert not complete and {"u0", "u1", "u2"} <= set(found), found
    three.signal(signal.SIGCONT)
    redis.kill()
    until("it is noticed", lambda: one.is_away())
    told = one.get("/v1/uids")
    assert set(told["uids"]) == {"u0", "u5"} and told["complete"] is False, told
    assert one.get("/v1/groups")["complete"] is False


@not_over("list", "cluster", why="the user is named in the URL; shards.py has the doctor with several")
def doctor_and_check_try_redis(scope):
    redis = scope.redis()
    secret = f"{scope.place}/secret"
    with open(secret, "w", encoding="utf-8") as file:
        file.write("s3cret-enough\n")
    os.chmod(secret, 0o600)

    def says(user="", secret=None):
        path = f"{scope.place}/tried.toml"
        with open(path, "w", encoding="utf-8") as file:
            more = f'secret_file = "{secret}"\n' if secret else ""
            url = f"redis://{user}127.0.0.1:{redis.port}"
            file.write(NODE.format(cores=1, redis=url, cluster=more, more=""))
        doctor = subprocess.run([BINARY, "doctor", "--config", path], capture_output=True, text=True)
        check = subprocess.run([BINARY, "check", path], capture_output=True, text=True)
        # It starts all the same.
        assert check.returncode == 0, check
        # A report has short lines.
        return doctor.returncode, " ".join((doctor.stdout + doctor.stderr).split()), check.stdout

    status, told, checked = says()
    assert status == 0 and "ok cluster's Redis: 127.0.0.1:" in told and "answers in" in told, told
    assert "the cluster's Redis would do: " in checked and "warning: the cluster" not in checked, checked
    assert redis.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0") == "+OK"
    status, told, checked = says()
    assert status == 0 and "note cluster's Redis" in told and "1048576 bytes wait" in told, told
    assert "CONFIG SET client-output-buffer-limit" in told and "warning: the cluster's Redis: " in checked
    # The rights that the documents name are enough, and with less it says what is missing.
    rules = " ".join(["on", ">s3cret-enough", *documented_rights()])
    assert redis.ask("ACL", "SETUSER", "enough", *rules.split()) == "+OK"
    status, told, checked = says("enough@", secret)
    assert status == 0 and "ok cluster's Redis" in told and "warning: the cluster" not in checked, told
    assert redis.ask("ACL", "SETUSER", "few", *rules.split(), "-client|kill", "-info") == "+OK"
    status, told, checked = says("few@", secret)
    assert "CLIENT KILL is not allowed" in told and "INFO is not allowed" in told, told
    for number, (rights, words) in enumerate((("-pubsub", "ask who is subscribed"), ("-publish", "publish in"))):
        assert redis.ask("ACL", "SETUSER", f"less{number}", *rules.split(), rights) == "+OK"
        status, told, checked = says(f"less{number}@", secret)
        assert status == 1 and "BREAKS" in told and words in told and "ACL needs" in told, told
    redis.kill()
    status, told, checked = says()
    assert status == 1 and "BREAKS cluster's Redis" in told and "refused" in told, told
    assert "would not do" in checked, checked


@not_over("list", "cluster", why="each Redis has figures; shards.py reads those of several")
def metrics_tell_of_the_cluster(scope):
    redis, one, two = scope.pair()
    there = two.client("bert")
    one.knows("bert")
    assert verdict(one, "bert") == "delivered" and there.receive() == "x"
    redis.kill()
    until("it is noticed", lambda: one.is_away())
    assert verdict(one, "bert") == "unknown"

    def scrape():
        lines = [line for line in one.http("GET", "/metrics")[1].split("\n") if line and line[0] != "#"]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    found = scrape()
    assert found["ringpost_cluster_up"] == 0 and found["ringpost_cluster_joins_total"] == 1, found
    assert found["ringpost_cluster_unknown_total"] >= 1, found
    assert found['ringpost_pushes_total{verdict="unknown"}'] == 1, found
    scope.redis(port=redis.port)
    one.joins(2)
    two.joins(2)
    until("both are there", lambda: scrape()["ringpost_cluster_nodes"] == 2)
    until("it is heard", lambda: scrape()["ringpost_cluster_echo_seconds"] > 0)
    found = scrape()
    assert found["ringpost_cluster_up"] == 1 and found["ringpost_cluster_channels"] == 0, found
    # What is shown and watched is there, and nothing else.
    names = {name.split("{")[0] for name in found if name.startswith("ringpost_cluster_")}
    examples = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/monitoring")
    for path, is_all in (("grafana.json", True), ("alerts.yml", False)):
        with open(f"{examples}/{path}", encoding="utf-8") as file:
            shown = set(re.findall("ringpost_cluster_[a-z_]+", file.read()))
        assert shown <= names and (shown == names or not is_all), f"{path}: {shown ^ names}"


TESTS = [
    lists_are_those_of_all_nodes,
    doctor_and_check_try_redis,
    metrics_tell_of_the_cluster,
    nodes_are_shown,
    a_flood_arrives_whole,
    what_was_told_to_be_delivered_has_come,
    a_push_reaches_users_of_other_nodes,
    groups_span_nodes,
    a_kick_and_a_connection_by_its_id,
    clients_of_relay_talk_across_nodes,
    what_one_sends_comes_in_its_order,
    while_redis_is_away_verdicts_are_unknown,
    a_frozen_redis_holds_up_nobody_at_home,
    a_slow_redis_loses_nothing,
    a_node_starts_without_redis,
    a_node_that_ends_is_gone_at_once,
    a_frozen_node_is_unknown,
    prefixes_keep_clusters_apart,
    a_redis_that_will_not_do_is_named,
]


def passes(test):
    """Whether it does; its words and its processes' go out together."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        scope, lines = Scope(place), []
        try:
            test(scope)
            for one in scope.processes:
                assert "panicked" not in one.said(), "a node panicked"
        except Exception:
            # Why is the last of it, for that is what is shown of a long log.
            lines = [f"said: {one.said()[-3000:]}" for one in scope.processes]
            lines += [f"{test.__name__} failed:", traceback.format_exc()]
        finally:
            for one in scope.processes:
                one.end()
                one.log.close()
    took = f"{test.__name__}: {time.monotonic() - start:.1f} s"
    print("\n".join([*lines, took]), flush=True)
    return not lines


def run(tests, binary, more):
    """Runs those of the tests that are named, or all; whether one failed."""
    global BINARY, KIND, CLOCK
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", choices=KINDS, default="one")
    parser.add_argument("--clock")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args(more)
    BINARY, KIND, CLOCK = os.path.abspath(binary), asked.redis, asked.clock
    wanted = [test for test in tests if not asked.names or test.__name__ in asked.names]
    unknown = set(asked.names) - {test.__name__ for test in wanted}
    assert not unknown, f"no test {unknown}"
    for test in list(wanted):
        if KIND in getattr(test, "not_over", ()):
            print(f"{test.__name__} is not run over a {KIND}: {test.why}")
            wanted.remove(test)
    with ThreadPoolExecutor(SLOTS) as pool:
        results = list(pool.map(passes, wanted))
    failed = results.count(False)
    print(f"{results.count(True)} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    # Other files' tests have this one by its name.
    import cluster

    sys.exit(cluster.run(cluster.TESTS, sys.argv[1], sys.argv[2:]))
