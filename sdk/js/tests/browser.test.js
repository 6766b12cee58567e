// In a page: headless Chromium, the script as published, another origin than the server's.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { JWT, PATIENCE, PUBLIC, Proxy, Server, token, until } from "./harness.js";

/** What is served besides the page below, from the repository's root. */
const FILES = ["/sdk/js/dist/ringpost.js", "/sdk/js/dist/ringpost.min.js", "/examples/browser/index.html"];
const file = (path) => readFileSync(new URL("../../.." + path, import.meta.url));
const FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PAGE = `<!doctype html><title>a page</title><script src="/sdk/js/dist/ringpost.min.js"></script><script>
  const got = [], gaps = [], states = [], errors = [], waits = [];
  let due;
  function begin(url, options) {
    if (options.token) { const { token } = options; options.token = () => token; }
    window.push = ringpost.connect(url, { storage: sessionStorage, ...options });
    push.on("message", ({ stream, group, data }) => got.push([group ?? stream, data.n]));
    push.on("gap", (gap) => gaps.push(gap));
    push.on("state", ({ state, wait }) => {
      states.push(state);
      if (state === "waiting") (waits.push(wait), (due = Date.now() + wait));
    });
    push.on("error", (error) => errors.push(String(error)));
  }
</script>`;

let pages, browser, server, origin;

before(async () => {
  pages = createServer((request, response) => {
    const path = request.url.replace(/\?.*/, "").replace(/\/$/, "/index.html");
    response.setHeader("Content-Type", path.endsWith(".js") ? "text/javascript" : "text/html; charset=utf-8");
    response.end(FILES.includes(path) ? file(path) : PAGE);
  });
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  origin = `http://localhost:${pages.address().port}`;
  server = await Server.start({ top: `origins = "${origin}"`, tables: PUBLIC });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: [...FLAGS, ...(process.getuid() ? [] : ["--no-sandbox"])] });
});
after(async () => {
  await browser?.close();
  pages?.close();
  await server?.stop();
});

/** A page that has connected. */
async function open(url, options) {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(origin);
  await page.evaluate(([url, options]) => begin(url, options), [url, options]);
  await page.waitForFunction(() => push.state === "open");
  return page;
}

const has = (page, count) => page.waitForFunction((count) => got.length >= count, count);

