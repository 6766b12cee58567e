// Over websockets: the subprotocol ringpost.v1, cut wherever it may be.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { client, closeAll, cut, JWT, PATIENCE, patiently, pause, Proxy, PUBLIC, seeded, Server, storage, token, until } from "./harness.js";

let server, proxy;

before(async () => {
  server = await Server.start({ tables: PUBLIC });
  proxy = await Proxy.start(server.push);
});
after(async () => {
  closeAll();
  proxy?.stop();
  await server?.stop();
});

const url = () => server.url(proxy.port);
const numbers = (messages) => messages.map(({ data }) => data.n);

test("messages of every kind, and who it is", async () => {
  const one = client(server.url(), { uid: "kinds" });
  await one.opened();
  assert.deepEqual([one.push.uid, one.push.byEvents], ["kinds", false]);
  assert.match(one.push.connection, /^[0-9a-f]+-[0-9a-f]+$/);
  assert.ok(Math.abs(one.push.now() - Date.now()) < 10_000);
  await server.tell({ uid: "kinds" }, { n: 1 });
  await server.tell({ uid: "kinds" }, [1, "2"]);
  await server.api("push", { uid: "kinds", text: 'text "with" \n all 水', keep: false });
  await server.tell({ all: true }, { n: 2 });
  await until(() => one.messages.length === 4, "all have come");
  assert.deepEqual(one.messages.map(({ stream, data }) => [stream, data]), [
    ["uid", { n: 1 }],
    ["uid", [1, "2"]],
    ["uid", 'text "with" \n all 水'],
    ["all", { n: 2 }],
  ]);
  assert.deepEqual(one.messages.map(({ position }) => position?.split(":")[1]), ["1", "2", undefined, "1"]);
  one.push.close();
  await until(async () => (await server.api("uids/kinds")).connections === 0, "it is gone");
});

test("nothing is missed and nothing comes twice, wherever it is cut", async () => {
  const random = seeded();
  const one = client(url(), { uid: "cut", groups: ["kept.a", "kept.b"] });
  await one.opened();
  const wanted = { uid: [], "kept.a": [], "kept.b": [], all: [] };
  for (let n = 0; n < 300; n++) {
    const to = Object.keys(wanted)[Math.floor(random() * 4)];
    const data = { n, pad: "x".repeat(random() * 300) };
    await server.tell({ [to === "uid" || to === "all" ? to : "group"]: to === "uid" ? "cut" : to }, data);
    wanted[to].push(n);
    if (random() < 0.06) proxy.cut(1 + Math.floor(random() * 1500));
    if (random() < 0.03) proxy.cut();
    if (n % 50 === 30) {
      await one.opened();
      await cut(one, proxy);
    }
  }
  await until(() => one.messages.length >= 300, "all have come");
  const got = { uid: [], "kept.a": [], "kept.b": [], all: [] };
  for (const { stream, group, data } of one.messages) got[group ?? stream].push(data.n);
  assert.deepEqual(got, wanted);
  assert.deepEqual(one.gaps, []);
  assert.deepEqual(one.errors, []);
  one.push.close();
});

test("a group of its own listeners, joined and left", async () => {
  const one = client(url(), { uid: "joins" });
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
  await server.tell({ group: "kept.c" }, { n: 3 });
  const anew = one.push.group("kept.c");
  assert.notEqual(anew, group);
  await until(() => anew.joined, "it is in again");
  await server.tell({ group: "kept.c" }, { n: 4 });
  await until(() => one.messages.length === 1, "it has come");
  assert.deepEqual([got, numbers(one.messages), one.gaps], [[1, 2], [4], []]);
  let isOut = false;
  anew.on("left", () => (isOut = true));
  await server.api("groups/kept.c/leave", { uid: "joins" });
  await until(() => isOut, "a back end has taken it out");
  one.push.close();
});

test("a reload goes on where the page was, and another's place is of no use", async () => {
  const kept = storage();
  const first = client(server.url(), { uid: "reload", groups: ["kept.d"], storage: kept });
  await first.opened();
  await server.tell({ uid: "reload" }, { n: 1 });
  await until(() => first.messages.length === 1, "it has come");
  first.push.close();
  await server.tell({ uid: "reload" }, { n: 2 });
  await server.tell({ group: "kept.d" }, { n: 3 });
  const second = client(server.url(), { uid: "reload", groups: ["kept.d"], storage: kept });
  await until(() => second.messages.length === 2, "what came meanwhile");
  assert.deepEqual(numbers(second.messages).sort(), [2, 3]);
  second.push.close();
  const other = client(server.url(), { uid: "another", storage: kept });
  await other.opened();
  await server.tell({ uid: "another" }, { n: 4 });
  await until(() => other.messages.length === 1, "it has come");
  assert.deepEqual([numbers(other.messages), other.gaps, second.gaps], [[4], [], []]);
  other.push.close();
});

