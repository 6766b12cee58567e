// The real server, and a proxy before it that cuts connections.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as dial, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import { connect } from "ringpost";

export const PATIENCE = 20_000;
const BINARY = process.env.SDK_BIN;
if (!BINARY) throw new Error("SDK_BIN is to name the server's binary");

// Clients wait by chance, up to half a minute after many cuts. Here they have luck.
const { random } = Math;
Math.random = () => random() / 50;

/** A secret for tokens. */
export const SECRET = "a secret of more than thirty-two characters";

const CONFIG = `
close_timeout = "1s"
[[history]]
kind = "uid"
size = 100000
ttl = "10m"
[[history]]
kind = "group"
name = "kept.*"
size = 100000
ttl = "10m"
[[history]]
kind = "all"
size = 1000
ttl = "10m"
`;

/** Any client may join any group. */
export const PUBLIC = '[[groups]]\nname = "*"\npublic = true\n';

/** One server on ports of its own. */
export class Server {
  /** `top` are keys of the configuration, `tables` what stands behind them. */
  static async start({ top = "", tables = "", cores = 2, flags = [], scheme = "websocket" } = {}) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "ringpost-sdk-"));
    const config = join(server.folder, "ringpost.toml");
    writeFileSync(join(server.folder, "keys"), SECRET + "\n", { mode: 0o600 });
    writeFileSync(config, `${top.replace("KEYS", join(server.folder, "keys"))}\n${CONFIG}\n${tables}`, { mode: 0o600 });
    const listeners = [`${scheme}://127.0.0.1:0=push`, "http://127.0.0.1:0=page"].flatMap((url) => ["--listen", url]);
    const args = ["serve", "--config", config, "--cores", String(cores), ...listeners, ...flags];
    server.process = spawn(BINARY, args, { stdio: ["ignore", "pipe", "pipe"] });
    server.log = "";
    server.process.stderr.on("data", (piece) => (server.log += piece));
    server.ended = new Promise((resolve) => server.process.on("exit", resolve));
    const found = {};
    for await (const line of createInterface(server.process.stdout)) {
      const [, app, port] = /^\s*(\S+)\s+\w+:\/\/\S*?:(\d+)/.exec(line) ?? [];
      if (app) (found[app] ??= []).push(+port);
      if (found.push && found.page) break;
    }
    if (!found.page) await server.ended;
    if (!found.page) throw new Error(`the server ended at its start:\n${server.log}`);
    [[server.push, ...server.others], [server.http]] = [found.push, found.page];
    return server;
  }

  url(port = this.push) {
    return `ws://127.0.0.1:${port}/`;
  }

  async api(path, body) {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(`http://127.0.0.1:${this.http}/v1/${path}`, body && options);
    const answer = await response.json();
    if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** To a uid, a group, or everybody. */
  tell(to, data) {
    if (to.all) return this.api("broadcast", { data });
    return this.api("push", { ...to, data });
  }

  online(uid) {
    return until(async () => (await this.api(`uids/${encodeURIComponent(uid)}`)).connections > 0, `${uid} is online`);
  }

  /** From now on tokens are signed by another key. */
  async rekey(secret) {
    writeFileSync(join(this.folder, "keys"), secret + "\n");
    const { length } = this.log;
    this.process.kill("SIGHUP");
    await until(() => this.log.length > length, "it says that it has read its files");
  }

  async stop() {
    this.process.kill("SIGTERM");
    await this.ended;
    rmSync(this.folder, { recursive: true });
  }
}

/** A token as the server's `auth = "jwt"` wants it. */
export function token(uid, { seconds = 3600, groups, secret = SECRET } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const claim = `${part({ alg: "HS256" })}.${part({ sub: uid, exp, groups, jti: random() })}`;
  return `${claim}.${createHmac("sha256", secret).update(claim).digest("base64url")}`;
}

export const JWT = 'auth = "jwt"\nauth_key_file = "KEYS"\n';

