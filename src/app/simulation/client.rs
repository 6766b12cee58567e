//! A simulated client: what it has said and not been heard, what it has received, and how it reads that.
//!
//! It reads the wire by itself, without the server's codecs.

use std::collections::VecDeque;

use super::spoken;
use super::sse::{self, Block};
use crate::ident::ConnId;
use crate::protocol::Codec;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Accepted on a core, its handshake not done.
    Opening(usize, ConnId),
    On(usize, ConnId),
    Travelling,
    Gone,
}

pub struct Client {
    pub codec: Codec,
    pub place: Place,
    /// Said, and still in the kernel.
    pub unread: VecDeque<String>,
    /// Read by the transport and not looked at; this part travels in the link.
    pub held: VecDeque<String>,
    pub said: u32,
    /// Messages that went into the host.
    pub fed: u32,
    pub asks_to_bind: bool,
    pub received: Vec<u8>,
    pub blocked: bool,
    pub paused: bool,
    /// It has vanished, and the core has not seen that yet.
    pub dead: bool,
    /// It has ended its stream in order.
    pub hung_up: bool,
    /// It has come back by another connection, and reads nothing from this one any more.
    pub deaf: bool,
    /// Which follower's life it is, and its which one.
    pub life: Option<(usize, usize)>,
}

/// One thing that a client received.
#[derive(PartialEq, Eq, Debug)]
pub enum Seen {
    Text(String),
    Ping,
    Close(u16),
}

impl Client {
    pub fn new(codec: Codec, place: Place) -> Client {
        Client {
            codec,
            place,
            unread: VecDeque::new(),
            held: VecDeque::new(),
            said: 0,
            fed: 0,
            asks_to_bind: false,
            received: Vec::new(),
            blocked: false,
            paused: false,
            dead: false,
            hung_up: false,
            deaf: false,
            life: None,
        }
    }

    pub fn core(&self) -> Option<(usize, ConnId)> {
        match self.place {
            Place::On(core, id) => Some((core, id)),
            _ => None,
        }
    }

    pub fn has_input(&self) -> bool {
        !self.unread.is_empty() || !self.held.is_empty() || self.dead || self.hung_up
    }

    /// The blocks that one has received which follows streams, its uid's, those of these groups and everybody's; and how many
    /// bytes are left over.
    pub fn blocks(&self, groups: &[String]) -> (Vec<Block>, usize) {
        match self.codec {
            Codec::V1 => {
                let read = spoken::read(&self.received, groups);
                (read.blocks, read.left_over)
            }
            _ => sse::blocks(&self.received),
        }
    }

    /// By the streams of one that speaks `ringpost.v1`, whether it is out of them in the end.
    pub fn left(&self, groups: &[String]) -> Vec<bool> {
        match self.codec {
            Codec::V1 => spoken::read(&self.received, groups).left,
            _ => Vec::new(),
        }
    }

    /// All that was received whole, and how many bytes are left over.
    pub fn seen(&self) -> (Vec<Seen>, usize) {
        if self.codec.tells_positions() {
            return sse::seen(self.blocks(&[]));
        }
        let mut seen = Vec::new();
        let mut rest = &self.received[..];
        while let Some((one, taken)) = next(self.codec, rest) {
            assert!(
                !matches!(seen.last(), Some(Seen::Close(_))),
                "nothing follows a close frame"
            );
            seen.push(one);
            rest = &rest[taken..];
        }
        (seen, rest.len())
    }
}

/// The first unit of the bytes and its length, if it is complete.
pub fn next(codec: Codec, bytes: &[u8]) -> Option<(Seen, usize)> {
    let (first, body, end) = match codec {
        Codec::Text => {
            let end = bytes.iter().position(|byte| *byte == b'\n')?;
            (0x81, &bytes[..end], end + 1)
        }
        Codec::Frame => {
            let end = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
            (0x81, bytes.get(4..end)?, end)
        }
        Codec::Sse | Codec::Http => unreachable!("it has no frames"),
        Codec::WebSocket | Codec::V1 => {
            let (&[first, short], rest) = bytes.split_first_chunk()?;
            let (size, header) = match short {
                126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
                127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
                size => (usize::from(size), 2),
            };
            assert!(size < 1 << 20, "a masked or broken frame: {short}");
            (first, bytes.get(header..header + size)?, header + size)
        }
    };
    let seen = match first {
        0x81 => Seen::Text(String::from_utf8(body.to_vec()).expect("text is UTF-8")),
        0x88 => Seen::Close(u16::from_be_bytes([body[0], body[1]])),
        0x89 => Seen::Ping,
        other => panic!("an unexpected frame: {other:#x}"),
    };
    Some((seen, end))
}
