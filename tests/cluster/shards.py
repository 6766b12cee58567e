"""A cluster with several Redis: a list of them, a Redis Cluster, and Sentinels by TLS, each of real servers.

    python3 tests/cluster/shards.py BINARY [NAME ...]

As cluster.py.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cluster
from cluster import Process, free_port, run, until, verdict

USERS = 24


def url_of(*servers):
    return ", ".join(f"redis://127.0.0.1:{one.port}" for one in servers)


def sure(*nodes):
    """Waits until they are sure of who is not there, whichever Redis would know."""
    uids = [f"nobody{number}" for number in range(USERS)]

    def offline(node):
        told = node.post("/v1/push", {"uids": uids, "text": "x"})
        return set(told["verdicts"].values()) == {"offline"}

    for node in nodes:
        until("it is sure", lambda node=node: offline(node))


def crowd_of(node, count=USERS):
    return {f"u{number}": node.client(f"u{number}") for number in range(count)}


def verdicts(node, uids, text="x"):
    return node.post("/v1/push", {"uids": list(uids), "text": text})["verdicts"]


def all_are_there(node, uids):
    return set(verdicts(node, uids, "probe").values()) == {"delivered"}


def reads(client, text):
    while (line := client.receive()) != text:
        assert line.startswith("probe"), line


def several_are_one(scope):
    """Pushes, groups, everybody, lists and connections by id go by several Redis, whose URLs are a list in the file."""
    servers = [scope.redis() for _ in range(3)]
    one, two = scope.node(url_of(*servers)), scope.node(url_of(*servers), cores=2)
    for node in (one, two):
        node.joins(3)
    sure(one, two)
    clients = crowd_of(two)
    uids = list(clients)
    until("all are known", lambda: all_are_there(one, uids))
    told = one.post("/v1/push", {"uids": [*uids, "nobody"], "text": "hi"})
    assert told["verdicts"] == dict.fromkeys(uids, "delivered") | {"nobody": "offline"}, told
    for client in clients.values():
        reads(client, "hi")
    assert one.post("/v1/broadcast", {"text": "all"}) == {"connections": USERS}
    for client in clients.values():
        assert client.receive() == "all"
    for number, uid in enumerate(uids):
        assert one.post(f"/v1/groups/g{number % 5}/join", {"uid": uid})["refused"] == 0
    for number in range(5):
        size = len(uids[number::5])
        push = {"group": f"g{number}", "text": "probe"}
        until("its members", lambda push=push, size=size: one.post("/v1/push", push)["connections"] == size)
    # Each Redis has its share.
    counts = [channels(server) for server in servers]
    assert all(count >= 6 for count in counts), counts
    name = two.get("/v1/uids/u3")["list"][0]["connection"]
    told = one.post("/v1/push", {"connection": name, "text": "probe by id"})
    assert told["verdicts"] == {name: "delivered"}, told
    told = one.get("/v1/nodes")
    assert len(told["nodes"]) == 2 and len(told["redis"]) == 3, told
    assert one.post("/v1/kick", {"uid": "u1"}) == {"connections": 1}
    # What one sends comes in its order, though it goes by one Redis or another.
    batch = [{"push": {"uid": "u3", "text": f"n{number}"}} for number in range(300)]
    one.post("/v1/batch", batch)
    client = clients["u3"]
    found = [line for line in iter(client.receive, "n299") if not line.startswith("probe")]
    assert found == [f"n{number}" for number in range(299)]
    check_page(one, servers, scope.place)


def channels(server):
    """How many of the cluster's it has."""
    run = subprocess.run(["redis-cli", "-p", str(server.port), "PUBSUB", "CHANNELS"], capture_output=True, text=True)
    return len(run.stdout.split())


def check_page(node, servers, place):
    page = node.http("GET", "/metrics")[1]
    for server in servers:
        wanted = f'ringpost_cluster_redis_up{{redis="127.0.0.1:{server.port}"}} 1'
        assert wanted in page, page
    path = f"{place}/list.toml"
    with open(path, "w", encoding="utf-8") as file:
        urls = ", ".join(f'"redis://127.0.0.1:{server.port}"' for server in servers)
        file.write(f'preset = "push"\n\n[cluster]\nredis = [{urls}]\n')
    run = subprocess.run([cluster.BINARY, "check", path], capture_output=True, text=True)
    found = [line for line in run.stdout.splitlines() if "would do" in line]
    assert len(found) == 3 and all(f"127.0.0.1:{server.port}" in run.stdout for server in servers), run


