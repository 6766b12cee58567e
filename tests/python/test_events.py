"""Server-Sent Events as another reads them: PyPI's httpx-sse against the real binary.

    python tests/python/test_events.py BINARY

Ends with a line "N passed, N failed".
"""

import asyncio
import json
import os
import random
import sys
import traceback

import httpx
from httpx_sse import SSEError, aconnect_sse

from test_websockets import PATIENCE, Server

LISTENERS = [
    "http://127.0.0.1:0=page",
    "websocket://127.0.0.1:0=push",
    "text://127.0.0.1:0=push-backend",
]


class Listener:
    """One stream, and what has come of it that is a message."""

    def __init__(self, server, uid, **headers):
        self.client = httpx.AsyncClient(trust_env=False, timeout=PATIENCE)
        url = f"http://{server.addresses['page']}/v1/events"
        self.stream = aconnect_sse(self.client, "GET", url, params={"uid": uid}, headers=headers)

    async def __aenter__(self):
        self.source = await self.stream.__aenter__()
        self.status = self.source.response.status_code
        self.events = self.source.aiter_sse()
        if self.status == 200:
            # It begins with a position and no data, which a browser takes for no event; this library hands it on.
            first = await self.next()
            assert (first.event, first.data) == ("message", ""), first
            assert first.id.endswith(":0"), first
        return self

    async def __aexit__(self, *error):
        await self.stream.__aexit__(*error)
        await self.client.aclose()

    async def next(self):
        return await asyncio.wait_for(anext(self.events), PATIENCE)

    async def expect(self, text):
        event = await self.next()
        assert (event.event, event.data) == ("message", text), (event, text)


def unified(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


async def test_any_text_arrives(server):
    async with Listener(server, "u") as one:
        texts = ["", " ", ":", "data: x", "水\u2028\u0085\u00a0\ufeff", "event: close", "🌍" * 300]
        for text in texts:
            line = json.dumps({"uid": "u", "text": text}, ensure_ascii=False)
            assert await server.ask(line) == "ok"
            await one.expect(line)


async def test_line_ends_arrive_as_such(server):
    async with Listener(server, "u") as one:
        for _ in range(50):
            gap = "".join(random.choices("\r \t", k=random.randrange(1, 8)))
            line = f'{{"uid":{gap}"u"{gap}}}'
            assert await server.ask(line) == "ok"
            await one.expect(unified(line))


async def test_many_on_all_cores(server):
    listeners = [Listener(server, f"user {n}+&=%") for n in range(20)]
    for one in listeners:
        await one.__aenter__()
    lines = [json.dumps({"uid": f"user {n}+&=%", "n": n}) for n in range(20)]
    assert await server.ask(*lines) == ["ok"] * 20
    for one, line in zip(listeners, lines):
        await one.expect(line)
        await one.__aexit__(None, None, None)


async def test_the_end_is_told(server):
    async with Listener(server, "u") as one:
        assert await server.ask("kick u") == "ok"
        event = await one.next()
        assert event.event == "close", event
        assert json.loads(event.data) == {"code": 4007, "reason": "kicked"}
        assert event.retry == 60_000, event
        try:
            await one.next()
            raise AssertionError("it goes on")
        except StopAsyncIteration:
            pass


async def test_who_is_refused_gets_a_status(server):
    async with Listener(server, "all") as one:
        assert one.status == 400
        try:
            await one.next()
            raise AssertionError("it is no stream")
        except SSEError:
            pass
    async with Listener(server, "u", Origin="https://evil.example") as one:
        assert one.status == 403


async def main(binary):
    passed = failed = 0
    tests = [test for name, test in globals().items() if name.startswith("test_")]
    for cores in [1, 2, 4]:
        for test in tests:
            try:
                async with Server.start(binary, cores, LISTENERS) as server:
                    async with asyncio.timeout(60):
                        await test(server)
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
