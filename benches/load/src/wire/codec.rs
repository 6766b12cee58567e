//! [`Codec`]: how a client writes a message and reads the server's, for each codec that a server has.
//! Bytes in, values out; the opening handshake is in `upgrade`.
//!
//! Written anew and not taken from the server, so that a mistake there is not repeated here.

use std::ops::Range;

/// Longest message that is read from a server: a chat room's roster may be large.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// How messages are cut out of the byte stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    Websocket,
    Text,
    Frame,
    /// Websocket frames without masks, for a server that sends back what it gets and reads none of it:
    /// what comes back is then what a server would have sent.
    Bare,
    /// HTTP/1.1: a message out is a whole request; one in is an answer with its body, or, where that has no length, its
    /// head, and then each block of Server-Sent Events.
    Http,
}

/// What the start of the received bytes is.
#[derive(PartialEq, Eq, Debug)]
pub enum Piece {
    /// Not all of it is there.
    Incomplete,
    /// A message, and where in the bytes.
    Message(Range<usize>),
    Ping(Range<usize>),
    Pong,
    /// The server closes, with this code (1005 if it gave none).
    Close(u16),
    /// Nothing that a server may send.
    Wrong(&'static str),
}

impl Codec {
    /// Whether a connection begins with an upgrade and ends with a close frame.
    pub fn has_handshake(self) -> bool {
        matches!(self, Codec::Websocket | Codec::Bare)
    }

    /// Whether the server knows who is who, and so takes a message for somebody.
    pub fn has_addresses(self) -> bool {
        self != Codec::Bare
    }

    /// A websocket client's mask, where there is one.
    fn mask(self, mask: u32) -> Option<u32> {
        (self == Codec::Websocket).then_some(mask)
    }

    /// Appends a message. `mask` is a websocket client's.
    pub fn write(self, message: &[u8], mask: u32, out: &mut Vec<u8>) {
        match self {
            Codec::Websocket | Codec::Bare => {
                write_websocket(0x81, message, self.mask(mask), out);
            }
            Codec::Text => {
                out.extend_from_slice(message);
                out.push(b'\n');
            }
            Codec::Http => out.extend_from_slice(message),
            Codec::Frame => {
                // The length counts itself.
                let len = message.len() as u32 + 4;
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(message);
            }
        }
    }

    /// Appends the answer to a ping.
    pub fn write_pong(self, payload: &[u8], mask: u32, out: &mut Vec<u8>) {
        write_websocket(0x8a, payload, self.mask(mask), out);
    }

    /// Appends a close with code 1000.
    pub fn write_close(self, mask: u32, out: &mut Vec<u8>) {
        write_websocket(0x88, &1000u16.to_be_bytes(), self.mask(mask), out);
    }

    /// Reads what the bytes begin with, and how many of them it took.
    pub fn read(self, bytes: &[u8]) -> (Piece, usize) {
        match self {
            Codec::Websocket | Codec::Bare => read_websocket(bytes),
            Codec::Text => match memchr::memchr(b'\n', bytes) {
                Some(end) => (Piece::Message(0..end), end + 1),
                None => (Piece::Incomplete, 0),
            },
            Codec::Http => read_http(bytes),
            Codec::Frame => {
                let Some(len) = bytes.first_chunk() else {
                    return (Piece::Incomplete, 0);
                };
                let len = u32::from_be_bytes(*len) as usize;
                if len < 4 || len as u64 > MESSAGE_BYTES_MAX {
                    return (Piece::Wrong("a frame of an impossible length"), 0);
                }
                match bytes.len() < len {
                    true => (Piece::Incomplete, 0),
                    false => (Piece::Message(4..len), len),
                }
            }
        }
    }
}

fn read_http(bytes: &[u8]) -> (Piece, usize) {
    const HEAD: &[u8] = b"HTTP/1.";
    if !bytes.starts_with(HEAD) {
        // Whether it is a head is not known yet.
        if HEAD.starts_with(bytes) {
            return (Piece::Incomplete, 0);
        }
        return match memchr::memmem::find(bytes, b"\n\n") {
            Some(end) => (Piece::Message(0..end), end + 2),
            None => (Piece::Incomplete, 0),
        };
    }
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return (Piece::Incomplete, 0);
    };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let length = lines.find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<u64>())
    });
    let length = match length {
        None => 0,
        Some(Ok(length)) if length <= MESSAGE_BYTES_MAX => length as usize,
        Some(_) => return (Piece::Wrong("an answer of an impossible length"), 0),
    };
    let whole = end + 4 + length;
    match bytes.len() < whole {
        true => (Piece::Incomplete, 0),
        false => (Piece::Message(0..whole), whole),
    }
}

