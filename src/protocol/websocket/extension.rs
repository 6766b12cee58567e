//! The extension permessage-deflate as it is agreed on in the opening handshake (RFC 7692, section 7.1):
//! a client's [`Offer`], and the answer to it.
//!
//! Neither side takes its window over from one message to the next, so that one compressor and one inflater
//! serve a whole core. Every byte of a header line is looked at once. Called for each
//! `Sec-WebSocket-Extensions` line; what is wrong in one is never an error, it is not taken up.

use std::num::NonZeroU8;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::protocol::http::scan::is_token;

/// How far back anything that we compress refers, as a power of two: 4 KiB. More would be of use to messages
/// beyond that only, and some clients take no more.
pub const WINDOW_BITS: NonZeroU8 = NonZeroU8::new(12).unwrap();

/// What a client may ask for.
const WINDOW_BITS_ALLOWED: RangeInclusive<u8> = 8..=15;

/// How far back what is sent to a connection may refer. It has agreed to compression.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "NonZeroU8")]
pub struct Window(NonZeroU8);

/// What was written down may be anything.
impl TryFrom<NonZeroU8> for Window {
    type Error = &'static str;

    fn try_from(bits: NonZeroU8) -> Result<Window, &'static str> {
        match WINDOW_BITS_ALLOWED.contains(&bits.get()) {
            true => Ok(Window(bits)),
            false => Err("a window that nobody can have"),
        }
    }
}

impl Window {
    /// Whether what we make of a message of this length keeps within it.
    pub fn holds(self, message_len: usize) -> bool {
        self.0 >= WINDOW_BITS || message_len <= 1 << self.0.get()
    }
}

/// What a client that can be served has offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The largest window that it lets us use, if it has said so.
    window_bits: Option<NonZeroU8>,
}

impl Offer {
    /// The first offer on a header line that can be taken up.
    pub fn first(line: &[u8]) -> Option<Offer> {
        let mut scan = OfferScan(line);
        loop {
            let offer = scan.offer()?;
            if offer.is_some() {
                return offer;
            }
            if !scan.take(b',') {
                return None;
            }
        }
    }

    /// The window for what is sent to this client.
    pub fn window(self) -> Window {
        Window(self.window_bits.unwrap_or(WINDOW_BITS).min(WINDOW_BITS))
    }

    /// The line of the 101 that takes it up.
    pub fn answer(self) -> String {
        let window = match self.window_bits {
            Some(bits) => format!("; server_max_window_bits={}", bits.min(WINDOW_BITS)),
            None => String::new(),
        };
        format!(
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover{window}\r\n"
        )
    }
}

/// The parameters of an offer that have been seen, each of which may be there once.
#[derive(Default)]
struct Seen {
    server_takeover: bool,
    client_takeover: bool,
    client_window: bool,
    window_bits: Option<NonZeroU8>,
}

impl Seen {
    /// Notes a parameter. False if it is one that no server may take up: unknown, there twice, or with a
    /// value that it cannot have.
    fn note(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        let flag = |seen: &mut bool| value.is_none() && !std::mem::replace(seen, true);
        match name {
            b"server_no_context_takeover" => flag(&mut self.server_takeover),
            b"client_no_context_takeover" => flag(&mut self.client_takeover),
            // Ours inflates whatever window a client uses.
            b"client_max_window_bits" => {
                let right = value.is_none_or(|value| window_bits(value).is_some());
                right && !std::mem::replace(&mut self.client_window, true)
            }
            b"server_max_window_bits" => match value.and_then(window_bits) {
                Some(bits) => self.window_bits.replace(bits).is_none(),
                None => false,
            },
            _ => false,
        }
    }
}

/// A number without a sign or a leading zero, in the range.
fn window_bits(value: &[u8]) -> Option<NonZeroU8> {
    let bits = match *value {
        [one @ b'1'..=b'9'] => one - b'0',
        [b'1', one @ b'0'..=b'9'] => 10 + (one - b'0'),
        _ => return None,
    };
    NonZeroU8::new(bits).filter(|_| WINDOW_BITS_ALLOWED.contains(&bits))
}

/// What is left of a header line (RFC 6455, section 9.1).
struct OfferScan<'a>(&'a [u8]);

impl<'a> OfferScan<'a> {
    /// Goes through one extension with its parameters, up to a comma or the end. `None` if the line is
    /// malformed there, an inner `None` for an extension that cannot be taken up.
    fn offer(&mut self) -> Option<Option<Offer>> {
        // A list may have empty elements.
        let mut fits = match self.token() {
            Some(name) => name == b"permessage-deflate",
            None if self.is_at(b',') => return Some(None),
            None => return None,
        };
        let mut seen = Seen::default();
        while self.take(b';') {
            let name = self.token()?;
            let value = match self.take(b'=') {
                true => Some(self.value()?),
                false => None,
            };
            fits = fits && seen.note(name, value);
        }
        if !self.0.is_empty() && !self.is_at(b',') {
            return None;
        }
        let window_bits = seen.window_bits;
        Some(fits.then_some(Offer { window_bits }))
    }

