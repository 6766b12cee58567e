//! What the nodes of a cluster say to each other, as bytes: [`encode`] and [`decode`].
//!
//! A message is a version, a head and what it is about, by postcard. A node reads what its own release writes and what the
//! release before it wrote; of what it does not know it says so ([`DecodeError`]), and whoever asked has no answer from it.
//! What is read may be anything: nothing is allocated that has not come.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cluster_holds::{HoldOrder, ReleaseOrder};
use super::cluster_roster::RosterWords;
use super::connection_facts::{
    ConnectionOrder, ConnectionOutcome, ConnectionsAsked, ConnectionsTold,
};
use super::kept_record::KeptRecord;
use super::partitions::Partition;
use crate::config::StreamKind;
use crate::ident::ConnName;
use crate::payload::Payload;

/// The version that is written.
pub const VERSION: u8 = 1;
/// The oldest that is read.
const VERSION_MIN: u8 = 1;

/// A node's number, drawn at random at its start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// As in the name of its channel.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A namespace by its name, which is the same on every node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NamespaceName {
    /// An app's own.
    Apps(Box<str>),
    /// One that apps have made while they run.
    Made(Box<str>),
}

/// One message.
#[derive(Clone, PartialEq, Debug)]
pub enum ClusterMessage {
    /// Something that the nodes are to do that get it.
    Order(OrderHead, NodeOrder),
    /// What has come of orders of the node that gets it, each by its number.
    Answers(Vec<(u64, NodeAnswer)>),
    /// What a node says of itself, every few seconds and when it changes.
    Word(NodeWord),
    /// A node's own two processes, in an upgrade, say by this number whose all is from there on.
    Marker(u64),
}

/// From whom an order comes, and about whom it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderHead {
    pub origin: NodeId,
    /// By which it is answered; 0 if that is nobody's to know.
    pub number: u64,
    /// What comes by one lane of a node is done in the order in which it comes.
    pub lane: u16,
    pub namespaces: Vec<NamespaceName>,
}

/// What is to be done. New kinds are added at the end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum NodeOrder {
    PushToUid {
        uid: Box<str>,
        payload: Payload,
    },
    PushToGroup {
        group: Box<str>,
        refresh: bool,
        except: ExceptedNames,
        payload: Payload,
    },
    PushToAll {
        except: ExceptedNames,
        payload: Payload,
    },
    PushToConnection {
        name: ConnName,
        payload: Payload,
    },
    Kick {
        uid: Box<str>,
        last: LastWords,
    },
    KickConnection {
        name: ConnName,
        last: LastWords,
    },
    Online {
        uid: Box<str>,
    },
    Join {
        uid: Box<str>,
        group: Box<str>,
    },
    Leave {
        uid: Box<str>,
        group: Box<str>,
    },
    /// To say what it is.
    Describe,
    /// To tell whom it has.
    Look(NodeLook),
    /// Of a stream that Redis keeps, the message at the position that stands before this ([`placed`](super::kept_record::placed)).
    Kept {
        kind: StreamKind,
        name: Box<str>,
        refresh: bool,
        except: ExceptedNames,
        /// The last of it, as it stands in the stream.
        record: KeptRecord,
    },
    /// Of such a stream what is kept up to the position that stands before this was thrown away.
    Forgotten {
        kind: StreamKind,
        name: Box<str>,
    },
    /// A node has a uid, and says so where all can hear it that have it.
    Hold(HoldOrder),
    Release(ReleaseOrder),
    /// Of who is in a group.
    Roster {
        group: Box<str>,
        about: RosterWords,
    },
    /// A uid is a member of a group whether it has a connection or not, from now on; or not any more.
    Stick {
        uid: Box<str>,
        group: Box<str>,
        sticks: bool,
    },
    /// Some uid is such a member, and none was before.
    StickyBegun,
}

/// What a node is to tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NodeLook {
    /// Who is in a group, naming so many.
    Group { group: Box<str>, most: u32 },
    /// What each of these groups has.
    CountGroups(Vec<Box<str>>),
    /// So many names that a core has, from a place on.
    Page {
        of: NamesOf,
        core: u16,
        from: PagePlace,
        most: u32,
    },
    /// Some connections of a core.
    Connections(ConnectionsAsked),
    /// The connections of a uid, counted, and so many told.
    ConnectionsOfUid { uid: Box<str>, most: u32 },
    /// What comes of doing that with a connection.
    Connection {
        name: ConnName,
        order: ConnectionOrder,
    },
    /// How many of a group leave it that are told to, so many of a core at most.
    Ungroup { group: Box<str>, most: u32 },
}

