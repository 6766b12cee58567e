"""The HTTP API against its own description, by Python's http.client and jsonschema.

    python tests/python/test_openapi.py BINARY

Every operation of /openapi.json is asked, well and badly; each answer must be one that the operation names, its body
as the schema says. What the schema of a request allows must be taken, what it forbids refused. Starts the server
itself, on free ports, and ends with a line "N passed, N failed".
"""

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import contextmanager

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from websockets.asyncio.client import connect

PATIENCE = 15
LISTENERS = ["http://127.0.0.1:0=page", "websocket://127.0.0.1:0=push"]
TOKENS = (
    "push p-token-of-a-back-end\nkick k-token-of-a-back-end\nread r-token-of-a-back-end\n"
    "push,kick,read,bind all-token-of-a-back-end\n"
)

# Bodies for each schema of a request, each with whether it may be carried out.
BODIES = {
    "Push": [
        ({"uid": "tom", "text": "x"}, True),
        ({"uid": 7, "data": None}, True),
        ({"uid": "all", "data": {"a": [1, 2.5, "é"]}}, True),
        ({"uids": ["tom", 8], "text": ""}, True),
        ({"uids": [], "text": "x"}, True),
        ({"group": "g", "text": "x", "id": "one"}, True),
        ({"connection": "0-1f", "text": "x", "id": "of one"}, True),
        ({"connection": "0-1f", "text": "x", "keep": False}, True),
        ({"group": "g", "text": "x", "except": {"uids": ["tom", 7], "connections": ["0-1f"]}}, True),
        ({"uid": "all", "text": "x", "except": {}}, True),
        ({"connection": "0-1f", "text": "x", "keep": "10m"}, False),
        ({"connection": "0-1F", "text": "x"}, False),
        ({"connection": "0-1f", "uid": "tom", "text": "x"}, False),
        ({"uid": "tom", "text": "x", "except": {"uids": ["lisa"]}}, False),
        ({"group": "g", "text": "x", "except": {"uids": ["all"]}}, False),
        ({"group": "g", "text": "x", "except": ["tom"]}, False),
        ({"uid": "tom"}, False),
        ({"text": "x"}, False),
        ({"uid": "tom", "group": "g", "text": "x"}, False),
        ({"uid": "tom", "text": "x", "data": 1}, False),
        ({"uid": "tom", "text": 1}, False),
        ({"uid": "", "text": "x"}, False),
        ({"uid": 1.5, "text": "x"}, False),
        ({"uid": None, "text": "x"}, False),
        ({"uids": ["all"], "text": "x"}, False),
        ({"uids": "tom", "text": "x"}, False),
        ({"group": "all", "text": "x"}, False),
        ({"uid": "x" * 129, "text": "x"}, False),
        ({"uid": "tom", "text": "x", "id": ""}, False),
        ({"uid": "tom", "text": "x", "more": 1}, False),
        ([], False),
        (None, False),
    ],
    "Broadcast": [
        ({"text": "x"}, True),
        ({"data": [1]}, True),
        ({"data": [1], "id": "two"}, True),
        ({"text": "x", "except": {"connections": ["0-1f"]}}, True),
        ({"text": "x", "except": {"connections": ["x"]}}, False),
        ({"text": "x", "except": {"groups": ["g"]}}, False),
        ({}, False),
        ({"text": "x", "data": 1}, False),
        ({"uid": "tom", "text": "x"}, False),
    ],
    "OfUid": [
        ({"uid": "nobody"}, True),
        ({"uid": 7}, True),
        ({"uid": "all"}, False),
        ({}, False),
        ({"uid": "nobody", "sticky": True}, True),
        ({"uid": "nobody", "sticky": False}, True),
        ({"uid": "nobody", "sticky": 1}, False),
        ({"uid": "nobody", "more": 1}, False),
    ],
    "Nothing": [({}, True), ({"uid": "nobody"}, False), ([], False)],
    "Kick": [
        ({"uid": "nobody"}, True),
        ({"uid": 7, "forget": True}, True),
        ({"uid": "nobody", "text": "bye", "reason": "maintenance"}, True),
        ({"connection": "0-1f", "data": {"bye": 1}, "reason": ""}, True),
        ({"connection": "0-1f", "forget": True}, False),
        ({"connection": "0-1f", "uid": "nobody"}, False),
        ({"connection": "0", "text": "bye"}, False),
        ({"uid": "nobody", "text": "bye", "data": 1}, False),
        ({"uid": "nobody", "reason": "x" * 124}, False),
        ({"uid": "all"}, False),
        ({"uid": "nobody", "forget": 1}, False),
        ({}, False),
    ],
    "Attributes": [
        ({}, True),
        ({"device": "phone", "n": [1, None]}, True),
        ([], False),
        ("x", False),
    ],
    "BindUid": [
        ({"uid": "nobody"}, True),
        ({"uid": "all"}, False),
        ({}, False),
    ],
    "Nothing": [
        ({}, True),
        ({"uid": "tom"}, False),
    ],
    "Batch": [
        ([], True),
        ([{"push": {"uid": "tom", "text": "x"}}, {"kick": {"uid": "nobody"}}], True),
        ([{"broadcast": {"text": "x"}}, {"join": {"group": "g", "uid": "tom"}}], True),
        ([{"leave": {"group": "g", "uid": "tom"}}, {"push": {"uids": ["a"], "text": "x"}}], True),
        ({}, False),
        (7, False),
    ],
}
# Paths of the operations that have a name in theirs.
NAMED = {"{uid}": "tom", "{group}": "g", "{connection}": "0-1f"}
# What has no end: it is looked at by itself.
STREAM = "/v1/log"
# What is asked of those that need a query.
QUERIES = {"/v1/history": "?uid=tom"}


