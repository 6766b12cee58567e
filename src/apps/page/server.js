// The header's line: whether the server that this page came from still answers.
//
// Asks `/healthz` now and then while somebody looks, and at once where a connection has just broken.

import { byId } from "./log.js";

/** How often to ask, in milliseconds, and at least and at most how long to wait while there is no answer. */
const ASK_MS = 10_000;
const ASK_AGAIN_MIN_MS = 500;
const ASK_AGAIN_MAX_MS = 5_000;
const ANSWER_TIMEOUT_MS = 10_000;

const listeners = [];
let answers = true;
let asking = false;
let timer = 0;

/** Starts to watch a server that has just answered. */
export function startServer() {
  document.addEventListener("visibilitychange", () => visible() && look());
  show();
  timer = setTimeout(look, ASK_MS);
}

/** Calls back with whether the server answers, when that changes. */
export function onServer(callback) {
  listeners.push(callback);
}

/** Something speaks against the server being there: have a look. */
export function doubt() {
  if (timer) look();
}

const visible = () => document.visibilityState === "visible";

async function look() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const now = await isThere();
  asking = false;
  if (now !== answers) {
    answers = now;
    show();
    for (const callback of listeners) callback(answers);
  }
  const wait = ASK_AGAIN_MIN_MS + Math.random() * (ASK_AGAIN_MAX_MS - ASK_AGAIN_MIN_MS);
  timer = setTimeout(() => visible() && look(), answers ? ASK_MS : wait);
}

async function isThere() {
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    return (await fetch("/healthz", { cache: "no-store", signal })).ok;
  } catch {
    return false;
  }
}

function show() {
  const line = byId("server");
  line.dataset.state = answers ? "online" : "waiting";
  line.textContent = answers ? `Served by ${location.host}` : `${location.host} does not answer; asking again…`;
}
