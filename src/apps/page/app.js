// The page's start: asks the server what it serves, and gives each pane its address.

import { byId, make } from "./log.js";
import { startChat } from "./chat.js";
import { setTextPort } from "./command.js";
import { arrived, startPush } from "./push.js";
import { startRelay } from "./relay.js";
import { startServer } from "./server.js";
import { startStatus } from "./status.js";

/** How long to wait before asking again, in milliseconds; the bound of a jittered wait. */
const ASK_AGAIN_MS = 5_000;

/** What to start the server with where a pane has no listener; `--listen` replaces the defaults. */
const PORTS = { relay: 1234, push: 1235, chat: 9090 };

start();

async function start() {
  const listeners = await askedFor("/listeners.json");
  const of = (app) => listenerOf(listeners, app);
  setTextPort(listeners.find(({ app, url }) => app === "push-backend" && /^text:/.test(url)));

  if (of("relay")) startRelay(of("relay"), heardByRelay);
  if (of("chat")) startChat(of("chat"));
  startPush(of("push"));
  startStatus();
  for (const app of Object.keys(PORTS)) if (!of(app)) showAbsent(app);
  startServer();
}

/** A push reaches relay connections too, so the relay pane may be among those who got it. */
function heardByRelay(uid, message) {
  arrived({ connection: "relay", uid, name: `${uid} (relay)` }, message);
}

/** Fetches until it works: the page may have come out of a cache while the server restarts. */
async function askedFor(path) {
  for (;;) {
    try {
      const response = await fetch(path, { cache: "no-store" });
      const value = await response.json();
      if (response.ok && Array.isArray(value)) return value;
    } catch {
      // The same wait as for an answer that makes no sense.
    }
    const server = byId("server");
    server.dataset.state = "waiting";
    server.textContent = "The server does not answer; asking again…";
    await new Promise((done) => setTimeout(done, 500 + Math.random() * ASK_AGAIN_MS));
  }
}

/** A websocket listener: its address as this browser can reach it, and whether it asks for a token. */
function listenerOf(listeners, app) {
  const found = listeners.find((one) => one.app === app && /^(ws|websocket)s?:/.test(one.url));
  if (!found) return null;
  const url = new URL(found.url.replace(/^websocket/, "ws"));
  // A wildcard means the host the page came from.
  if (["0.0.0.0", "[::]"].includes(url.hostname)) url.hostname = location.hostname;
  return { url: url.href.replace(/\/$/, ""), token: found.token === true };
}

/** Says that an app is not served over websocket here, and how to have it. */
function showAbsent(app) {
  const box = byId(`${app}-absent`);
  const command = `ringpost serve --listen websocket://127.0.0.1:${PORTS[app]}=${app} --listen http://127.0.0.1:8080=page`;
  box.append(
    make("strong", {}, "Not served here"),
    make("p", {}, "This server has no websocket listener for it. Start one with"),
    make("code", {}, command),
  );
  box.hidden = false;
  byId(app).classList.add("lacks");
  if (app === "push") {
    for (const id of ["receiver-form", "receivers"]) byId(id).hidden = true;
    return;
  }
  for (const element of byId(app).querySelectorAll("form, .why, .log, .room, .hint")) {
    element.hidden = true;
  }
  byId(`${app}-state`).firstElementChild.textContent = "not served";
}
