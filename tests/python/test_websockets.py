"""Clients of another make: Python's websockets against every websocket app, and over TLS.

    python tests/python/test_websockets.py BINARY

Starts the server itself, on free ports, and ends with a line "N passed, N failed".
"""

import asyncio
import json
import os
import random
import re
import signal
import ssl
import string
import sys
import tempfile
import traceback
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

CERTIFICATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "certificates")
PATIENCE = 15
SILENCE = 0.25
LISTENERS = [
    "websocket://127.0.0.1:0=relay",
    "websocket://127.0.0.1:0=push",
    "text://127.0.0.1:0=push-backend",
    "websocket://127.0.0.1:0=chat",
    "websocket://127.0.0.1:0=echo",
]


class Server:
    """A running server: its process, and the address of each app's listener."""

    @classmethod
    @asynccontextmanager
    async def start(cls, binary, cores, listeners=LISTENERS, tls=False, **settings):
        self = cls()
        self.tls = tls
        if tls:
            # The back end's port stays as it is: what it does is asked for here, and not tried.
            listeners = [one.replace("websocket://", "wss://") for one in listeners]
            for key, end in (("CERTIFICATE_FILE", "pem"), ("KEY_FILE", "key")):
                settings[f"TLS_{key}"] = os.path.join(CERTIFICATES, f"p256.{end}")
        self.stopped = False
        self.cores = cores
        self.listeners = listeners
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGPOST_")}
        environment |= {f"RINGPOST_{name}": value for name, value in settings.items()}
        arguments = ["serve", "--cores", str(cores)]
        for listener in listeners:
            arguments += ["--listen", listener]
        with tempfile.TemporaryFile() as log:
            self.process = await asyncio.create_subprocess_exec(
                binary, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
            )
            try:
                self.addresses = await asyncio.wait_for(self._addresses(), PATIENCE)
                yield self
                self.stop()
                status = await asyncio.wait_for(self.process.wait(), PATIENCE)
                log.seek(0)
                text = log.read().decode(errors="replace")
                assert status == 0, f"the server ended with {status}:\n{text}"
                assert "panicked" not in text, text
            finally:
                if self.process.returncode is None:
                    self.process.kill()
                    await self.process.wait()

    def stop(self):
        """SIGTERM, once: a second one would make it leave without draining."""
        if not self.stopped:
            self.stopped = True
            self.process.send_signal(signal.SIGTERM)

    async def _addresses(self):
        addresses = {}
        while len(addresses) < len(self.listeners):
            line = await self.process.stdout.readline()
            assert line, "the server ended at its start"
            found = re.match(r"\s*(\S+)\s.*?\w+://([\d.]+:\d+)", line.decode())
            if found:
                addresses[found[1]] = found[2]
        return addresses

    def connect(self, app, **options):
        # The machine's proxy has no business here.
        if self.tls:
            options["ssl"] = ssl.create_default_context(cafile=os.path.join(CERTIFICATES, "ca.pem"))
        scheme = "wss" if self.tls else "ws"
        return connect(f"{scheme}://{self.addresses[app]}/", proxy=None, **options)

    async def relay(self, stack, uid, **options):
        client = await stack.enter(self.connect("relay", **options))
        await client.send(uid)
        assert await receive(client) == f"login success, your uid is {uid}"
        return client

    async def push(self, stack, uid):
        client = await stack.enter(self.connect("push"))
        await client.send(uid)
        async with asyncio.timeout(PATIENCE):
            while await self.ask(f"online {uid}") != "ok":
                await asyncio.sleep(0.01)
        return client

    async def counts(self, *names):
        """Figures of `stats`, summed over the cores."""
        cores = json.loads(await self.ask("stats"))["cores"]
        return [sum(core[name] for core in cores) for name in names]

    async def ask(self, *lines):
        """Sends lines to the back end's port; the answer, or the answers if they are several."""
        host, port = self.addresses["push-backend"].rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        writer.write("".join(line + "\n" for line in lines).encode())
        answers = []
        for _ in lines:
            answer = await asyncio.wait_for(reader.readline(), PATIENCE)
            answers.append(answer.decode().removesuffix("\n"))
        writer.close()
        return answers[0] if len(answers) == 1 else answers


class Stack:
    """Closes the test's clients at its end."""

    def __init__(self):
        self.clients = []

    async def enter(self, connecting):
        client = await connecting
        self.clients.append(client)
        return client

    async def close(self):
        await asyncio.gather(*(client.close() for client in self.clients))


async def receive(client):
    return await asyncio.wait_for(client.recv(), PATIENCE)


async def expect(client, *messages):
    for message in messages:
        got = await receive(client)
        assert got == message, f"expected {message!r}, got {got!r}"


async def expect_silence(client):
    try:
        got = await asyncio.wait_for(client.recv(), SILENCE)
    except TimeoutError:
        return
    raise AssertionError(f"expected nothing, got {got!r}")


