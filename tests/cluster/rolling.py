"""Nodes that are restarted one by one, under load: whoever comes back to another node misses nothing, and has nothing twice.

    python tests/cluster/rolling.py BINARY [--redis one|list|cluster] [NAME ...]

As cluster.py, by which it is run. Needs Python's websockets, for clients of ringpost.v1.
"""

import json
import random
import re
import signal
import sys
import threading
import time

import cluster
from cluster import PATIENCE, Node, until
from streams import KEPT, Events
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

LISTENERS = (
    KEPT
    + """
[[listen]]
url = "websocket://127.0.0.1:0"
app = "push"
"""
)


class RollingNode(Node):
    """One that has a listener for websockets, too."""

    def __init__(self, scope, redis):
        super().__init__(scope, redis.url(), links=redis.links, more=LISTENERS, cluster=CLUSTER)

    def listeners(self):
        assert self.running.poll() is None, f"the node ended: {self.said()}"
        found = re.findall(r"(push|relay|push-backend|page)\s+(\w+)://127\.0\.0\.1:(\d+)", self.said())
        ports = {"websocket" if kind == "ws" else app: int(port) for app, kind, port in found}
        return ports if len(ports) == 5 else None


CLUSTER = 'answer_timeout = "2s"\n'


class Nodes:
    """Those that serve now: whoever comes, or pushes, is led to one of them, as by a balancer."""

    def __init__(self, scope, redis):
        self.scope, self.redis = scope, redis
        self.serving = [RollingNode(scope, redis) for _ in range(3)]

    def any(self):
        return random.choice(self.serving)

    def restart_all(self, number):
        for node in list(self.serving):
            # A balancer sends it nobody any more.
            self.serving.remove(node)
            node.signal(number)
            node.running.wait(PATIENCE)
            self.serving.append(RollingNode(self.scope, self.redis))
            time.sleep(0.5)


class Reader(threading.Thread):
    """A client that comes back whenever its connection has ended."""

    def __init__(self, nodes, uid):
        super().__init__(daemon=True)
        self.nodes, self.uid, self.texts, self.gaps, self.comes = nodes, uid, [], [], 0
        self.failure, self.is_there = None, threading.Event()
        self.start()

    def run(self):
        try:
            while "the end" not in self.texts:
                self.comes += 1
                try:
                    self.read()
                except (OSError, AssertionError, ConnectionClosed) as error:
                    if isinstance(error, AssertionError) and "ended" not in str(error) and "status" not in str(error):
                        raise
                    time.sleep(0.05)
        except Exception as error:  # It is told by whoever waits for it.
            self.failure = repr(error)


class EventReader(Reader):
    last = None

    def read(self):
        events = Events(self.nodes.any(), self.uid, self.last)
        try:
            self.is_there.set()
            self.last = events.last
            while "the end" not in self.texts:
                name, data = events.receive()
                self.last = events.last
                if name in ("message", "gap"):
                    (self.texts if name == "message" else self.gaps).append(data)
        finally:
            events.close()


class FrameReader(Reader):
    """By ringpost.v1, over Python's websockets."""

    positions = {}

    def read(self):
        url = f"ws://127.0.0.1:{self.nodes.any().ports['websocket']}/"
        with connect(url, subprotocols=["ringpost.v1"], open_timeout=PATIENCE) as socket:
            socket.send(json.dumps({"type": "bind", "uid": self.uid, "positions": self.positions}))
            while "the end" not in self.texts:
                frame = json.loads(socket.recv(PATIENCE))
                if frame["type"] == "ping":
                    socket.send(json.dumps({"type": "pong"}))
                elif frame["type"] == "bound":
                    self.positions = dict(frame["positions"])
                    self.is_there.set()
                elif frame["type"] == "gap":
                    self.gaps.append(frame)
                    self.positions[frame["stream"]] = frame["top"]
                elif frame["type"] == "message":
                    self.texts.append(frame["text"])
                    if "position" in frame:
                        self.positions[frame["stream"]] = frame["position"]


