"""Members of groups with a connection or without (`sticky`) on the nodes of a cluster, with a real Redis that comes and goes.

    python3 tests/cluster/sticky.py BINARY [--redis one|list|cluster] [NAME ...]
"""

import random
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import cluster
import shards
import upgrades
from cluster import until

GONE = {"connections": 0}


def join(node, uid, group="room"):
    told = node.post(f"/v1/groups/{group}/join", {"uid": uid, "sticky": True})
    assert told["sticky"] is True and told["refused"] == 0, told
    return told["connections"]


def leave(node, uid, group="room"):
    return node.post(f"/v1/groups/{group}/leave", {"uid": uid})


def reached(node, group="room"):
    return node.post("/v1/push", {"group": group, "text": "probe"})["connections"]


def reaches(node, count, group="room"):
    until(f"{group} has {count}", lambda: reached(node, group) == count)


def sticky(node, group="room"):
    # Until a node is sure that there is no other one.
    told = until("all", lambda: (told := node.get(f"/v1/groups/{group}"))["complete"] and told)
    return told.get("sticky", 0)


def groups_of(node, uid):
    told = until("all", lambda: (told := node.get(f"/v1/uids/{uid}"))["complete"] and told)
    return told.get("sticky", [])


def members_are_so_on_every_node(scope):
    redis, one, two = scope.pair()
    assert join(one, "anna") == 0
    for node in (one, two):
        assert groups_of(node, "anna") == ["room"] and sticky(node) == 1
    # Wherever it comes, in each app.
    clients = [one.client("anna", "relay")]
    reaches(two, 1)
    clients.append(two.client("anna"))
    reaches(one, 2)
    clients.append(two.client("anna", "relay"))
    reaches(one, 3)
    listed = {entry["group"]: entry for entry in two.get("/v1/groups")["groups"]}
    assert listed == {"room": {"group": "room", "connections": 3, "sticky": 1}}, listed
    # A change by either node is one for both.
    assert leave(two, "anna") == {"connections": 3, "sticky": True}
    assert leave(one, "anna") == GONE
    clients.append(one.client("anna", "relay"))
    one.knows("anna", 4)
    assert reached(one) == 0 and groups_of(one, "anna") == [] and sticky(two) == 0
    # Whoever has a connection enters at once, and one that comes later does.
    assert join(two, "anna", "hall") == 4
    assert reached(one, "hall") == 4
    clients.append(one.client("anna", "relay"))
    reaches(two, 5, "hall")
    # Only those that are there leave.
    told = one.post("/v1/groups/hall/leave", {"uid": "anna", "sticky": False})
    assert told == {"connections": 5}, told
    clients.append(two.client("anna", "relay"))
    reaches(one, 1, "hall")
    # It has gone from both nodes, and is changed meanwhile.
    for client in clients:
        client.close()
    two.knows("anna", 0)
    assert leave(one, "anna", "hall") == {"connections": 0, "sticky": True}
    join(one, "anna", "yard")
    again = [one.client("anna"), two.client("anna")]
    reaches(one, 2, "yard")
    assert reached(two, "hall") == 0
    for client in again:
        client.close()


def members_stay_when_their_node_is_killed(scope):
    redis, one, two = scope.pair()
    join(one, "anna")
    client = one.client("anna")
    reaches(one, 1)
    one.kill()
    client = two.client("anna")
    reaches(two, 1)
    assert sticky(two) == 1
    client.close()
    # No node is left that has known it.
    two.kill()
    three = scope.node(redis)
    client = three.client("anna")
    reaches(three, 1)
    client.close()


