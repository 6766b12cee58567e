"""Connections by their ids, on whichever node of a cluster they are; and lists of them.

    python3 tests/cluster/connections.py BINARY [NAME ...]

As cluster.py, by which it is run.
"""

import re
import signal
import sys

import cluster
from cluster import until

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


TESTS = [an_id_names_its_node]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
