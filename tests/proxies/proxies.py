"""nginx, HAProxy and Caddy in front of ringpost, as examples/proxies has them, by ports and by Unix sockets, and as people
have them by default.

    tests/proxies/run BINARY

Each runs on free ports with a certificate made for the occasion; nothing else of the files is changed. $NGINX, $HAPROXY
and $CADDY are the programs, or the first ones on the PATH; one that is not there is left out, and that is said. Clients
come from 127.0.0.2, which no proxy is at. Ends with a line "N passed, N failed".
"""

import base64
import grp
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack, contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from ports import free_ports  # noqa: E402

PATIENCE = 20
HOST = "push.example"
TOKEN = "a-token-for-the-tests-of-proxies-alone"
EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "proxies")

# What people have that follow no example: nginx as it is by default (HTTP/1.0 to what is behind it), and the same telling
# whom it forwards. The page is on a listener without a token.
BARE = """
server {{
    listen 127.0.0.1:{bare};
    location /ws {{ proxy_pass http://127.0.0.1:{push}/; }}
    location / {{ proxy_pass http://127.0.0.1:{page}; proxy_buffering off; }}
}}
server {{
    listen 127.0.0.1:{telling};
    location / {{
        proxy_pass http://127.0.0.1:{page};
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
}}
"""

# HAProxy's checks as it has them by default, and on every kind of port.
CHECKS = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s

frontend in
    bind 127.0.0.1:{checked}
    use_backend websocket if {{ path /ws }}
    default_backend page

backend websocket
    option httpchk
    server it 127.0.0.1:{push} check inter 50ms

backend page
    option httpchk
    server it 127.0.0.1:{page} check inter 50ms
"""

OPEN = """
trusted_proxies = "127.0.0.1"
[[listen]]
url = "websocket://127.0.0.1:0"
app = "push"
[[listen]]
url = "http://127.0.0.1:0"
app = "page"
[[listen]]
url = "text://127.0.0.1:0"
app = "push-backend"
"""


def example(name, changes):
    """A file of examples/proxies with some places changed, each of which it must have."""
    with open(os.path.join(EXAMPLES, name)) as file:
        text = file.read()
    for old, new in changes:
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text


def write(place, name, text):
    path = os.path.join(place, name)
    with open(path, "w") as file:
        file.write(text)
    return path


@contextmanager
def process(*command, **more):
    """A process that ends well when it is told to."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGPOST_")}
    with tempfile.TemporaryFile("w+") as log:
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment | more
        )
        running.said = lambda: (log.seek(0), log.read())[1]
        try:
            yield running
            assert running.poll() is None, f"{command[0]} left with {running.returncode}"
        except BaseException:
            print(f"{command[0]} said: {running.said()[-4000:]}")
            raise
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def listeners(server, count):
    """The ports of the apps, once all listeners are there."""
    ports = []
    while len(ports) < count:
        line = server.stdout.readline()
        assert line, "the server ended at its start"
        found = re.match(r"\s*([\w-]+)\s+\w+://127\.0\.0\.1:(\d+)", line)
        if found:
            ports.append((found[1], int(found[2])))
    return dict(ports)


@contextmanager
def ringpost(binary, path):
    """The server, and its log while it runs."""
    with process(binary, "serve", "--cores", "2", "--config", path, RINGPOST_BACKEND_TOKEN=TOKEN) as it:
        yield it


