/** Frames by a websocket of the subprotocol `ringpost.v1`. */

import type { WebSocketClass } from "./options.js";
import type { End, Heard, Transport } from "./transport.js";

/** What of a WebSocket is used. */
export interface WebSocketLike {
  readonly protocol: string;
  send(data: string): void;
  close(code?: number): void;
  terminate?(): void;
  onopen: ((event: any) => any) | null;
  onmessage: ((event: any) => any) | null;
  onclose: ((event: any) => any) | null;
  onerror: ((event: any) => any) | null;
}

const PROTOCOL = "ringpost.v1";
/** A good-bye is waited for so long, in milliseconds. */
const GOODBYE = 2_000;

export function openWebSocket(Class: WebSocketClass, url: string, heard: Heard): Transport {
  const socket: WebSocketLike = new Class(url, [PROTOCOL]);
  const end = (end: End) => {
    close();
    heard.end(end);
  };
  const close = () => {
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
    // A dead one would wait for the other's word; only a package's can be told not to, and keeps its process up else.
    const timer: any = socket.terminate && setTimeout(() => socket.terminate!(), GOODBYE);
    timer?.unref?.();
  };
  socket.onopen = () => {
    if (socket.protocol === PROTOCOL) heard.open();
    else end({ code: 1002, reason: "no " + PROTOCOL });
  };
  socket.onmessage = ({ data }) => {
    heard.alive();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return end({ code: 1002, reason: "not a frame" });
    }
    heard.frame(frame);
  };
  socket.onclose = ({ code, reason }) => end({ code, reason: String(reason) });
  // The end comes after it. It stays: a package's socket throws an error that nobody hears.
  socket.onerror = () => {};
  return {
    speaks: true,
    send: (frame) => socket.send(JSON.stringify(frame)),
    close,
  };
}
