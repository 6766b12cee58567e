//! What the other nodes of a cluster are to know of a shard's uids: [`UidNews`]. Bound: what one turn's binds and ends cause.

use crate::ident::{ConnId, NamespaceId};

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UidNews {
    /// Which uids are here at all.
    Interest(UidInterest),
    /// Whose the uid is.
    Held(HeldUid),
    /// Such a one has ended, or lost the uid.
    Released(ReleasedUid),
}

/// A uid that has connections in one more namespace of this core, or in one less.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UidInterest {
    pub uid: Box<str>,
    pub here: bool,
}

/// A connection has bound a uid; or, with [`ConnId::NOBODY`], some connection has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldUid {
    pub namespace: NamespaceId,
    pub uid: Box<str>,
    pub connection: ConnId,
    /// What its client is called.
    pub client: Option<Box<str>>,
    /// What others of the uid become; `None` if that was settled before.
    pub wish: Option<HoldWish>,
    /// An event that waits to be told whether the uid is anybody else's.
    pub event: Option<u64>,
}

/// What other nodes have said of a uid that is to be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Elsewhere {
    /// Whether one has it.
    pub is_held: bool,
    /// How many have not said.
    pub unknown: u32,
}

/// What becomes of others where one binds their uid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldWish {
    /// They stay, but for those whose client it is.
    Shares,
    /// They go.
    Takes,
}

/// A connection that had bound it has it no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReleasedUid {
    pub namespace: NamespaceId,
    pub uid: Box<str>,
    pub connection: ConnId,
    /// As above.
    pub event: Option<u64>,
}