test("what is gone is a gap; a server started anew has forgotten all", async (t) => {
  const old = await Server.start({ tables: PUBLIC });
  const before = await Proxy.start(old.push);
  t.after(() => before.stop());
  const one = client(old.url(before.port), { uid: "gap", groups: ["kept.a"] });
  await one.opened();
  await old.tell({ uid: "gap" }, { n: 1 });
  await until(() => one.messages.length === 1, "it has come");
  before.down = true;
  await old.stop();
  await until(() => one.push.state === "waiting", "it is cut");
  const anew = await Server.start({ tables: PUBLIC });
  t.after(() => anew.stop());
  before.to = anew.push;
  before.down = false;
  await until(() => one.gaps.length === 2, "both are told");
  await anew.tell({ uid: "gap" }, { n: 2 });
  await until(() => one.messages.length === 2, "it goes on");
  assert.deepEqual(one.gaps.map(({ stream, group }) => group ?? stream).sort(), ["kept.a", "uid"]);
  before.cut();
  await anew.tell({ uid: "gap" }, { n: 3 });
  await until(() => one.messages.length === 3, "from where it is now");
  assert.deepEqual([numbers(one.messages), one.gaps.length], [[1, 2, 3], 2]);
  one.push.close();
});

test("ends for good: kicked, replaced, and only until it is told to try again", async (t) => {
  const strict = await Server.start({ top: 'uid_policy = "replace"', tables: PUBLIC });
  t.after(() => strict.stop());
  const first = client(strict.url(), { uid: "only" });
  await first.opened();
  const second = client(strict.url(), { uid: "only" });
  await until(() => first.push.state === "closed", "it is replaced");
  assert.equal(first.states.at(-1).code, 4001);
  await strict.api("kick", { uid: "only" });
  await until(() => second.push.state === "closed", "it is kicked");
  assert.equal(second.states.at(-1).code, 4007);
  await assert.rejects(second.push.history(), { code: "closed" });
  second.push.reconnect();
  await second.opened();
  second.push.close();
});

test("its own dead place is taken at once, by the client's name", async (t) => {
  const strict = await Server.start({ top: 'uid_policy = "reject"', tables: PUBLIC });
  const before = await Proxy.start(strict.push);
  t.after(() => (before.stop(), strict.stop()));
  const one = client(strict.url(before.port), { uid: "only", silence: 400 });
  await one.opened();
  const { connection } = one.push;
  // Nobody hears anybody any more, and the server has not noticed.
  before.freeze();
  await until(() => one.push.state === "open" && one.push.connection !== connection, "it has its place again");
  const other = client(strict.url(), { uid: "only" });
  await until(() => other.push.state === "closed", "another is refused");
  assert.equal(other.states.at(-1).code, 4002);
  one.push.close();
});

test("silence is an end, and a quiet connection is none", async () => {
  const one = client(url(), { uid: "silent", silence: 500 });
  await one.opened();
  // A busy machine may keep back an answer for so long. One that takes quiet for an end never lasts three times that.
  await until(async () => {
    const { length } = one.states;
    await pause(1500);
    return one.push.state === "open" && one.states.length === length;
  }, "a quiet connection lasts");
  proxy.freeze();
  await until(() => one.states.some(({ reason }) => reason === "silence"), "it is noticed");
  await one.opened();
  one.push.close();
});