class Server:
    def __init__(self, process, addresses):
        self.process = process
        self.addresses = addresses

    def ask(self, method, path, body=None, token=None, **headers):
        """Status, header fields and body."""
        host, port = self.addresses["page"].rsplit(":", 1)
        link = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            link.request(method, path, body, headers)
            response = link.getresponse()
            return response.status, response.headers, response.read()
        finally:
            link.close()


@contextmanager
def started(binary, cores, **settings):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGPOST_")}
    environment |= {f"RINGPOST_{name}": value for name, value in settings.items()}
    arguments = [binary, "serve", "--cores", str(cores)]
    for listener in LISTENERS:
        arguments += ["--listen", listener]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            addresses = {}
            while len(addresses) < len(LISTENERS):
                line = process.stdout.readline()
                assert line, "the server ended at its start"
                found = re.match(r"\s*(\S+)\s.*?\w+://([\d.]+:\d+)", line)
                if found:
                    addresses[found[1]] = found[2]
            yield Server(process, addresses)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            log.seek(0)
            assert b"panicked" not in log.read()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class Description:
    def __init__(self, document):
        self.document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:api", resource)

    def operations(self):
        """Path, method and operation of each."""
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                if method != "parameters":
                    yield path, method.upper(), operation

    def check(self, schema, value):
        """What is wrong with a value, if anything is."""
        schema = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        checker = Draft202012Validator.FORMAT_CHECKER
        validator = Draft202012Validator(
            schema, registry=self.registry, format_checker=checker
        )
        return [error.message for error in validator.iter_errors(value)]

    def check_answer(self, operation, status, body):
        named = operation["responses"].get(str(status))
        assert named, f"{operation['operationId']} has no answer {status}: {body!r:.300}"
        if "$ref" in named:
            named = self.document["components"]["responses"][named["$ref"].rsplit("/", 1)[1]]
        schema = named["content"]["application/json"]["schema"]
        wrong = self.check(schema, json.loads(body))
        assert not wrong, f"{operation['operationId']} {status}: {wrong} in {body!r:.300}"


def described(server, token=None):
    status, _, body = server.ask("GET", "/openapi.json", token=token)
    assert status == 200
    return Description(json.loads(body))


def target(path, named=NAMED):
    for name, value in named.items():
        path = path.replace(name, value)
    return path + QUERIES.get(path, "")


def schemas_are_schemas(binary):
    with started(binary, 1) as server:
        description = described(server)
        assert description.document["openapi"].startswith("3.1.")
        for schema in description.document["components"]["schemas"].values():
            Draft202012Validator.check_schema(schema)
        text = json.dumps(description.document)
        for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
            place = description.document
            for part in reference.split("/"):
                place = place[part]


