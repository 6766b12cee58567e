"""Real Redis servers for the tests of a cluster: one, a list of some, or a Redis Cluster. cluster.py starts them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from ports import free_port  # noqa: E402

PATIENCE = int(os.environ.get("PATIENCE", "60"))
# Of a list, and masters of a Redis Cluster.
SEVERAL = 3
PARTITIONS = 6


def until(what, found, patience=PATIENCE):
    """What is looked for, as soon as it is there."""
    start = time.monotonic()
    while not (result := found()):
        assert time.monotonic() - start < patience, f"not within {patience} s: {what}"
        time.sleep(0.02)
    return result


def executable():
    found = os.environ.get("REDIS") or shutil.which("redis-server")
    assert found, "redis-server is not here; tests/packages --all installs it"
    return found


class Process:
    """One that ends with the test, and whose words are shown if the test fails."""

    # Variables of its own.
    variables = {}

    def __init__(self, scope, *command, stdin=subprocess.DEVNULL):
        self.log = tempfile.NamedTemporaryFile("w+", dir=scope.place, delete=False)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGPOST_")} | self.variables
        self.running = subprocess.Popen(
            command, stdin=stdin, stdout=self.log, stderr=subprocess.STDOUT, env=environment, cwd=scope.place
        )
        scope.processes.append(self)

    def said(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def signal(self, number):
        self.running.send_signal(number)
        if number == signal.SIGSTOP:
            # On a busy machine it goes on for a moment.
            until("it stands still", lambda: set(self.states()) <= set("TZ"))

    def states(self):
        """Those of its threads."""
        place = f"/proc/{self.running.pid}/task"
        for thread in os.listdir(place):
            with open(f"{place}/{thread}/stat", encoding="utf-8") as file:
                yield file.read().rsplit(")", 1)[1].split()[0]

    def kill(self):
        self.running.kill()
        self.running.wait()

    def end(self):
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGCONT)
            self.running.kill()
            self.running.wait()


class Redis(Process):
    # So many connections that publish has a node to it.
    links = 1

    def __init__(self, scope, *more, port=None):
        self.port = port or free_port()
        plain = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", scope.place]
        super().__init__(scope, executable(), "--port", str(self.port), *plain, *more)
        self.is_there()

    def is_there(self):
        def answers():
            assert self.running.poll() is None, f"Redis ended: {self.said()}"
            try:
                answer = self.ask("PING")
            except OSError:
                return None
            # Not another's.
            return self.running.poll() is None and answer

        until("Redis", answers)

    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def keys(self, pattern):
        """The names of all such keys."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as one:
            one.sendall(f"KEYS {pattern}\r\n".encode())
            file = one.makefile("r")
            count = int(file.readline()[1:])
            return [(file.readline(), file.readline().strip())[1] for _ in range(count)]

    def ask(self, *words):
        """The first line of an answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as one:
            pieces = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
            one.sendall(f"*{len(words)}\r\n{''.join(pieces)}".encode())
            return one.makefile("rb").readline().decode().strip()


class RedisList:
    """Several that know nothing of each other, used as if they were one. What `port` is names all of them, for those that
    are started in their place."""

    def __init__(self, scope, *more, port=None):
        self.port = port or tuple(free_port() for _ in range(SEVERAL))
        self.servers = [self.start(scope, *more, port=each) for each in self.port]
        self.links = len(self.servers)

    def start(self, scope, *more, port):
        return Redis(scope, *more, port=port)

    def url(self):
        return ", ".join(one.url() for one in self.servers)

    def keys(self, pattern):
        return [key for one in self.servers for key in one.keys(pattern)]

    def ask(self, *words):
        """Each is asked: the answer of the one that has something, or of the last."""
        answers = [one.ask(*words) for one in self.servers]
        return next((it for it in answers if it[0] != "-" and it not in (":0", "$-1", "*0")), answers[-1])

    def signal(self, number):
        for one in self.servers:
            one.signal(number)

    def kill(self):
        for one in self.servers:
            one.kill()

    def end(self):
        for one in self.servers:
            one.end()


class RedisCluster(RedisList):
    """Masters, and as many replicas of the first of them as are wanted."""

    OPTIONS = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0")

    def __init__(self, scope, *more, port=None, replicas=0):
        is_new, port = port is None, port or tuple((free_port(), free_port()) for _ in range(SEVERAL + replicas))
        super().__init__(scope, *more, port=port)
        self.links = PARTITIONS
        self.masters, self.replicas = self.servers[:SEVERAL], self.servers[SEVERAL:]
        if is_new:
            self.cli("--cluster", "create", *(f"127.0.0.1:{one.port}" for one in self.masters), "--cluster-yes")
        until("the cluster", lambda: all("cluster_state:ok" in self.tell(one, "CLUSTER", "INFO") for one in self.masters))
        for replica in self.replicas:
            until("the replica joins", lambda replica=replica: self.adds(replica) or self.knows(replica))
            until("the replica is one", lambda replica=replica: self.knows(replica))

    def start(self, scope, *more, port):
        port, bus = port
        own = ["--cluster-port", str(bus), "--cluster-config-file", f"nodes-{port}.conf"]
        return Redis(scope, *self.OPTIONS, *own, *more, port=port)

    def url(self, query=f"?partitions={PARTITIONS}"):
        return "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.masters) + query

    def adds(self, replica):
        master = self.masters[0]
        own = ["--cluster-slave", "--cluster-master-id", self.id_of(master)]
        return "Node added" in self.cli("--cluster", "add-node", *(f"127.0.0.1:{one.port}" for one in (replica, master)), *own)

    def knows(self, replica):
        text = self.tell(replica, "INFO", "replication")
        return "slave_repl_offset" in text and "link_status:up" in text

    def cli(self, *words):
        run = subprocess.run(["redis-cli", *words], capture_output=True, text=True)
        return run.stdout + run.stderr

    def tell(self, server, *words):
        """What one of them answers."""
        return self.cli("-p", str(server.port), *words)

    def id_of(self, server):
        return self.tell(server, "CLUSTER", "MYID").strip()


KINDS = {"one": Redis, "list": RedisList, "cluster": RedisCluster}