def a_group_is_emptied(scope):
    _, one, two = scope.pair()
    # More than are asked for at once.
    uids = [f"u{number}" for number in range(600)]
    batch = [{"join": {"uid": uid, "group": "room", "sticky": True}} for uid in uids]
    assert all(told.get("sticky") for told in one.post("/v1/batch", batch)["answers"])
    join(two, "u1", "hall")
    clients = [one.client("u1"), two.client("u2")]
    reaches(one, 2)
    assert sticky(two) == 600
    assert two.post("/v1/groups/room/ungroup", {}) == {"connections": 2, "sticky": 600}
    assert sticky(one) == 0 and reached(one) == 0
    assert two.post("/v1/groups/room/ungroup", {}) == {"connections": 0, "sticky": 0}
    assert groups_of(two, "u1") == ["hall"] and groups_of(one, "u2") == []
    clients += [two.client("u1"), one.client("u2")]
    reaches(one, 2, "hall")
    assert reached(two) == 0


def there_is_a_bound(scope):
    _, one, two = scope.pair()
    for number in range(64):
        join((one, two)[number % 2], "anna", f"g{number}")
    told = two.post("/v1/groups/more/join", {"uid": "anna", "sticky": True}, 400)
    assert told["error"]["code"] == "too_many_groups", told
    assert sticky(one, "more") == 0 and len(groups_of(one, "anna")) == 64
    leave(one, "anna", "g5")
    join(two, "anna", "more")
    client = one.client("anna")
    reaches(two, 1, "more")
    assert reached(two, "g63") == 1 and reached(two, "g5") == 0
    client.close()


def what_is_asked_at_once_is_the_same_for_all(scope):
    """Joins and leaves of the same members by two nodes, while connections come and go: then all agree."""
    _, one, two = scope.pair()
    uids = [f"u{number}" for number in range(6)]

    def change(seed):
        chance, node = random.Random(seed), (one, two)[seed % 2]
        for _ in range(60):
            uid = chance.choice(uids)
            match chance.randrange(3):
                case 0:
                    leave(node, uid)
                case 1:
                    join(node, uid)
                case _:
                    node.client(uid).close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(change, range(6)))
    clients = {uid: (one.client(uid), two.client(uid)) for uid in uids}
    wanted = [uid for uid in uids if groups_of(one, uid) == ["room"]]
    until("the others are gone", lambda: all(one.get(f"/v1/uids/{uid}")["connections"] == 2 for uid in uids))
    reaches(two, 2 * len(wanted))
    for uid in uids:
        # What a node knows of those that are here is what Redis has.
        assert leave(one, uid) == ({"connections": 2, "sticky": True} if uid in wanted else GONE)
    # None is in the list that is no member, and none in a set that is not listed.
    assert sticky(two) == 0 and all(groups_of(two, uid) == [] for uid in uids)
    for uid in uids:
        join(one, uid)
    assert reached(two) == 12 and sticky(two) == 6
    assert one.post("/v1/groups/room/ungroup", {}) == {"connections": 12, "sticky": 6}
    del clients


@cluster.not_over("list", "cluster", why="it changes what Redis has, by the name of its key")
def while_redis_is_away_nothing_is_changed(scope):
    redis, one, two = scope.pair()
    join(one, "anna")
    join(one, "bert")
    clients = [one.client("anna"), two.client("bert")]
    reaches(one, 2)
    redis.signal(signal.SIGSTOP)
    for node in (one, two):
        until("it is seen", lambda node=node: node.is_away())
    for path in ("join", "leave"):
        told = two.post(f"/v1/groups/hall/{path}", {"uid": "anna", "sticky": True}, 503)
        assert told["error"]["code"] == "cluster_away", told
    assert one.post("/v1/groups/hall/ungroup", {}, 503)["error"]["code"] == "cluster_away"
    assert one.get("/v1/groups/room")["complete"] is False
    # Who is known here is a member all the same.
    clients.append(one.client("anna", "relay"))
    assert reached(one) == 1
    late = two.client("carl")
    redis.signal(signal.SIGCONT)
    for node in (one, two):
        node.joins(2)
    clients.append(one.client("anna", "relay"))
    until("all apps' are in", lambda: reached(two) >= 3)
    assert groups_of(two, "anna") == ["room"] and sticky(one, "hall") == 0
    # What was changed while a node was cut off holds there when it is back, and so does that Redis has lost all.
    port = redis.port
    redis.kill()
    for node in (one, two):
        until("it is seen", lambda node=node: node.said().count("cluster: away") == 2)
    redis = scope.redis(port=port)
    redis.ask("SADD", "ringpost:{t:push:carl}", "hall")
    for node in (one, two):
        node.joins(3)
    reaches(one, 1, "hall")
    reaches(one, 0)
    assert groups_of(two, "anna") == [] and groups_of(one, "carl") == ["hall"]
    late.close()