def one_that_dies_makes_its_own_unknown(scope):
    """The users of the others are delivered to, or offline, all the while."""
    servers = [scope.redis() for _ in range(3)]
    more = '\n[[history]]\nkind = "uid"\nname = "kept*"\nsize = 50\nttl = "1h"\n'
    nodes = [scope.node(url_of(*servers), more=more) for _ in range(2)]
    one, two = nodes
    for node in nodes:
        node.joins(3)
    sure(*nodes)
    clients = crowd_of(two)
    until("all are known", lambda: all_are_there(one, clients))
    nobodies = [f"nobody{number}" for number in range(USERS)]
    servers[1].kill()
    until("it is noticed", lambda: "cluster: away" in one.said() and "cluster: away" in two.said())
    status, text = one.http("GET", "/readyz")
    assert status == 200 and "Redis is away" in text, text
    told, gone = verdicts(one, clients), verdicts(one, nobodies)
    unknown = {uid for uid, it in told.items() if it == "unknown"}
    assert 0 < len(unknown) < USERS and set(told.values()) == {"delivered", "unknown"}, told
    assert set(gone.values()) == {"offline", "unknown"}, gone
    away = [it["address"] for it in one.get("/v1/nodes")["redis"] if it["away"]]
    assert away == [f"127.0.0.1:{servers[1].port}"], away
    # What is kept by the others is kept.
    kept = {}
    for number in range(USERS):
        push = {"uid": f"kept{number}", "text": "kept"}
        kept[push["uid"]] = one.post("/v1/push", push)["verdicts"][push["uid"]]
    assert set(kept.values()) == {"offline", "unknown"} or set(kept.values()) == {"kept", "unknown"}, kept
    server = scope.redis(port=servers[1].port)
    for node in nodes:
        node.joins(4)
    until("all are known again", lambda: all_are_there(one, clients))
    # A frozen one holds up nobody of the others.
    joined = one.said().count("cluster: joined")
    server.signal(signal.SIGSTOP)
    others = [uid for uid in clients if uid not in unknown]
    for _ in range(10):
        # All wait for those of the frozen one, and the others' are known.
        told = verdicts(one, clients)
        assert {told[uid] for uid in others} == {"delivered"} and told.keys() == clients.keys(), told
    assert {told[uid] for uid in unknown} == {"unknown"}, told
    server.signal(signal.SIGCONT)
    # The other may not have noticed.
    one.joins(joined + 1)
    until("all are known again", lambda: all_are_there(one, clients))


def history_is_where_its_uid_is(scope):
    """What is kept is kept once, by the Redis of its uid, and read on any node."""
    servers = [scope.redis() for _ in range(2)]
    more = '\n[[history]]\nkind = "uid"\nname = "h*"\nsize = 50\nttl = "1h"\n'
    one, two = (scope.node(url_of(*servers), more=more) for _ in range(2))
    for node in (one, two):
        node.joins(2)
    sure(one, two)
    keep_and_read(one, two)
    keys = [keys_of(server.port) for server in servers]
    assert all(keys) and not set(keys[0]) & set(keys[1]), keys


def keys_of(port):
    run = subprocess.run(["redis-cli", "-p", str(port), "KEYS", "*"], capture_output=True, text=True)
    return run.stdout.split()


def keep_and_read(one, two):
    for number in range(12):
        for nth in range(3):
            node = (one, two)[nth % 2]
            node.post("/v1/push", {"uid": f"h{number}", "text": f"m{nth}", "id": f"i{number}.{nth}"})
        again = one.post("/v1/push", {"uid": f"h{number}", "text": "m1", "id": f"i{number}.1"})
        assert "verdicts" in again, again
    for number in range(12):
        for node in (one, two):
            told = node.get(f"/v1/history?uid=h{number}")
            assert [it["text"] for it in told["messages"]] == ["m0", "m1", "m2"], told


