//! A websocket client's frames and the messages made of them, with compression agreed on or not, against a
//! plain reader of the whole stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::CloseReason;
use ringpost::protocol::Codec;
use ringpost::protocol::websocket::deflate::Inflater;
use ringpost_fuzz::{Input, Outcome, Seen, Terms, encode};

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    let [_, deflate] = input.switches();
    let terms = Terms {
        codec: Codec::WebSocket,
        bytes_max: input.bytes_max(),
        deflate,
    };
    let outcome = terms.decode_each_way(&input);
    assert_eq!(
        outcome,
        Plain::read(terms, input.stream),
        "the plain reader"
    );
    for message in outcome.0.iter().filter_map(Seen::message) {
        let again = terms.decode(
            std::iter::once(&masked(encode(Codec::WebSocket, message))[..]),
            false,
        );
        assert_eq!(again.1, None);
        assert_eq!(
            again.0[0].message(),
            Some(message),
            "a message sent and received"
        );
    }
});

/// A server's frame as a client would send it, with a mask of zeros.
fn masked(mut frame: Vec<u8>) -> Vec<u8> {
    let at = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    frame[1] |= 0x80;
    frame.splice(at..at, [0; 4]);
    frame
}

/// Reads a whole stream byte by byte, remembers everything, and looks at all of a text anew with each frame.
struct Plain<'a> {
    terms: Terms,
    rest: &'a [u8],
    /// The first byte of the message under way, and its payload so far.
    message: Option<(u8, Vec<u8>)>,
    inflater: Inflater,
    seen: Vec<Seen>,
}

/// A stream ends without an error, for it is over, or the client has closed it.
type Ended = Option<CloseReason>;

impl<'a> Plain<'a> {
    fn read(terms: Terms, stream: &'a [u8]) -> Outcome {
        let mut plain = Plain {
            terms,
            rest: stream,
            message: None,
            inflater: Inflater::default(),
            seen: Vec::new(),
        };
        loop {
            if let Err(ended) = plain.frame() {
                return (plain.seen, ended);
            }
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Ended> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(None)?;
        self.rest = rest;
        Ok(taken)
    }

    fn frame(&mut self) -> Result<(), Ended> {
        const WRONG: Result<(), Ended> = Err(Some(CloseReason::Protocol));
        let first = self.take(1)?[0];
        let (fin, bits, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let compressed = bits == 0x40 && self.terms.deflate && matches!(opcode, 1 | 2);
        let is_control = opcode >= 8;
        if bits != 0 && !compressed || !matches!(opcode, 0..=2 | 8..=10) || is_control && !fin {
            return WRONG;
        }
        let second = self.take(1)?[0];
        let short = second & 0x7f;
        if second < 0x80 || is_control && short > 125 || opcode == 8 && short == 1 {
            return WRONG;
        }
        let long = match short {
            126 => self.take(2)?,
            127 => self.take(8)?,
            _ => &[short],
        };
        let len = long
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        if short == 126 && len < 126 || short == 127 && !(0x1_0000..1 << 63).contains(&len) {
            return WRONG;
        }
        let mask = self.take(4)?;
        if !is_control {
            if self.message.is_some() != (opcode == 0) {
                return WRONG;
            }
            let message = self.message.get_or_insert_with(|| (first, Vec::new()));
            let room = self.terms.room(message.0 & 0x40 != 0) - message.1.len();
            if len > room as u64 {
                return Err(Some(CloseReason::TooBig));
            }
        }
        let here = len.min(self.rest.len() as u64);
        let payload = self.take(here as usize)?.iter().zip(mask.iter().cycle());
        let payload: Vec<u8> = payload.map(|(byte, mask)| byte ^ mask).collect();
        let whole = here == len;
        match is_control {
            true if whole => self.control(opcode, payload),
            true => Err(None),
            false => self.fragment(payload, whole, fin),
        }
    }

    fn control(&mut self, opcode: u8, payload: Vec<u8>) -> Result<(), Ended> {
        match opcode {
            9 => self.seen.push(Seen::Ping(payload)),
            10 => self.seen.push(Seen::Pong),
            _ => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                // RFC 6455, section 7.4, and what was registered since.
                if !code.is_none_or(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999))
                {
                    return Err(Some(CloseReason::Protocol));
                }
                if str::from_utf8(payload.get(2..).unwrap_or_default()).is_err() {
                    return Err(Some(CloseReason::NotUtf8));
                }
                self.seen.push(Seen::Close(code));
                return Err(None);
            }
        }
        Ok(())
    }

    fn fragment(&mut self, payload: Vec<u8>, whole: bool, fin: bool) -> Result<(), Ended> {
        let (first, mut bytes) = self.message.take().ok_or(None)?;
        bytes.extend(payload);
        let ends = whole && fin;
        let compressed = first & 0x40 != 0;
        let is_text = first & 0x0f == 1;
        if is_text && !compressed {
            match str::from_utf8(&bytes) {
                Err(error) if ends || error.error_len().is_some() => {
                    return Err(Some(CloseReason::NotUtf8));
                }
                _ => {}
            }
        }
        if !ends {
            self.message = Some((first, bytes));
            return if whole { Ok(()) } else { Err(None) };
        }
        if compressed {
            let bytes_max = self.terms.bytes_max;
            let inflated = self.inflater.inflate(&bytes, is_text, bytes_max);
            bytes = inflated.map_err(Some)?.bytes().to_vec();
        }
        self.seen.push(match is_text {
            true => Seen::Text(String::from_utf8(bytes).map_err(|_| Some(CloseReason::NotUtf8))?),
            false => Seen::Binary(bytes),
        });
        Ok(())
    }
}
