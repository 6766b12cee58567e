//! Opening requests of a websocket with something bad about each, and the status that it gets.

use crate::raw::request;

/// A bad request: what is bad about it, its bytes, the status it gets, and a header line of the answer.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub status: u16,
    pub line: &'static str,
}

impl Case {
    pub fn new(name: &'static str, bytes: Vec<u8>, status: u16) -> Case {
        let line = match status {
            405 => "\r\nallow: get\r\n",
            426 => "\r\nsec-websocket-version: 13\r\n",
            _ => "\r\nconnection: close",
        };
        Case {
            name,
            bytes,
            status,
            line,
        }
    }
}

/// What is replaced in a good request by what, and the status.
type Change = (&'static str, &'static str, &'static str, u16);

/// The key's field and value, and the version's.
const KEY: &str = "Sec-WebSocket-Key: ";
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const LINE: &str = "Host:";

const SMALL: &[Change] = &[
    ("no key", KEY, "X-Key: ", 400),
    ("an empty key", NONCE, "", 400),
    ("a short key", NONCE, "c2hvcnQ=", 400),
    ("a long key", NONCE, "dGhlIHNhbXBsZSBub25jZWFh", 400),
    (
        "no base64 for a key",
        NONCE,
        "dGhlIHNhbXBsZSBub25*ZQ==",
        400,
    ),
    (
        "a key of loose bits",
        NONCE,
        "dGhlIHNhbXBsZSBub25jZR==",
        400,
    ),
    (
        "a key without its end",
        NONCE,
        "dGhlIHNhbXBsZSBub25jZQ",
        400,
    ),
    (
        "two keys",
        KEY,
        "Sec-WebSocket-Key: x\r\nSec-WebSocket-Key: ",
        400,
    ),
    ("no version", VERSION, "X: y", 426),
    ("an old version", VERSION, "Sec-WebSocket-Version: 8", 426),
    (
        "a list of versions",
        VERSION,
        "Sec-WebSocket-Version: 13, 8",
        426,
    ),
    (
        "a version with a zero",
        VERSION,
        "Sec-WebSocket-Version: 013",
        426,
    ),
    (
        "two versions",
        LINE,
        "Sec-WebSocket-Version: 13\r\nHost:",
        400,
    ),
    ("POST", "GET", "POST", 405),
    ("a method in lower case", "GET", "get", 405),
    ("HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 505),
    ("HTTP/2.0", "HTTP/1.1", "HTTP/2.0", 505),
    ("no version of HTTP", " HTTP/1.1", "", 400),
    ("no such version of HTTP", "HTTP/1.1", "HTTP/1.11", 400),
    ("no Host", LINE, "X:", 400),
    ("two Hosts", LINE, "Host: 127.0.0.1\r\nHost:", 400),
    ("an empty Host", "Host: 127.0.0.1", "Host:", 400),
    ("a Host with a path", LINE, "Host: x/", 400),
    ("a Host with a user", LINE, "Host: me@", 400),
    (
        "two Origins",
        LINE,
        "Origin: null\r\nOrigin: null\r\nHost:",
        400,
    ),
    ("a folded header", "Upgrade: w", "Upgrade:\r\n w", 400),
    (
        "one folded by a tab",
        "Upgrade: w",
        "Upgrade: x,\r\n\tw",
        400,
    ),
    ("a fold at first", LINE, " Host:", 400),
    ("space before the colon", "Upgrade:", "Upgrade :", 400),
    ("a tab before the colon", "Upgrade:", "Upgrade\t:", 400),
    ("space in a name", "Upgrade:", "Up grade:", 400),
    ("a header without a name", LINE, ": x\r\nHost:", 400),
    ("a header without a colon", LINE, "x\r\nHost:", 400),
    ("NUL in a value", "websocket", "web\0socket", 400),
    ("NUL in a name", "Upgrade", "Up\0grade", 400),
    ("NUL in the target", "/chat", "/ch\0at", 400),
    ("DEL in a value", "websocket", "websocket\x7f", 400),
    ("an escape character", "websocket", "websocket\x1b[2J", 400),
    (
        "a bare carriage return",
        "websocket\r\n",
        "websocket\r",
        400,
    ),
    ("one in a value", "websocket", "web\rsocket", 400),
    ("a bare line feed", "websocket\r\n", "websocket\n", 400),
    (
        "one after the first line",
        "HTTP/1.1\r\n",
        "HTTP/1.1\n",
        400,
    ),
    (
        "five empty lines first",
        "GET",
        "\r\n\r\n\r\n\r\n\r\nGET",
        400,
    ),
    ("a second space", "GET ", "GET  ", 400),
    ("a fragment", "/chat", "/chat#x", 400),
    ("a target of no path", "/chat", "chat", 400),
    ("a character to be escaped", "/chat", "/ch\u{e9}t", 400),
    (
        "a length and chunks",
        LINE,
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost:",
        400,
    ),
    (
        "two lengths",
        LINE,
        "Content-Length: 0\r\nContent-Length: 0\r\nHost:",
        400,
    ),
    (
        "no number for a length",
        LINE,
        "Content-Length: +0\r\nHost:",
        400,
    ),
    ("a body", LINE, "Content-Length: 5\r\nHost:", 400),
    (
        "a body in chunks",
        LINE,
        "Transfer-Encoding: chunked\r\nHost:",
        400,
    ),
    (
        "a body in another coding",
        LINE,
        "Transfer-Encoding: gzip\r\nHost:",
        501,
    ),
    ("an expectation", LINE, "Expect: a miracle\r\nHost:", 417),
    ("no Upgrade", "Upgrade:", "X:", 426),
    ("another Upgrade", "websocket", "websockets", 426),
    (
        "h2c",
        "websocket",
        "h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        426,
    ),
    ("no Connection", "Connection:", "X:", 400),
    (
        "another Connection",
        "Connection: Upgrade",
        "Connection: keep-alive",
        400,
    ),
];

/// All of them.
pub fn cases() -> Vec<Case> {
    let good = request("");
    let changed = |name, from: &str, to: &str, status| {
        assert!(good.contains(from), "{name}: nothing is changed");
        Case::new(name, good.replacen(from, to, 1).into_bytes(), status)
    };
    let small = SMALL.iter();
    let mut cases: Vec<Case> = small
        .map(|&(name, from, to, status)| changed(name, from, to, status))
        .collect();
    let x = |length| "x".repeat(length);
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("X-{n}: {n}\r\n"))
            .collect::<String>()
    };
    let end = "\r\n\r\n";
    cases.extend([
        changed("65 headers", LINE, &(many(60) + LINE), 431),
        changed("10,000 headers", LINE, &(many(10_000) + LINE), 431),
        changed(
            "a path of 64 KB",
            "/chat",
            &format!("/{}", x(64 << 10)),
            414,
        ),
        changed(
            "a header of 1 MB",
            end,
            &format!("\r\nX: {}{end}", x(1 << 20)),
            431,
        ),
        changed(
            "a name of 64 KB",
            end,
            &format!("\r\n{}: x{end}", x(64 << 10)),
            431,
        ),
        changed("a method of 64 KB", "GET", &x(64 << 10), 400),
        changed(
            "a head without end",
            end,
            &format!("\r\n{}", many(4_000)),
            431,
        ),
    ]);
    let bits: Vec<u8> = good.bytes().map(|byte| byte | 0x80).collect();
    cases.push(Case::new("bytes that are no text", bits, 400));
    cases
}
