//! Which uids' groups are read, and for whom Redis does a step about members that need no connection: [`Stickings`], part of the
//! [`Party`](super::party::Party). Bound: a read for each uid that has come, until Redis has answered.

use ahash::AHashMap;

use crate::ident::{CoreId, NamespaceId};

/// One uid, in one namespace.
pub type ReadUid = (NamespaceId, Box<str>);

/// What a script is run for.
#[derive(Clone)]
pub enum StickyPurpose {
    Read(ReadUid),
    /// A call of a core.
    Ask(CoreId, u64),
    /// Whether there is any such member.
    Mark,
}

/// The uids that are read.
#[derive(Default)]
pub struct Stickings {
    pub reads: AHashMap<ReadUid, StickyRead>,
    /// Of them, those whose channel is not in force.
    pub waiting: AHashMap<Box<str>, Vec<NamespaceId>>,
    /// On this connection Redis has said that it has some, so that the cores read.
    pub are_there: bool,
    /// The cores have been told, whichever it was.
    pub is_told: bool,
    /// Words of the node's own since it was last asked.
    pub unasked: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StickyRead {
    /// Until what is published of the uid comes here.
    Waits,
    Asked,
    /// It was changed meanwhile: once more.
    Changed,
}
