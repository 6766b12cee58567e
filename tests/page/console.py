"""The console: who is connected, groups, what is kept, what happens; push and kick, with a token and without."""

import json
import re
import tempfile
import time
import urllib.request

from playwright.sync_api import expect

from server import Server
from visitor import Visitor

HOSTILE = "<img src=x onerror=window.pwned=1>"
REFUSALS = ("status of 401", "status of 403", "status of 404")
READER = "reader-token-0001"
ALL = "operator-token-01"

# Connections that the page itself opens, and what comes to them.
CONNECT = """
([url, uid]) => new Promise((done) => {
  const socket = new WebSocket(url);
  // Kept, or it may be collected.
  (window.sockets ??= []).push(socket);
  window.heard ??= {};
  window.ended ??= {};
  socket.onopen = () => { if (uid) socket.send(uid); done(); };
  socket.onmessage = ({ data }) => (window.heard[uid] ??= []).push(data);
  socket.onclose = ({ code }) => (window.ended[uid] ??= []).push(code);
})
"""


class Console(Visitor):
    """A visitor of the console."""

    def visit(self):
        response = self.page.goto(self.server.page + "/console")
        self.see("#server[data-state=online]")
        return response

    def connect(self, *uids):
        url = f"ws://127.0.0.1:{self.server.ports['push']}"
        for uid in uids:
            self.page.evaluate(CONNECT, [url, uid])

    def row(self, uid):
        cell = self.page.get_by_text(uid, exact=True)
        return self.at("#people-rows tr").filter(has=cell)

    def push(self, kind, name, text, answer, form="text", keep=""):
        self.page.select_option("#act-kind", kind)
        if kind != "all":
            self.page.fill("#act-name", name)
        self.page.select_option("#act-form-of", form)
        if kind != "connection":
            self.page.select_option("#act-keep", keep)
        self.page.fill("#act-message", text)
        self.page.click("#act-submit")
        line = self.last("act-log", "out")
        expect(line.locator(".text").first).to_have_text(text)
        expect(line.locator(".answer")).to_have_text(answer)

    def line(self, kind, whom):
        """The lines of the live log of a kind about somebody."""
        about = self.page.locator(".whom").filter(has_text=re.compile(f"^{re.escape(whom)}$"))
        return self.at(f"#live-list li[data-kind={kind}]").filter(has=about)

    def heard(self, uid):
        return self.page.evaluate("uid => window.heard[uid] ?? []", uid)

    def close(self):
        self.complaints = [one for one in self.complaints if not any(words in one for words in REFUSALS)]
        self.check_clean()
        self.context.close()