async def expect_close(client, code):
    try:
        got = await receive(client)
    except ConnectionClosed as closed:
        assert closed.rcvd and closed.rcvd.code == code, f"closed by {closed.rcvd}"
        return
    raise AssertionError(f"expected a close with {code}, got {got!r}")


async def test_echo_of_text_and_binary(server, stack):
    client = await stack.enter(server.connect("echo"))
    for message in ["", "hello", "grüße 🌍", b"", b"\x00\xff\x80", "x" * 200_000]:
        await client.send(message)
        await expect(client, message)


async def test_fragments_are_joined(server, stack):
    client = await stack.enter(server.connect("echo"))
    await client.send(["one ", "", "two ", "🌍"])
    await expect(client, "one two 🌍")
    await client.send([b"\xff", b"\xfe"])
    await expect(client, b"\xff\xfe")


async def test_a_ping_is_answered(server, stack):
    for app in ["echo", "relay", "push", "chat"]:
        client = await stack.enter(server.connect(app))
        await asyncio.wait_for(await client.ping(b"body"), PATIENCE)


async def test_closing_is_a_handshake(server, stack):
    for code in [1000, 1001, 4321]:
        client = await stack.enter(server.connect("echo"))
        await client.close(code, "done")
        assert client.close_code in (1000, code), client.close_code


async def test_too_big_closes_with_1009(server, stack):
    client = await server.relay(stack, "big")
    await client.send("big:" + "x" * (65_536 - 4))
    await expect(client, "x" * (65_536 - 4))
    await client.send("big:" + "x" * (65_536 - 3))
    await expect_close(client, 1009)


async def test_compression(server, stack):
    names = lambda client: [one.name for one in client.protocol.extensions]
    client = await stack.enter(server.connect("echo"))
    assert names(client) == ["permessage-deflate"], names(client)
    text = json.dumps([{"name": f"item {n}", "price": n * 0.25} for n in range(3_000)])
    for length in [0, 1, 1_000, 1_024, 4_096, 4_097, len(text)]:
        for message in [text[:length], text[:length].encode()]:
            await client.send(message)
            await expect(client, message)
    await client.send([text[:50], "", text[50:]])
    await expect(client, text)
    # It has asked for a window of 4 KiB, and has no more: what repeats is further away than that.
    letters = random.Random(1).choices(string.ascii_letters, k=30_000)
    far = ("".join(letters) + "x" * 10_000) * 2
    await client.send(far)
    await expect(client, far)
    plain = await stack.enter(server.connect("echo", compression=None))
    assert names(plain) == [], names(plain)
    await plain.send(text)
    await expect(plain, text)
    # One text a length, three of which are below what is compressed by default.
    inflated, compressed = await server.counts("messages_inflated", "messages_compressed")
    assert inflated == 16, inflated
    assert compressed >= 9, compressed


async def test_compression_of_a_broadcast(server, stack):
    offers = ["deflate", None] * 10
    clients = [
        await server.relay(stack, f"c-{n}", compression=offer) for n, offer in enumerate(offers)
    ]
    line = json.dumps({"uid": "all", "items": ["one of many"] * 500})
    (before,) = await server.counts("messages_compressed")
    assert await server.ask(line) == "ok"
    await asyncio.gather(*(expect(client, line) for client in clients))
    (after,) = await server.counts("messages_compressed")
    # At most once a core, and not at all where it is not switched on.
    agreed = any(client.protocol.extensions for client in clients)
    assert (after > before) == agreed, (before, after)
    assert after - before <= server.cores, (before, after)


async def test_relay_between_clients(server, stack):
    clients = {}
    for n in range(12):
        clients[f"py-{n}"] = await server.relay(stack, f"py-{n}")
    for sender, client in clients.items():
        for receiver in clients:
            await client.send(f"{receiver}:from {sender}: a:b")
    for client in clients.values():
        got = sorted([await receive(client) for _ in clients])
        assert got == sorted(f"from {sender}: a:b" for sender in clients), got
    await clients["py-0"].send("all:everybody")
    await asyncio.gather(*(expect(client, "everybody") for client in clients.values()))
    await asyncio.gather(*(expect_silence(client) for client in clients.values()))


async def test_relay_errors(server, stack):
    client = await server.relay(stack, "err")
    await client.send("nobody:hello")
    await expect(client, 'error: uid "nobody" is not online')
    await client.send("no address")
    await expect(client, 'error: expected "uid:message" or "all:message"')
    for uid in ["all", "a:b", "", "x" * 129]:
        refused = await stack.enter(server.connect("relay"))
        await refused.send(uid)
        error = await receive(refused)
        assert error.startswith("error: "), error
        await expect_close(refused, 4006)