    /// A token, or one in quotes. (Quotes may hold a character after a backslash, too; none that can be
    /// taken up needs that.)
    fn value(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        if !self.take(b'"') {
            return self.token();
        }
        let value = self.word()?;
        let ends = self.take(b'"');
        self.skip_space();
        ends.then_some(value)
    }

    /// A token and the space around it.
    fn token(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let token = self.word();
        self.skip_space();
        token
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let len = self.0.iter().take_while(|byte| is_token(**byte)).count();
        let (word, rest) = self.0.split_at(len);
        self.0 = rest;
        (len > 0).then_some(word)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.is_at(byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn is_at(&self, byte: u8) -> bool {
        self.0.first() == Some(&byte)
    }

    fn skip_space(&mut self) {
        let space = self
            .0
            .iter()
            .take_while(|byte| matches!(**byte, b' ' | b'\t'));
        self.0 = &self.0[space.count()..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The window agreed on, and what the answer says beyond what each says; `None` if no offer is taken up.
    fn agreed(line: &str) -> Option<(u8, String)> {
        let offer = Offer::first(line.as_bytes())?;
        let answer = offer.answer();
        let rest = answer.strip_prefix(
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover",
        );
        let rest = rest.and_then(|rest| rest.strip_suffix("\r\n"));
        let rest = rest.expect("what every answer says").to_owned();
        Some((offer.window().0.get(), rest))
    }

    #[test]
    fn what_clients_offer_is_taken_up() {
        let bare = Some((12, String::new()));
        let with = |bits| Some((bits, format!("; server_max_window_bits={bits}")));
        let cases = [
            ("permessage-deflate", bare.clone()),
            ("permessage-deflate; client_max_window_bits", bare.clone()),
            ("permessage-deflate; client_max_window_bits=8", bare.clone()),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                bare.clone(),
            ),
            (
                "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
                with(12),
            ),
            ("permessage-deflate;server_max_window_bits=15", with(12)),
            ("permessage-deflate; server_max_window_bits=9", with(9)),
            (
                "permessage-deflate ;\tserver_max_window_bits = \"8\" ",
                with(8),
            ),
            (",, permessage-deflate", bare.clone()),
            // Of several the first that can be taken up is.
            ("x-webkit-deflate-frame, permessage-deflate", bare.clone()),
            (
                "x; y=1; z=\"2\", permessage-deflate; x, permessage-deflate",
                bare,
            ),
            (
                "permessage-deflate; server_max_window_bits=7, \
                 permessage-deflate; server_max_window_bits=9, permessage-deflate",
                with(9),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(agreed(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_not_taken_up() {
        for parameters in [
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=012",
            "server_max_window_bits=+12",
            "server_max_window_bits=268",
            "server_max_window_bits=\" 12\"",
            "server_max_window_bits=\"12",
            "server_max_window_bits=12; server_max_window_bits=12",
            "client_max_window_bits=7",
            "client_max_window_bits=x",
            "client_max_window_bits; client_max_window_bits",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=\"\"",
            "client_no_context_takeover; client_no_context_takeover",
            "mode=fast",
            "Server_no_context_takeover",
            "=",
            ";",
            "",
            "client_max_window_bits client_no_context_takeover",
            "client_max_window_bits\u{7f}",
        ] {
            let line = format!("permessage-deflate; {parameters}");
            assert_eq!(agreed(&line), None, "{line}");
        }
        for line in [
            "",
            ",",
            "x",
            "permessage-deflate=1",
            "permessage_deflate",
            "\"permessage-deflate\"",
        ] {
            assert_eq!(agreed(line), None, "{line}");
        }
    }

    /// What follows a malformed place may belong to anything.
    #[test]
    fn nothing_is_taken_up_after_a_malformed_offer() {
        for line in [
            "x y, permessage-deflate",
            "x; a=\"b, permessage-deflate\"",
            "(x), permessage-deflate",
        ] {
            assert_eq!(agreed(line), None, "{line}");
        }
    }

    #[test]
    fn a_small_window_holds_small_messages() {
        let window = |line: &[u8]| Offer::first(line).expect("an offer").window();
        let small = window(b"permessage-deflate; server_max_window_bits=9");
        assert!(small.holds(512) && !small.holds(513));
        assert!(window(b"permessage-deflate").holds(usize::MAX));
    }

    proptest! {
        #[test]
        fn noise_is_harmless(line in vec(any::<u8>(), 0..200)) {
            Offer::first(&line);
        }

        #[test]
        fn other_offers_are_passed_by(
            others in vec("[a-z-]{1,9}(; ?[a-z_]{1,9}(=([0-9]{1,3}|\"[a-z]{1,3}\"))?){0,3}", 0..4),
        ) {
            let line = [others.as_slice(), &["permessage-deflate; server_max_window_bits=10".into()]];
            let line = line.concat().join(", ");
            prop_assert_eq!(agreed(&line).map(|agreed| agreed.0), Some(10));
        }
    }
}