test("events of another origin, with a token in a field, cut and shown again", async (t) => {
  const strict = await Server.start({ top: `${JWT}origins = "${origin}"` });
  const proxy = await Proxy.start(strict.http, { noWebSockets: true });
  t.after(() => (proxy.stop(), strict.stop()));
  const page = await open(strict.url(proxy.port), { token: token("tom", { groups: ["kept.*"] }), groups: ["kept.a"], eventsAfter: 1 });
  assert.equal(await page.evaluate(() => push.byEvents), true);
  for (let n = 0; n < 20; n++) {
    await strict.tell(n % 2 ? { uid: "tom" } : { group: "kept.a" }, { n });
    if (n % 7 === 6) proxy.cut(n * 10);
  }
  await has(page, 20);
  const got = await page.evaluate(() => [got, gaps, errors]);
  const of = (name) => got[0].filter(([from]) => from === name).map(([, n]) => n);
  assert.deepEqual(of("uid"), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
  assert.deepEqual(of("kept.a"), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
  assert.deepEqual(got.slice(1), [[], []]);
  // Read and written amid a reload.
  await page.reload();
  await strict.tell({ group: "kept.a" }, { n: 20 });
  await page.evaluate(
    ([url, token]) => begin(url, { token, groups: ["kept.a"], eventsAfter: 1 }),
    [strict.url(proxy.port), token("tom", { groups: ["kept.*"] })],
  );
  await has(page, 1);
  assert.deepEqual(await page.evaluate(() => [got, gaps]), [[["kept.a", 20]], []]);
  await page.context().close();
});

test("a websocket of another origin: cut, reloaded, offline, hidden and closed", async (t) => {
  const proxy = await Proxy.start(server.push);
  t.after(() => proxy.stop());
  const url = server.url(proxy.port);
  const page = await open(url, { uid: "page", groups: ["kept.a"] });
  assert.equal(await page.evaluate(() => push.byEvents), false);
  for (let n = 0; n < 20; n++) {
    await server.tell(n % 2 ? { uid: "page" } : { group: "kept.a" }, { n });
    if (n % 7 === 6) proxy.cut(n * 10);
  }
  await has(page, 20);
  assert.deepEqual(await page.evaluate(() => [got.map(([, n]) => n).sort((a, b) => a - b), gaps, errors]), [[...Array(20).keys()], [], []]);

  const before = await page.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]));
  assert.equal(before.client, undefined, "a copy of this tab is to have a name of its own");
  await page.reload();
  const left = await page.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]));
  assert.equal(typeof left.client, "string", "and this one the name that it had");
  await server.tell({ uid: "page" }, { n: 20 });
  await page.evaluate(([url, options]) => begin(url, options), [url, { uid: "page", groups: ["kept.a"] }]);
  await has(page, 1);
  assert.deepEqual(await page.evaluate(() => [got, gaps]), [[["uid", 20]], []]);

  // The network goes where nobody is told of it: asked, it says nothing. Its return is not waited for.
  await page.waitForFunction(() => push.state === "open");
  proxy.freeze();
  proxy.down = true;
  await page.evaluate(() => dispatchEvent(new Event("offline")));
  await page.waitForFunction(() => states.includes("waiting"));
  await server.tell({ uid: "page" }, { n: 21 });
  for (const back of ["online", "visibilitychange"]) {
    // Many attempts, and then half a minute until the next.
    await page.evaluate(() => (Math.random = () => (waits.length < 8 ? 0 : 0.999)));
    await page.waitForFunction(() => push.state === "waiting" && waits.at(-1) > 25_000);
    proxy.down = false;
    await page.evaluate((back) => (back === "online" ? window : document).dispatchEvent(new Event(back)), back);
    await page.waitForFunction(() => push.state === "open");
    assert.ok(await page.evaluate(() => Date.now() < due), back);
    await page.evaluate(() => (waits.length = 0));
    proxy.down = back === "online";
    proxy.cut();
  }
  await has(page, 2);
  assert.deepEqual(await page.evaluate(() => [got, gaps, errors]), [[["uid", 20], ["uid", 21]], [], []]);

  await page.evaluate(() => push.close());
  await until(async () => (await server.api("uids/page")).connections === 0, "it is gone");
  await page.context().close();
});

test("a network that Chromium takes away and gives back is not waited for", async (t) => {
  const proxy = await Proxy.start(server.push);
  t.after(() => proxy.stop());
  const page = await open(server.url(proxy.port), { uid: "away", groups: ["kept.a"] });
  await page.evaluate(() => (Math.random = () => 0.999));
  await page.context().setOffline(true);
  assert.equal(await page.evaluate(() => navigator.onLine), false);
  proxy.cut();
  await server.tell({ uid: "away" }, { n: 1 });
  await page.waitForFunction(() => push.state === "waiting" && waits.at(-1) > 3_000);
  await page.context().setOffline(false);
  await page.waitForFunction(() => push.state === "open");
  await has(page, 1);
  assert.deepEqual(await page.evaluate(() => [got, gaps, errors]), [[["uid", 1]], [], []]);
  await page.context().close();
});

test("the page of examples/browser shows what comes, and who is there", async (t) => {
  const rooms = '[[groups]]\nname = "room"\npublic = true\npresence = true\npresence_grace = "0s"\n';
  const server = await Server.start({ top: `origins = "${origin}"`, tables: rooms });
  t.after(() => server.stop());
  const page = await (await browser.newContext()).newPage();
  const broken = [];
  page.on("pageerror", (error) => broken.push(String(error)));
  page.setDefaultTimeout(PATIENCE);
  await page.goto(`${origin}/examples/browser/?uid=tom&url=${encodeURIComponent(server.url())}`);
  await page.getByText("open", { exact: true }).waitFor();
  await server.tell({ uid: "tom" }, { hello: "tom" });
  await page.getByText('{"hello":"tom"}').waitFor();
  await server.tell({ group: "room" }, { hello: "everybody" });
  await page.getByText('{"hello":"everybody"}').waitFor();
  // Another tab comes and goes.
  const other = await page.context().newPage();
  await other.goto(`${origin}/examples/browser/?uid=ann&url=${encodeURIComponent(server.url())}`);
  for (const one of [page, other]) await one.getByText("ann, tom", { exact: true }).waitFor();
  await other.close();
  await page.locator("#members").getByText("tom", { exact: true }).waitFor();
  assert.deepEqual(broken, []);
  await page.context().close();
});
