"""The manual's four clients against the real server. Started by tests/manual/run."""

import json
import os
import pathlib
import re
import subprocess
import sys
from urllib.parse import urlencode

from playwright.sync_api import expect, sync_playwright

from server import PATIENCE, Server, serve_pages, wait_until

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "protocols.md"
FLAGS = ("--disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync").split()


def step(cores, name):
    print(f"manual: {name}, {cores} {'core' if cores == 1 else 'cores'}", flush=True)


class Pages:
    """A browser's pages, and the frames that they send and get."""

    def __init__(self, browser):
        self.browser = browser
        self.origin = serve_pages()

    def new(self):
        """Each in a window of its own, for those behind another are served slowly."""
        page = self.browser.new_context().new_page()
        page.set_default_timeout(1_000 * PATIENCE)
        return page

    def open(self, file, **query):
        page = self.new()
        page.sent, page.alerts, page.errors = [], [], []
        page.on("websocket", lambda ws: ws.on("framesent", lambda frame: page.sent.append(frame)))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("dialog", lambda dialog: (page.alerts.append(dialog.message), dialog.accept()))
        page.goto(f"{self.origin}/{file}.html?{urlencode(query)}")
        return page


def got(page, text):
    expect(page.locator("#got li").last).to_have_text(text)


def wait_for_event(page, has_come):
    """The page's own loop has to run for its events to be taken."""
    for _ in range(50 * PATIENCE):
        if has_come():
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"sent {page.sent}, alerted {page.alerts}")


def sent(page, message):
    wait_for_event(page, lambda: page.sent and page.sent[-1] == message)


def alerted(page, count, text):
    wait_for_event(page, lambda: len(page.alerts) >= count)
    assert page.alerts[count - 1:] == [text], page.alerts


def check_uid_server(pages, binary, cores):
    step(cores, "the uid server's page")
    server = Server(binary, cores, "websocket://127.0.0.1:0=relay")
    try:
        port = server.ports["relay", "ws"]
        clients = {}
        for uid in ("uid1", "uid2", "uid3"):
            clients[uid] = pages.open("uid", port=port, uid=uid)
            got(clients[uid], f"login success, your uid is {uid}")

        def say(sender, to, message):
            page = clients[sender]
            page.fill("#to", to)
            page.fill("#message", message)
            page.click("button")
            sent(page, f"{to}:{message}")

        for sender in clients:
            for to in clients:
                say(sender, to, f"hello from {sender}")
                got(clients[to], f"hello from {sender}")
        say("uid2", "all", "hello everybody")
        for page in clients.values():
            got(page, "hello everybody")
            assert not page.errors, page.errors
            page.close()
        server.stop()
    finally:
        server.kill()


def push(address, uid, percent):
    command = ["php", "-d", "display_errors=stderr", HERE / "push.php", address, uid, percent]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


def check_push(pages, binary, cores):
    step(cores, "the push page and its PHP back end")
    server = Server(binary, cores, "websocket://127.0.0.1:0=push", "text://127.0.0.1:0=push-backend")
    try:
        address = f"127.0.0.1:{server.ports['push-backend', 'text']}"
        clients = [pages.open("push", port=server.ports["push", "ws"], uid=uid) for uid in ("uid1", "uid2")]
        for page, uid in zip(clients, ("uid1", "uid2")):
            server.wait_online(uid)
            sent(page, uid)
        assert push(address, "uid1", "88%") == "ok\n"
        # The line as PHP wrote it.
        alerted(clients[0], 1, '{"uid":"uid1","percent":"88%"}')
        assert push(address, "uid2", "半分/½") == "ok\n"
        alerted(clients[1], 1, '{"uid":"uid2","percent":"\\u534a\\u5206\\/\\u00bd"}')
        assert push(address, "all", "100%") == "ok\n"
        for page in clients:
            alerted(page, 2, '{"uid":"all","percent":"100%"}')
        assert push(address, "uid3", "88%") == "fail\n"
        clients[0].close()
        wait_until_offline(server, "uid1")
        assert push(address, "uid1", "88%") == "fail\n"
        assert len(clients[1].alerts) == 2 and not clients[1].errors
        clients[1].close()
        server.stop()
    finally:
        server.kill()


def wait_until_offline(server, uid):
    wait_until(lambda: server.tell(f"online {uid}") == "fail", f"{uid} is offline")