/// What is listed by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NamesOf {
    Uids,
    Groups,
}

/// Where a page of a core's list begins, as its node has told before; at first it is the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PagePlace {
    pub namespace: u32,
    pub place: u32,
    pub until: u32,
}

/// What a node tells of whom it has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LookAnswer {
    Group {
        connections: u32,
        sticky: u32,
        /// With how many connections in it each has.
        members: Vec<(Box<str>, u32)>,
        /// Whether these are all.
        complete: bool,
    },
    /// Of each group: connections, and uids that are in it with one or without.
    Counts(Vec<(u32, u32)>),
    Page {
        names: Vec<Box<str>>,
        /// Where the core's next one begins.
        next: Option<PagePlace>,
        /// How many the node has.
        cores: u16,
    },
    Connections(ConnectionsTold),
    Connection(ConnectionOutcome),
    /// So many connections, and uids that were in it without one; and whether more are there.
    Ungrouped {
        connections: u32,
        sticky: u32,
        is_more: bool,
    },
}

impl NodeLook {
    /// The one node that can do it, where that is known.
    pub fn node(&self) -> Option<NodeId> {
        match self {
            NodeLook::Connection { name, .. } => node_of(*name),
            _ => None,
        }
    }
}

/// That of a connection, unless its name was told before there was a cluster.
fn node_of(name: ConnName) -> Option<NodeId> {
    (name.node() != 0).then_some(NodeId(name.node()))
}

impl NodeOrder {
    /// Whether every node has it, whoever its users are.
    pub fn is_for_all(&self) -> bool {
        // A connection's name that was told before there was a cluster does not say on which node it is.
        matches!(
            self,
            NodeOrder::PushToAll { .. }
                | NodeOrder::Describe
                | NodeOrder::PushToConnection { .. }
                | NodeOrder::KickConnection { .. }
                | NodeOrder::Look(
                    NodeLook::CountGroups(_)
                        | NodeLook::Page { .. }
                        | NodeLook::Connections(_)
                        | NodeLook::Connection { .. }
                        | NodeLook::Ungroup { .. }
                )
        )
    }

    /// The one node that can do it, where that is known.
    pub fn node(&self) -> Option<NodeId> {
        match self {
            NodeOrder::PushToConnection { name, .. } | NodeOrder::KickConnection { name, .. } => {
                node_of(*name)
            }
            NodeOrder::Look(look) => look.node(),
            _ => None,
        }
    }

    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        let payload = |payload: &Payload| payload.message().len();
        match self {
            NodeOrder::PushToUid { uid, payload: it } => uid.len() + payload(it),
            NodeOrder::PushToGroup {
                group, payload: it, ..
            } => group.len() + payload(it),
            NodeOrder::PushToAll { payload: it, .. }
            | NodeOrder::PushToConnection { payload: it, .. } => payload(it),
            NodeOrder::Kick { last, .. } | NodeOrder::KickConnection { last, .. } => {
                last.message.as_ref().map_or(0, payload)
            }
            NodeOrder::Online { uid } => uid.len(),
            NodeOrder::Describe | NodeOrder::StickyBegun => 0,
            NodeOrder::Look(NodeLook::Group { group, .. }) => group.len(),
            NodeOrder::Look(NodeLook::CountGroups(groups)) => {
                groups.iter().map(|group| group.len()).sum()
            }
            NodeOrder::Look(NodeLook::Page { .. } | NodeLook::Connections(_)) => 0,
            NodeOrder::Look(NodeLook::ConnectionsOfUid { uid, .. }) => uid.len(),
            NodeOrder::Look(NodeLook::Connection { order, .. }) => match order {
                ConnectionOrder::SetAttributes { text, .. } => text.len(),
                ConnectionOrder::Bind(uid) => uid.len(),
                _ => 0,
            },
            NodeOrder::Look(NodeLook::Ungroup { group, .. }) => group.len(),
            NodeOrder::Kept { name, record, .. } => name.len() + payload(&record.payload),
            NodeOrder::Forgotten { name, .. } => name.len(),
            NodeOrder::Hold(HoldOrder { uid, .. })
            | NodeOrder::Release(ReleaseOrder { uid, .. }) => uid.len(),
            NodeOrder::Roster { group, about } => group.len() + about.bytes(),
            NodeOrder::Join { uid, group }
            | NodeOrder::Leave { uid, group }
            | NodeOrder::Stick { uid, group, .. } => uid.len() + group.len(),
        }
    }
}

