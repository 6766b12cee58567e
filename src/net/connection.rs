//! The transport's part of one connection: its socket, what it makes of the bytes, and how far its end
//! has come. It travels whole when the connection moves.

use std::net::TcpStream;

use crate::ident::ConnId;
use crate::net::admission::Counted;
use crate::protocol::proxy::ProxyHeader;
use crate::protocol::websocket::handshake::Handshake;
use crate::protocol::{Codec, Decoder, http};

/// What the bytes that arrive are.
pub enum Input {
    /// A proxy's header, which tells whose connection it is.
    ProxyHeader(Box<ProxyHeader>),
    /// The opening handshake.
    Handshake(Box<Handshake>),
    /// Requests of HTTP.
    Requests(http::Decoder),
    /// Messages.
    Messages(Decoder),
    /// Nothing that matters any more: they are read so that the peer sees an orderly end.
    Ignored,
    /// What breaks whoever looks at it, in place of a codec that does.
    #[cfg(test)]
    Panics,
}

impl Input {
    pub fn comes_before_messages(&self) -> bool {
        matches!(
            self,
            Input::ProxyHeader(_) | Input::Handshake(_) | Input::Requests(_)
        )
    }
}

/// One connection's part. While it moves, its socket may go another way, and there is `()` in its place.
pub struct Link<S = TcpStream> {
    pub id: ConnId,
    pub stream: S,
    pub codec: Codec,
    pub input: Input,
    /// Read but not looked at, because the connection was paused or moved meanwhile.
    pub unread: Vec<u8>,
    /// The limits that it counts towards.
    pub counted: Counted,
    /// The wire watches it: not before its first input has been looked for.
    pub watched: bool,
    /// The wire said that there is something to read, and we have not read to its end.
    pub readable: bool,
    /// The end of the stream is in sight; reading goes on until it has come.
    pub ending: bool,
    /// The socket has an error. What came before it is read, and then the connection ends.
    pub broken: bool,
    /// A later turn reads on.
    pub queued: bool,
    /// The peer sends no more.
    pub at_end: bool,
    /// The peer's close frame has come.
    pub peer_closed: bool,
    /// We send no more, and have told the peer's kernel.
    pub shut: bool,
}

impl Link {
    pub fn new(
        id: ConnId,
        stream: TcpStream,
        codec: Codec,
        input: Input,
        counted: Counted,
    ) -> Link {
        Link {
            id,
            stream,
            codec,
            input,
            unread: Vec::new(),
            counted,
            watched: false,
            readable: false,
            ending: false,
            broken: false,
            queued: false,
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
        half + self.unread.capacity()
    }

    /// Drops all that, and takes no more.
    pub fn ignore(&mut self) {
        self.input = Input::Ignored;
        self.unread = Vec::new();
    }

    /// Whether each side has told the other that it sends no more (RFC 6455, 1.4), once our close frame has left. The peer
    /// has nothing to say after its own, so no byte of it finds the socket gone.
    pub fn is_agreed_end(&self) -> bool {
        self.peer_closed && self.codec == Codec::WebSocket
    }

    /// Whether a close frame of the peer's is still to be waited for before we end the stream.
    pub fn awaits_close(&self) -> bool {
        let answers = self.codec == Codec::WebSocket && matches!(self.input, Input::Messages(_));
        answers && !self.peer_closed && !self.at_end
    }
}

impl<S> Link<S> {
    /// The same with another socket, or none, and the one it had.
    pub fn exchange<T>(self, stream: T) -> (Link<T>, S) {
        let Link {
            id,
            stream: had,
            codec,
            input,
            unread,
            counted,
            watched,
            readable,
            ending,
            broken,
            queued,
            at_end,
            peer_closed,
            shut,
        } = self;
        let link = Link {
            id,
            stream,
            codec,
            input,
            unread,
            counted,
            watched,
            readable,
            ending,
            broken,
            queued,
            at_end,
            peer_closed,
            shut,
        };
        (link, had)
    }
}
