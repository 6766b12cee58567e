//! Who a message for many is for: [`Receivers`].
//!
//! Bound: the list is as long as the largest fan-out while that runs, and [`LIST_KEPT`] after it; of those passed by there
//! are as many as have come from other cores since a message that they had there.

use ahash::AHashSet;

use super::limits::LIST_KEPT;
use crate::ident::ConnId;

/// See the module.
#[derive(Default)]
pub struct Receivers {
    /// Reused by every fan-out.
    list: Vec<ConnId>,
    /// Whom the present one passes by.
    passed_by: AHashSet<ConnId>,
    /// Whom its sender leaves out.
    left_out: AHashSet<ConnId>,
}

impl Receivers {
    /// The list, empty, for one fan-out; it is to be put back.
    #[inline]
    pub fn take(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.list)
    }

    /// Emptied.
    #[inline]
    pub fn put_back(&mut self, mut list: Vec<ConnId>) {
        list.clear();
        list.shrink_to(LIST_KEPT);
        self.list = list;
    }

    /// Has what is sent to many from now on pass by a connection: it has got it on the core where it was.
    pub fn pass_by(&mut self, id: ConnId) {
        self.passed_by.insert(id);
    }

    /// And now by nobody any more.
    pub fn pass_by_nobody(&mut self) {
        self.passed_by.clear();
    }

    /// The next messages are not for these.
    pub fn except(&mut self, left_out: impl Iterator<Item = ConnId>) {
        self.left_out.extend(left_out);
    }

    /// And now for everybody again.
    pub fn except_nobody(&mut self) {
        self.left_out.clear();
        self.left_out.shrink_to(LIST_KEPT);
    }

    /// Whether this one is passed by, or left out.
    #[inline]
    pub fn passes_by(&self, id: ConnId) -> bool {
        !self.passed_by.is_empty() && self.passed_by.contains(&id)
            || !self.left_out.is_empty() && self.left_out.contains(&id)
    }

    /// Takes those out of a list that are passed by, or left out.
    #[inline]
    pub fn leave_out(&self, list: &mut Vec<ConnId>) {
        if !self.passed_by.is_empty() || !self.left_out.is_empty() {
            list.retain(|id| !self.passes_by(*id));
        }
    }
}