def a_user_of_redis_needs_these_rights(scope):
    redis = scope.redis()
    rules = cluster.documented_rights()
    assert redis.ask("ACL", "SETUSER", "default", "reset", "on", "nopass", *rules) == "+OK"
    one, two = scope.node(redis), scope.node(redis)
    join(one, "anna")
    client = two.client("anna")
    reaches(one, 1)
    assert sticky(two) == 1 and groups_of(one, "anna") == ["room"]
    assert one.post("/v1/groups/room/ungroup", {}) == {"connections": 1, "sticky": 1}
    join(one, "anna")
    assert leave(two, "anna") == {"connections": 1, "sticky": True}
    client.close()


@cluster.not_over("list", "cluster", why="it has a list of its own")
def members_are_kept_by_several_redis(scope):
    servers = [scope.redis() for _ in range(3)]
    one, two = (scope.node(shards.url_of(*servers), cores=cores) for cores in (1, 2))
    for node in (one, two):
        node.joins(3)
    check_many(one, two)
    assert all(server.keys("*{l:push:*") for server in servers), "each has its share"


@cluster.not_over("list", "cluster", why="it has a Redis Cluster of its own")
def members_are_kept_by_a_redis_cluster(scope):
    redis = shards.RedisCluster(scope)
    one, two = (scope.node(redis.url(*redis.servers[:3])) for _ in range(2))
    check_many(one, two)


def check_many(one, two):
    uids, groups = [f"u{number}" for number in range(12)], [f"g{number}" for number in range(12)]
    for number, uid in enumerate(uids):
        for group in (groups[number], groups[number - 1]):
            join((one, two)[number % 2], uid, group)
    clients = [(two, one)[number % 2].client(uid) for number, uid in enumerate(uids)]
    for group in groups:
        reaches(two, 2, group)
        assert sticky(one, group) == 2
    told = one.get("/v1/groups")["groups"]
    assert [entry["sticky"] for entry in told] == [2] * 12, told
    # Or a node might be said to be unknown.
    shards.sure(one, two)
    for group in groups[:6]:
        assert two.post(f"/v1/groups/{group}/ungroup", {}) == {"connections": 2, "sticky": 2}
        assert sticky(one, group) == 0
    assert groups_of(one, "u3") == [] and groups_of(one, "u8") == ["g7", "g8"]
    assert leave(one, "u8", "g8") == {"connections": 1, "sticky": True}
    assert sticky(two, "g8") == 1
    del clients


def an_upgrade_keeps_them(scope):
    one, two = upgrades.pair(scope)
    join(two, "anna")
    join(one, "bert", "hall")
    clients = [one.client("anna"), one.client("bert")]
    reaches(two, 1)
    upgrades.upgraded(scope, one, 1)
    assert reached(two) == 1 and reached(two, "hall") == 1
    # What changes after it is heard.
    assert leave(two, "anna") == {"connections": 1, "sticky": True}
    assert join(two, "bert") == 1
    clients += [one.client("anna"), one.client("bert")]
    reaches(two, 2)
    reaches(two, 2, "hall")
    time.sleep(0.1)
    assert reached(two) == 2


def scripts_of(redis):
    """How many scripts it has run by their digests."""
    with socket.create_connection(("127.0.0.1", redis.port), timeout=cluster.PATIENCE) as one:
        one.sendall(b"INFO commandstats\r\n")
        file = one.makefile("r", newline="\r\n")
        text = file.read(int(file.readline()[1:]))
    found = re.search(r"cmdstat_evalsha:calls=(\d+)", text)
    return int(found[1]) if found else 0


