"""An upgrade without a disconnect, as who looks at the page sees it."""

import os
import re
import signal
import subprocess

from playwright.sync_api import expect

from server import Server
from visitor import Visitor

UPGRADE_TIMEOUT = 60


def upgrade(binary, pid):
    """The process that goes on."""
    command = [binary, "upgrade", "--pid", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=UPGRADE_TIMEOUT)
    assert done.returncode == 0, done.stderr
    return int(re.match(r"process (\d+) goes on", done.stdout)[1])


def check_upgrade(browser, binary):
    server = Server(binary, "--upgrade-timeout", "30s")
    pid = server.process.pid
    try:
        visitor = Visitor(browser, server)
        visitor.visit()
        visitor.page.evaluate("document.getElementById('status').scrollIntoView()")
        visitor.see("#status-state[data-state=online]")
        line = visitor.at("#status-server")
        expect(line).to_contain_text("version ")
        expect(line).not_to_contain_text("upgrade")
        for counted in ("1 upgrade without a disconnect", "2 upgrades without a disconnect"):
            pid = upgrade(binary, pid)
            expect(line).to_contain_text(counted)
            visitor.see("#server[data-state=online]")
        # Nobody had to come back, which the browser would have said.
        visitor.check_clean()
        visitor.context.close()
    finally:
        server.kill()
        if pid != server.process.pid:
            os.kill(pid, signal.SIGKILL)
