//! What a task of a core (an HTTP request) asks of one core or of all: [`Query`], and what each of them finds:
//! [`QueryResult`].
//!
//! It goes as any call does, and its answer comes back exactly once, with one result a core asked. Bound: none
//! here; a request has so many of them under way as `net/http/api` lets it.

use std::sync::Arc;

use super::homes::GroupPage;
use super::idempotency::{Claim, Digest};
use super::outcome::{Abroad, Delivered, Unknown};
use super::sticky_order::StickyAnswer;
use crate::ident::Reach;
use crate::payload::Payload;
use crate::protocol::attributes::{Attributes, AttributesError};
use crate::protocol::cluster::{LookAnswer, NodeFacts, NodeId};
use crate::shard::{
    ConnectionInfo, ConnectionPage, ConnectionQuery, Cursor, GroupCount, GroupInfo, StickyError,
    TapBatch, TapFilter, TapId, UidInfo, UidPage, Ungrouped,
};
use crate::streams::{Gap, Kind, Limit, Position, Wish};

/// See the module.
pub enum Query {
    /// Push to these uids, all of which are at home on the core asked.
    PushToUids {
        reach: Reach,
        uids: Vec<Box<str>>,
        payload: Payload,
        wish: Wish,
    },
    /// What a stream that is at home on the core asked keeps.
    History(HistoryQuery),
    /// Throw that away.
    ForgetHistory {
        reach: Reach,
        kind: Kind,
        name: Box<str>,
    },
    /// The uid's connections enter the group.
    Join(Box<MembershipChange>),
    Leave(Box<MembershipChange>),
    /// Up to so many connections, and uids that are in it without one, leave the group.
    Ungroup {
        reach: Reach,
        group: Box<str>,
        most: usize,
    },
    Uid {
        reach: Reach,
        uid: Box<str>,
    },
    Uids {
        reach: Reach,
        from: Cursor,
        uids_max: usize,
    },
    Group {
        reach: Reach,
        group: Box<str>,
        members_max: usize,
    },
    /// The groups that are at home on the core asked.
    Groups {
        reach: Reach,
        from: Cursor,
        groups_max: usize,
    },
    /// What each of these groups has there.
    CountGroups {
        reach: Reach,
        groups: Arc<[Box<str>]>,
    },
    /// Connections of the core asked.
    Connections(Box<ConnectionQuery>),
    /// What has happened there for one who looks, since it was asked last.
    Tap {
        id: TapId,
        filter: Arc<TapFilter>,
    },
    /// It looks no more.
    EndTap(TapId),
    /// May a request with this id, and this digest of what it asks for, be carried out?
    Claim {
        id: Digest,
        wanted: Digest,
        /// In a cluster it can be done again, and is not done twice.
        again: bool,
    },
    /// May it, answered once that is decided: if it is under way, when it is done.
    Await {
        id: Digest,
        wanted: Digest,
        again: bool,
    },
    /// It is done, with this answer; or, without one, it was given up.
    Settle {
        id: Digest,
        answer: Option<Box<str>>,
    },
}

/// See the module.
pub enum QueryResult {
    Reached(u32),
    /// Of each uid, in their order.
    ReachedEach(Vec<u32>),
    /// Of each uid, where the message may be kept.
    DeliveredEach(Vec<Delivered>),
    History(HistoryPage),
    Joined {
        joined: u32,
        refused: u32,
    },
    /// Nothing was done: the uid cannot be a member without a connection.
    NotStuck(StickyError),
    /// So many connections; and whether the uid was a member without one.
    Left {
        left: u32,
        sticky: bool,
    },
    Ungrouped(Ungrouped),
    Uid(UidInfo),
    Uids(UidPage),
    Group(GroupInfo),
    Groups(GroupPage),
    /// In the order asked for.
    GroupCounts(Vec<GroupCount>),
    Connections(ConnectionPage),
    /// `None` if as many look as may.
    Tapped(Option<TapBatch>),
    Connection(ConnectionAnswer),
    Claim(Claim),
    /// What other nodes of the cluster have done of it.
    Abroad(Abroad),
    Nodes(ClusterLook),
    /// What nodes of the cluster have told of whom they have; and those that have not.
    Looked(Vec<LookAnswer>, Unknown),
    /// Redis has done a step about members that need no connection; or, with nothing, it has not, or nobody knows.
    Sticky(Option<StickyAnswer>),
}

/// What has come of something that was to be done with one connection.
pub enum ConnectionAnswer {
    /// There is none of that name within reach.
    None,
    Is(Box<ConnectionInfo>),
    /// It has these now.
    Attributes(Option<Attributes>),
    Flawed(AttributesError),
    Bound,
    Unbound,
    /// It may not have the uid, and is closed.
    InUse,
    /// It is being bound, or never is.
    Busy,
}

/// The nodes of a cluster, as one of them sees them.
pub struct ClusterLook {
    /// Which of them it is itself.
    pub own: NodeId,
    /// Itself among them.
    pub nodes: Vec<NodeFacts>,
    /// Those that have not said.
    pub unknown: Unknown,
    /// Each Redis of the cluster.
    pub redis: Vec<RedisFacts>,
}

/// How it stands with a Redis.
pub struct RedisFacts {
    /// Where it is, and what it calls itself.
    pub address: Box<str>,
    pub version: Box<str>,
    /// Why it is away, if it is.
    pub away: Option<Box<str>>,
}

impl QueryResult {
    /// Redis is away.
    pub fn away() -> QueryResult {
        QueryResult::Abroad(Abroad {
            unknown: Unknown::away(),
            ..Abroad::default()
        })
    }
}

impl Query {
    pub(super) fn is_push(&self) -> bool {
        matches!(self, Query::PushToUids { .. })
    }
}

/// A uid, and a group that it is to be in or not.
pub struct MembershipChange {
    pub reach: Reach,
    pub uid: Box<str>,
    pub group: Box<str>,
    /// Connections that are to come are meant, too.
    pub sticky: bool,
}

/// What is asked for of one stream.
pub struct HistoryQuery {
    pub reach: Reach,
    pub kind: Kind,
    pub name: Box<str>,
    /// What follows this; without one all that is there.
    pub since: Option<Option<Position>>,
    pub limit: Limit,
    /// The newest first.
    pub reverse: bool,
}

/// A page of one stream.
pub struct HistoryPage {
    pub top: Position,
    /// In the order asked for.
    pub messages: Vec<(Position, Payload)>,
    /// What was asked for is not there whole.
    pub gap: Option<Gap>,
}
