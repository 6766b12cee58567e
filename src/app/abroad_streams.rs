//! What a core and the engine of a cluster have for each other about streams and ids, which Redis keeps for all nodes:
//! [`StreamOrder`] and [`StreamNews`].

use std::time::Duration;

use super::acknowledged::ClientKey;
use super::bulk::Exceptions;
use super::follow_step::FollowedStream;
use super::idempotency::Digest;
use crate::ident::{ConnId, CoreId};
use crate::payload::Payload;
use crate::protocol::partitions::Partition;
use crate::streams::{Epoch, Keep, Kind, Mirrored, Position};

/// What a core has for the engine.
pub enum StreamOrder {
    /// A message is to be kept, and published.
    Keep(Box<KeepOrder>),
    /// A core that mirrors a stream wants what follows this position; all that there is without one.
    Read {
        of: FollowedStream,
        after: Option<Position>,
        /// Not before this node gets what is published of it.
        subscribed: bool,
    },
    /// Where do these stand? Each with where it stands here; all are in one partition.
    Compare(Vec<(FollowedStream, Position)>),
    /// Throw away what is kept; a core's call is answered by how many messages that were.
    Forget {
        of: Vec<FollowedStream>,
        asked_by: (CoreId, u64),
    },
    /// Up to there a uid's messages have come.
    Delivered { of: FollowedStream, upto: Position },
    /// May the request of this id be carried out? With `waits` it is answered when another node has done it.
    Claim {
        id: Digest,
        wanted: Digest,
        window: Duration,
        token: u64,
        waits: bool,
        /// It can be done again, and is not done twice.
        again: bool,
    },
    /// It was, with this answer; or it was given up.
    Settle {
        id: Digest,
        wanted: Digest,
        again: bool,
        window: Duration,
        answer: Option<Box<str>>,
    },
    /// A client has handled a stream up to there.
    Handled(HandledPlace),
    /// Where does one stand that has come?
    AskHandled(Box<HandledAt>),
}

/// How far a client has handled a stream.
pub struct HandledPlace {
    pub of: ClientKey,
    pub kind: Kind,
    /// A group's.
    pub name: Box<str>,
    pub at: Position,
}

/// How far a client has handled its streams that this connection is of.
#[derive(Clone)]
pub struct HandledAt {
    pub connection: ConnId,
    /// By which the core knows that it waits for this.
    pub token: u64,
    pub of: ClientKey,
    pub places: Vec<(Kind, Box<str>, Position)>,
}

/// A message that is to be kept.
pub struct KeepOrder {
    pub of: FollowedStream,
    pub keep: Keep,
    pub refresh: bool,
    pub except: Exceptions,
    pub payload: Payload,
    /// It is kept once for this id, which holds for so long.
    pub id: Option<(Digest, Duration)>,
    /// To be answered by two parts: how many it has reached, and where it stands.
    pub call: Option<u64>,
}

/// What the engine has for the core where a stream, or an id, is at home.
pub enum StreamNews {
    /// A message has its place in its stream.
    Placed(Box<PlacedMessage>),
    /// What is kept up to there was thrown away.
    Forgotten { of: FollowedStream, upto: Position },
    /// A piece of a stream; `None` if it cannot be had now.
    Page(FollowedStream, Option<Box<StreamPage>>),
    /// A stream stands there.
    Compared(FollowedStream, Position),
    /// What a claim has come to.
    Claimed(u64, ClaimOutcome),
    /// The Redis of a partition is there, or it is not.
    Joined(Partition, bool),
    /// One that is there keeps groups of uids, or of none.
    HasStickies(Partition, bool),
    /// It is time to compare some streams.
    Look,
    /// Where a client stands that has come.
    Handled(Box<HandledAt>),
}

/// A message that Redis has given its place; or, while Redis is away, one that has none.
pub struct PlacedMessage {
    pub of: FollowedStream,
    pub position: Option<Position>,
    pub message: Mirrored,
    pub refresh: bool,
    pub except: Exceptions,
    /// By which the engine is answered; 0 if it need not be.
    pub number: u64,
}

/// A piece of a stream, as Redis has it.
pub struct StreamPage {
    pub epoch: Epoch,
    pub top: u64,
    /// Up to there all was thrown away.
    pub floor: u64,
    /// Up to there all was delivered.
    pub delivered: u64,
    /// Up to there all is of lives before this one.
    pub born: u64,
    pub messages: Vec<(u64, Mirrored)>,
}

/// What has come of a claim.
pub enum ClaimOutcome {
    Fresh,
    /// Another node carries it out.
    UnderWay,
    /// One that is gone did, and nobody knows what was done.
    Lost,
    Done(Box<str>),
    Conflict,
    /// Redis is away: nobody knows.
    Away,
}
