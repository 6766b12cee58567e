"""Whose a uid is: `uid_policy`, and webhooks' `first` and `last`, across the nodes of a cluster, with a real Redis that goes away and comes back.

    python3 tests/cluster/claims.py BINARY [--redis one|list|cluster] [NAME ...]
"""

import http.server
import json
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cluster
from cluster import Line, until

REPLACE = 'uid_policy = "replace"'
REJECT = 'uid_policy = "reject"'


def nodes(scope, policy, count=2, cluster=""):
    """With cores of one and two."""
    redis = scope.redis()
    made = [scope.node(redis, cores=f"{1 + nth % 2}\n{policy}", cluster=cluster) for nth in range(count)]
    for node in made:
        node.settles()
    return redis, *made


def logs_in(node, uid):
    """A client of relay that has asked for a uid; whether it has it."""
    client = Line(node.ports["relay"])
    client.send(uid)
    return client, client.file.readline().decode().strip() == f"login success, your uid is {uid}"


def is_refused(node, uid):
    client, has_it = logs_in(node, uid)
    assert not has_it, f"{uid} has two"
    client.close()


def count(node, uid):
    return node.get(f"/v1/uids/{uid}")["connections"]


def the_newer_one_replaces_the_older_elsewhere(scope):
    _, one, two = nodes(scope, REPLACE)
    last = None
    for nth in range(6):
        client = (one, two)[nth % 2].client("anna", "relay")
        # A login is known elsewhere a moment later.
        (two, one)[nth % 2].knows("anna")
        if last:
            last.ends()
        last = client
    assert count(one, "anna") == 1
    # The same uid of another app is another's.
    other = one.client("anna")
    one.knows("anna", 2)
    other.close()
    one.knows("anna")
    last.close()
    one.knows("anna", 0)


def a_uid_in_use_elsewhere_is_refused(scope):
    _, one, two = nodes(scope, REJECT)
    holder = one.client("anna", "relay")
    is_refused(two, "anna")
    is_refused(one, "anna")
    assert two.get("/v1/uids/anna")["connections"] == 1
    # What a client says before it knows is done after that.
    eager = Line(two.ports["relay"])
    eager.socket.sendall(b"bert\nanna:hello\n")
    assert eager.receive() == "login success, your uid is bert"
    assert "hello" in holder.receive()
    holder.close()

    def comes_in():
        client, has_it = logs_in(two, "anna")
        return client if has_it else client.close()

    again = until("anna is free", comes_in)
    is_refused(one, "anna")
    again.close()


def of_many_at_once_one_stays(scope):
    """Clients race for uids on three nodes, over and over."""
    for policy in (REJECT, REPLACE):
        redis, *all_nodes = nodes(scope, policy, 3, 'answer_timeout = "20s"')
        uids = [f"u{nth}" for nth in range(12)]
        clients = []

        def race(nth, uid, all_nodes=all_nodes, clients=clients):
            for node in all_nodes[nth % 3 :] + all_nodes[: nth % 3]:
                client, has_it = logs_in(node, uid)
                clients.append((uid, client, has_it))

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda it: race(*it), [(nth, uid) for uid in uids for nth in range(6)]))
        for uid in uids:
            until(f"{uid} has one", lambda uid=uid: count(all_nodes[0], uid) == 1)
            had = sum(has_it for of, _, has_it in clients if of == uid)
            assert had == 1 if policy == REJECT else had == 18, (policy, uid, had)
        for _, client, _ in clients:
            client.close()
        for process in (*all_nodes, redis):
            process.end()


