//! [`Codec`]: which protocol a listener's connections speak, and how a message is written in it. Called by the shard for
//! each message, and by the transport for what a codec has besides (closes, pings).

use super::{frame, sse, text, v1, websocket};
use crate::close::CloseReason;
use crate::payload::Message;

/// How messages are cut out of a listener's connections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Codec {
    /// RFC 6455, after its opening [handshake](websocket::handshake).
    WebSocket,
    /// Lines that end with `\n`.
    Text,
    /// A four-byte big-endian length that counts itself, then the body.
    Frame,
    /// Server-Sent Events, one way alone.
    Sse,
    /// A websocket that speaks `ringpost.v1`: its messages are [envelopes](super::v1) already.
    V1,
    /// HTTP/1, whose requests a decoder of [its own](super::http::RequestDecoder) yields, and whose messages are whole answers.
    Http,
}

/// How many codecs there are.
pub const CODECS: usize = Codec::Http as usize + 1;

impl Codec {
    /// Whether its bytes are a websocket's frames.
    pub fn is_websocket(self) -> bool {
        matches!(self, Codec::WebSocket | Codec::V1)
    }

    /// Whether a decoder of another codec reads its bytes.
    pub fn is_read_as(self, decoder: Codec) -> bool {
        self == decoder || self.is_websocket() && decoder.is_websocket()
    }

    /// Whether its clients are told where a message stands in its stream, and may come back for what they have missed.
    pub fn tells_positions(self) -> bool {
        matches!(self, Codec::Sse | Codec::V1)
    }

    /// Appends the message as the server sends it.
    pub fn encode(self, message: Message<'_>, out: &mut Vec<u8>) {
        match self {
            Codec::WebSocket | Codec::V1 => websocket::encode(message, out),
            Codec::Text => text::encode(message, out),
            Codec::Frame => frame::encode(message, out),
            Codec::Sse => sse::encode(message, out),
            Codec::Http => out.extend_from_slice(message.bytes()),
        }
    }

    /// How many bytes [`Codec::encode`] appends.
    pub fn encoded_len(self, message: Message<'_>) -> usize {
        match self {
            Codec::WebSocket | Codec::V1 => websocket::encoded_len(message),
            Codec::Text => text::encoded_len(message),
            Codec::Frame => frame::encoded_len(message),
            Codec::Sse => sse::encoded_len(message),
            Codec::Http => message.len(),
        }
    }

    /// Appends the close frame, or last event, for our own ending, with its code and its reason in words. Nothing
    /// where the codec has no close, or the reason no code.
    pub fn encode_close(self, reason: CloseReason, out: &mut Vec<u8>) {
        self.encode_close_saying(reason, reason.text(), out);
    }

    /// With a text in place of the reason's own, of at most [`CLOSE_TEXT_BYTES_MAX`](crate::close::CLOSE_TEXT_BYTES_MAX).
    pub fn encode_close_saying(self, reason: CloseReason, text: &str, out: &mut Vec<u8>) {
        match (self, reason.code()) {
            (Codec::WebSocket | Codec::V1, Some(code)) => {
                websocket::encode_close(code, text, out);
            }
            (Codec::Sse, Some(code)) => sse::encode_close(code, reason, text, out),
            _ => {}
        }
    }

    /// Appends the answer to the peer's close frame: its code again, or none. Nothing where the
    /// codec has no close.
    pub fn encode_close_echo(self, code: Option<u16>, out: &mut Vec<u8>) {
        if self.is_websocket() {
            websocket::encode_close_echo(code, out);
        }
    }

    /// Appends an empty ping. Nothing where the codec has none.
    pub fn encode_ping(self, out: &mut Vec<u8>) {
        match self {
            Codec::WebSocket => websocket::encode_ping(out),
            Codec::Sse => sse::encode_ping(out),
            Codec::V1 => websocket::encode(Message::Text(v1::PING), out),
            Codec::Text | Codec::Frame | Codec::Http => {}
        }
    }

    /// Whether it has a word for who joins and leaves a group.
    pub fn tells_presence(self) -> bool {
        matches!(self, Codec::Sse | Codec::V1)
    }

    /// Appends that word: a JSON object that begins with a member `type`. Nothing where the codec has none.
    pub fn encode_presence(self, told: &str, out: &mut Vec<u8>) {
        match self {
            Codec::Sse => sse::encode_presence(told, out),
            Codec::V1 => websocket::encode(Message::Text(told), out),
            _ => {}
        }
    }

    /// Whether it has pings.
    pub fn pings(self) -> bool {
        self.is_websocket() || self == Codec::Sse
    }

    /// Whether a peer can say anything once it is there; if not, its silence says nothing.
    pub fn hears(self) -> bool {
        self != Codec::Sse
    }

    /// Appends the answer to a ping. Nothing where the codec has none.
    pub fn encode_pong(self, payload: &[u8], out: &mut Vec<u8>) {
        if self.is_websocket() {
            websocket::encode_pong(payload, out);
        }
    }
}
