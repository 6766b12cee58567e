// The console's list of groups, asked for again every few seconds while somebody looks.

import { get, withQuery } from "./api.js";
import { byId, foreign, make } from "./log.js";
import { count } from "./units.js";

/** Groups of a page. */
const PAGE = 100;
/** How often the list is asked for, in milliseconds. */
const ASK_MS = 5_000;

const list = byId("groups-list");
const more = byId("groups-more");

let pick;
let pages = 1;
let timer = 0;
let asked = 0;

/** Starts to list; calls back with a group that is picked. */
export function startGroups(onPick) {
  pick = onPick;
  more.addEventListener("click", () => {
    pages += 1;
    look();
  });
  document.addEventListener("visibilitychange", look);
  look();
}

/** Asks at once. */
export async function look() {
  clearTimeout(timer);
  if (document.visibilityState !== "visible") return;
  const number = (asked += 1);
  try {
    const groups = [];
    let cursor = "";
    for (let page = 0; page < pages; page += 1) {
      const answer = await get(withQuery("/v1/groups", { limit: PAGE, cursor }));
      groups.push(...answer.groups);
      cursor = answer.cursor;
      if (!cursor) break;
    }
    if (number !== asked) return;
    byId("groups-count").textContent = groups.length === 1 ? "1 group" : `${count.format(groups.length)} groups`;
    more.hidden = !cursor;
    const held = document.activeElement?.closest?.("#groups-list li")?.dataset.group;
    list.replaceChildren(...groups.map(makeGroup));
    if (held) [...list.children].find((one) => one.dataset.group === held)?.querySelector("button").focus();
  } catch {
    // The list of connections says what is wrong.
  }
  if (number === asked) timer = setTimeout(look, ASK_MS);
}

function makeGroup({ group, connections }) {
  const open = make("button", { type: "button", className: "link" }, foreign(group, "uid"));
  open.addEventListener("click", () => pick(group));
  return make("li", { className: "one", dataset: { group } }, open, make("span", { className: "count" }, count.format(connections)));
}
