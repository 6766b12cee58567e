"""A real proxy in front: HAProxy tells ringpost the clients' addresses, in each way that it can.

    python3 tests/haproxy/haproxy.py BINARY

Starts both, on free ports; $HAPROXY is the proxy, or the first one on the PATH. The chat's roster shows
which address the server took. Needs Python alone, and ends with a line "N passed, N failed".
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from ports import free_ports  # noqa: E402

PATIENCE = 15

SERVER = """
cores = 2
trusted_proxies = "127.0.0.1"

[[listen]]
url = "websocket://127.0.0.1:0"
app = "chat"
proxy_protocol = true

[[listen]]
url = "text://127.0.0.1:0"
app = "chat"
proxy_protocol = true

[[listen]]
url = "websocket://127.0.0.1:0"
app = "chat"

[[listen]]
url = "text://127.0.0.1:0"
app = "push-backend"
"""

PROXY = """
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    mode tcp

listen version-2
    bind 127.0.0.1:{version_2}
    bind [::1]:{version_2}
    server it 127.0.0.1:{websocket} send-proxy-v2 check check-send-proxy inter 100ms

listen version-2-with-more
    bind 127.0.0.1:{version_2_with_more}
    server it 127.0.0.1:{text} send-proxy-v2 proxy-v2-options crc32c,unique-id

listen version-1
    bind 127.0.0.1:{version_1}
    bind [::1]:{version_1}
    server it 127.0.0.1:{websocket} send-proxy

listen forwarded
    mode http
    option forwardfor
    bind 127.0.0.1:{forwarded}
    server it 127.0.0.1:{plain}

listen silent
    bind 127.0.0.1:{silent}
    server it 127.0.0.1:{websocket}
"""

FRONTS = ["version_2", "version_2_with_more", "version_1", "forwarded", "silent"]


@contextmanager
def process(*command):
    """A process that ends well when it is told to."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGPOST_")}
    with tempfile.TemporaryFile("w+") as log:
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        try:
            yield running
            assert running.poll() is None, f"{command[0]} left with {running.returncode}"
        except BaseException:
            log.seek(0)
            print(f"{command[0]} said: {log.read()[-4000:]}")
            raise
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def listeners(server):
    """The ports in the order of the file: chat's three, and the back end's."""
    chats, backend = [], None
    while len(chats) < 3 or backend is None:
        line = server.stdout.readline()
        assert line, "the server ended at its start"
        found = re.match(r"\s*(chat|push-backend)\s+\w+://127\.0\.0\.1:(\d+)", line)
        if found and found[1] == "chat":
            chats.append(int(found[2]))
        elif found:
            backend = int(found[2])
    return chats, backend


def connect(host, port):
    """Connects as soon as the proxy is there."""
    start = time.monotonic()
    while True:
        try:
            return socket.create_connection((host, port), timeout=PATIENCE)
        except ConnectionRefusedError:
            assert time.monotonic() - start < PATIENCE, "the proxy does not listen"
            time.sleep(0.05)


class WebSocket:
    """Text frames by hand, so that nothing has to be installed."""

    def __init__(self, host, port, fields=""):
        self.socket = connect(host, port)
        self.file = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"{fields}\r\n".encode()
        )
        status = self.file.readline()
        assert b" 101 " in status, f"the answer was {status}"
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def send(self, text):
        body = text.encode()
        assert len(body) < 126
        self.socket.sendall(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)

    def receive(self):
        length = self.file.read(2)[1]
        if length == 126:
            length = int.from_bytes(self.file.read(2), "big")
        return self.file.read(length).decode()


class Line:
    def __init__(self, host, port):
        self.socket = connect(host, port)
        self.file = self.socket.makefile("rb")

    def send(self, text):
        self.socket.sendall(f"{text}\n".encode())

    def receive(self):
        return self.file.readline().decode().rstrip("\n")


def address_of(client):
    """The client's address as a roster shows it."""
    host, port = client.socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def roster_for(client, name):
    client.send(f"login:{name}")
    while True:
        text = client.receive()
        assert text, "the connection ended"
        if text.startswith("users:"):
            users = json.loads(text.removeprefix("users:"))
            if name in users.values():
                return {user: address for address, user in users.items()}


def told_by_version_2(ports):
    for n, host in enumerate(["127.0.0.1", "::1"]):
        client = WebSocket(host, ports["version_2"])
        assert roster_for(client, f"two{n}")[f"two{n}"] == address_of(client)


def told_with_more_beside_the_address(ports):
    client = Line("127.0.0.1", ports["version_2_with_more"])
    assert roster_for(client, "more")["more"] == address_of(client)


def told_by_version_1(ports):
    for n, host in enumerate(["127.0.0.1", "::1"]):
        client = WebSocket(host, ports["version_1"])
        assert roster_for(client, f"one{n}")[f"one{n}"] == address_of(client)


def told_by_a_field_of_the_request(ports):
    # 127.0.0.1 is the proxy's, and trusted; so what the client said of itself is the nearest that is not.
    invented = "X-Forwarded-For: 192.0.2.9, 198.51.100.1\r\n"
    client = WebSocket("127.0.0.1", ports["forwarded"], invented)
    address = roster_for(client, "field")["field"]
    assert address.startswith("198.51.100.1:"), address


def a_proxy_that_tells_nothing_is_not_served(ports):
    try:
        WebSocket("127.0.0.1", ports["silent"])
    except (AssertionError, ConnectionError):
        return
    raise AssertionError("it was served")


def health_checks_are_no_mistake(ports):
    line = Line("127.0.0.1", ports["backend"])

    def counts():
        line.send("stats")
        cores = json.loads(line.receive())["cores"]
        return [sum(core["closed"].get(why, 0) for core in cores) for why in WHYS]

    before = counts()
    start = time.monotonic()
    while sum(counts()[:2]) < sum(before[:2]) + 5:
        assert time.monotonic() - start < PATIENCE, f"no health checks came: {counts()}"
        time.sleep(0.1)
    assert counts()[2] == before[2], "a health check was refused"


WHYS = ["closed by peer", "reset by peer", "bad proxy header"]
TESTS = [
    told_by_version_2,
    told_with_more_beside_the_address,
    told_by_version_1,
    told_by_a_field_of_the_request,
    a_proxy_that_tells_nothing_is_not_served,
    health_checks_are_no_mistake,
]


def main(binary):
    haproxy = os.environ.get("HAPROXY") or shutil.which("haproxy") or "/usr/sbin/haproxy"
    passed = failed = 0
    with tempfile.TemporaryDirectory() as place:
        server_file, proxy_file = f"{place}/ringpost.toml", f"{place}/haproxy.cfg"
        with open(server_file, "w") as file:
            file.write(SERVER)
        with process(binary, "serve", "--config", server_file) as server:
            (websocket, text, plain), backend = listeners(server)
            ports = dict(zip(FRONTS, free_ports(len(FRONTS))))
            ports |= {"websocket": websocket, "text": text, "plain": plain, "backend": backend}
            with open(proxy_file, "w") as file:
                file.write(PROXY.format(**ports))
            with process(haproxy, "-db", "-f", proxy_file):
                for test in TESTS:
                    try:
                        test(ports)
                        passed += 1
                    except Exception:
                        print(f"{test.__name__} failed:")
                        traceback.print_exc(file=sys.stdout)
                        failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
