//! [`Ids`]: which messages with an id were appended of late, and where.
//!
//! Beside the idempotency of the HTTP API, which answers a whole request again: that one knows what a request asked for and who
//! waits for it, at the home core of its id. This one is the second line, within the step that appends: of a request
//! that was given up half-way and is made again, and of one that reaches two nodes of a cluster. So an id is forgotten
//! early here, and counted, where that one refuses. Bounds: a time, and bytes.

use std::collections::VecDeque;

use ahash::{AHashMap, RandomState};

use super::engine::Id;
use super::position::Epoch;
use super::window::Second;

/// What an id takes: its entry and its place in the order, in tables that are half empty.
pub const ID_COST: usize = 128;

/// An id is one of a stream's life.
type Known = (Epoch, Id);

/// See the module.
pub struct Ids {
    offsets: AHashMap<Known, u64>,
    /// In the order in which they came.
    order: VecDeque<(Second, Known)>,
}

impl Ids {
    pub fn new(hasher: RandomState) -> Ids {
        Ids {
            offsets: AHashMap::with_hasher(hasher),
            order: VecDeque::new(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.order.len() * ID_COST
    }

    /// Where the message with this id is.
    pub fn find(&self, epoch: Epoch, id: Id) -> Option<u64> {
        self.offsets.get(&(epoch, id)).copied()
    }

    /// One that is not known.
    pub fn insert(&mut self, now: Second, epoch: Epoch, id: Id, offset: u64) {
        self.offsets.insert((epoch, id), offset);
        self.order.push_back((now, (epoch, id)));
    }

    /// All of them, in the order in which they came: when, and where the message is.
    pub fn each(&self) -> impl Iterator<Item = (Second, Epoch, Id, u64)> + '_ {
        self.order.iter().filter_map(|(since, (epoch, id))| {
            let offset = self.find(*epoch, *id)?;
            Some((*since, *epoch, *id, offset))
        })
    }

    /// When the oldest came.
    pub fn oldest(&self) -> Option<Second> {
        self.order.front().map(|(since, _)| *since)
    }

    /// Forgets the oldest.
    pub fn forget_oldest(&mut self) -> bool {
        let Some((_, known)) = self.order.pop_front() else {
            return false;
        };
        self.offsets.remove(&known);
        if self.order.is_empty() {
            self.order = VecDeque::new();
            self.offsets.shrink_to_fit();
        } else if self.order.len() < self.order.capacity() / 8 {
            self.order.shrink_to(2 * self.order.len());
            self.offsets.shrink_to(2 * self.order.len());
        }
        true
    }
}
