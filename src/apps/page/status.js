// The status pane: what the server's cores do, asked once a second while somebody looks.
//
// Keeps the last scrape and two minutes of points; rates are differences of two scrapes.

import { Tile } from "./chart.js";
import { byId, foreign, make } from "./log.js";
import { readMetrics } from "./metrics.js";
import { doubt } from "./server.js";
import { bytes, count, duration } from "./units.js";

/** How often to ask, in milliseconds, and how often while there is no answer. */
const ASK_MS = 1_000;
const ASK_AGAIN_MS = 3_000;
const ANSWER_TIMEOUT_MS = 10_000;
/** A difference over more than this says nothing of now. */
const STALE_MS = 5_000;
/** Cores that get a column of their own. */
const COLUMNS_MAX = 32;
/** A reason that occurred within this is marked. */
const RECENT_MS = 10_000;

const token = byId("status-token");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const share = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });

const tiles = {
  connections: new Tile("status-connections", [""], figure, 5),
  messages: new Tile("status-messages", ["in", "out"], figure, 5),
  bytes: new Tile("status-bytes", ["in", "out"], bytes, 1_000),
  waiting: new Tile("status-waiting", [""], bytes, 1_000),
};

let last = null;
let timer = 0;
let asking = false;
let inSight = false;
/** Asking again would get the same answer, until the user does something. */
let halted = false;
const columns = [];
const reasons = new Map();

/** Starts the pane. Nothing is asked before it comes into sight. */
export function startStatus() {
  new IntersectionObserver(([entry]) => {
    inSight = entry.isIntersecting;
    wake();
  }).observe(byId("status-figures"));
  document.addEventListener("visibilitychange", wake);
  byId("status-form").addEventListener("submit", (event) => {
    event.preventDefault();
    halted = false;
    wake();
  });
  show("idle", "paused");
}

function watched() {
  return inSight && document.visibilityState === "visible";
}

function wake() {
  clearTimeout(timer);
  if (halted) return;
  if (watched()) ask();
  else show("idle", "paused");
}

async function ask() {
  if (asking) return;
  asking = true;
  let wait = ASK_MS;
  try {
    const headers = token.value ? { Authorization: `Bearer ${token.value}` } : {};
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const response = await fetch("/metrics", { headers, cache: "no-store", signal });
    if (response.ok) take(performance.now(), readMetrics(await response.text()));
    else refused(response.status);
  } catch {
    wait = ASK_AGAIN_MS;
    show("waiting", "no answer");
    doubt();
  }
  asking = false;
  clearTimeout(timer);
  if (halted) return;
  if (watched()) timer = setTimeout(ask, wait);
  else show("idle", "paused");
}

function refused(status) {
  halted = true;
  const words = {
    401: token.value ? "wrong token" : "needs a token",
    403: "this token may not read",
    404: "not served here",
  };
  byId("status-form").hidden = status !== 401 && status !== 403;
  show("closed", words[status] ?? `the server answered ${status}`);
}

function show(state, words) {
  const pill = byId("status-state");
  pill.dataset.state = state;
  pill.firstElementChild.textContent = words;
}

/** One scrape has come. */
function take(at, now) {
  show("online", "live");
  byId("status-form").hidden = true;
  byId("status-figures").dataset.read = "yes";
  byId("status-closes").dataset.empty = "No connection has ended yet.";
  const anew = last && (last.now.startedAt !== now.startedAt || last.now.cores.length !== now.cores.length);
  if (anew) for (const tile of Object.values(tiles)) tile.clear();
  const before = anew ? null : last;
  last = { at, now };
  const many = now.cores.length === 1 ? "1 core" : `${now.cores.length} cores`;
  const upgrades = now.upgrades === 0 ? "" : `, ${now.upgrades} ${now.upgrades === 1 ? "upgrade" : "upgrades"} without a disconnect`;
  byId("status-server").textContent =
    `${many} on ${now.driver}, up ${duration(now.uptime)}, version ${now.version}${upgrades}`;

  const sum = (name) => now.cores.reduce((total, core) => total + core[name], 0);
  tiles.connections.add(at, [sum("connections")]);
  tiles.waiting.add(at, [sum("waiting")]);
  const seconds = before && at - before.at < STALE_MS ? (at - before.at) / 1_000 : 0;
  const rates = now.cores.map((core, n) => ratesOf(core, before?.now.cores[n], seconds));
  if (seconds) {
    const all = (name) => rates.reduce((total, core) => total + core[name], 0);
    tiles.messages.add(at, [all("messagesIn"), all("messagesOut")]);
    tiles.bytes.add(at, [all("bytesIn"), all("bytesOut")]);
  }
  showCores(now.cores, rates);
  showCloses(at, now.closes, before?.now.closes);
}