def where_nobody_is_one_a_login_runs_no_script(scope):
    redis, one, two = scope.pair()

    def logins_are_free(name):
        before = scripts_of(redis)
        clients = [(one, two)[number % 2].client(f"{name}{number}") for number in range(100)]
        for number in (0, 99):
            two.knows(f"{name}{number}")
        # A node asks every 20 s whether there is anybody by now.
        assert scripts_of(redis) - before < 10, (before, scripts_of(redis))
        return clients

    clients = logins_are_free("a")
    # The first one of all, who is here already and has not been read, on either node.
    join(one, "a1")
    join(one, "a2", "hall")
    reaches(two, 1)
    reaches(one, 1, "hall")
    before = scripts_of(redis)
    join(two, "later")
    clients.append(one.client("later"))
    reaches(two, 2)
    assert scripts_of(redis) > before and redis.ask("HGET", "ringpost:sticky", "uids") != "$-1"
    # When the last one has left it is as if there had been none, for nodes that join after that.
    leave(two, "a1")
    leave(two, "later")
    assert redis.keys("*sticky") == ["ringpost:sticky"]
    assert one.post("/v1/groups/hall/ungroup", {}) == {"connections": 1, "sticky": 1}
    assert redis.keys("*sticky") == []
    redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
    for node in (one, two):
        node.joins(2)
    # All that are here are read once more, since there were some.
    until("all is read", lambda: (before := scripts_of(redis), time.sleep(0.3)) and scripts_of(redis) == before)
    clients += logins_are_free("b")
    join(two, "b1")
    reaches(one, 1)
    # Another Redis, with nothing.
    port = redis.port
    redis.kill()
    redis = scope.redis(port=port)
    for node in (one, two):
        node.joins(3)
    reaches(one, 0)
    until("all is read", lambda: (before := scripts_of(redis), time.sleep(0.3)) and scripts_of(redis) == before)
    clients += logins_are_free("c")
    join(one, "c1")
    join(one, "c2")
    reaches(two, 2)
    for client in clients:
        client.close()


def the_first_one_of_all_is_a_member_wherever_it_comes(scope):
    """The first ones of each of several Redis, while their connections come and go, and the nodes join anew amid that."""
    servers = [scope.redis() for _ in range(6)]
    one, two = (scope.node(shards.url_of(*servers), cores=cores) for cores in (1, 2))
    for node in (one, two):
        node.joins(len(servers))
    uids = [f"u{number}" for number in range(36)]

    def sticks(uid):
        # It is 503 where the node has just lost that Redis.
        body = {"uid": uid, "sticky": True}
        until(f"{uid} sticks", lambda: two.http("POST", "/v1/groups/room/join", body)[0] == 200)

    def comes(number):
        chance, uid = random.Random(number), uids[number]
        clients = []
        for _ in range(chance.randrange(2)):
            (one, two)[chance.randrange(2)].client(uid).close()
        if chance.randrange(2):
            clients.append(one.client(uid))
            sticks(uid)
        else:
            sticks(uid)
            clients.append(one.client(uid))
        return clients

    with ThreadPoolExecutor(12) as pool:
        coming = [pool.submit(comes, number) for number in range(len(uids))]
        for redis in servers:
            redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        clients = [client for one_coming in coming for client in one_coming.result()]
    assert len(clients) == len(uids)
    reaches(two, len(uids))
    assert sticky(one) == len(uids) and all(server.keys("ringpost:sticky") for server in servers)


def the_first_one_amid_an_upgrade_is_a_member(scope):
    one, two = upgrades.pair(scope)
    clients = [one.client("anna"), two.client("bert")]
    two.knows("anna")

    def joins():
        time.sleep(0.5)
        join(two, "anna")
        join(two, "bert")

    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(joins)
        upgrades.upgraded(scope, one, 2)
        joining.result()
    reaches(two, 2)
    clients += [one.client("anna"), one.client("bert")]
    reaches(two, 4)


