// The push pane: a console that pushes over HTTP, and receivers that show who got it.

import { Log, byId, foreign, make, shown, speak } from "./log.js";
import { asksForToken, startCommand } from "./command.js";
import { Receiver } from "./receiver.js";
import { onServer } from "./server.js";
import { askForToken, uidOf } from "./token.js";

/** Receivers that one page may open. */
const RECEIVERS_MAX = 12;
/** Pushes that still look for the receivers they reached. */
const RECENT_MAX = 20;
/** A message that comes later than this after a push is something else. */
const ARRIVAL_MS = 10_000;
/** A push without an answer by then has failed. */
const ANSWER_TIMEOUT_MS = 10_000;

const uidInput = byId("push-uid");
const textInput = byId("push-text");
const tokenInput = byId("push-token");
const submit = byId("push-submit");
const list = byId("receivers");

/** The latest pushes: what was sent, and where on this page it arrived. */
const recent = [];
let log;

/** Starts the pane; without a listener for receivers it can push all the same. */
export function startPush(listener) {
  log = new Log(byId("push-log"));
  byId("push-form").addEventListener("submit", (event) => {
    event.preventDefault();
    push(uidInput.value.trim(), textInput.value);
  });
  byId("receiver-form").addEventListener("submit", (event) => {
    event.preventDefault();
    listen(listener);
  });
  if (listener?.token) {
    askForToken(byId("receiver-uid"));
    list.dataset.empty = "No receiver yet. Each is a connection of its own that only listens, as the uid of its token.";
  }
  byId("push-token-field").hidden = !asksForToken();
  onServer((answers) => {
    if (!answers && document.activeElement === submit) textInput.focus();
    submit.disabled = !answers;
  });
  startCommand(uidInput, textInput, tokenInput);
}

/**
 * A message has arrived at one of the page's connections: is it one of our pushes? A push carries
 * no number, so it is known by its text and its uid; a connection gets each push once.
 */
export function arrived({ connection, uid, name = uid }, message) {
  const text = textOf(message);
  const since = Date.now() - ARRIVAL_MS;
  const push = recent.findLast(
    (one) =>
      one.text === text &&
      (one.uid === uid || one.uid === "all") &&
      one.at > since &&
      !one.got.has(connection),
  );
  if (!push) return;
  push.got.set(connection, name);
  showWhoGot(push);
}

/** A message as it was sent: the client reads JSON. */
function spoken({ data }) {
  if (typeof data === "string") return data;
  return data instanceof Uint8Array ? `(binary, ${data.byteLength} bytes)` : JSON.stringify(data);
}

/** What a message says: the text in the line of a back end, or else the message itself. */
function textOf(message) {
  try {
    const { text } = JSON.parse(message);
    return typeof text === "string" ? text : message;
  } catch {
    return message;
  }
}

async function push(uid, text) {
  if (!uid) return uidInput.focus();
  const line = log.add("out", text, uid);
  const answer = make("p", { className: "answer", dataset: { verdict: "waiting" } }, "waiting…");
  const got = make("p", { className: "got" });
  line.lastElementChild.append(answer, got);
  recent.push({ uid, text, at: Date.now(), got: new Map(), line: got });
  if (recent.length > RECENT_MAX) recent.shift();
  textInput.value = "";
  textInput.focus();
  const { verdict, words } = await ask(uid, text);
  log.change(() => {
    answer.dataset.verdict = verdict;
    answer.textContent = words;
  });
}

