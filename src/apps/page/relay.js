// The relay pane: clients that write to each other by uid.

import { Log, byId } from "./log.js";
import { Login } from "./login.js";

const WELCOME = "login success, your uid is ";

/** Starts the pane; `onArrival(uid, text)` hears everything that arrives while online. */
export function startRelay(listener, onArrival) {
  const log = new Log(byId("relay-log"));
  const to = byId("relay-to");
  const text = byId("relay-text");

  const login = new Login({
    name: "relay",
    field: "relay-uid",
    listener,
    hello: (uid) => uid,
    enter: "Connect",
    senders: ["relay-submit"],
    onState: () => {},
    onMessage: (message) => {
      const { link } = login;
      if (link.state === "connecting" && message.startsWith(WELCOME)) {
        log.add("note", message);
        return login.welcome(message.slice(WELCOME.length));
      }
      log.add(message.startsWith("error: ") ? "bad" : "in", message);
      onArrival(login.who, message);
    },
  });

  byId("relay-send").addEventListener("submit", (event) => {
    event.preventDefault();
    const uid = to.value.trim();
    if (!uid) return to.focus();
    // The server cuts at the first colon, so such an address would reach somebody else.
    if (uid.includes(":")) return log.add("bad", "not sent: a relay uid has no colon");
    if (!login.link.send(`${uid}:${text.value}`)) return log.add("bad", "not sent: connect first");
    log.add("out", text.value, uid);
    text.value = "";
    text.focus();
  });

  const uid = byId("relay-uid");
  if (listener.token) {
    const about = document.querySelector("#relay .about");
    about.textContent = "Your token says which uid you are; write to any other uid, or to all of them.";
  } else {
    uid.value ||= `guest-${100 + Math.floor(Math.random() * 900)}`;
  }
}
