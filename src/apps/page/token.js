// A client's token, as far as the page reads it: the uid in it, for a label. What it proves the server decides.

/** Characters that a token may have; the server takes no longer ones. */
export const TOKEN_CHARS_MAX = 4_096;

/** The uid that a token claims, or null if it cannot be read: `uid.expiry.mac`, or a JSON web token's `sub`. */
export function uidOf(token) {
  const parts = token.split(".");
  if (parts.length !== 3) return null;
  try {
    if (/^\d+$/.test(parts[1])) return decoded(parts[0]);
    const { sub } = JSON.parse(decoded(parts[1]));
    return typeof sub === "string" || Number.isSafeInteger(sub) ? String(sub) : null;
  } catch {
    return null;
  }
}

/** Text in base64url (RFC 4648, section 5). */
function decoded(part) {
  const bytes = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes, (one) => one.charCodeAt(0)));
}

/** Has an input take a token where it took a uid. */
export function askForToken(input) {
  input.type = "password";
  input.maxLength = TOKEN_CHARS_MAX;
  input.placeholder = "a client's token";
  // Not the browser's business to keep.
  input.autocomplete = "off";
}