def while_redis_is_away_all_come_in_and_then_one_stays(scope):
    """The one that came last, or first, by the clocks of their nodes, whatever these say."""
    for policy, survives in ((REPLACE, 1), (REJECT, 0)):
        redis, one, two = nodes(scope, policy)
        before = one.client("anna", "relay")
        redis.kill()
        until("it is seen", lambda: two.is_away())
        clients = [before]
        start = time.monotonic()
        clients.append(two.client("anna", "relay"))
        # One at home is compared, as ever.
        if policy == REJECT:
            is_refused(two, "anna")
        bert = [two.client("bert", "relay")]
        # Their clocks have milliseconds.
        time.sleep(0.01)
        bert.append(one.client("bert", "relay"))
        assert time.monotonic() - start < 10
        redis = scope.redis(port=redis.port)
        for node in (one, two):
            node.joins(2)
        for uid, pair in (("anna", clients), ("bert", bert)):
            until(f"one {uid}", lambda uid=uid, one=one: count(one, uid) == 1)
            # With a clock that is ahead the one on `two` has come last, whatever came when.
            is_wrong = uid == "bert" and cluster.CLOCK
            pair[survives if is_wrong else 1 - survives].ends()
        stays = clients[survives]
        (one, two)[survives].backend_says('{"uid":"anna","n":1}')
        assert stays.receive() == '{"uid":"anna","n":1}'
        for process in (one, two, redis):
            process.end()


def a_dead_node_holds_nothing(scope):
    _, one, two = nodes(scope, REJECT)
    holder = one.client("anna", "relay")
    is_refused(two, "anna")
    one.kill()
    holder.close()
    start = time.monotonic()
    client, has_it = logs_in(two, "anna")
    assert has_it and time.monotonic() - start < 5
    client.close()


def a_frozen_node_keeps_nobody_out_for_long(scope):
    """It is waited for, and when it is back one of two stays: the one that was first."""
    _, one, two = nodes(scope, REJECT)
    holder = one.client("anna", "relay")
    one.signal(signal.SIGSTOP)
    start = time.monotonic()
    client, has_it = logs_in(two, "anna")
    assert has_it and time.monotonic() - start < 10
    one.signal(signal.SIGCONT)
    client.ends()
    until("one is left", lambda: count(two, "anna") == 1)
    assert one.backend_says('{"uid":"anna","n":1}') == "ok"
    assert holder.receive() == '{"uid":"anna","n":1}'


def a_policy_that_is_changed_holds_from_then_on(scope):
    redis = scope.redis()
    one, two = (scope.node(redis, cores=2) for _ in range(2))
    one.settles()
    clients = [node.client("anna", "relay") for node in (one, two)]
    one.knows("anna", 2)
    for node in (one, two):
        path = node.running.args[-1]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{REJECT}\n{text}")
        node.signal(signal.SIGHUP)

    def is_out():
        client, has_it = logs_in(two, "anna")
        client.close()
        return not has_it

    until("the policy holds", is_out)
    clients.pop().close()
    one.knows("anna")
    is_refused(two, "anna")


HOOKS = """
[webhooks]
url = "http://127.0.0.1:{port}/"
secret = "{secret}"
"""


class Receiver:
    """A back end that is told who comes and goes."""

    def __init__(self):
        self.events, self.nodes = [], {}
        outer = self

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                batch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for event in batch["events"]:
                    outer.events.append((event["uid"], event["event"], event.get("first", event.get("last")), event))
                    outer.nodes[event["id"].split("-")[0]] = batch["node"]
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def lines(self):
        return HOOKS.format(port=self.server.server_address[1], secret="s" * 32)

    def of(self, uid):
        return [event[1:3] for event in self.events if event[0] == uid]

    def balance(self, uid):
        """How many more first ones than last ones have been told: 1 while it is online, and never another."""
        told = self.of(uid)
        return told.count(("connect", True)) - told.count(("disconnect", True))

    def waits_for(self, uid, *wanted):
        until(f"{uid}: {wanted}", lambda: sorted(self.of(uid)) == sorted(wanted))


def hooked(scope, count=2, policy=""):
    receiver, redis = Receiver(), scope.redis()
    # What others have not said by then is not known; they may take as long as a busy machine needs.
    cluster = 'answer_timeout = "20s"'
    made = [
        scope.node(redis, cores=f"{1 + nth % 2}\n{policy}", more=receiver.lines(), cluster=f'node = "n{nth}"\n{cluster}')
        for nth in range(count)
    ]
    for node in made:
        node.settles()
    return receiver, redis, *made


