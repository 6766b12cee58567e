// What needs no server: waits, close codes, positions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { seeded, storage } from "./harness.js";

/** A module of the source by itself. */
async function source(name) {
  const entry = fileURLToPath(new URL(`../src/${name}.ts`, import.meta.url));
  const { outputFiles } = buildSync({ entryPoints: [entry], bundle: true, format: "esm", write: false });
  return import("data:text/javascript;base64," + Buffer.from(outputFiles[0].contents).toString("base64"));
}

const { isFinal, waitBefore } = await source("backoff");
const { covers, keyOf, Positions } = await source("positions");
const { Emitter } = await source("emitter");

test("a wait is by chance up to a bound that doubles, and that has a bound", () => {
  for (const [failures, bound] of [[0, 500], [1, 1000], [3, 4000], [6, 30_000], [5000, 30_000]]) {
    assert.equal(waitBefore(failures, 0, () => 0), 0);
    assert.equal(waitBefore(failures, 0, () => 1), bound);
    assert.equal(waitBefore(failures, 0, () => 0.5), bound / 2);
  }
});

test("who is asked to come later comes no sooner, and not all at once", () => {
  assert.equal(waitBefore(0, 5, () => 0), 5000);
  assert.equal(waitBefore(0, 5, () => 1), 7500);
  assert.equal(waitBefore(6, 1, () => 1), 30_000);
});

test("some ends are for good", () => {
  const codes = [1000, 1001, 1002, 1006, 1008, 1009, 1011, 1013, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008];
  assert.deepEqual(codes.filter(isFinal), [4001, 4002, 4006, 4007]);
});

test("each position is taken once, and only forward in the same life of a stream", () => {
  const random = seeded();
  const positions = new Positions(undefined, "x", "tom");
  const taken = [];
  for (let n = 0; n < 1000; n++) {
    const offset = 1 + Math.floor(random() * 400);
    if (positions.take("uid", "aaaaaaaaaa:" + offset)) taken.push(offset);
  }
  assert.deepEqual(taken, [...new Set(taken)].sort((a, b) => a - b));
  assert.ok(positions.take("uid", "bbbbbbbbbb:1"), "another life of the stream");
  assert.ok(positions.take("all", "aaaaaaaaaa:1"), "another stream");
  assert.equal(covers("aaaaaaaaaa:10", "aaaaaaaaaa:9"), true);
  assert.notEqual(keyOf("group", "uid"), keyOf("uid"));
  assert.notEqual(keyOf("group", "all"), keyOf("all"));
});

test("groups may have any names", () => {
  const kept = storage();
  const positions = new Positions(kept, "x", "tom");
  for (const name of ["__proto__", "constructor", "uid", "", " "]) {
    assert.equal(positions.get(keyOf("group", name)), undefined, name);
    positions.set(keyOf("group", name), "aaaaaaaaaa:1");
    assert.equal(positions.get(keyOf("group", name)), "aaaaaaaaaa:1", name);
  }
  positions.save(true);
  assert.equal(new Positions(kept, "x", "tom").get(keyOf("group", "__proto__")), "aaaaaaaaaa:1");
});

test("a storage that holds rubbish, or throws, is none", () => {
  for (const item of ["", "{", "null", "7", '"x"', "[]", '{"positions":7}']) {
    const positions = new Positions({ getItem: () => item, setItem() {} }, "x", "tom");
    assert.equal(positions.get("uid"), undefined, item);
    assert.ok(positions.take("uid", "aaaaaaaaaa:1"), item);
  }
  const fail = () => {
    throw new Error("not allowed here");
  };
  const positions = new Positions({ getItem: fail, setItem: fail }, "x", "tom");
  assert.ok(positions.take("uid", "aaaaaaaaaa:1"));
  positions.save(true);
});

test("another's position is of no use, and everybody's is", () => {
  const kept = storage();
  const first = new Positions(kept, "x", "tom");
  for (const key of ["uid", "all", "group news"]) first.set(key, "aaaaaaaaaa:3");
  first.client = "c";
  first.save(true);
  const second = new Positions(kept, "x", "ann");
  assert.deepEqual(["uid", "all", "group news"].map((key) => second.get(key)), [undefined, "aaaaaaaaaa:3", "aaaaaaaaaa:3"]);
  assert.equal(second.client, "c");
});

test("listeners that throw, fail later, or take themselves off stop no other", async () => {
  const emitter = new Emitter();
  const got = [];
  const failed = [];
  emitter.on("x", () => {
    throw new Error("one");
  });
  emitter.on("x", async () => {
    throw new Error("two");
  });
  const off = emitter.on("x", (event) => {
    got.push(event);
    off();
  });
  emitter.on("x", (event) => got.push(event));
  for (const n of [1, 2]) emitter._emit("x", n, (error) => failed.push(error.message));
  await new Promise(setImmediate);
  assert.deepEqual(got, [1, 1, 2]);
  assert.deepEqual(failed.sort(), ["one", "one", "two", "two"]);
});
