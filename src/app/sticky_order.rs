//! What a core has for the engine about members of groups that need no connection, which Redis keeps for all nodes
//! ([`StickyOrder`]), what comes of it, and what the core hears of them ([`StickyNews`]).

use crate::ident::NamespaceId;
use crate::protocol::partitions::Topic;

/// See the module.
pub enum StickyOrder {
    /// Which groups has this uid? Once what is published of it comes here.
    Read {
        namespace: NamespaceId,
        uid: Box<str>,
    },
    /// For a call.
    Ask {
        namespace: NamespaceId,
        what: StickyStep,
        call: u64,
    },
}

/// What Redis does in one step: for a uid, whose groups are one set, or for a group, whose uids are listed in another, which
/// may be kept by another Redis.
pub enum StickyStep {
    /// The uid becomes a member, if it is in fewer groups than so many. The number: 1 if it is one only now, 0 if it was,
    /// -1 if it is in too many.
    Stick {
        uid: Box<str>,
        group: Box<str>,
        most: usize,
    },
    /// It is none any more. The number: whether it was.
    Unstick { uid: Box<str>, group: Box<str> },
    /// The names of its groups.
    GroupsOf { uid: Box<str> },
    /// The group's list has the uid, or has it no more.
    List {
        group: Box<str>,
        uid: Box<str>,
        is_in: bool,
    },
    /// How many the list has, and some of them, so many at most.
    Listed { group: Box<str>, most: usize },
    /// So many names of groups that have a list in that partition, in their order, behind this one.
    Groups {
        partition: u16,
        after: Box<str>,
        most: usize,
    },
}

/// What has come of it.
pub struct StickyAnswer {
    pub number: i64,
    pub names: Vec<Box<str>>,
}

/// For the home core of a uid that has a connection here.
pub struct StickyNews {
    pub namespace: NamespaceId,
    pub uid: Box<str>,
    pub what: StickyState,
}

pub enum StickyState {
    /// These are its groups.
    All(Vec<Box<str>>),
    /// It is a member of this one now, or no more.
    One { group: Box<str>, sticks: bool },
}

impl StickyOrder {
    pub fn topic(&self) -> Topic<'_> {
        match self {
            StickyOrder::Read { uid, .. } => Topic::Uid(uid),
            StickyOrder::Ask { what, .. } => match what {
                StickyStep::Stick { uid, .. }
                | StickyStep::Unstick { uid, .. }
                | StickyStep::GroupsOf { uid } => Topic::Uid(uid),
                StickyStep::List { group, .. } | StickyStep::Listed { group, .. } => {
                    Topic::Group(group)
                }
                // Of a partition.
                StickyStep::Groups { .. } => Topic::All,
            },
        }
    }

    /// The partition that is asked, if it is not that of a topic.
    pub fn partition(&self) -> Option<u16> {
        match self {
            StickyOrder::Ask {
                what: StickyStep::Groups { partition, .. },
                ..
            } => Some(*partition),
            _ => None,
        }
    }
}
