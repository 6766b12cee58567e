"""The ringpost process under test: its start, its banner, its text port, its end."""

import re
import signal
import socket
import subprocess
import tempfile
import threading

APPS = {
    "relay": "websocket",
    "push": "websocket",
    "push-backend": "text",
    "chat": "websocket",
    "page": "http",
}
BANNER = re.compile(r"^(\S+)\s+(\w+)://\S*?:(\d+)(?:/\S*)?(?:\s+(.*))?$")
START_TIMEOUT = 15
STOP_TIMEOUT = 15


class Server:
    """One server on ports of its own; started again, it takes the same ones."""

    def __init__(self, binary, *flags):
        self.binary = binary
        self.flags = flags
        self.ports = dict.fromkeys(APPS, 0)
        self.hints = {}
        # Of further listeners, by app and scheme.
        self.others = {}
        self.start()

    def start(self):
        command = [self.binary, "serve", "--cores", "2", *self.flags]
        for app, scheme in APPS.items():
            command += ["--listen", f"{scheme}://127.0.0.1:{self.ports[app]}={app}"]
        self.stderr = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.stderr, text=True
        )
        seen = threading.Event()
        threading.Thread(target=self.read_banner, args=(seen,), daemon=True).start()
        if not seen.wait(START_TIMEOUT) or self.process.poll() is not None:
            self.kill()
            raise AssertionError(f"no banner for each of {list(APPS)}:\n{self.complaints()}")

    def read_banner(self, seen):
        """Goes on reading after the banner, so that the server never waits for us."""
        told = set()
        for line in self.process.stdout:
            found = BANNER.match(line.strip())
            if not found or found[1] not in APPS | {"echo": ""}:
                continue
            app, scheme, port = found[1], found[2], int(found[3])
            if scheme == APPS.get(app, "").replace("websocket", "ws"):
                self.ports[app] = port
                self.hints[app] = found[4]
                told.add(app)
            else:
                self.others[app, scheme] = port
            if told == set(APPS):
                seen.set()
        seen.set()

    def complaints(self):
        self.stderr.seek(0)
        return self.stderr.read()[-4000:]

    @property
    def page(self):
        return f"http://127.0.0.1:{self.ports['page']}"

    def tell(self, *lines):
        """Sends lines to the text port and returns the answers, one each."""
        address = ("127.0.0.1", self.ports["push-backend"])
        with socket.create_connection(address, timeout=10) as back_end:
            back_end.sendall("".join(line + "\n" for line in lines).encode())
            with back_end.makefile(encoding="utf-8") as answers:
                return [answers.readline().rstrip("\n") for _ in lines]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_TIMEOUT)
        assert status == 0, f"the server left with status {status}:\n{self.complaints()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
