/** Who listens to what, by the name of the event. A listener that throws, or whose promise fails, ends nothing. */

/** A listener of one event. */
export type Listener<T> = (event: T) => unknown;

export class Emitter<Events> {
  private _listeners: { [Name in keyof Events]?: Listener<Events[Name]>[] } = {};

  /** Calls `listener` for each event of that name, until the function that it returns is called. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    this._listeners[name] = [...(this._listeners[name] ?? []), listener];
    return () => this.off(name, listener);
  }

  /** Calls `listener` no more. */
  off<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): void {
    this._listeners[name] = this._listeners[name]?.filter((one) => one !== listener);
  }

  /** @internal Whether anybody listens. */
  _has(name: keyof Events): boolean {
    return !!this._listeners[name]?.length;
  }

  /** @internal Each listener once; what one throws goes to `failed`. */
  _emit<Name extends keyof Events>(name: Name, event: Events[Name], failed: (error: unknown) => void): void {
    for (const listener of this._listeners[name] ?? []) {
      try {
        const result = listener(event) as PromiseLike<unknown> | undefined;
        result?.then?.(undefined, failed);
      } catch (error) {
        failed(error);
      }
    }
  }
}
