"""What compose.yaml starts, without an engine: tests/packaging/stack.py BIN

BIN is the ringpost binary. Two nodes with the configuration of packaging/compose, the Redis they share, and HAProxy with
its file run as in compose.yaml, each node in a network namespace of its own, where a name server answers as Docker's does.
Needs haproxy, redis-server, ip, Python's websockets, and root or sudo. Ends with "N passed, N failed".
"""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

COMPOSE = Path(__file__).resolve().parent.parent.parent / "packaging"
BIN = Path(sys.argv[1]).resolve()
TOKEN = "0123456789abcdef"
# Generous, for the machine may be busy building.
PATIENCE = 60
HUB, NODES = "10.77.0.1", ("10.77.0.11", "10.77.0.12")
NAME = f"rp{os.getpid()}"


def until(what, found):
    start = time.monotonic()
    while not (result := found()):
        assert time.monotonic() - start < PATIENCE, f"not within {PATIENCE} s: {what}"
        time.sleep(0.1)
    return result


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def answer_names():
    """Answers as Docker's name server does: a name has the addresses of all that are called so."""
    addresses = {b"ringpost": NODES, b"redis": (HUB,)}
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("127.0.0.11", 53))
    while True:
        question, asker = asked.recvfrom(4096)
        end = question.index(b"\0", 12) + 5
        kind = struct.unpack("!H", question[end - 4:end - 2])[0]
        found = addresses.get(question[13:13 + question[12]].lower(), ()) if kind == 1 else ()
        head = question[:2] + struct.pack("!5H", 0x8580, 1, len(found), 0, 0)
        records = (struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(one) for one in found)
        asked.sendto(head + question[12:end] + b"".join(records), asker)