class Pusher(threading.Thread):
    """A back end that asks again, with the same id and of another node, until it has an answer."""

    def __init__(self, nodes, uids):
        super().__init__(daemon=True)
        self.nodes, self.uids, self.is_over, self.told = nodes, uids, False, {uid: [] for uid in uids}
        self.verdicts, self.failure = {}, None
        self.start()

    def push(self, uid, text):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                body = {"uid": uid, "text": text, "id": f"{uid} {text}"}
                status, answer = self.nodes.any().http("POST", "/v1/push", body)
            except OSError:
                status, answer = 0, "nobody answers"
            if status == 200:
                verdict = json.loads(answer)["verdicts"][uid]
                self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
                return verdict
            assert status in (0, 503) and time.monotonic() < deadline, f"{status} {answer}"
            self.verdicts[status] = self.verdicts.get(status, 0) + 1
            if ("id_under_way" in answer or "id_lost" in answer) and time.monotonic() > deadline - PATIENCE + 2:
                # A node was killed with it, and nobody knows what it had done.
                return "under way"
            time.sleep(0.02)

    def run(self):
        number = 0
        try:
            while not self.is_over:
                uid = self.uids[number % len(self.uids)]
                verdict = self.push(uid, f"n{number}")
                self.told[uid].append((f"n{number}", verdict))
                number += 1
        except Exception as error:
            self.failure = repr(error)

    def end(self):
        self.is_over = True
        self.join()
        assert self.failure is None, self.failure
        return self.told


def nobody_misses_anything_in_a_rolling_restart(scope):
    restart_under_load(scope, signal.SIGTERM)


def nobody_misses_anything_where_nodes_are_killed(scope):
    restart_under_load(scope, signal.SIGKILL)


def restart_under_load(scope, number):
    redis = scope.redis()
    nodes = Nodes(scope, redis)
    readers = [kind(nodes, f"{name}{nth}") for name, kind in (("e", EventReader), ("f", FrameReader)) for nth in range(4)]
    for reader in readers:
        assert reader.is_there.wait(PATIENCE), reader.failure
    uids = [reader.uid for reader in readers]
    pushers = [Pusher(nodes, uids[nth::2]) for nth in range(2)]
    time.sleep(0.5)
    nodes.restart_all(number)
    told = {uid: each for one in pushers for uid, each in one.end().items()}
    for reader in readers:
        # One more node is asked than has gone; each knows all that Redis has.
        verdict = pushers[0].push(reader.uid, "the end")
        assert verdict in ("delivered", "kept"), verdict
    for reader in readers:
        reader.join(PATIENCE)
        assert reader.failure is None, f"{reader.uid}: {reader.failure}"
        assert reader.texts and reader.texts[-1] == "the end", f"{reader.uid} waits; {reader.texts[-3:]}"
        assert not reader.gaps, f"{reader.uid} is told of a gap: {reader.gaps}"
        page = nodes.any().get(f"/v1/history?uid={reader.uid}&limit=1000")
        kept = [message["text"] for message in page["messages"]]
        texts = reader.texts
        assert texts == kept, f"{reader.uid} had {set(texts) ^ set(kept)} more or less, of {len(kept)}"
        assert len(set(kept)) == len(kept), f"{reader.uid}: kept twice"
        promised = [text for text, verdict in told[reader.uid] if verdict in ("delivered", "kept")]
        assert set(promised) <= set(kept), f"{reader.uid} lacks {set(promised) - set(kept)}"
    comes = [reader.comes for reader in readers]
    assert sum(comes) > len(readers), "nobody had to come back"
    print(f"{sum(map(len, told.values()))} pushes, {[one.verdicts for one in pushers]}; clients came {comes} times", flush=True)


TESTS = [nobody_misses_anything_in_a_rolling_restart, nobody_misses_anything_where_nodes_are_killed]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
