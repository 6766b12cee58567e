// What clients say reaches the back end, by its webhook.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { client, closeAll, Proxy, Server, until } from "./harness.js";

let server, proxy, backEnd;
const said = [];

before(async () => {
  backEnd = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    said.push(...JSON.parse(body).events.filter(({ event }) => event === "message"));
    response.end();
  });
  await new Promise((resolve) => backEnd.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${backEnd.address().port}/`;
  server = await Server.start({ tables: `[webhooks]\nurl = "${url}"\nsecret = "${"s".repeat(32)}"\nevents = "message"\nbatch_delay = "10ms"\n` });
  proxy = await Proxy.start(server.push);
});
after(async () => {
  closeAll();
  proxy?.stop();
  await server?.stop();
  backEnd?.close();
});

const url = () => server.url(proxy.port);
const of = (uid) => said.filter((one) => one.uid === uid);

test("what is sent comes in order, also what was sent before there was a connection", async () => {
  const one = client(url(), { uid: "order" });
  const values = [{ n: 1 }, [2], "three", 4, null, true];
  await Promise.all(values.map((value) => one.push.send(value)));
  await until(() => of("order").length === values.length, "all have come");
  assert.deepEqual(of("order").map(({ data }) => data), values);
  one.push.close();
});

test("what is not acknowledged at a cut has failed, or is sent anew with the same id", async () => {
  const one = client(url(), { uid: "cut" });
  await one.opened();
  proxy.deafen();
  const once = one.push.send({ n: 1 });
  const again = one.push.send({ n: 2 }, { again: true });
  await until(() => of("cut").length === 2, "both have come");
  proxy.cut();
  await assert.rejects(once, { code: "cut" });
  await again;
  await until(() => of("cut").length === 3, "the second has come again");
  const [, first, second] = of("cut");
  assert.deepEqual([first.data, second.data], [{ n: 2 }, { n: 2 }]);
  assert.equal(first.request, second.request);
  one.push.close();
});
