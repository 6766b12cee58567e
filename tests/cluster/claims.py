"""Whose a uid is: `uid_policy` across the nodes of a cluster, with a real Redis that goes away and comes back.

    python3 tests/cluster/claims.py BINARY [NAME ...]
"""

import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import cluster
from cluster import Line, until

REPLACE = 'uid_policy = "replace"'
REJECT = 'uid_policy = "reject"'


def nodes(scope, policy, count=2):
    """With cores of one and two."""
    redis = scope.redis()
    made = [scope.node(redis, cores=f"{1 + nth % 2}\n{policy}") for nth in range(count)]
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
        redis, *all_nodes = nodes(scope, policy, 3)
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
    for policy, survives in ((REPLACE, 1), (REJECT, 0)):
        redis, one, two = nodes(scope, policy)
        before = one.client("anna", "relay")
        redis.kill()
        until("it is seen", lambda: "cluster: away" in two.said())
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
            pair[1 - survives].ends()
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


TESTS = [
    the_newer_one_replaces_the_older_elsewhere,
    a_uid_in_use_elsewhere_is_refused,
    of_many_at_once_one_stays,
    while_redis_is_away_all_come_in_and_then_one_stays,
    a_dead_node_holds_nothing,
    a_frozen_node_keeps_nobody_out_for_long,
    a_policy_that_is_changed_holds_from_then_on,
]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