def first_and_last_are_the_clusters(scope):
    receiver, _, one, two = hooked(scope)
    here = one.client("anna", "relay")
    two.knows("anna")
    receiver.waits_for("anna", ("connect", True))
    there = two.client("anna", "relay")
    other = two.client("anna", "relay")
    receiver.waits_for("anna", ("connect", True), ("connect", False), ("connect", False))
    here.close()
    until("one has gone", lambda: receiver.of("anna").count(("disconnect", False)) == 1)
    other.close()
    until("another has gone", lambda: receiver.of("anna").count(("disconnect", False)) == 2)
    there.close()
    until("the last has gone", lambda: receiver.balance("anna") == 0)
    assert sorted(receiver.nodes.values()) == ["n0", "n1"], receiver.nodes
    # Another app's are its own.
    both = [one.client("bert", "relay"), two.client("bert")]
    receiver.waits_for("bert", ("connect", True), ("connect", True))
    assert all("nodes_unknown" not in event for *_, event in receiver.events), receiver.events
    for client in both:
        client.close()
    until("both have gone", lambda: receiver.of("bert").count(("disconnect", True)) == 2)


def one_is_first_and_one_is_last(scope):
    """Connections of a few uids come and go on three nodes at once, over and over."""
    for policy in ("", REPLACE, REJECT):
        receiver, redis, *all_nodes = hooked(scope, 3, policy)
        uids = [f"u{nth}" for nth in range(4)]

        def come_and_go(nth, all_nodes=all_nodes, uids=uids):
            random_ = random.Random(nth)
            for _ in range(12):
                client, _ = logs_in(random_.choice(all_nodes), random_.choice(uids))
                time.sleep(random_.choice((0, 0, 0.01, 0.03)))
                client.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(come_and_go, range(8)))

        def all_told(receiver=receiver):
            told = [event[1] for event in receiver.events]
            return told and told.count("connect") == told.count("disconnect")

        until("all have gone", lambda: all_told() and not any(receiver.balance(uid) for uid in uids))
        time.sleep(0.5)
        assert all_told() and not any(receiver.balance(uid) for uid in uids), receiver.events
        for uid in uids:
            # On each node they are in their order.
            for server in receiver.nodes:
                own = [event for *_, event in receiver.events if event["id"].startswith(server) and event["uid"] == uid]
                here = 0
                for event in own:
                    here += 1 if event["event"] == "connect" else -1
                    assert here >= 0, own
                    assert not event.get("first") or here == 1, own
                    assert not event.get("last") or here == 0, own
        for process in (*all_nodes, redis):
            process.end()


def the_end_of_a_node_is_told(scope):
    receiver, _, one, two = hooked(scope)
    client = one.client("anna", "relay")
    both = [one.client("bert", "relay"), two.client("bert", "relay")]
    until("they are told", lambda: len(receiver.events) == 3)
    one.signal(signal.SIGTERM)
    one.running.wait(cluster.PATIENCE)
    receiver.waits_for("anna", ("connect", True), ("disconnect", True))
    receiver.waits_for("bert", ("connect", True), ("connect", False), ("disconnect", False))
    client.close()
    both[1].close()
    until("the last has gone", lambda: receiver.balance("bert") == 0)


def while_redis_is_away_events_say_what_is_not_known(scope):
    receiver, redis, one, two = hooked(scope)
    redis.kill()
    for node in (one, two):
        until("it is seen", lambda node=node: node.is_away())
    clients = [one.client("anna", "relay"), two.client("anna", "relay")]
    receiver.waits_for("anna", ("connect", True), ("connect", True))
    assert all(event["nodes_unknown"] == 1 for *_, event in receiver.events), receiver.events
    redis = scope.redis(port=redis.port)
    for node in (one, two):
        node.joins(2)
        node.knows("anna", 2)
    clients[0].close()
    until("it has gone", lambda: ("disconnect", False) in receiver.of("anna"))
    clients[1].close()
    until("the last has gone", lambda: ("disconnect", True) in receiver.of("anna"))


TESTS = [
    the_newer_one_replaces_the_older_elsewhere,
    a_uid_in_use_elsewhere_is_refused,
    of_many_at_once_one_stays,
    while_redis_is_away_all_come_in_and_then_one_stays,
    a_dead_node_holds_nothing,
    a_frozen_node_keeps_nobody_out_for_long,
    a_policy_that_is_changed_holds_from_then_on,
    first_and_last_are_the_clusters,
    one_is_first_and_one_is_last,
    the_end_of_a_node_is_told,
    while_redis_is_away_events_say_what_is_not_known,
]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
