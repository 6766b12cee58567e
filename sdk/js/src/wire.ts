/**
 * What goes over the wire: the frames of `ringpost.v1` (docs/ringpost-v1.md), as far as a client needs them.
 *
 * By Server-Sent Events the same frames are made of what comes (`events.ts`), so the rest knows one wire.
 */

import type { Message, Position, Stream } from "./message.js";

export interface ErrorFrame {
  code: string;
  message: string;
}

/** A message's body: one of the three is there. */
export interface Body {
  data?: unknown;
  text?: string;
  base64?: string;
  position?: Position;
}

/** As a page gets it. */
export function messageOf(body: Body, stream: Stream, group: string | undefined): Message {
  const { position, data, text, base64 } = body;
  const bytes = base64 != null && Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return { stream, group, position, data: bytes || (data ?? text) };
}

export interface MessageFrame extends Body {
  type: "message";
  stream: Stream;
  group?: string;
}

export interface GapFrame {
  type: "gap";
  stream: Stream;
  group?: string;
  asked: Position | null;
  first: Position | null;
  top: Position;
}

export interface BoundFrame {
  type: "bound";
  connection?: string;
  uid?: string;
  time?: string;
  /** Seconds. */
  ping_interval?: number;
  expires?: string;
  positions: Record<string, Position>;
  groups: Record<string, Position>;
}

/** Members by uid, with the number of their connections. */
export type MemberCounts = Record<string, number>;

export type Frame =
  | BoundFrame
  | MessageFrame
  | GapFrame
  | { type: "joined"; id?: string; group: string; position?: Position }
  | { type: "left"; id?: string; group: string }
  | { type: "presence"; group: string; joined?: string[]; left?: string[] }
  | { type: "members"; id?: string; group: string; members: MemberCounts; cursor?: string | null }
  | { type: "history"; id?: string; top: Position; messages: Body[]; gap?: Omit<GapFrame, "type" | "stream"> }
  | { type: "renewed"; id?: string; expires?: string }
  | { type: "sent"; id?: string }
  | { type: "error"; id?: string; group?: string; error: ErrorFrame }
  | { type: "ping" }
  | { type: "pong" };

/** What is asked. */
export type Asked = { type: string; id?: string } & Record<string, unknown>;
