"""What users of a cluster are told while Redis, or a node, is lost: never that somebody is offline who is there.

    [UIDS=100000] python3 tests/cluster/outages.py BINARY [NAME ...]

As cluster.py, whose nodes and Redis it has.
"""

import json
import os
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import cluster
from cluster import NODE, Line, Process, free_port, run, until, verdict

# Users of one node that is lost.
UIDS = int(os.environ.get("UIDS", "6000"))
# Those of one process of clients, which has so many descriptors.
CROWD = 15_000
CLIENTS = """
import socket, sys
host, port, first, count = sys.argv[1], *map(int, sys.argv[2:])
clients = []
for number in range(first, first + count):
    clients.append(socket.create_connection(("127.0.0.1", port), source_address=(host, 0)))
    clients[-1].sendall(b"u%d\\n" % number)
print("all there", flush=True)
sys.stdin.read()
"""


def binary():
    # Known when the tests run.
    return cluster.BINARY


class Crowd:
    """So many clients of a node, u0 and so on."""

    def __init__(self, scope, node, count):
        self.processes, self.uids = [], [f"u{number}" for number in range(count)]
        for first in range(0, count, CROWD):
            host = f"127.0.1.{first // CROWD + 1}"
            numbers = [str(node.ports["push"]), str(first), str(min(CROWD, count - first))]
            one = Process(scope, sys.executable, "-c", CLIENTS, host, *numbers, stdin=subprocess.PIPE)
            self.processes.append(one)
        for one in self.processes:
            until("the clients", lambda one=one: "all there" in one.said())

    def verdicts(self, node, uids=None):
        """What a push to these, or to all, comes to."""
        uids, found = uids or self.uids, {}
        for first in range(0, len(uids), 1_000):
            body = {"uids": uids[first : first + 1_000], "text": "x"}
            found |= node.post("/v1/push", body)["verdicts"]
        return found

    def all_are_there(self, node):
        return set(self.verdicts(node).values()) == {"delivered"}


class Watch(threading.Thread):
    """Pushes to some of a crowd all the time, and keeps what it was told."""

    def __init__(self, node, crowd):
        super().__init__()
        self.node, self.crowd, self.told, self.is_over = node, crowd, {}, False
        self.start()

    def run(self):
        while not self.is_over:
            found = self.crowd.verdicts(self.node, random.sample(self.crowd.uids, 200))
            for one in found.values():
                self.told[one] = self.told.get(one, 0) + 1

    def end(self):
        self.is_over = True
        self.join()
        return self.told


class Proxy:
    """Between a node and Redis; it may stop to pass anything on, and then says nothing."""

    def __init__(self, port):
        self.listener, self.to, self.passes = socket.create_server(("127.0.0.1", 0)), port, threading.Event()
        self.port = self.listener.getsockname()[1]
        self.passes.set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            one, _ = self.listener.accept()
            other = socket.create_connection(("127.0.0.1", self.to))
            for ends in ((one, other), (other, one)):
                threading.Thread(target=self.carry, args=ends, daemon=True).start()

    def carry(self, source, sink):
        try:
            while bytes_read := source.recv(65_536):
                self.passes.wait()
                sink.sendall(bytes_read)
        except OSError:
            pass
        self.passes.wait()
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class SlowProxy(Proxy):
    """One that passes on everything late, and no more than so much."""

    def __init__(self, port):
        super().__init__(port)
        # In seconds, and bytes a second.
        self.delay, self.rate = 0, 1 << 30

    def carry(self, source, sink):
        waiting = queue.Queue(64)

        def pass_on():
            while piece := waiting.get():
                due, some = piece
                time.sleep(max(0, due - time.monotonic()) + len(some) / self.rate)
                try:
                    sink.sendall(some)
                except OSError:
                    break
            for one in (source, sink):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            while waiting.get():
                pass

        threading.Thread(target=pass_on, daemon=True).start()
        try:
            while some := source.recv(4_096):
                waiting.put((time.monotonic() + self.delay, some))
        except OSError:
            pass
        waiting.put(None)
        waiting.put(None)


