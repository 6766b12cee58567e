"""What whoever runs a cluster may get wrong, and what Redis itself may lose: it is said, and nothing is lost in silence.

    python3 tests/cluster/operators.py BINARY [NAME ...]

As cluster.py, by which it is run.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading

import cluster
from cluster import NODE, PATIENCE, Process, documented_rights, free_port, until
from outages import sentinel_knows
from streams import KEPT, QUEUED, Events, push


def doctor(scope, url, more=""):
    """What the doctor says of a Redis, on one line."""
    path = f"{scope.place}/tried.toml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(NODE.format(cores=1, redis=url, cluster=more, more=""))
    run = subprocess.run([cluster.BINARY, "doctor", "--config", path], capture_output=True, text=True)
    return " ".join((run.stdout + run.stderr).split())


STICKY_RIGHTS = ("sadd", "srem", "sismember", "scard", "smembers", "srandmember", "zadd", "zrem", "zrangebylex")


def each_right_that_is_missing_is_named(scope):
    redis = scope.redis()
    secret = f"{scope.place}/secret"
    with open(secret, "w", encoding="utf-8") as file:
        file.write("s3cret-enough\n")
    os.chmod(secret, 0o600)
    rules = " ".join(["on", ">s3cret-enough", *documented_rights()])
    for number, (right, words) in enumerate(
        (
            ("evalsha", "does not keep"),
            ("xadd", "does not keep"),
            ("hincrby", "does not keep"),
            ("time", "does not keep"),
            # By which scripts keep nothing but the one or the other.
            ("hlen", "does not keep what clients acknowledge"),
            ("hgetall", "does not keep what clients acknowledge"),
            *((right, "does not keep sticky members") for right in STICKY_RIGHTS),
            ("script|load", "run no scripts"),
            ("publish", "publish in"),
        )
    ):
        assert redis.ask("ACL", "SETUSER", f"u{number}", *rules.split(), f"-{right}") == "+OK"
        told = doctor(scope, f"redis://u{number}@127.0.0.1:{redis.port}", f'secret_file = "{secret}"\n')
        assert words in told, f"without {right}: {told}"
        # The rest is not called wrong.
        if right in STICKY_RIGHTS:
            assert "does not keep what" not in told and "ids" not in told, f"without {right}: {told}"
    assert redis.ask("ACL", "SETUSER", "all", *rules.split()) == "+OK"
    told = doctor(scope, f"redis://all@127.0.0.1:{redis.port}", f'secret_file = "{secret}"\n')
    assert "does not" not in told and "throws keys away" not in told, told
    # What is tried goes by itself.
    until("nothing is left of it", lambda: redis.ask("DBSIZE") == ":0")


def a_redis_that_is_set_up_for_something_else_is_named(scope):
    renamed = scope.redis("--rename-command", "XADD", "")
    assert "does not keep" in doctor(scope, f"redis://127.0.0.1:{renamed.port}")
    renamed = scope.redis("--rename-command", "SCRIPT", "")
    told = doctor(scope, f"redis://127.0.0.1:{renamed.port}")
    assert "knows no scripts" in told and "HMGET" not in told, told
    cache = scope.redis("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    told = doctor(scope, f"redis://127.0.0.1:{cache.port}")
    assert "maxmemory-policy allkeys-lru" in told and "CONFIG SET maxmemory-policy noeviction" in told, told
    # No Redis at all, but something that answers.
    node = scope.node(cache)
    told = doctor(scope, f"redis://127.0.0.1:{node.ports['page']}")
    assert "does not speak Redis' protocol" in told, told


def received(node):
    """How many messages have come to it by Redis."""
    page = node.http("GET", "/metrics")[1]
    return float(re.search(r"^ringpost_cluster_received_total (\S+)", page, re.M)[1])


def nodes_of_one_name_are_told(scope):
    redis = scope.redis()
    nodes = [scope.node(redis, cluster='node = "a"') for _ in range(3)]
    for node in nodes:
        until("it is said", lambda node=node: "another node has the same name" in node.said())
    # They are three all the same.
    one, two, three = nodes
    _client = two.client("bert")
    one.knows("bert")
    assert len(one.get("/v1/nodes")["nodes"]) == 3
    # Whatever they say of themselves meanwhile: it is said once.
    before = received(one)
    until("all speak more than once", lambda: received(one) > before + 8)
    assert one.said().count("same name") == 1, one.said()
    for node in (two, three):
        node.kill()
    other = scope.node(redis, cluster='node = "b"')
    until("they see each other", lambda: "node=b" in one.said())
    assert "same name" not in other.said() and one.said().count("same name") == 1, one.said()


def the_same_id(node):
    told = node.post("/v1/push", {"uid": "anna", "text": "once", "id": "1"})
    return told.get("repeated", False)


# What comes for who begins with a q waits.
BOTH = KEPT.replace("[[history]]", QUEUED.strip().replace('"*"', '"q*"') + "\n\n[[history]]", 1)


def texts_kept(node, uid):
    page = node.get(f"/v1/history?uid={uid}&limit=10")
    return [message["text"] for message in page["messages"]]


def what_a_redis_has_kept_on_disk_is_there_behind_a_gap(scope):
    """It has lost nothing, which nobody can know: so whoever is there is told. What it has is had."""
    disk = ["--appendonly", "yes", "--appendfsync", "always"]
    redis = scope.redis(*disk)
    one, two = (scope.node(redis, more=BOTH) for _ in range(2))
    assert push(one, "quinn", "waits") == "kept"
    here = two.client("quentin")
    assert push(one, "quentin", "comes") == "delivered" and here.receive() == "comes"
    client = Events(two, "anna")
    assert not the_same_id(one) and client.text() == "once"
    last = client.last
    redis.kill()
    for node in (one, two):
        until("it is noticed", lambda node=node: "cluster: away" in node.said())
    redis = scope.redis(*disk, port=redis.port)
    for node in (one, two):
        node.joins(2)
    gaps = [client.receive() for _ in range(2)]
    assert {name for name, _ in gaps} == {"gap"}, gaps
    assert the_same_id(two), "its id is forgotten"
    assert push(one, "anna", "after") in ("delivered", "unknown") and client.text() == "after"
    # Whoever comes back from before hears of it, too.
    again = Events(one, "anna", last)
    assert again.receive()[0] == "gap"
    assert texts_kept(two, "anna") == ["once", "after"]
    assert one.client("quinn").receive() == "waits"
    # It had come, and comes no more than once again to who is still there.
    assert push(one, "quentin", "next") in ("delivered", "unknown")
    assert [text for text in iter(here.receive, "next") if text != "comes"] == []
    assert two.post("/v1/kick", {"uid": "anna", "forget": True})["forgotten"] == 2
    assert texts_kept(one, "anna") == []


def a_fail_over_is_a_gap_and_ids_are_known(scope):
    master = scope.redis()
    replica = scope.redis("--replicaof", "127.0.0.1", str(master.port))
    port = free_port()
    path = f"{scope.place}/sentinel.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            f"port {port}\nbind 127.0.0.1\ndir {scope.place}\n"
            f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 3000\n"
        )
    Process(scope, shutil.which("redis-server"), path, "--sentinel")
    known = f"127.0.0.1:{replica.port}"

    def is_known():
        try:
            return sentinel_knows(port, "replicas", known)
        except OSError:
            return False

    until("the replica is known", is_known)
    one, two = (scope.node(f"redis+sentinel://127.0.0.1:{port}/shop", more=BOTH) for _ in range(2))
    assert push(one, "quinn", "waits") == "kept"
    client = Events(two, "anna")
    assert not the_same_id(one) and client.text() == "once"
    until("the replica has it", lambda: replica.ask("DBSIZE") == master.ask("DBSIZE"))
    master.kill()
    for node in (one, two):
        node.joins(2)
    gaps = [client.receive() for _ in range(2)]
    assert {name for name, _ in gaps} == {"gap"}, gaps
    assert the_same_id(two), "its id is forgotten"
    assert push(one, "anna", "after") in ("delivered", "unknown") and client.text() == "after"
    assert texts_kept(one, "anna") == ["once", "after"]
    assert two.client("quinn").receive() == "waits"


def varint(number):
    """As postcard writes a number."""
    out = bytearray()
    while True:
        number, low = number >> 7, number & 127
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def read_varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 128:
            return number, at


class LaterNode:
    """Has a uid, and its own channel; of an order it knows whose it is, as any release does."""

    NUMBER = 0x1234

    def __init__(self, redis, uid):
        self.redis = redis
        self.socket = socket.create_connection(("127.0.0.1", redis.port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")
        self.socket.sendall(f"SUBSCRIBE ringpost:u:{uid} ringpost:n:{self.NUMBER:016x}\r\n".encode())
        for _ in range(2):
            self.message()

    def message(self):
        """What has come by a channel, or how many there are."""
        words = []
        for _ in range(int(self.file.readline()[1:])):
            line = self.file.readline()
            words.append(self.file.read(int(line[1:]) + 2)[:-2] if line[:1] == b"$" else line)
        return words[-1]

    def publish(self, channel, data):
        with socket.create_connection(("127.0.0.1", self.redis.port), timeout=PATIENCE) as one:
            head = f"*3\r\n$7\r\nPUBLISH\r\n${len(channel)}\r\n{channel}\r\n${len(data)}\r\n"
            one.sendall(head.encode() + data + b"\r\n")
            assert one.recv(100) == b":1\r\n"


def a_node_of_another_release_is_understood_or_unknown(scope):
    """What a node does not know it says so, and whoever has asked is not told that nobody is there."""
    redis = scope.redis()
    one = scope.node(redis)
    one.settles()
    _client = one.client("anna")
    other = LaterNode(redis, "zoe")
    # An order of a kind that comes with a later release.
    push_app = b"\x01\x00\x04push"
    other.publish("ringpost:u:anna", b"\x01\x00" + varint(other.NUMBER) + varint(7) + b"\x00" + push_app + b"\x63")
    answer = b"\x01\x01\x01" + varint(7) + b"\x02"
    assert other.message() == answer
    # And the other way round.
    told = []
    asking = threading.Thread(target=lambda: told.append(one.post("/v1/push", {"uid": "zoe", "text": "x"})))
    asking.start()
    order = other.message()
    assert order[:2] == b"\x01\x00", order
    origin, at = read_varint(order, 2)
    number, _ = read_varint(order, at)
    other.publish(f"ringpost:n:{origin:016x}", b"\x01\x01\x01" + varint(number) + b"\x02")
    asking.join()
    assert told[0]["verdicts"] == {"zoe": "unknown"} and told[0]["nodes_unknown"] == 1, told


TESTS = [
    a_node_of_another_release_is_understood_or_unknown,
    each_right_that_is_missing_is_named,
    a_redis_that_is_set_up_for_something_else_is_named,
    nodes_of_one_name_are_told,
    what_a_redis_has_kept_on_disk_is_there_behind_a_gap,
    a_fail_over_is_a_gap_and_ids_are_known,
]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
