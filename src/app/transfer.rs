//! A connection between two cores: that it is to go, [`Departure`], what goes, [`Transfer`], and that it has come,
//! [`Arrival`].

use smallvec::SmallVec;

use super::bulk::ReplyTo;
use super::order::Way;
use crate::ident::{ConnId, CoreId};
use crate::migration::{Migration, Socket, TransportPart};

/// A connection that is to move: where to, and the uid to bind there.
pub struct Departure {
    pub connection: ConnId,
    pub home: CoreId,
    pub uid: Box<str>,
}

/// A connection between two cores.
pub struct Transfer {
    pub migration: Migration,
    pub socket: Socket,
    /// What it has at cores that pass it on.
    pub ways: SmallVec<[Way; 2]>,
    /// What one that was home already needs besides.
    pub crossing: Option<Box<Crossing>>,
    /// Its id where it comes from, if replies of its are open there.
    pub owed_as: Option<ConnId>,
    /// Who is to be told that it is bound, if a back end has asked for that.
    pub bind_asked: Option<ReplyTo>,
}

/// What comes along with a connection that crosses.
pub struct Crossing {
    /// As it was announced.
    pub(super) number: u64,
    /// By core, the number up to which it has all messages that were for it.
    pub(super) seen: Box<[u64]>,
}

/// A connection that has come from elsewhere, and is in the shard. What is left of it is the transport's.
pub struct Arrival {
    /// Its id here.
    pub connection: ConnId,
    /// What the transport knows of it.
    pub transport_part: TransportPart,
    /// Its socket.
    pub socket: Socket,
}
