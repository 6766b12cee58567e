"""The subprotocol ringpost.v1, spoken by Python's websockets: what is asked and told, and that nobody misses anything.

    python tests/python/test_v1.py BINARY

Starts the server itself, on free ports, and ends with a line "N passed, N failed".
"""

import asyncio
import json
import os
import random
import sys
import tempfile
import traceback

from test_websockets import PATIENCE, Server, Stack, expect_close, receive

LISTENERS = [
    "websocket://127.0.0.1:0=push",
    "text://127.0.0.1:0=push-backend",
    "http://127.0.0.1:0=page",
]
RULES = '[[groups]]\nname = "*"\npublic = true\n'


class Client:
    """A client that keeps its positions, by ("uid",), ("all",) or ("group", NAME)."""

    def __init__(self, socket):
        self.socket = socket
        self.positions = {}

    @classmethod
    async def bind(cls, server, stack, uid, groups=(), was=None, **more):
        client = cls(await stack.enter(server.connect("push", subprotocols=["ringpost.v1"])))
        assert client.socket.subprotocol == "ringpost.v1"
        own, joined = {}, {name: None for name in groups}
        for stream, position in (was.positions if was else {}).items():
            if stream[0] == "group":
                joined[stream[1]] = position
            else:
                own[stream[0]] = position
        await client.tell(type="bind", uid=uid, positions=own, groups=joined, **more)
        client.bound = await client.next()
        assert client.bound["type"] == "bound", client.bound
        for stream, position in client.bound["positions"].items():
            client.positions[(stream,)] = position
        for group, position in client.bound["groups"].items():
            client.positions["group", group] = position
        return client

    async def tell(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def next(self):
        while True:
            frame = json.loads(await receive(self.socket))
            if frame["type"] == "ping":
                await self.tell(type="pong")
                continue
            if frame["type"] == "message" and "position" in frame:
                self.positions[stream_of(frame)] = frame["position"]
            if frame["type"] == "gap":
                self.positions[stream_of(frame)] = frame["top"]
            if frame["type"] == "joined":
                self.positions["group", frame["group"]] = frame["position"]
            return frame

    async def ask(self, **frame):
        await self.tell(**frame)
        return await self.next()


def stream_of(frame):
    return (frame["stream"], frame["group"]) if frame["stream"] == "group" else (frame["stream"],)


async def post(server, path, **body):
    host, port = server.addresses["page"].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    text = json.dumps(body)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text.encode())}\r\nConnection: close\r\n\r\n{text}".encode()
    )
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    head, _, answer = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    return json.loads(answer)


async def keep(server, text, **to):
    path = "/v1/push" if to else "/v1/broadcast"
    answer = await post(server, path, text=text, keep="10m", **to)
    return next(iter(answer["positions"].values()))


async def test_streams_and_groups(server, stack):
    kim = await Client.bind(server, stack, "kim", ["news"], id=1)
    assert kim.bound["id"] == 1 and kim.bound["uid"] == "kim", kim.bound
    own = await keep(server, "own", uid="kim")
    assert await kim.next() == {"type": "message", "stream": "uid", "position": own, "text": "own"}
    await post(server, "/v1/push", group="news", data={"a": 1})
    told = {"type": "message", "stream": "group", "group": "news", "data": {"a": 1}}
    assert await kim.next() == told
    await post(server, "/v1/broadcast", text="to all")
    assert await kim.next() == {"type": "message", "stream": "all", "text": "to all"}
    first = await keep(server, "1", group="chat")
    joined = await kim.ask(type="join", group="chat", id="x")
    assert joined == {"type": "joined", "id": "x", "group": "chat", "position": first}
    assert (await kim.ask(type="leave", group="chat"))["type"] == "left"
    await keep(server, "2", group="chat")
    assert (await kim.ask(type="join", group="chat", since=first))["type"] == "joined"
    assert (await kim.next())["text"] == "2"
    page = await kim.ask(type="history", stream="group", group="chat")
    assert [message["text"] for message in page["messages"]] == ["1", "2"]
    for frame, code in (
        ({"type": "join", "group": ""}, "bad_group"),
        ({"type": "bind", "uid": "kim"}, "already_bound"),
        ({"type": "sing"}, "unknown_type"),
        ({"type": "join"}, "bad_request"),
    ):
        error = await kim.ask(**frame)
        assert error["type"] == "error" and error["error"]["code"] == code, error
    assert (await kim.ask(type="ping")) == {"type": "pong"}


