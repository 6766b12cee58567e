/** What is handed to the page. */

/** A place in a stream: `EPOCH:OFFSET`. */
export type Position = string;

/** Whose stream a message is of; `connection` is for this connection alone. */
export type Stream = "uid" | "all" | "group" | "connection";

export interface Message<Data = any> {
  /** To this uid, to everybody, to a group, or to this connection alone. */
  stream: Stream;
  /** Which group. */
  group?: string;
  /** Its place in its stream, if it is kept. */
  position?: Position;
  /** A JSON object or array, parsed; other text as a string; what is not text as a Uint8Array. */
  data: Data;
}

/** Not all can be had that was missed: load your state anew. */
export interface Gap {
  stream: Stream;
  group?: string;
  /** Where the client was, where what is there begins, and where it goes on. */
  asked: Position | null;
  first: Position | null;
  top: Position;
}

export interface HistoryOptions {
  /** Messages after this one. */
  since?: Position;
  /** At most so many; 100 unless told. */
  limit?: number;
  /** The newest first. */
  reverse?: boolean;
}

export interface History<Data = any> {
  messages: Message<Data>[];
  /** The last position of the stream: there is more as long as the last message is before it. */
  top: Position;
  /** Set if not everything after `since` is there. */
  gap?: unknown;
}

/** An error by name: `code` is the server's, or `cut`, `timeout`, `closed`, `unsupported`, `too_many_requests`, `token`. */
export class PushError extends Error {
  override name = "PushError";
  constructor(
    public code: string,
    message = code,
  ) {
    super(message);
  }
}
