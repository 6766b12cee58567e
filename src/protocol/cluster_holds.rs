//! What nodes say to each other of which of them have connections of a uid: [`HoldOrder`] and [`ReleaseOrder`].
//!
//! Both are published in the uid's channel, which Redis gives to all who have the uid in one order. A node holds the uid from
//! the place of its hold there to that of its release.

use serde::{Deserialize, Serialize};

/// A connection of this uid is here; or, where only uids are told apart, the first one is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HoldOrder {
    pub uid: Box<str>,
    /// The node's own number of it.
    pub serial: u64,
    /// When it was bound, in microseconds since 1970 by its node's clock.
    pub since: u64,
    /// What its client is called: one that has the same name is its earlier connection.
    pub client: Option<Box<str>>,
    pub how: HoldHow,
    /// Set where it is said anew, for nodes that may not have heard of it: of two one goes.
    pub again: Option<SaidAgain>,
}

/// That a hold is said anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SaidAgain {
    /// Whether a node whose own one stays is to say so.
    pub wants_reply: bool,
}

/// What becomes of others. New kinds are added at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HoldHow {
    /// They stay, but for those of its client.
    Shares,
    /// They stay, and this one is to go if there are any. Said anew, the newer one is.
    Asks,
    /// They go. Said anew, the older one is to go.
    Takes,
}

/// It is not there any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReleaseOrder {
    pub uid: Box<str>,
    /// That of the hold.
    pub serial: u64,
}
