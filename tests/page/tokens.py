"""The page where tokens are asked for, of clients and of back ends; and its commands, run by a shell."""

import os
import pathlib
import subprocess
import tempfile

from playwright.sync_api import expect

from server import Server
from visitor import Visitor

SECRET = "0123456789abcdef0123456789abcdef"
BACK_END = "it's-a-back-end's-$TOKEN"
REFUSALS = ("status of 401", "status of 403")


def mint(binary, keys, uid):
    settings = {"RINGPOST_AUTH": "hmac", "RINGPOST_AUTH_KEY_FILE": keys}
    command = [binary, "token", uid, "--ttl", "1h"]
    done = subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def run(command, binary):
    """What a shell makes of a command of the page: its status and what it prints."""
    with tempfile.TemporaryDirectory() as bin:
        pathlib.Path(bin, "ringpost").symlink_to(binary)
        done = subprocess.run(
            ["sh", "-c", f'PATH="{bin}:$PATH"; {command}'], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def shown_command(visitor, kind):
    visitor.page.check(f"input[name=command][value={kind}]", force=True)
    return visitor.page.input_value("#command")


def check_commands(visitor, uid, text, token=""):
    """Each command reaches the receiver of that uid, as it stands."""
    visitor.page.fill("#push-uid", uid)
    visitor.page.fill("#push-text", text)
    port = visitor.server.ports["push-backend"]
    row = visitor.receiver(uid)
    count = int(row.get_attribute("data-count"))
    for kind, answer in (("cli", "ok"), ("curl", f'{{"verdicts":{{"{uid}":"delivered"}},"connections":1}}'),
                         ("php", "ok")):
        command = shown_command(visitor, kind)
        status, printed, said = run(command, visitor.server.binary)
        assert (status, printed) == (0, answer), f"{command}: {status} {printed} {said}"
        count += 1
        expect(row).to_have_attribute("data-count", str(count))
        expect(row.locator(".last")).to_have_text(text)
    # Not every machine has it.
    assert f"nc -w1 127.0.0.1 {port}" in shown_command(visitor, "nc")
    assert bool(token) == ("'auth " in shown_command(visitor, "nc"))
    command = shown_command(visitor, "kick")
    assert f" --to 127.0.0.1:{port} " in command, command
    assert run(command, visitor.server.binary)[:2] == (0, "ok"), command
    expect(row).to_have_attribute("data-code", "4007")


def check_back_end_token(browser, binary):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as tokens:
        tokens.write(f"push,kick,read {BACK_END}\n")
        tokens.flush()
        server = Server(binary, "--backend-tokens-file", tokens.name)
    try:
        visitor = Visitor(browser, server)
        visitor.visit()
        visitor.enter(("receiver-uid", "alice"))
        expect(visitor.receiver("alice")).to_have_attribute("data-state", "online")
        # The place for it is there before anything has been refused, and the command says where it goes.
        expect(visitor.at("#push-token-field")).to_be_visible()
        assert " --token TOKEN " in shown_command(visitor, "cli")
        visitor.page.fill("#push-token", BACK_END)
        check_commands(visitor, "alice", "it's `post`", BACK_END)
        visitor.check_clean()
        visitor.context.close()
        server.stop()
    finally:
        server.kill()


def check_client_tokens(browser, binary):
    with tempfile.NamedTemporaryFile("w", suffix=".key") as keys:
        keys.write(SECRET + "\n")
        keys.flush()
        server = Server(binary, "--auth", "hmac", "--auth-key-file", keys.name)
        token = {uid: mint(binary, keys.name, uid) for uid in ("Ann", "Ben", "carol 水")}
    try:
        ann, ben = Visitor(browser, server), Visitor(browser, server)
        for visitor, uid in ((ann, "Ann"), (ben, "Ben")):
            visitor.visit()
            for pane, field in (("relay", "relay-uid"), ("chat", "chat-name")):
                expect(visitor.at(f"label[for={field}]")).to_have_text("Your token")
                visitor.enter((field, token[uid]))
                visitor.see(f"#{pane}-state[data-state=online]")
                expect(visitor.at(f"#{pane}-why")).to_contain_text(f"You are {uid}, on ws://")
        write(ann, ben)
        ann.enter(("receiver-uid", token["carol 水"]))
        row = ann.receiver("carol 水")
        expect(row).to_have_attribute("data-state", "online")
        ann.enter(("push-uid", "carol 水"), ("push-text", "post"))
        expect(ann.last("push-log", "out").locator(".names")).to_have_text("carol 水")
        ann.enter(("receiver-uid", "no token"))
        expect(ann.receiver("a token")).to_have_attribute("data-code", "4006")
        for visitor in (ann, ben):
            hidden_everywhere(visitor, token.values())
            visitor.check_clean()
            visitor.context.close()
        server.stop()
    finally:
        server.kill()


def write(ann, ben):
    ann.enter(("relay-to", "Ben"), ("relay-text", "hello"))
    expect(ben.last("relay-log", "in").locator(".text")).to_have_text("hello")
    ann.page.click("#chat-roster button[data-name=Ben]")
    ann.enter(("chat-text", "hello"))
    expect(ben.last("chat-log", "in").locator(".text")).to_have_text("Ann: hello")
    # "You" is known by the name that the server tells.
    expect(ann.at("#chat-roster button[data-name=Ann] .address")).to_have_text("you")


def hidden_everywhere(visitor, tokens):
    """A token is in no text, attribute or command of the page, and its input does not show it."""
    page = visitor.page.content()
    for token in tokens:
        assert token not in page, "a token is shown"
    for field in ("relay-uid", "chat-name", "receiver-uid"):
        expect(visitor.at(f"#{field}")).to_have_attribute("type", "password")


def check_tokens(browser, binary):
    check_client_tokens(browser, binary)
    check_back_end_token(browser, binary)
