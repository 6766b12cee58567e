/**
 * A client of the push server ringpost, for browsers and Node.
 *
 *     const push = connect("wss://push.example", { uid: "tom", groups: ["news"] });
 *     push.on("message", ({ data }) => console.log(data));
 */

import type { Options } from "./options.js";
import { Push } from "./push.js";

/** Connects to a push listener, and stays connected until `close()`. Add listeners at once: nothing comes before. */
export function connect(url: string | URL, options: Options = {}): Push {
  return new Push(String(url), options);
}

export { PushError } from "./message.js";
export type { Gap, History, HistoryOptions, Message, Position, Stream } from "./message.js";
export type { Options, PushEvents, SendOptions, State, StateChange, StorageLike, WebSocketClass } from "./options.js";
export type { Group, GroupEvents, Presence } from "./group.js";
export type { Listener } from "./emitter.js";
export type { Push } from "./push.js";
