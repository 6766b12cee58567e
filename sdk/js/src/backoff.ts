/** When to come back after an end, and whether at all: docs/protocols.md, "Close codes". */

/** The first wait is up to this, in milliseconds; each further one up to twice the last. */
export const WAIT_FIRST = 500;
/** No wait is longer, unless the server asks for it. */
export const WAIT_MAX = 30_000;
/** A connection that held so long was a success. */
export const STABLE = 5_000;

/** The token, or the uid, is none. */
export const BAD_LOGIN = 4006;

/** Replaced, uid in use, bad login, kicked: it would end the same way again. */
export const isFinal = (code: number): boolean => [4001, 4002, 4006, 4007].includes(code);

/** The token has expired: a newer one first. */
export const EXPIRED = 4008;

/**
 * Milliseconds until the next attempt: by chance up to a bound that doubles ("full jitter"), so that not all clients of a
 * server come back as one. What the server asks for (`retryAfter`, seconds) is waited for, and then up to half of it more.
 */
export function waitBefore(failures: number, retryAfter = 0, random: () => number = Math.random): number {
  const bound = Math.min(WAIT_MAX, WAIT_FIRST * 2 ** Math.min(failures, 16));
  return Math.max(random() * bound, retryAfter * 1000 * (1 + random() / 2));
}