def resident(node):
    """Its memory, in MiB."""
    with open(f"/proc/{node.running.pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


def a_redis_that_is_slow_slows_nobody_at_home(scope):
    """Behind a line that delays what it carries, and then one that carries next to nothing."""
    redis = scope.redis()
    proxy = SlowProxy(redis.port)
    one, two = scope.node(proxy.port, cluster='answer_timeout = "4s"'), scope.node(redis)
    for node in (one, two):
        node.settles()
    here, there = one.client("anna"), two.client("bert")
    one.knows("bert")
    at_home, count = one.backend(), 0
    for proxy.delay in (0.05, 0.2, 0.5):
        remote, times = one.backend(), []
        for number in range(5):
            remote.send(f'{{"uid":"bert","n":{number}}}')
            for _ in range(5):
                start = time.monotonic()
                assert at_home.ask(f'{{"uid":"anna","n":{count}}}') == "ok"
                assert json.loads(here.receive())["n"] == count
                times.append(time.monotonic() - start)
                count += 1
        start = time.monotonic()
        # Nobody at home waits for the line; who is elsewhere is told when it has carried both ways.
        assert sorted(times)[len(times) // 2] < max(proxy.delay, 0.2), times
        assert [remote.receive() for _ in range(5)] == ["ok"] * 5
        assert [json.loads(there.receive())["n"] for _ in range(5)] == list(range(5))
    assert "cluster: away" not in one.said(), one.said()
    # Some 8 MB for it, which it would carry in seven minutes.
    proxy.delay, proxy.rate, before = 0.1, 20_000, resident(one)
    flood, pad, pushed = one.backend(), "x" * 8_000, 1_000
    told = []

    def read():
        for _ in range(pushed):
            told.append(flood.receive())

    def write():
        for number in range(pushed):
            flood.send(f'{{"uid":"bert","n":{number},"pad":"{pad}"}}')

    threads = [threading.Thread(target=each, daemon=True) for each in (read, write)]
    for thread in threads:
        thread.start()
    most, times = before, []
    while threads[0].is_alive():
        start = time.monotonic()
        assert at_home.ask(f'{{"uid":"anna","n":{count}}}') == "ok"
        assert json.loads(here.receive())["n"] == count
        times.append(time.monotonic() - start)
        count += 1
        most = max(most, resident(one))
        time.sleep(0.02)
    print(f"{len(times)} at home meanwhile, {sorted(times)[len(times) // 2] * 1e3:.1f} ms; {most - before:.0f} MiB more", flush=True)
    assert sorted(times)[len(times) // 2] < 0.2, times
    assert most - before < 100, f"{before:.0f} to {most:.0f} MiB"
    wrong = {it for it in told if it != "ok" and not it.startswith("fail: unknown, ")}
    assert not wrong and len(told) == pushed, wrong
    proxy.delay, proxy.rate = 0, 1 << 30
    until("bert is found again", lambda: verdict(one, "bert", "again") == "delivered")
    numbers = [json.loads(line)["n"] for line in iter(there.receive, "again")]
    assert numbers == sorted(set(numbers)), "twice, or out of order"
    assert {number for number, answer in enumerate(told) if answer == "ok"} <= set(numbers)


def pubsub_clients(redis):
    """Redis' connections that are subscribed, as it numbers them: the newest last."""
    with socket.create_connection(("127.0.0.1", redis.port)) as one:
        one.sendall(b"CLIENT LIST TYPE pubsub\r\n")
        file = one.makefile("rb")
        size = int(file.readline()[1:])
        return sorted(map(int, re.findall(r"^id=(\d+)", file.read(size).decode(), re.M)))


def channels(redis):
    """How many Redis has that somebody is subscribed to."""
    with socket.create_connection(("127.0.0.1", redis.port)) as one:
        one.sendall(b"INFO stats\r\n")
        file = one.makefile("rb")
        size = int(file.readline()[1:])
        return int(re.search(rb"pubsub_channels:(\d+)", file.read(size))[1])


def newest_link(redis):
    """The subscribed connection of the node that has joined last: a life line has one channel."""
    with socket.create_connection(("127.0.0.1", redis.port)) as one:
        one.sendall(b"CLIENT LIST TYPE pubsub\r\n")
        file = one.makefile("rb")
        size = int(file.readline()[1:])
        found = re.findall(r"^id=(\d+) .* sub=(\d+) ", file.read(size).decode(), re.M)
        return max(int(number) for number, channels in found if int(channels) > 1)


def many_users_are_never_offline(scope):
    """Redis is killed and started anew, twice, and each time knows nobody."""
    redis = scope.redis()
    # Each core has as many descriptors as a process, if it is told so; and these clients say nothing for long.
    cores = f'{1 + UIDS // CROWD}\nidle_timeout = "1h"'
    if UIDS > CROWD:
        cores += '\ndescriptor_tables = "per_core"'
    # As long as a busy machine needs for a thousand at once.
    patient = 'answer_timeout = "10s"'
    one, two = scope.node(redis, cluster=patient), scope.node(redis, cores=cores, cluster=patient)
    one.settles()
    crowd = Crowd(scope, two, UIDS)
    until("all are known", lambda: crowd.all_are_there(one))
    watch = Watch(one, crowd)
    for times in (2, 3):
        redis.kill()
        until("it is noticed", lambda: two.said().count("cluster: away") >= times - 1)
        start = time.monotonic()
        redis = scope.redis(port=redis.port)
        one.joins(times)
        two.joins(times)
        joined = time.monotonic()
        until("all are subscribed", lambda: channels(redis) > UIDS)
        took = f"{joined - start:.1f} s, all subscribed {time.monotonic() - joined:.1f} s later"
        until("all are known again", lambda: crowd.all_are_there(one))
        print(f"{UIDS} users after Redis has started: joined {took}, known {time.monotonic() - start:.1f} s", flush=True)
    told = watch.end()
    assert set(told) == {"delivered", "unknown"}, told
    one.settles()


def whom_redis_cuts_off_is_not_offline(scope):
    """As it does with one that reads too slowly."""
    redis, one, two = scope.pair()
    crowd = Crowd(scope, two, 2_000)
    until("all are known", lambda: crowd.all_are_there(one))
    watch = Watch(one, crowd)
    for times in range(2, 7):
        assert redis.ask("CLIENT", "KILL", "ID", str(newest_link(redis))) == ":1"
        two.joins(times)
        until("all are known again", lambda: crowd.all_are_there(one))
    assert "delivered" in watch.told and "offline" not in watch.end(), watch.told
    assert one.said().count("cluster: joined") == 1, one.said()


def redis_at_its_limits(scope):
    """Without memory it passes on what is said; and who reads too slowly is cut off, and comes back."""
    redis, one, two = scope.pair()
    client = two.client("bert")
    one.knows("bert")
    assert redis.ask("CONFIG", "SET", "maxmemory", "1") == "+OK"
    assert verdict(one, "bert") == "delivered" and client.receive() == "x"
    later = two.client("carl")
    one.knows("carl")
    assert verdict(one, "carl") == "delivered" and later.receive() == "x"
    limits = "pubsub 1048576 0 0"
    assert redis.ask("CONFIG", "SET", "client-output-buffer-limit", limits) == "+OK"
    found = []

    def read():
        while (line := client.receive()) != "the end":
            if line != "again":
                found.append(json.loads(line)["n"])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    two.signal(signal.SIGSTOP)
    cut, text = pubsub_clients(redis), "x" * 60_000
    # Behind what the kernel holds for it.
    backend = one.backend()
    count = 0
    while len(pubsub_clients(redis)) == len(cut):
        backend.send(f'{{"uid":"bert","n":{count},"pad":"{text}"}}')
        count += 1
    two.signal(signal.SIGCONT)
    two.joins(2)
    told = [backend.receive() for _ in range(count)]
    until("bert is found again", lambda: verdict(one, "bert", "again") == "delivered")
    assert verdict(one, "bert", "the end") == "delivered"
    reader.join(60)
    assert found == sorted(set(found)), "twice, or out of order"
    was_told = {number for number, answer in enumerate(told) if answer == "ok"}
    assert was_told <= set(found), "told and not come"
    assert one.said().count("cluster: joined") == 1, one.said()


def gone_in_time(node, uid, start):
    until(f"{uid} is offline", lambda: verdict(node, uid) == "offline")
    took = time.monotonic() - start
    print(f"{uid} is offline after {took:.1f} s", flush=True)
    # It is 10 s at most; a machine that stands still may add to that.
    assert took < 20, took


def a_machine_that_vanishes_is_gone_soon(scope):
    redis = scope.redis()
    proxy = Proxy(redis.port)
    one, two, three = scope.node(redis), scope.node(proxy.port), scope.node(redis)
    one.settles()
    here, there = one.client("anna"), two.client("bert")
    three.knows("anna")
    one.knows("bert")
    proxy.passes.clear()
    start = time.monotonic()
    assert verdict(one, "bert") == "unknown"
    gone_in_time(one, "bert", start)
    # Each comes to that by itself.
    gone_in_time(three, "bert", start)
    assert verdict(three, "anna", "still") == "delivered" and here.receive() == "still"
    assert one.get("/v1/nodes").get("nodes_unknown") is None
    # Whoever noticed it first has had Redis end its connection.
    assert 1 <= (one.said() + three.said()).count("is silent") <= 2, one.said()
    # It was there all the while, and is again.
    proxy.passes.set()
    two.joins(2)
    until("bert is found again", lambda: verdict(one, "bert", "again") == "delivered")
    while there.receive() != "again":
        pass


class Namespace:
    """A network of its own, by a cable that can be pulled; None where that is not allowed."""

    def __init__(self):
        # Not those of another run beside this one.
        self.name, number = f"rp{os.getpid()}", os.getpid() % 250
        self.here, self.there = f"10.87.{number}.1", f"10.87.{number}.2"
        self.outer, inner = f"{self.name}a", f"{self.name}b"
        commands = [
            f"netns add {self.name}",
            f"link add {self.outer} type veth peer name {inner}",
            f"link set {inner} netns {self.name}",
            f"addr add {self.here}/24 dev {self.outer}",
            f"link set {self.outer} up",
            f"-n {self.name} addr add {self.there}/24 dev {inner}",
            f"-n {self.name} link set {inner} up",
            f"-n {self.name} link set lo up",
        ]
        self.is_there = bool(shutil.which("ip")) and all(self.does(one) for one in commands)

    def does(self, command):
        run = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
        if run.returncode:
            print(f"ip {command}: {run.stderr.strip()}", flush=True)
        return run.returncode == 0

    def end(self):
        for command in (f"link del {self.outer}", f"netns del {self.name}"):
            subprocess.run(["ip", *command.split()], capture_output=True)


def a_machine_whose_cable_is_pulled_is_gone_soon(scope):
    """As above, by the kernel: no end of a connection is told."""
    namespace = Namespace()
    try:
        if not namespace.is_there:
            print("no namespace can be made here: the proxy's test stands alone", flush=True)
            return
        redis = scope.redis("--bind", "127.0.0.1", namespace.here, "--protected-mode", "no")
        one = scope.node(redis)
        path = f"{scope.place}/far.toml"
        with open(path, "w", encoding="utf-8") as file:
            text = NODE.format(cores=1, redis=f"redis://{namespace.here}:{redis.port}", cluster="", more="")
            file.write(text.replace("127.0.0.1:0", "0.0.0.0:0", 1))
        far = Process(scope, "ip", "netns", "exec", namespace.name, binary(), "serve", "--config", path)
        until("it joins", lambda: "cluster: joined" in far.said())
        one.settles()
        port = re.search(r"push +text://0\.0\.0\.0:(\d+)", far.said())[1]
        client = socket.create_connection((namespace.there, int(port)))
        client.sendall(b"bert\n")
        one.knows("bert")
        namespace.does(f"link set {namespace.outer} down")
        start = time.monotonic()
        assert verdict(one, "bert") == "unknown"
        gone_in_time(one, "bert", start)
        namespace.does(f"link set {namespace.outer} up")
        until("bert is found again", lambda: verdict(one, "bert") == "delivered")
    finally:
        for process in scope.processes:
            process.end()
        namespace.end()


def a_node_that_is_frozen_is_gone_soon(scope):
    _, one, two = scope.pair()
    here, there = one.client("anna"), two.client("bert")
    one.knows("bert")
    two.signal(signal.SIGSTOP)
    start = time.monotonic()
    assert verdict(one, "bert") == "unknown"
    gone_in_time(one, "bert", start)
    assert one.post("/v1/broadcast", {"text": "x"}) == {"connections": 1}
    assert here.receive() == "x"
    two.signal(signal.SIGCONT)
    two.joins(2)
    until("bert is found again", lambda: verdict(one, "bert", "again") == "delivered")
    while there.receive() != "again":
        pass
    # Nobody is held to be gone for having stood still oneself.
    assert "is silent" not in two.said(), two.said()
    assert verdict(two, "anna", "and back") == "delivered"


def a_redis_that_is_frozen_makes_nobody_gone(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "20s"')
    _client = two.client("bert")
    one.knows("bert")
    redis.signal(signal.SIGSTOP)
    time.sleep(9)
    redis.signal(signal.SIGCONT)
    assert verdict(one, "bert") == "delivered"
    assert "is silent" not in one.said() + two.said()


def a_node_that_is_new_knows_who_subscribes(scope):
    """While one node is away a new one starts, which has never heard of it."""
    redis, one, two = scope.pair()
    crowd = Crowd(scope, two, 2_000)
    until("all are known", lambda: crowd.all_are_there(one))
    redis.kill()
    until("it is noticed", lambda: "cluster: away" in two.said())
    redis = scope.redis(port=redis.port)
    new = scope.node(redis)
    watch = Watch(new, crowd)
    until("all are known again", lambda: crowd.all_are_there(new))
    told = watch.end()
    assert "offline" not in told, told
    new.settles()
    assert Line(new.ports["push-backend"]).ask('{"uid":"nobody"}') == "fail"


def a_redis_by_tls(scope):
    certificates = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../certificates")
    plain, tls = free_port(), free_port()
    files = ["--tls-cert-file", f"{certificates}/p256.pem", "--tls-key-file", f"{certificates}/p256.key"]
    options = ["--tls-port", str(tls), *files, "--tls-auth-clients", "no"]
    redis = scope.redis(*options, port=plain)
    trusted = f'ca_file = "{certificates}/ca.pem"\n'
    for url, authorities, words in (
        (f"rediss://127.0.0.1:{tls}", "", "ertificate"),
        (f"rediss://127.0.0.1:{tls}", trusted.replace("ca.pem", "other-ca.pem"), "ertificate"),
        (f"rediss://127.0.0.1:{plain}", trusted, "Redis at"),
    ):
        node = scope.node(url, joins=False, cluster=authorities)
        until(words, lambda node=node, words=words: re.search(f"cluster: away: .*{words}", node.said()))
        assert "cluster: joined" not in node.said(), node.said()
    one, two = (scope.node(f"rediss://localhost:{tls}", cluster=trusted) for _ in range(2))
    one.settles()
    there = two.client("bert")
    one.knows("bert")
    assert verdict(one, "bert") == "delivered" and there.receive() == "x"
    assert one.get("/v1/nodes")["redis"][0]["address"].endswith("by TLS")
    redis.kill()
    until("it is noticed", lambda: "cluster: away" in one.said())
    assert verdict(one, "bert") == "unknown"
    scope.redis(*options, port=plain)
    until("bert is found again", lambda: verdict(one, "bert") == "delivered")


def sentinels_name_another_master(scope):
    """The master is killed, and a replica takes over."""
    master = scope.redis()
    replica = scope.redis("--replicaof", "127.0.0.1", str(master.port))
    ports = [free_port(), free_port()]
    for port in ports[1:]:
        path = f"{scope.place}/sentinel{port}.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                f"port {port}\nbind 127.0.0.1\ndir {scope.place}\n"
                f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
                "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 3000\n"
            )
        Process(scope, shutil.which("redis-server"), path, "--sentinel")
    # The first one is away.
    url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/shop"
    one, two = scope.node(url), scope.node(url)
    one.settles()
    crowd = Crowd(scope, two, 1_000)
    until("all are known", lambda: crowd.all_are_there(one))
    known = f"127.0.0.1:{replica.port}"
    until("the replica is known", lambda: sentinel_knows(ports[1], "replicas", known))
    watch = Watch(one, crowd)
    master.kill()
    one.joins(2)
    two.joins(2)
    until("all are known again", lambda: crowd.all_are_there(one))
    told = watch.end()
    assert "delivered" in told and "offline" not in told, told
    assert replica.ask("ROLE") == "*3", "it is no master"
    # A replica by its own name will not do.
    other = scope.redis("--replicaof", "127.0.0.1", str(replica.port))
    until("it replicates", lambda: replicates(other))
    alone = scope.node(other, joins=False)
    until("it says so", lambda: "it is a replica" in alone.said())


def replicates(redis):
    with socket.create_connection(("127.0.0.1", redis.port)) as one:
        one.sendall(b"INFO replication\r\n")
        return b"master_link_status:up" in one.recv(65_536)


def sentinel_knows(port, what, words):
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(f"SENTINEL {what} shop\r\n".encode())
        return words in one.recv(65_536).decode()


TESTS = [
    a_redis_by_tls,
    sentinels_name_another_master,
    many_users_are_never_offline,
    a_machine_that_vanishes_is_gone_soon,
    a_machine_whose_cable_is_pulled_is_gone_soon,
    a_node_that_is_frozen_is_gone_soon,
    a_redis_that_is_frozen_makes_nobody_gone,
    redis_at_its_limits,
    a_redis_that_is_slow_slows_nobody_at_home,
    whom_redis_cuts_off_is_not_offline,
    a_node_that_is_new_knows_who_subscribes,
]

if __name__ == "__main__":
    sys.exit(run(TESTS, sys.argv[1], sys.argv[2:]))
