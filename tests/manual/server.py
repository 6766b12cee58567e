"""The ringpost process under test, and the web server that the pages come from."""

import functools
import http.server
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

BANNER = re.compile(r"^(\S+)\s+(\w+)://\S*?:(\d+)")
PATIENCE = 20


class Server:
    """One server on ports of its own, by app and scheme (`ws` or `text`)."""

    def __init__(self, binary, cores, *listeners, flags=()):
        command = [binary, "serve", "--cores", str(cores), *flags]
        for listener in listeners:
            command += ["--listen", listener]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.ports = {}
        while len(self.ports) < len(listeners):
            line = self.process.stdout.readline()
            assert line, f"the server ended at its start:\n{self.said()}"
            if found := BANNER.match(line.strip()):
                self.ports[found[1], found[2]] = int(found[3])
        # The banner is short: what follows it fits the pipe.

    def said(self):
        self.log.seek(0)
        return self.log.read()[-4000:]

    def tell(self, line):
        """One line to the text port, and its answer."""
        address = ("127.0.0.1", self.ports["push-backend", "text"])
        with socket.create_connection(address, timeout=PATIENCE) as back_end:
            back_end.sendall(line.encode() + b"\n")
            return back_end.makefile(encoding="utf-8").readline().rstrip("\n")

    def wait_online(self, uid):
        wait_until(lambda: self.tell(f"online {uid}") == "ok", f"{uid} is online")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        assert status == 0, f"the server left with status {status}:\n{self.said()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it did not come true in time: {what}"
        time.sleep(0.02)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve_pages():
    """Serves the pages on loopback, and returns their address by name, as a developer's machine has it."""
    folder = pathlib.Path(__file__).with_name("pages")
    handler = functools.partial(Quiet, directory=folder)
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    return f"http://localhost:{pages.server_port}"
