// Where websockets do not pass: Server-Sent Events, and all that they can.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { client, closeAll, cut, JWT, Proxy, seeded, Server, storage, token, until } from "./harness.js";

let server, proxy;

before(async () => {
  server = await Server.start();
  proxy = await Proxy.start(server.http, { noWebSockets: true });
});
after(async () => {
  closeAll();
  proxy?.stop();
  await server?.stop();
});

const url = () => server.url(proxy.port);

test("events follow after three websockets that have never opened", async () => {
  const one = client(url(), { uid: "after-three" });
  await one.opened();
  assert.equal(one.push.byEvents, true);
  assert.deepEqual(one.states.map(({ state }) => state).filter((state) => state === "waiting").length, 3);
  await server.tell({ uid: "after-three" }, { n: 1 });
  await server.tell({ uid: "after-three" }, 7);
  await until(() => one.messages.length === 2, "both have come");
  assert.deepEqual(one.messages.map(({ data }) => data), [{ n: 1 }, "7"]);
  assert.match(one.messages[0].position, /^[0-9a-z]{10}:1$/);
  await assert.rejects(one.push.send("x"), { code: "unsupported" });
  await assert.rejects(one.push.history(), { code: "unsupported" });
  one.push.close();
  assert.equal(one.push.state, "closed");
});

test("where there is no WebSocket at all it listens by events at once, and where there are none it says so", async (t) => {
  const global = globalThis.WebSocket;
  delete globalThis.WebSocket;
  t.after(() => global && (globalThis.WebSocket = global));
  const options = { uid: "without", WebSocket: undefined };
  const one = client(server.url(), { ...options, events: new URL(`http://127.0.0.1:${server.http}/v1/events`) });
  await one.opened();
  assert.deepEqual(one.states.map(({ state }) => state), ["connecting", "open"]);
  one.push.close();
  // A port of websockets alone.
  const other = client(server.url(), options);
  await until(() => other.push.state === "closed", "it is closed");
  assert.match(other.states.at(-1).reason, /no WebSocket/);
});

test("nothing is missed and nothing comes twice, wherever it is cut", async () => {
  const random = seeded();
  const one = client(url(), { uid: "cut", groups: ["kept.a", "kept.b"], eventsAfter: 1 });
  await one.opened();
  const wanted = { uid: [], "kept.a": [], "kept.b": [], all: [] };
  for (let n = 0; n < 200; n++) {
    const to = Object.keys(wanted)[Math.floor(random() * 4)];
    await server.tell({ [to === "uid" || to === "all" ? to : "group"]: to === "uid" ? "cut" : to }, { n, pad: "x".repeat(random() * 300) });
    wanted[to].push(n);
    if (random() < 0.06) proxy.cut(1 + Math.floor(random() * 1500));
    if (random() < 0.03) proxy.cut();
    if (n % 50 === 30) {
      await one.opened();
      await cut(one, proxy);
    }
  }
  await until(() => one.messages.length >= 200, "all have come");
  const got = { uid: [], "kept.a": [], "kept.b": [], all: [] };
  for (const { stream, group, data } of one.messages) got[group ?? stream].push(data.n);
  assert.deepEqual(got, wanted);
  assert.deepEqual(one.gaps, []);
  one.push.close();
});

test("a group is joined and left amid events", async () => {
  const one = client(url(), { uid: "joins", eventsAfter: 1 });
  await one.opened();
  const group = one.push.group("kept.c");
  const got = [];
  group.on("message", ({ data }) => got.push(data.n));
  await until(() => group.joined, "it is in");
  await server.tell({ group: "kept.c" }, { n: 1 });
  await until(() => got.length === 1, "it has come");
  proxy.cut();
  await server.tell({ group: "kept.c" }, { n: 2 });
  await until(() => got.length === 2, "what was missed has come");
  group.leave();
  await until(async () => (await server.api("groups/kept.c")).connections === 0, "it is out");
  await one.opened();
  await server.tell({ group: "kept.c" }, { n: 3 });
  await server.tell({ uid: "joins" }, { n: 4 });
  await until(() => one.messages.length === 1, "the uid's has come");
  assert.deepEqual([got, one.messages[0].data.n, one.gaps], [[1, 2], 4, []]);
  one.push.close();
});

