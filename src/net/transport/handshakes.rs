//! Connections whose opening handshake is under way, as they came: [`Handshakes`].
//!
//! Of too many the oldest is reset, and not the newcomer refused: a place is held for as long as
//! `handshake_timeout` by who dawdles, but for a moment by who does not. So some hundred connections
//! a second could keep everybody out if newcomers were refused; to have the oldest dropped before it is done,
//! all of `handshakes_max` must come within that moment.
//!
//! Bound: twice as many entries as there are such connections, and some.

use std::collections::VecDeque;

use crate::ident::ConnId;
use crate::shard::{Phase, Shard};

/// Entries of the list that may be stale beside as many that are not.
const STALE_MAX: usize = 64;

/// See the module. Some in the list are further by now.
#[derive(Default)]
pub struct Handshakes(VecDeque<ConnId>);

impl Handshakes {
    pub fn push(&mut self, id: ConnId) {
        self.0.push_back(id);
    }

    /// The oldest, while there are more than so many.
    pub fn next_surplus(&mut self, shard: &Shard, most: usize) -> Option<ConnId> {
        while shard.stats.opening as usize > most
            && let Some(oldest) = self.0.pop_front()
        {
            if under_way(shard, oldest) {
                return Some(oldest);
            }
        }
        None
    }

    /// Forgets those that are done: from the front, and from everywhere once they are the most.
    pub fn trim(&mut self, shard: &Shard) {
        while let Some(front) = self.0.front()
            && !under_way(shard, *front)
        {
            self.0.pop_front();
        }
        if self.0.len() > 2 * shard.stats.opening as usize + STALE_MAX {
            self.0.retain(|id| under_way(shard, *id));
            self.0.shrink_to(STALE_MAX);
        }
    }
}

fn under_way(shard: &Shard, id: ConnId) -> bool {
    shard.connections.phase(id) == Phase::Opening
}
