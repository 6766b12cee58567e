/**
 * The connection of a client: it comes back by itself, goes on where it was, and hands nothing out twice.
 *
 * One attempt follows the other: token, transport, bind, `bound`, then frames until an end; then a wait, or the end for
 * good. What belongs to an earlier attempt is not heard any more.
 */

import { BAD_LOGIN, EXPIRED, isFinal, STABLE, waitBefore } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { ABSENT, openEvents } from "./events.js";
import { Group } from "./group.js";
import { PushError, type Gap, type History, type HistoryOptions, type Message } from "./message.js";
import type { Options, PushEvents, SendOptions, State, StateChange, WebSocketClass } from "./options.js";
import { keyOf, Positions } from "./positions.js";
import { Requests } from "./requests.js";
import type { End, Heard, Transport } from "./transport.js";
import { Visibility } from "./visibility.js";
import { openWebSocket } from "./websocket.js";
import { messageOf, type Asked, type BoundFrame, type Frame, type GapFrame, type MessageFrame } from "./wire.js";

/** A timer waits at most so long. */
const TIMER_MAX = 2 ** 31 - 1;
/** Acknowledgements, and what goes into the storage, wait so long for more, in milliseconds. */
const SETTLE = 200;
/** An answer to a ping is waited for so long, in milliseconds, when there is reason for doubt. */
const PROBE = 5_000;
/** Silence by events, which do not say how often they ping. */
const SILENCE_EVENTS = 60_000;

type Timer = ReturnType<typeof setTimeout>;

export class Push extends Emitter<PushEvents> {
  /** What it is doing. */
  state: State = "connecting";
  /** The uid, when the server has said it. */
  uid?: string;
  /** The connection's id, as the server's log and API have it. */
  connection?: string;
  /** Whether it listens by Server-Sent Events, and can ask nothing. */
  byEvents = false;

  private _groups = new Map<string, Group>();
  private _requests = new Requests();
  private _positions: Positions;
  private _visibility: Visibility;
  private _transport?: Transport;
  private _attempt = 0;
  private _timers: Record<string, Timer | undefined> = {};
  private _acks = new Map<string, object>();

  /** Attempts since the last one that held. */
  private _failures = 0;
  /** Websockets that have failed, until one has opened: then they pass here. */
  private _blocked = 0;
  /** The next attempt is one by events. */
  private _toEvents = false;
  private _eventsUrl?: URL;

  private _token?: string;
  private _expires = Infinity;
  /** This attempt has the token of one before. */
  private _reused = false;
  /** The token that the server has refused. */
  private _stale?: string;

  /** The server has said when to come back. */
  private _asked = false;
  private _openedAt = 0;
  private _heardAt = 0;
  private _offset = 0;
  private _silence = 0;

  /** @internal */
  constructor(
    private _url: string,
    private _options: Options,
  ) {
    super();
    const { storage, storageKey, uid, client, events, groups } = _options;
    this._positions = new Positions(storage, storageKey ?? "ringpost " + _url, uid);
    this._positions.client = client ?? this._positions.client ?? Math.random().toString(36).slice(2);
    if (events !== false) {
      this._eventsUrl = new URL(events ?? "/v1/events", _url.replace(/^ws/, "http"));
    }
    this._visibility = new Visibility({
      back: () => this._wake(),
      away: () => this._probe(),
      leave: () => this._flush(true),
    });
    this._positions.save(!this._visibility.watches, true);
    for (const name of groups ?? []) this.group(name);
    // Who has called is to add its listeners first.
    this._after("next", 0, () => this._connect());
  }

  /** The server's clock, in milliseconds since 1970. */
  now(): number {
    return Date.now() + this._offset;
  }

  /** The group of that name, joined if it is not yet. Add its listeners at once: what comes before is nobody's. */
  group(name: string): Group {
    let group = this._groups.get(name);
    if (!group) {
      this._groups.set(name, (group = new Group(this, name)));
      if (this.state === "open") this._enter(group);
    }
    return group;
  }

