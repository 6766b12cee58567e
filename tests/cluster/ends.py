"""What the others say of a node's users when all of its connections to Redis end: at once that they are offline where it
was killed, and never where the connections of all ended.

    python3 tests/cluster/ends.py BINARY [NAME ...]

As cluster.py, by which it is run.
"""

import random
import re
import socket
import sys
import time

from cluster import Line, run, until, verdict
from outages import Crowd, Proxy, Watch
from presence import Member, rooms

ENDED = "all connections of a node to Redis have ended"


def clients(redis, *more):
    """The connections that Redis has, as it numbers them."""
    with socket.create_connection(("127.0.0.1", redis.port)) as one:
        one.sendall(f"{' '.join(['CLIENT LIST', *more])}\r\n".encode())
        file = one.makefile("rb")
        size = int(file.readline()[1:])
        return set(map(int, re.findall(r"^id=(\d+)", file.read(size).decode(), re.M)))


def killed(node, others, redis):
    """Kills it, and waits until Redis knows of its connections no more."""
    before = clients(redis)
    node.kill()
    # Each other node has three, and who asks has one.
    until("Redis has seen its end", lambda: len(clients(redis)) <= 3 * others + 1)
    assert len(before) >= 3 * others + 4, before


def connection_of(node, uid):
    """The path of its one connection."""
    [one] = node.get(f"/v1/connections?uid={uid}")["connections"]
    return f"/v1/connections/{one['connection']}"


def a_killed_node_has_nobody_at_once(scope):
    """What is asked first says so, whatever it is, and of whichever node."""
    redis = scope.redis()
    nodes = [scope.node(redis) for _ in range(4)]
    one, two, three, four = nodes
    for node in nodes:
        node.settles()
    here = one.client("anna")
    there = [two.client(name) for name in ("bert", "carl", "dora")]
    # This one has a connection somewhere else as well.
    again = three.client("dora")
    one.knows("dora", 2)
    assert len(there) == 3
    for name in ("anna", "bert"):
        assert one.post("/v1/groups/room/join", {"uid": name})["connections"] == 1
    carl = connection_of(one, "carl")
    killed(two, 3, redis)
    # No word, no time and nothing else that was asked lies between.
    assert one.post("/v1/push", {"uids": ["bert", "dora", "anna"], "text": "x"}) == {
        "verdicts": {"bert": "offline", "dora": "delivered", "anna": "delivered"},
        "connections": 2,
    }
    assert here.receive() == "x" and again.receive() == "x"
    assert three.post("/v1/push", {"group": "room", "text": "y"}) == {"connections": 1}
    assert here.receive() == "y"
    assert Line(four.ports["push-backend"]).ask('{"uid":"carl"}') == "fail"
    assert one.http("GET", carl)[0] == 404
    told = three.get("/v1/nodes")
    assert len(told["nodes"]) == 3 and "nodes_unknown" not in told, told
    assert one.get("/v1/uids")["complete"] is True
    for node in (one, three, four):
        until("it is said", lambda node=node: node.said().count(ENDED) == 1)
        assert "is silent" not in node.said(), node.said()


def a_connection_of_a_killed_node_is_not_found_at_once(scope):
    """It is what is asked first, and then a list."""
    redis, one, two = scope.pair()
    three = scope.node(redis)
    three.settles()
    _client = two.client("bert")
    one.knows("bert")
    three.knows("bert")
    bert = connection_of(one, "bert")
    killed(two, 2, redis)
    assert one.http("GET", bert)[0] == 404
    told = three.get("/v1/uids/bert")
    assert told["complete"] is True and told["list"] == [], told


def members_leave_with_a_killed_node(scope):
    """Nobody asks for anything."""
    redis = scope.redis()
    one, two = (scope.node(redis, more=rooms()) for _ in range(2))
    one.settles()
    anna, _bert = Member(one, "anna"), Member(two, "bert")
    anna.sees("anna", "bert")
    start = time.monotonic()
    killed(two, 1, redis)
    anna.sees("anna")
    print(f"bert has left after {time.monotonic() - start:.1f} s", flush=True)
    until("it is said", lambda: ENDED in one.said())
    assert "is silent" not in one.said(), one.said()


def with_several_redis(scope):
    redis = [scope.redis(), scope.redis()]
    url = ",".join(f"redis://127.0.0.1:{one.port}" for one in redis)
    one, two = scope.node(url, joins=False), scope.node(url, joins=False)
    for node in (one, two):
        node.joins(2)
    uids = [f"u{number}" for number in range(8)]
    until("it is sure", lambda: all(verdict(one, uid) == "offline" for uid in uids))
    there = [two.client(uid) for uid in uids]
    for uid in uids:
        one.knows(uid)
    assert len(there) == len(uids)
    for server in redis:
        until("all are there", lambda server=server: len(clients(server)) == 7)
    two.kill()
    for server in redis:
        until("Redis has seen its end", lambda server=server: len(clients(server)) <= 4)
    # The first of them is asked, and the other one then, which takes a moment.
    assert verdict(one, uids[0]) == "offline"
    until("all are offline", lambda: all(verdict(one, uid) == "offline" for uid in uids), 1.9)


def nobody_is_offline_when_all_connections_end(scope):
    """Redis ends all of one kind, or of both: at once, or one after the other."""
    redis = scope.redis()
    one, two, three = nodes = [scope.node(redis) for _ in range(3)]
    for node in nodes:
        node.settles()
    crowd = Crowd(scope, two, 500)
    watches = []
    for node in (one, three):
        until("all are known", lambda node=node: crowd.all_are_there(node))
        watches.append(Watch(node, crowd))
    for kinds in (["pubsub"], ["normal"], ["normal", "pubsub"], ["pubsub", "normal"], ["pubsub"], ["normal"]):
        for kind in kinds:
            redis.ask("CLIENT", "KILL", "TYPE", kind)
        time.sleep(random.random())
        for node in (one, three):
            until("all are known again", lambda node=node: crowd.all_are_there(node))
    for watch in watches:
        told = watch.end()
        assert "delivered" in told and "offline" not in told, told
    for node in nodes:
        assert node.said().count("cluster: joined") > 4 and ENDED not in node.said(), node.said()


def who_lost_all_connections_is_back_at_once(scope):
    """What is between a node and Redis ends, and begins anew: until it is back its users may be offline."""
    redis = scope.redis()
    proxy = Proxy(redis.port)
    one, two = scope.node(redis), scope.node(proxy.port)
    one.settles()
    there = two.client("bert")
    one.knows("bert")
    own = clients(redis)
    for number in sorted(own)[-3:]:
        redis.ask("CLIENT", "KILL", "ID", str(number))
    two.joins(2)
    until("bert is found again", lambda: verdict(one, "bert", "again") == "delivered")
    while there.receive() != "again":
        pass
    assert one.said().count("cluster: joined") == 1 and "is silent" not in one.said(), one.said()


TESTS = [
    a_killed_node_has_nobody_at_once,
    a_connection_of_a_killed_node_is_not_found_at_once,
    members_leave_with_a_killed_node,
    with_several_redis,
    nobody_is_offline_when_all_connections_end,
    who_lost_all_connections_is_back_at_once,
]

if __name__ == "__main__":
    sys.exit(run(TESTS, sys.argv[1], sys.argv[2:]))
