//! What connections are called outside: each by the place where it was when its name was first told to anybody.
//!
//! Most are told only when they are home, and so are called by where they are: nothing is kept of these but one bit in
//! their slots. One that moves after its name was told keeps it, beside the slots. Bound: an entry for each of those.

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use super::limits::LIST_KEPT;
use crate::ident::{ConnId, ConnName, CoreId};

/// The name of a connection that has moved since it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptName {
    pub name: ConnName,
    /// How often it has moved since.
    pub moves: u32,
}

/// The names that connections of one core keep.
pub struct ConnNames {
    pub(super) core: CoreId,
    /// The node of a cluster; 0 where there is none.
    pub(super) node: u64,
    by_slot: AHashMap<u32, KeptName>,
    slots: AHashMap<ConnName, u32>,
    /// Of those that have ended: whoever knows where they are is to be told.
    ended: Vec<KeptName>,
}

impl Default for ConnNames {
    fn default() -> ConnNames {
        ConnNames {
            core: CoreId(0),
            node: 0,
            by_slot: AHashMap::new(),
            slots: AHashMap::new(),
            ended: Vec::new(),
        }
    }
}

impl ConnNames {
    /// Whether nobody here keeps one.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// How many keep one.
    #[cfg(all(test, not(loom)))]
    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// What one of this core is called that has not moved.
    pub(super) fn name_here(&self, id: ConnId) -> ConnName {
        ConnName::new(self.core, id, self.node)
    }

    /// Where one has moved to that is called so here, and how often it had moved then.
    pub fn find(&self, name: ConnName) -> Option<(u32, u32)> {
        let slot = *self.slots.get(&name)?;
        Some((slot, self.by_slot.get(&slot)?.moves))
    }

    /// That of the connection of a slot.
    pub(super) fn of(&self, slot: u32) -> Option<ConnName> {
        self.by_slot.get(&slot).map(|kept| kept.name)
    }

    /// One has ended that was called so.
    pub(super) fn end(&mut self, slot: u32) {
        if let Some(kept) = self.take(slot) {
            self.ended.push(kept);
        }
    }

    /// The next of those that have ended.
    #[inline]
    pub fn next_ended(&mut self) -> Option<KeptName> {
        let kept = self.ended.pop();
        if kept.is_none() && self.ended.capacity() > LIST_KEPT {
            self.ended.shrink_to(LIST_KEPT);
        }
        kept
    }

    pub(super) fn keep(&mut self, slot: u32, kept: KeptName) {
        self.by_slot.insert(slot, kept);
        self.slots.insert(kept.name, slot);
    }

    pub(super) fn take(&mut self, slot: u32) -> Option<KeptName> {
        let kept = self.by_slot.remove(&slot)?;
        self.slots.remove(&kept.name);
        if self.by_slot.len() < self.by_slot.capacity() / 4 {
            let places = (2 * self.by_slot.len()).max(LIST_KEPT);
            self.by_slot.shrink_to(places);
            self.slots.shrink_to(places);
        }
        Some(kept)
    }
}
