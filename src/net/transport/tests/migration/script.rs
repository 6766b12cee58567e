//! What clients say that move, by listener, from the first byte to the last.

use crate::protocol::Codec;

/// What each listener is, by its number.
pub const WEBSOCKET: u16 = 0;
pub const FRAME: u16 = 2;
pub const HTTP: u16 = 3;
pub const PROXIED: u16 = 4;
pub const PROXIED_TEXT: u16 = 5;
pub const CODECS: [Codec; 6] = [
    Codec::WebSocket,
    Codec::Text,
    Codec::Frame,
    Codec::Http,
    Codec::WebSocket,
    Codec::Text,
];

/// A frame of a client's.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 250];
    let mut bytes = match payload.len() {
        length @ 0..126 => vec![first, 0x80 | length as u8],
        length => {
            let [high, low] = (length as u16).to_be_bytes();
            vec![first, 0xfe, high, low]
        }
    };
    bytes.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

fn deflated(text: &str) -> Vec<u8> {
    let mut deflate = zlib_rs::Deflate::new(6, false, 15);
    let mut payload = vec![0; text.len() + 100];
    let flush = zlib_rs::DeflateFlush::SyncFlush;
    deflate
        .compress(text.as_bytes(), &mut payload, flush)
        .unwrap();
    payload.truncate(deflate.total_out() as usize - 4);
    payload
}

const COMMANDS: [&str; 10] = [
    "bind tom",
    "join g",
    "join h",
    "group g hello, all of you",
    "to tom hello, myself",
    "ask",
    "ask",
    "fill",
    "a word and \u{e9} \u{674e} another",
    "bind ann",
];

fn commands(rng: &mut fastrand::Rng) -> Vec<String> {
    let count = rng.usize(1..14);
    let command = |rng: &mut fastrand::Rng| match rng.u8(..) {
        0..20 => "long ".repeat(rng.usize(1..400)),
        _ => COMMANDS[rng.usize(..COMMANDS.len())].to_owned(),
    };
    let mut all: Vec<String> = (0..count).map(|_| command(rng)).collect();
    // Who has asked waits for his answers.
    all.push("fill".to_owned());
    all
}

fn frames(rng: &mut fastrand::Rng, deflate: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands(rng) {
        let (first, payload) = match deflate && rng.bool() {
            true => (0xc1, deflated(&command)),
            false => (0x81, command.into_bytes()),
        };
        let pieces = rng.usize(1..4).min(payload.len());
        let size = payload.len().div_ceil(pieces);
        for (at, piece) in payload.chunks(size).enumerate() {
            let is_last = (at + 1) * size >= payload.len();
            let kind = if at == 0 { first & 0x7f } else { 0 };
            bytes.extend(frame(kind | if is_last { 0x80 } else { 0 }, piece));
            match rng.u8(..) {
                0..60 => bytes.extend(frame(0x89, b"still there?")),
                60..80 => bytes.extend(frame(0x8a, b"")),
                _ => {}
            }
        }
    }
    match rng.u8(..) {
        0..200 => bytes.extend(frame(0x88, b"\x03\xe8bye")),
        200..230 => bytes.extend(frame(0x81, b"\xff")),
        _ => {}
    }
    bytes
}

fn opening(path: &str, deflate: bool) -> Vec<u8> {
    let extension = match deflate {
        true => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        false => "",
    };
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{extension}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    head.into_bytes()
}

const REQUESTS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n01234567890123456789",
    "POST /no HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    "GET /listeners.json HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
];

/// What a client says to a listener, from its first byte to its end.
pub fn said(rng: &mut fastrand::Rng) -> (u16, Vec<u8>) {
    let listener = rng.u16(..CODECS.len() as u16);
    let mut bytes = Vec::new();
    if listener == PROXIED || listener == PROXIED_TEXT {
        bytes.extend(b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n");
    }
    let deflate = rng.bool();
    match CODECS[usize::from(listener)] {
        Codec::WebSocket | Codec::V1 => {
            bytes.extend(opening("/", deflate));
            bytes.extend(frames(rng, deflate));
        }
        Codec::Text => {
            for command in commands(rng) {
                bytes.extend(command.bytes());
                bytes.extend(b"\r\n");
                match rng.u8(..) {
                    0..10 => bytes.extend(b"\xff is no text\n"),
                    10..20 => bytes.extend([&[b'x'; 5_000][..], b"\n"].concat()),
                    _ => {}
                }
            }
        }
        Codec::Frame => {
            for command in commands(rng) {
                bytes.extend((command.len() as u32 + 4).to_be_bytes());
                bytes.extend(command.bytes());
            }
        }
        Codec::Http => {
            for _ in 0..rng.usize(0..6) {
                bytes.extend(REQUESTS[rng.usize(..REQUESTS.len())].bytes());
            }
            match rng.u8(..) {
                0..100 => {
                    bytes.extend(opening("/ws", deflate));
                    bytes.extend(frames(rng, deflate));
                }
                100..200 => {
                    bytes.extend(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                }
                _ => bytes.extend(b"GET / HTTP/3.1\r\n\r\n"),
            }
        }
        Codec::Sse => unreachable!("no listener"),
    }
    (listener, bytes)
}
