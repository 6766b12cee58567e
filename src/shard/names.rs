//! What connections are called outside: each by the place where it was when its name was first told to anybody.
//!
//! Most are told only when they are home, and so are called by where they are: nothing is kept of these but one bit in
//! their slots. One that moves after its name was told keeps it, beside the slots. Bound: an entry for each of those.

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use super::limits::LIST_KEPT;
use super::slot::Marks;
use super::{ConnId, Connections};
use crate::ident::{ConnName, CoreId};

/// The name of a connection that has moved since it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptName {
    pub name: ConnName,
    /// How often it has moved since.
    pub moves: u32,
}

/// The names that connections of one core keep.
pub struct Names {
    core: CoreId,
    by_slot: AHashMap<u32, KeptName>,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            core: CoreId(0),
            by_slot: AHashMap::new(),
        }
    }
}

impl Names {
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

    fn keep(&mut self, slot: u32, kept: KeptName) {
        self.by_slot.insert(slot, kept);
    }

    fn take(&mut self, slot: u32) -> Option<KeptName> {
        let kept = self.by_slot.remove(&slot)?;
        if self.by_slot.len() < self.by_slot.capacity() / 4 {
            let places = (2 * self.by_slot.len()).max(LIST_KEPT);
            self.by_slot.shrink_to(places);
        }
        Some(kept)
    }
}

impl Connections {
    /// All of them are on this core.
    pub fn set_core(&mut self, core: CoreId) {
        self.names.core = core;
    }

    /// What a connection is called, for whoever is told. From now on it is called so wherever it goes.
    pub fn tell_name(&mut self, id: ConnId) -> ConnName {
        if let Some(slot) = self.get_mut(id) {
            slot.marks.set(Marks::TOLD, true);
        }
        self.name(id)
    }

    /// What it is called, or would be. By this alone nobody is told.
    pub fn name(&self, id: ConnId) -> ConnName {
        let kept = match self.names.is_empty() {
            true => None,
            false => self.names.by_slot.get(&id.slot),
        };
        kept.map_or(ConnName::new(self.names.core, id), |kept| kept.name)
    }

    /// Takes the name of one that goes, if it was told.
    #[inline]
    pub(super) fn take_name(&mut self, id: ConnId) -> Option<KeptName> {
        let slot = self.get_mut(id)?;
        if !slot.marks.set(Marks::TOLD, false) {
            return None;
        }
        let kept = self.names.take(id.slot);
        Some(match kept {
            Some(KeptName { name, moves }) => KeptName {
                name,
                moves: moves.saturating_add(1),
            },
            None => KeptName {
                name: ConnName::new(self.names.core, id),
                moves: 1,
            },
        })
    }

    /// One has come that is called so.
    pub(super) fn keep_name(&mut self, id: ConnId, kept: KeptName) {
        if let Some(slot) = self.get_mut(id) {
            slot.marks.set(Marks::TOLD, true);
            self.names.keep(id.slot, kept);
        }
    }

    /// One is gone for good: nobody is called as it was.
    #[inline]
    pub(super) fn forget_name(&mut self, id: ConnId) {
        if !self.names.is_empty() {
            self.names.take(id.slot);
        }
    }
}