def every_operation_answers_as_described(binary):
    for cores in (1, 3):
        with started(binary, cores) as server:
            asyncio.run(with_clients(server))


async def with_clients(server):
    uri = f"ws://{server.addresses['push']}/"
    async with (
        connect(uri, proxy=None) as one,
        connect(uri, proxy=None) as two,
        connect(uri, proxy=None) as three,
    ):
        await one.send("tom")
        await two.send("é/2")
        # What is done by a connection's id is done to this one.
        await three.send("third")
        while len(json.loads(server.ask("GET", "/v1/uids")[2])["uids"]) < 3:
            await asyncio.sleep(0.01)
        (third,) = json.loads(server.ask("GET", "/v1/uids/third")[2])["list"]
        named = {**NAMED, "{connection}": third["connection"]}
        asked = 0
        description = described(server)
        for path, method, operation in description.operations():
            asked += 1
            if path == STREAM:
                await log_is_told_as_described(server, description, operation)
            elif method == "GET":
                status, _, body = server.ask(method, target(path, named))
                assert status == 200, (path, body)
                description.check_answer(operation, status, body)
                head, fields, nothing = server.ask("HEAD", target(path, named))
                assert (head, nothing) == (200, b"") and int(fields["Content-Length"]) > 0
            elif method == "DELETE":
                status, _, body = server.ask(method, target(path, named))
                assert status == 200, (path, body)
                description.check_answer(operation, status, body)
            else:
                bodies_are_taken_as_described(server, description, target(path, named), method, operation)
            refusals_are_described(server, description, target(path, named), method, operation)
        assert asked == 23, asked
        for query in ("limit=1", "limit=10000", "limit=0", "cursor=x", "x=1"):
            operation = description.document["paths"]["/v1/uids"]["get"]
            status, _, body = server.ask("GET", f"/v1/uids?{query}")
            description.check_answer(operation, status, body)
        history_is_told_as_described(server, description)


async def log_is_told_as_described(server, description, operation):
    """Whatever can be seen is as its schema says."""
    host, port = server.addresses["page"].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    query = "?data=true&kind=" + ",".join(["open", "connect", "disconnect", "kick", "push", "message"])
    writer.write(f"GET {STREAM}{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n:\n\n")
    content = operation["responses"]["200"]["content"]
    assert head.startswith(b"HTTP/1.1 200 ") and list(content)[0].encode() in head, head
    async with connect(f"ws://{server.addresses['push']}/", proxy=None) as client:
        await client.send("seen")
        while json.loads(server.ask("GET", "/v1/uids/seen")[2])["connections"] == 0:
            await asyncio.sleep(0.01)
        for body in ({"uid": "seen", "text": "é" * 2_000}, {"group": "g", "text": "x"}, {"uid": "all", "text": "x"}):
            assert server.ask("POST", "/v1/push", body)[0] == 200
        assert server.ask("POST", "/v1/kick", {"uid": "seen"})[0] == 200
    seen = []
    while len(seen) < 7:
        line = await asyncio.wait_for(reader.readline(), PATIENCE)
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            wrong = description.check({"$ref": "#/components/schemas/LogEvent"}, event)
            assert not wrong, (wrong, event)
            seen.append(event["kind"])
    assert sorted(seen) == ["connect", "disconnect", "kick", "open", "push", "push", "push"], seen
    writer.close()
    status, fields, nothing = server.ask("HEAD", STREAM)
    assert (status, nothing) == (200, b"") and fields["Content-Type"] in content
    for query in ("kind=all", "kind=", "uid=", "data=1", "listener=x", "x=1"):
        status, _, body = server.ask("GET", f"{STREAM}?{query}")
        assert status == 400, (query, status)
        description.check_answer(operation, status, body)