class Connection:
    """A client's, from an address that is no proxy's, as soon as the proxy is there."""

    def __init__(self, port, tls):
        start = time.monotonic()
        while True:
            try:
                plain = socket.create_connection(
                    ("127.0.0.1", port), timeout=PATIENCE, source_address=("127.0.0.2", 0)
                )
                break
            except ConnectionRefusedError:
                assert time.monotonic() - start < PATIENCE, "the proxy does not listen"
                time.sleep(0.05)
        self.socket = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(plain, server_hostname=HOST)
        self.file = self.socket.makefile("rb")

    def request(self, line, fields="", body="", host=HOST):
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        text = f"{line} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n{body}"
        self.socket.sendall(text.encode())
        return self.head()

    def head(self):
        """The status, and the fields by their names in lower case."""
        first = self.file.readline().decode()
        assert first.startswith("HTTP/1."), f"no answer but {first!r}"
        fields = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        return int(first.split()[1]), fields

    def body(self, fields):
        if "content-length" in fields:
            return self.file.read(int(fields["content-length"])).decode()
        if fields.get("transfer-encoding") == "chunked":
            return "".join(iter(self.chunk, ""))
        return self.file.read().decode()

    def chunk(self):
        length = int(self.file.readline(), 16)
        piece = self.file.read(length).decode()
        self.file.readline()
        return piece

    def events(self, fields):
        """The lines of a stream of events, as they come."""
        if fields.get("transfer-encoding") != "chunked":
            yield from (line.decode() for line in self.file)
            return
        rest = ""
        while piece := self.chunk():
            *lines, rest = (rest + piece).split("\n")
            yield from (line + "\n" for line in lines)

    def frame(self, text):
        body = text.encode()
        assert len(body) < 126
        self.socket.sendall(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)

    def message(self):
        while True:
            first, length = self.file.read(2)
            body = self.file.read(length)
            if first == 0x81:
                return body.decode()


def handshake(fields=f"Origin: https://{HOST}\r\n"):
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{fields}"
    )


