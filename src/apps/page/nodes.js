// The console's nodes, where the server is one of a cluster: asked for again every few seconds while somebody looks.

import { get } from "./api.js";
import { byId, foreign, make } from "./log.js";
import { count, duration } from "./units.js";

/** How often they are asked for, in milliseconds. */
const ASK_MS = 5_000;

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
    byId("nodes").hidden = !answer.redis;
    if (!answer.redis) return;
    show(answer);
  } catch {
    // The list of connections says what is wrong.
  }
  if (number === asked) timer = setTimeout(look, ASK_MS);
}

function show({ nodes, nodes_unknown: unknown, redis }) {
  const silent = unknown ? `, ${count.format(unknown)} more not heard` : "";
  byId("nodes-count").textContent = `${count.format(nodes.length)} ${nodes.length === 1 ? "node" : "nodes"}${silent}`;
  const state = byId("nodes-state");
  state.dataset.state = redis.away ? "waiting" : "online";
  state.textContent = redis.away ? "Redis away" : "joined";
  const about = byId("nodes-about");
  about.replaceChildren("Redis at ", foreign(redis.address, "uid"), redis.away ? ` is away: ${redis.away}` : ` ${redis.version}`);
  byId("nodes-rows").replaceChildren(...nodes.map(makeRow));
}

function makeRow({ node, version, seconds, connections, echo_micros: echo }) {
  const number = (text) => make("td", { className: "number" }, text);
  const cells = [make("td", {}, foreign(node, "uid")), number(count.format(connections))];
  cells.push(number(`${(echo / 1_000).toFixed(1)} ms`), number(duration(seconds)), make("td", {}, version));
  return make("tr", {}, ...cells);
}