  /** Sends to the back end; resolved when the server has it safe. */
  async send(data: unknown, { again = false, timeout }: SendOptions = {}): Promise<void> {
    await this._ask({ type: "send", data }, again, timeout);
  }

  /** What is kept for this uid, or for everybody. */
  history(options: HistoryOptions & { stream?: "uid" | "all" } = {}): Promise<History> {
    return this._read({ stream: "uid", ...options });
  }

  /** It is handled: the next connection of this client begins behind it. */
  ack({ stream, group, position }: Message): void {
    if (!position) return;
    this._acks.set(keyOf(stream, group), { type: "ack", stream, group, position });
    this._settle();
  }

  /** Tries at once, also after an end for good. */
  reconnect(): void {
    this._failures = this._blocked = 0;
    this._toEvents = false;
    this._stale = undefined;
    this._visibility.watch();
    this._drop();
    this._connect();
  }

  /** Ends it. Positions stay in the storage. */
  close(): void {
    this._finish({ code: 1000, reason: "closed" });
  }

  // --- Attempts.

  private async _connect(): Promise<void> {
    const attempt = ++this._attempt;
    this._change({ state: "connecting" });
    this._after("attempt", this._timeout, () => this._ended({ code: 1006, reason: "timeout" }));
    const { token, uid } = this._options;
    try {
      if (token && !(await this._renewToken(attempt))) return;
    } catch (error) {
      if (attempt !== this._attempt) return;
      this._report(new PushError("token", String(error)));
      return this._ended({ code: 1006, reason: "no token" });
    }
    const guard =
      <T extends unknown[]>(heard: (...args: T) => void) =>
      (...args: T) => {
        if (attempt === this._attempt) heard(...args);
      };
    const heard: Heard = {
      alive: guard(() => (this._heardAt = Date.now())),
      open: guard(() => this._bind()),
      frame: guard((frame) => this._take(frame)),
      end: guard((end) => this._ended(end)),
    };
    const Class = this._options.WebSocket ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
    this.byEvents = !!this._eventsUrl && (this._toEvents || !Class);
    try {
      if (this.byEvents) {
        const position = (key: string) => this._positions.get(key);
        const listening = { uid, token: this._token, groups: this._askAll(), position };
        this._transport = openEvents(this._options.fetch ?? fetch, new URL(this._eventsUrl!), listening, heard);
      } else {
        if (!Class) throw new PushError("unsupported", "no WebSocket");
        this._transport = openWebSocket(Class, this._url, heard);
      }
    } catch (error) {
      // No such URL, or one that this page may not use: it would be so again.
      this._finish({ code: 1002, reason: String(error) });
    }
  }

  /** Gets a token if there is none that holds on. False if this attempt is over. */
  private async _renewToken(attempt: number): Promise<boolean> {
    const { token } = this._options;
    const holds = (this._reused = !!this._token && this._token !== this._stale && this._expires - this.now() > 2 * this._timeout);
    const got = typeof token === "string" ? token : holds ? this._token! : await token!();
    if (attempt !== this._attempt) return false;
    if (got === this._stale) {
      this._finish({ code: EXPIRED, reason: "no newer token" });
      return false;
    }
    if (got !== this._token) {
      for (const group of this._groups.values()) group._refused = false;
      this._expires = Infinity;
    }
    this._token = got;
    return true;
  }

  private _bind(): void {
    const { uid, token, ack } = this._options;
    const get = (key: string) => this._positions.get(key);
    this._transport!.send({
      type: "bind",
      ...(token ? { token: this._token } : { uid }),
      client: this._positions.client,
      positions: { uid: get("uid"), all: get("all") },
      groups: Object.fromEntries(this._askAll().map((name) => [name, get(keyOf("group", name)) ?? null])),
      ack: !!ack,
    });
  }

