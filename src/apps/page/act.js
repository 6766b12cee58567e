// What the console does: push to a uid, a group, a connection or all; kick. Each with its answer, in a log.

import { post } from "./api.js";
import { Log, byId, foreign, make } from "./log.js";

/** How long a button that kicks waits to be pressed again, in milliseconds. */
const ARMED_MS = 5_000;

const kindInput = byId("act-kind");
const nameInput = byId("act-name");
const formInput = byId("act-form-of");
const keepInput = byId("act-keep");
const messageInput = byId("act-message");

let log;
let changed = () => {};

/** Starts the form; calls back when something may have changed. */
export function startAct(onChange) {
  log = new Log(byId("act-log"));
  changed = onChange;
  const fit = () => {
    const all = kindInput.value === "all";
    nameInput.disabled = all;
    nameInput.required = !all;
    nameInput.placeholder = all ? "everybody" : "";
    // A message to one connection is not kept.
    keepInput.disabled = kindInput.value === "connection";
  };
  kindInput.addEventListener("change", fit);
  byId("act-form").addEventListener("submit", (event) => {
    event.preventDefault();
    push();
  });
  fit();
}

/** Has the form push to this next. */
export function chooseReceiver(kind, name) {
  kindInput.value = kind;
  kindInput.dispatchEvent(new Event("change"));
  nameInput.value = name;
  byId("act").scrollIntoView({ block: "nearest" });
  messageInput.focus();
}

/** Has a button kick what it is for, when it is pressed twice. */
export function kicksBy(button, subject) {
  const words = button.textContent;
  let timer = 0;
  const disarm = () => {
    clearTimeout(timer);
    delete button.dataset.armed;
    button.textContent = words;
  };
  button.addEventListener("blur", disarm);
  button.addEventListener("click", () => {
    const { kind, name } = subject();
    if (button.dataset.armed) {
      disarm();
      return kick(kind, name);
    }
    button.dataset.armed = "yes";
    button.textContent = kind === "uid" ? "Really? All of it" : "Really?";
    timer = setTimeout(disarm, ARMED_MS);
  });
}

async function kick(kind, name) {
  const line = log.add("out", "kick", name);
  await answer(line, async () => {
    const { connections } = await post("/v1/kick", { [kind]: name });
    return { good: connections > 0, words: connections ? `closed ${named(connections)}` : "nobody was there" };
  });
}

async function push() {
  const kind = kindInput.value;
  const name = kind === "all" ? "all" : nameInput.value.trim();
  const text = messageInput.value;
  const line = log.add("out", text, name);
  await answer(line, async () => {
    const body = formInput.value === "data" ? { data: parsed(text) } : { text };
    if (kind !== "all") body[kind] = name;
    if (keepInput.value && kind !== "connection") body.keep = keepInput.value === "no" ? false : keepInput.value;
    const { verdicts, connections, positions } = await post(kind === "all" ? "/v1/broadcast" : "/v1/push", body);
    messageInput.value = "";
    const verdict = verdicts?.[name] ?? (connections ? "delivered" : "offline");
    const at = positions ? `; kept as ${Object.values(positions).join(", ")}` : "";
    return { good: connections > 0 || verdict === "kept", words: `${verdict}: ${named(connections)}${at}` };
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`this is no JSON: ${error.message}`);
  }
}

const named = (connections) => (connections === 1 ? "1 connection" : `${connections} connections`);

/** Shows what came of it below its line. */
async function answer(line, action) {
  const words = make("p", { className: "answer", dataset: { verdict: "waiting" } }, "waiting…");
  line.lastElementChild.append(words);
  let result;
  try {
    const { good, words: told } = await action();
    result = { verdict: good ? "delivered" : "offline", told };
  } catch (error) {
    result = { verdict: "error", told: `fail: ${error.message}` };
  }
  log.change(() => {
    words.dataset.verdict = result.verdict;
    words.replaceChildren(foreign(result.told));
  });
  changed();
}
