//! What a decoder finds in a connection's bytes: [`Decoded`]. It borrows them, and keeps nothing.

use crate::close::Flaw;
use crate::payload::Message;

/// What a decoder found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// The edges of a line that is longer than a message may be, where that does not end the connection.
    TooLong(&'a [u8]),
    /// A line that is not UTF-8, where that does not end the connection.
    NotUtf8(&'a [u8]),
    /// A line whose end has not come when the stream's has.
    Unended(&'a [u8]),
    /// A websocket's whole text message as its sender compressed it; an [inflater](super::websocket::deflate)
    /// makes a message of it.
    CompressedText(&'a [u8]),
    /// A websocket's whole binary message as its sender compressed it.
    CompressedBinary(&'a [u8]),
    /// A websocket ping; [`Codec::encode_pong`](super::Codec::encode_pong) answers it with the same bytes.
    Ping(&'a [u8]),
    /// A websocket pong: the peer lives.
    Pong,
    /// The peer's close frame; [`Codec::encode_close_echo`](super::Codec::encode_close_echo) answers it. Nothing comes after it.
    Close {
        /// The code in it, if any.
        code: Option<u16>,
    },
}

impl<'a> Decoded<'a> {
    /// A line that is no message, and why.
    pub fn flawed(self) -> Option<(Flaw, &'a [u8])> {
        match self {
            Decoded::TooLong(line) => Some((Flaw::TooBig, line)),
            Decoded::NotUtf8(line) => Some((Flaw::NotUtf8, line)),
            Decoded::Unended(line) => Some((Flaw::Unended, line)),
            _ => None,
        }
    }
}

const _: () = assert!(size_of::<Decoded<'_>>() == 24);
