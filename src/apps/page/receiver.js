// A receiver's connection: the client of `sdk/js` as it is built (`ringpost.js`), with the states and words that the
// page's other connections have.

import { explain } from "./link.js";
import { connect } from "./ringpost.js";

/** What the client's states are called here. */
const STATES = { connecting: "connecting", open: "online", waiting: "waiting", closed: "closed" };

export class Receiver {
  /**
   * `who` is `{ uid }` or `{ token }`. `onState(receiver)` is called at each change of `state` (connecting, online,
   * waiting, closed), `onMessage(message)` for each message.
   */
  constructor({ url, who, onState, onMessage }) {
    Object.assign(this, { state: "connecting", code: null, why: "", retryAt: 0 });
    // Where websockets do not pass, events of this page's own port are listened to.
    this.push = connect(url, { ...who, events: new URL("/v1/events", location) });
    this.push.on("state", ({ state, code, reason, wait }) => {
      const wasOnline = this.state === "online";
      this.state = STATES[state];
      const isOver = this.state === "waiting" || this.state === "closed";
      this.code = isOver ? code : null;
      this.why = isOver ? explain(code, reason, wasOnline) : "";
      this.retryAt = Date.now() + (wait ?? 0);
      onState(this);
    });
    this.push.on("message", onMessage);
    // What the server refuses it also ends, which is told above.
    this.push.on("error", () => {});
  }

  /** Connects at once, also where the server has said no. */
  again() {
    this.push.reconnect();
  }

  close() {
    this.push.close();
  }

  /** The state in a few words, for a label. */
  get label() {
    if (this.state !== "waiting") return this.state;
    return `again in ${Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1000))} s`;
  }

  /** Why it is not online, with the close code if there was one. */
  get sentence() {
    return this.code ? `${this.why} (${this.code}).` : this.why && `${this.why}.`;
  }
}
