/**
 * How far this client is in each stream, and so which message is new. Kept in memory, and in a storage if the page gives
 * one, so that a reload goes on where it was.
 */

import type { Position } from "./message.js";
import type { StorageLike } from "./options.js";

/** The key of a group's stream; the others are `uid` and `all`. */
export const keyOf = (stream: string, group?: string): string => (group == null ? stream : "group " + group);

const parts = (position: Position): [epoch: string, offset: number] => {
  const at = position.lastIndexOf(":");
  return [position.slice(0, at), +position.slice(at + 1)];
};

/** Whether the second is no further than the first: of the same life of the stream, and not behind it. */
export function covers(has: Position | undefined, position: Position): boolean {
  if (!has) return false;
  const [epoch, offset] = parts(has);
  const [other, at] = parts(position);
  return epoch === other && at <= offset;
}

export class Positions {
  private _of: Record<string, Position> = {};
  private _dirty = false;
  /** The uid whose stream is known. */
  uid?: string;
  /** The name of this device or tab. */
  client?: string;

  constructor(
    private _storage: StorageLike | undefined,
    private _name: string,
    uid: string | undefined,
  ) {
    try {
      const kept = JSON.parse(_storage?.getItem(_name) ?? "{}");
      this._of = { ...kept.positions };
      this.uid = kept.uid;
      this.client = kept.client;
    } catch {
      // Nothing that can be read is nothing kept.
    }
    if (uid != null) this.belong(uid);
  }

  /** Another's place in another's stream is of no use. */
  belong(uid: string): void {
    if (this.uid !== uid) {
      if (this.uid != null) this.forget("uid");
      this.uid = uid;
      this._dirty = true;
    }
  }

  get(key: string): Position | undefined {
    return this._of[key];
  }

  /** Where it begins, if it was nowhere. */
  begin(key: string, position: Position | undefined): void {
    if (position && !this._of[key]) this.set(key, position);
  }

  set(key: string, position: Position): void {
    this._of[key] = position;
    this._dirty = true;
  }

  /** Goes on to it; false if that was handed out before. */
  take(key: string, position: Position): boolean {
    if (covers(this._of[key], position)) return false;
    this.set(key, position);
    return true;
  }

  forget(key: string): void {
    delete this._of[key];
    this._dirty = true;
  }

  /**
   * Into the storage, if something has changed. A tab that is copied has its storage copied, and two tabs need two names:
   * so a page has its `client` in there only while it is not there itself.
   */
  save(withClient: boolean, always = false): void {
    if (!(this._dirty || always)) return;
    this._dirty = false;
    try {
      const { uid, client, _of: positions } = this;
      this._storage?.setItem(this._name, JSON.stringify({ uid, positions, client: withClient ? client : undefined }));
    } catch {
      // Full, or not allowed: what is in memory goes on.
    }
  }
}
