//! What the transport makes of one connection's bytes, and how far its end has come: [`Progress`], plain data that
//! goes with the connection wherever that goes. What it counts towards, and what it has spent of its rates.

use serde::{Deserialize, Serialize};

use crate::protocol::proxy::ProxyHeader;
use crate::protocol::websocket::handshake::Handshake;
use crate::protocol::{Codec, Decoder, http};
use crate::shard::{SavedPhase, ShardPart};
use crate::tls::TlsConnection;

/// What the bytes that arrive are.
#[derive(Debug, Serialize, Deserialize)]
pub enum Input {
    /// A proxy's header, which tells whose connection it is.
    ProxyHeader(Box<ProxyHeader>),
    /// The opening handshake.
    Handshake(Box<Handshake>),
    /// Requests of HTTP.
    Requests(http::RequestDecoder),
    /// Messages.
    Messages(Decoder),
    /// Nothing that matters any more: they are read so that the peer sees an orderly end.
    Ignored,
    /// What breaks whoever looks at it, in place of a codec that does.
    #[cfg(test)]
    #[serde(skip)]
    Panics,
}

impl Input {
    /// Whether it is still to come to messages.
    pub fn comes_before_messages(&self) -> bool {
        matches!(
            self,
            Input::ProxyHeader(_) | Input::Handshake(_) | Input::Requests(_)
        )
    }

    /// What cuts messages out of the bytes, once they are messages.
    pub fn decoder(&mut self) -> Option<&mut Decoder> {
        match self {
            Input::Messages(decoder) => Some(decoder),
            #[cfg(test)]
            Input::Panics => panic!("a codec's mistake"),
            Input::ProxyHeader(_) | Input::Handshake(_) | Input::Requests(_) | Input::Ignored => {
                None
            }
        }
    }

    /// Whether the bytes up to here are whole messages.
    pub fn is_between_messages(&self) -> bool {
        matches!(self, Input::Messages(decoder) if decoder.bytes_held() == 0)
    }

    /// Whether a connection of this codec that has come so far can be read so.
    pub fn fits(&self, shard_part: &ShardPart, codec: Codec) -> bool {
        if shard_part.is_http() != (codec == Codec::Http) {
            return false;
        }
        let is_closing = matches!(shard_part.stage, SavedPhase::Closing { .. });
        let is_known = matches!(
            shard_part.stage,
            SavedPhase::Open { .. } | SavedPhase::Home { .. }
        );
        match self {
            Input::ProxyHeader(_) => !is_known,
            Input::Handshake(_) => !is_known && codec.is_websocket(),
            Input::Requests(_) => shard_part.is_http(),
            Input::Messages(decoder) => {
                (is_known || is_closing) && codec.is_read_as(decoder.codec())
            }
            Input::Ignored => true,
            #[cfg(test)]
            Input::Panics => true,
        }
    }
}

/// What a connection counts towards. Its end gives back just that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Counted {
    /// None of the limits: it was refused, and is being told so.
    Nothing,
    /// Its pool's connections.
    Connection,
    /// Its address' connections, too.
    Address,
    /// Back ends' connections by HTTP.
    BackEnd,
    /// Back ends' connections by HTTP, and its address' connections, where its listener has a limit of its own.
    BackEndOfAddress,
    /// None of the limits yet: it found no place, and may still show that it needs none of those.
    Provisional,
}

impl Counted {
    /// Whether it is a back end's by HTTP.
    pub fn is_back_end(self) -> bool {
        matches!(self, Counted::BackEnd | Counted::BackEndOfAddress)
    }

    pub fn has_address(self) -> bool {
        matches!(self, Counted::Address | Counted::BackEndOfAddress)
    }
}

/// How far the reading of one connection has come, and its end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Progress {
    pub input: Input,
    /// What is under those bytes, where the connection speaks TLS.
    pub tls: Option<Box<TlsConnection>>,
    /// Read but not looked at, because the connection was paused or moved meanwhile.
    pub unread: Vec<u8>,
    /// The limits that it counts towards.
    pub counted: Counted,
    /// The wire said that there is something to read, and we have not read to its end.
    pub readable: bool,
    /// The end of the stream is in sight; reading goes on until it has come.
    pub ending: bool,
    /// The socket has an error. What came before it is read, and then the connection ends.
    pub broken: bool,
    /// The peer sends no more.
    pub at_end: bool,
    /// The peer's close frame has come.
    pub peer_closed: bool,
    /// We send no more, and have told the peer's kernel.
    pub shut: bool,
}

impl Progress {
    pub fn new(input: Input, counted: Counted) -> Progress {
        Progress {
            input,
            tls: None,
            unread: Vec::new(),
            counted,
            readable: false,
            ending: false,
            broken: false,
            at_end: false,
            peer_closed: false,
            shut: false,
        }
    }

    /// Bytes kept of what has come: half a request or a message, and input that is not looked at yet.
    pub fn bytes_held(&self) -> usize {
        let half = match &self.input {
            Input::ProxyHeader(header) => header.bytes_held(),
            Input::Handshake(handshake) => handshake.bytes_held(),
            Input::Requests(decoder) => decoder.bytes_held(),
            Input::Messages(decoder) => decoder.bytes_held(),
            _ => 0,
        };
        let record = self.tls.as_ref().map_or(0, |tls| tls.bytes_held());
        half + record + self.unread.capacity()
    }

    /// Whether something has to come before there are messages.
    pub fn asks_first(&self) -> bool {
        !matches!(self.input, Input::Messages(_)) || self.tls.is_some()
    }

    /// Drops all that, and takes no more.
    pub fn ignore(&mut self) {
        self.input = Input::Ignored;
        self.unread = Vec::new();
        if let Some(tls) = &mut self.tls {
            tls.ignore();
        }
    }
}

/// What a connection has spent of its rates: in how many nanoseconds that is earned again, or since when it has been.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spent {
    pub messages_in: i64,
    /// When all that its frames that are no message have cost is earned again.
    pub others_in: i64,
    pub bytes_in: i64,
    /// For so many nanoseconds we have not read all that it sent.
    pub behind: Option<u64>,
}