  private _bound({ connection, uid, time, ping_interval, expires, positions, groups }: BoundFrame): void {
    this._after("attempt");
    this._openedAt = this._heardAt = Date.now();
    if (!this.byEvents) this._blocked = -Infinity;
    this._stale = undefined;
    this.connection = connection;
    this.uid = uid ?? this.uid;
    if (time) this._offset = Date.parse(time) - Date.now();
    // The place of another's stream, which the server will call a gap, is none.
    const isAnothers = uid != null && this._positions.uid != null && this._positions.uid !== uid;
    if (uid != null) this._positions.belong(uid);
    for (const stream in positions) if (!(isAnothers && stream === "uid")) this._positions.begin(stream, positions[stream]);
    for (const name in groups) this._positions.begin(keyOf("group", name), groups[name]);
    this._silence = this._options.silence ?? (ping_interval ? 2000 * ping_interval : SILENCE_EVENTS);
    this._listen();
    this._expire(expires);
    this._settle();
    this._change({ state: "open" });
    for (const name in groups) this._groups.get(name)?._in();
    // A listener may have closed it, or gone into a group.
    if (this.state !== "open") return;
    for (const group of this._groups.values()) if (!group._asked) this._enter(group);
    if (this._transport!.speaks) this._requests.resume((frame) => this._say(frame));
    else this._requests.end(new PushError("unsupported"));
  }

  /** The attempt is over: a wait and another one, or the end. */
  private _ended(end: End): void {
    const { retryAfter } = end;
    // A token that was good once is not bad for good: a newer one may be signed by another key.
    const code = end.code === BAD_LOGIN && this._reused ? EXPIRED : end.code;
    const wasOpen = this.state === "open";
    const held = wasOpen && Date.now() - this._openedAt > STABLE;
    // After events a websocket has its chance, for it can do more; but not if the server has said why there were none.
    if (this.byEvents) this._toEvents = !wasOpen && code > 1006;
    else if (!wasOpen) this._toEvents = ++this._blocked >= (this._options.eventsAfter ?? 3);
    if (this.byEvents && code === ABSENT) this._eventsUrl = undefined;
    this._drop();
    if (isFinal(code)) return this._finish(end);
    const { token } = this._options;
    if (code === EXPIRED) {
      if (typeof token !== "function") return this._finish(end);
      this._stale = this._token;
    }
    this._failures = held ? 0 : this._failures + 1;
    const wait = code === EXPIRED && this._failures < 2 ? 0 : waitBefore(Math.max(0, this._failures - 1), retryAfter);
    this._asked = !!retryAfter;
    this._change({ state: "waiting", ...end, wait });
    if (this.state === "waiting") this._after("next", wait, () => this._connect());
  }

  /** Nothing of this attempt is heard any more. */
  private _drop(): void {
    this._attempt++;
    this._transport?.close();
    this._transport = undefined;
    for (const name in this._timers) this._after(name);
    this._requests.cut();
    for (const group of this._groups.values()) group._cut();
    this._positions.save(!this._visibility.watches);
  }

  private _finish({ code, reason }: End): void {
    this._flush(true);
    this._drop();
    this._visibility.end();
    this._requests.end(new PushError("closed", reason));
    if (this.state !== "closed") this._change({ state: "closed", code, reason });
  }

  private _change(change: StateChange): void {
    this.state = change.state;
    this._tell("state", change);
  }

  // --- Frames.

  private _take(frame: Frame): void {
    const group = "group" in frame && frame.group != null ? this._groups.get(frame.group) : undefined;
    switch (frame.type) {
      case "bound":
        return this._bound(frame);
      case "message":
        return this._message(frame, group);
      case "gap":
        return this._gap(frame, group);
      case "joined":
        if (!group) return;
        this._positions.begin(keyOf("group", frame.group), frame.position);
        return group._in();
      case "left":
        // With an id it is the answer to a page that wanted it so.
        if (!group || frame.id != null) return;
        this._forget(group);
        group._out();
        return group._tell("left", undefined);
      case "presence":
        return group?._change(frame);
      case "renewed":
        this._requests.answer(frame.id, frame);
        return this._expire(frame.expires);
      case "members":
        // It comes with the join, or it was asked for.
        if (frame.id == null) return group?._list(frame.members, frame.cursor);
        return this._requests.answer(frame.id, frame);
      case "history":
      case "sent":
        return this._requests.answer(frame.id, frame);
      case "error":
        return this._error(frame, group);
      case "ping":
        return this._say({ type: "pong" });
    }
  }

