// The console's nodes, where the server is one of a cluster: asked for again every few seconds while somebody looks.

import { get } from "./api.js";
import { byId, foreign, make } from "./log.js";
import { count, duration } from "./units.js";

/** How often they are asked for, in milliseconds. */
const ASK_MS = 5_000;
/** A Redis Cluster is many. */
const REDIS_SHOWN = 3;

let timer = 0;
let asked = 0;

/** Starts to look whether there are any. */
export function startNodes() {
  document.addEventListener("visibilitychange", look);
  look();
}

/** Asks at once. */
export async function look() {
  clearTimeout(timer);
  if (document.visibilityState !== "visible") return;
  const number = (asked += 1);
  try {
    const answer = await get("/v1/nodes");
    if (number !== asked) return;
    // A server by itself stays so.
    byId("nodes").hidden = !answer.redis.length;
    if (!answer.redis.length) return;
    show(answer);
  } catch {
    // The list of connections says what is wrong.
  }
  if (number === asked) timer = setTimeout(look, ASK_MS);
}

function show({ nodes, nodes_unknown: unknown, redis }) {
  const away = redis.filter((one) => one.away);
  // While Redis is away nobody knows how many they are.
  const others = away.length === redis.length ? "the others" : `${count.format(unknown)} more`;
  const silent = unknown ? `, ${others} not heard` : "";
  byId("nodes-count").textContent = `${count.format(nodes.length)} ${nodes.length === 1 ? "node" : "nodes"}${silent}`;
  const state = byId("nodes-state");
  state.dataset.state = away.length ? "waiting" : "online";
  state.textContent = away.length ? "Redis away" : "joined";
  // Those that are away, or some of them.
  const shown = (away.length ? away : redis).slice(0, REDIS_SHOWN);
  const more = (away.length || redis.length) - shown.length;
  const about = shown.flatMap(({ address, away: why, version }, nth) => [
    nth ? "; " : "Redis at ",
    foreign(address, "uid"),
    why ? ` is away: ${why}` : ` ${version}`,
  ]);
  byId("nodes-about").replaceChildren(...about, more ? `; and ${count.format(more)} more` : "");
  byId("nodes-rows").replaceChildren(...nodes.map(makeRow));
}

function makeRow({ node, version, seconds, connections, echo_micros: echo }) {
  const number = (text) => make("td", { className: "number" }, text);
  const cells = [make("td", {}, foreign(node, "uid")), number(count.format(connections))];
  cells.push(number(echo ? `${(echo / 1_000).toFixed(1)} ms` : "–"), number(duration(seconds)), make("td", {}, version));
  return make("tr", {}, ...cells);
}
