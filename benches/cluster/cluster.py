"""What a cluster costs: nodes and their Redis on this machine.

    benches/compare --cluster [--binary PATH] [--pushes N] [--socketio DIRECTORY]

Each figure is of one run, and beside it what redis-benchmark gets in the same run; on a noisy machine trust CPU time and
ratios. --socketio names a directory where `npm install socket.io socket.io-client @socket.io/redis-adapter redis` has been
done: then its sharded adapter does the same work.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")
PAYLOAD = 128
UIDS = 100
PATIENCE = 120

NODE = """
cores = 1

[cluster]
redis = "redis://127.0.0.1:{redis}"

[[listen]]
url = "text://127.0.0.1:0"
app = "push"

[[listen]]
url = "text://127.0.0.1:0"
app = "push-backend"
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def until(what, found):
    end = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)
    return result


class Process:
    """One that is measured, and ends with this program."""

    def __init__(self, place, *command):
        self.log = tempfile.NamedTemporaryFile("w+", dir=place, delete=False)
        self.running = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, cwd=place)

    def said(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def cpu(self):
        """Seconds so far, of all its threads."""
        with open(f"/proc/{self.running.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self):
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()


class Redis(Process):
    def __init__(self, place):
        self.port = free_port()
        super().__init__(place, "redis-server", "--port", str(self.port), "--save", "", "--bind", "127.0.0.1")
        until("Redis", lambda: "Ready to accept" in self.said())

    def ask(self, *words):
        with socket.create_connection(("127.0.0.1", self.port)) as one:
            one.sendall((" ".join(words) + "\r\n").encode())
            file = one.makefile("rb")
            line = file.readline().decode().strip()
            return file.read(int(line[1:])).decode() if line.startswith("$") else line

    def figure(self, section, name):
        return int(re.search(rf"{name}:(\d+)", self.ask("INFO", section))[1])


class Node(Process):
    def __init__(self, place, binary, redis):
        path = f"{place}/node.toml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(NODE.format(redis=redis.port))
        super().__init__(place, binary, "serve", "--config", path)
        until("a node", lambda: self.said().count("text://") == 2 and "cluster: joined" in self.said())
        found = re.findall(r"(push|push-backend)\s+text://127\.0\.0\.1:(\d+)", self.said())
        self.ports = {app: int(port) for app, port in found}

    def connect(self, app):
        return socket.create_connection(("127.0.0.1", self.ports[app]), timeout=PATIENCE)

    def ask(self, line):
        with self.connect("push-backend") as one:
            one.sendall(f"{line}\n".encode())
            return one.makefile().readline().strip()


class Sink(threading.Thread):
    """Counts what all these read, in lines."""

    def __init__(self, sockets, lines):
        super().__init__(daemon=True)
        self.sockets, self.left = sockets, lines
        self.start()

    def run(self):
        import selectors

        selector = selectors.DefaultSelector()
        for one in self.sockets:
            selector.register(one, selectors.EVENT_READ)
        while self.left > 0:
            for key, _ in selector.select():
                self.left -= key.fileobj.recv(1 << 18).count(b"\n")


def line_to(uid, number):
    text = f'{{"uid":"{uid}","n":{number},"pad":"'
    return (text + "x" * max(0, PAYLOAD - len(text) - 2) + '"}\n').encode()


def flood(asker, receivers, count, measured):
    """So many pushes in a pipeline to uids of the receivers; CPU seconds of each process, and how long it took."""
    sink = Sink(receivers, count)
    lines = [line_to(f"u{number % UIDS}", number) for number in range(count)]
    with asker.connect("push-backend") as backend:
        answers = backend.makefile("rb", buffering=1 << 18)
        before, start = [one.cpu() for one in measured], time.monotonic()
        writer = threading.Thread(target=backend.sendall, args=(b"".join(lines),))
        writer.start()
        told = sum(answers.readline() == b"ok\n" for _ in range(count))
        writer.join()
        sink.join()
        took = time.monotonic() - start
        spent = [one.cpu() - was for one, was in zip(measured, before)]
    assert told == count, f"{told} of {count} were answered ok"
    return spent, took


def one_by_one(asker, receiver, count):
    """Milliseconds from the line's leaving until it is there, and until the answer is."""
    arrived, answered = [], []
    inbox = receiver.makefile("rb")
    with asker.connect("push-backend") as backend:
        answers = backend.makefile("rb")
        for number in range(count):
            start = time.perf_counter()
            backend.sendall(line_to("u0", number))
            inbox.readline()
            arrived.append((time.perf_counter() - start) * 1e3)
            answers.readline()
            answered.append((time.perf_counter() - start) * 1e3)
    return arrived, answered


def spread(times):
    times = sorted(times)
    return f"{statistics.median(times):.2f} / {times[int(len(times) * 0.99)]:.2f}"


def benchmark(redis, count, *command):
    """What redis-benchmark gets with this command, 32 in a pipeline: commands a second, and Redis' CPU microseconds each."""
    before = redis.cpu()
    run = subprocess.run(
        ["redis-benchmark", "-p", str(redis.port), "-n", str(count), "-P", "32", "-c", "1", "-q", *command],
        capture_output=True, text=True, check=True)
    spent = redis.cpu() - before
    rate = float(re.findall(r"([\d.]+) requests per second", run.stdout)[-1])
    return rate, spent / count * 1e6


def subscriber(redis, channel):
    one = socket.create_connection(("127.0.0.1", redis.port))
    one.sendall(f"SUBSCRIBE {channel}\r\n".encode())
    one.recv(4_096)

    def read():
        try:
            while one.recv(1 << 18):
                pass
        except OSError:
            pass

    threading.Thread(target=read, daemon=True).start()
    return one


def pushes(place, options):
    print(f"\npushes of {PAYLOAD} bytes to users of the last node, by the first")
    print("| nodes | a second | CPU µs a push: first node, last node, Redis | arrives p50 / p99 ms | answered p50 / p99 ms |")
    print("|---|---|---|---|---|")
    for nodes in (1, 2, 3):
        redis = Redis(place)
        all_nodes = [Node(place, options.binary, redis) for _ in range(nodes)]
        first, last = all_nodes[0], all_nodes[-1]
        until("it is sure", lambda: first.ask("online nobody") == "fail")
        receivers = []
        for number in range(UIDS):
            receivers.append(last.connect("push"))
            receivers[-1].sendall(f"u{number}\n".encode())
        until("they are known", lambda: all(first.ask(f"online u{it}") == "ok" for it in (0, UIDS - 1)))
        flood(first, receivers, options.pushes // 10, [])
        measured = [first, last, redis]
        spent, took = flood(first, receivers, options.pushes, measured)
        each = [f"{seconds / options.pushes * 1e6:.1f}" for seconds in spent]
        if nodes == 1:
            each[1] = "(the same)"
        arrived, answered = one_by_one(first, receivers[0], 2_000)
        print(f"| {nodes} | {options.pushes / took:,.0f} | {', '.join(each)} | {spread(arrived)} | {spread(answered)} |",
              flush=True)
        if nodes == 2:
            rounds = [beside(first, receivers, redis, options) for _ in range(options.rounds)]
        for one in [*all_nodes, redis]:
            one.end()
    print(f"\nRedis' CPU µs, in turns: a push between two nodes with its answer; PUBLISH to one subscriber by redis-benchmark, 32 "
          "in a pipeline; how many pushes for the CPU of a plain PUBLISH")
    for push, plain in rounds:
        print(f"{push:.2f}, {plain:.2f}, {plain / push:.2f} ×")
    print(f"median {statistics.median(plain / push for push, plain in rounds):.2f} ×", flush=True)


def beside(first, receivers, redis, options):
    """Redis' CPU for a push between nodes, and for a plain PUBLISH, one after the other."""
    spent, _ = flood(first, receivers, options.pushes, [redis])
    watching = subscriber(redis, "bench")
    _, plain = benchmark(redis, options.pushes, "PUBLISH", "bench", "x" * (PAYLOAD + 40))
    watching.close()
    return spent[0] / options.pushes * 1e6, plain


def logins(place, options):
    count = options.logins
    redis = Redis(place)
    node = Node(place, options.binary, redis)
    memory, before = redis.figure("memory", "used_memory"), [redis.cpu(), node.cpu()]
    start = time.monotonic()
    clients = []
    for number in range(count):
        host = f"127.0.0.{2 + number // 15_000}"
        clients.append(socket.create_connection(("127.0.0.1", node.ports["push"]), source_address=(host, 0)))
        clients[-1].sendall(b"login%d\n" % number)
    connected = time.monotonic() - start
    until("all are subscribed", lambda: redis.figure("stats", "pubsub_channels") >= count)
    took = time.monotonic() - start
    spent = [redis.cpu() - before[0], node.cpu() - before[1]]
    grown = redis.figure("memory", "used_memory") - memory
    print(f"\n{count:,} logins at once, by one Python client: connected in {connected:.1f} s, all subscribed in {took:.1f} s; CPU a login: "
          f"Redis {spent[0] / count * 1e6:.1f} µs, node {spent[1] / count * 1e6:.1f} µs; Redis {grown / count:.0f} bytes a uid")
    # Redis loses all of them, and the node subscribes anew.
    before = redis.cpu()
    start = time.monotonic()
    redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
    until("they are gone", lambda: redis.figure("stats", "pubsub_channels") < count)
    until("all are subscribed again", lambda: redis.figure("stats", "pubsub_channels") >= count)
    took = time.monotonic() - start
    print(f"Subscribed anew after a loss of the connection: {count:,} in {took:.2f} s, {count / took:,.0f} a second; "
          f"Redis' CPU {(redis.cpu() - before) / count * 1e6:.2f} µs each")
    for one in clients:
        one.close()
    node.end()
    redis.end()


def socketio(place, options):
    """The same pushes, by io.to(room).emit with the sharded adapter: one server asks, the other has the clients."""
    redis = Redis(place)
    environment = os.environ | {"NODE_PATH": f"{options.socketio}/node_modules"}
    script = f"{HERE}/socketio.cjs"
    run = subprocess.run(
        ["node", script, str(redis.port), str(options.pushes // 4), str(UIDS), str(PAYLOAD), str(redis.running.pid)],
        capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(run.stdout.strip().splitlines()[-1])
    print("\nsocket.io with its sharded adapter, two servers, no answer to a push:")
    print(f"{told['rate']:,.0f} a second; CPU µs a push: first {told['first']:.1f}, last {told['last']:.1f}, "
          f"Redis {told['redis']:.1f}; arrives p50 / p99 {told['p50']:.2f} / {told['p99']:.2f} ms")
    redis.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/dist/ringpost")
    parser.add_argument("--pushes", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--logins", type=int, default=15_000)
    parser.add_argument("--socketio", help="a directory with its packages")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    for tool in ("redis-server", "redis-benchmark"):
        assert shutil.which(tool), f"{tool} is not here"
    with tempfile.TemporaryDirectory() as place:
        pushes(place, options)
        logins(place, options)
        if options.socketio:
            options.socketio = os.path.abspath(options.socketio)
            socketio(place, options)


if __name__ == "__main__":
    sys.exit(main())