async def test_a_gap_is_told(server, stack):
    top = await keep(server, "1", uid="kim")
    was = Client(None)
    was.positions = {("uid",): "0000000000:1", ("group", "news"): "nonsense"}
    kim = await Client.bind(server, stack, "kim", was=was)
    gaps = [await kim.next(), await kim.next()]
    own = next(gap for gap in gaps if gap["stream"] == "uid")
    assert own == {"type": "gap", "stream": "uid", "asked": "0000000000:1", "first": top, "top": top}
    await keep(server, "2", uid="kim")
    assert (await kim.next())["text"] == "2"


async def test_one_client_takes_its_own_place(server, stack):
    old = await Client.bind(server, stack, "kim", client="phone")
    await Client.bind(server, stack, "kim", client="phone")
    await expect_close(old.socket, 4001)


async def test_nobody_misses_anything(server, stack):
    """Clients whose connections are cut come back; each has every kept message of its streams once, in order."""
    uids, groups, rounds = [f"u{n}" for n in range(6)], ["a", "b", "c"], 12
    sent, came = {}, {}
    bound, done = asyncio.Semaphore(0), asyncio.Event()

    async def send(streams):
        for number in range(60):
            stream = random.choice(streams)
            text = f"{number} " + "x" * random.choice([0, 100, 20_000])
            to = {} if stream == ("all",) else {stream[0]: stream[1]}
            position = await keep(server, text, **to)
            sent.setdefault(stream, []).append((position, text))

    async def listen(uid):
        own = [("uid", uid), ("all",)] + [("group", group) for group in groups]
        known = came.setdefault(uid, {stream: [] for stream in own})

        def lacks():
            return any(len(known[stream]) < len(sent.get(stream, [])) for stream in own)

        was = None
        for turn in range(rounds):
            is_last = turn + 1 == rounds
            if is_last:
                await done.wait()
            client = await Client.bind(server, stack, uid, () if was else groups, was=was)
            if was is None:
                bound.release()
            try:
                async with asyncio.timeout(PATIENCE if is_last else 0.05 + random.random() / 4):
                    while not is_last or lacks():
                        frame = await client.next()
                        assert frame["type"] == "message", frame
                        stream = stream_of(frame)
                        stream = ("uid", uid) if stream == ("uid",) else stream
                        known[stream].append((frame["position"], frame["text"]))
            except TimeoutError:
                assert not is_last, f"{uid} lacks messages"
            was = client
            # Without a word, as a network ends.
            client.socket.transport.abort()

    listeners = [asyncio.create_task(listen(uid)) for uid in uids]
    # What is sent before a client is there for the first time is not for it.
    for _ in uids:
        await bound.acquire()
    streams = [("uid", uid) for uid in uids] + [("group", group) for group in groups] + [("all",)]
    await asyncio.gather(*(send(streams) for _ in range(3)))
    done.set()
    await asyncio.gather(*listeners)
    for uid in uids:
        for stream, messages in came[uid].items():
            in_order = sorted(sent.get(stream, []), key=lambda one: int(one[0].split(":")[1]))
            assert messages == in_order, (uid, stream)


async def main(binary):
    passed = failed = 0
    tests = [test for name, test in globals().items() if name.startswith("test_")]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(RULES)
        file.flush()
        for cores in (1, 2, 4):
            for test in tests:
                stack = Stack()
                compressed = {"COMPRESS": "true", "COMPRESS_BYTES_MIN": "1"} if cores == 2 else {}
                try:
                    starting = Server.start(binary, cores, LISTENERS, CONFIG=file.name, **compressed)
                    async with starting as server:
                        try:
                            async with asyncio.timeout(60):
                                await test(server, stack)
                        finally:
                            await stack.close()
                    passed += 1
                except Exception:
                    failed += 1
                    print(f"FAILED {test.__name__}, {cores} cores:")
                    traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    binary = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BINARY", "target/debug/ringpost")
    if not os.access(binary, os.X_OK):
        sys.exit(f"no binary at {binary}; usage: {sys.argv[0]} BINARY")
    sys.exit(asyncio.run(main(binary)))
