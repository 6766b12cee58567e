"""Connections by their ids, on whichever node of a cluster they are; and lists of them.

    python3 tests/cluster/connections.py BINARY [NAME ...]

As cluster.py, by which it is run.
"""

import json
import re
import signal
import socket
import sys

import cluster
from cluster import Line, until

# Nobody drew this one.
STRANGE = "0-100000000-00000000000000ab"


def id_of(node, uid):
    [one] = node.get(f"/v1/connections?uid={uid}")["connections"]
    assert re.fullmatch(r"\d+-[0-9a-f]+-[0-9a-f]{16}", one["connection"]), one
    return one["connection"]


def verdict(node, connection):
    told = node.post("/v1/push", {"connection": connection, "text": "hi"})
    return told["verdicts"][connection], told.get("nodes_unknown", 0)


def an_id_names_its_node(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    three = scope.node(redis)
    here, there, frozen = one.client("anna"), two.client("bert"), three.client("carl")
    anna, bert, carl = id_of(one, "anna"), id_of(two, "bert"), id_of(three, "carl")
    assert len({name.rsplit("-", 1)[1] for name in (anna, bert, carl)}) == 3
    for node in (one, two, three):
        for name, client in ((anna, here), (bert, there), (carl, frozen)):
            assert verdict(node, name) == ("delivered", 0) and client.receive() == "hi"
            # The same place on another node is another connection, or none.
            other = f"{name.rsplit('-', 1)[0]}-{STRANGE[-16:]}"
            assert verdict(node, other) == ("offline", 0)
    # Except by id, on whichever node it is.
    told = one.post("/v1/broadcast", {"text": "to most", "except": {"connections": [bert]}})
    assert told == {"connections": 2} and here.receive() == frozen.receive() == "to most", told
    assert verdict(one, bert) == ("delivered", 0) and there.receive() == "hi"
    assert two.post("/v1/kick", {"connection": anna, "text": "bye"}) == {"connections": 1}
    assert here.receive() == "bye"
    here.ends()
    assert verdict(two, anna) == ("offline", 0)
    # One that says nothing is unknown, and gone for good it has nobody.
    three.signal(signal.SIGSTOP)
    assert verdict(one, carl) == ("unknown", 1) and verdict(one, bert) == ("delivered", 0)
    three.kill()
    until("it is gone", lambda: verdict(one, carl) == ("offline", 0))
    # One's own needs no Redis.
    anna = one.client("anna")
    own = id_of(one, "anna")
    redis.kill()
    until("it is noticed", lambda: "cluster: away" in one.said())
    assert verdict(one, own) == ("delivered", 0) and anna.receive() == "hi"
    assert verdict(one, bert) == ("unknown", 1)
    assert one.post("/v1/kick", {"connection": own}) == {"connections": 1}
    assert verdict(one, own) == ("offline", 0)


def what_is_asked_of_a_connection_is_asked_of_its_node(scope):
    redis = scope.redis()
    few = "connections_per_uid_max = 1\nattributes_bytes_max = 64\n"
    one, two = (scope.node(redis, cores=cores, cluster='answer_timeout = "500ms"', first=few) for cores in (1, 2))
    one.settles()
    there, taken = two.client("bert"), two.client("tim")
    name = id_of(two, "bert")
    path = f"/v1/connections/{name}"
    told, there_told = one.get(path), two.get(path)
    assert told == there_told and told["uid"] == "bert" and told["app"] == "push", told
    assert told["listener"].endswith(str(two.ports["push"])), told

    def asked(method, more, body, status=200):
        found, text = one.http(method, f"{path}{more}", body)
        assert found == status, (found, text)
        told = json.loads(text)
        return told if status == 200 else told["error"]["code"]

    assert asked("PUT", "/attributes", {"tab": 1, "device": "phone"})["attributes"] == {"tab": 1, "device": "phone"}
    assert asked("PATCH", "/attributes", {"tab": None})["attributes"] == {"device": "phone"}
    assert asked("PUT", "/attributes", {"long": "x" * 100}, 413) == "attributes_too_large"
    assert asked("PUT", "/attributes", [1], 400) == "bad_request"
    assert two.get(path)["attributes"] == {"device": "phone"}
    assert asked("POST", "/unbind", {}) == {"connection": name, "uid": None}
    assert two.get(path)["uid"] is None
    for uid in ("other", "another", "bert"):
        # It moves between the cores of its node.
        assert asked("POST", "/bind", {"uid": uid}) == {"connection": name, "uid": uid}
        assert one.get(path)["uid"] == uid
        until("it has", lambda: one.backend_says(f'{{"uid":"{uid}"}}') == "ok")
        assert there.receive() == f'{{"uid":"{uid}"}}'
    assert asked("POST", "/bind", {"uid": "tim"}, 409) == "uid_in_use"
    there.ends()
    for method, more, body in (("GET", "", None), ("POST", "/bind", {"uid": "x"}), ("PUT", "/attributes", {"a": 1})):
        assert asked(method, more, body, 404) == "no_connection"
    for strange in (STRANGE, STRANGE[:11]):
        status, text = one.http("GET", f"/v1/connections/{strange}")
        assert status == 404 and "no_connection" in text, text
    assert one.http("GET", f"/v1/connections/{STRANGE}0")[0] == 400
    # One that says nothing may have it.
    name = id_of(two, "tim")
    two.signal(signal.SIGSTOP)
    status, text = one.http("GET", f"/v1/connections/{name}")
    assert status == 503 and '"unknown"' in text, text
    two.signal(signal.SIGCONT)
    until("it answers", lambda: one.http("GET", f"/v1/connections/{name}")[0] == 200)
    redis.kill()
    until("it is noticed", lambda: "cluster: away" in one.said())
    status, text = one.http("GET", f"/v1/connections/{name}")
    assert status == 503 and "Redis is away" in text, text
    taken.close()


def lists_of_connections_are_those_of_all_nodes(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    three = scope.node(redis, cores=3)
    clients, wanted = [], []
    for number, node in enumerate((one, two, two, three, three, three, one)):
        wanted.append(f"u{min(number, 5)}")
        clients.append(node.client(wanted[-1]))
    one.knows("u5", 2)
    unbound = Line(two.ports["push"])

    def all_of(node, query="", limit=100):
        found, cursor, complete = [], "", True
        while cursor is not None:
            page = node.get(f"/v1/connections?limit={limit}{query}{cursor and '&cursor=' + cursor}")
            found += [(entry["uid"], entry["connection"]) for entry in page["connections"]]
            assert len(page["connections"]) <= limit, page
            cursor, complete = page["cursor"], complete and page["complete"]
        assert len(set(found)) == len(found), found
        return sorted(uid for uid, _ in found if uid), complete

    for node in (one, two, three):
        for limit in (1, 2, 100):
            assert all_of(node, limit=limit) == (wanted, True)
        assert all_of(node, "&uid=u5", 1) == (["u5", "u5"], True)
        assert all_of(node, "&uid=nobody") == ([], True)
        assert all_of(node, "&sort=bytes_waiting") == (wanted, True)
        told = node.get("/v1/uids/u5")
        assert told["connections"] == len(told["list"]) == 2 and told["complete"], told
        [told] = node.get("/v1/connections?unbound=true")["connections"]
        assert told["listener"].endswith(str(two.ports["push"])), told
    # Each node knows its own listeners.
    url = f"text://127.0.0.1:{three.ports['push']}"
    assert all_of(three, f"&listener={url}") == (wanted[3:6], True)
    assert all_of(three, "&attributes=true") == (wanted, True)
    # The fullest first, wherever it is.
    clients[1].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    for _ in range(12):
        one.post("/v1/push", {"uid": "u1", "text": "x" * 1_000_000})
    told = three.get("/v1/connections?sort=bytes_waiting&limit=2")["connections"]
    assert told[0]["uid"] == "u1" and told[0]["bytes_waiting"] > told[1]["bytes_waiting"], told
    for cursor in ("x", "0.0", "1.x.0", "zz.0.0", "1.0.0.0"):
        assert one.http("GET", f"/v1/connections?cursor={cursor}")[0] == 400, cursor
    # A node that is gone, or says nothing.
    assert one.get("/v1/connections?cursor=1.0.0")["complete"] is False
    three.signal(signal.SIGSTOP)
    found, complete = all_of(one)
    assert found == wanted[:3] + ["u5"] and not complete, found
    told = one.get("/v1/uids/u5")
    assert told["connections"] == 1 and told["complete"] is False, told
    three.signal(signal.SIGCONT)
    until("it answers", lambda: all_of(one) == (wanted, True))
    redis.kill()
    until("it is noticed", lambda: "cluster: away" in one.said())
    assert all_of(one) == (["u0", "u5"], False)
    unbound.close()


def a_group_is_emptied_on_all_nodes(scope):
    redis, one, two = scope.pair(cluster='answer_timeout = "500ms"')
    three = scope.node(redis, cores=3)
    clients = []
    for number, node in enumerate((one, two, two, three, three)):
        clients.append(node.client(f"u{number}"))
        one.knows(f"u{number}")
        for group in ("room", "other"):
            assert one.post(f"/v1/groups/{group}/join", {"uid": f"u{number}"})["connections"] == 1
    until("all are in", lambda: one.get("/v1/groups/room")["connections"] == 5)
    told = two.post("/v1/groups/room/ungroup", {})
    assert told == {"connections": 5, "sticky": 0}, told
    for node in (one, two, three):
        assert node.get("/v1/groups/room")["connections"] == 0
        assert node.get("/v1/groups/other")["connections"] == 5
    assert one.post("/v1/push", {"group": "room", "text": "x"}) == {"connections": 0}
    assert two.post("/v1/groups/room/ungroup", {}) == {"connections": 0, "sticky": 0}
    three.signal(signal.SIGSTOP)
    told = one.post("/v1/groups/other/ungroup", {})
    assert told == {"connections": 3, "sticky": 0, "nodes_unknown": 1}, told


TESTS = [
    an_id_names_its_node,
    what_is_asked_of_a_connection_is_asked_of_its_node,
    lists_of_connections_are_those_of_all_nodes,
    a_group_is_emptied_on_all_nodes,
]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
