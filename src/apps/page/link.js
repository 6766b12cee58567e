// A websocket that comes back by itself.
//
// Owns one connection at a time, the states it goes through, and the wait between two attempts.
// Panes give it an address and a first message, and hear of states and messages.

import { doubt } from "./server.js";

/** The first wait may be this long, in milliseconds; each failure doubles it. */
const BACKOFF_FIRST_MS = 500;
/** No wait is longer. */
const BACKOFF_MAX_MS = 30_000;
/** A connection that held this long makes the next wait a short one again. */
const STEADY_MS = 5_000;
/** An attempt that has not opened by then has failed. */
const OPEN_TIMEOUT_MS = 10_000;
/** More than this waiting in the browser, and a message is turned down instead of queued. */
const BUFFERED_BYTES_MAX = 1 << 20;

/** After these the server has said no: coming back by itself would only be turned away again. */
const FINAL = new Map([
  [4001, "A newer connection of the same uid took its place"],
  [4002, "The uid is in use"],
  [4006, "The server refused the login"],
  [4007, "Kicked by the back end"],
  [4008, "The authorization expired"],
]);

const PASSING = new Map([
  [1001, "The server is stopping"],
  [1002, "The server saw a protocol error"],
  [1006, "The connection broke"],
  [1008, "The server's policy ended it"],
  [1009, "A message was too big"],
  [1011, "The server had an internal error"],
  [4003, "The connection was idle"],
  [4004, "The login came too late"],
  [4005, "This page read too slowly"],
]);

/** Why a connection has ended, in words. */
export function explain(code, reason, wasOnline) {
  if (code === 1006) return wasOnline ? PASSING.get(code) : "No answer from the server";
  return FINAL.get(code) ?? PASSING.get(code) ?? (reason || "The connection ended");
}

/** The links that wait for their next attempt. */
const waiting = new Set();

// The network is back: no need to sit out a long wait, but not all at the same moment either.
window.addEventListener("online", () => {
  for (const link of waiting) {
    link.failures = 0;
    link.wait();
  }
});

export class Link {
  /**
   * `onState(link)` is called at each change of `state`: idle, connecting, online, waiting, closed.
   * `onMessage(text)` is called for each message. With `greeted`, the link counts as online once
   * `welcome()` is called; without, as soon as the first message has been sent.
   */
  constructor({ url, greeted, onState, onMessage }) {
    Object.assign(this, { url, greeted, onState, onMessage });
    this.state = "idle";
    this.code = null;
    this.why = "";
    this.retryAt = 0;
    this.failures = 0;
    this.socket = null;
    this.timer = 0;
  }

  /** Connects and says `hello` as the first message, now and after each reconnection. */
  open(hello) {
    this.hello = hello;
    this.failures = 0;
    this.attempt();
  }

  /** Ends the connection because the user wants to. */
  close() {
    this.drop();
    this.become("idle", null, "");
  }

  /** Ends the connection because the server turned the login down in words. */
  refuse(why) {
    this.drop();
    this.become("closed", null, why);
  }

  /** The server has accepted the login. */
  welcome() {
    if (this.state !== "connecting") return;
    this.since = Date.now();
    this.become("online", null, "");
  }

  /** Sends a message; `false` if it did not leave. */
  send(text) {
    if (this.state !== "online" || this.socket.bufferedAmount > BUFFERED_BYTES_MAX) return false;
    this.socket.send(text);
    return true;
  }

  attempt() {
    this.drop();
    this.become("connecting", null, "");
    let socket;
    try {
      socket = new WebSocket(this.url);
    } catch {
      // An https page may not open ws://; trying again would not help.
      this.become("closed", null, `The browser refuses to open ${this.url}`);
      return;
    }
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.timer = setTimeout(() => this.ended(socket, 0, "No answer"), OPEN_TIMEOUT_MS);
    socket.onopen = () => {
      socket.send(this.hello);
      if (!this.greeted) {
        clearTimeout(this.timer);
        this.welcome();
      }
    };
    socket.onmessage = ({ data }) => {
      const text = typeof data === "string" ? data : `(binary, ${data.byteLength} bytes)`;
      this.onMessage(text);
      if (this.state === "online") clearTimeout(this.timer);
    };
    socket.onclose = ({ code, reason }) => this.ended(socket, code, reason);
  }

  ended(socket, code, reason) {
    if (socket !== this.socket) return;
    const wasOnline = this.state === "online";
    this.drop();
    if (FINAL.has(code)) {
      this.become("closed", code, FINAL.get(code));
      return;
    }
    // A server that lets us in and throws us out again at once must not be hammered either.
    if (wasOnline && Date.now() - this.since >= STEADY_MS) this.failures = 0;
    this.wait(code, explain(code, reason, wasOnline));
  }

  /** Full jitter: any moment up to the bound, so that a thousand pages do not return as one. */
  wait(code = this.code, why = this.why) {
    clearTimeout(this.timer);
    const bound = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.failures);
    const delay = Math.random() * bound;
    this.failures += 1;
    this.retryAt = Date.now() + delay;
    this.timer = setTimeout(() => this.attempt(), delay);
    this.become("waiting", code, why);
  }

  drop() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  become(state, code, why) {
    Object.assign(this, { state, code, why });
    if (state === "waiting") {
      waiting.add(this);
      doubt();
    } else {
      waiting.delete(this);
    }
    this.onState(this);
  }

  /** The state in a few words, for a label. */
  get label() {
    switch (this.state) {
      case "idle":
        return "offline";
      case "connecting":
        return "connecting";
      case "waiting":
        return `again in ${Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1000))} s`;
      default:
        return this.state;
    }
  }

  /** Why it is not online, with the close code if there was one. */
  get sentence() {
    return this.code ? `${this.why} (${this.code}).` : this.why && `${this.why}.`;
  }
}