/** By how much each figure grew in a second. */
function ratesOf(core, before, seconds) {
  const rate = ([name, value]) => [name, seconds ? Math.max(0, value - before[name]) / seconds : 0];
  return Object.fromEntries(Object.entries(core).map(rate));
}

function showCores(cores, rates) {
  const list = byId("status-cores");
  const shown = Math.min(cores.length, COLUMNS_MAX);
  while (columns.length > shown) columns.pop().element.remove();
  while (columns.length < shown) {
    const column = makeColumn(columns.length);
    columns.push(column);
    list.append(column.element);
  }
  const most = Math.max(1, ...cores.map((core) => core.connections));
  columns.forEach((column, n) => {
    const busy = Math.min(1, rates[n].busy);
    column.busy.style.blockSize = `${100 * busy}%`;
    column.full.style.blockSize = `${(100 * cores[n].connections) / most}%`;
    column.element.dataset.busy = busy > 0.9 ? "full" : busy > 0.7 ? "high" : "";
    column.share.textContent = share.format(busy);
    column.connections.textContent = figure(cores[n].connections);
    column.messages.textContent = `${figure(rates[n].messagesIn)} / ${figure(rates[n].messagesOut)}`;
    column.waiting.textContent = bytes(cores[n].waiting);
  });
  byId("status-more").textContent = cores.length > shown ? `and ${cores.length - shown} more cores` : "";
}

function makeColumn(number) {
  const busy = make("i", { className: "busy" });
  const full = make("i", { className: "full" });
  const values = ["share", "connections", "messages", "waiting"].map((name) => [name, make("dd")]);
  const names = ["busy", "connections", "in / out a second", "waiting"];
  const bars = make("div", { className: "bars" }, make("span", {}, busy), make("span", {}, full));
  bars.setAttribute("aria-hidden", "true");
  const list = make("dl", {});
  values.forEach(([, value], n) => list.append(make("div", {}, make("dt", {}, names[n]), value)));
  const element = make("li", {}, make("h4", {}, `core ${number}`), bars, list);
  return { element, busy, full, ...Object.fromEntries(values) };
}

/** Reasons that have occurred, the most frequent first. */
function showCloses(at, closes, before) {
  const list = byId("status-closes");
  const occurred = [...closes].filter(([, times]) => times > 0).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...occurred.map(([, times]) => times));
  for (const [reason, { element }] of reasons) {
    if (closes.get(reason) > 0) continue;
    element.remove();
    reasons.delete(reason);
  }
  for (const [reason, times] of occurred) {
    if (!reasons.has(reason)) reasons.set(reason, makeReason(reason));
    const row = reasons.get(reason);
    if (before && times > (before.get(reason) ?? 0)) row.at = at;
    row.element.dataset.recent = at - row.at < RECENT_MS;
    row.times.textContent = count.format(times);
    row.bar.style.inlineSize = `${(100 * times) / most}%`;
  }
  const wanted = occurred.map(([reason]) => reasons.get(reason).element);
  if (wanted.some((element, n) => list.children[n] !== element)) list.replaceChildren(...wanted);
}

function makeReason(reason) {
  const bar = make("i", {});
  const times = make("b", {});
  return { element: make("li", {}, foreign(reason, "reason"), times, bar), bar, times, at: -RECENT_MS };
}

function figure(value) {
  return value < 10_000 ? count.format(value) : compact.format(value);
}
