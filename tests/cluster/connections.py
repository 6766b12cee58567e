"""Connections by their ids, on whichever node of a cluster they are; and lists of them.

    python3 tests/cluster/connections.py BINARY [--redis one|list|cluster] [NAME ...]

As cluster.py, by which it is run.
"""

import http.client
import json
import re
import signal
import socket
import sys
import threading
import time

import cluster
from cluster import PATIENCE, Line, not_over, until
from streams import KEPT

# Nobody drew this one.
STRANGE = "0-100000000-00000000000000ab"

SPEAKING = KEPT.replace('"events"]', '"events", "websocket"]\npaths = { "/ws" = "push" }', 1)
SPEAKING += '\n[[groups]]\nname = "*"\npublic = true\n'


def id_of(node, uid):
    [one] = node.get(f"/v1/connections?uid={uid}")["connections"]
    assert re.fullmatch(r"\d+-[0-9a-f]+-[0-9a-f]{16}", one["connection"]), one
    return one["connection"]


def verdict(node, connection):
    told = node.post("/v1/push", {"connection": connection, "text": "hi"})
    return told["verdicts"][connection], told.get("nodes_unknown", 0)


def an_id_names_its_node(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    three = scope.node(redis)
    here, there, frozen = one.client("anna"), two.client("bert"), three.client("carl")
    anna, bert, carl = id_of(one, "anna"), id_of(two, "bert"), id_of(three, "carl")
    assert len({name.rsplit("-", 1)[1] for name in (anna, bert, carl)}) == 3
    for node in (one, two, three):
        for name, client in ((anna, here), (bert, there), (carl, frozen)):
            assert verdict(node, name) == ("delivered", 0) and client.receive() == "hi"
            # The same place on another node is another connection, or none.
            other = f"{name.rsplit('-', 1)[0]}-{STRANGE[-16:]}"
            assert verdict(node, other) == ("offline", 0)
    # Except by id, on whichever node it is.
    told = one.post("/v1/broadcast", {"text": "to most", "except": {"connections": [bert]}})
    assert told == {"connections": 2} and here.receive() == frozen.receive() == "to most", told
    assert verdict(one, bert) == ("delivered", 0) and there.receive() == "hi"
    assert two.post("/v1/kick", {"connection": anna, "text": "bye"}) == {"connections": 1}
    assert here.receive() == "bye"
    here.ends()
    assert verdict(two, anna) == ("offline", 0)
    # One that says nothing is unknown, and gone for good it has nobody.
    three.signal(signal.SIGSTOP)
    assert verdict(one, carl) == ("unknown", 1) and verdict(one, bert) == ("delivered", 0)
    three.kill()
    until("it is gone", lambda: verdict(one, carl) == ("offline", 0))
    # One's own needs no Redis.
    anna = one.client("anna")
    own = id_of(one, "anna")
    redis.kill()
    until("it is noticed", lambda: one.is_away())
    assert verdict(one, own) == ("delivered", 0) and anna.receive() == "hi"
    assert verdict(one, bert) == ("unknown", 1)
    assert one.post("/v1/kick", {"connection": own}) == {"connections": 1}
    assert verdict(one, own) == ("offline", 0)


def what_is_asked_of_a_connection_is_asked_of_its_node(scope):
    redis = scope.redis()
    few = "connections_per_uid_max = 1\nattributes_bytes_max = 64\n"
    one, two = (scope.node(redis, cores=cores, cluster='answer_timeout = "500ms"', first=few) for cores in (1, 2))
    one.settles()
    there, taken = two.client("bert"), two.client("tim")
    name = id_of(two, "bert")
    path = f"/v1/connections/{name}"
    told, there_told = one.get(path), two.get(path)
    assert told == there_told and told["uid"] == "bert" and told["app"] == "push", told
    assert told["listener"].endswith(str(two.ports["push"])), told

    def asked(method, more, body, status=200):
        found, text = one.http(method, f"{path}{more}", body)
        assert found == status, (found, text)
        told = json.loads(text)
        return told if status == 200 else told["error"]["code"]

    assert asked("PUT", "/attributes", {"tab": 1, "device": "phone"})["attributes"] == {"tab": 1, "device": "phone"}
    assert asked("PATCH", "/attributes", {"tab": None})["attributes"] == {"device": "phone"}
    assert asked("PUT", "/attributes", {"long": "x" * 100}, 413) == "attributes_too_large"
    assert asked("PUT", "/attributes", [1], 400) == "bad_request"
    assert two.get(path)["attributes"] == {"device": "phone"}
    assert asked("POST", "/unbind", {}) == {"connection": name, "uid": None}
    assert two.get(path)["uid"] is None
    for uid in ("other", "another", "bert"):
        # It moves between the cores of its node.
        assert asked("POST", "/bind", {"uid": uid}) == {"connection": name, "uid": uid}
        assert one.get(path)["uid"] == uid
        until("it has", lambda: one.backend_says(f'{{"uid":"{uid}"}}') == "ok")
        assert there.receive() == f'{{"uid":"{uid}"}}'
    assert asked("POST", "/bind", {"uid": "tim"}, 409) == "uid_in_use"
    there.ends()
    for method, more, body in (("GET", "", None), ("POST", "/bind", {"uid": "x"}), ("PUT", "/attributes", {"a": 1})):
        assert asked(method, more, body, 404) == "no_connection"
    for strange in (STRANGE, STRANGE[:11]):
        status, text = one.http("GET", f"/v1/connections/{strange}")
        assert status == 404 and "no_connection" in text, text
    assert one.http("GET", f"/v1/connections/{STRANGE}0")[0] == 400
    # One that says nothing may have it.
    name = id_of(two, "tim")
    two.signal(signal.SIGSTOP)
    status, text = one.http("GET", f"/v1/connections/{name}")
    assert status == 503 and '"unknown"' in text, text
    two.signal(signal.SIGCONT)
    until("it answers", lambda: one.http("GET", f"/v1/connections/{name}")[0] == 200)
    redis.kill()
    until("it is noticed", lambda: one.is_away())
    status, text = one.http("GET", f"/v1/connections/{name}")
    assert status == 503 and "Redis is away" in text, text
    taken.close()


def lists_of_connections_are_those_of_all_nodes(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    three = scope.node(redis, cores=3)
    clients, wanted = [], []
    for number, node in enumerate((one, two, two, three, three, three, one)):
        wanted.append(f"u{min(number, 5)}")
        clients.append(node.client(wanted[-1]))
    one.knows("u5", 2)
    unbound = Line(two.ports["push"])

    def all_of(node, query="", limit=100):
        found, cursor, complete = [], "", True
        while cursor is not None:
            page = node.get(f"/v1/connections?limit={limit}{query}{cursor and '&cursor=' + cursor}")
            found += [(entry["uid"], entry["connection"]) for entry in page["connections"]]
            assert len(page["connections"]) <= limit, page
            cursor, complete = page["cursor"], complete and page["complete"]
        assert len(set(found)) == len(found), found
        return sorted(uid for uid, _ in found if uid), complete

    def all_have_told(node):
        return all_of(node) == (wanted, True) and node.get("/v1/uids/u5")["complete"]

    until("the third is known", lambda: all(all_have_told(node) for node in (one, two, three)))
    for node in (one, two, three):
        for limit in (1, 2, 100):
            assert all_of(node, limit=limit) == (wanted, True)
        assert all_of(node, "&uid=u5", 1) == (["u5", "u5"], True)
        assert all_of(node, "&uid=nobody") == ([], True)
        assert all_of(node, "&sort=bytes_waiting") == (wanted, True)
        told = node.get("/v1/uids/u5")
        assert told["connections"] == len(told["list"]) == 2 and told["complete"], told
        # Who has said nothing is shown a moment later.
        [told] = until("it is shown", lambda node=node: node.get("/v1/connections?unbound=true")["connections"])
        assert told["listener"].endswith(str(two.ports["push"])), told
    # Each node knows its own listeners.
    url = f"text://127.0.0.1:{three.ports['push']}"
    assert all_of(three, f"&listener={url}") == (wanted[3:6], True)
    assert all_of(three, "&attributes=true") == (wanted, True)
    # The fullest first, wherever it is.
    clients[1].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    for _ in range(12):
        one.post("/v1/push", {"uid": "u1", "text": "x" * 1_000_000})
    told = three.get("/v1/connections?sort=bytes_waiting&limit=2")["connections"]
    assert told[0]["uid"] == "u1" and told[0]["bytes_waiting"] > told[1]["bytes_waiting"], told
    for cursor in ("x", "0.0", "1.x.0", "zz.0.0", "1.0.0.0"):
        assert one.http("GET", f"/v1/connections?cursor={cursor}")[0] == 400, cursor
    # A node that is gone, or says nothing.
    assert one.get("/v1/connections?cursor=1.0.0")["complete"] is False
    three.signal(signal.SIGSTOP)
    found, complete = all_of(one)
    assert found == wanted[:3] + ["u5"] and not complete, found
    told = one.get("/v1/uids/u5")
    assert told["connections"] == 1 and told["complete"] is False, told
    three.signal(signal.SIGCONT)
    until("it answers", lambda: all_of(one) == (wanted, True))
    redis.kill()
    until("it is noticed", lambda: one.is_away())
    assert all_of(one) == (["u0", "u5"], False)
    unbound.close()


def a_group_is_emptied_on_all_nodes(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    three = scope.node(redis, cores=3)
    clients = []
    for number, node in enumerate((one, two, two, three, three)):
        clients.append(node.client(f"u{number}"))
        one.knows(f"u{number}")
        for group in ("room", "other"):
            assert one.post(f"/v1/groups/{group}/join", {"uid": f"u{number}"})["connections"] == 1
    until("all are in", lambda: one.get("/v1/groups/room")["connections"] == 5)
    told = two.post("/v1/groups/room/ungroup", {})
    assert told == {"connections": 5, "sticky": 0}, told
    for node in (one, two, three):
        assert node.get("/v1/groups/room")["connections"] == 0
        assert node.get("/v1/groups/other")["connections"] == 5
    assert one.post("/v1/push", {"group": "room", "text": "x"}) == {"connections": 0}
    assert two.post("/v1/groups/room/ungroup", {}) == {"connections": 0, "sticky": 0}
    three.signal(signal.SIGSTOP)
    told = one.post("/v1/groups/other/ungroup", {})
    assert told == {"connections": 3, "sticky": 0, "nodes_unknown": 1}, told


class Dam:
    """Between a node and its Redis, or each of a list: when the node sends what is to be held up, nothing passes any more."""

    def __init__(self, redis):
        self.links, self.pattern, self.passes, self.is_shut = redis.links, None, False, threading.Event()
        self.is_over = threading.Event()
        self.ports = []
        for server in getattr(redis, "servers", [redis]):
            listener = socket.create_server(("127.0.0.1", 0))
            self.ports.append(listener.getsockname()[1])
            threading.Thread(target=self.accept, args=(listener, server.port), daemon=True).start()

    def url(self):
        return ", ".join(f"redis://127.0.0.1:{port}" for port in self.ports)

    def hold(self, pattern, passes):
        """From this on; it passes itself, if it is only the answer that is held up."""
        self.pattern, self.passes = pattern, passes

    def accept(self, listener, port):
        while True:
            one, _ = listener.accept()
            other = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=self.pump, args=(one, other, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(other, one, False), daemon=True).start()

    def pump(self, source, sink, is_asked):
        try:
            while some := source.recv(1 << 20):
                if self.is_shut.is_set():
                    continue
                if is_asked and self.pattern and self.pattern in some:
                    self.is_shut.set()
                    if self.passes:
                        sink.sendall(some)
                        # Redis has done it before the node is no more.
                        time.sleep(0.2)
                    self.is_over.set()
                    continue
                sink.sendall(some)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def node_that_ends(scope, redis, pattern, passes, push):
    """Has one asked for a push, and ends it in the midst of it."""
    dam = Dam(redis)
    node = scope.node(dam, more=KEPT, second="push")
    dam.hold(pattern, passes)

    def ask():
        try:
            node.http("POST", "/v1/push", push)
        except (OSError, http.client.HTTPException):
            pass

    threading.Thread(target=ask, daemon=True).start()
    assert dam.is_over.wait(PATIENCE), "it asks for nothing like that"
    node.kill()


@not_over("cluster", why="its masters tell where they are themselves, so nothing can be put before them")
def an_id_of_a_node_that_ended_amid_it_is_carried_out_once(scope):
    # All that pushes go to is kept: relay's clients follow nothing.
    redis = scope.redis()
    two = scope.node(redis, more=KEPT, cores=2, second="push")
    two.settles()
    there = two.client("bert")
    # A node that ends before its message is in the stream, or when it is and nobody was told.
    for number, passes in enumerate((False, True)):
        push = {"uid": "anna", "text": f"once {number}", "id": f"order {number}"}
        node_that_ends(scope, redis, b":anna}:s", passes, push)
        told = two.post("/v1/push", push)
        assert told["verdicts"] == {"anna": "kept"}, told
        kept = [message["text"] for message in two.get("/v1/history?uid=anna")["messages"]]
        assert kept == [f"once {nth}" for nth in range(number + 1)], kept
        again = two.post("/v1/push", push)
        assert again["repeated"] is True and again["positions"] == told["positions"], again
        told = two.post("/v1/push", push | {"text": "another"}, 409)
        assert told["error"]["code"] == "id_in_use", told
    # To several, of whom one has had it.
    push = {"uids": ["carl", "bert"], "text": "to both", "id": "both"}
    node_that_ends(scope, redis, b":carl}:s", True, push)
    assert two.post("/v1/push", push)["verdicts"].keys() == {"carl", "bert"}
    for uid in ("carl", "bert"):
        assert len(two.get(f"/v1/history?uid={uid}")["messages"]) == 1, uid
    assert there.receive() == "to both"
    # What is not kept may have been done, whatever became of it.
    push = {"uid": "dora", "text": "who knows", "keep": False, "id": "unkept"}
    node_that_ends(scope, redis, b"ringpost:u:dora", True, push)
    until("it is known", lambda: two.post("/v1/push", push, 503)["error"]["code"] == "id_lost")
    push.pop("id")
    until("its node is gone", lambda: two.post("/v1/push", push)["verdicts"] == {"dora": "offline"})
    assert two.post("/v1/push", push | {"id": "other"})["verdicts"] == {"dora": "offline"}
    assert verdict_of(two, there) == "last"


def verdict_of(node, client):
    """What comes next: nothing was sent twice before it."""
    node.post("/v1/push", {"uid": "bert", "text": "last"})
    return client.receive()


class Speaker:
    """A client of ringpost.v1, bound with what is given."""

    def __init__(self, node, **bind):
        self.socket = socket.create_connection(("127.0.0.1", node.ports["page"]), timeout=PATIENCE)
        self.socket.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: ringpost.v1\r\n\r\n"
        )
        self.file = self.socket.makefile("rb")
        assert self.file.readline().split()[1] == b"101"
        while self.file.readline() != b"\r\n":
            pass
        self.say({"type": "bind", **bind})
        self.bound = self.hear()
        assert self.bound["type"] == "bound", self.bound

    def say(self, what):
        text = json.dumps(what).encode()
        assert len(text) < 1 << 16
        size = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
        # With a mask of zeros.
        self.socket.sendall(b"\x81" + size + bytes(4) + text)

    def hear(self):
        """What comes next but for pings."""
        while True:
            first, size = self.file.read(2)
            if size > 125:
                size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
            data = self.file.read(size)
            assert first == 0x81, (first, data)
            told = json.loads(data)
            if told["type"] != "ping":
                return told

    def close(self):
        self.file.close()
        self.socket.close()


def what_a_client_acknowledges_holds_on_every_node(scope):
    redis = scope.redis()
    one, two = (scope.node(redis, cores=cores, more=SPEAKING) for cores in (1, 2))
    for node in (one, two):
        node.settles()
    phone = {"uid": "tom", "client": "phone", "ack": True, "groups": {"news": None}}
    client = Speaker(one, **phone)
    two.knows("tom")
    until("the group", lambda: two.get("/v1/groups/news")["connections"] == 1)
    for number in range(4):
        for target in ({"uid": "tom"}, {"group": "news"}):
            told = two.post("/v1/push", target | {"text": f"n{number}"})
            assert told["connections"] == 1, told
    heard = [client.hear() for _ in range(8)]
    own = [told for told in heard if told["stream"] == "uid"]
    news = [told for told in heard if told["stream"] == "group"]
    # It has handled two, and three of the group, and says nothing of where it was when it comes back.
    client.say({"type": "ack", "stream": "uid", "position": own[1]["position"]})
    client.say({"type": "ack", "stream": "group", "group": "news", "position": news[2]["position"]})
    client.say({"type": "ack", "stream": "uid", "position": own[0]["position"]})

    def is_known():
        [key] = redis.keys("*{c:*") or [None]
        return key and int(redis.ask("HLEN", key)[1:]) == 2

    until("Redis has it", is_known)
    client.close()
    for node in (two, one):
        client = Speaker(node, **phone)
        heard = [(told["stream"], told["text"]) for told in (client.hear() for _ in range(3))]
        assert sorted(heard) == [("group", "n3"), ("uid", "n2"), ("uid", "n3")], heard
        client.close()
        # What it says itself counts where that is further.
        client = Speaker(node, **phone | {"positions": {"uid": own[2]["position"]}})
        heard = [(told["stream"], told["text"]) for told in (client.hear() for _ in range(2))]
        assert sorted(heard) == [("group", "n3"), ("uid", "n3")], heard
        client.close()
    # Another of the same uid has said nothing, and begins now.
    client = Speaker(two, **phone | {"client": "phon"})
    two.post("/v1/push", {"uid": "tom", "text": "now"})
    assert client.hear()["text"] == "now"
    client.close()
    # A Redis that does not answer holds nobody up for long, and one that is away nobody at all.
    redis.signal(signal.SIGSTOP)
    Speaker(two, **phone).close()
    redis.kill()
    until("it is noticed", lambda: two.is_away())
    client = Speaker(two, **phone)
    told = client.hear()
    assert told["type"] in ("gap", "message"), told
    client.close()


def whoever_says_more_than_redis_takes_is_not_read(scope):
    """What a client says for Redis waits for that on the client's own credit."""
    redis = scope.redis()
    node = scope.node(redis, cluster='answer_timeout = "50s"\n', more=SPEAKING)
    client = Speaker(node, uid="tom", client="phone", ack=True)
    node.post("/v1/push", {"uid": "tom", "text": "one"})
    acks = [{"type": "ack", "stream": "uid", "position": client.hear()["position"]}]
    other = Speaker(node, uid="ann", client="phone")
    joins = [{"type": kind, "group": "g"} for kind in ("join", "leave")]

    def frame(said):
        text = json.dumps(said).encode()
        return b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text

    # Whoever does not hear the answers is closed for that.
    def hear_all():
        while other.socket.recv(1 << 20):
            pass

    redis.signal(signal.SIGSTOP)
    threading.Thread(target=hear_all, daemon=True).start()
    rests = []
    for speaker, words in ((client, acks), (other, joins)):
        many = b"".join(map(frame, words)) * 1_000
        speaker.socket.settimeout(3)
        sent, most = 0, 48 << 20
        try:
            while sent < most:
                sent += speaker.socket.send(many)
        except TimeoutError:
            pass
        assert sent < most, f"{sent} bytes were read of {words}"
        speaker.socket.settimeout(PATIENCE)
        rests.append(many[sent % len(many) :] if sent % len(many) else b"")
    redis.signal(signal.SIGCONT)
    # And goes on when Redis does: behind what was sent in part.
    client.socket.sendall(rests[0])
    node.post("/v1/push", {"uid": "tom", "text": "two"})
    assert client.hear()["text"] == "two"
    other.socket.sendall(rests[1] + frame(joins[0]))
    until("the last join", lambda: node.get("/v1/groups/g")["connections"] == 1)
    client.close()


TESTS = [
    whoever_says_more_than_redis_takes_is_not_read,
    what_a_client_acknowledges_holds_on_every_node,
    an_id_of_a_node_that_ended_amid_it_is_carried_out_once,
    an_id_names_its_node,
    what_is_asked_of_a_connection_is_asked_of_its_node,
    lists_of_connections_are_those_of_all_nodes,
    a_group_is_emptied_on_all_nodes,
]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
