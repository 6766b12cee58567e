// Who is in a group, kept up by what the server tells.

import assert from "node:assert/strict";
import { connect as dial } from "node:net";
import { after, before, test } from "node:test";
import { client, closeAll, cut, Proxy, seeded, Server, until } from "./harness.js";

const ROOMS = `
[[groups]]
name = "room.*"
public = true
presence = true
presence_grace = "GRACE"
[[groups]]
name = "*"
public = true
`;
let server, proxy;

before(async () => {
  server = await Server.start({ tables: ROOMS.replace("GRACE", "0s") });
  proxy = await Proxy.start(server.push);
});
after(async () => {
  closeAll();
  proxy?.stop();
  await server?.stop();
});

/** A member of a room, with what it has been told. */
function member(url, uid, room) {
  const one = client(url, { uid });
  one.room = one.push.group(room);
  one.told = [];
  one.room.on("presence", (change) => one.told.push(change));
  one.sees = () => [...one.room.members].sort();
  return one;
}

test("members come and go, by uid", async () => {
  const ann = member(server.url(), "ann", "room.a");
  await until(() => ann.sees().join() === "ann", "she is alone");
  const tom = member(server.url(), "tom", "room.a");
  const tomToo = member(server.url(), "tom", "room.a");
  await until(() => [ann, tom, tomToo].every((one) => one.sees().join() === "ann,tom"), "all see both");
  tom.push.close();
  const eve = member(server.url(), "eve", "room.a");
  await until(() => [ann, tomToo, eve].every((one) => one.sees().join() === "ann,eve,tom"), "he is there by his other tab");
  tomToo.room.leave();
  await until(() => [ann, eve].every((one) => one.sees().join() === "ann,eve"), "he has left");
  assert.deepEqual(tomToo.sees(), []);
  const changes = ann.told.flatMap(({ joined, left }) => [...joined.map((uid) => "+" + uid), ...left.map((uid) => "-" + uid)]);
  assert.deepEqual(changes, ["+ann", "+tom", "+eve", "-tom"]);
  assert.deepEqual([ann.errors, eve.errors], [[], []]);
});

test("after a cut only what has changed is told", async () => {
  const far = member(server.url(proxy.port), "far", "room.b");
  const stays = member(server.url(), "stays", "room.b");
  const goes = member(server.url(), "goes", "room.b");
  await until(() => far.sees().length === 3, "all are there");
  proxy.down = true;
  await cut(far, proxy);
  assert.deepEqual(far.sees(), ["far", "goes", "stays"], "what it knew is not forgotten");
  const before = far.told.length;
  goes.push.close();
  const comes = member(server.url(), "comes", "room.b");
  await until(() => stays.sees().join() === "comes,stays", "they have changed");
  proxy.down = false;
  await until(() => far.sees().join() === "comes,far,stays", "it sees who is there now");
  assert.deepEqual(far.told.slice(before), [{ joined: ["comes"], left: ["goes"] }]);
  for (const one of [far, stays, comes]) one.push.close();
});

test("ten thousand are there, and then half of them", async (t) => {
  const MANY = 10_000;
  const roomy = await Server.start({ top: 'max_connections = 15000\nlogin_timeout = "2m"', tables: ROOMS.replace("GRACE", "0s"), flags: ["--listen", "text://127.0.0.1:0=push"] });
  t.after(() => roomy.stop());
  const crowd = [];
  // By lines of text, which cost little; a back end puts them in.
  for (let n = 0; n < MANY; n++) {
    const one = dial(roomy.others[0], "127.0.0.1");
    one.on("error", () => {});
    one.write(`c${n}\n`);
    crowd.push(one);
    if (n % 200 === 199) await new Promise((resolve) => one.once("connect", resolve));
  }
  t.after(() => crowd.forEach((one) => one.destroy()));
  const bound = async () => (await roomy.api("stats")).cores.reduce((sum, core) => sum + core.bound, 0);
  await until(async () => (await bound()) >= MANY, "all are there");
  for (let n = 0; n < MANY; n += 1000) {
    await roomy.api("batch", Array.from({ length: 1000 }, (_, at) => ({ join: { group: "room.d", uid: `c${n + at}` } })));
  }
  const one = member(roomy.url(), "watches", "room.d");
  await until(() => one.room.members.size === MANY + 1, "it sees all");
  for (const gone of crowd.splice(MANY / 2)) gone.destroy();
  await until(() => one.room.members.size === MANY / 2 + 1, "it sees who has stayed");
  const wanted = Array.from({ length: MANY / 2 }, (_, n) => "c" + n).concat("watches").sort();
  assert.deepEqual(one.sees(), wanted);
  assert.deepEqual(one.errors, []);
  one.push.close();
});

test("a list of many pages is whole, while they come and go", async () => {
  const random = seeded();
  const many = [];
  for (let n = 0; n < 150; n++) many.push(member(server.url(), "m" + n, "room.c"));
  await until(() => many.every(({ room }) => room.joined), "all are in");
  const one = member(server.url(), "watches", "room.c");
  const there = new Set(many.map(({ push }) => push.uid));
  for (let n = 0; n < 50; n++) {
    const which = Math.floor(random() * many.length);
    const { room, push } = many[which];
    if (there.delete(push.uid)) room.leave();
    else {
      there.add(push.uid);
      many[which].room = push.group("room.c");
    }
  }
  there.add("watches");
  const wanted = [...there].sort().join();
  await until(() => one.sees().join() === wanted, "it sees who is there");
  for (const { push } of [one, ...many]) push.close();
});
