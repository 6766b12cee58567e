//! What a core and the engine of a cluster have for each other: [`ToEngine`] and [`FromEngine`]; and what is in them, as nodes
//! tell it to each other.

use super::abroad_streams::StreamOrder;
use super::bulk::{Except, Exceptions};
use super::hold_order::HeldOrder;
use super::sticky_order::StickyOrder;
use crate::ident::{NamespaceId, Reach};
use crate::protocol::cluster::{ExceptedNames, LastWords, NodeId, NodeLook, NodeOrder};
use crate::protocol::cluster_roster::RosterWords;
use crate::protocol::partitions::Partition;
use crate::shard::{Farewell, UidInterest};

/// What a core has for the engine.
pub enum ToEngine {
    /// To be done on the other nodes; with the call's number if it is to be answered.
    Order {
        reach: Reach,
        order: NodeOrder,
        call: Option<u64>,
    },
    /// A uid has connections in one more namespace here, or in one less.
    Uid(UidInterest),
    /// A group has members in one more namespace here, or in one less.
    Group { group: Box<str>, here: bool },
    /// Which nodes there are.
    Nodes { call: u64 },
    /// What this node, or all others, have.
    Look {
        reach: Reach,
        look: NodeLook,
        node: Option<NodeId>,
        call: u64,
    },
    /// About what Redis keeps for all nodes.
    Stream(StreamOrder),
    /// About whose a uid is.
    Held(HeldOrder),
    /// About who is in a group.
    Roster(RosterOrder),
    /// About members of groups that need no connection.
    Sticky(StickyOrder),
    /// Nothing: on the account of a connection that has caused what came before it from others.
    Toll,
}

/// What a group's home has for its homes on other nodes.
pub struct RosterOrder {
    pub namespace: NamespaceId,
    pub group: Box<str>,
    pub about: RosterWords,
    /// For this node alone.
    pub node: Option<NodeId>,
    /// A core's call that is answered when those have done it that it is for; not before this node gets what they tell.
    pub call: Option<u64>,
}

/// What the engine has for the homes of groups.
pub enum RosterNews {
    /// Another node says this.
    Said {
        from: NodeId,
        namespace: NamespaceId,
        group: Box<str>,
        about: RosterWords,
        /// By which the engine is answered; 0 if it need not be.
        number: u64,
    },
    /// A node is there no more, as the Redis of these groups tells.
    Gone(NodeId, Partition),
}

/// What another node asks of this one.
pub struct FromEngine {
    pub reach: Reach,
    pub order: NodeOrder,
    /// By which the engine is answered.
    pub number: u64,
}

pub fn excepted(except: &Exceptions) -> ExceptedNames {
    except.as_ref().map_or_else(ExceptedNames::default, |it| {
        let Except { uids, connections } = &**it;
        ExceptedNames {
            uids: uids.to_vec(),
            connections: connections.to_vec(),
        }
    })
}

pub fn exceptions(names: ExceptedNames) -> Exceptions {
    let ExceptedNames { uids, connections } = names;
    let is_some = !uids.is_empty() || !connections.is_empty();
    is_some.then(|| {
        Except {
            uids: uids.into(),
            connections: connections.into(),
        }
        .into()
    })
}

pub(super) fn last_words(last: Option<&Farewell>) -> LastWords {
    last.map_or_else(LastWords::default, |last| LastWords {
        message: last.message.clone(),
        text: last.text.clone(),
    })
}

pub(super) fn farewell(last: LastWords) -> Option<Box<Farewell>> {
    let LastWords { message, text } = last;
    let is_some = message.is_some() || text.is_some();
    is_some.then(|| Box::new(Farewell { message, text }))
}
