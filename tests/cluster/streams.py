"""What Redis keeps for the nodes of a cluster: recovery on another node, ids, queues; and what becomes of it when Redis
stands still, ends, or has lost all.

    python3 tests/cluster/streams.py BINARY [--redis one|list|cluster] [NAME ...]

As cluster.py, by which it is run.
"""

import json
import random
import signal
import socket
import sys
import threading
import time

import cluster
from cluster import PATIENCE, documented_rights, until, verdict

KEPT = """roles = ["page", "api", "events"]

[[history]]
kind = "uid"
name = "*"
size = 1000
ttl = "10m"

[[history]]
kind = "group"
name = "*"
size = 1000
ttl = "10m"

[[history]]
kind = "all"
size = 1000
ttl = "10m"
"""

QUEUED = """
[[history]]
kind = "uid"
name = "*"
size = 1000
ttl = "10m"
offline = "queue"
"""


def kept_pair(scope, more=KEPT, **named):
    redis = scope.redis()
    one, two = (scope.node(redis, cores=cores, more=more, **named) for cores in (1, 2))
    return redis, one, two


class Events:
    """A client by server-sent events: what has come, each with its name and data; and its last id."""

    def __init__(self, node, uid, last=None, groups=()):
        self.socket = socket.create_connection(("127.0.0.1", node.ports["page"]), timeout=PATIENCE)
        query = f"uid={uid}" + "".join(f"&group={group}" for group in groups)
        more = f"Last-Event-ID: {last}\r\n" if last else ""
        self.socket.sendall(f"GET /v1/events?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
        self.file = self.socket.makefile("rb")
        status = self.file.readline()
        assert b" 200 " in status, status
        while self.file.readline() not in (b"\r\n", b""):
            pass
        self.last = last
        self.pending = b""
        if self.last is None:
            # The block that says where it stands.
            while self.last is None:
                self.block()

    def line(self):
        line = self.file.readline()
        assert line, "the connection ended"
        return line.rstrip(b"\r\n")

    def block(self):
        """The next event: its name and its data, or nothing of one that has none."""
        name, data = "message", []
        while True:
            line = self.line()
            # A chunk's size, which no field looks like.
            field, colon, value = line.partition(b":")
            value = value.removeprefix(b" ").decode()
            if not line:
                return (name, "\n".join(data)) if data else None
            if not colon:
                continue
            if field == b"id":
                self.last = value
            elif field == b"event":
                name = value
            elif field == b"data":
                data.append(value)

    def receive(self):
        while (found := self.block()) is None:
            pass
        return found

    def text(self):
        name, data = self.receive()
        assert name == "message", (name, data)
        return data

    def texts(self, count):
        return [self.text() for _ in range(count)]

    def close(self):
        self.file.close()
        self.socket.close()


def numbered(first, last):
    return [f"n{number}" for number in range(first, last)]


def push(node, uid, text, **more):
    told = node.post("/v1/push", {"uid": uid, "text": text, **more})
    return told["verdicts"][uid]


def a_client_recovers_on_another_node(scope):
    redis, one, two = kept_pair(scope)
    client = Events(one, "anna")
    for text in numbered(0, 3):
        assert push(two, "anna", text) == "delivered"
    assert client.texts(3) == numbered(0, 3)
    last = client.last
    client.close()
    until("she is gone", lambda: push(two, "anna", "probe", keep=False) == "offline")
    for number, text in enumerate(numbered(3, 203)):
        assert push((one, two)[number % 2], "anna", text) == "kept"
    client = Events(two, "anna", last)
    assert client.texts(200) == numbered(3, 203)
    assert push(one, "anna", "live") == "delivered" and client.text() == "live"
    # Where it is read is all the same.
    pages = [node.get("/v1/history?uid=anna&limit=1000") for node in (one, two)]
    assert pages[0] == pages[1] and len(pages[0]["messages"]) == 204, pages
    assert pages[0]["top"].endswith(":204") and client.last.split(",")[0] == pages[0]["top"]
    # At the top there is nothing, above it and in another life a gap.
    epoch = client.last.split(",")[0].split(":")[0]
    client.close()
    for where in (one, two):
        again = Events(where, "anna", client.last)
        assert push(two, "anna", "next") == "delivered" and again.text() == "next"
        client.last = again.last
        again.close()
    for asked in (f"{epoch}:999", "0000000000:1", f"{epoch}:x"):
        lost = Events(one, "anna", f"{asked},{client.last.split(',')[1]}")
        name, data = lost.receive()
        assert name == "gap" and json.loads(data)["top"].endswith(":206"), (name, data)
        lost.close()
    # What is thrown away is so everywhere.
    status, text = one.http("DELETE", "/v1/history?uid=anna")
    assert status == 200 and json.loads(text) == {"forgotten": 206}, text
    assert two.get("/v1/history?uid=anna")["messages"] == []
    lost = Events(two, "anna", last)
    assert lost.receive()[0] == "gap"


def groups_and_everybody_recover_on_another_node(scope):
    redis, one, two = kept_pair(scope)
    here, there = Events(one, "anna", groups=["room"]), Events(two, "bert", groups=["room"])

    def both():
        return two.post("/v1/push", {"group": "room", "text": "probe", "keep": False})["connections"] == 2

    until("the group spans both", both)
    for client in (here, there):
        client.probes = True

    def texts(client, count):
        found = []
        while len(found) < count:
            text = client.text()
            if text != "probe":
                found.append(text)
        return found

    told = one.post("/v1/push", {"group": "room", "text": "g1"})
    assert told["connections"] == 2 and list(told["positions"]) == ["room"], told
    told = two.post("/v1/broadcast", {"text": "a1"})
    assert told["connections"] == 2 and told["positions"]["all"].endswith(":1"), told
    assert sorted(texts(here, 2)) == ["a1", "g1"] and sorted(texts(there, 2)) == ["a1", "g1"]
    last = here.last
    here.close()
    until("anna is gone", lambda: push(two, "anna", "probe", keep=False) == "offline")
    assert one.post("/v1/push", {"group": "room", "text": "g2"})["connections"] == 1
    assert two.post("/v1/push", {"group": "room", "text": "g3"})["connections"] == 1
    assert one.post("/v1/broadcast", {"text": "a2"})["connections"] == 1
    here = Events(two, "anna", last, groups=["room"])
    found = texts(here, 3)
    assert sorted(found) == ["a2", "g2", "g3"] and found.index("g2") < found.index("g3"), found
    assert texts(there, 3) != [] and one.post("/v1/broadcast", {"text": "a3"})["connections"] == 2
    assert texts(here, 1) == ["a3"] and texts(there, 1) == ["a3"]
    # One that has been nowhere before stands where everybody does.
    third = scope.node(redis, more=KEPT)
    new = Events(third, "carl")
    assert len(new.last.split(",")) == 2 and new.last.split(",")[1].endswith(":3"), new.last
    positions = new.last
    new.close()
    assert one.post("/v1/broadcast", {"text": "a4"})["positions"]["all"].endswith(":4")
    assert Events(one, "carl", positions).text() == "a4"


def the_same_id_is_carried_out_once(scope):
    redis, one, two = kept_pair(scope)
    client = Events(one, "anna")
    for round_ in range(20):
        told = [None, None]

        def ask(place, node, name=f"id{round_}"):
            told[place] = node.post("/v1/push", {"uid": "anna", "text": name, "id": name})

        threads = [threading.Thread(target=ask, args=(n, node)) for n, node in enumerate((one, two))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        repeated = [answer.pop("repeated", False) for answer in told]
        assert sorted(repeated) == [False, True] and told[0] == told[1], told
        assert told[0]["verdicts"] == {"anna": "delivered"}, told
        assert client.text() == f"id{round_}"
    told = two.post("/v1/push", {"uid": "anna", "text": "another", "id": "id0"}, 409)
    assert told["error"]["code"] == "id_in_use", told
    # Of what is not kept, too.
    until("nobody is there", lambda: push(one, "nobody", "x", keep=False) == "offline")
    for node, repeated in ((one, None), (two, True), (one, True)):
        told = node.post("/v1/push", {"uid": "nobody", "text": "x", "id": "plain", "keep": False})
        assert told.get("repeated") == repeated and told["verdicts"] == {"nobody": "offline"}, told
    # While Redis is away it holds on one node, which says so; then everywhere.
    redis.kill()
    for node in (one, two):
        until("it is noticed", lambda node=node: node.is_away())
    for repeated in (None, True):
        told = one.post("/v1/push", {"uid": "nobody", "text": "x", "id": "alone", "keep": False})
        assert told["id_scope"] == "node" and told.get("repeated") == repeated, told
    scope.redis(port=redis.port)
    one.joins(2)
    two.joins(2)

    def is_known():
        told = two.post("/v1/push", {"uid": "nobody", "text": "x", "id": "alone", "keep": False})
        return told.get("repeated")

    until("the other knows it", is_known)


def a_queue_is_had_on_any_node(scope):
    _, one, two = kept_pair(scope, more=QUEUED)
    for number, text in enumerate(numbered(0, 50)):
        assert push((one, two)[number % 2], "anna", text) == "kept"
    client = two.client("anna")
    assert [client.receive() for _ in range(50)] == numbered(0, 50)
    assert push(one, "anna", "live") == "delivered" and client.receive() == "live"
    client.close()
    until("she is gone", lambda: push(one, "anna", "probe", keep=False) == "offline")
    for text in numbered(50, 60):
        assert push(two, "anna", text) == "kept"
    # What was delivered there is not delivered here.
    client = one.client("anna")
    assert [client.receive() for _ in range(10)] == numbered(50, 60)
    assert push(two, "anna", "live") == "delivered" and client.receive() == "live"
    # What waits for a push client, and for one of relay.
    told = one.post("/v1/kick", {"uid": "anna", "forget": True})
    assert told["connections"] == 1 and told["forgotten"] == 2 * 62, told


def stalled(node, uid):
    """A client that takes next to nothing of what it is sent."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    one.connect(("127.0.0.1", node.ports["push"]))
    one.sendall(f"{uid}\n".encode())
    until(f"{uid} online", lambda: node.backend_says(f"online {uid}") == "ok")
    return one


def what_is_on_its_way_is_had_on_another_node(scope):
    """The connection has broken, and its node has not noticed, or is killed."""
    _, one, two = kept_pair(scope, more=QUEUED)
    texts = [f"{text} {'x' * 16_000}" for text in numbered(0, 20)]

    def comes_to_two(uid):
        client = two.client(uid)
        begins = texts.index(client.receive())
        # What its kernel has taken has come, as far as anybody can know.
        assert begins <= 2, begins
        assert [client.receive() for _ in texts[begins + 1 :]] == texts[begins + 1 :]
        return client

    broken = stalled(one, "anna")
    for text in texts:
        assert push(two, "anna", text) == "delivered"
    client = comes_to_two("anna")
    assert push(one, "anna", "live") == "delivered" and client.receive() == "live"
    broken.close()
    until("it is noticed", lambda: one.get("/v1/uids/anna")["connections"] == 1)
    assert push(one, "anna", "again") == "delivered" and client.receive() == "again"
    client.close()
    until("she is gone", lambda: push(one, "anna", "probe", keep=False) == "offline")
    # All has come there, whatever was put back here.
    assert push(two, "anna", "waits") == "kept"
    assert one.client("anna").receive() == "waits"

    broken = stalled(one, "bert")
    for text in texts:
        assert push(two, "bert", text) == "delivered"
    one.kill()
    client = comes_to_two("bert")
    assert push(two, "bert", "live") == "delivered" and client.receive() == "live"
    broken.close()


def a_kept_push_is_unknown_until_redis_has_it(scope):
    redis, one, two = kept_pair(scope, cluster='answer_timeout = "500ms"')
    here, there = Events(one, "anna"), Events(two, "bert")
    assert push(one, "anna", "first") == "delivered" and here.text() == "first"
    redis.signal(signal.SIGSTOP)
    assert push(one, "anna", "frozen") == "unknown"
    until("it is noticed", lambda: one.is_away())
    # It is kept nowhere, and whoever is here gets it.
    told = one.post("/v1/push", {"uids": ["anna", "bert"], "text": "away"})
    assert told["verdicts"] == {"anna": "unknown", "bert": "unknown"}, told
    assert told["nodes_unknown"] == 1 and here.text() == "away"
    assert one.backend_says('{"uid":"anna"}') == "fail: unknown, the cluster's Redis is away"
    assert here.text() == '{"uid":"anna"}'
    assert one.http("GET", "/v1/history?uid=anna")[0] == 503
    redis.signal(signal.SIGCONT)
    one.joins(2)
    assert push(one, "anna", "back") == "delivered"
    # What was under way may have got there; then it comes, and once.
    found = here.text()
    if found == "frozen":
        found = here.text()
    assert found == "back", found
    assert push(one, "bert", "to bert") == "delivered" and there.text() == "to bert"


def a_redis_that_has_lost_all_is_a_gap(scope):
    redis, one, two = kept_pair(scope)
    here, there = Events(one, "anna", groups=["room"]), Events(two, "bert")
    assert push(two, "anna", "before") == "delivered" and here.text() == "before"
    assert push(one, "bert", "before") == "delivered" and there.text() == "before"
    last = there.last
    redis.kill()
    for node in (one, two):
        until("it is noticed", lambda node=node: node.is_away())
    redis = scope.redis(port=redis.port)
    one.joins(2)
    two.joins(2)
    # Those who are there are told, of each of their streams.
    gaps = [here.receive() for _ in range(3)]
    assert [name for name, _ in gaps] == ["gap"] * 3, gaps
    told = {(json.loads(data)["kind"], json.loads(data)["name"]) for _, data in gaps}
    assert told == {("uid", "anna"), ("group", "room"), ("all", "all")}, told
    assert [there.receive()[0] for _ in range(2)] == ["gap"] * 2
    for node, client, uid in ((two, here, "anna"), (one, there, "bert")):
        until(f"{uid} is found", lambda node=node, uid=uid: push(node, uid, "probe", keep=False) == "delivered")
        assert push(node, uid, "after") == "delivered"
        while (text := client.text()) != "after":
            assert text == "probe", text
    # And whoever comes back.
    again = Events(one, "bert", last)
    assert [again.receive()[0] for _ in range(2)] == ["gap"] * 2


def a_subscriber_that_redis_cuts_off_misses_nothing(scope):
    """Its connection is killed amid a flood: what pub/sub lost is read from the stream, in its order."""
    redis, one, two = kept_pair(scope)
    client = Events(two, "anna")
    assert push(one, "anna", "first") == "delivered" and client.text() == "first"
    count, backend = 3_000, one.backend()
    answers = []

    def write():
        for number in range(count):
            backend.send(f'{{"uid":"anna","n":{number}}}')
            if number % 700 == 350:
                redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
            answers.append(backend.receive())

    writer = threading.Thread(target=write)
    writer.start()
    writer.join()
    kept = [number for number, answer in enumerate(answers) if answer == "ok"]
    path = "/v1/history?uid=anna&limit=1000"
    until("Redis is there", lambda: two.http("GET", path)[0] == 200)
    page, found = two.get(path), []
    stood = {one["json"]["n"] for one in page["messages"] if "json" in one}
    until("the end is delivered", lambda: push(one, "anna", "the end") == "delivered")
    while (text := client.text()) != "the end":
        found.append(json.loads(text)["n"])
    assert found == sorted(set(found)), "twice, or out of order"
    assert stood <= set(found), sorted(stood - set(found))
    assert len(kept) > 0


def what_pubsub_loses_without_a_trace_is_found(scope):
    """The last message of a stream is lost on its way: nothing follows it that would show the hole."""
    redis, one, two = kept_pair(scope)
    client = Events(two, "anna")
    assert push(one, "anna", "first") == "delivered" and client.text() == "first"
    # As the node's own script does it, but for the publishing.
    (meta,) = redis.keys("*u:push:anna*:m")
    script = (
        "local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1];"
        "local t = redis.call('HINCRBY', KEYS[1], 't', 1);"
        "return redis.call('XADD', KEYS[2], t .. '-0', unpack(last[2]))"
    )
    assert redis.ask("EVAL", script, "2", meta, f"{meta[:-1]}s").startswith("$")
    start = time.monotonic()
    assert client.text() == "first"
    assert time.monotonic() - start < 45


def redis_out_of_memory_keeps_nothing_silently(scope):
    redis, one, _ = kept_pair(scope)
    client = Events(one, "anna")
    assert push(one, "anna", "first") == "delivered" and client.text() == "first"
    assert redis.ask("CONFIG", "SET", "maxmemory", "1") == "+OK"
    assert push(one, "anna", "no room") == "unknown"
    answer = one.backend_says('{"uid":"anna"}')
    assert answer == "fail: unknown, the cluster's Redis refuses it", answer
    # Nothing of it is lost of what is not kept.
    assert push(one, "anna", "plain", keep=False) == "delivered" and client.text() == "plain"
    assert redis.ask("CONFIG", "SET", "maxmemory", "0") == "+OK"
    assert push(one, "anna", "second") == "delivered" and client.text() == "second"


def scripts_that_are_flushed_are_loaded_again(scope):
    redis, one, _ = kept_pair(scope)
    client = Events(one, "anna")
    for text in ("first", "second"):
        assert push(one, "anna", text) == "delivered" and client.text() == text
        assert redis.ask("SCRIPT", "FLUSH") == "+OK"
    assert push(one, "anna", "third") == "delivered" and client.text() == "third"


def the_documented_rights_are_enough(scope):
    rules = documented_rights()
    redis = scope.redis()
    assert redis.ask("ACL", "SETUSER", "default", "reset", "on", "nopass", *rules) == "+OK"
    one, two = (scope.node(redis, more=KEPT) for _ in range(2))
    client = Events(two, "anna", groups=["room"])
    assert push(one, "anna", "x", id="1") == "delivered" and client.text() == "x"
    assert one.post("/v1/push", {"uid": "anna", "text": "x", "id": "1"})["repeated"]
    assert len(two.get("/v1/history?uid=anna")["messages"]) == 1
    assert one.http("DELETE", "/v1/history?uid=anna")[0] == 200
    assert "refuses" not in one.said() + two.said()


def is_upto(position, top):
    (epoch, offset), (of, last) = position.split(":"), top.split(":")
    return epoch == of and int(offset) <= int(last)


def chaos(scope, seed):
    """Pushes with ids on any node, clients that come and go on any, and a Redis that is killed, frozen and loses its
    subscribers: whoever has no gap has all that is kept, once and in its order."""
    rng = random.Random(seed)
    redis, one, two = kept_pair(scope, cluster='answer_timeout = "300ms"')
    nodes, last, client, pushed, top = (one, two), None, None, 0, None
    texts, alone = [], set()

    def push_once(text):
        told = rng.choice(nodes).post("/v1/push", {"uid": "anna", "text": text, "id": text})
        if "id_scope" in told:
            # The other node does not know it.
            alone.add(text)
        return told["verdicts"]["anna"], told.get("positions", {}).get("anna")

    def connect():
        nonlocal client
        client = Events(rng.choice(nodes), "anna", last)

    def drain():
        """All up to a message of its own, which is pushed until it is known to be kept or delivered."""
        nonlocal pushed, last, top
        deadline = time.monotonic() + PATIENCE
        while True:
            pushed += 1
            mark = f"m{pushed}"
            verdict, place = push_once(mark)
            if verdict == "delivered":
                break
            assert time.monotonic() < deadline, verdict
            time.sleep(0.1)
        while True:
            name, data = client.receive()
            if name == "gap":
                told = json.loads(data)
                if told["kind"] == "uid":
                    top = told["top"]
                    # It may have been kept before the client was told.
                    if is_upto(place, top):
                        break
            else:
                texts.append(data)
                if data == mark:
                    break
        last = client.last

    connect()
    for _ in range(25):
        what = rng.randrange(8)
        if what < 4:
            for _ in range(rng.randrange(1, 20)):
                pushed += 1
                text = f"m{pushed}"
                for _ in range(rng.randrange(1, 3)):
                    push_once(text)
        elif what == 4:
            drain()
            client.close()
            for _ in range(rng.randrange(5)):
                pushed += 1
                push(rng.choice(nodes), "anna", f"m{pushed}")
            connect()
        elif what == 5:
            redis.signal(signal.SIGSTOP)
            time.sleep(rng.choice([0.05, 0.6]))
            redis.signal(signal.SIGCONT)
        elif what == 6:
            redis.ask("CLIENT", "KILL", "TYPE", rng.choice(["pubsub", "normal"]))
        else:
            redis.kill()
            redis = scope.redis(port=redis.port)
    drain()
    twice = {text for text in texts if texts.count(text) > 1} - alone
    assert not twice, f"seed {seed}: twice: {twice}"
    page = one.get("/v1/history?uid=anna&limit=1000")
    # Of this life of the stream all has come that was kept behind the last gap.
    kept = [one for one in page["messages"] if not (top and is_upto(one["position"], top))]
    stood = [message["text"] for message in kept]
    assert set(stood) <= set(texts), f"seed {seed}: missed {set(stood) - set(texts)}; {texts}"
    in_order = [text for text in texts if text in set(stood) - alone]
    assert in_order == [text for text in stood if text not in alone], f"seed {seed}: out of order"


def chaos_1(scope):
    chaos(scope, 1)


def chaos_2(scope):
    chaos(scope, 2)


TESTS = [
    chaos_1,
    chaos_2,
    the_documented_rights_are_enough,
    what_pubsub_loses_without_a_trace_is_found,
    a_client_recovers_on_another_node,
    groups_and_everybody_recover_on_another_node,
    the_same_id_is_carried_out_once,
    a_queue_is_had_on_any_node,
    what_is_on_its_way_is_had_on_another_node,
    a_kept_push_is_unknown_until_redis_has_it,
    a_redis_that_has_lost_all_is_a_gap,
    a_subscriber_that_redis_cuts_off_misses_nothing,
    redis_out_of_memory_keeps_nothing_silently,
    scripts_that_are_flushed_are_loaded_again,
]


if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