def post(server, path, body, token=None, method="POST"):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(server.page + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def check_looking(console):
    expect(console.at("#people-rows tr")).to_have_count(5, timeout=15_000)
    expect(console.row(HOSTILE)).to_have_count(1)
    expect(console.row("bob")).to_have_count(2)
    # By name, by connection, and those who have not said who they are.
    console.page.fill("#people-search", "bob")
    expect(console.at("#people-rows tr")).to_have_count(2)
    connection = console.at("#people-rows td.mono").first.inner_text()
    console.page.fill("#people-search", connection)
    expect(console.at("#people-rows tr")).to_have_count(1)
    console.page.fill("#people-search", "9-9")
    expect(console.at("#people-rows tr")).to_have_count(0)
    console.page.fill("#people-search", "")
    console.page.select_option("#people-which", "unbound")
    expect(console.row("not logged in")).to_have_count(1)
    console.page.select_option("#people-which", "waiting")
    expect(console.at("#people-rows tr")).to_have_count(5)
    console.page.select_option("#people-which", "")
    return connection


def check_groups(console):
    for uid in ("alice", "bob"):
        post(console.server, "/v1/groups/news/join", {"uid": uid})
    group = console.at("#groups-list li[data-group=news]")
    expect(group.locator(".count")).to_have_text("3", timeout=15_000)
    group.locator("button").click()
    expect(console.at("#detail-title")).to_have_text("news")
    expect(console.at("#detail-list li")).to_have_count(2)
    expect(console.at("#detail-kick")).to_be_hidden()
    console.at("#detail-push").click()
    expect(console.at("#act-kind")).to_have_value("group")
    expect(console.at("#act-name")).to_have_value("news")


def check_pushing(console, connection):
    console.push("uid", "bob", "hello", "delivered: 2 connections")
    console.push("uid", "nobody", "hello?", "offline: 0 connections")
    console.push("connection", connection, "this one", "delivered: 1 connection")
    console.push("group", "news", "for the group", "delivered: 3 connections")
    console.push("all", "", HOSTILE, "delivered: 4 connections")
    console.push("uid", "alice", '{"order": 7}', "delivered: 1 connection", form="data")
    console.push("uid", "alice", "{order", re.compile("^fail: this is no JSON"), form="data")
    console.push("uid", "bob", "kept", re.compile("^delivered: 2 connections; kept as [a-z0-9]+:1$"), keep="10m")
    assert console.heard("alice") == ["for the group", HOSTILE, '{"order":7}'], console.heard("alice")
    bob = console.heard("bob")
    assert sorted(bob) == sorted(["hello", "this one", "for the group", HOSTILE, "kept"] +
                                 ["hello", "for the group", HOSTILE, "kept"]), bob
    console.row("bob").first.click()
    expect(console.at("#detail-title")).to_have_text("bob")
    expect(console.at("#kept li")).to_have_text(["1kept"])
    expect(console.at("#kept-top")).to_have_text(re.compile("^[a-z0-9]+:1$"))
    expect(console.at("#detail-list li")).to_have_count(2)
    # Each with its id, what waits for it, and what the back end has set.
    post(console.server, f"/v1/connections/{connection}/attributes", {"device": HOSTILE}, method="PUT")
    one = console.at(f"#detail-list li[data-id='{connection}']")
    expect(one.locator(".attributes")).to_have_text(json.dumps({"device": HOSTILE}, separators=(",", ":")), timeout=15_000)
    expect(one).to_contain_text(re.compile("127\\.0\\.0\\.1:\\d+, for .*, 0 B waiting"))


def check_kicking(console, connection):
    button = console.at(f"#detail-list li[data-id='{connection}'] button.danger")
    button.click()
    expect(button).to_have_text("Really?")
    button.click()
    expect(console.last("act-log", "out").locator(".answer")).to_have_text("closed 1 connection")
    console.page.focus("#act-message")
    expect(console.at("#detail-list li")).to_have_count(1, timeout=15_000)
    for _ in range(2):
        console.at("#detail-kick").click()
    expect(console.row("bob")).to_have_count(0, timeout=15_000)
    end = time.monotonic() + 15
    while console.page.evaluate("window.ended.bob ?? []") != [4007, 4007]:
        assert time.monotonic() < end, console.page.evaluate("window.ended")
        time.sleep(0.05)


def check_log(console, connection):
    """What has happened above is there, and is shown as it is asked for."""
    expect(console.at("#live-state")).to_have_text("live")
    expect(console.line("connect", HOSTILE)).to_have_count(1)
    expect(console.line("push", "#news").locator(".told")).to_have_text("13 B to 3 connections")
    expect(console.line("push", "all").locator(".told")).to_have_text(f"{len(HOSTILE)} B to 4 connections")
    expect(console.line("push", "nobody").locator(".told")).to_have_text("6 B to 0 connections")
    expect(console.line("push", connection).locator(".told")).to_have_text("8 B to 1 connection")
    expect(console.line("kick", "bob")).to_have_count(2)
    ends = console.line("disconnect", "bob")
    expect(ends).to_have_count(2)
    expect(ends.first.locator(".told")).to_have_text(re.compile(rf"^{connection} kicked \(4007\), after \d+ "))
    # Whoever it is about can be looked at.
    console.line("push", "#news").locator("button").click()
    expect(console.at("#detail-title")).to_have_text("news")
    # What is said only if it is asked for, and as text.
    console.page.click("#live-clear")
    expect(console.at("#live-list li")).to_have_count(0)
    console.page.check("#live-data")
    console.page.select_option("#live-kind", "push,message")
    console.page.fill("#live-search", "alice")
    expect(console.at("#live-state")).to_have_text("live")
    with console.page.expect_request("**/v1/log?uid=alice&kind=push%2Cmessage&data=true"):
        console.page.press("#live-search", "Enter")
    expect(console.at("#live-state")).to_have_text("live")
    end = time.monotonic() + 15
    while console.at("#live-list li").count() == 0:
        assert time.monotonic() < end, "nothing of what is pushed is shown"
        for uid in ("bob", "alice"):
            post(console.server, "/v1/push", {"uid": uid, "text": HOSTILE})
        time.sleep(0.1)
    expect(console.at("#live-list li .text").first).to_have_text(HOSTILE)
    expect(console.line("push", "bob")).to_have_count(0)
    # Held it stays as it is; then it goes on.
    console.page.click("#live-hold")
    expect(console.at("#live-state")).to_have_text("held")
    console.page.fill("#live-search", "")
    console.page.click("#live-hold")
    expect(console.at("#live-state")).to_have_text("live")


def check_open(browser, binary, shots):
    server = Server(binary, "--login-timeout", "5m")
    try:
        console = Console(browser, server)
        console.visit()
        expect(console.at("#people-rows tr")).to_have_count(0)
        console.connect("alice", "bob", "bob", HOSTILE, "")
        connection = check_looking(console)
        check_groups(console)
        check_pushing(console, connection)
        check_kicking(console, connection)
        check_log(console, connection)
        console.close()
        take_pictures(browser, server, shots)
        server.stop()
    finally:
        server.kill()


def check_tokens(browser, binary):
    """What it may do goes by the token, which nothing of the page shows or keeps."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as tokens:
        tokens.write(f"read {READER}\npush,kick,read {ALL}\n")
        tokens.flush()
        server = Server(binary, "--backend-tokens-file", tokens.name)
    try:
        console = Console(browser, server)
        console.visit()
        expect(console.at("#token-form")).to_be_visible()
        console.connect("alice")
        console.enter(("token", "nonsense-nonsense"))
        expect(console.at("#token-why")).not_to_be_empty(timeout=15_000)
        expect(console.at("#live-state")).to_have_text("locked")
        console.enter(("token", READER))
        expect(console.row("alice")).to_have_count(1, timeout=15_000)
        expect(console.at("#live-state")).to_have_text("live")
        expect(console.at("#token-form")).to_be_hidden()
        console.push("uid", "alice", "x", re.compile("^fail: "))
        assert READER not in console.page.content()
        assert console.page.evaluate("localStorage.length + sessionStorage.length") == 0
        # Another visit asks anew.
        console.visit()
        console.enter(("token", ALL))
        expect(console.at("#people-state")).to_have_text("live")
        console.close()
        server.stop()
    finally:
        server.kill()


def take_pictures(browser, server, shots):
    """A scene in both schemes, on a desk and on a phone."""
    shots.mkdir(parents=True, exist_ok=True)
    crowd = Console(browser, server)
    crowd.visit()
    crowd.connect("alice", "bob", "bob", "carol", "order-1182", *(f"user{n}" for n in range(20)), "")
    for uid in ("alice", "bob", "carol"):
        post(server, "/v1/groups/news/join", {"uid": uid})
    post(server, "/v1/groups/room.7/join", {"uid": "user3"})
    for number in range(5):
        body = {"uid": "bob", "data": {"order": 1180 + number, "state": "packed"}, "keep": "10m"}
        post(server, "/v1/push", body)
    for scheme in ("light", "dark"):
        for device, context in (("desktop", {"viewport": {"width": 1440, "height": 1100}}),
                                ("phone", {"viewport": {"width": 390, "height": 844}, "is_mobile": True,
                                           "has_touch": True, "device_scale_factor": 2})):
            console = Console(browser, server, color_scheme=scheme, **context)
            console.visit()
            console.row("bob").first.click()
            expect(console.at("#kept li")).to_have_count(6)
            expect(console.at("#live-state")).to_have_text("live")
            console.page.check("#live-data")
            expect(console.at("#live-state")).to_have_text("live")
            console.connect("dave")
            expect(console.line("connect", "dave")).to_have_count(1)
            for uid, state in (("bob", "packed"), ("carol", "paid"), ("nobody", "new")):
                post(server, "/v1/push", {"uid": uid, "data": {"order": 1182, "state": state}})
            post(server, "/v1/push", {"group": "news", "text": "Closing at eight tonight"})
            console.push("uid", "carol", "Your order is on its way", "delivered: 1 connection")
            post(server, "/v1/kick", {"uid": "dave"})
            expect(console.line("push", "carol")).to_have_count(2)
            expect(console.line("disconnect", "dave")).to_have_count(1)
            wide = console.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= console.page.viewport_size["width"], f"{device}: {wide} pixels wide"
            console.page.evaluate("scrollTo(0, 0)")
            console.page.mouse.move(5, 5)
            console.page.screenshot(path=shots / f"console-{device}-{scheme}.png")
            if device == "phone":
                # To look at; the documents have the screen alone.
                console.page.screenshot(path=shots / f"console-{device}-{scheme}-whole.png", full_page=True)
            console.close()
    crowd.context.close()


def check_console(browser, binary, shots):
    check_open(browser, binary, shots)
    check_tokens(browser, binary)
