// The console's requests to the HTTP API, with a back end's token where the server asks for one. The token is in this
// module's memory and nowhere else.

import { shown } from "./log.js";
import { doubt } from "./server.js";

/** A request without an answer by then has failed. */
const ANSWER_TIMEOUT_MS = 15_000;

let token = "";
let refused = () => {};

/** Whether there is one. */
export const hasToken = () => token !== "";

export function setToken(text) {
  token = text;
}

/** Calls back with the server's words when it wants a token, or another one. */
export function onRefused(callback) {
  refused = callback;
}

/** Asks; the answer's JSON, or an error whose message is for people. */
export async function ask(method, path, body) {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const response = await answerTo(path, { method, body, signal });
  return response.ok ? response.json().catch(() => ({})) : refuse(response);
}

/** Asks for an answer without end: its body as it comes, until the signal, or an error as above. */
export async function open(path, signal) {
  const response = await answerTo(path, { method: "GET", signal });
  return response.ok ? response.body : refuse(response);
}

async function refuse(response) {
  const value = await response.json().catch(() => ({}));
  const words = shown(String(value.error?.message ?? `the server answered ${response.status}`));
  if (response.status === 401) refused(words);
  throw Object.assign(new Error(words), { status: response.status, code: value.error?.code });
}

async function answerTo(path, { method, body, signal }) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  const text = body === undefined ? undefined : JSON.stringify(body);
  try {
    return await fetch(path, { method, headers, body: text, cache: "no-store", signal });
  } catch {
    doubt();
    throw new Error("no answer from the server");
  }
}

export const get = (path) => ask("GET", path);
export const post = (path, body) => ask("POST", path, body);

/** A path with a query of those fields that have a value. */
export function withQuery(path, fields) {
  const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value));
  return query.size ? `${path}?${query}` : path;
}
