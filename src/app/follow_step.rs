//! What cores tell each other of a connection that follows streams: [`FollowStep`].

use crate::ident::{ConnId, NamespaceId};
use crate::payload::Payload;
use crate::protocol::partitions::Topic;
use crate::shard::Since;
use crate::streams::{Address, Gap, Kind, Position, Recovery};

/// What is asked of a stream's home, and its answers.
pub struct FollowStep {
    pub connection: ConnId,
    /// Which of its streams, by its serial: it may be another one's place when the answer comes.
    pub serial: u32,
    pub what: StreamStep,
}

pub enum StreamStep {
    /// Where does it stand?
    Ask {
        of: FollowedStream,
        since: Since,
    },
    Answer(Recovery),
    /// What follows this position?
    Read {
        of: FollowedStream,
        after: Position,
    },
    Piece(Result<FollowedPiece, Gap>),
}

/// A stream, as it is named between cores.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FollowedStream {
    pub namespace: NamespaceId,
    pub kind: Kind,
    pub name: Box<str>,
}

impl FollowedStream {
    pub fn address(&self) -> Address<'_> {
        let FollowedStream {
            namespace,
            kind,
            name,
        } = self;
        Address {
            namespace: *namespace,
            kind: *kind,
            name,
        }
    }

    /// See [`topic`].
    pub fn topic(&self) -> Topic<'_> {
        topic(self.kind, &self.name)
    }
}

/// By which is decided which Redis of a cluster keeps a stream: with its uid, or its group.
pub fn topic(kind: Kind, name: &str) -> Topic<'_> {
    match kind {
        Kind::Uid => Topic::Uid(name),
        Kind::Group => Topic::Group(name),
        Kind::All => Topic::All,
    }
}

/// A piece of what somebody has missed.
pub struct FollowedPiece {
    pub(super) messages: Vec<(Position, Payload)>,
    /// Nothing follows it.
    pub(super) is_last: bool,
}