  private _message(frame: MessageFrame, group: Group | undefined): void {
    const { stream, group: name, position } = frame;
    if (position && (stream !== "group" || group) && !this._positions.take(keyOf(stream, name), position)) return;
    const message = messageOf(frame, stream, name);
    if (group?._has("message")) group._tell("message", message);
    else this._tell("message", message);
    if (!position) return;
    if (this._options.ack === true) this.ack(message);
    this._settle();
  }

  private _gap({ stream, group: name, asked, first, top }: GapFrame, group: Group | undefined): void {
    if (name != null && !group) return;
    const key = keyOf(stream, name);
    const known = this._positions.get(key);
    this._positions.set(key, top);
    this._settle();
    // It was nowhere, and so has missed nothing.
    if (!known) return;
    const gap: Gap = { stream, group: name, asked, first, top };
    if (group?._has("gap")) group._tell("gap", gap);
    else this._tell("gap", gap);
  }

  private _error({ id, error: { code, message } }: Extract<Frame, { type: "error" }>, group: Group | undefined): void {
    const error = new PushError(code, message);
    if (id != null && this._requests.fail(id, error)) return;
    if (!group) return this._report(error);
    group._refused = true;
    if (group._has("error")) group._tell("error", error);
    else this._report(new PushError(code, `group ${group.name}: ${message}`));
  }

  // --- Asking.

  private get _timeout(): number {
    return this._options.timeout ?? 10_000;
  }

  private _say(frame: Asked): void {
    if (this.state === "open") this._transport?.send(frame);
  }

  private _ask<Answer>(frame: Asked, again: boolean, timeout?: number): Promise<Answer> {
    if (this.state === "closed") return Promise.reject(new PushError("closed"));
    const isOpen = this.state === "open";
    if (isOpen && this.byEvents) return Promise.reject(new PushError("unsupported"));
    const send = isOpen ? (frame: Asked) => this._say(frame) : undefined;
    return this._requests.ask(frame, again, timeout ?? this._timeout * (again ? 3 : 1), send);
  }

  private async _read(asked: HistoryOptions & { stream: "uid" | "all" | "group"; group?: string }): Promise<History> {
    const { messages, top, gap } = await this._ask<Extract<Frame, { type: "history" }>>({ type: "history", ...asked }, true);
    return { messages: messages.map((body) => messageOf(body, asked.stream, asked.group)), top, gap };
  }

  /** @internal */
  _history(group: string, options: HistoryOptions): Promise<History> {
    return this._read({ ...options, stream: "group", group });
  }

  /** @internal */
  _askMembers(group: Group, cursor: string | null): void {
    const page = this._ask<Extract<Frame, { type: "members" }>>({ type: "presence", group: group.name, cursor }, false);
    page.then(
      ({ members, cursor: next }) => group._page(members, next, cursor == null),
      // Cut, and it begins anew; or they are told to nobody.
      () => {},
    );
  }

  /** @internal */
  _leave(group: Group): void {
    if (this._groups.get(group.name) !== group) return;
    this._forget(group);
    if (this.byEvents) this._again();
    else this._say({ type: "leave", id: this._requests.id(), group: group.name });
  }

  private _forget(group: Group): void {
    this._groups.delete(group.name);
    const key = keyOf("group", group.name);
    this._positions.forget(key);
    this._acks.delete(key);
    this._settle();
  }

  private _enter(group: Group): void {
    const { name } = group;
    group._asked = true;
    if (this.byEvents) this._again();
    else this._say({ type: "join", group: name, since: this._positions.get(keyOf("group", name)) });
  }