def nodes_of_other_lists_are_told(scope):
    """A node that has the same Redis in another order is no silent gap."""
    servers = [scope.redis() for _ in range(2)]
    one, two = scope.node(url_of(*servers)), scope.node(url_of(*reversed(servers)))
    until("it is told", lambda: "another list" in one.said() and "another list" in two.said())
    clients = crowd_of(two)
    time.sleep(6)
    told = verdicts(one, clients)
    assert "offline" not in told.values(), told


class RedisCluster:
    """Three masters, and a replica of the first."""

    def __init__(self, scope, masters=3):
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0"]
        self.scope, self.servers = scope, []
        for _ in range(masters + 1):
            port = free_port()
            config = f"nodes-{port}.conf"
            bus = ["--cluster-port", str(free_port())]
            self.servers.append(scope.redis(*options, *bus, "--cluster-config-file", config, port=port))
        self.masters, self.replica = self.servers[:masters], self.servers[masters]
        self.cli("--cluster", "create", *(f"127.0.0.1:{one.port}" for one in self.masters), "--cluster-yes")
        until("the cluster", lambda: all("cluster_state:ok" in self.ask(one, "CLUSTER", "INFO") for one in self.masters))
        until("the replica joins", lambda: "Node added" in self.cli(
            "--cluster", "add-node", f"127.0.0.1:{self.replica.port}", f"127.0.0.1:{self.masters[0].port}",
            "--cluster-slave", "--cluster-master-id", self.id_of(self.masters[0]),
        ) or self.knows_replica())
        until("the replica is one", self.knows_replica)

    def knows_replica(self):
        return "slave_repl_offset" in (text := self.ask(self.replica, "INFO", "replication")) and "link_status:up" in text

    def cli(self, *words):
        run = subprocess.run(["redis-cli", *words], capture_output=True, text=True)
        return run.stdout + run.stderr

    def ask(self, server, *words):
        return self.cli("-p", str(server.port), *words)

    def id_of(self, server):
        return self.ask(server, "CLUSTER", "MYID").strip()

    def url(self, *servers, query=""):
        return "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in servers or self.masters) + query


MORE = '\n[[history]]\nkind = "uid"\nname = "h*"\nsize = 50\nttl = "1h"\n'
PARTITIONS = 6


def a_redis_cluster_is_one(scope):
    """By sharded channels and three connections a master; a slot that moves and a master that is lost disturb the users
    there for a while, and nobody is offline."""
    redis = RedisCluster(scope)
    nodes = one, two = nodes_of(scope, redis)
    clients = crowd_of(two)
    until("all are known", lambda: all_are_there(one, clients))
    told = one.post("/v1/broadcast", {"text": "probe all"})
    assert told == {"connections": USERS}, told
    keep_and_read(one, two)
    for server in redis.masters:
        assert redis.ask(server, "PUBSUB", "SHARDCHANNELS").split() and keys_of(server.port)
        assert not redis.ask(server, "PUBSUB", "CHANNELS").split(), "a channel of all"
    assert len(one.get("/v1/nodes")["redis"]) == PARTITIONS
    a_slot_moves(redis, one, two, clients)
    # The replica takes over.
    joined = [node.said().count("cluster: joined") for node in nodes]
    redis.masters[0].kill()
    for node, times in zip(nodes, joined):
        node.joins(times + 1)
    all_come_back(one, clients)
    assert "role:master" in redis.ask(redis.replica, "INFO", "replication")
    pairs_are(redis, [redis.replica, *redis.masters[1:]], nodes)
    # Once for the master, not for each partition: a reason for its end, and one for each way in which it is not found.
    for node in nodes:
        lines = [line for line in node.said().splitlines() if "cluster: away" in line]
        assert len(set(lines)) == len(lines) and len(lines) <= 8, lines


def nodes_of(scope, redis):
    """Two, which have three connections to each master."""
    url = redis.url(query=f"?partitions={PARTITIONS}")
    nodes = [scope.node(url, more=MORE, cores=2) for _ in range(2)]
    for node in nodes:
        is_joined = lambda node=node: not any(it["away"] for it in node.get("/v1/nodes")["redis"])
        until("all partitions are joined", is_joined)
        assert node.said().count("cluster: joined") == len(redis.masters), node.said()
    sure(*nodes)
    pairs_are(redis, redis.masters, nodes)
    return nodes


