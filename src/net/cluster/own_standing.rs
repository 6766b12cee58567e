//! How far this node is with telling Redis, and the others, of itself: [`OwnStanding`].

use crate::protocol::cluster::NodeState;

/// How far this node is on its present connection to Redis.
#[derive(Default)]
pub struct OwnStanding {
    /// The connection's number.
    pub link: u64,
    /// What Redis calls it.
    pub client: u64,
    /// What the others have been told last; `None` before they were told anything.
    pub said: Option<NodeState>,
}
