"""Upgrades of a node of a cluster, under pushes from another one, with a real Redis.

    python3 tests/cluster/upgrades.py BINARY [--redis one|list|cluster] [NAME ...]
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import claims
import cluster
import streams


class Successor:
    """A process that goes on in the place of a node, and into its log."""

    def __init__(self, scope, node):
        done = subprocess.run(
            [cluster.BINARY, "upgrade", "--pid", str(node.pid)], capture_output=True, text=True, timeout=cluster.PATIENCE
        )
        assert done.returncode == 0, done.stderr
        self.pid = int(re.match(r"process (\d+) goes on", done.stdout)[1])
        self.said, self.log = node.said, open(os.devnull, encoding="utf-8")
        scope.processes.append(self)

    def end(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def pair(scope, more=""):
    redis = scope.redis()
    # Both may take as long as a busy machine needs.
    named = {"cluster": 'answer_timeout = "20s"\n'}
    nodes = [scope.node(redis, cores=f'{cores}\nupgrade_timeout = "1m"', more=more, **named) for cores in (2, 1)]
    for node in nodes:
        node.settles()
    return nodes


def upgraded(scope, node, times=3):
    """The processes that go on in its place, one after the other."""
    node.pid = node.running.pid
    for _ in range(times):
        time.sleep(0.3)
        node = Successor(scope, node)
    time.sleep(0.3)
    return node


def the_others_do_not_see_an_upgrade(scope):
    one, two = pair(scope)
    uids = [f"u{number}" for number in range(10)]
    clients = {uid: one.client(uid) for uid in uids}
    for uid in uids:
        two.knows(uid)
        assert one.post("/v1/groups/room/join", {"uid": uid})["connections"] == 1
    cluster.until("the group", lambda: two.post("/v1/push", {"group": "room", "text": "x"})["connections"] == len(uids))
    names = sorted(node["node"] for node in two.get("/v1/nodes")["nodes"])
    assert len(names) == 2, names
    said = len(two.said())
    over, verdicts, received = threading.Event(), {uid: [] for uid in uids}, {uid: [] for uid in uids}

    def push():
        number = 0
        while not over.is_set():
            for uid in uids:
                verdicts[uid].append(cluster.verdict(two, uid, str(number)))
            number += 1

    def look():
        while not over.is_set():
            told = two.get("/v1/nodes")
            found = sorted(node["node"] for node in told["nodes"])
            assert found == names and "nodes_unknown" not in told, told
            assert cluster.verdict(two, "nobody") == "offline"
            told = two.post("/v1/push", {"group": "room", "text": "x"})
            assert told == {"connections": len(uids)}, told

    def receive(uid):
        while (text := clients[uid].receive()) != "end":
            if text != "x":
                received[uid].append(int(text))

    with ThreadPoolExecutor(2 + len(uids)) as pool:
        working = [pool.submit(push), pool.submit(look)]
        receiving = [pool.submit(receive, uid) for uid in uids]
        try:
            upgraded(scope, one)
        finally:
            over.set()
        wait(working)
        ends = [cluster.verdict(two, uid, "end") for uid in uids]
        for work in working:
            work.result()
        assert set(ends) == {"delivered"}, ends
        for one_receiving in receiving:
            one_receiving.result(cluster.PATIENCE)
    for uid in uids:
        assert set(verdicts[uid]) == {"delivered"}, f"{uid}: {verdicts[uid]}"
        assert received[uid] == list(range(len(verdicts[uid]))), f"{uid}: {received[uid]} of {len(verdicts[uid])}"
    assert "cluster:" not in two.said()[said:], two.said()[said:]


def what_is_kept_comes_once(scope):
    """By events, pushed by the node that is upgraded and by another one."""
    one, two = pair(scope, more=streams.KEPT)
    uids = [f"e{number}" for number in range(4)]
    clients = {uid: streams.Events(one, uid) for uid in uids}
    for uid in uids:
        two.knows(uid)
    over, pushed = threading.Event(), {(name, uid): [] for name in "ab" for uid in uids}

    def push(name, node):
        number = 0
        while not over.is_set():
            for uid in uids:
                pushed[name, uid].append(cluster.verdict(node, uid, f"{name}{number}"))
            number += 1

    def receive(uid):
        received = []
        while (text := clients[uid].text()) != "end":
            received.append(text)
        return received

    with ThreadPoolExecutor(2 + len(uids)) as pool:
        working = [pool.submit(push, "a", one), pool.submit(push, "b", two)]
        receiving = {uid: pool.submit(receive, uid) for uid in uids}
        try:
            upgraded(scope, one)
        finally:
            over.set()
        wait(working)
        ends = [cluster.verdict(two, uid, "end") for uid in uids]
        assert set(ends) == {"delivered"}, ends
        for work in working:
            work.result()
        received = {uid: one_receiving.result(cluster.PATIENCE) for uid, one_receiving in receiving.items()}
    for (name, uid), verdicts in pushed.items():
        assert set(verdicts) == {"delivered"}, f"{name} {uid}: {verdicts}"
        came = [text for text in received[uid] if text[0] == name]
        assert came == [f"{name}{number}" for number in range(len(verdicts))], f"{name} {uid}: {came} of {len(verdicts)}"


def a_uid_in_use_stays_so(scope):
    """Under `uid_policy = "reject"` others try to take it all the while."""
    redis = scope.redis()
    one, two = (scope.node(redis, cores=f'{cores}\nuid_policy = "reject"\nupgrade_timeout = "1m"') for cores in (2, 1))
    for node in (one, two):
        node.settles()
    holder = one.client("anna", "relay")
    over = threading.Event()

    def try_it():
        while not over.is_set():
            claims.is_refused(two, "anna")

    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(try_it)
        try:
            upgraded(scope, one)
        finally:
            over.set()
        trying.result()
    # The one that has it has been told of nobody, and is heard.
    holder.send("anna:it is me")
    assert holder.receive() == "it is me"
    holder.close()
    two.knows("anna", 0)
    client = two.client("anna", "relay")
    two.knows("anna")
    client.close()


# Of the new process, before the old one's last word.
STEPS = ("hello", "offer", "ready", "records", "connections", "last", "taken")


class FaultyNode(cluster.Node):
    """One whose successor meets with the fault that a file names."""

    def __init__(self, scope, redis, **named):
        self.fault = f"{scope.place}/fault"
        self.variables = self.variables | {"UPGRADE_FAULT_FILE": self.fault}
        super().__init__(scope, redis.url(), links=redis.links, **named)

    def plant(self, fault):
        with open(self.fault, "w", encoding="utf-8") as file:
            file.write(fault)


def an_upgrade_that_fails_leaves_the_node_as_it_was(scope):
    redis = scope.redis()
    one = FaultyNode(scope, redis, more='[[history]]\nkind = "uid"\nname = "k*"\nsize = 1000\nttl = "10m"\n')
    two = scope.node(redis)
    two.settles()
    uids = ["anna", "kate"]
    clients = {uid: one.client(uid) for uid in uids}
    for uid in uids:
        two.knows(uid)
    names = sorted(node["node"] for node in two.get("/v1/nodes")["nodes"])
    over, verdicts = threading.Event(), {uid: [] for uid in uids}

    def push():
        while not over.is_set():
            for uid in uids:
                verdicts[uid].append(cluster.verdict(two, uid, str(len(verdicts[uid]))))

    def receive(uid):
        received = []
        while (text := clients[uid].receive()) != "end":
            received.append(int(text))
        return received

    with ThreadPoolExecutor(1 + len(uids)) as pool:
        pushing = pool.submit(push)
        receiving = {uid: pool.submit(receive, uid) for uid in uids}
        try:
            # It is killed at each of its steps up to the one where it is about to say that it has all.
            for fault in (*(f"die {step}" for step in STEPS), "refuse taken"):
                one.plant(fault)
                done = subprocess.run(
                    [cluster.BINARY, "upgrade", "--pid", str(one.running.pid)], capture_output=True, text=True, timeout=cluster.PATIENCE
                )
                assert done.returncode == 1, (fault, done)
            one.plant("")
            one.pid = one.running.pid
            Successor(scope, one)
        finally:
            over.set()
        pushing.result()
        for uid in uids:
            cluster.until("she is reached", lambda uid=uid: cluster.verdict(two, uid, "end") == "delivered")
        received = {uid: one_receiving.result(cluster.PATIENCE) for uid, one_receiving in receiving.items()}
    for uid in uids:
        # What was under way to a process that dies is not known to have come.
        assert set(verdicts[uid]) <= {"delivered", "unknown"}, verdicts[uid]
        assert received[uid] == list(range(len(verdicts[uid]))), f"{uid}: {received[uid]} of {len(verdicts[uid])}"
    assert sorted(node["node"] for node in two.get("/v1/nodes")["nodes"]) == names


TESTS = [
    the_others_do_not_see_an_upgrade,
    what_is_kept_comes_once,
    a_uid_in_use_stays_so,
    an_upgrade_that_fails_leaves_the_node_as_it_was,
]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