/** Before a port: it passes everything on, until it is told otherwise. */
export class Proxy {
  static async start(to, { noWebSockets = false } = {}) {
    const proxy = Object.assign(new Proxy(), { to, pairs: new Set(), down: false, connections: 0 });
    proxy.server = createServer((client) => {
      proxy.connections++;
      if (proxy.down) return client.destroy();
      const server = dial(proxy.to, "127.0.0.1");
      const pair = [client, server];
      proxy.pairs.add(pair);
      const end = () => {
        // As where a cable is cut: nobody is told.
        if (pair.frozen) return;
        proxy.pairs.delete(pair);
        for (const one of pair) one.destroy();
      };
      for (const one of pair) one.on("error", end).on("close", end);
      client.on("data", (bytes) => {
        if (noWebSockets && /^GET .*\r\nupgrade: websocket/is.test(bytes.toString("latin1"))) return end();
        if (!pair.frozen) server.write(bytes);
      });
      server.on("data", (bytes) => {
        if (pair.frozen || pair.deaf) return;
        // Cut amid what the server says, as networks do.
        if (pair.left != null && (pair.left -= bytes.length) < 0) {
          client.write(bytes.subarray(0, bytes.length + pair.left), end);
          return server.pause();
        }
        client.write(bytes);
      });
    });
    await new Promise((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  /** Ends all connections, at once or after so many bytes more. */
  cut(after = 0) {
    for (const pair of [...this.pairs]) {
      if (after) pair.left = after;
      else for (const one of pair) one.destroy();
    }
  }

  /** From now on nothing passes in the connections that there are, not even their end. */
  freeze() {
    for (const pair of this.pairs) pair.frozen = true;
  }

  /** From now on what the server says does not arrive in these. */
  deafen() {
    for (const pair of this.pairs) pair.deaf = true;
  }

  stop() {
    this.server.close();
    this.cut();
  }
}

const clients = new Set();

/** All that are still open, for a test that has failed leaves some. */
export function closeAll() {
  for (const push of clients) push.close();
}

/** A client of this Node, with what it has been told. */
export function client(url, options = {}) {
  const push = connect(url, { WebSocket, ...options });
  clients.add(push);
  const heard = { messages: [], gaps: [], states: [], errors: [] };
  push.on("message", (message) => heard.messages.push(message));
  push.on("gap", (gap) => heard.gaps.push(gap));
  push.on("state", (change) => heard.states.push(change));
  push.on("error", (error) => heard.errors.push(error));
  return Object.assign(heard, { push, opened: () => opened(push) });
}

export function opened(push) {
  return until(() => push.state === "open", "it is open");
}

/** Cuts it, and waits until it has noticed. It may be back by then. */
export function cut({ states }, proxy) {
  const { length } = states;
  proxy.cut();
  return until(() => states.length > length, "it is cut");
}

/** Waits for something to be so. */
export async function until(condition, what, patience = PATIENCE) {
  for (const end = Date.now() + patience; Date.now() < end; await pause(10)) {
    const result = await condition();
    if (result) return result;
  }
  throw new Error(`it did not come true in time: ${what}`);
}

/** Something of which time is a part, with ever more of it: it is wrong if it never comes true. */
export async function patiently(times, trial) {
  for (const [nth, time] of times.entries()) {
    try {
      return await trial(time);
    } catch (error) {
      if (nth === times.length - 1) throw error;
      console.log(`not with ${time}: ${error.message}`);
    }
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Numbers by chance that a seed repeats (mulberry32); `SDK_SEED` repeats a run. */
export function seeded() {
  let state = +(process.env.SDK_SEED ?? Math.floor(random() * 2 ** 31));
  console.log(`SDK_SEED=${state}`);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What `localStorage` is in a page. */
export function storage() {
  const items = new Map();
  return { items, getItem: (key) => items.get(key) ?? null, setItem: (key, value) => items.set(key, value) };
}