def check_heartbeat(binary, cores):
    step(cores, "the heartbeat client, over text://")
    # As its 55 s and its 10 s of looking, but shorter.
    server = Server(binary, cores, "text://127.0.0.1:0=push", "text://127.0.0.1:0=push-backend",
                    flags=("--idle-timeout", "1s"))
    try:
        address = f"127.0.0.1:{server.ports['push', 'text']}"

        def start(seconds, beats):
            command = ["php", "-d", "display_errors=stderr", HERE / "heartbeat.php", address, seconds, beats]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        # Beats for longer than the server lets anybody be silent, and others that stop at once.
        beating, *silent = start("0.3", "20"), start("0", "1"), start("0", "1")
        for one in silent:
            printed, _ = one.communicate(timeout=PATIENCE)
            assert (one.returncode, printed) == (0, "beat\nclosed\n"), printed
        assert server.tell("online ping") == "ok"
        printed, _ = beating.communicate(timeout=2 * PATIENCE)
        assert (beating.returncode, printed) == (0, 20 * "beat\n" + "closed\n"), printed
        closed = [core["closed"] for core in json.loads(server.tell("stats"))["cores"]]
        assert sum(reasons.get("idle", 0) for reasons in closed) == 3, closed
        server.stop()
    finally:
        server.kill()


def check_chat(pages, binary, cores):
    step(cores, "the chat's page")
    server = Server(binary, cores, "websocket://127.0.0.1:0=chat")
    try:
        port = server.ports["chat", "ws"]
        # What a page asks for, and what it is called then.
        asked = {"Tom": "Tom", "Ann Smith": "Ann", "प्रिया": "प्रिया"}
        clients = {}
        for (name, known), command in zip(asked.items(), ("login:", "LOGIN:", "Login:")):
            page = pages.open("chat", host="127.0.0.1", port=port, name=name, command=command)
            expect(page.locator("#state")).to_have_text("logged in")
            got(page, f"welcome {known}")
            sent(page, command + name)
            clients[known] = page
        for known, page in clients.items():
            expect(page.locator("#users option")).to_have_count(3)
            page.click("#nihao")
            got(page, f"nihao {known}")
        for sender, page in clients.items():
            for to, other in clients.items():
                for text in (f"hello {to}: this is {sender}", "<b>a>:b</b>"):
                    page.select_option("#users", label=to)
                    page.fill("#message", text)
                    page.click("text=send")
                    got(other, text)
                    address = page.input_value("#users")
                    assert re.fullmatch(r"127\.0\.0\.1:\d+", address), address
                    sent(page, f"chat:<{address}>:{text}")
        clients.pop("Ann").close()
        for page in clients.values():
            expect(page.locator("#users option")).to_have_count(2)
        for page in clients.values():
            assert not page.errors, page.errors
            page.close()
        server.stop()
    finally:
        server.kill()


def check_documented_page(pages, binary, cores):
    step(cores, "the documents' page, which comes back by itself and knows when not to")
    (code,) = re.findall(r"```js\n(function listen\(.*?)```", PAGE.read_text(), re.DOTALL)
    listeners = ["websocket://127.0.0.1:0=push", "text://127.0.0.1:0=push-backend"]
    server = Server(binary, cores, *listeners)
    try:
        page = pages.new()
        page.goto(f"{pages.origin}/push.html?port=1")
        url = f"ws://127.0.0.1:{server.ports['push', 'ws']}"
        page.evaluate("window.heard = []; window.ended = []")
        # As it stands but for the address, and what it does with what it hears.
        code = code.replace("ws://127.0.0.1:1235", url).replace("console.log", "(it) => heard.push(it)")
        code = code.replace("console.warn", "(it) => ended.push(it)")
        page.add_script_tag(content=code)
        server.wait_online("uid1")
        line = '{"uid":"uid1","n":1}'
        assert server.tell(line) == "ok"
        page.wait_for_function("heard.length === 1")
        assert page.evaluate("heard") == [line]
        ports = [f"{scheme}://127.0.0.1:{server.ports[key]}={key[0]}" for scheme, key in
                 (("websocket", ("push", "ws")), ("text", ("push-backend", "text")))]
        server.stop()
        server = Server(binary, cores, *ports)
        server.wait_online("uid1")
        assert server.tell("kick uid1") == "ok"
        page.wait_for_function("ended.length === 1")
        assert page.evaluate("ended") == [4007]
        page.wait_for_timeout(1_500)
        assert server.tell("online uid1") == "fail"
        page.close()
        server.stop()
    finally:
        server.kill()


def main():
    binary = os.path.abspath(sys.argv[1])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=FLAGS)
        pages = Pages(browser)
        for cores in (1, 2, 4):
            check_uid_server(pages, binary, cores)
            check_push(pages, binary, cores)
            check_heartbeat(binary, cores)
            check_chat(pages, binary, cores)
        check_documented_page(pages, binary, 2)
        browser.close()
    print("manual: ok")


main()
