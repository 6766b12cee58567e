//! What crosses cores: the concrete contents of the bus's envelopes.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::AnyNote;
use super::crossing::{Bulk, Crossing};
use super::following::FollowStep;
use super::groups::{ReplyTo, ToGroup};
use super::order::{Path, Way};
use super::query::{Query, QueryResult};
use crate::events::KickedBy;
use crate::ident::{ConnId, CoreId, Reach, Reply, Space};
use crate::migration::{Migration, Socket};
use crate::payload::{Message, Payload};
use crate::shard::{Interest, Mark};
use crate::stats::CoreStats;
use crate::streams::{Position, Wish};

pub enum Body {
    /// A connection on its way to its uid's home core. It follows every envelope it has caused.
    Transfer(Box<Transfer>),
    /// To every connection of a uid. If nobody is there, the sender named hears of it; with [`ConnId::NOBODY`] none does.
    ToUid {
        reach: Reach,
        addressed: Addressed,
        tell: ConnId,
    },
    ToEverybody(Arc<ToAll>),
    /// The same from a core that passes it on to all for another.
    Spread(Box<Spread>),
    /// To a group that is at home here.
    ToGroup {
        to_group: Arc<ToGroup>,
        asked: ReplyTo,
    },
    /// The same from its home, for its members here.
    ToMembers {
        bulk: Bulk,
        to_group: Arc<ToGroup>,
        asked: ReplyTo,
    },
    /// A group that is at home here has members there now, or none any more.
    Interest(Box<Interest>),
    /// The home has the group that this connection of yours has joined: its space, number and name.
    JoinedBack {
        connection: ConnId,
        joined: Box<(Space, u64, Box<str>)>,
    },
    /// To be passed on.
    Pass(Box<Passing>),
    /// A connection that is home here, in these groups, is to cross to you.
    Announce {
        number: u64,
        groups: Box<[(Space, Box<str>)]>,
    },
    /// Send a fence there, behind all that you have sent.
    Fence {
        to: CoreId,
        number: u64,
    },
    /// It.
    Fenced {
        number: u64,
        /// The number of the last message for many that you have sent out.
        sent: u64,
    },
    /// The one that was announced does not come.
    Withdrawn {
        number: u64,
    },
    /// What fills a place among the replies of a connection that has moved from here to you, by its id here.
    Fill {
        reply: Reply,
        payload: Payload,
    },
    /// A connection that has moved from you with replies open, with this id there, has ended.
    Unfilled {
        connection: ConnId,
    },
    /// A step in following a stream.
    Follow(Box<FollowStep>),
    /// A call and its number on the asking core, which gets exactly one answer to it.
    Call {
        call: u64,
        what: Call,
    },
    /// The same from a task of that core.
    Query {
        call: u64,
        what: Box<Query>,
    },
    Answer {
        call: u64,
        part: AnswerPart,
    },
    /// A message from this connection of yours found nobody.
    Offline {
        connection: ConnId,
        uid: Box<str>,
    },
    Note {
        app: u8,
        note: AnyNote,
    },
    /// The server stops.
    Drain(DrainStep),
    /// Other limits from now on. Only the server looks inside.
    Renew(Arc<dyn Any + Send + Sync>),
    /// Nothing: whoever posted it sees that it is taken, so that this core makes turns.
    RollCall,
}

/// A message for everybody, as it goes to each core.
pub struct ToAll {
    pub bulk: Bulk,
    pub reach: Reach,
    /// Where it stands in everybody's stream: then it is of one space.
    pub mark: Option<Mark>,
    pub payload: Payload,
}

/// One that a core is to send to everybody for another.
pub struct Spread {
    pub reach: Reach,
    pub wish: Wish,
    pub payload: Payload,
    pub asked: ReplyTo,
}

/// What goes by other cores, behind what these pass on besides.
pub struct Passing {
    /// Who sends it, and has the answer.
    pub origin: CoreId,
    /// The cores that are left, the last of which it is for.
    pub path: Path,
    /// Whether it is for many.
    pub is_bulk: bool,
    pub body: Body,
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
}

pub enum Call {
    Push {
        reach: Reach,
        addressed: Addressed,
    },
    PushEverybody(Arc<ToAll>),
    Kick {
        reach: Reach,
        uid: Box<str>,
        by: KickedBy,
    },
    Online {
        reach: Reach,
        uid: Box<str>,
    },
    Stats,
}

/// One core's part of an answer.
pub enum AnswerPart {
    /// So many other cores have parts, too.
    More(u32),
    Reached(u32),
    /// The same of a message that its stream keeps.
    Kept {
        reached: u32,
        position: Position,
    },
    Stats(Box<CoreStats>),
    Found(Box<QueryResult>),
}

/// The steps of stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainStep {
    /// Let no clients in; say how many there are.
    Shut,
    /// Close so many clients; serve the others.
    Close { count: usize },
    /// Accept nothing, read nothing; go on delivering.
    Quiet,
    /// Nothing is under way any more: close every connection.
    Finish {
        /// When the core ends even so.
        until: Instant,
    },
}

/// A uid and a message for it in one allocation.
pub struct Addressed {
    bytes: Box<[u8]>,
    uid_bytes: u8,
    text: bool,
}

impl Addressed {
    /// The uid has passed `check_uid`, so its length fits.
    pub fn new(uid: &str, message: Message<'_>) -> Addressed {
        assert!(uid.len() <= crate::ident::UID_BYTES_MAX);
        let mut bytes = Vec::with_capacity(uid.len() + message.len());
        bytes.extend_from_slice(uid.as_bytes());
        bytes.extend_from_slice(message.bytes());
        Addressed {
            bytes: bytes.into_boxed_slice(),
            uid_bytes: uid.len() as u8,
            text: matches!(message, Message::Text(_)),
        }
    }

    pub fn uid(&self) -> &str {
        let uid = &self.bytes[..usize::from(self.uid_bytes)];
        // SAFETY: the first `uid_bytes` bytes were copied from a `str` in `new`.
        unsafe { std::str::from_utf8_unchecked(uid) }
    }

    pub fn message(&self) -> Message<'_> {
        let bytes = &self.bytes[usize::from(self.uid_bytes)..];
        if self.text {
            // SAFETY: `text` is set only where these bytes were copied from a `str` in `new`.
            Message::Text(unsafe { std::str::from_utf8_unchecked(bytes) })
        } else {
            Message::Binary(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_stays_small() {
        assert!(size_of::<Body>() <= 48, "{}", size_of::<Body>());
    }

    #[test]
    fn addressed_gives_back_what_it_got() {
        let both = Addressed::new("李", Message::Text("hé"));
        assert_eq!(both.uid(), "李");
        assert_eq!(both.message(), Message::Text("hé"));
        let bytes = Addressed::new("u", Message::Binary(&[0xff]));
        assert_eq!(bytes.message(), Message::Binary(&[0xff]));
    }
}
