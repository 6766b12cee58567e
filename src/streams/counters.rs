//! [`Counters`] of a store, and those whose messages went [`Undelivered`].

use crate::ident::NamespaceId;

/// What has happened since the store was made, and what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Bytes that are counted against the bound, now.
    pub bytes: u64,
    /// Streams that are remembered, now.
    pub streams: u64,
    /// Messages that are kept, now.
    pub messages: u64,
    /// Messages that were kept.
    pub appended: u64,
    /// Messages whose id was known.
    pub repeated: u64,
    /// Messages that were larger than the bound.
    pub too_large: u64,
    /// Messages that went for want of room.
    pub evicted_by_bytes: u64,
    /// Messages that were more than their stream may have.
    pub evicted_by_size: u64,
    /// Messages whose time was over.
    pub evicted_by_time: u64,
    /// Of all these, messages that waited for their uid's login.
    pub undelivered: u64,
    /// Empty streams that were forgotten before their time, for want of room.
    pub forgotten_by_bytes: u64,
    /// Ids that were.
    pub ids_forgotten: u64,
    /// Gaps that were told.
    pub gaps: u64,
}

/// Messages that waited for a uid's login and went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undelivered {
    /// Whose uid.
    pub namespace: NamespaceId,
    /// The uid.
    pub uid: Box<str>,
    /// How many.
    pub messages: u32,
}
