/** What a browser tells of itself: the network comes and goes, the page is seen, hidden, left and shown anew. */

interface Told {
  /** The network is back, or the page is seen. */
  back(): void;
  /** The network may be gone. */
  away(): void;
  /** The page is left, and may be gone in a moment. */
  leave(): void;
}

export class Visibility {
  /** Whether there is a page to be told of. */
  watches = false;
  private _off: (() => void)[] = [];

  constructor(private _told: Told) {
    this.watch();
  }

  watch(): void {
    if (this._off.length) return;
    const { back, away, leave } = this._told;
    const { document } = globalThis;
    this._on(globalThis, { online: back, offline: away, pageshow: back, pagehide: leave });
    this._on(document, { visibilitychange: () => document.visibilityState === "visible" && back() });
    this.watches = !!document;
  }

  end(): void {
    for (const off of this._off.splice(0)) off();
  }

  private _on(target: EventTarget | undefined, listeners: Record<string, () => unknown>): void {
    // Node has no such events.
    if (!target?.addEventListener) return;
    for (const name in listeners) {
      const listener = listeners[name]!;
      target.addEventListener(name, listener);
      this._off.push(() => target.removeEventListener(name, listener));
    }
  }
}
