/** What was asked and is not answered yet. Bound: so many; each ends by its answer, a cut, or its time. */

import { PushError } from "./message.js";
import type { Asked } from "./wire.js";

/** So many at once; one more is refused. */
const REQUESTS_MAX = 1_000;

interface Request {
  frame: Asked;
  /** Asked anew after a cut. */
  again: boolean;
  sent: boolean;
  settle(answer: any, error?: PushError): void;
}

export class Requests {
  private _of = new Map<string, Request>();
  private _last = 0;
  /** Unlike those of another tab or another visit, for the back end sees those of `send`. */
  private _prefix = Math.random().toString(36).slice(2, 10) + "-";

  /** An id that no other request has. */
  id(): string {
    return this._prefix + ++this._last;
  }

  /** Asks now, or when there is somebody to ask. */
  ask<Answer>(frame: Asked, again: boolean, timeout: number, send: ((frame: Asked) => void) | undefined): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this._of.size >= REQUESTS_MAX) return reject(new PushError("too_many_requests"));
      const id = (frame.id = this.id());
      const timer = setTimeout(() => this.fail(id, new PushError("timeout")), timeout);
      const settle = (answer: Answer, error?: PushError) => {
        clearTimeout(timer);
        this._of.delete(id);
        error ? reject(error) : resolve(answer);
      };
      this._of.set(id, { frame, again, sent: !!send, settle });
      send?.(frame);
    });
  }

  /** Whether somebody waited for it. */
  answer(id: string | undefined, answer: unknown): void {
    this._of.get(id!)?.settle(answer);
  }

  fail(id: string, error: PushError): boolean {
    const request = this._of.get(id);
    request?.settle(undefined, error);
    return !!request;
  }

  /** There is somebody to ask again. */
  resume(send: (frame: Asked) => void): void {
    for (const request of [...this._of.values()]) {
      if (!request.sent) {
        request.sent = true;
        send(request.frame);
      }
    }
  }

  /** The connection is cut: what may be is asked anew when there is another, and the rest has failed. */
  cut(): void {
    for (const request of [...this._of.values()]) {
      if (request.again) request.sent = false;
      else if (request.sent) request.settle(undefined, new PushError("cut"));
    }
  }

  /** Nobody will answer any more. */
  end(error: PushError): void {
    for (const request of [...this._of.values()]) request.settle(undefined, error);
  }
}
