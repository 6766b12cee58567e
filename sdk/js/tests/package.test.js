// What is published: its size, and that it can be installed, imported, required and compiled against.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const BYTES_MAX = 6_000;
let folder, packed;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "ringpost-package-"));
  // It is built already.
  const { stdout } = await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], { cwd: here("..") });
  [packed] = Object.values(JSON.parse(stdout));
  writeFileSync(join(folder, "package.json"), '{"name":"user","private":true}');
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(folder, packed.filename)], { cwd: folder });
});
after(() => rmSync(folder, { recursive: true }));

test("minified and gzipped it has at most 6 KB", () => {
  for (const file of ["ringpost.min.js", "ringpost.min.mjs"]) {
    const { length } = gzipSync(readFileSync(here(`../dist/${file}`)), { level: 9 });
    console.log(`${file}: ${length} bytes of ${BYTES_MAX}`);
    assert.ok(length <= BYTES_MAX, `${file} has ${length} bytes`);
  }
});

test("the server's page has what is built", () => {
  const [built, served] = ["../dist/ringpost.min.mjs", "../../../src/apps/page/ringpost.js"].map((path) => readFileSync(here(path)));
  assert.ok(built.equals(served), "after npm run build: cp sdk/js/dist/ringpost.min.mjs src/apps/page/ringpost.js");
});

test("it brings what it should and nothing else", () => {
  const files = packed.files.map(({ path }) => path).sort();
  assert.deepEqual(files, [
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "dist/ringpost.cjs",
    "dist/ringpost.cjs.map",
    "dist/ringpost.d.cts",
    "dist/ringpost.d.ts",
    "dist/ringpost.js",
    "dist/ringpost.js.map",
    "dist/ringpost.min.js",
    "dist/ringpost.min.mjs",
    "package.json",
  ]);
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(here("../package.json")));
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
});

test("it is imported, required, and a global", async () => {
  const look = "console.log(typeof connect, new PushError('x').code, new PushError('x') instanceof Error)";
  const node = (...args) => run(process.execPath, args, { cwd: folder });
  for (const args of [
    ["--input-type=module", "-e", `import { connect, PushError } from "ringpost"; ${look}`],
    ["--input-type=commonjs", "-e", `const { connect, PushError } = require("ringpost"); ${look}`],
    ["-e", `require("./node_modules/ringpost/dist/ringpost.min.js"); const { connect, PushError } = ringpost; ${look}`],
  ]) {
    assert.equal((await node(...args)).stdout, "function x true\n");
  }
});

test("its types are those of a module and of CommonJS", async () => {
  cpSync(here("usage"), join(folder, "usage"), { recursive: true });
  for (const name of ["ws", "@types"]) symlinkSync(here(`../node_modules/${name}`), join(folder, "node_modules", name));
  const compiler = here("../node_modules/typescript/bin/tsc");
  const { stdout } = await run(process.execPath, [compiler, "-p", join(folder, "usage"), "--listFiles"]).catch((error) => {
    throw new Error(error.stdout);
  });
  for (const file of ["ringpost.d.ts", "ringpost.d.cts"]) assert.ok(stdout.includes(`/ringpost/dist/${file}`), file);
});