/// Whom a message for many is not for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExceptedNames {
    pub uids: Vec<Box<str>>,
    pub connections: Vec<ConnName>,
}

/// What a connection that is kicked is told.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LastWords {
    pub message: Option<Payload>,
    pub text: Option<Box<str>>,
}

/// What has come of an order on a node. New kinds are added at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NodeAnswer {
    /// So many connections were reached.
    Reached(u32),
    /// So many have joined; and so many are in as many groups as they may be.
    Joined(u32, u32),
    /// It is of a kind that the node does not know.
    Unread,
    /// What the node is.
    Described(NodeFacts),
    /// Whom it has.
    Look(LookAnswer),
    /// Whether it holds the uid, too; and whether that keeps the other one out.
    Holds { holds: bool, blocks: bool },
    /// It has come to the one of a node's two processes, in an upgrade, that is not the node at the time.
    Aside,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeFacts {
    pub node: NodeId,
    pub name: Box<str>,
    pub version: Box<str>,
    /// Since its start.
    pub seconds: u64,
    /// Clients that it has.
    pub connections: u64,
    /// In which what it publishes comes back to it; 0 before the first has.
    pub echo_micros: u64,
}

/// That a node is there, and whether Redis gives it all that is for its users.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeWord {
    pub node: NodeId,
    pub name: Box<str>,
    /// Drawn at random for each connection to Redis; in the name of a channel that ends with it.
    pub link: u64,
    /// What Redis calls that connection, by which it can be ended; 0 if it does not tell.
    pub client: u64,
    pub state: NodeState,
    /// Whether the others are to say theirs.
    pub asks: bool,
    /// Which of the cluster's the Redis is, as the node has them. All nodes have the same.
    pub partition: Partition,
}

/// How far a node is with telling Redis what is for its users. New kinds are added at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NodeState {
    /// It has users of whom Redis does not know yet.
    Subscribing,
    /// Redis knows of all of them.
    Whole,
    /// It ends, and has none any more.
    Leaving,
    /// It is the second process of a node, in an upgrade: none of its own, but Redis counts it.
    Shadow,
}

/// Why a message cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Of another version than are read here.
    Version(u8),
    /// No message at all.
    Flawed,
    /// An order of a kind that is not known here.
    Unknown(OrderHead),
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Order(OrderHead),
    Answers,
    Word,
    Marker,
}

/// In writing.
pub fn encode(message: &ClusterMessage) -> Vec<u8> {
    let bytes = vec![VERSION];
    // Into a vector, and of what has a length, it does not fail.
    let written = match message {
        ClusterMessage::Order(head, order) => {
            postcard::to_extend(&Kind::Order(head.clone()), bytes)
                .and_then(|bytes| postcard::to_extend(order, bytes))
        }
        ClusterMessage::Answers(answers) => postcard::to_extend(&Kind::Answers, bytes)
            .and_then(|bytes| postcard::to_extend(answers, bytes)),
        ClusterMessage::Word(word) => postcard::to_extend(&Kind::Word, bytes)
            .and_then(|bytes| postcard::to_extend(word, bytes)),
        ClusterMessage::Marker(number) => postcard::to_extend(&Kind::Marker, bytes)
            .and_then(|bytes| postcard::to_extend(number, bytes)),
    };
    written.unwrap_or_default()
}

/// The message again.
pub fn decode(bytes: &[u8]) -> Result<ClusterMessage, DecodeError> {
    let (version, rest) = bytes.split_first().ok_or(DecodeError::Flawed)?;
    if !(VERSION_MIN..=VERSION).contains(version) {
        return Err(DecodeError::Version(*version));
    }
    let (kind, rest) = postcard::take_from_bytes(rest).map_err(|_| DecodeError::Flawed)?;
    match kind {
        Kind::Order(head) => match postcard::from_bytes(rest) {
            Ok(order) => Ok(ClusterMessage::Order(head, order)),
            Err(_) => Err(DecodeError::Unknown(head)),
        },
        Kind::Answers => postcard::from_bytes(rest)
            .map(ClusterMessage::Answers)
            .map_err(|_| DecodeError::Flawed),
        Kind::Word => postcard::from_bytes(rest)
            .map(ClusterMessage::Word)
            .map_err(|_| DecodeError::Flawed),
        Kind::Marker => postcard::from_bytes(rest)
            .map(ClusterMessage::Marker)
            .map_err(|_| DecodeError::Flawed),
    }
}
