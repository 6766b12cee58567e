//! The attributes of connections, for those that have some, beside the slots.
//!
//! Bound: an entry for each of those, of `attributes_bytes_max` bytes at most.

use ahash::AHashMap;

use super::limits::LIST_KEPT;
use crate::protocol::attributes::Attributes;

/// By the slots of those that have some.
#[derive(Default)]
pub struct AttributeTable(AHashMap<u32, Attributes>);

impl AttributeTable {
    pub(super) fn get(&self, slot: u32) -> Option<&Attributes> {
        match self.0.is_empty() {
            true => None,
            false => self.0.get(&slot),
        }
    }

    pub(super) fn put(&mut self, slot: u32, attributes: Attributes) {
        self.0.insert(slot, attributes);
    }

    /// Takes them out, because their connection goes.
    #[inline]
    pub(super) fn take(&mut self, slot: u32) -> Option<Attributes> {
        if self.0.is_empty() {
            return None;
        }
        let attributes = self.0.remove(&slot);
        if self.0.len() < self.0.capacity() / 4 {
            let kept = (2 * self.0.len()).max(LIST_KEPT);
            self.0.shrink_to(kept);
        }
        attributes
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