async def test_order_of_many_senders(server, stack):
    receiver = await server.relay(stack, "order")
    senders = [await server.relay(stack, f"order-{n}") for n in range(8)]

    async def send(sender, client):
        for n in range(200):
            await client.send(f"order:{sender} {n}")

    await asyncio.gather(*(send(n, client) for n, client in enumerate(senders)))
    expected = [0] * len(senders)
    for _ in range(200 * len(senders)):
        sender, n = map(int, (await receive(receiver)).split())
        assert n == expected[sender], f"{n} from {sender}, not {expected[sender]}"
        expected[sender] += 1


async def test_push_to_browsers(server, stack):
    for n in range(6):
        client = await server.push(stack, f"push-{n}")
        line = json.dumps({"uid": f"push-{n}", "percent": "88%"})
        assert await server.ask(line) == "ok"
        await expect(client, line)
        await client.send("heartbeat")
        await expect_silence(client)


async def test_push_to_all_reaches_relay_and_push(server, stack):
    clients = [await server.push(stack, f"all-{n}") for n in range(4)]
    clients += [await server.relay(stack, f"all-relay-{n}") for n in range(4)]
    line = json.dumps({"uid": "all", "text": "hello"})
    assert await server.ask(line) == "ok"
    await asyncio.gather(*(expect(client, line) for client in clients))


async def test_kick(server, stack):
    one, two = await server.relay(stack, "kicked"), await server.relay(stack, "kicked")
    answers = await server.ask("online kicked", "kick kicked", "online kicked", "kick kicked")
    assert answers == ["ok", "ok", "fail", "fail"], answers
    await expect_close(one, 4007)
    await expect_close(two, 4007)


async def test_chat(server, stack):
    zoe = await stack.enter(server.connect("chat"))
    await zoe.send("login:Zoë_1")
    await expect(zoe, "notice:success", "msg:welcome Zoë_1")
    maxx = await stack.enter(server.connect("chat"))
    await maxx.send("LOGIN:王小明")
    await expect(maxx, "notice:success", "msg:welcome 王小明")
    address = {client: "{}:{}".format(*client.local_address[:2]) for client in (zoe, maxx)}
    expected = {address[zoe]: "Zoë_1", address[maxx]: "王小明"}
    for client in (zoe, maxx):
        roster = {}
        while roster != expected:
            message = await receive(client)
            assert message.startswith("users:"), message
            roster = json.loads(message.removeprefix("users:"))
    await zoe.send(f"chat:<{address[maxx]}>:<img src=x onerror=alert(1)>: hi")
    await expect(maxx, "msg:<img src=x onerror=alert(1)>: hi")
    await zoe.send("msg:nihao")
    await expect(zoe, "msg:nihao Zoë_1")
    await zoe.send("chat:<127.0.0.1:1>:hi")
    assert (await receive(zoe)).startswith("notice:error ")
    await maxx.close()
    message = await receive(zoe)
    assert json.loads(message.removeprefix("users:")) == {address[zoe]: "Zoë_1"}, message


async def test_a_stop_closes_with_1001(server, stack):
    clients = [await server.relay(stack, f"stop-{n}") for n in range(8)]
    clients.append(await server.push(stack, "stop-push"))
    server.stop()
    await asyncio.gather(*(expect_close(client, 1001) for client in clients))


async def test_heartbeat_by_the_servers_pings(server, stack):
    # The library answers pings by itself, as browsers do, and sends none of its own here.
    client = await server.relay(stack, "beat", ping_interval=None)
    await asyncio.sleep(6)
    await client.send("beat:alive")
    await expect(client, "alive")


async def test_replace(server, stack):
    old = await server.relay(stack, "same")
    new = await server.relay(stack, "same")
    await expect_close(old, 4001)
    await new.send("same:still here")
    await expect(new, "still here")


# With two cores whatever can be compressed is.
COMPRESSED = {"COMPRESS": "true", "COMPRESS_BYTES_MIN": "1"}
SETTINGS = {
    test_heartbeat_by_the_servers_pings: {"IDLE_TIMEOUT": "2s", "PING_INTERVAL": "1s"},
    test_replace: {"UID_POLICY": "replace"},
}


async def main(binary):
    passed = failed = 0
    tests = [test for name, test in globals().items() if name.startswith("test_")]
    for cores, tls in [(1, False), (2, False), (4, False), (2, True)]:
        for test in tests:
            stack = Stack()
            settings = SETTINGS.get(test, {}) | (COMPRESSED if cores == 2 else {})
            try:
                async with Server.start(binary, cores, tls=tls, **settings) as server:
                    try:
                        async with asyncio.timeout(60):
                            await test(server, stack)
                    finally:
                        await stack.close()
                passed += 1
            except Exception:
                failed += 1
                print(f"FAILED {test.__name__}, {cores} cores{', TLS' if tls else ''}:")
                traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    binary = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BINARY", "target/debug/ringpost")
    if not os.access(binary, os.X_OK):
        sys.exit(f"no binary at {binary}; usage: {sys.argv[0]} BINARY")
    sys.exit(asyncio.run(main(binary)))
