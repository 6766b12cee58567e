// The chat pane: one room, its roster, and messages from person to person.
//
// The server hands a message over without a sender, so the page writes the sender's name into the
// text. It is what the sender claims, and is shown as the text it is. Our own name is what the server made of the one
// we asked for: it takes what a name may have, and leaves out the rest.

import { Log, byId, foreign, make, speak } from "./log.js";
import { Login } from "./login.js";

/** Roster entries shown; a room may hold thousands. */
const ROSTER_MAX = 200;
/** More comings and goings than this in one roster are told as a number. */
const TOLD_MAX = 4;

export function startChat(listener) {
  const log = new Log(byId("chat-log"));
  const text = byId("chat-text");
  const roster = new Roster(log, () => text.focus());

  const login = new Login({
    name: "chat",
    field: "chat-name",
    listener,
    hello: (name) => `login:${name}`,
    enter: "Enter",
    senders: ["chat-submit", "chat-nihao"],
    onState: (state) => state !== "online" && roster?.clear(),
    onMessage: (message) => received(message, login, log, roster),
  });

  byId("chat-send").addEventListener("submit", (event) => {
    event.preventDefault();
    if (login.link.state !== "online") return log.add("bad", "not sent: enter the room first");
    if (!roster.to) return log.add("bad", "not sent: pick someone on the roster first");
    if (!login.link.send(`chat:<${roster.to}>:${login.who}: ${text.value}`)) {
      return log.add("bad", "not sent: the connection is too slow");
    }
    log.add("out", text.value, roster.users.get(roster.to));
    text.value = "";
    text.focus();
  });
  byId("chat-nihao").addEventListener("click", () => {
    if (!login.link.send("msg:nihao")) return log.add("bad", "not sent: enter the room first");
    log.add("out", "nihao", "the server");
  });
}

const WELCOME = "welcome ";

/** One message of the server: `msg:`, `notice:` or `users:`. */
function received(message, login, log, roster) {
  const [, kind, rest] = /^(\w+):([^]*)$/.exec(message) ?? [];
  if (kind === "users") return roster.update(rest, login.who);
  if (kind === "msg") {
    // Nobody else is heard before it.
    const welcome = login.link.state === "connecting" && rest.startsWith(WELCOME);
    if (welcome) login.welcome(rest.slice(WELCOME.length));
    return log.add(welcome ? "note" : "in", rest);
  }
  if (kind !== "notice") return log.add("bad", message);
  // The welcome that follows says by which name.
  if (rest === "success") return;
  const why = rest.replace(/^error:? ?/, "");
  log.add("bad", why);
  // A login refused in words leaves the connection open; there is nothing left to do with it.
  if (login.link.state === "connecting") login.link.refuse(why);
}

class Roster {
  constructor(log, onPick) {
    Object.assign(this, { log, onPick, users: new Map(), to: "", fresh: true });
    this.list = byId("chat-roster");
    this.rows = new Map();
    this.list.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (!button) return;
      this.pick(button.dataset.address);
      this.onPick();
    });
    this.list.addEventListener("keydown", (event) => this.step(event));
  }

  clear() {
    this.users = new Map();
    this.fresh = true;
    this.show("");
    this.pick("");
  }

  /** Takes a new roster, tells who came and went, and keeps the rows that stay. */
  update(json, me) {
    let users;
    try {
      users = new Map(Object.entries(JSON.parse(json)).map(([at, name]) => [at, String(name)]));
    } catch {
      return this.log.add("bad", "the server sent a roster that cannot be read");
    }
    const came = [...users].filter(([at]) => !this.users.has(at));
    const went = [...this.users].filter(([at]) => !users.has(at));
    if (!this.fresh) {
      this.tell(came, "came in");
      this.tell(went, "left");
    }
    this.fresh = false;
    this.users = users;
    this.show(me);
    if (this.to && !users.has(this.to)) this.pick("");
  }

  tell(who, did) {
    if (who.length > TOLD_MAX) return this.log.add("note", `${who.length} people ${did}`);
    for (const [, name] of who) this.log.add("note", `${name} ${did}`);
  }

  show(me) {
    const names = [...this.users.values()];
    const mine = names.filter((name) => name === me).length === 1 ? me : null;
    const shownUsers = [...this.users].slice(0, ROSTER_MAX);
    byId("chat-count").textContent = this.users.size;
    for (const [at, row] of this.rows) {
      if (!shownUsers.some(([address]) => address === at)) {
        row.remove();
        this.rows.delete(at);
      }
    }
    for (const [at, name] of shownUsers) {
      if (!this.rows.has(at)) this.rows.set(at, this.list.appendChild(person(at, name, mine)));
    }
    this.more?.remove();
    const hidden = this.users.size - shownUsers.length;
    if (hidden > 0) {
      this.more = make("li", { className: "more" }, `and ${hidden} more`);
      this.list.append(this.more);
    }
    this.rove();
  }

  pick(address) {
    this.to = address;
    const to = byId("chat-to");
    to.dataset.to = address;
    to.replaceChildren(address ? foreign(this.users.get(address), "") : "nobody");
    for (const [at, row] of this.rows) {
      row.firstElementChild.setAttribute("aria-pressed", at === address);
    }
    if (address) speak(`Writing to ${this.users.get(address)}`);
    this.rove();
  }

  /** One stop for the Tab key however many people there are; arrows go on from there. */
  rove() {
    const buttons = [...this.rows.values()].map((row) => row.firstElementChild);
    const focused = buttons.find((button) => button === document.activeElement);
    const stop = focused ?? this.rows.get(this.to)?.firstElementChild ?? buttons[0];
    for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
  }

  step(event) {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const buttons = [...this.rows.values()].map((row) => row.firstElementChild);
    const at = buttons.indexOf(document.activeElement);
    if (!by || at < 0) return;
    event.preventDefault();
    buttons[(at + by + buttons.length) % buttons.length].focus();
    this.rove();
  }
}

function person(address, name, mine) {
  const button = make(
    "button",
    { type: "button", title: `${name} at ${address}`, dataset: { address, name } },
    foreign(name, "name"),
    make("span", { className: "address" }, name === mine ? "you" : address),
  );
  button.setAttribute("aria-pressed", "false");
  return make("li", {}, button);
}
