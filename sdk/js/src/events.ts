/**
 * Frames by Server-Sent Events (docs/events.md), where websockets do not pass. It only listens; a group more or less is a
 * new request. A message that is not kept says nothing of its stream there: it is handed out as the uid's.
 */

import { EXPIRED } from "./backoff.js";
import { keyOf } from "./positions.js";
import type { End, Heard, Transport } from "./transport.js";
import type { Position } from "./message.js";
import type { BoundFrame, Frame } from "./wire.js";

export interface Listening {
  uid?: string;
  token?: string;
  groups: string[];
  position(key: string): Position | undefined;
}

/** The end, by the status of an answer that is no stream of events. */
const ENDS: Record<number, number> = { 400: 4006, 401: EXPIRED, 403: 1008, 409: 4002, 429: 1013, 503: 1013 };

/** The code of an end that says that there are no events at all. */
export const ABSENT = 1002;

export function openEvents(fetch: typeof globalThis.fetch, url: URL, listening: Listening, heard: Heard): Transport {
  const abort = new AbortController();
  const end = (end: End) => {
    if (abort.signal.aborted) return;
    abort.abort();
    heard.end(end);
  };
  listen(fetch, url, listening, abort.signal, heard, end).then(
    () => end({ code: 1006, reason: "" }),
    (error) => end({ code: 1006, reason: String(error) }),
  );
  return { speaks: false, send() {}, close: () => abort.abort() };
}

/** The positions that it names, in the order of the streams; what has none is nothing that can be read. */
function since(keys: string[], position: Listening["position"]): string {
  const known = keys.map(position);
  if (!known.some(Boolean)) return "";
  if (!known[known.length - 1]) known.pop();
  return known.map((one) => one ?? "-").join();
}

async function listen(
  fetch: typeof globalThis.fetch,
  url: URL,
  { uid, token, groups, position }: Listening,
  signal: AbortSignal,
  heard: Heard,
  end: (end: End) => void,
): Promise<void> {
  const keys = ["uid", ...groups.map((group) => keyOf("group", group)), "all"];
  const query = url.searchParams;
  if (uid != null) query.set("uid", uid);
  for (const group of groups) query.append("group", group);
  const from = since(keys, position);
  if (from) query.set("since", from);
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (token) headers.Authorization = "Bearer " + token;
  const response = await fetch(url, { headers, signal, cache: "no-store" });
  if (!response.ok || !/^text\/event-stream/.test(response.headers.get("content-type") ?? "")) {
    return refused(response, groups, heard, end);
  }
  const events = new Events(keys, from ? (key) => !position(key) : () => false, uid, heard, end);
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (signal.aborted || done) return;
    heard.alive();
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      events.line(line.replace(/\r$/, ""));
      // A listener may have closed it.
      if (signal.aborted) return;
    }
  }
}

async function refused(response: Response, groups: string[], heard: Heard, end: (end: End) => void): Promise<void> {
  let error = { code: "", message: response.statusText };
  try {
    error = (await response.json()).error ?? error;
  } catch {
    // No JSON: the status says it.
  }
  // The message begins with the first group that the token has not.
  const group = groups.find((group) => error.message.startsWith(`group "${group}":`));
  if (error.code === "forbidden_group" && group != null) heard.frame({ type: "error", group, error });
  end({
    code: ENDS[response.status] ?? (response.status < 500 ? ABSENT : 1006),
    reason: error.message,
    retryAfter: +(response.headers.get("retry-after") ?? 0) || 0,
  });
}

/** Makes frames of lines: HTML, "Interpreting an event stream". */
class Events {
  private _ids: string[] = [];
  private _event: Record<string, string | undefined> = {};

  constructor(
    private _keys: string[],
    /** Of which streams a gap is told only because no position could be named. */
    private _unknown: (key: string) => boolean,
    private _uid: string | undefined,
    private _heard: Heard,
    private _end: (end: End) => void,
  ) {}

  line(line: string): void {
    if (!line) {
      const event = this._event;
      this._event = {};
      return this._dispatch(event);
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line)!;
    const event = this._event;
    if (field) event[field] = field === "data" && event.data != null ? event.data + "\n" + value : value;
  }

  private _dispatch({ event, data, id }: Record<string, string | undefined>): void {
    const ids = id?.split(",");
    const before = this._ids;
    if (ids) this._ids = ids;
    if (ids && data == null) {
      const bound: BoundFrame = { type: "bound", uid: this._uid, positions: {}, groups: {} };
      ids.forEach((position, nth) => {
        const key = this._keys[nth]!;
        // In a group it is all the same.
        (key[0] === "g" ? bound.groups : bound.positions)[nameOf(key)] = this._unknown(key) ? "" : position;
      });
      return this._heard.frame(bound);
    }
    if (data == null) return;
    if (event === "close") {
      return this._end(JSON.parse(data));
    }
    if (event === "gap") {
      const { kind, name, ...rest } = JSON.parse(data);
      return this._heard.frame({ type: "gap", stream: kind, ...(kind === "group" && { group: name }), ...rest } as Frame);
    }
    // Of a stream in which nothing is kept the position may change, too, and is no message's.
    const nth = ids ? ids.findIndex((one, nth) => one !== before[nth] && !one.endsWith(":0")) : 0;
    const key = this._keys[nth] ?? "uid";
    this._heard.frame({
      type: "message",
      ...(key[0] === "g" ? { stream: "group", group: nameOf(key) } : { stream: key as "uid" | "all" }),
      ...(ids && { position: ids[nth] }),
      ...bodyOf(event, data),
    });
  }
}

/** The group's name, of the key of its stream. */
const nameOf = (key: string): string => (key[0] === "g" ? key.slice(6) : key);

/** As the server itself tells them apart: an object or an array of JSON, any other text, what is no text. */
function bodyOf(event: string | undefined, data: string): { data?: unknown; text?: string; base64?: string } {
  if (event === "binary") return { base64: data };
  if (/^[[{]/.test(data)) {
    try {
      return { data: JSON.parse(data) };
    } catch {
      // Text that begins like one.
    }
  }
  return { text: data };
}