def pairs_of(redis, server):
    """The ids of connections of nodes to it: those that publish, those that are subscribed, and life lines."""
    found = [], [], []
    for line in redis.ask(server, "CLIENT", "LIST").splitlines():
        told = dict(word.split("=", 1) for word in line.split() if "=" in word)
        # Neither that of its replica nor the one that asks.
        if told.get("cmd") != "client|list" and told["flags"] in ("N", "P") and told.get("cmd") != "cluster|slots":
            # A life line has one channel of each partition, as long as no slot has moved.
            kind = 0 if told["flags"] == "N" else 1 if int(told["ssub"]) > PARTITIONS // 3 else 2
            found[kind].append(told["id"])
    return found


def pairs_are(redis, masters, nodes):
    wanted = [(len(nodes), 2 * len(nodes))] * len(masters)

    def count():
        found = [pairs_of(redis, server) for server in masters]
        return [(len(publish), len(subscribed + lives)) for publish, subscribed, lives in found]

    until(f"three for each node: {count()}", lambda: count() == wanted, patience=40)


def all_come_back(node, clients):
    """And none of them is offline meanwhile."""
    seen = set()
    until("all are known again", lambda: set(seen.update(found := verdicts(node, clients).values()) or found) == {"delivered"})
    assert "offline" not in seen, seen


