//! How far a [`Party`](super::party::Party) is with going from one process of its node to another: [`Turnover`], by
//! [`turnover`](super::turnover). Bound: what is held has a bound there.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::members::WrittenMembers;

/// Which of its node's processes this one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TurnoverRole {
    /// The only one.
    #[default]
    Alone,
    /// It is the node, and its cores come to rest.
    Resting,
    /// It comes to rest, and there is a marker under way.
    Marking(u64),
    /// What comes from now on is the other's, if that goes on.
    Divided,
    /// The other one is the node.
    Gone,
    /// The other one is the node, until this marker comes.
    Shadow(u64),
    /// What comes from now on is this one's, if it goes on.
    Heir,
    /// It is the node, and its cores do not know all that they have yet: what comes waits for that.
    Settling,
}

/// See the module.
#[derive(Default)]
pub struct Turnover {
    pub role: TurnoverRole,
    pub held: VecDeque<Vec<u8>>,
    pub held_bytes: usize,
    pub next_burst: Option<Instant>,
    /// What was known when the marker came.
    pub state: Option<PartyState>,
}

/// What a process of a node knows of the cluster that another one goes on with.
#[derive(Serialize, Deserialize, Debug)]
pub struct PartyState {
    pub last_number: u64,
    pub members: WrittenMembers,
}

impl Turnover {
    /// When what is held is given to the cores.
    pub fn next_due(&self) -> Option<Instant> {
        self.next_burst.filter(|_| !self.held.is_empty())
    }
}