class BackEnd:
    """By lines."""

    def __init__(self, port, token):
        self.file = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).makefile("rw")
        if token:
            assert self.ask(f"auth {TOKEN}") == "ok"

    def ask(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        return self.file.readline().rstrip("\n")

    def await_online(self, uid):
        start = time.monotonic()
        while self.ask(f"online {uid}") != "ok":
            assert time.monotonic() - start < PATIENCE, f"{uid} does not come"
            time.sleep(0.02)


def a_websocket_has_its_clients_address(ports):
    backend = BackEnd(ports["backend"], True)
    client = Connection(ports["front"], True)
    status, _ = client.request("GET /ws", handshake())
    assert status == 101, status
    client.frame("tom")
    backend.await_online("tom")
    line = '{"uid":"tom","text":"by a proxy"}'
    assert backend.ask(line) == "ok"
    assert client.message() == line
    api = Connection(ports["front"], True)
    status, fields = api.request("GET /v1/uids/tom", f"Authorization: Bearer {TOKEN}\r\n")
    assert status == 200, status
    address = json.loads(api.body(fields))["list"][0]["address"]
    assert address.startswith("127.0.0.2"), address


def pages_of_others_are_kept_out(ports):
    for origin in ["https://evil.example", "null", f"http://{HOST}"]:
        client = Connection(ports["front"], True)
        status, fields = client.request("GET /ws", handshake(f"Origin: {origin}\r\n"))
        assert status == 403, (origin, status)
        assert '"origins"' in client.body(fields)
    for fields, expected in [
        ("Origin: https://evil.example\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        (f"Origin: https://{HOST}\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
    ]:
        client = Connection(ports["front"], True)
        status, _ = client.request("GET /v1/events?uid=guest", fields)
        assert status == expected, (fields, status)


def events_come_one_by_one(ports):
    backend = BackEnd(ports["backend"], True)
    client = Connection(ports["front"], True)
    status, fields = client.request("GET /v1/events?uid=sue", "Accept: text/event-stream\r\n")
    assert status == 200, status
    assert fields["content-type"] == "text/event-stream"
    events = client.events(fields)
    for n in range(5):
        line = f'{{"uid":"sue","n":{n}}}'
        assert backend.ask(line) == "ok"
        assert f"data: {line}\n" in events, "the stream has ended"


def the_api_wants_its_token(ports):
    body = '{"uid":"nobody","text":"hi"}'
    json_field = "Content-Type: application/json\r\n"
    for fields, expected in [(f"Authorization: Bearer {TOKEN}\r\n", 200), ("", 401)]:
        client = Connection(ports["front"], True)
        status, _ = client.request("POST /v1/push", json_field + fields, body)
        assert status == expected, status
        client = Connection(ports["front"], True)
        status, _ = client.request("GET /metrics", fields)
        assert status == expected, status


def a_page_api_and_events_by_default(ports):
    def ask(*request):
        client = Connection(ports["bare"], False)
        status, fields = client.request(*request)
        return status, client.body(fields)

    status, body = ask("GET /")
    assert status == 200 and "<html" in body, (status, body)
    status, body = ask("GET /healthz")
    assert (status, body) == (200, "ok\n")
    push = '{"uid":"nobody","text":"hi"}'
    status, body = ask("POST /v1/push", "Content-Type: application/json\r\n", push)
    assert status == 200 and json.loads(body)["verdicts"] == {"nobody": "offline"}, (status, body)
    backend = BackEnd(ports["open_backend"], False)
    client = Connection(ports["bare"], False)
    status, fields = client.request("GET /v1/events?uid=old")
    assert status == 200, status
    events = client.events(fields)
    for n in range(3):
        line = f'{{"uid":"old","n":{n}}}'
        assert backend.ask(line) == "ok"
        assert f"data: {line}\n" in events, "the stream has ended"


def a_websocket_by_default_is_told_what_to_set(ports):
    client = Connection(ports["bare"], False)
    status, fields = client.request("GET /ws", handshake())
    assert status == 505, status
    assert "proxy_http_version 1.1" in client.body(fields)


def what_is_forwarded_is_not_local(ports):
    push = '{"uid":"all","text":"hi"}'
    for line, fields, body, expected in [
        ("POST /v1/push", "Content-Type: application/json\r\n", push, 403),
        ("GET /metrics", "", "", 403),
        ("GET /healthz", "", "", 200),
        ("GET /", "", "", 200),
    ]:
        client = Connection(ports["telling"], False)
        status, _ = client.request(line, fields, body)
        assert status == expected, (line, status)
    start = time.monotonic()
    while "backend.token" not in ports["open_log"]():
        assert time.monotonic() - start < PATIENCE, "the log names no key"
        time.sleep(0.05)


def checks_find_it_healthy(ports):
    # Once they have been made, for before the first a server counts as up.
    time.sleep(1)

    def answers(line, fields, host, wanted):
        # On a busy machine one may have been late; one that is refused each time never counts as up again.
        start = time.monotonic()
        while (status := Connection(ports["checked"], False).request(line, fields, host=host)[0]) != wanted:
            assert status == 503 and time.monotonic() - start < PATIENCE, (line, status)
            time.sleep(0.2)

    answers("GET /ws", handshake("Origin: http://localhost\r\n"), "localhost", 101)
    answers("GET /healthz", "", HOST, 200)


EXAMPLE_TESTS = [
    a_websocket_has_its_clients_address,
    pages_of_others_are_kept_out,
    events_come_one_by_one,
    the_api_wants_its_token,
]


class Suite:
    def __init__(self, binary, place):
        self.binary, self.place = binary, place
        self.passed = self.failed = 0
        self.key, self.crt = f"{place}/{HOST}.key", f"{place}/{HOST}.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-keyout", self.key, "-out", self.crt, "-days", "2", "-subj", f"/CN={HOST}"]
            + ["-addext", f"subjectAltName=DNS:{HOST}"],
            check=True,
            capture_output=True,
        )
        with open(f"{place}/{HOST}.pem", "w") as pem:
            for part in (self.crt, self.key):
                with open(part) as file:
                    pem.write(file.read())

    def try_all(self, name, tests, ports):
        for test in tests:
            try:
                test(ports)
                self.passed += 1
            except Exception:
                print(f"{name}: {test.__name__} failed:")
                traceback.print_exc(file=sys.stdout)
                self.failed += 1

    def nginx(self, name, servers):
        """nginx's command, with these servers."""
        # The temporary files of a proxy that nobody installed have no place of their own.
        temporary = "\n".join(
            f"{kind}_temp_path {self.place}/{name}-{kind};"
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        )
        path = write(
            self.place,
            f"{name}.conf",
            # As Debian has it.
            f"{'' if os.geteuid() else 'user www-data;'}"
            f"daemon off; pid {self.place}/{name}.pid; error_log stderr; worker_processes 1;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}\n{servers}\n}}\n",
        )
        return ["-c", path, "-p", self.place, "-e", "stderr"]

    def by_example(self, name, program, command):
        """Its example, before the server's, by ports and by Unix sockets."""
        self.by_ports(name, program, command)
        self.by_sockets(name, program, command)

    def by_sockets(self, name, program, command):
        with ExitStack() as running:
            front, backend = free_ports(2)
            sockets = [(f"/run/ringpost/{one}.sock", f"{self.place}/{one}.sock") for one in ("web", "api")]
            changes = [*sockets, ("127.0.0.1:5678", f"127.0.0.1:{backend}")]
            if os.geteuid():
                # Who is not root gives a file to none but his own groups, and his proxy is of one.
                changes.append(('group = "www-data"', f"group = {grp.getgrgid(os.getegid()).gr_name!r}"))
            server = write(self.place, "ringpost-unix.toml", example("unix/ringpost.toml", changes))
            it = running.enter_context(ringpost(self.binary, server))
            listeners(it, 1)
            running.enter_context(process(program, *command(front, sockets, "unix/")))
            self.try_all(f"{name} by Unix sockets", EXAMPLE_TESTS, {"front": front, "backend": backend})

    def by_ports(self, name, program, command):
        with ExitStack() as running:
            front, push, events, backend, api = free_ports(5)
            changes = [
                (f"127.0.0.1:{old}", f"127.0.0.1:{new}")
                for old, new in [(1235, push), (8081, events), (5678, backend), (8080, api)]
            ]
            server = write(self.place, "ringpost.toml", example("ringpost.toml", changes))
            it = running.enter_context(ringpost(self.binary, server))
            listeners(it, 4)
            # No proxy is in front of the port for back ends by lines.
            changes = [one for one in changes if ":5678" not in one[0]]
            running.enter_context(process(program, *command(front, changes)))
            self.try_all(name, EXAMPLE_TESTS, {"front": front, "backend": backend})

    def nginx_example(self, front, changes, folder=""):
        more = [
            ("listen 443 ssl", f"listen 127.0.0.1:{front} ssl"),
            (f"/etc/ssl/{HOST}.crt", self.crt),
            (f"/etc/ssl/{HOST}.key", self.key),
        ]
        return self.nginx("nginx-example", example(f"{folder}nginx.conf", changes + more))

    def haproxy_example(self, front, changes, folder=""):
        more = [
            ("bind :443", f"bind 127.0.0.1:{front}"),
            (f"/etc/haproxy/{HOST}.pem", f"{self.place}/{HOST}.pem"),
        ]
        return ["-db", "-f", write(self.place, "haproxy.cfg", example(f"{folder}haproxy.cfg", changes + more))]

    def caddy_example(self, front, changes, folder=""):
        more = [(f"{HOST} {{\n", f"{HOST}:{front} {{\n\tbind 127.0.0.1\n\ttls {self.crt} {self.key}\n")]
        text = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + example(f"{folder}Caddyfile", changes + more)
        path = write(self.place, "Caddyfile", text)
        return ["run", "--adapter", "caddyfile", "--config", path]

    def by_default(self, nginx, haproxy):
        with ExitStack() as running:
            path = write(self.place, "open.toml", OPEN)
            server = running.enter_context(process(self.binary, "serve", "--cores", "2", "--config", path))
            own = listeners(server, 3)
            push, page, backend = own["push"], own["page"], own["push-backend"]
            bare, telling, checked = free_ports(3)
            ports = {"push": push, "page": page, "bare": bare, "telling": telling, "checked": checked}
            more = ports | {"open_backend": backend, "open_log": server.said}
            if nginx:
                command = self.nginx("nginx-bare", BARE.format(**ports))
                running.enter_context(process(nginx, *command))
                tests = [
                    a_page_api_and_events_by_default,
                    a_websocket_by_default_is_told_what_to_set,
                    what_is_forwarded_is_not_local,
                ]
                self.try_all("nginx by default", tests, more)
            if haproxy:
                path = write(self.place, "checks.cfg", CHECKS.format(**ports))
                running.enter_context(process(haproxy, "-db", "-f", path))
                self.try_all("HAProxy by default", [checks_find_it_healthy], more)


def program(name):
    found = os.environ.get(name.upper()) or shutil.which(name)
    usual = f"/usr/sbin/{name}"
    found = found or (usual if os.access(usual, os.X_OK) else None)
    if not found:
        print(f"{name} is not installed, and left out")
    return found


def main(binary):
    nginx, haproxy, caddy = program("nginx"), program("haproxy"), program("caddy")
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        suite = Suite(binary, place)
        for name, found, command in [
            ("nginx", nginx, suite.nginx_example),
            ("HAProxy", haproxy, suite.haproxy_example),
            ("Caddy", caddy, suite.caddy_example),
        ]:
            if found:
                suite.by_example(name, found, command)
        suite.by_default(nginx, haproxy)
    print(f"{suite.passed} passed, {suite.failed} failed")
    return suite.failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
