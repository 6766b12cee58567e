// The console's live log: what happens on the server, read as it comes while somebody looks.
//
// Read by `fetch`, since an EventSource cannot show a token. What does not fit into the list goes, the oldest first.

import { open, withQuery } from "./api.js";
import { byId, foreign, make } from "./log.js";
import { bytes, count, duration } from "./units.js";

/** Lines kept; older ones go. */
const LINES_MAX = 500;
/** A line of the stream without its end may be this long, in characters. */
const LINE_CHARS_MAX = 1 << 20;
/** How long to wait before coming back, in milliseconds: at least, and at most. */
const AGAIN_MIN_MS = 500;
const AGAIN_MAX_MS = 10_000;
/** The server says something every five seconds. */
const SILENCE_MS = 15_000;
/** What is typed is asked for when nothing more has been typed for so long. */
const TYPED_MS = 400;
/** Farther than this from its end, in pixels, and the reader is reading: do not scroll. */
const NEAR_END_PX = 48;

const list = byId("live-list");
const state = byId("live-state");
const kindInput = byId("live-kind");
const searchInput = byId("live-search");
const dataInput = byId("live-data");
const hold = byId("live-hold");

let pick;
let reading = null;
let held = false;
let failures = 0;
let timer = 0;
let coming = [];

/** Starts to read; calls back with a uid or a group that is picked. */
export function startLive(onPick) {
  pick = onPick;
  byId("live-form").addEventListener("submit", (event) => {
    event.preventDefault();
    look();
  });
  kindInput.addEventListener("change", look);
  dataInput.addEventListener("change", look);
  searchInput.addEventListener("input", () => later(TYPED_MS));
  hold.addEventListener("click", () => {
    held = !held;
    hold.textContent = held ? "Go on" : "Hold";
    look();
  });
  byId("live-clear").addEventListener("click", () => list.replaceChildren());
  document.addEventListener("visibilitychange", look);
  look();
}

/** Reads anew: something else is wanted, or may be read by now. */
export function look() {
  clearTimeout(timer);
  reading?.abort();
  reading = null;
  if (held) return show("idle", "held");
  if (document.visibilityState !== "visible") return show("idle", "paused");
  reading = new AbortController();
  show("connecting", "asking");
  read(reading);
}

function later(time) {
  clearTimeout(timer);
  timer = setTimeout(look, time);
}

async function read(own) {
  const quiet = { timer: 0 };
  const heard = () => {
    clearTimeout(quiet.timer);
    quiet.timer = setTimeout(() => own.abort(), SILENCE_MS);
  };
  try {
    heard();
    const stream = await open(wanted(), own.signal);
    show("online", "live");
    failures = 0;
    await lines(stream, heard);
    throw new Error("the server tells no more");
  } catch (error) {
    if (own !== reading) return;
    reading = null;
    if (error.status === 401) return show("closed", "locked");
    show("closed", error.status ? "refused" : "no answer");
    state.title = error.message;
    const most = Math.min(AGAIN_MAX_MS, AGAIN_MIN_MS * 2 ** failures);
    failures += 1;
    later(AGAIN_MIN_MS + Math.random() * most);
  } finally {
    clearTimeout(quiet.timer);
  }
}

/** A uid, or with a # a group. */
function wanted() {
  const text = searchInput.value.trim();
  const whose = text.startsWith("#") ? { group: text.slice(1) } : { uid: text };
  return withQuery("/v1/log", { ...whose, kind: kindInput.value, data: dataInput.checked ? "true" : "" });
}

async function lines(stream, heard) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const found = (unread + value).split("\n");
    unread = found.pop();
    if (unread.length > LINE_CHARS_MAX) return;
    for (const line of found) if (line.startsWith("data: ")) add(JSON.parse(line.slice(6)));
  }
}

/** Written once a frame, however much comes. */
function add(event) {
  coming.push(event);
  if (coming.length > LINES_MAX) coming.shift();
  if (coming.length === 1) requestAnimationFrame(write);
}

function write() {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX;
  list.append(...coming.map(makeLine));
  coming = [];
  while (list.childElementCount > LINES_MAX) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function makeLine(event) {
  if (event.kind === "dropped") {
    return make("li", { className: "dropped" }, `${count.format(event.dropped)} more, for which there was no room`);
  }
  const at = new Date(event.at);
  const told = make("span", { className: "told" }, ...words(event));
  if (event.text !== undefined) told.append(" ", foreign(event.text), event.cut ? "…" : "");
  return make(
    "li",
    { dataset: { kind: event.kind } },
    make("time", { dateTime: event.at, title: event.at }, at.toTimeString().slice(0, 8)),
    make("span", { className: "kind" }, event.kind),
    whom(event),
    told,
  );
}

/** Whom it is about; a uid or a group can be picked. */
function whom({ uid, group, all, connection }) {
  const of = uid ? ["uid", uid] : group ? ["group", group] : null;
  if (all) return make("span", { className: "whom" }, "all");
  if (!of) return make("span", { className: "whom mono" }, connection ?? "");
  const button = make("button", { type: "button", className: "link whom" }, of[0] === "group" ? "#" : "", foreign(of[1], "uid"));
  button.addEventListener("click", () => pick(...of));
  return button;
}

function words(event) {
  const id = make("span", { className: "mono" }, event.uid ? `${event.connection} ` : "");
  switch (event.kind) {
    case "open":
    case "connect":
      return [id, `${event.app}, from ${event.address}`];
    case "disconnect":
      return [id, `${event.reason}${event.code ? ` (${event.code})` : ""}, after ${duration(event.seconds)}`];
    case "kick":
      return [named(event.connections)];
    case "push":
      return [`${bytes(event.bytes)} to ${named(event.connections)}${event.kept ? ", kept" : ""}`];
    case "message":
      return [id, `${bytes(event.bytes)} for the back end${event.told === "taken" ? "" : `: ${event.told}`}`];
    default:
      return [];
  }
}

const named = (connections) => (connections === 1 ? "1 connection" : `${count.format(connections)} connections`);

function show(kind, label) {
  state.dataset.state = kind;
  state.title = "";
  state.firstElementChild.textContent = label;
}
