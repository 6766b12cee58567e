// The same push as a command to copy, in the shell's own quoting, for this server's own ports and tokens.

import { byId } from "./log.js";

/** Where `ringpost push` goes unless it is told. */
const DEFAULT_PORT = "127.0.0.1:5678";

/** The text port, if there is one, and whether back ends must show a token there. */
let textPort = null;
let wantsToken = false;

/** A word for the shell: whatever is in it, it stays one word and nothing in it is run. */
export function quoted(word) {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

const kinds = {
  cli: ({ uid, text, token }) => ringpost("push", token, uid, text),
  kick: ({ uid, token }) => ringpost("kick", token, uid),
  curl: ({ uid, text, token }) =>
    `curl ${location.origin}/v1/push -H 'Content-Type: application/json' ` +
    (token ? `-H ${quoted(`Authorization: Bearer ${token}`)} ` : "") +
    `-d ${quoted(JSON.stringify({ uid, text }))}`,
  nc: ({ uid, text, token }) =>
    `printf '%s\\n' ${token ? `${quoted(`auth ${token}`)} ` : ""}${quoted(JSON.stringify({ uid, text }))} | ` +
    `nc -w1 ${bare(textPort.hostname)} ${textPort.port}`,
  php: ({ uid, text, token }) =>
    `php -r '$s = stream_socket_client("tcp://${textPort.host}"); ` +
    (token ? `fwrite($s, "auth $argv[3]\\n"); fgets($s); ` : "") +
    `fwrite($s, json_encode(["uid" => $argv[1], "text" => $argv[2]]) . "\\n"); echo fgets($s);' ` +
    ["--", uid, text, ...(token ? [token] : [])].map(quoted).join(" "),
};

/** A client command of the program, with what this server needs beside what is built in. */
function ringpost(command, token, ...words) {
  const { host } = textPort;
  const options = [
    ...(host === DEFAULT_PORT ? [] : ["--to", host]),
    ...(token ? ["--token", token] : []),
    // A word that begins with a dash would be taken for an option.
    ...(words.some((word) => word.startsWith("-")) ? ["--"] : []),
  ];
  return ["ringpost", command, ...options, ...words].map(quoted).join(" ");
}

/** `nc` takes an IPv6 address without its brackets. */
const bare = (hostname) => hostname.replace(/^\[|\]$/g, "");

/** Shows the command for what is in the inputs, and copies it. */
export function startCommand(uidInput, textInput, tokenInput) {
  const code = byId("command");
  const copy = byId("command-copy");
  // A sent text leaves its input; the command keeps it, so that it can still be copied.
  let text = "";
  const show = () => {
    text = textInput.value || text || "hello";
    const kind = document.querySelector("input[name=command]:checked").value;
    const wanted = !tokenInput.parentElement.hidden;
    const token = wanted ? tokenInput.value || "TOKEN" : "";
    code.value = kinds[kind]({ uid: uidInput.value.trim() || "alice", text, token });
    code.scrollLeft = 0;
    copy.textContent = "Copy";
  };
  // Without a text port there is HTTP.
  for (const radio of document.querySelectorAll("input[name=command]")) {
    radio.disabled = !textPort && radio.value !== "curl";
    if (!textPort) radio.checked = radio.value === "curl";
  }
  for (const input of [uidInput, textInput, tokenInput, byId("command-kind")]) {
    input.addEventListener("input", show);
  }
  copy.addEventListener("click", async () => {
    copy.textContent = (await copied(code)) ? "Copied" : "Selected";
  });
  show();
}

/** The text port that the server names, if it names one. */
export function setTextPort(listener) {
  if (!listener) return;
  const url = new URL(listener.url.replace(/^text:/, "http:"));
  // A wildcard means the host the page came from.
  if (["0.0.0.0", "[::]"].includes(url.hostname)) url.hostname = location.hostname;
  // A URL leaves out a port of 80.
  const port = url.port || "80";
  textPort = { hostname: url.hostname, port, host: `${url.hostname}:${port}` };
  wantsToken = listener.token === true;
}

/** Whether back ends must show a token. */
export function asksForToken() {
  return wantsToken;
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