test("tokens: renewed in time, an expired one replaced, a wrong one is the end", async (t) => {
  // Node says no origin.
  const strict = await Server.start({ top: JWT + 'origins = "none"\n' });
  t.after(() => strict.stop());
  // A busy machine may need longer for the newer one than the first has left: then again, with more time.
  await patiently([4, 16, 64], async (seconds) => {
    let asked = 0;
    const renewing = client(strict.url(), { token: () => token("tom", { seconds: asked++ ? 3600 : seconds, groups: ["kept.*"] }), groups: ["kept.a", "secret"] });
    const refused = [];
    renewing.push.group("secret").on("error", ({ code }) => refused.push(code));
    try {
      await renewing.opened();
      await until(() => asked === 2, "a newer one is asked for", 1000 * seconds + PATIENCE);
      await pause(1000 * seconds + 500);
      assert.deepEqual(renewing.states.map(({ state }) => state), ["connecting", "open"]);
      assert.deepEqual([refused, renewing.errors, renewing.push.uid], [["forbidden_group"], [], "tom"]);
      assert.deepEqual([renewing.push.group("kept.a").joined, renewing.push.group("secret").joined], [true, false]);
    } finally {
      renewing.push.close();
    }
  });

  const text = client(strict.url(), { token: token("tom", { seconds: 1 }) });
  await until(() => text.push.state === "closed", "a text expires");
  assert.equal(text.states.at(-1).code, 4008);

  const stale = token("tom", { seconds: -60 });
  const tokens = [stale, stale, token("tom")];
  const same = client(strict.url(), { token: async () => tokens.shift() });
  await until(() => same.push.state === "closed", "there is no newer one");
  assert.equal(same.states.at(-1).code, 4008);
  same.push.reconnect();
  await same.opened();
  same.push.close();

  const wrong = client(strict.url(), { token: "no such token" });
  await until(() => wrong.push.state === "closed", "it is wrong");
  assert.equal(wrong.states.at(-1).code, 4006);

  let failures = 0;
  const late = client(strict.url(), {
    token: () => {
      if (failures++ < 2) throw new Error("not yet");
      return token("tom");
    },
  });
  await late.opened();
  assert.deepEqual(late.errors.map(({ code }) => code), ["token", "token"]);
  late.push.close();
});

test("a token that was good once is asked for anew when its key has gone", async (t) => {
  const strict = await Server.start({ top: JWT + 'origins = "none"\n' });
  const before = await Proxy.start(strict.push);
  t.after(() => (before.stop(), strict.stop()));
  const secrets = [undefined, "another secret of more than thirty-two characters"];
  const one = client(strict.url(before.port), { token: () => token("tom", { secret: secrets.shift() }) });
  await one.opened();
  await strict.rekey(secrets[0]);
  before.cut();
  await until(() => one.states.some(({ code }) => code === 4006), "the old one is refused");
  await one.opened();
  assert.deepEqual([secrets, one.errors], [[], []]);
  one.push.close();
});

test("history, page by page", async () => {
  const one = client(url(), { uid: "history", groups: ["kept.h"] });
  for (let n = 0; n < 7; n++) await server.tell({ group: "kept.h" }, { n });
  await one.opened();
  const got = [];
  for (let since, top; !top || since !== top; ) {
    const page = await one.push.group("kept.h").history({ since, limit: 3 });
    got.push(...page.messages);
    [since, top] = [page.messages.at(-1).position, page.top];
  }
  assert.deepEqual(numbers(got), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual([got[0].stream, got[0].group], ["group", "kept.h"]);
  const newest = await one.push.group("kept.h").history({ limit: 2, reverse: true });
  assert.deepEqual(numbers(newest.messages), [6, 5]);
  assert.deepEqual((await one.push.history()).messages, []);
  // Asked in the dark, it is answered when there is light.
  await cut(one, proxy);
  assert.equal((await one.push.group("kept.h").history()).messages.length, 7);
  one.push.close();
  await assert.rejects(one.push.history(), { code: "closed" });
});

test("listeners that throw break nothing, and what is closed in one stays closed", async () => {
  const one = client(url(), { uid: "throws" });
  one.push.on("message", () => {
    throw new Error("mine");
  });
  one.push.on("message", async () => {
    throw new Error("mine, later");
  });
  await one.opened();
  await server.tell({ uid: "throws" }, { n: 1 });
  await server.tell({ uid: "throws" }, { n: 2 });
  await until(() => one.messages.length === 2 && one.errors.length === 4, "both have come");
  assert.deepEqual(numbers(one.messages), [1, 2]);
  one.push.on("message", () => one.push.close());
  await server.tell({ uid: "throws" }, { n: 3 });
  await until(() => one.push.state === "closed", "it is closed");
  await server.tell({ uid: "throws" }, { n: 4 });
  await until(async () => (await server.api("uids/throws")).connections === 0, "it is gone");
  assert.deepEqual(numbers(one.messages), [1, 2, 3]);
});

test("Node's own WebSocket does, too", async () => {
  const script = `
    import { connect } from "ringpost";
    const push = connect("${server.url()}", { uid: "native", events: false });
    push.on("message", ({ data }) => (console.log(data.n), push.close()));
  `;
  const flag = globalThis.WebSocket ? [] : ["--experimental-websocket"];
  const node = execFile(process.execPath, [...flag, "--no-warnings", "--input-type=module", "-e", script], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
  });
  let said = "";
  node.stdout.on("data", (piece) => (said += piece));
  const ended = new Promise((resolve) => node.on("exit", resolve));
  await server.online("native");
  await server.tell({ uid: "native" }, { n: 7 });
  assert.deepEqual([await ended, said], [0, "7\n"]);
});

