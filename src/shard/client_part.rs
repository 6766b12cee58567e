//! What is known of a client of `ringpost.v1` besides its streams: [`ClientPart`]. Beside the slots, with what it follows; of one
//! that has none of it there is nothing.
//!
//! Bound: a name of 64 bytes, the groups of a token, an entry for each group it has joined by that, and for each join under way.

use serde::{Deserialize, Serialize};

use crate::auth::GroupClaim;
use crate::protocol::v1::RequestId;

/// See the module.
#[derive(PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClientPart {
    /// The device or tab that it says it is.
    pub name: Option<Box<str>>,
    /// It tells how far it has handled its streams.
    pub acknowledges: bool,
    /// The groups that its token lets it into.
    pub rights: GroupClaim,
    /// Those that it has joined by that.
    pub joined: Vec<Box<str>>,
    /// What its bind is to be answered with, until it is.
    pub bind_id: Option<RequestId>,
    /// Joins under way: of which stream, by its serial, and what the answer is told with.
    pub joining: Vec<(u32, Option<RequestId>)>,
    /// Groups of its bind that it may not join, until it is told.
    pub refused: Vec<UntoldRefusal>,
}

/// A group that its client may not join, and is to be told so.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UntoldRefusal {
    pub group: Box<str>,
    /// The error's name.
    pub code: Box<str>,
    /// And in words.
    pub text: Box<str>,
}

impl ClientPart {
    /// Whether there is nothing to be remembered.
    pub fn is_empty(&self) -> bool {
        *self == ClientPart::default()
    }
}
