// The console's list of connections: asked for again every few seconds while somebody looks.

import { get, withQuery } from "./api.js";
import { byId, foreign, make } from "./log.js";
import { ago, bytes, count } from "./units.js";

/** Connections of a page. */
const PAGE = 100;
/** How often the list is asked for, in milliseconds. */
const ASK_MS = 3_000;
/** What a connection is called. */
const IS_CONNECTION = /^\d+-[0-9a-f]+$/;

const search = byId("people-search");
const which = byId("people-which");
const rows = byId("people-rows");
const more = byId("people-more");
const state = byId("people-state");

let pick;
let picked = "";
/** Pages shown: a list that is read on keeps its length when it is asked for anew. */
let pages = 1;
let timer = 0;
/** The question whose answer counts. */
let asked = 0;

/** Starts to list; calls back with a connection that is picked. */
export function startPeople(onPick) {
  pick = onPick;
  const anew = () => {
    pages = 1;
    look();
  };
  byId("people-form").addEventListener("submit", (event) => {
    event.preventDefault();
    anew();
  });
  search.addEventListener("input", anew);
  which.addEventListener("change", anew);
  more.addEventListener("click", () => {
    pages += 1;
    look();
  });
  document.addEventListener("visibilitychange", look);
  look();
}

/** Asks at once: something has changed. */
export async function look() {
  clearTimeout(timer);
  if (document.visibilityState !== "visible") return show("idle", "paused");
  const number = (asked += 1);
  try {
    const list = await wanted();
    if (number !== asked) return;
    showRows(list.connections);
    more.hidden = !list.cursor;
    show("online", "live");
  } catch (error) {
    if (number !== asked) return;
    show("closed", error.status === 401 ? "locked" : "no answer");
    byId("people-count").textContent = error.status === 401 ? "" : error.message;
  }
  if (number === asked) timer = setTimeout(look, ASK_MS);
}

async function wanted() {
  const text = search.value.trim();
  if (IS_CONNECTION.test(text)) return oneOf(text);
  const fields = { uid: text, attributes: "true", limit: PAGE };
  if (which.value === "waiting") Object.assign(fields, { sort: "bytes_waiting", limit: PAGE * pages });
  if (which.value === "unbound") Object.assign(fields, { uid: "", unbound: "true" });
  const connections = [];
  for (let page = 0; page < pages; page += 1) {
    const answer = await get(withQuery("/v1/connections", fields));
    connections.push(...answer.connections);
    fields.cursor = answer.cursor;
    if (!answer.cursor) break;
  }
  return { connections, cursor: fields.cursor };
}

async function oneOf(id) {
  try {
    return { connections: [await get(`/v1/connections/${id}`)], cursor: null };
  } catch (error) {
    if (error.status === 404) return { connections: [], cursor: null };
    throw error;
  }
}

function show(kind, words) {
  state.dataset.state = kind;
  state.firstElementChild.textContent = words;
}

function showRows(connections) {
  const number = count.format(connections.length);
  byId("people-count").textContent = connections.length === 1 ? "1 shown" : `${number} shown`;
  const held = document.activeElement?.closest?.("#people-rows tr")?.dataset.id;
  rows.replaceChildren(...connections.map(makeRow));
  if (held) rows.querySelector(`tr[data-id="${CSS.escape(held)}"] button`)?.focus();
}

function makeRow(one) {
  const open = make("button", { type: "button", className: "link" });
  open.append(one.uid === null || one.uid === undefined ? "not logged in" : foreign(one.uid, "uid"));
  const row = make(
    "tr",
    { dataset: { id: one.connection, picked: one.connection === picked } },
    make("th", { scope: "row" }, open),
    make("td", { className: "mono" }, one.connection),
    make("td", {}, one.app),
    make("td", { className: "number", title: one.since }, ago(one.since)),
    make("td", { className: "number" }, bytes(one.bytes_waiting) + (one.paused ? ", paused" : "")),
  );
  row.addEventListener("click", () => {
    picked = one.connection;
    for (const other of rows.children) other.dataset.picked = other.dataset.id === picked;
    pick(one);
  });
  return row;
}
