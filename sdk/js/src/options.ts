/** What `connect` takes, and what its connection tells. */

import type { Gap, Message } from "./message.js";

/** What of `localStorage` and `sessionStorage` is used. */
export interface StorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** A WebSocket's constructor: the global one, or that of a package such as `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => any;

export interface Options {
  /** Who this is, where the server asks for no token. */
  uid?: string;
  /**
   * A token, or what gets one: it is called when one is needed, and before one expires. With a token that is a string the
   * connection is closed when that expires.
   */
  token?: string | (() => string | Promise<string>);
  /** Groups to be in at once. */
  groups?: string[];
  /** Where positions are kept over a reload: `sessionStorage`, say. */
  storage?: StorageLike;
  /** Its key there. Default: `ringpost` and the URL. */
  storageKey?: string;
  /** The name of this device or tab, up to 64 bytes. Default: one by chance, kept in `storage`. */
  client?: string;
  /**
   * The server remembers what this client has handled: a message counts as handled when its listeners have returned, or
   * with `"manual"` when `push.ack(message)` is called.
   */
  ack?: boolean | "manual";
  /** Where to listen by Server-Sent Events if websockets do not pass. Default: `/v1/events` of the host; false: never. */
  events?: string | URL | false;
  /** So many websockets must have failed, and none ever opened. Default: 3. */
  eventsAfter?: number;
  /** Milliseconds until an attempt, or a request, has failed. Default: 10,000. */
  timeout?: number;
  /** Milliseconds of silence, after which the connection is dead. Default: two of the server's pings; 60,000 by events. */
  silence?: number;
  /** Node before 22 has none of its own: that of the package `ws`. */
  WebSocket?: WebSocketClass;
  /** In place of the global one. */
  fetch?: typeof globalThis.fetch;
}

/** `waiting`: for the next attempt. `closed`: for good, unless `reconnect()` is called. */
export type State = "connecting" | "open" | "waiting" | "closed";

export interface StateChange {
  state: State;
  /** Of an end: the close code, and the reason in words. */
  code?: number;
  reason?: string;
  /** Milliseconds until the next attempt. */
  wait?: number;
}

export interface PushEvents {
  /** To this uid or to everybody; and of a group without a `message` listener of its own. */
  message: Message;
  /** Not all can be had that was missed: load your state anew. Of a group without a `gap` listener, too. */
  gap: Gap;
  state: StateChange;
  /** What went wrong and ended nothing: a listener that threw, a token that could not be had, a request's error. */
  error: Error;
}

export interface SendOptions {
  /**
   * What is not acknowledged when the connection is cut is sent anew, with the same id. Without it the promise is rejected
   * with the code `cut`: the back end may have got it, or not.
   */
  again?: boolean;
  /** Milliseconds. Default: the connection's `timeout`; with `again` three of them. */
  timeout?: number;
}
