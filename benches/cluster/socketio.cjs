// Two socket.io servers with the sharded adapter on one Redis: the first emits to rooms, in which clients of the other are.
// Arguments: Redis' port, pushes, uids, bytes of a push, Redis' process. Prints one line of JSON.
const { fork } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");

const [port, count, uids, bytes, redisPid] = process.argv.slice(2).map(Number);

async function server() {
  const { Server } = require("socket.io");
  const { createClient } = require("redis");
  const { createShardedAdapter } = require("@socket.io/redis-adapter");
  const publisher = createClient({ url: `redis://127.0.0.1:${port}` });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const http = createServer();
  const io = new Server(http, { adapter: createShardedAdapter(publisher, subscriber, { subscriptionMode: "dynamic-private" }) });
  io.on("connection", (one) => one.join(one.handshake.auth.uid));
  await new Promise((done) => http.listen(0, "127.0.0.1", done));
  return { io, port: http.address().port };
}

function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "ascii").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function child() {
  const { port } = await server();
  process.send({ port });
}

async function main() {
  const { io } = await server();
  const last = fork(__filename, [...process.argv.slice(2)], { env: { ...process.env, CHILD: "server" } });
  const { port: at } = await new Promise((done) => last.once("message", done));
  const clients = fork(__filename, [...process.argv.slice(2), String(at)], { env: { ...process.env, CHILD: "clients" } });
  await new Promise((done) => clients.once("message", done));
  await new Promise((done) => setTimeout(done, 1000));
  const pad = "x".repeat(bytes);
  const finished = (kind, wanted) => new Promise((done) => {
    clients.on("message", function listen(it) {
      if (it.kind === kind) { clients.off("message", listen); done(it); }
    });
    clients.send({ kind, wanted });
  });
  async function flood(n) {
    const over = finished("count", n);
    for (let number = 0; number < n; number++) {
      io.to(`u${number % uids}`).emit("m", pad);
      if (number % 256 === 255) await new Promise(setImmediate);
    }
    await over;
  }
  await flood(count / 10);
  const before = [process.pid, last.pid, redisPid].map(cpu);
  const start = process.hrtime.bigint();
  await flood(count);
  const took = Number(process.hrtime.bigint() - start) / 1e9;
  const spent = [process.pid, last.pid, redisPid].map((pid, nth) => ((cpu(pid) - before[nth]) / count) * 1e6);
  const times = [];
  for (let nth = 0; nth < 1000; nth++) {
    const over = finished("count", 1);
    await new Promise((done) => setTimeout(done, 1));
    const begin = process.hrtime.bigint();
    io.to("u0").emit("m", pad);
    const { at: end } = await over;
    times.push(Number(BigInt(end) - begin) / 1e6);
  }
  times.sort((one, other) => one - other);
  console.log(JSON.stringify({ rate: count / took, first: spent[0], last: spent[1], redis: spent[2],
    p50: times[500], p99: times[990] }));
  last.kill();
  clients.kill();
  process.exit(0);
}

async function sinks() {
  const { io } = require("socket.io-client");
  const at = process.argv.at(-1);
  let left = 0;
  process.on("message", (it) => { left += it.wanted; });
  let there = 0;
  for (let number = 0; number < uids; number++) {
    const one = io(`http://127.0.0.1:${at}`, { transports: ["websocket"], auth: { uid: `u${number}` }, forceNew: true });
    one.on("connect", () => { if (++there === uids) process.send({}); });
    one.on("m", () => {
      if (--left === 0) process.send({ kind: "count", at: String(process.hrtime.bigint()) });
    });
  }
}

({ server: child, clients: sinks }[process.env.CHILD] ?? main)();
