//! The client's side of a connection: the bytes it sends, and what it makes of those that reach it.
//!
//! It speaks each codec as a well-behaved client does: it masks what it sends on a websocket (with a mask of zeroes),
//! answers pings, and reads whole units. Bound: what the test lets it say and does not take.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::payload::Message;
use crate::protocol::{Codec, Decoder};

/// A client of a [`TestServer`](super::TestServer), by its number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(pub(super) usize);

/// A message that has reached a client. It equals the text or the bytes that it is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Received {
    /// Text.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
}

impl Received {
    fn of(bytes: Vec<u8>) -> Received {
        match String::from_utf8(bytes) {
            Ok(text) => Received::Text(text),
            Err(error) => Received::Binary(error.into_bytes()),
        }
    }

    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Received::Text(text) => Some(text),
            Received::Binary(_) => None,
        }
    }

    /// The bytes, whichever kind.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Received::Text(text) => text.as_bytes(),
            Received::Binary(bytes) => bytes,
        }
    }
}

/// As one would write it in a test.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Received::Text(text) => text.fmt(f),
            Received::Binary(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
        }
    }
}

impl PartialEq<str> for Received {
    fn eq(&self, other: &str) -> bool {
        self.text() == Some(other)
    }
}

impl PartialEq<&str> for Received {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<String> for Received {
    fn eq(&self, other: &String) -> bool {
        self == other.as_str()
    }
}

impl PartialEq<[u8]> for Received {
    fn eq(&self, other: &[u8]) -> bool {
        matches!(self, Received::Binary(bytes) if bytes == other)
    }
}

impl PartialEq<&[u8]> for Received {
    fn eq(&self, other: &&[u8]) -> bool {
        self == *other
    }
}

impl PartialEq<Vec<u8>> for Received {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self == other.as_slice()
    }
}

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    On(usize, ConnId),
    Travelling,
    Gone,
}

/// One client and its connection.
pub struct Connection {
    pub place: Place,
    pub codec: Codec,
    /// The server's decoder of what it sends; it goes along when the connection moves.
    pub decoder: Option<Decoder>,
    /// What it has sent and the server has not read.
    pub unread: Vec<u8>,
    /// It sends no more, once that is read.
    pub has_ended: bool,
    /// It neither reads nor answers for now.
    pub is_stalled: bool,
    /// What has reached it and is no whole unit yet.
    half: Vec<u8>,
    pub received: Vec<Received>,
    /// How the server has ended it.
    pub reason: Option<CloseReason>,
}

/// Opcodes of a websocket's frames (RFC 6455, section 11.8), with the bit that says that a message ends.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const MASKED: u8 = 0x80;

impl Connection {
    pub fn new(place: Place, codec: Codec, decoder: Decoder) -> Connection {
        Connection {
            place,
            codec,
            decoder: Some(decoder),
            unread: Vec::new(),
            has_ended: false,
            is_stalled: false,
            half: Vec::new(),
            received: Vec::new(),
            reason: None,
        }
    }

    /// Sends a message.
    ///
    /// # Panics
    /// If the codec cannot carry it.
    pub fn send(&mut self, message: Message<'_>) {
        let bytes = message.bytes();
        match self.codec {
            Codec::WebSocket | Codec::V1 => {
                let first = message.text().map_or(BINARY, |_| TEXT);
                self.send_frame(first, bytes);
            }
            Codec::Text => {
                assert!(!bytes.contains(&b'\n'), "a text line ends at its first \\n");
                self.unread.extend_from_slice(bytes);
                self.unread.push(b'\n');
            }
            Codec::Frame => {
                let length = u32::try_from(bytes.len() + 4).expect("a frame's length has 32 bits");
                self.unread.extend_from_slice(&length.to_be_bytes());
                self.unread.extend_from_slice(bytes);
            }
            Codec::Sse | Codec::Http => panic!("a client that listens by events says nothing"),
        }
    }

    /// Closes from its side, in the codec's way.
    pub fn close(&mut self) {
        match self.codec {
            Codec::WebSocket | Codec::V1 => self.send_frame(CLOSE, &1000u16.to_be_bytes()),
            _ => self.has_ended = true,
        }
    }

    /// Sends one masked frame (RFC 6455, section 5.2).
    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let out = &mut self.unread;
        out.push(first);
        match payload.len() {
            length @ 0..=125 => out.push(MASKED | length as u8),
            length @ 126..=0xffff => {
                out.push(MASKED | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                out.push(MASKED | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
    }

    /// Bytes have reached it.
    pub fn take(&mut self, bytes: &[u8]) {
        self.half.extend_from_slice(bytes);
        while self.take_unit() {}
    }

    /// Takes one whole unit, if there is one.
    fn take_unit(&mut self) -> bool {
        let unit = match self.codec {
            Codec::WebSocket | Codec::V1 => return self.take_frame(),
            Codec::Text => self.cut(b"\n").map(Received::of),
            Codec::Frame => match self.half.first_chunk() {
                Some(&length) => {
                    let length = u32::from_be_bytes(length) as usize;
                    let whole = self.half.len() >= length;
                    whole.then(|| Received::of(self.half.drain(..length).skip(4).collect()))
                }
                None => None,
            },
            Codec::Sse => match self.cut(b"\n\n") {
                Some(event) => {
                    self.received.extend(read_event(&event));
                    return true;
                }
                None => None,
            },
            Codec::Http => None,
        };
        let is_whole = unit.is_some();
        self.received.extend(unit);
        is_whole
    }

    /// What comes before this end, which is dropped.
    fn cut(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let at = memchr::memmem::find(&self.half, end)?;
        let unit = self.half.drain(..at + end.len()).take(at).collect();
        Some(unit)
    }

    /// Takes one of a websocket's frames, which are unmasked and whole messages.
    fn take_frame(&mut self) -> bool {
        let (first, length, at) = match *self.half {
            [first, 126, a, b, ..] => (first, u16::from_be_bytes([a, b]).into(), 4),
            [first, 127, a, b, c, d, e, f, g, h, ..] => {
                (first, u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10)
            }
            [_, 126 | 127, ..] => return false,
            [first, length, ..] => (first, length.into(), 2),
            _ => return false,
        };
        let end = at + length as usize;
        if self.half.len() < end {
            return false;
        }
        let payload: Vec<u8> = self.half.drain(..end).skip(at).collect();
        match first {
            TEXT => {
                let text = String::from_utf8(payload).expect("a text message is UTF-8");
                self.received.push(Received::Text(text));
            }
            BINARY => self.received.push(Received::Binary(payload)),
            PING => self.send_frame(PONG, &payload),
            // The reason is read where it is decided.
            CLOSE | PONG => {}
            other => panic!("no frame of this server's begins with {other:#x}"),
        }
        true
    }
}

/// One event of Server-Sent Events as a message; what is a comment or the server's own word is none.
fn read_event(event: &[u8]) -> Option<Received> {
    let event = std::str::from_utf8(event).expect("a stream of events is text");
    let field = |name: &str| {
        let of_name = move |line: &'_ str| line.strip_prefix(name).map(str::to_owned);
        event.lines().filter_map(of_name).collect::<Vec<_>>()
    };
    let lines = field("data: ");
    let is_there = !lines.is_empty();
    let text = is_there.then(|| lines.join("\n"))?;
    match field("event: ").first().map(String::as_str) {
        None => Some(Received::Text(text)),
        Some("binary") => Some(Received::Binary(STANDARD.decode(text).expect("base64"))),
        Some(_) => None,
    }
}