  /** The groups that the connection is to begin with. By events one that may not be had would be the end. */
  private _askAll(): string[] {
    const groups = [...this._groups.values()].filter((group) => !(this.byEvents && group._refused));
    for (const group of this._groups.values()) group._asked = true;
    return groups.map((group) => group.name);
  }

  /** A request names the groups that events are of: another one, when all that is to change has. */
  private _again(): void {
    if (this.state !== "open") return;
    this._after("again", 0, () => {
      this._drop();
      this._connect();
    });
  }

  // --- Time.

  /** One timer of each name; without a function it is none. */
  private _after(name: string, ms = 0, then?: () => void): void {
    clearTimeout(this._timers[name]);
    this._timers[name] = then && setTimeout(then, Math.min(ms, TIMER_MAX));
  }

  /** Looks whether the other side lives; asks it, and gives up when it says nothing. */
  private _listen(): void {
    const quiet = Date.now() - this._heardAt;
    if (quiet >= this._silence) return this._ended({ code: 1006, reason: "silence" });
    const half = this._silence * 0.6;
    if (quiet >= half) this._say({ type: "ping" });
    this._after("silence", (quiet < half ? half : this._silence) - quiet + 1, () => this._listen());
  }

  /** There is reason to doubt that the connection lives. */
  private _probe(): void {
    if (this.state !== "open" || this.byEvents) return;
    const asked = Date.now();
    this._say({ type: "ping" });
    this._after("probe", PROBE, () => {
      if (this._heardAt < asked) this._ended({ code: 1006, reason: "silence" });
    });
  }

  /** The network, or the page's reader, is back. */
  private _wake(): void {
    this._probe();
    // What is in the storage for a page that has gone is for this one alone again.
    this._positions.save(!this._visibility.watches, true);
    if (this.state !== "waiting" || this._asked) return;
    this._failures = 0;
    this._after("next", waitBefore(0), () => this._connect());
  }

  /** A newer token in time: at a chance time, that not all ask for theirs at once. */
  private _expire(expires: string | undefined): void {
    this._expires = expires ? Date.parse(expires) : Infinity;
    if (!expires || typeof this._options.token !== "function" || this.byEvents) return;
    const left = this._expires - this.now();
    const wait = left * (0.7 + 0.2 * Math.random());
    this._after("token", wait, wait > TIMER_MAX ? () => this._expire(expires) : () => this._refresh(expires));
  }

  private async _refresh(expires: string): Promise<void> {
    const attempt = this._attempt;
    try {
      const token = await (this._options.token as () => string | Promise<string>)();
      if (attempt !== this._attempt) return;
      if (token === this._token) throw "it is the one that expires";
      await this._ask({ type: "token", token }, false);
      this._token = token;
    } catch (error) {
      if (attempt !== this._attempt) return;
      this._report(new PushError("token", String(error)));
      // Once more in what is left, until the server ends it.
      if (this._expires - this.now() > 1000) this._expire(expires);
    }
  }

  /** Sends acknowledgements, and keeps positions, a little later, together. */
  private _settle(): void {
    if (!this._timers.settle) this._after("settle", SETTLE, () => this._flush(!this._visibility.watches));
  }

  private _flush(withClient: boolean): void {
    this._after("settle");
    if (this.state === "open" && !this.byEvents) {
      // Where somebody has begun to listen behind the join, whose list was longer than a page.
      for (const group of this._groups.values()) if (group._wants()) this._askMembers(group, null);
      for (const frame of this._acks.values()) this._transport?.send(frame);
      this._acks.clear();
    }
    this._positions.save(withClient, withClient);
  }

  // --- What is told.

  private _tell<Name extends keyof PushEvents>(name: Name, event: PushEvents[Name]): void {
    this._emit(name, event, (error) => this._failed(error));
  }

  /** @internal A listener has thrown. */
  _failed(error: unknown): void {
    this._report(error instanceof Error ? error : new Error(String(error)));
  }

  private _report(error: Error): void {
    const complain = (error: unknown) => console.error(error);
    if (this._has("error")) this._emit("error", error, complain);
    else complain(error);
  }
}