class Stack:
    """All of it, until the end of a `with`."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp())
        self.running = {}
        try:
            self.begin()
        except BaseException:
            self.tell()
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for number in range(len(NODES)):
            subprocess.run(["ip", "netns", "del", f"{NAME}n{number}"], capture_output=True)
        subprocess.run(["ip", "link", "del", f"{NAME}b"], capture_output=True)
        shutil.rmtree(self.folder)

    def tell(self):
        for log in sorted(self.folder.glob("*")):
            if log.is_file():
                print(f"{log.name}:\n{log.read_text(errors='replace')[-2000:]}")

    def begin(self):
        """The network first; this process is in the balancer's namespace."""
        ip("link", "set", "lo", "up")
        ip("link", "add", f"{NAME}b", "type", "bridge")
        ip("addr", "add", f"{HUB}/24", "dev", f"{NAME}b")
        ip("link", "set", f"{NAME}b", "up")
        for number, address in enumerate(NODES):
            space, outer = f"{NAME}n{number}", f"{NAME}v{number}"
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", f"{NAME}b", "up")
            for words in (("addr", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up"), ("link", "set", "lo", "up")):
                ip("-n", space, *words)
        self.start("names", [sys.executable, __file__, "names"])
        command = compose_command("redis")
        self.start("redis", [*command, "--bind", HUB, "--protected-mode", "no", "--dir", str(self.folder)])
        for number in range(len(NODES)):
            self.start_node(number)
        haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self.start("balancer", [haproxy, "-f", COMPOSE / "compose/haproxy.cfg"])
        until("both nodes", lambda: len(self.nodes()) == 2)
        self.settle()

    def start(self, name, command, **variables):
        log = open(self.folder / name, "a")
        env = {one: value for one, value in os.environ.items() if not one.startswith("RINGPOST_")}
        self.running[name] = subprocess.Popen(command, env={**env, **variables}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_node(self, number):
        variables = {"RINGPOST_BACKEND_TOKEN": TOKEN, "RINGPOST_CONFIG": str(COMPOSE / "compose/ringpost.toml"),
                     "RINGPOST_CLUSTER_REDIS": f"redis://{HUB}:6379", "RINGPOST_DRAIN_TIMEOUT": "25s"}
        self.start(f"node{number}", ["ip", "netns", "exec", f"{NAME}n{number}", BIN, "serve", "--cores", "1", "--pin=false"], **variables)

    def nodes(self):
        try:
            return self.ask("GET", "/v1/nodes")["nodes"]
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return []

    def settle(self):
        """Until every node knows who is where: what nobody has is `unknown` before that."""
        def known():
            try:
                answer = self.ask("POST", "/v1/push", {"uid": "nobody", "text": "x"})
            except (OSError, ValueError, http.client.HTTPException):
                return False
            return answer.get("verdicts") == {"nobody": "offline"}
        until("all is known", lambda: all(known() for _ in range(4)))

    def ask(self, method, path, body=None):
        """Of whichever node the balancer takes."""
        connection = http.client.HTTPConnection(HUB, 8080, timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, body and json.dumps(body), headers)
        return json.loads(connection.getresponse().read())


def compose_command(service):
    """A service's command, as it stands in compose.yaml."""
    text = (COMPOSE / "compose.yaml").read_text()
    block = text.split(f"\n  {service}:\n")[1]
    listed = re.search(r"command: \[(.*)\]", block).group(1)
    return shlex.split(listed.replace(", ", " ").replace(",", " "))


def client(port, uid):
    from websockets.sync.client import connect

    socket = connect(f"ws://{HUB}:{port}", proxy=None, open_timeout=PATIENCE)
    socket.send(uid)
    return socket


def the_page_is_shown(_):
    connection = http.client.HTTPConnection(HUB, 8080, timeout=PATIENCE)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200 and "text/html" in answer.headers["Content-Type"], answer.status


def push(stack, uid, text):
    """Pushes by HTTP until the login is known, which may take a moment after the client was told."""
    def said():
        answer = stack.ask("POST", "/v1/push", {"uid": uid, "text": text})
        assert "verdicts" in answer, answer
        return answer["verdicts"] != {uid: "offline"} and answer
    answer = until(f"{uid}'s login", said)
    assert answer == {"verdicts": {uid: "delivered"}, "connections": 1}, answer


def clients_are_on_both_nodes_and_each_is_reached(stack):
    with ExitStack() as opened:
        clients = {uid: opened.enter_context(client(1235, uid)) for uid in map("uid{}".format, range(6))}
        until("all logins", lambda: sum(node["connections"] for node in stack.nodes()) == 6)
        assert [node["connections"] for node in stack.nodes()] == [3, 3], stack.nodes()
        for uid, one in clients.items():
            # Several times: the balancer asks now this node, now that.
            texts = [f"{uid}:{number}" for number in range(4)]
            for text in texts:
                push(stack, uid, text)
            assert [one.recv(PATIENCE) for _ in texts] == texts


def relays_talk_across_nodes(stack):
    with client(1234, "one") as one, client(1234, "other") as other:
        until("both nodes have one", lambda: [node["connections"] for node in stack.nodes()] == [1, 1])
        push(stack, "other", "known")
        one.send("other:hello")
        until("hello", lambda: other.recv(PATIENCE) == "hello")


def a_node_that_drains_gets_no_newcomer(stack):
    stack.running["node0"].send_signal(signal.SIGTERM)
    assert stack.running["node0"].wait(PATIENCE) == 0
    until("one node", lambda: len(stack.nodes()) == 1)
    stack.settle()
    with client(1235, "uid1") as one:
        push(stack, "uid1", "here")
        assert one.recv(PATIENCE) == "here"
    stack.start_node(0)
    until("it is back", lambda: len(stack.nodes()) == 2)


CHECKS = [
    the_page_is_shown,
    clients_are_on_both_nodes_and_each_is_reached,
    relays_talk_across_nodes,
    a_node_that_drains_gets_no_newcomer,
]


def main():
    failed = 0
    with Stack() as stack:
        for check in CHECKS:
            try:
                check(stack)
            except Exception:
                failed += 1
                print(f"FAILED {check.__name__.replace('_', ' ')}")
                traceback.print_exc(file=sys.stdout)
                stack.tell()
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if sys.argv[1] == "names":
    answer_names()
elif os.environ.get("STACK_IN") != "1":
    # A network namespace of its own, of which nothing is left behind.
    as_root = [] if os.geteuid() == 0 else ["sudo", "--preserve-env"]
    os.environ["STACK_IN"] = "1"
    os.execvp((as_root + ["unshare"])[0], [*as_root, "unshare", "--net", sys.executable, *sys.argv])
else:
    sys.exit(main())
