// A pane's login: the form, the state beside the title, and the sentence that says why.
//
// Relay and chat each have one. It owns their `Link`; the pane hears messages and changes of state, and tells whom
// the server has let in.

import { byId, speak } from "./log.js";
import { Link } from "./link.js";
import { askForToken } from "./token.js";

export class Login {
  /**
   * `name` is the pane's id, `field` its input, `listener` where it connects and whether a token is asked for there,
   * `hello(value)` the first message for a value, `senders` the buttons that need a connection.
   */
  constructor({ name, field, listener, hello, enter, senders, onState, onMessage }) {
    Object.assign(this, { name, hello, enter, onState });
    this.title = byId(`${name}-title`).textContent;
    this.input = byId(field);
    this.button = byId(`${name}-connect`);
    this.text = byId(`${name}-text`);
    this.senders = senders.map(byId);
    this.state = byId(`${name}-state`);
    this.why = byId(`${name}-why`);
    this.again = byId(`${name}-again`);
    if (listener.token) {
      // It says who we are, in chat too: there is no login after it.
      this.hello = (token) => `auth ${token}`;
      document.querySelector(`label[for=${field}]`).textContent = "Your token";
      askForToken(this.input);
    }
    /** Whom the server has let in. */
    this.who = "";
    /** The user has asked to be let in, and has not been answered. */
    this.entering = false;
    /** And has a message ready to be sent then. */
    this.ready = false;
    this.link = new Link({ url: listener.url, greeted: true, onState: () => this.changed(), onMessage });
    byId(`${name}-login`).addEventListener("submit", (event) => {
      event.preventDefault();
      // The Enter key asks to be in, never to leave.
      if (this.settled) this.open();
      else this.text.focus();
    });
    this.button.addEventListener("click", (event) => {
      if (this.settled) return;
      event.preventDefault();
      this.link.close();
    });
    // Whoever types on does not wait for the answer.
    this.text.addEventListener("keydown", ({ key }) => (this.ready ||= key === "Enter" && this.entering));
    this.again.addEventListener("click", () => this.open());
    setInterval(() => this.link.state === "waiting" && this.count(), 500);
    this.changed();
  }

  /** Whether the link is at rest and stays so until the user acts. */
  get settled() {
    return this.link.state === "idle" || this.link.state === "closed";
  }

  get value() {
    return this.input.value.trim();
  }

  open() {
    if (!this.value) return this.input.focus();
    this.entering = true;
    this.ready = false;
    this.text.focus();
    this.link.open(this.hello(this.value));
  }

  /** The server has let us in, by this name. */
  welcome(who) {
    this.who = who;
    this.link.welcome();
  }

  changed() {
    const { link, again } = this;
    const { state } = link;
    const online = state === "online";
    const at = document.activeElement;
    this.count();
    this.state.dataset.state = state;
    this.state.dataset.code = link.code ?? "";
    this.input.readOnly = !this.settled;
    this.button.textContent = this.settled ? this.enter : "Leave";
    this.button.type = this.settled ? "submit" : "button";
    this.button.classList.toggle("calm", !this.settled);
    // A button that goes away must not take the focus along.
    if ((!online && this.senders.includes(at)) || (at === again && state !== "waiting")) this.text.focus();
    for (const sender of this.senders) sender.disabled = !online;
    again.hidden = state !== "waiting";
    this.why.textContent = this.sentence();
    const answered = this.entering && (online || this.settled);
    if (answered) this.entering = false;
    // What was asked for was refused: it is to be mended.
    if (answered && !online && at === this.text) this.input.focus();
    if (answered && online && this.ready && this.text.value) this.text.form.requestSubmit();
    if (state !== "idle") speak(`${this.title}: ${state === "waiting" ? "waiting to reconnect" : state}. ${link.sentence}`);
    this.onState(state);
  }

  sentence() {
    const { link } = this;
    if (link.state === "online") return `You are ${this.who}, on ${link.url}`;
    if (link.state === "closed") return `${link.sentence} Not trying again by itself.`;
    return link.sentence || `Speaks to ${link.url}`;
  }

  count() {
    this.state.firstElementChild.textContent = this.link.label;
  }
}