def all_groups(node, limit=None):
    """The list of groups, page by page: how many uids each has."""
    found, cursor, pages = [], "", 0
    while cursor is not None:
        told = node.get(f"/v1/groups?{f'limit={limit}' if limit else ''}{f'&cursor={cursor}' if cursor else ''}")
        assert told["complete"] is True and (limit is None or len(told["groups"]) <= limit), told
        found += [(entry["group"], entry["connections"], entry.get("sticky", 0)) for entry in told["groups"]]
        cursor, pages = told["cursor"], pages + 1
    return sorted(found), pages


def groups_without_a_connection_are_listed(scope):
    servers = [scope.redis() for _ in range(3)]
    one, two = (scope.node(shards.url_of(*servers), cores=cores) for cores in (1, 2))
    for node in (one, two):
        node.joins(3)
    shards.sure(one, two)
    names = [f"g&é{number:03}" for number in range(40)]
    batch = [{"join": {"uid": "anna", "group": name, "sticky": True}} for name in names]
    assert all(told.get("sticky") for told in one.post("/v1/batch", batch)["answers"])
    batch = [{"join": {"uid": "bert", "group": name, "sticky": True}} for name in names[:3]]
    assert all(told.get("sticky") for told in two.post("/v1/batch", batch)["answers"])
    wanted = [(name, 0, 2 if name in names[:3] else 1) for name in names]
    for node in (one, two):
        assert all_groups(node) == (wanted, 1)
        for limit in (1, 7, 40):
            found, pages = all_groups(node, limit)
            assert found == wanted and pages >= 40 / limit, (limit, pages, found)
    # Those with a connection are told by the nodes, and only once.
    client = one.client("bert")
    for name in names[:3]:
        reaches(two, 1, name)
    wanted = [(name, 1 if name in names[:3] else 0, 2 if name in names[:3] else 1) for name in names]
    for limit in (None, 7):
        assert all_groups(two, limit)[0] == wanted
    client.close()
    two.knows("bert", 0)
    for name in names[:20]:
        assert leave(two, "anna", quote(name))["sticky"]
    wanted = [(name, 0, 1) for name in names[:3] + names[20:]]
    until("the connection has left its groups", lambda: all_groups(one)[0] == wanted)
    for wrong in ("s.", "s.9", "s.x.61", "s.0.6"):
        assert one.http("GET", f"/v1/groups?cursor={wrong}")[0] == 400, wrong
    # Without one of them the list has the others'.
    servers[1].kill()
    until("it is seen", lambda: "cluster: away" in one.said())
    told = one.get("/v1/groups")
    assert told["complete"] is False and 0 < len(told["groups"]) < 23, told


def more_than_a_node_takes_is_told(scope):
    redis = scope.redis()
    one, two = scope.node(redis), scope.node(redis, cores="1\ngroups_per_connection_max = 3")
    for node in (one, two):
        node.settles()
    for number in range(5):
        join(one, "anna", f"g{number}")
    client = two.client("anna")
    counts = lambda: [reached(one, f"g{number}") for number in range(5)]
    until("it is in some", lambda: sum(counts()) == 3)
    assert "more groups than this node lets it be" in two.said()
    here = one.client("anna")
    until("it is in all", lambda: sum(counts()) == 8)
    # One that it leaves makes room for one that it joins.
    first = counts().index(2)
    leave(one, "anna", f"g{first}")
    join(one, "anna", "next")
    reaches(one, 2, "next")
    client.close()
    here.close()


TESTS = [
    members_are_so_on_every_node,
    members_stay_when_their_node_is_killed,
    a_group_is_emptied,
    there_is_a_bound,
    what_is_asked_at_once_is_the_same_for_all,
    while_redis_is_away_nothing_is_changed,
    a_user_of_redis_needs_these_rights,
    members_are_kept_by_several_redis,
    members_are_kept_by_a_redis_cluster,
    an_upgrade_keeps_them,
    where_nobody_is_one_a_login_runs_no_script,
    the_first_one_of_all_is_a_member_wherever_it_comes,
    the_first_one_amid_an_upgrade_is_a_member,
    groups_without_a_connection_are_listed,
    more_than_a_node_takes_is_told,
]

if __name__ == "__main__":
    sys.exit(cluster.run(TESTS, sys.argv[1], sys.argv[2:]))