/** Asks the server to push, and puts its answer in words. */
async function ask(uid, text) {
  try {
    const headers = { "Content-Type": "application/json" };
    if (tokenInput.value) headers.Authorization = `Bearer ${tokenInput.value}`;
    const response = await fetch("/v1/push", {
      method: "POST",
      headers,
      body: JSON.stringify({ uid, text }),
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    // Only a server that asks for a token shows the place for one.
    if (response.status === 401) {
      byId("push-token-field").hidden = false;
      tokenInput.dispatchEvent(new Event("input"));
    }
    const { verdicts, connections, error } = await response.json();
    const verdict = verdicts?.[uid];
    if (verdict === "delivered") {
      const many = connections === 1 ? "1 connection" : `${connections} connections`;
      return { verdict, words: `ok: delivered to ${many}` };
    }
    if (verdict === "offline") return { verdict, words: "fail: offline, nobody holds this uid" };
    const message = error?.message ?? `the server answered ${response.status}`;
    return { verdict: "error", words: `fail: ${shown(String(message))}` };
  } catch {
    return { verdict: "error", words: "fail: no answer from the server" };
  }
}

function showWhoGot(push) {
  const times = new Map();
  for (const name of push.got.values()) times.set(name, (times.get(name) ?? 0) + 1);
  const names = [...times].map(([name, n]) => (n > 1 ? `${name} ×${n}` : name));
  log.change(() => {
    push.line.replaceChildren("on this page: ", foreign(names.join(", "), "names"));
  });
}

/** Opens one more receiver for the uid in the form. */
function listen(listener) {
  const input = byId("receiver-uid");
  const hello = input.value.trim();
  if (!hello || !listener) return input.focus();
  // A token is nobody's business but the server's.
  const uid = listener.token ? (uidOf(hello) ?? "a token") : hello;
  if (list.childElementCount >= RECEIVERS_MAX) {
    log.add("bad", `no more than ${RECEIVERS_MAX} receivers on one page`);
    return;
  }
  addReceiver(listener.url, uid, listener.token ? { token: hello } : { uid: hello });
  byId("push-uids").append(make("option", { value: uid }));
  uidInput.value ||= uid;
  uidInput.dispatchEvent(new Event("input"));
  input.value = "";
  input.focus();
}

function addReceiver(url, uid, who) {
  const state = make("span", { className: "pill" }, make("span"));
  const last = make("p", { className: "last" }, "listening");
  const count = make("span", { className: "count", title: "messages received" }, "0");
  const again = make("button", { type: "button", className: "small", hidden: true }, "Again");
  const remove = make("button", { type: "button", className: "small calm" }, "×");
  remove.setAttribute("aria-label", `Remove receiver ${uid}`);
  again.setAttribute("aria-label", `Connect receiver ${uid} again`);
  const row = make(
    "li",
    { dataset: { uid, count: 0, state: "idle" } },
    make("div", { className: "who" }, foreign(uid, "uid"), state),
    last,
    count,
    again,
    remove,
  );

  const receiver = new Receiver({
    url,
    who,
    onState: ({ state: now, code, sentence, label }) => {
      row.dataset.state = state.dataset.state = now;
      row.dataset.code = code ?? "";
      state.firstElementChild.textContent = label;
      again.hidden = now !== "closed" && now !== "waiting";
      last.textContent = now === "online" ? "listening" : sentence || "connecting";
      speak(`Receiver ${uid}: ${now}. ${sentence}`);
    },
    onMessage: (message) => {
      last.replaceChildren(foreign(textOf(spoken(message))));
      count.textContent = row.dataset.count = Number(row.dataset.count) + 1;
      flash(row);
      arrived({ connection: row, uid }, spoken(message));
    },
  });
  const counting = setInterval(() => {
    if (receiver.state === "waiting") state.firstElementChild.textContent = receiver.label;
  }, 500);
  again.addEventListener("click", () => {
    remove.focus();
    receiver.again();
  });
  remove.addEventListener("click", () => {
    clearInterval(counting);
    receiver.close();
    row.remove();
    byId("receiver-uid").focus();
  });
  list.append(row);
  list.scrollTop = list.scrollHeight;
}

/** Lights the row up once more, even while it is still fading from the last time. */
function flash(row) {
  row.getAnimations().forEach((animation) => animation.cancel());
  row.classList.remove("flash");
  requestAnimationFrame(() => row.classList.add("flash"));
}
