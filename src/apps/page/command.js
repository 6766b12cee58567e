// The same push as a command to copy, in the shell's own quoting.

import { byId } from "./log.js";

/** Where the text port listens unless configured otherwise. */
let textPort = { host: "127.0.0.1", port: "5678" };

/** A word for the shell: whatever is in it, it stays one word and nothing in it is run. */
export function quoted(word) {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

const kinds = {
  cli: (uid, text) => `ringpost push ${dashes(uid)}${quoted(uid)} ${quoted(text)}`,
  kick: (uid) => `ringpost kick ${dashes(uid)}${quoted(uid)}`,
  curl: (uid, text) =>
    `curl ${location.origin}/v1/push -H 'Content-Type: application/json' -d ${quoted(JSON.stringify({ uid, text }))}`,
  nc: (uid, text) =>
    `printf '%s\\n' ${quoted(JSON.stringify({ uid, text }))} | nc -w1 ${textPort.host} ${textPort.port}`,
  php: (uid, text) =>
    `php -r '$s = stream_socket_client("tcp://${textPort.host}:${textPort.port}"); ` +
    `fwrite($s, json_encode(["uid" => $argv[1], "text" => $argv[2]]) . "\\n"); echo fgets($s);' ` +
    `-- ${quoted(uid)} ${quoted(text)}`,
};

/** A word that begins with a dash would be taken for an option. */
const dashes = (...words) => (words.some((word) => word.startsWith("-")) ? "-- " : "");

/** Shows the command for what is in the two inputs, and copies it. */
export function startCommand(uidInput, textInput) {
  const code = byId("command");
  const copy = byId("command-copy");
  // A sent text leaves its input; the command keeps it, so that it can still be copied.
  let text = "";
  const show = () => {
    text = textInput.value || text || "hello";
    const kind = document.querySelector("input[name=command]:checked").value;
    code.value = kinds[kind](uidInput.value.trim() || "alice", text);
    code.scrollLeft = 0;
    copy.textContent = "Copy";
  };
  for (const input of [uidInput, textInput, byId("command-kind")]) {
    input.addEventListener("input", show);
  }
  copy.addEventListener("click", async () => {
    copy.textContent = (await copied(code)) ? "Copied" : "Selected";
  });
  show();
}

/** The text port that the server names, if it names one. */
export function setTextPort(url) {
  const { hostname, port } = new URL(url.replace(/^text:/, "http:"));
  textPort = { host: hostname, port };
}

/** Copies, or where the browser forbids it selects, so that the keyboard can. */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.value);
    return true;
  } catch {
    element.select();
    return false;
  }
}
