"""certbot as docs/tls.md has it, against Pebble, while ringpost serves what it gets.

    tests/acme/run BINARY

The commands are taken out of the document. Only places are changed: folders, ports, the ACME server, the group. Ends with
a line "N passed, N failed".
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from contextlib import ExitStack, contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from ports import free_ports  # noqa: E402

PATIENCE = 60
HOST = "push.example"
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CERTIFICATES = os.path.join(ROOT, "tests", "certificates")


def commands():
    """certbot's commands, by what answers for them."""
    with open(os.path.join(ROOT, "docs", "tls.md")) as file:
        blocks = re.findall(r"```sh\n(certbot .*?)```", file.read(), re.DOTALL)
    found = {way: block for block in blocks for way in ("standalone", "webroot") if f"--{way}" in block}
    assert len(found) == len(blocks) == 2, "docs/tls.md has other commands"
    return found


@contextmanager
def process(*command, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGPOST_")}
    with tempfile.TemporaryFile("w+") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment | more)
        running.said = lambda: (log.seek(0), log.read())[1]
        try:
            yield running
        except BaseException:
            print(f"{command[0]} said: {running.said()[-3000:]}")
            raise
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def await_port(port, who):
    start = time.monotonic()
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert who.poll() is None, f"it has ended: {who.said()[-2000:]}"
            assert time.monotonic() - start < PATIENCE, f"nobody listens on port {port}"
            time.sleep(0.05)


class Authority:
    """Pebble, and what tells it that every name is this machine's."""

    def __init__(self, place, running):
        self.port, management, names, self.http, tls = free_ports(5)
        self.management = management
        path = os.path.join(place, "pebble.json")
        with open(path, "w") as file:
            json.dump(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{self.port}",
                        "managementListenAddress": f"127.0.0.1:{management}",
                        "certificate": os.path.join(CERTIFICATES, "p256.pem"),
                        "privateKey": os.path.join(CERTIFICATES, "p256.key"),
                        "httpPort": self.http,
                        "tlsPort": tls,
                        "ocspResponderURL": "",
                        "externalAccountBindingRequired": False,
                    }
                },
                file,
            )
        nothing = [part for kind in ("http01", "https01", "tlsalpn01") for part in (f"-{kind}", "")]
        [control] = free_ports(1)
        every = ["-dns01", f"127.0.0.1:{names}", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
        every += ["-management", f"127.0.0.1:{control}"]
        naming = process("pebble-challtestsrv", *nothing, *every)
        await_port(names, running.enter_context(naming))
        # No wait before it looks, and no answers that it takes back for a trial of clients.
        more = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        pebble = process("pebble", "-config", path, "-dnsserver", f"127.0.0.1:{names}", **more)
        await_port(self.port, running.enter_context(pebble))

    def root(self, place):
        """Whom its certificates lead to."""
        context = ssl.create_default_context(cafile=os.path.join(CERTIFICATES, "ca.pem"))
        url = f"https://localhost:{self.management}/roots/0"
        path = os.path.join(place, "root.pem")
        with urllib.request.urlopen(url, context=context) as answer, open(path, "wb") as file:
            file.write(answer.read())
        return path


class Trial:
    def __init__(self, binary, place, running):
        self.binary, self.place, self.running = binary, place, running
        self.authority = Authority(place, running)
        self.root = self.authority.root(place)

    def certbot(self, command):
        """Runs a command of certbot's by a shell, in places of our own."""
        folders = "".join(f" --{one}-dir {self.place}/{one}" for one in ("config", "work", "logs"))
        environment = os.environ | {"REQUESTS_CA_BUNDLE": os.path.join(CERTIFICATES, "ca.pem")}
        done = subprocess.run(
            ["sh", "-c", command.replace("certbot ", f"certbot{folders} ", 1)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def first(self, way, command):
        """The document's command, with our places."""
        group = subprocess.run(["id", "-gn"], check=True, capture_output=True, text=True).stdout.strip()
        target = os.path.join(self.place, way)
        os.mkdir(target)
        for old, new in [
            ("-g ringpost", f"-g {shlex.quote(group)}"),
            ("/etc/ringpost/", f"{target}/"),
            ("/var/www/html", f"{self.place}/html"),
        ]:
            assert old in command or "html" in old, f"{old} is not in {command}"
            command = command.replace(old, new)
        more = (
            f" --cert-name {way} --server https://localhost:{self.authority.port}/dir --agree-tos -n"
            f" --register-unsafely-without-email --http-01-port {self.authority.http}"
        )
        self.certbot(command.rstrip("\n") + more)
        return target

    def serve(self, target):
        [port] = free_ports(1)
        pair = [f"--tls-certificate-file={target}/fullchain.pem", f"--tls-key-file={target}/privkey.pem"]
        listen = ["--listen", f"https://127.0.0.1:{port}=page"]
        it = self.running.enter_context(process(self.binary, "serve", "--cores", "1", *pair, *listen))
        await_port(port, it)
        return it, port

    def shown(self, port):
        """The certificate that who trusts the authority is shown."""
        context = ssl.create_default_context(cafile=self.root)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname=HOST) as secure:
                return secure.getpeercert(binary_form=True)

    def try_way(self, way, command, tells):
        if way == "webroot":
            os.makedirs(f"{self.place}/html")
            web = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", f"{self.place}/html"]
            with process(*web, str(self.authority.http)) as server:
                await_port(self.authority.http, server)
                self.get_and_renew(way, command, tells)
        else:
            self.get_and_renew(way, command, tells)

    def get_and_renew(self, way, command, tells):
        target = self.first(way, command)
        mode = os.stat(f"{target}/privkey.pem").st_mode & 0o777
        assert mode == 0o640, f"{mode:o}"
        checked = subprocess.run(
            [self.binary, "check", f"--tls-certificate-file={target}/fullchain.pem"]
            + [f"--tls-key-file={target}/privkey.pem", "--listen", "wss://127.0.0.1:1=push", "--host", HOST],
            env=os.environ | {"SSL_CERT_FILE": self.root},
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, checked.stderr
        assert "warning: " not in checked.stdout or "authority" not in checked.stdout, checked.stdout
        it, port = self.serve(target)
        first = self.shown(port)
        self.certbot(f"certbot renew --force-renewal --no-random-sleep-on-renew --cert-name {way}")
        if tells:
            it.send_signal(signal.SIGHUP)
        start = time.monotonic()
        # It looks once a minute.
        while self.shown(port) == first:
            assert time.monotonic() - start < PATIENCE + 60, f"the old one is shown; {it.said()}"
            time.sleep(0.1)


def main(binary):
    lacking = [one for one in ("certbot", "pebble", "pebble-challtestsrv") if not shutil.which(one)]
    if lacking:
        print(f"{', '.join(lacking)} is not installed\n0 passed, 1 failed")
        return True
    passed = failed = 0
    with tempfile.TemporaryDirectory() as place, ExitStack() as running:
        trial = Trial(os.path.abspath(binary), place, running)
        # One is told of the renewal, and the other finds it.
        for way, command in commands().items():
            try:
                trial.try_way(way, command, tells=way == "webroot")
                passed += 1
            except Exception:
                print(f"{way} failed:")
                traceback.print_exc(file=sys.stdout)
                failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