test("what is gone is told as a gap, once, and with the storage of another visit", async () => {
  const kept = storage();
  const options = { uid: "gap", groups: ["kept.d"], storage: kept, eventsAfter: 1 };
  const first = client(url(), options);
  await first.opened();
  await server.tell({ uid: "gap" }, { n: 1 });
  await until(() => first.messages.length === 1, "it has come");
  first.push.close();
  await server.tell({ uid: "gap" }, { n: 2 });
  const second = client(url(), options);
  await until(() => second.messages.length === 1, "what came meanwhile");
  assert.equal(second.messages[0].data.n, 2);
  second.push.close();
  await fetch(`http://127.0.0.1:${server.http}/v1/history?uid=gap`, { method: "DELETE" });
  await server.tell({ uid: "gap" }, { n: 3 });
  await server.api("kick", { uid: "gap", forget: true });
  await server.tell({ uid: "gap" }, { n: 4 });
  const third = client(url(), options);
  await until(() => third.gaps.length === 1, "a gap");
  await server.tell({ uid: "gap" }, { n: 5 });
  await until(() => third.messages.length > 0, "what comes then");
  assert.deepEqual(third.messages.map(({ data }) => data.n), [5]);
  assert.deepEqual(third.gaps.map(({ stream, group }) => [stream, group]), [["uid", undefined]]);
  third.push.close();
});

test("who is kicked does not come back", async () => {
  const one = client(url(), { uid: "kicked", eventsAfter: 1 });
  await one.opened();
  await server.api("kick", { uid: "kicked" });
  await until(() => one.push.state === "closed", "it is closed");
  assert.equal(one.states.at(-1).code, 4007);
});

test("a server that is full says when to come back, and is not asked before", async (t) => {
  const full = await Server.start({ flags: ["--max-connections", "1"] });
  const before = await Proxy.start(full.http, { noWebSockets: true });
  t.after(() => (before.stop(), full.stop()));
  const options = { eventsAfter: 1 };
  const first = client(full.url(before.port), { uid: "first", ...options });
  await first.opened();
  const second = client(full.url(before.port), { uid: "second", ...options });
  const told = await until(() => second.states.find(({ code }) => code === 1013), "it is told");
  assert.ok(told.wait >= 1000 && told.wait >= told.retryAfter * 1000, JSON.stringify(told));
  first.push.close();
  await second.opened();
  second.push.close();
});

test("tokens: a group that it has not is told, and the rest goes on; a newer one after the end of one", async (t) => {
  const strict = await Server.start({ top: JWT });
  const before = await Proxy.start(strict.http, { noWebSockets: true });
  t.after(() => (before.stop(), strict.stop()));
  let asked = 0;
  const one = client(strict.url(before.port), {
    token: async () => token("tom", { seconds: ++asked === 1 ? 2 : 3600, groups: ["kept.*"] }),
    groups: ["kept.a", "secret"],
    eventsAfter: 1,
    timeout: 500,
  });
  const errors = [];
  one.push.group("secret").on("error", ({ code }) => errors.push(code));
  await one.opened();
  assert.deepEqual(errors, ["forbidden_group"]);
  assert.deepEqual([one.push.group("kept.a").joined, one.push.group("secret").joined], [true, false]);
  await until(() => one.states.some(({ code }) => code === 4008), "it has expired");
  await one.opened();
  await strict.tell({ group: "kept.a" }, { n: 1 });
  await until(() => one.messages.length, "it has come");
  one.push.close();

  const other = client(strict.url(before.port), { token: "no such token", eventsAfter: 1 });
  await until(() => other.push.state === "closed", "it is closed");
  assert.equal(other.states.at(-1).code, 4008);
});