test("over TLS, by an authority that Node is told of, and by no other", async (t) => {
  const file = (name) => fileURLToPath(new URL(`../../../tests/certificates/${name}`, import.meta.url));
  const keys = `[tls]\ncertificate_file = "${file("p256.pem")}"\nkey_file = "${file("p256.key")}"\n`;
  const safe = await Server.start({ scheme: "wss", tables: keys });
  t.after(() => safe.stop());
  const script = `
    import { WebSocket } from "ws";
    import { connect } from "ringpost";
    const push = connect("wss://localhost:${safe.push}/", { uid: "safe", events: false, WebSocket });
    push.on("message", ({ data }) => (console.log(data.n), push.close()));
    push.on("state", ({ state }) => state === "waiting" && (console.log("not let in"), push.close()));
  `;
  const say = async (env) => {
    const node = execFile(process.execPath, ["--no-warnings", "--input-type=module", "-e", script], {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      env: { ...process.env, ...env },
    });
    let said = "";
    node.stdout.on("data", (piece) => (said += piece));
    await new Promise((resolve) => node.on("exit", resolve));
    return said;
  };
  const told = say({ NODE_EXTRA_CA_CERTS: file("ca.pem") });
  await safe.online("safe");
  await safe.tell({ uid: "safe" }, { n: 7 });
  assert.equal(await told, "7\n");
  assert.equal(await say({}), "not let in\n");
});

test("a server that is down is asked at longer and longer intervals, by chance", async () => {
  const gone = await Proxy.start(1);
  gone.down = true;
  const one = client(server.url(gone.port), { uid: "x", events: false });
  const waits = () => one.states.filter(({ state }) => state === "waiting").map(({ wait }) => wait);
  await until(() => waits().length >= 4, "some attempts");
  waits().forEach((wait, nth) => assert.ok(wait <= 500 * 2 ** nth, `${nth}: ${wait}`));
  one.push.close();
  const attempts = gone.connections;
  await pause(1000);
  assert.equal(gone.connections, attempts);
  gone.stop();
});

test("what was handled is remembered for the client's name", async () => {
  const options = { uid: "acks", groups: ["kept.k"], client: "phone-1", ack: true };
  const first = client(server.url(), options);
  await first.opened();
  await server.tell({ uid: "acks" }, { n: 1 });
  await server.tell({ group: "kept.k" }, { n: 2 });
  await until(() => first.messages.length === 2, "both have come");
  const gone = () => until(async () => (await server.api("uids/acks")).connections === 0, "it is gone, and what it has said is read");
  first.push.close();
  await gone();
  for (let n = 3; n < 6; n++) await server.tell(n % 2 ? { uid: "acks" } : { group: "kept.k" }, { n });
  const second = client(server.url(), { ...options, ack: "manual" });
  await until(() => second.messages.length === 3, "what came meanwhile");
  assert.deepEqual(numbers(second.messages).sort(), [3, 4, 5]);
  second.push.ack(second.messages.find(({ data }) => data.n === 3));
  second.push.close();
  await gone();
  const third = client(server.url(), options);
  await until(() => third.messages.length === 2, "what was not handled");
  assert.deepEqual(numbers(third.messages).sort(), [4, 5]);
  third.push.close();
  const other = client(server.url(), { ...options, client: "phone-2" });
  await other.opened();
  await server.tell({ uid: "acks" }, { n: 6 });
  await until(() => other.messages.length, "what comes");
  assert.deepEqual(numbers(other.messages), [6]);
  other.push.close();
});

test("where no back end listens it is an error", async (t) => {
  const deaf = await Server.start();
  t.after(() => deaf.stop());
  const one = client(deaf.url(), { uid: "deaf" });
  await assert.rejects(one.push.send({ n: 1 }), { name: "PushError", code: "not_available" });
  one.push.close();
  await assert.rejects(one.push.send({ n: 2 }), { code: "closed" });
});

test("what waits when it is closed has failed", async () => {
  const one = client("ws://127.0.0.1:1/", { uid: "nobody", events: false });
  const waits = one.push.send({ n: 1 }, { again: true });
  const late = one.push.send({ n: 2 }, { timeout: 50 });
  await assert.rejects(late, { code: "timeout" });
  one.push.close();
  await assert.rejects(waits, { code: "closed" });
});

test("a group without presence has no members, and nobody is told of an error", async () => {
  const one = client(server.url(), { uid: "plain" });
  const group = one.push.group("plain");
  const told = [];
  group.on("presence", (change) => told.push(change));
  await until(() => group.joined, "it is in");
  await one.push.history();
  assert.deepEqual([[...group.members], told, one.errors], [[], [], []]);
  one.push.close();
});
