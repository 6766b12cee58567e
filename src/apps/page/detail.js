// The console's detail of what was picked: the connections of a uid, or the members of a group, and what is kept of it.

import { get, withQuery } from "./api.js";
import { chooseReceiver, kicksBy } from "./act.js";
import { byId, foreign, make } from "./log.js";
import { ago, bytes, count } from "./units.js";

/** Kept messages shown, the newest first. */
const KEPT = 30;
/** How often the detail is asked for, in milliseconds. */
const ASK_MS = 3_000;

const list = byId("detail-list");
const kept = byId("kept");

/** What is looked at: `{ kind: "uid" | "group" | "connection", name }`. */
let subject = null;
let timer = 0;
let asked = 0;

/** Starts with nothing to show. */
export function startDetail() {
  byId("detail-push").addEventListener("click", () => subject && chooseReceiver(subject.kind, subject.name));
  kicksBy(byId("detail-kick"), () => subject);
  document.addEventListener("visibilitychange", look);
}

/** Shows a uid, a group or a connection that has not logged in. */
export function showDetail(kind, name) {
  subject = { kind, name };
  byId("detail-title").replaceChildren(foreign(name, "name"));
  byId("detail-kind").textContent = kind === "connection" ? "not logged in" : kind;
  byId("detail-about").hidden = true;
  byId("detail-buttons").hidden = false;
  byId("detail-kick").hidden = kind === "group";
  list.replaceChildren();
  kept.replaceChildren();
  byId("kept-top").textContent = "";
  look();
}

/** Asks at once: something has changed. */
export async function look() {
  clearTimeout(timer);
  if (!subject || document.visibilityState !== "visible") return;
  const number = (asked += 1);
  const { kind, name } = subject;
  const shows = { uid: showUid, group: showGroup, connection: showConnection }[kind];
  await Promise.all([shows(name, number), showKept(kind, name, number)].map((one) => one.catch(() => {})));
  if (number === asked) timer = setTimeout(look, ASK_MS);
}

async function showUid(uid, number) {
  const { connections, list: found } = await get(`/v1/uids/${encodeURIComponent(uid)}`).catch((error) => {
    if (error.status === 404) return { connections: 0, list: [] };
    throw error;
  });
  if (number !== asked) return;
  const ids = await Promise.all(found.slice(0, 20).map((one) => withAttributes(one)));
  if (number !== asked) return;
  title(connections === 1 ? "1 connection" : `${count.format(connections)} connections`);
  fill(ids.map(makeConnection));
}

/** What is known of one, with what the back end has set. */
const withAttributes = (one) => get(`/v1/connections/${one.connection}`).catch(() => one);

async function showConnection(id, number) {
  const one = await get(`/v1/connections/${id}`).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  if (number !== asked) return;
  title(one ? "1 connection" : "it has ended");
  fill(one ? [makeConnection(one)] : []);
}

async function showGroup(group, number) {
  const answer = await get(`/v1/groups/${encodeURIComponent(group)}`);
  if (number !== asked) return;
  const members = Object.entries(answer.members);
  const many = answer.connections === 1 ? "1 connection" : `${count.format(answer.connections)} connections`;
  title(answer.complete ? many : `${many}; some of the members`);
  fill(members.map(makeMember));
}

/** Shows these, unless somebody is about to press a button there. */
function fill(rows) {
  if (!list.contains(document.activeElement)) list.replaceChildren(...rows);
}

function title(words) {
  const heading = byId("detail-list-title");
  heading.hidden = false;
  heading.textContent = words;
}

function makeConnection(one) {
  const push = small("Push", () => chooseReceiver("connection", one.connection));
  const end = make("button", { type: "button", className: "small danger" }, "Kick");
  kicksBy(end, () => ({ kind: "connection", name: one.connection }));
  const isSet = one.attributes && Object.keys(one.attributes).length > 0;
  const attributes = isSet ? make("p", { className: "mono attributes" }, foreign(JSON.stringify(one.attributes))) : "";
  const waits = `${bytes(one.bytes_waiting)} waiting${one.paused ? ", not read" : ""}`;
  return make(
    "li",
    { dataset: { id: one.connection } },
    make("p", { className: "mono" }, make("b", {}, one.connection), ` ${one.app}, ${one.listener}`),
    make("p", { className: "mono" }, `${one.address}, for ${ago(one.since)}, ${waits}`),
    attributes,
    make("p", { className: "buttons" }, push, end),
  );
}

function makeMember([uid, connections]) {
  const open = small("Look", () => showDetail("uid", uid));
  const row = make("li", { className: "one" }, foreign(uid, "uid"), make("span", { className: "count" }, count.format(connections)), open);
  return row;
}

function small(words, action) {
  const button = make("button", { type: "button", className: "small" }, words);
  button.addEventListener("click", action);
  return button;
}

async function showKept(kind, name, number) {
  if (kind === "connection") return kept.replaceChildren();
  const { top, messages } = await get(withQuery("/v1/history", { [kind]: name, limit: KEPT, reverse: "true" }));
  if (number !== asked) return;
  byId("kept-top").textContent = top;
  kept.replaceChildren(...messages.map(makeKept));
}

function makeKept(message) {
  const text = message.text ?? (message.data === undefined ? message.base64 : JSON.stringify(message.data));
  return make("li", {}, make("span", { className: "mono" }, message.position.split(":").pop()), foreign(text));
}

