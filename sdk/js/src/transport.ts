/** What carries frames: a websocket, or Server-Sent Events. One is one connection; it reports its end once. */

import type { Frame } from "./wire.js";

/** Why one has ended: by the close codes, 1006 where nothing was said. */
export interface End {
  code: number;
  reason: string;
  /** Seconds, if the server said when to come back. */
  retryAfter?: number;
}

export interface Heard {
  /** Something has come, which shows that the other side lives. */
  alive(): void;
  /** It can carry frames now: the client is to bind. Not of events, whose request says all. */
  open(): void;
  frame(frame: Frame): void;
  end(end: End): void;
}

export interface Transport {
  /** Whether frames can be sent. */
  speaks: boolean;
  send(frame: object): void;
  /** Ends it. Nothing is reported after that. */
  close(): void;
}
