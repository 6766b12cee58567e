//! What crosses cores: the concrete contents of the bus's envelopes.

use std::sync::Arc;
use std::time::Instant;

use super::abroad::{FromEngine, RosterNews, ToEngine};
use super::abroad_streams::StreamNews;
use super::addressed::Addressed;
use super::bulk::{Bulk, ReplyTo, Spread, ToAll, ToGroup};
use super::follow_step::{FollowStep, FollowedStream};
use super::note::AnyNote;
use super::order::Path;
use super::outcome::{Abroad, Delivered};
use super::presence::{MemberPage, MembersAsked};
use super::query::{ConnectionAnswer, Query, QueryResult};
use super::sticky_order::StickyNews;
use super::to_connection::{NameStep, ToConnection};
use super::transfer::{Arrival, Transfer};
use crate::close::CloseReason;
use crate::events::KickedBy;
use crate::ident::{ConnId, ConnName, CoreId, NamespaceId, Reach, Reply};
use crate::payload::Payload;
use crate::shard::{Farewell, Interest, Mark};
use crate::stats::CoreStats;
use crate::streams::Position;

pub enum Body {
    /// A connection on its way to its uid's home core. It follows every envelope it has caused.
    Transfer(Box<Transfer>),
    /// To every connection of a uid. If nobody is there, the sender named hears of it; with [`ConnId::NOBODY`] none does.
    ToUid {
        reach: Reach,
        addressed: Addressed,
        tell: ConnId,
    },
    /// To one connection, by its name.
    ToConnection(Box<ToConnection>),
    /// A step in knowing where the connection of a name is.
    Name(Box<(ConnName, NameStep)>),
    ToEverybody(Arc<ToAll>),
    /// To everybody, from a core that sends it out for another.
    Spread(Box<Spread>),
    /// To a group that is at home here.
    ToGroup {
        to_group: Arc<ToGroup>,
        asked: ReplyTo,
    },
    /// To a group from its home, for its members here.
    ToMembers {
        bulk: Bulk,
        to_group: Arc<ToGroup>,
        asked: ReplyTo,
    },
    /// A group that is at home here has members there now, or none any more.
    Interest(Box<Interest>),
    /// The home has the group that this connection of yours has joined: its namespace, number and name.
    JoinedBack {
        connection: ConnId,
        joined: Box<(NamespaceId, u64, Box<str>)>,
    },
    /// To be passed on.
    Pass(Box<Passing>),
    /// A connection that is home here, in these groups, is to cross to you.
    Announce {
        number: u64,
        groups: Box<[(NamespaceId, Box<str>)]>,
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
    /// A question of a task of that core.
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
    /// For other nodes of the cluster, by the engine.
    ToEngine(Box<ToEngine>),
    /// From one of them.
    FromEngine(Box<FromEngine>),
    /// Of a stream, or an id, that Redis keeps and that is at home here.
    StreamNews(Box<StreamNews>),
    /// This connection is to end, for its uid is another node's now.
    EndHeld(Box<(ConnId, Box<str>, CloseReason)>),
    /// Of who is on other nodes in a group that is at home here.
    RosterNews(Box<RosterNews>),
    /// The groups that a uid of yours is in without a connection.
    Sticky(Box<StickyNews>),
    /// Everybody's stream has come this far.
    SeeAll(Box<(NamespaceId, Position)>),
    /// Whoever follows this stream reads on from there.
    PutBack(Box<(FollowedStream, Position)>),
    /// The server stops.
    Drain(DrainStep),
    /// Another process is to go on in this one's place.
    Upgrade(UpgradeStep),
    /// Other limits hold from now on, which the server knows.
    Renew,
    /// Nothing: whoever posted it sees that it is taken, so that this core makes turns.
    RollCall,
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
        last: Option<Box<Farewell>>,
    },
    Online {
        reach: Reach,
        uid: Box<str>,
    },
    Stats,
    /// Who is in a group that is at home here.
    Members(Box<MembersAsked>),
}

/// One core's part of an answer.
pub enum AnswerPart {
    /// So many other cores have parts, too.
    More(u32),
    Reached(u32),
    /// How many a message has reached that its stream keeps, and whether it waits for a login.
    Kept {
        reached: u32,
        position: Position,
        waits: bool,
    },
    /// What other nodes have done; or this one for another.
    Abroad(Abroad),
    Stats(Box<CoreStats>),
    Members(Box<MemberPage>),
    Found(Box<QueryResult>),
}

/// What has come of something that was to be done with one connection.
pub fn found(answer: ConnectionAnswer) -> AnswerPart {
    AnswerPart::Found(Box::new(QueryResult::Connection(answer)))
}

/// A part of an answer, with where the message stands if it is kept.
pub fn part_of(reached: u32, mark: Option<Mark>) -> AnswerPart {
    match mark.filter(|mark| mark.kept) {
        Some(Mark { position, .. }) => AnswerPart::Kept {
            reached,
            position,
            waits: false,
        },
        None => AnswerPart::Reached(reached),
    }
}

impl From<Delivered> for AnswerPart {
    fn from(delivered: Delivered) -> AnswerPart {
        let Delivered {
            reached,
            position,
            waits,
            ..
        } = delivered;
        match position {
            Some(position) => AnswerPart::Kept {
                reached,
                position,
                waits,
            },
            None => AnswerPart::Reached(reached),
        }
    }
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

/// The steps of handing all over to another process. What each is about lies where the server has put it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpgradeStep {
    /// Show what there is.
    Show,
    /// Take what there is to speak with the other process by.
    Connect,
    /// Copy connections to it, those that have not been or have changed, and go on serving.
    Copy,
    /// Accept nothing, so that handshakes of TLS under way can end, which no other process could go on with.
    HoldNewcomers,
    /// Accept nothing, read nothing; go on delivering.
    Freeze,
    /// Nothing is under way any more: send what is kept besides connections,
    SendState,
    /// and the connections.
    HandOver,
    /// It has failed: take back what was sent,
    TakeBack,
    /// and read on.
    GoOn,
    /// It is done. What was sent is another's; close what is left.
    Leave {
        /// When the core ends even so.
        until: Instant,
    },
}

/// What an envelope means to the layers above.
pub enum Handled {
    /// All is done that it asks for.
    Done,
    /// A connection has come, which is the transport's next.
    Arrived(Arrival),
    /// A step of stopping, which is the turn's.
    Drain(DrainStep),
    /// A step of an upgrade, which is the turn's.
    Upgrade(UpgradeStep),
    /// Another configuration holds, which is the server's.
    Renew,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_stays_small() {
        assert!(size_of::<Body>() <= 48, "{}", size_of::<Body>());
    }
}
