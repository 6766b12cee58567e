//! What the wire tells of a connection ([`Ready`]), and how it watches one ([`Watch`]).

use crate::ident::ConnId;

/// Connections told of in one call. What is left keeps the descriptor readable.
pub const READY_PER_TURN: usize = 512;

/// What has happened to a connection since it was last asked.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ready {
    /// The connection's id in one word, see [`Ready::connection`].
    pub(super) id: u64,
    /// Bytes or the end of the stream can be read.
    pub readable: bool,
    /// The end of the stream is in sight: read to it.
    pub ending: bool,
    /// The kernel takes bytes again.
    pub writable: bool,
    /// The socket has an error.
    pub broken: bool,
    /// The wire has stopped watching. Whoever still has the connection has it watched again, and loses
    /// nothing by it: what is ready then is reported.
    pub unwatched: bool,
    /// The wire has stopped watching, as it was told to. Nothing else is said with it.
    pub recalled: bool,
}

/// How the wire watches a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Not yet.
    Not,
    /// Until it has input, and not for room to write.
    Once,
    /// So it was, until it was told to stop, which it has not confirmed.
    Recalled,
    /// Not any more: it has had input, and is to be watched for good.
    Over,
    /// For good.
    Always,
}

impl Watch {
    /// Whether the wire has it.
    pub fn is_on(self) -> bool {
        matches!(self, Watch::Once | Watch::Recalled | Watch::Always)
    }
}

impl Ready {
    /// From poll(2)'s flags, which are epoll's, too.
    pub(super) fn new(id: u64, flags: u32) -> Ready {
        let has = |wanted: libc::c_int| flags & wanted as u32 != 0;
        Ready {
            id,
            readable: has(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP),
            ending: has(libc::EPOLLRDHUP | libc::EPOLLHUP),
            writable: has(libc::EPOLLOUT),
            broken: has(libc::EPOLLERR),
            unwatched: false,
            recalled: false,
        }
    }

    /// Whose it is.
    pub fn connection(&self) -> ConnId {
        ConnId::from_bits(self.id)
    }
}
