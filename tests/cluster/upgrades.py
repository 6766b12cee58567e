"""Upgrades of a node of a cluster, under pushes from another one, with a real Redis.

    python3 tests/cluster/upgrades.py BINARY [NAME ...]
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cluster


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


def an_upgrade_takes_no_node_out(scope):
    redis = scope.redis()
    # An upgrade may take as long as a busy machine needs.
    one, two = (scope.node(redis, cores=f'{cores}\nupgrade_timeout = "1m"') for cores in (2, 1))
    uids = [f"u{number}" for number in range(10)]
    clients = {uid: one.client(uid) for uid in uids}
    for uid in uids:
        two.knows(uid)
    names = sorted(node["node"] for node in two.get("/v1/nodes")["nodes"])
    over, verdicts, received = threading.Event(), {uid: [] for uid in uids}, {uid: [] for uid in uids}

    def push():
        number = 0
        while not over.is_set():
            for uid in uids:
                verdicts[uid].append(cluster.verdict(two, uid, str(number)))
            number += 1

    def receive(uid):
        while (text := clients[uid].receive()) != "end":
            received[uid].append(int(text))

    with ThreadPoolExecutor(1 + len(uids)) as pool:
        pushing = pool.submit(push)
        receiving = [pool.submit(receive, uid) for uid in uids]
        try:
            node = one
            node.pid = one.running.pid
            for _ in range(3):
                time.sleep(0.3)
                node = Successor(scope, node)
            time.sleep(0.3)
        finally:
            over.set()
        pushing.result()
        for uid in uids:
            cluster.until(f"{uid} is reached", lambda uid=uid: cluster.verdict(two, uid, "end") == "delivered")
        for one_receiving in receiving:
            one_receiving.result(cluster.PATIENCE)
    for uid in uids:
        seen = set(verdicts[uid])
        assert seen <= {"delivered", "unknown"} and "delivered" in seen, f"{uid}: {seen}"
        came = received[uid]
        assert came == sorted(set(came)), f"{uid} had something twice, or not in order: {came}"
        delivered = {number for number, said in enumerate(verdicts[uid]) if said == "delivered"}
        assert delivered <= set(came), f"{uid} lacks {delivered - set(came)}"

    def names_are_as_before():
        return sorted(node["node"] for node in two.get("/v1/nodes")["nodes"]) == names

    cluster.until("the nodes are called as before", names_are_as_before)


TESTS = [an_upgrade_takes_no_node_out]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