def a_slot_moves(redis, one, two, clients):
    """The slot of a partition goes from the first master to the second, with what is kept there. The others stay."""
    source, target = redis.masters[:2]
    channel = redis.ask(source, "PUBSUB", "SHARDCHANNELS").split()[0]
    slot = redis.ask(source, "CLUSTER", "KEYSLOT", channel).strip()
    before = [pairs_of(redis, server) for server in redis.masters]
    joined = [node.said().count("cluster: joined") for node in (one, two)]
    joins = [joins_of(node) for node in (one, two)]
    redis.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", redis.id_of(source))
    redis.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", redis.id_of(target))
    while keys := redis.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, "100").split():
        redis.ask(source, "MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *keys)
    for server in (target, source, redis.masters[2]):
        redis.ask(server, "CLUSTER", "SETSLOT", slot, "NODE", redis.id_of(target))
    for node, times in zip((one, two), joined):
        node.joins(times + 1)
    all_come_back(one, clients)
    assert "has another master" in one.said(), one.said()
    # No other partition has joined anew, and the connections are the same.
    assert [joins_of(node) for node in (one, two)] == [times + 1 for times in joins], joins
    for server, pair in zip(redis.masters, before):
        # Redis has one more by which it moved the keys.
        now = pairs_of(redis, server)
        assert set(sum(pair, [])) <= set(sum(now, [])), (pair, now)


def joins_of(node):
    """How often its partitions have joined, all of them together."""
    return int(re.search(r"^ringpost_cluster_joins_total (\d+)", node.http("GET", "/metrics")[1], re.M)[1])


def who_shares_a_connection_joins_anew_together(scope):
    """One of a pair is ended, or its master steps down for its replica, and only that master's partitions are disturbed."""
    redis = RedisCluster(scope)
    nodes = one, two = nodes_of(scope, redis)
    clients = crowd_of(two)
    until("all are known", lambda: all_are_there(one, clients))
    master = redis.masters[0]
    for nth in range(2):
        # Of each node either the one that publishes or the one that is subscribed.
        joined, joins = two.said().count("cluster: joined"), joins_of(one) + joins_of(two)
        pairs = pairs_of(redis, master)
        for client in pairs[nth]:
            redis.ask(master, "CLIENT", "KILL", "ID", client)
        two.joins(joined + 1)
        all_come_back(one, clients)
        pairs_are(redis, redis.masters, nodes)
        assert not set(sum(pairs, [])) & set(sum(pairs_of(redis, master), [])), "one of an old pair is still there"
        again = 2 * PARTITIONS // 3
        until("all of these join", lambda: joins_of(one) + joins_of(two) == joins + again, patience=20)
    # It steps down in good order: nobody is offline, and all that was his goes by the other.
    assert "OK" in redis.ask(redis.replica, "CLUSTER", "FAILOVER")
    until("the replica is the master", lambda: "role:master" in redis.ask(redis.replica, "INFO", "replication"))
    all_come_back(one, clients)
    pairs_are(redis, [redis.replica, *redis.masters[1:]], nodes)
    until("nobody is left behind", lambda: not any(pairs_of(redis, master)), patience=20)
    # A node that has another number of partitions is no silent gap.
    other = scope.node(redis.url(query=f"?partitions={PARTITIONS - 1}"))
    until("it is told", lambda: "another list" in one.said() and "another list" in other.said())
    for node in (one, other):
        until("nobody is offline", lambda node=node: "offline" not in verdicts(node, [*clients, "nobody"]).values())
    time.sleep(3)
    for node in (one, other):
        assert "offline" not in verdicts(node, [*clients, "nobody"]).values()


def a_cluster_that_is_none_is_named(scope):
    """And one that is not named as one."""
    plain = scope.redis()
    bus = ["--cluster-port", str(free_port())]
    member = scope.redis("--cluster-enabled", "yes", *bus, "--cluster-config-file", "alone.conf")
    for url, words in (
        (f"redis+cluster://127.0.0.1:{plain.port}", "it is none of a Redis Cluster; name it by redis://"),
        (f"redis://127.0.0.1:{member.port}", r"redis\+cluster"),
        (f"redis+cluster://127.0.0.1:{member.port}", "knows no master"),
        (f"redis+cluster://127.0.0.1:{free_port()}", "no node of the Redis Cluster"),
    ):
        node = scope.node(url, joins=False)
        until(words, lambda node=node, words=words: re.search(f"cluster: away: .*{words}", node.said()))


def sentinels_by_tls_with_a_password(scope):
    """Both the Sentinel and the master speak TLS alone; each has a password of its own."""
    here = os.path.dirname(os.path.abspath(__file__))
    certificates = os.path.join(here, "../certificates")
    files = ["tls-cert-file", f"{certificates}/p256.pem", "tls-key-file", f"{certificates}/p256.key"]
    files += ["tls-ca-cert-file", f"{certificates}/ca.pem", "tls-auth-clients", "no"]
    pairs = list(zip(files[::2], files[1::2]))
    plain, tls, port = free_port(), free_port(), free_port()
    options = [word for key, value in pairs for word in (f"--{key}", value)]
    scope.redis("--tls-port", str(tls), *options, port=plain)
    path = f"{scope.place}/sentinel.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"port 0\ntls-port {port}\nbind 127.0.0.1\ndir {scope.place}\nrequirepass of-sentinel\n")
        file.write("tls-replication yes\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n")
        file.writelines(f"{key} {value}\n" for key, value in pairs)
        file.write(f"sentinel monitor shop localhost {tls} 1\n")
    Process(scope, shutil.which("redis-server"), path, "--sentinel")
    secrets = {}
    for name in ("of-sentinel", "wrong"):
        secrets[name] = f"{scope.place}/{name}"
        with open(secrets[name], "w", encoding="utf-8") as file:
            file.write(f"{name}\n")
    trusted = f'ca_file = "{certificates}/ca.pem"\n'
    url = f"rediss+sentinel://localhost:{port}/shop"
    own = f'sentinel_secret_file = "{secrets["of-sentinel"]}"\n'
    for more, words in (("", "sentinel_secret_file"), (own.replace("of-sentinel", "wrong"), "password is wrong")):
        node = scope.node(url, joins=False, cluster=trusted + more)
        until(words, lambda node=node, words=words: re.search(f"cluster: away: .*{words}", node.said()))
        node.kill()
    one, two = (scope.node(url, cluster=trusted + own) for _ in range(2))
    one.settles()
    there = two.client("bert")
    one.knows("bert")
    assert verdict(one, "bert") == "delivered" and there.receive() == "x"


TESTS = [
    a_redis_cluster_is_one,
    who_shares_a_connection_joins_anew_together,
    one_that_dies_makes_its_own_unknown,
    nodes_of_other_lists_are_told,
    several_are_one,
    history_is_where_its_uid_is,
    sentinels_by_tls_with_a_password,
    a_cluster_that_is_none_is_named,
]

if __name__ == "__main__":
    sys.exit(run(TESTS, sys.argv[1], sys.argv[2:]))
