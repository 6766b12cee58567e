//! The wire: where a core's connections wait for input and for room to write.
//!
//! One small interface, so that what is behind it can change: watch a connection, take the turn's
//! events, write, let one go. Its descriptor becomes readable when events wait; a monoio task watches it.

mod epoll;

pub use epoll::{EVENTS_PER_TURN, Wire};

use crate::ident::ConnId;

/// What has happened to a connection since it was last asked.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub connection: ConnId,
    /// Bytes or the end of the stream can be read.
    pub readable: bool,
    /// The end of the stream is in sight: read to it.
    pub ending: bool,
    /// The kernel takes bytes again.
    pub writable: bool,
    /// The socket has an error.
    pub broken: bool,
}
