/** A group that this client is in, or wants to be: its messages, its members, its history. */

import { Emitter } from "./emitter.js";
import type { Gap, History, HistoryOptions, Message, PushError } from "./message.js";
import type { MemberCounts } from "./wire.js";

/** Who has come and who has gone. */
export interface Presence {
  joined: string[];
  left: string[];
}

export interface GroupEvents {
  message: Message;
  /** Not all can be had that was missed: load your state anew. */
  gap: Gap;
  /** It is in, from now on; again after each reconnect. */
  joined: undefined;
  /** A back end has taken it out, or its token has the group no more. It is not asked for again. */
  left: undefined;
  /** Who has come and gone; `members` has changed. After a reconnect the difference, if there is one. */
  presence: Presence;
  /** It may not join, say. */
  error: PushError;
}

/** @internal What a group asks of its connection. */
export interface GroupHost {
  readonly uid?: string | undefined;
  _leave(group: Group): void;
  _history(group: string, options: HistoryOptions): Promise<History>;
  /** One more page of members. */
  _askMembers(group: Group, cursor: string | null): void;
  _failed(error: unknown): void;
}

export class Group extends Emitter<GroupEvents> {
  /** Whether it is in now. */
  joined = false;
  /** @internal This connection has been asked for it. */
  _asked = false;
  /** @internal It may not be had. */
  _refused = false;
  private _members = new Set<string>();
  /** A list that is not complete yet. */
  private _fresh?: Set<string>;
  /** This connection has been told of members, or has asked for them. */
  private _told = false;

  /** @internal */
  constructor(
    private _host: GroupHost,
    readonly name: string,
  ) {
    super();
  }

  /** The uids in it, in a group whose members are told of each other. */
  get members(): ReadonlySet<string> {
    return this._members;
  }

  /** Goes out of it. */
  leave(): void {
    this._out();
    this._host._leave(this);
  }

  /** What is kept of its messages. */
  history(options: HistoryOptions = {}): Promise<History> {
    return this._host._history(this.name, options);
  }

  /** @internal */
  _tell<Name extends keyof GroupEvents>(name: Name, event: GroupEvents[Name]): void {
    this._emit(name, event, (error) => this._host._failed(error));
  }

  /** @internal */
  _in(): void {
    this._refused = false;
    if (this.joined) return;
    this.joined = true;
    this._tell("joined", undefined);
  }

  /** @internal The connection is cut: who is in will be told anew, and what has changed until then. */
  _cut(): void {
    this.joined = this._asked = this._told = false;
    this._fresh = undefined;
  }

  /** @internal */
  _out(): void {
    this._cut();
    this._members = new Set();
  }

  /** @internal Whether somebody wants to know its members, and nobody has asked. Once. */
  _wants(): boolean {
    return this.joined && this._has("presence") && !this._told && (this._told = true);
  }

  /** @internal The list that comes with the join, or its first page. The others are asked for if somebody listens. */
  _list(members: MemberCounts, cursor: string | null | undefined): void {
    if (cursor == null || this._has("presence")) this._page(members, cursor, true);
  }

  /** @internal A page of the list; `first` begins it anew. */
  _page(members: MemberCounts, cursor: string | null | undefined, first: boolean): void {
    this._told = true;
    if (first) this._fresh = new Set();
    const fresh = this._fresh;
    if (!fresh) return;
    for (const uid of Object.keys(members)) fresh.add(uid);
    if (cursor != null) return this._host._askMembers(this, cursor);
    this._fresh = undefined;
    // The others may not have been told of this one yet.
    if (this._host.uid != null) fresh.add(this._host.uid);
    const before = this._members;
    this._members = fresh;
    this._differ(
      [...fresh].filter((uid) => !before.has(uid)),
      [...before].filter((uid) => !fresh.has(uid)),
    );
  }

  /** @internal What the server tells of those who come and go. */
  _change({ joined = [], left = [] }: Partial<Presence>): void {
    const members = this._fresh ?? this._members;
    const gone = left.filter((uid) => members.delete(uid));
    const came = joined.filter((uid) => !members.has(uid) && members.add(uid));
    // It is told of when the list is whole.
    if (!this._fresh) this._differ(came, gone);
  }

  private _differ(joined: string[], left: string[]): void {
    if (joined.length || left.length) this._tell("presence", { joined, left });
  }
}