fn write_websocket(first: u8, payload: &[u8], mask: Option<u32>, out: &mut Vec<u8>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(first);
    match payload.len() {
        len @ 0..=125 => out.push(masked | len as u8),
        len @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let Some(mask) = mask else {
        return out.extend_from_slice(payload);
    };
    let mask = mask.to_ne_bytes();
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (words, rest) = out[start..].as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (at, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
}

fn read_websocket(bytes: &[u8]) -> (Piece, usize) {
    let &[first, second, ..] = bytes else {
        return (Piece::Incomplete, 0);
    };
    if second & 0x80 != 0 {
        return (Piece::Wrong("a masked frame"), 0);
    }
    let (len, head) = match second & 0x7f {
        126 => match bytes[2..].first_chunk() {
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
            None => return (Piece::Incomplete, 0),
        },
        127 => match bytes[2..].first_chunk() {
            Some(len) => (u64::from_be_bytes(*len), 10),
            None => return (Piece::Incomplete, 0),
        },
        len => (u64::from(len), 2),
    };
    if len > MESSAGE_BYTES_MAX {
        return (Piece::Wrong("a frame of an impossible length"), 0);
    }
    let end = head + len as usize;
    if bytes.len() < end {
        return (Piece::Incomplete, 0);
    }
    let payload = head..end;
    let piece = match first {
        0x81 | 0x82 => Piece::Message(payload),
        0x88 => Piece::Close(match bytes[payload].first_chunk() {
            Some(code) => u16::from_be_bytes(*code),
            None => 1005,
        }),
        0x89 => Piece::Ping(payload),
        0x8a => Piece::Pong,
        0x00..=0x0f | 0x80 => Piece::Wrong("a fragmented message, which bench does not read"),
        _ => Piece::Wrong("a frame with reserved bits or an unknown opcode"),
    };
    (piece, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 3] = [Codec::Websocket, Codec::Text, Codec::Frame];

    /// A client's frame as its server would send it on: without the mask.
    fn unmasked(frame: &[u8]) -> Vec<u8> {
        let head = match frame[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        assert_eq!(frame[1] & 0x80, 0x80, "a client must mask");
        let mask = &frame[head..head + 4];
        let mut plain = frame[..head].to_vec();
        plain[1] &= 0x7f;
        let payload = frame[head + 4..].iter().zip(mask.iter().cycle());
        plain.extend(payload.map(|(byte, mask)| byte ^ mask));
        plain
    }

    fn as_received(codec: Codec, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        codec.write(message, 0x1234_abcd, &mut out);
        match codec {
            Codec::Websocket => unmasked(&out),
            _ => out,
        }
    }

    #[test]
    fn a_message_of_any_length_is_read_as_written() {
        for codec in CODECS {
            for len in [0, 1, 7, 8, 125, 126, 127, 65_535, 65_536, 70_000] {
                let message: Vec<u8> = (0..len).map(|at| b'a' + (at % 26) as u8).collect();
                let bytes = as_received(codec, &message);
                let (piece, taken) = codec.read(&bytes);
                assert_eq!(taken, bytes.len(), "{codec:?} {len}");
                let Piece::Message(range) = piece else {
                    panic!("{codec:?} {len}: {piece:?}");
                };
                assert!(bytes[range] == message, "{codec:?} {len}");
            }
        }
    }

    #[test]
    fn a_cut_message_is_incomplete_wherever_it_is_cut() {
        for codec in CODECS {
            let bytes = as_received(codec, &[b'x'; 300]);
            for len in 0..bytes.len() {
                let incomplete = (Piece::Incomplete, 0);
                assert_eq!(codec.read(&bytes[..len]), incomplete, "{codec:?} {len}");
            }
        }
    }

    #[test]
    fn what_follows_is_left() {
        for codec in CODECS {
            let mut bytes = as_received(codec, b"one");
            let first = bytes.len();
            bytes.extend(as_received(codec, b"two"));
            assert_eq!(codec.read(&bytes).1, first, "{codec:?}");
            let Piece::Message(range) = codec.read(&bytes[first..]).0 else {
                panic!("{codec:?}");
            };
            assert_eq!(&bytes[first..][range], b"two");
        }
    }

    #[test]
    fn answers_and_blocks_of_events() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let listening = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let bytes = [&answer[..], listening, b"id: a:1\ndata: x\n\n", b":\n\n"].concat();
        let (mut at, mut read) = (0, Vec::new());
        for end in 0..=bytes.len() {
            while let (Piece::Message(range), taken) = Codec::Http.read(&bytes[at..end]) {
                read.push(bytes[at..][range].to_vec());
                at += taken;
            }
        }
        let wanted = [&answer[..], listening, b"id: a:1\ndata: x", b":"];
        assert_eq!(read, wanted.map(<[u8]>::to_vec));
        let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
        assert!(matches!(Codec::Http.read(endless).0, Piece::Wrong(_)));
    }

    #[test]
    fn control_frames_and_what_is_wrong() {
        let read = |bytes: &[u8]| Codec::Websocket.read(bytes);
        assert_eq!(read(&[0x88, 2, 0x0f, 0xa5]), (Piece::Close(4005), 4));
        assert_eq!(read(&[0x88, 0]), (Piece::Close(1005), 2));
        assert_eq!(read(&[0x89, 1, 7]), (Piece::Ping(2..3), 3));
        assert_eq!(read(&[0x8a, 0]), (Piece::Pong, 2));
        for wrong in [
            &[0x81, 0x81, 0, 0, 0, 0, 0][..],
            &[0x01, 0],
            &[0xc1, 0],
            &[0x83, 0],
        ] {
            assert!(matches!(read(wrong).0, Piece::Wrong(_)), "{wrong:?}");
        }
        assert!(matches!(
            Codec::Frame.read(&[0, 0, 0, 3]).0,
            Piece::Wrong(_)
        ));
        let mut pong = Vec::new();
        Codec::Websocket.write_pong(b"abc", 99, &mut pong);
        assert_eq!(unmasked(&pong), [0x8a, 3, b'a', b'b', b'c']);
        let mut close = Vec::new();
        Codec::Websocket.write_close(5, &mut close);
        assert_eq!(unmasked(&close), [0x88, 2, 3, 0xe8]);
    }
}
