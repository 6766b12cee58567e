// Many clients, by websockets and by events, whose connections are cut anywhere, while a back end pushes to uids, to groups
// and to everybody. Some streams keep little, so that there are gaps. What each client was told, put together, is exact.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { client, closeAll, Proxy, PUBLIC, seeded, Server, until } from "./harness.js";

const CLIENTS = 12;
const MESSAGES = 800;
const SHORT = '[[history]]\nkind = "group"\nname = "short.*"\nsize = 4\nttl = "10m"\n';
let server;
const proxies = [];

before(async () => {
  server = await Server.start({ cores: 4, tables: SHORT + PUBLIC });
  proxies.push(await Proxy.start(server.push), await Proxy.start(server.http, { noWebSockets: true }));
});
after(async () => {
  closeAll();
  for (const proxy of proxies) proxy.stop();
  await server?.stop();
});

/** A client that follows its uid, two groups and everybody, with what it was told of each in one line. */
function follower(nth) {
  const uid = "f" + (nth % 8);
  const options = { uid, groups: ["kept.a", "short.b"], eventsAfter: 1, silence: 60_000 };
  const one = client(server.url(proxies[nth % 3 === 2 ? 1 : 0].port), options);
  one.told = new Map(["uid", "all", "kept.a", "short.b"].map((stream) => [stream, []]));
  const take = ({ stream, group }, what) => one.told.get(group ?? stream).push(what);
  one.push.on("message", (message) => take(message, [+message.position.split(":")[1], message.data.n]));
  one.push.on("gap", (gap) => take(gap, ["gap", +gap.top.split(":")[1]]));
  return one;
}

/** Nothing is left out but by a gap, nothing comes twice, and all of it is what was pushed. */
function check(told, pushed, where) {
  let at = 0;
  for (const [position, n] of told) {
    if (position === "gap") {
      assert.ok(n > at, `${where}: a gap up to ${n}, behind ${at}`);
      at = n;
      continue;
    }
    assert.equal(position, at + 1, where);
    assert.equal(n, pushed[position - 1], where);
    at = position;
  }
  assert.equal(at, pushed.length, `${where}: it has all in the end`);
}

test("cut at random, each client has every stream exactly, or was told of a gap", async () => {
  const random = seeded();
  const all = Array.from({ length: CLIENTS }, (_, nth) => follower(nth));
  await until(() => all.every(({ push }) => push.state === "open"), "all are open");
  const pushed = new Map();
  let gaps = 0;
  for (let n = 0; n < MESSAGES; n++) {
    const kind = Math.floor(random() * 10);
    const to = kind < 4 ? { uid: "f" + Math.floor(random() * 8) } : kind < 9 ? { group: ["kept.a", "short.b"][kind % 2] } : { all: true };
    const stream = to.uid ?? to.group ?? "all";
    if (!pushed.has(stream)) pushed.set(stream, []);
    pushed.get(stream).push(n);
    await server.tell(to, { n, pad: "x".repeat(random() * 400) });
    const proxy = proxies[Math.floor(random() * 2)];
    if (random() < 0.04) proxy.cut(1 + Math.floor(random() * 4_000));
    if (random() < 0.02) proxy.cut();
    // Now and then the network is away for longer than a short history reaches.
    if (n % 160 === 80) for (const one of proxies) (one.down = true), one.cut();
    if (n % 160 === 110) for (const one of proxies) one.down = false;
  }
  const each = (one, stream) => pushed.get(stream === "uid" ? one.push.uid : stream) ?? [];
  const place = ([position, n] = [0]) => (position === "gap" ? n : position);
  const has = (one) => [...one.told].every(([stream, told]) => place(told.at(-1)) === each(one, stream).length);
  await until(() => all.every(has), "all have everything");
  for (const one of all) {
    for (const [stream, told] of one.told) {
      check(told, each(one, stream), `${one.push.uid} by ${one.push.byEvents ? "events" : "websocket"}, ${stream}`);
      gaps += told.filter(([kind]) => kind === "gap").length;
    }
    assert.deepEqual(one.errors, []);
  }
  const openings = all.flatMap(({ states }) => states.filter(({ state }) => state === "open"));
  assert.ok(openings.length > 3 * CLIENTS, "they were cut");
  assert.ok(gaps > 0, "some were told of a gap");
});