def history_is_told_as_described(server, description):
    operation = description.document["paths"]["/v1/history"]["get"]
    for message in ({"text": "x"}, {"text": ""}, {"data": {"a": 1}}, {"data": 2}):
        status, _, body = server.ask("POST", "/v1/push", {"uid": "u", "keep": "1m", **message})
        assert status == 200, body
        assert json.loads(body)["verdicts"] == {"u": "kept"}, body
    for query, messages in (
        ("uid=u", 4),
        ("uid=u&limit=2&reverse=true", 2),
        ("uid=u&since=x", 4),
        ("uid=all", 0),
        ("group=u", 0),
    ):
        status, _, body = server.ask("GET", f"/v1/history?{query}")
        assert status == 200, body
        description.check_answer(operation, status, body)
        page = json.loads(body)
        assert len(page["messages"]) == messages, (query, page)
        assert ("gap" in page) == ("since" in query), (query, page)
    for query in ("", "uid=", "uid=u&limit=0", "uid=u&group=g"):
        status, _, body = server.ask("GET", f"/v1/history?{query}")
        assert status == 400
        description.check_answer(operation, status, body)


def bodies_are_taken_as_described(server, description, path, method, operation):
    content = operation["requestBody"]["content"]["application/json"]
    schema = content["schema"]
    bodies = BODIES[schema["$ref"].rsplit("/", 1)[1]]
    for body, may in [*bodies, (content["example"], True)]:
        assert (not description.check(schema, body)) == may, (path, body)
        status, _, answer = server.ask(method, path, body)
        assert (status == 200) == may, (path, body, answer)
        description.check_answer(operation, status, answer)
    if operation["operationId"] == "push":
        for text, wanted in (("x", 200), ("x", 200), ("y", 409)):
            body = {"uid": "tom", "text": text, "id": "again"}
            status, _, answer = server.ask("POST", path, body)
            assert status == wanted, answer
            description.check_answer(operation, status, answer)
    if operation["operationId"] == "batch":
        # What is wrong with one entry is in its place.
        status, _, answer = server.ask("POST", path, [{"fly": {}}, {"kick": {"uid": ""}}])
        assert status == 200 and "error" in json.loads(answer)["answers"][1]
        description.check_answer(operation, status, answer)


def refusals_are_described(server, description, path, method, operation):
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Content-Length": "99999999"},
    ):
        status, _, answer = server.ask(method, path, body, **headers)
        assert status >= 400, (path, headers)
        if path != "/openapi.json" or status in operation["responses"]:
            description.check_answer(operation, status, answer)
    if body:
        for broken in (b"", b"{", b"\xff", b"[" * 100_000):
            status, _, answer = server.ask(method, path, broken)
            # Attributes are small, so that length counts first.
            long = path.endswith("/attributes") and len(broken) > 1_000
            assert status == (413 if long else 400), (path, broken[:9], status, answer)
            description.check_answer(operation, status, answer)
        status, _, answer = server.ask(method, path, body, **{"Content-Type": "text/plain"})
        assert status == 415
        description.check_answer(operation, status, answer)
    status, fields, answer = server.ask("POST" if method in ("PUT", "PATCH") else "PUT", path)
    assert status == 405 and method in fields["Allow"]
    description.check_answer(operation, status, answer)


def each_operation_asks_for_its_right(binary):
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(TOKENS)
        file.flush()
        with started(binary, 2, BACKEND_TOKENS_FILE=file.name) as server:
            description = described(server)
            for path, method, operation in description.operations():
                if "security" in operation:
                    continue
                # Its answer to those who may has no end.
                method = "HEAD" if path == STREAM else method
                body = None
                if method in ("POST", "PUT", "PATCH"):
                    body = operation["requestBody"]["content"]["application/json"]["example"]
                for right in ("push", "kick", "read", "all", "no"):
                    may = operation["x-right"] in ("", right) or right == "all"
                    # There is no such connection.
                    done = 404 if "{connection}" in path else 200
                    wanted = 401 if right == "no" else done if may else 403
                    token = f"{right[0] if right != 'all' else 'all'}-token-of-a-back-end"
                    status, _, answer = server.ask(method, target(path), body, token)
                    assert status == wanted, (path, right, status, answer)
                    if path != STREAM:
                        description.check_answer(operation, status, answer)


def main():
    tests = (
        schemas_are_schemas,
        every_operation_answers_as_described,
        each_operation_asks_for_its_right,
    )
    failed = 0
    for test in tests:
        try:
            test(sys.argv[1])
            print(f"ok      {test.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED  {test.__name__}")
            traceback.print_exc()
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
