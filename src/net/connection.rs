//! The transport's part of one connection: its socket and its place on the wire, and what it makes of the bytes.

use std::net::TcpStream;

use crate::ident::ConnId;
pub use crate::migration::{Counted, Input, Progress};
use crate::net::wire::Watch;
use crate::protocol::Codec;

/// One connection's part.
pub struct Link {
    pub id: ConnId,
    pub stream: TcpStream,
    /// Its listener's.
    pub codec: Codec,
    /// What goes with it when it moves.
    pub progress: Progress,
    /// How the wire watches it: not at all before its first input has been looked for.
    pub watch: Watch,
    /// A later turn reads on.
    pub queued: bool,
}

impl Link {
    pub fn new(id: ConnId, stream: TcpStream, codec: Codec, progress: Progress) -> Link {
        Link {
            id,
            stream,
            codec,
            progress,
            watch: Watch::Not,
            queued: false,
        }
    }

    /// Whether each side has told the other that it sends no more (RFC 6455, 1.4), once our close frame has left. The peer
    /// has nothing to say after its own, so no byte of it finds the socket gone.
    pub fn is_agreed_end(&self) -> bool {
        self.progress.peer_closed && self.codec.is_websocket()
    }

    /// Whether a close frame of the peer's is still to be waited for before we end the stream.
    pub fn awaits_close(&self) -> bool {
        let hears = matches!(self.progress.input, Input::Messages(_));
        let answers = self.codec.is_websocket() && hears;
        answers && !self.progress.peer_closed && !self.progress.at_end
    }
}
