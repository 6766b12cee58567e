//! Where a connection that asks by HTTP is in asking and being answered: [`Exchange`].

use serde::{Deserialize, Serialize};

use crate::close::CloseReason;
use crate::protocol::http::HttpError;

/// There is no place.
pub const FULL: HttpError = HttpError::new(
    503,
    "this server has as many HTTP connections as it may have",
);
/// Where a connection is in asking and being answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exchange {
    /// It has not asked anything yet.
    New,
    /// It has not asked anything yet, and has found no place: it gets a moment to show that it needs none.
    Provisional,
    /// A request is arriving.
    Arriving,
    /// One has come whole, and its answer is not known.
    Answering,
    /// What it has asked is answered.
    Idle,
    /// It is told what has no end, so that it wants nothing any more once it is gone.
    Telling,
}

impl Exchange {
    /// Whether it is not read, since it has asked and is not answered whole.
    pub fn is_under_way(self) -> bool {
        matches!(self, Exchange::Answering | Exchange::Telling)
    }
}

/// Whether the end of one that asks is counted for this. That it has asked and been answered, or has gone, is not.
pub fn is_counted(reason: CloseReason) -> bool {
    !matches!(
        reason,
        CloseReason::Normal
            | CloseReason::Stopping
            | CloseReason::Protocol
            | CloseReason::Internal
            | CloseReason::Idle
            | CloseReason::HandshakeTimeout
            | CloseReason::ByPeer
            | CloseReason::Reset
    )
}
