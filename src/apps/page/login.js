// A pane's login: the form, the state beside the title, and the sentence that says why.
//
// Relay and chat each have one. It owns their `Link`; the pane hears messages and changes of state.

import { byId, speak } from "./log.js";
import { Link } from "./link.js";

export class Login {
  /** `name` is the pane's id, `field` its input, `hello(value)` the first message for a value. */
  constructor({ name, field, url, hello, enter, onState, onMessage }) {
    Object.assign(this, { name, hello, enter, onState });
    this.title = byId(`${name}-title`).textContent;
    this.input = byId(field);
    this.button = byId(`${name}-connect`);
    this.state = byId(`${name}-state`);
    this.why = byId(`${name}-why`);
    this.again = byId(`${name}-again`);
    this.link = new Link({ url, greeted: true, onState: () => this.changed(), onMessage });
    byId(`${name}-login`).addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.settled) this.open();
      else this.link.close();
    });
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
    if (this.value) this.link.open(this.hello(this.value));
    else this.input.focus();
  }

  changed() {
    const { link, again } = this;
    const { state } = link;
    // The button goes away under the finger that pressed it; the focus must not go with it.
    const leaving = document.activeElement === again && state !== "waiting";
    this.count();
    this.state.dataset.state = state;
    this.state.dataset.code = link.code ?? "";
    this.input.readOnly = !this.settled;
    this.button.textContent = this.settled ? this.enter : "Leave";
    this.button.classList.toggle("calm", !this.settled);
    again.hidden = state !== "waiting";
    this.why.textContent = this.sentence();
    if (leaving) this.button.focus();
    if (state !== "idle") speak(`${this.title}: ${state === "waiting" ? "waiting to reconnect" : state}. ${link.sentence}`);
    this.onState(state);
  }

  sentence() {
    const { link } = this;
    if (link.state === "online") return `You are ${this.value}, on ${link.url}`;
    if (link.state === "closed") return `${link.sentence} Not trying again by itself.`;
    return link.sentence || `Speaks to ${link.url}`;
  }

  count() {
    this.state.firstElementChild.textContent = this.link.label;
  }
}
