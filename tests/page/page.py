"""The page in a real browser against the real binary. Started by tests/page/run."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from playwright.sync_api import expect, sync_playwright

from console import check_console
from events import check_events
from lines import check_lines
from server import Server
from tokens import check_commands, check_tokens
from upgrade import check_upgrade
from visitor import DESKTOP, Visitor

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOTS = ROOT / "target" / "page"
PICTURE = pathlib.Path(__file__).with_name("page.png")
PICTURE_BYTES_MAX = 300_000
STATUS_PICTURE = PICTURE.with_name("status.png")
STATUS_PICTURE_BYTES_MAX = 150_000
# By what they show, beside the page's.
CONSOLE_PICTURES = {
    "desktop-light": "console.png",
    "desktop-dark": "console-dark.png",
    "phone-light": "console-phone.png",
    "phone-dark": "console-phone-dark.png",
}

FLAGS = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PHONE = {"width": 390, "height": 844}

HOSTILE = "<img src=x onerror=window.pwned=1>"
LOG_LINES_MAX = 200
# Longer than the longest first wait of the page, so that a page that would come back had its time.
NO_RETURN = 1.5
# The page's wait doubles while the server is away; a few doublings are all it sees here.
RETURN_TIMEOUT_MS = 45_000


def step(name):
    print(f"page: {name}", flush=True)


def directives(policy):
    """A policy as a set: the order of its directives means nothing."""
    return {" ".join(one.split()) for one in policy.split(";") if one.strip()}


def check_headers(visitor):
    step("served with its policy, without anything from elsewhere")
    response = visitor.visit()
    policy = response.headers["content-security-policy"]
    assert directives(policy) == directives(CSP), policy
    assert response.headers["content-type"].startswith("text/html"), response.headers
    for path in ("/style.css", "/app.js", "/logo.svg"):
        asset = visitor.page.request.get(visitor.server.page + path)
        assert asset.status == 200, f"{path}: {asset.status}"


def check_unread(visitor):
    step("status: before the first figures it says so, and claims nothing")
    held = []
    visitor.page.route("**/metrics", lambda route: held.append(route))
    with visitor.page.expect_request("**/metrics"):
        visitor.page.evaluate("document.getElementById('status').scrollIntoView()")
    said = "getComputedStyle(document.getElementById(id), '::before').content"
    assert visitor.page.evaluate(f"id => {said}", "status-closes") == '"Not read yet."'
    blank = "getComputedStyle(document.querySelector('.drawing'), '::after').content"
    assert visitor.page.evaluate(blank) == '"not read yet"'
    # What is held goes on.
    visitor.page.unroute("**/metrics")
    visitor.see("#status-figures[data-read=yes]")
    assert visitor.page.evaluate(blank) == "none"
    visitor.page.evaluate("scrollTo(0, 0)")


def check_focus(visitor):
    step("login by Enter: the message is next, Enter never leaves, the button does")
    for pane, field in (("relay", "relay-uid"), ("chat", "chat-name")):
        send, text = visitor.at(f"#{pane}-submit"), visitor.at(f"#{pane}-text")
        expect(send).to_be_disabled()
        visitor.enter((field, "focus"))
        visitor.see(f"#{pane}-state[data-state=online]")
        expect(text).to_be_focused()
        expect(send).to_be_enabled()
        # Enter in an empty message, and once more in the name.
        visitor.page.keyboard.press("Enter")
        visitor.page.press(f"#{field}", "Enter")
        expect(text).to_be_focused()
        visitor.see(f"#{pane}-state[data-state=online]")
        visitor.page.click(f"#{pane}-connect")
        visitor.see(f"#{pane}-state[data-state=idle]")
        expect(send).to_be_disabled()
        # The button does both, and leaving is not followed by coming back.
        visitor.page.click(f"#{pane}-connect")
        visitor.see(f"#{pane}-state[data-state=online]")
        expect(text).to_be_focused()
        visitor.page.focus(f"#{pane}-connect")
        visitor.page.keyboard.press("Enter")
        visitor.see(f"#{pane}-state[data-state=idle]")
    expect(visitor.at("#chat-nihao")).to_be_disabled()
    step("login by Enter: who types on at once is not cut off")
    for text in ("one", "two"):
        visitor.page.focus("#relay-uid")
        visitor.page.keyboard.press("Enter")
        visitor.page.keyboard.type(text)
        visitor.page.keyboard.press("Enter")
        expect(visitor.last("relay-log", "in").locator(".text")).to_have_text(text)
        visitor.see("#relay-state[data-state=online]")
        visitor.page.click("#relay-connect")
        visitor.see("#relay-state[data-state=idle]")
    # Who is refused is back where it can be mended.
    visitor.enter(("relay-uid", "all"))
    visitor.see("#relay-state[data-state=closed]")
    expect(visitor.at("#relay-uid")).to_be_focused()


def check_chat_name(visitor):
    step("chat: the name is what the server makes of a login")
    visitor.enter(("chat-name", "Tom Smith"))
    visitor.see("#chat-state[data-state=online]")
    expect(visitor.at("#chat-why")).to_contain_text("You are Tom, on ws://")
    mine = visitor.at("#chat-roster button[data-name=Tom]")
    expect(mine.locator(".address")).to_have_text("you")
    mine.click()
    visitor.enter(("chat-text", "to myself"))
    expect(visitor.last("chat-log", "in").locator(".text")).to_have_text("Tom: to myself")
    visitor.page.click("#chat-connect")
    visitor.see("#chat-state[data-state=idle]")


def check_times(visitor):
    step("times have one form")
    times = visitor.at(".log time").all_inner_texts()
    assert len(times) > 10, times
    for time_shown in times:
        assert re.fullmatch(r"\d\d:\d\d:\d\d", time_shown), time_shown


def check_chat(alice, bob):
    step("chat: two log in, see each other, and write")
    for visitor, name in ((alice, "alice"), (bob, "bob")):
        visitor.enter(("chat-name", name))
        visitor.see("#chat-state[data-state=online]")
    check_roster(alice, bob)
    talk(alice, "bob", bob, "hello, Bob: how are you?")
    talk(bob, "alice", alice, "fine")
    talk(alice, "bob", bob, HOSTILE)
    alice.page.click("#chat-nihao")
    expect(alice.last("chat-log", "in")).to_contain_text("nihao alice")


def check_roster(*visitors):
    for visitor in visitors:
        names = visitor.at("#chat-roster .name")
        expect(names).to_have_count(len(visitors), timeout=10_000)
        assert sorted(names.all_inner_texts()) == ["alice", "bob"]


def talk(sender, name, receiver, text):
    me = sender.page.input_value("#chat-name")
    sender.page.click(f"#chat-roster button[data-name={name}]")
    expect(sender.at("#chat-to")).to_have_text(name)
    sender.enter(("chat-text", text))
    line = receiver.last("chat-log", "in").locator(".text")
    expect(line).to_have_text(f"{me}: {text}")
    expect(sender.last("chat-log", "out").locator(".text")).to_have_text(text)


def check_chat_refusal(visitor):
    step("chat: a hostile name is refused in words, and the page does not insist")
    visitor.enter(("chat-name", HOSTILE))
    visitor.see("#chat-state[data-state=closed]")
    expect(visitor.last("chat-log", "bad").locator(".text")).not_to_be_empty()
    expect(visitor.at("#chat-why")).not_to_be_empty()
    time.sleep(NO_RETURN)
    visitor.see("#chat-state[data-state=closed]")
    visitor.check_clean()


def check_relay(alice, bob):
    step("relay: hostile uid and message are text; colons stay; errors are shown")
    for visitor, uid in ((alice, "alice"), (bob, HOSTILE)):
        visitor.enter(("relay-uid", uid))
        visitor.see("#relay-state[data-state=online]")
        welcome = visitor.last("relay-log", "note").locator(".text")
        expect(welcome).to_have_text(f"login success, your uid is {uid}")
    alice.enter(("relay-to", HOSTILE), ("relay-text", "a:b:c"))
    expect(bob.last("relay-log", "in").locator(".text")).to_have_text("a:b:c")
    bob.enter(("relay-to", "all"), ("relay-text", HOSTILE))
    for visitor in (alice, bob):
        expect(visitor.last("relay-log", "in").locator(".text")).to_have_text(HOSTILE)
    alice.enter(("relay-to", "nobody"), ("relay-text", "?"))
    error = alice.last("relay-log", "bad").locator(".text")
    expect(error).to_have_text('error: uid "nobody" is not online')


def check_relay_refusal(visitor):
    step("relay: `all` cannot be claimed, and the page does not insist")
    visitor.enter(("relay-uid", "all"))
    visitor.see("#relay-state[data-state=closed][data-code='4006']")
    time.sleep(NO_RETURN)
    visitor.see("#relay-state[data-state=closed][data-code='4006']")
    expect(visitor.at("#relay-why")).to_contain_text("refused")


def check_push(visitor):
    step("push: delivered, offline, all, and who got it")
    for uid in ("carol", "carol", "dave"):
        visitor.enter(("receiver-uid", uid))
    expect(visitor.at("#receivers li[data-state=online]")).to_have_count(3)
    # Online means that the server has bound the uid.
    assert visitor.server.tell("online carol", "online dave") == ["ok", "ok"]

    push(visitor, "carol", "post for carol", "ok: delivered to 2 connections")
    expect(visitor.last("push-log", "out").locator(".names")).to_have_text("carol ×2")
    for row in visitor.receiver("carol").all():
        expect(row.locator(".last")).to_have_text("post for carol")
        expect(row).to_have_attribute("data-count", "1")
    expect(visitor.receiver("dave")).to_have_attribute("data-count", "0")

    push(visitor, "nobody", "anybody?", "fail: offline, nobody holds this uid")
    # Three receivers here, and the two relay clients of the two pages.
    push(visitor, "all", HOSTILE, "ok: delivered to 5 connections")
    names = visitor.last("push-log", "out").locator(".names")
    for name in ("carol ×2", "dave", "alice (relay)"):
        expect(names).to_contain_text(name)
    expect(visitor.receiver("dave").locator(".last")).to_have_text(HOSTILE)


NO_WEBSOCKETS = """
window.WebSocket = class {
  constructor() { setTimeout(() => this.onclose?.({ code: 1006, reason: "" })); }
  send() {}
  close() {}
};
"""


def check_fallback(browser, server):
    step("push: where no websocket passes, receivers listen by events")
    visitor = Visitor(browser, server)
    visitor.context.add_init_script(NO_WEBSOCKETS)
    visitor.visit()
    visitor.enter(("receiver-uid", "erin"))
    row = visitor.receiver("erin")
    expect(row).to_have_attribute("data-state", "online", timeout=RETURN_TIMEOUT_MS)
    push(visitor, "erin", "by events", "ok: delivered to 1 connection")
    expect(row.locator(".last")).to_have_text("by events")
    assert server.tell("kick erin") == ["ok"]
    expect(row).to_have_attribute("data-code", "4007")
    expect(row).to_have_attribute("data-state", "closed")
    visitor.check_clean()
    visitor.context.close()


def push(visitor, uid, text, answer):
    visitor.enter(("push-uid", uid), ("push-text", text))
    line = visitor.last("push-log", "out")
    expect(line.locator(".text").first).to_have_text(text)
    expect(line.locator(".answer")).to_have_text(answer)


def check_push_error(visitor):
    step("push: an error of the server is shown as text")
    body = json.dumps({"error": {"code": "bad_request", "message": HOSTILE}})
    visitor.page.route("**/v1/push", lambda route: route.fulfill(
        status=400, content_type="application/json", body=body))
    push(visitor, "carol", "x", f"fail: {HOSTILE}")
    visitor.page.unroute("**/v1/push")
    # The browser logs the status by itself.
    visitor.complaints = [one for one in visitor.complaints if "status of 400" not in one]


def check_command(visitor):
    step("push: the commands to copy are for this server's port, and keep hostile text in one word")
    visitor.page.fill("#push-uid", "it's $HOME")
    visitor.page.fill("#push-text", "a `b`")
    port = visitor.server.ports["push-backend"]
    command = f"ringpost push --to 127.0.0.1:{port} 'it'\\''s $HOME' 'a `b`'"
    expect(visitor.at("#command")).to_have_value(command)
    visitor.enter(("receiver-uid", "-frank"))
    expect(visitor.receiver("-frank")).to_have_attribute("data-state", "online")
    wait_until(lambda: visitor.server.tell("online -frank") == ["ok"])
    check_commands(visitor, "-frank", "--help `id` it's")
    visitor.page.check("input[name=command][value=cli]", force=True)


def check_kick(alice):
    step("kick: shown with its reason, and the page does not come back by itself")
    assert alice.server.tell("kick dave", "kick alice") == ["ok", "ok"]
    dave = alice.receiver("dave")
    expect(dave).to_have_attribute("data-code", "4007")
    expect(dave.locator(".last")).to_contain_text("Kicked")
    alice.see("#relay-state[data-state=closed][data-code='4007']")
    expect(alice.at("#relay-why")).to_contain_text("Kicked")
    time.sleep(NO_RETURN)
    expect(dave).to_have_attribute("data-state", "closed")
    assert alice.server.tell("kick dave", "online alice") == ["fail", "fail"]
    push(alice, "dave", "still there?", "fail: offline, nobody holds this uid")
    alice.page.click("#relay-connect")
    alice.see("#relay-state[data-state=online]")


def check_bound(visitor):
    step("logs are bounded, and the newest line is the one that stays")
    lines = [json.dumps({"uid": "alice", "text": f"flood {n}"}) for n in range(3 * LOG_LINES_MAX)]
    assert set(visitor.server.tell(*lines)) == {"ok"}
    expect(visitor.last("relay-log", "in")).to_contain_text(f"flood {len(lines) - 1}")
    assert visitor.at("#relay-log .line").count() == LOG_LINES_MAX


def check_restart(alice, bob, carl):
    step("restart: the pages come back by themselves, those kicked do not")
    server = alice.server
    # Every open page looks for its server now and then, logged in or not.
    for visitor in (alice, bob, carl):
        visitor.server_may_be_away = True
    server.stop()
    for pane in ("relay", "chat"):
        alice.see(f"#{pane}-state:is([data-state=waiting], [data-state=connecting])")
    expect(alice.at("#chat-roster .name")).to_have_count(0)
    expect(alice.at("#server")).to_have_text(re.compile("does not answer"))
    for button in ("relay-submit", "push-submit", "chat-submit", "chat-nihao"):
        expect(alice.at(f"#{button}")).to_be_disabled()
    time.sleep(1)
    server.start()
    for visitor in (alice, bob):
        for pane in ("relay", "chat"):
            visitor.see(f"#{pane}-state[data-state=online]", RETURN_TIMEOUT_MS)
    rows = alice.at("#receivers li[data-state=online]")
    expect(rows).to_have_count(2, timeout=RETURN_TIMEOUT_MS)
    for visitor in (alice, bob, carl):
        expect(visitor.at("#server")).to_have_text(re.compile("^Served by "), timeout=RETURN_TIMEOUT_MS)
        visitor.server_may_be_away = False
    expect(alice.at("#push-submit")).to_be_enabled()
    check_roster(alice, bob)
    talk(bob, "alice", alice, "here we are again")
    wait_until(lambda: server.tell("online carol") == ["ok"])
    push(alice, "carol", "and again", "ok: delivered to 2 connections")
    expect(alice.receiver("dave")).to_have_attribute("data-state", "closed")


def check_status(visitor, guest):
    step("status: asks only while it is seen, and shows what the server counts")
    asked = []
    visitor.page.on("request", lambda one: one.url.endswith("/metrics") and asked.append(one))
    visitor.visit()
    time.sleep(NO_RETURN)
    assert not asked, "a pane out of sight asks"
    visitor.page.evaluate("document.getElementById('status').scrollIntoView()")
    visitor.see("#status-state[data-state=online]")
    expect(visitor.at("#status-server")).to_contain_text("2 cores on ")
    server = visitor.server
    guest.visit()
    for uid in ("erin", "frank", "grace"):
        guest.enter(("receiver-uid", uid))
    wait_until(lambda: server.tell("online erin", "online grace") == ["ok", "ok"])
    before = stats(server)
    assert server.tell("kick frank", "kick frank") == ["ok", "fail"]
    kicked = before["closed"].get("kicked", 0) + 1
    reasons = visitor.at("#status-closes li").filter(has_text="kicked").locator("b")
    expect(reasons).to_have_text(str(kicked))
    expect(visitor.at("#status-cores li")).to_have_count(2)
    columns = visitor.at("#status-cores li dl div:nth-child(2) dd")

    def is_shown():
        # The one more is the connection that `stats` is asked by.
        held = stats(server)["connections"] - 1
        each = [int(text) for text in columns.all_inner_texts()]
        return visitor.at("#status-connections").inner_text() == str(held) and sum(each) == held

    wait_until(is_shown)
    assert stats(server)["connections"] > 2, "there is something to be shown"
    check_rates(visitor)
    leave_sight(visitor, asked)


def check_rates(visitor):
    step("status: messages and bytes a second, as fast as they come")
    wait_until(lambda: visitor.at("#status-messages-out").inner_text() == "0")
    most = {"in": 0, "out": 0, "bytes": 0}
    until = time.monotonic() + 4
    while time.monotonic() < until:
        visitor.server.tell(*[f'{{"uid":"erin","n":{n}}}' for n in range(20)])
        for way in ("in", "out"):
            text = visitor.at(f"#status-messages-{way}").inner_text().replace(",", "")
            most[way] = max(most[way], int(text))
        most["bytes"] = max(most["bytes"], visitor.at("#status-bytes-out").inner_text() != "0 B")
        time.sleep(0.1)
    # Each line is one message in, and out it comes twice: to erin, and as its answer.
    assert most["in"] > 20 and most["bytes"], most
    assert 1.3 < most["out"] / most["in"] < 3, most
    drawn = visitor.page.evaluate(
        "[...document.querySelectorAll('#status .stroke')].map((one) => one.getAttribute('d').length)")
    assert len(drawn) == 6 and min(drawn) > 20, drawn


def leave_sight(visitor, asked):
    visitor.page.evaluate("scrollTo(0, 0)")
    visitor.see("#status-state[data-state=idle]")
    time.sleep(0.5)
    before = len(asked)
    time.sleep(2 * NO_RETURN)
    assert len(asked) == before, "it asks although nobody looks"


def check_status_token(browser, binary):
    step("status: with tokens it asks for one that may read")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as tokens:
        tokens.write("push pusher-token-0001\nread reader-token-0001\n")
        tokens.flush()
        server = Server(binary, "--backend-tokens-file", tokens.name)
    try:
        visitor = Visitor(browser, server)
        visitor.visit()
        visitor.page.evaluate("document.getElementById('status').scrollIntoView()")
        expect(visitor.at("#status-state")).to_have_text("needs a token")
        for token, words in (("nonsense", "wrong token"), ("pusher-token-0001", "this token may not read"),
                             ("reader-token-0001", "live")):
            visitor.enter(("status-token", token))
            expect(visitor.at("#status-state")).to_have_text(words)
        expect(visitor.at("#status-form")).to_be_hidden()
        expect(visitor.at("#status-connections")).to_have_text("0")
        refusals = ("status of 401", "status of 403")
        visitor.complaints = [one for one in visitor.complaints
                              if not any(words in one for words in refusals)]
        visitor.check_clean()
        visitor.context.close()
        server.stop()
    finally:
        server.kill()


def stats(server):
    (line,) = server.tell("stats")
    return json.loads(line)


def check_listeners(visitor):
    step("a wildcard listener is reached, a missing one is explained")
    listeners = [{"app": "relay", "url": f"ws://0.0.0.0:{visitor.server.ports['relay']}"}]
    visitor.page.route("**/listeners.json", lambda route: route.fulfill(json=listeners))
    visitor.visit()
    expect(visitor.at("#relay-why")).to_contain_text("ws://127.0.0.1:")
    for app in ("push", "chat"):
        expect(visitor.at(f"#{app}-absent")).to_contain_text(f"={app} ")
    expect(visitor.at("#chat-login")).to_be_hidden()
    visitor.enter(("relay-uid", "wild"))
    visitor.see("#relay-state[data-state=online]")


def check_keyboard(visitor):
    step("keyboard: every control is reached in order, the roster by arrows")
    visitor.page.focus("#relay-uid")
    order = []
    for _ in range(40):
        order.append(visitor.page.evaluate("document.activeElement.id"))
        if order[-1] == "chat-nihao":
            break
        visitor.page.keyboard.press("Tab")
    wanted = ["relay-uid", "relay-connect", "relay-to", "relay-text", "relay-submit",
              "receiver-uid", "receiver-add", "push-uid", "push-text", "push-submit", "command",
              "command-copy", "chat-name", "chat-connect", "chat-text", "chat-submit", "chat-nihao"]
    assert [one for one in order if one in wanted] == wanted, order
    first = visitor.at("#chat-roster button").first
    first.focus()
    visitor.page.keyboard.press("ArrowDown")
    second = visitor.at("#chat-roster button").nth(1)
    expect(second).to_be_focused()
    visitor.page.keyboard.press("Enter")
    expect(visitor.at("#chat-to")).to_have_text(second.get_attribute("data-name"))
    expect(visitor.at("#chat-text")).to_be_focused()


def stage(visitor, guest):
    """A scene for the pictures: all three panes in use."""
    visitor.visit()
    visitor.enter(("relay-uid", "carol"))
    visitor.see("#relay-state[data-state=online]")
    for to, text in (("all", "Good morning, everybody"), ("dave", "Are you there?"),
                     ("carol", "Note to self: <b>buy stamps</b>")):
        visitor.enter(("relay-to", to), ("relay-text", text))
        time.sleep(0.2)
    for uid in ("alice", "bob", "bob"):
        visitor.enter(("receiver-uid", uid))
    expect(visitor.at("#receivers li[data-state=online]")).to_have_count(3)
    wait_until(lambda: visitor.server.tell("online alice", "online bob") == ["ok", "ok"])
    push(visitor, "bob", "Your order is on its way", "ok: delivered to 2 connections")
    push(visitor, "erin", "Anybody home?", "fail: offline, nobody holds this uid")
    push(visitor, "all", "Maintenance at noon", "ok: delivered to 4 connections")
    visitor.enter(("chat-name", "alice"))
    visitor.see("#chat-roster button[data-name=bob]")
    talk(visitor, "bob", guest, "Hello Bob")
    talk(guest, "alice", visitor, "Hello Alice, nice to meet you here")
    # Neither a hovered button nor a fading highlight belongs into a picture.
    visitor.page.mouse.move(5, 5)
    time.sleep(1.5)


def take_pictures(browser, server, renew):
    step(f"pictures in {SHOTS.relative_to(ROOT)}")
    SHOTS.mkdir(parents=True, exist_ok=True)
    guests = []
    for name in ("bob", "Zoe", "Soren"):
        guest = Visitor(browser, server)
        guest.visit()
        guest.enter(("chat-name", name))
        guest.see("#chat-state[data-state=online]")
        guests.append(guest)
    for scheme in ("light", "dark"):
        for device, context in (("desktop", {"viewport": DESKTOP}),
                                ("phone", {"viewport": PHONE, "is_mobile": True,
                                           "has_touch": True, "device_scale_factor": 2})):
            visitor = Visitor(browser, server, color_scheme=scheme, **context)
            stage(visitor, guests[0])
            wide = visitor.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= context["viewport"]["width"], f"{device}: {wide} pixels wide"
            visitor.page.evaluate("scrollTo(0, 0)")
            path = SHOTS / f"{device}-{scheme}.png"
            visitor.page.screenshot(path=path, full_page=device == "phone")
            visitor.check_clean()
            visitor.context.close()
            # The server forgets the scene before the next one counts connections.
            wait_until(lambda: server.tell("online carol", "online bob") == ["fail", "fail"])
    if renew:
        PICTURE.write_bytes((SHOTS / "desktop-light.png").read_bytes())
        assert PICTURE.stat().st_size < PICTURE_BYTES_MAX, "the picture is too large"


def renew_console_pictures():
    for scene, name in CONSOLE_PICTURES.items():
        picture = PICTURE.with_name(name)
        picture.write_bytes((SHOTS / f"console-{scene}.png").read_bytes())
        assert picture.stat().st_size < PICTURE_BYTES_MAX, f"{name} is too large"


def load(binary, workload, url, connections, seconds, *more):
    return subprocess.Popen(
        [binary, "bench", workload, "--url", url, "--connections", connections, "--seconds", seconds,
         *more], stdout=subprocess.DEVNULL)


def take_status_picture(browser, binary):
    step("the picture of the status pane, under load")
    server = Server(binary)
    try:
        visitor = Visitor(browser, server, viewport={"width": 1200, "height": 900})
        visitor.visit()
        visitor.page.evaluate("document.getElementById('status').scrollIntoView()")
        url = f"ws://127.0.0.1:{server.ports['relay']}"
        load(binary, "relay", url, "300", "10", "--rate", "1500").wait()
        load(binary, "churn", url, "200", "8").wait()
        last = load(binary, "relay", url, "500", "25", "--rate", "3000")
        time.sleep(15)
        visitor.at("#status").screenshot(path=STATUS_PICTURE)
        assert last.wait() == 0
        assert STATUS_PICTURE.stat().st_size < STATUS_PICTURE_BYTES_MAX, "the picture is too large"
        visitor.context.close()
        server.stop()
    finally:
        server.kill()


def check_compression(browser, binary):
    step("compression: what the browser compresses is read, and what is compressed for it")
    server = Server(binary, "--compress", "--compress-bytes-min", "1")
    try:
        one, two = (Visitor(browser, server) for _ in range(2))
        one.visit()
        two.visit()
        check_chat(one, two)
        check_relay(one, two)
        check_push(one)
        long = " ".join(f"word {n}" for n in range(180))
        for to, readers in (("all", (one, two)), ("alice", (one,)), (HOSTILE, (two,))):
            one.enter(("relay-to", to), ("relay-text", f"to {to}: {long}"))
            for reader in readers:
                line = reader.last("relay-log", "in").locator(".text")
                expect(line).to_have_text(f"to {to}: {long}")
        (cores,) = (json.loads(line)["cores"] for line in server.tell("stats"))
        for name, least in (("messages_inflated", 10), ("messages_compressed", 3)):
            assert sum(core[name] for core in cores) >= least, f"{name}: {cores}"
        for visitor in (one, two):
            visitor.check_clean()
            visitor.context.close()
        server.stop()
    finally:
        server.kill()


def wait_until(condition, timeout=10):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def check_all(browser, server, renew):
    alice, bob, carl = (Visitor(browser, server) for _ in range(3))
    check_headers(alice)
    bob.visit()
    carl.visit()
    check_unread(carl)
    check_focus(carl)
    check_chat_name(carl)
    check_chat(alice, bob)
    check_chat_refusal(carl)
    check_relay(alice, bob)
    check_relay_refusal(carl)
    check_push(alice)
    check_push_error(alice)
    check_fallback(browser, server)
    check_command(alice)
    check_kick(alice)
    check_bound(alice)
    check_times(alice)
    check_restart(alice, bob, carl)
    check_keyboard(alice)
    check_status(carl, bob)
    check_listeners(carl)
    for visitor in (alice, bob, carl):
        visitor.check_clean()
        visitor.context.close()
    wait_until(lambda: server.tell("online alice", "online carol") == ["fail", "fail"])
    take_pictures(browser, server, renew)
    server.stop()


def main():
    server = Server(os.path.abspath(sys.argv[1]))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=os.environ["CHROMIUM"], args=FLAGS)
            try:
                check_all(browser, server, "--picture" in sys.argv[2:])
                check_compression(browser, server.binary)
                step("console: who is there, groups, what is kept, what happens; push and kick, by rights")
                check_console(browser, server.binary, SHOTS)
                if "--picture" in sys.argv[2:]:
                    renew_console_pictures()
                step("events: EventSource is served, told why it ends, and comes back")
                check_events(browser, server.binary)
                step("status: counts upgrades, and nobody has to come back")
                check_upgrade(browser, server.binary)
                step("lines: a page that posts to line and frame listeners reaches nobody")
                check_lines(browser, server.binary)
                check_status_token(browser, server.binary)
                step("tokens: of clients and of back ends, never shown, and in the commands")
                check_tokens(browser, server.binary)
                if "--picture" in sys.argv[2:]:
                    take_status_picture(browser, server.binary)
            except BaseException:
                SHOTS.mkdir(parents=True, exist_ok=True)
                for number, context in enumerate(browser.contexts):
                    for page in context.pages:
                        page.screenshot(path=SHOTS / f"failed-{number}.png")
                print(f"page: failed; see target/page/failed-*.png\n{server.complaints()}",
                      file=sys.stderr)
                raise
            finally:
                browser.close()
    finally:
        server.kill()
    print("page: ok")


main()
