//! Whose outboxes are to be written: the core's two lists of dirty connections.
//!
//! Bound: a connection is in each of them once (`Slot::dirty`, `Marks::IN_BULK`), and those gone are skipped.

use std::collections::VecDeque;

use super::limits::LIST_KEPT;
use super::slot::{Dirty, Marks, Slot};
use crate::ident::ConnId;
use crate::pages::Pages;

/// Of so many connections written, one is one that only a broadcast made dirty.
const BULK_SHARE: u32 = 4;

#[derive(Default)]
pub struct DirtyLists {
    urgent: VecDeque<ConnId>,
    bulk: VecDeque<ConnId>,
    /// How often one was asked for.
    picks: u32,
}

impl DirtyLists {
    /// Notes that a connection is to be written; `slot` is its own.
    #[inline]
    pub fn mark(&mut self, id: ConnId, slot: &mut Slot, how: Dirty) {
        if slot.dirty >= how {
            return;
        }
        slot.dirty = how;
        match how {
            Dirty::Urgent => self.urgent.push_back(id),
            // It may be there from before, for what was urgent has been written first.
            Dirty::Bulk if slot.marks.set(Marks::IN_BULK, true) => {}
            Dirty::Bulk => self.bulk.push_back(id),
            Dirty::Clean => {}
        }
    }

    /// The next connection to be written, those with messages of their own first; `bulk` says whether
    /// those that only a broadcast made dirty may come, too. One place in [`BULK_SHARE`] is theirs: where
    /// others talk without a pause, who only listens would never be written, and be closed for it.
    pub fn next(&mut self, slots: &mut Pages<Slot>, bulk: bool) -> Option<ConnId> {
        loop {
            self.picks = self.picks.wrapping_add(1);
            let turn_of_bulk = bulk && self.picks.is_multiple_of(BULK_SHARE);
            let lists = match turn_of_bulk {
                true => [Dirty::Bulk, Dirty::Urgent],
                false => [Dirty::Urgent, Dirty::Bulk],
            };
            let mut lists = lists
                .into_iter()
                .filter(|level| bulk || *level == Dirty::Urgent);
            let Some((id, level)) =
                lists.find_map(|level| Some((self.list(level).pop_front()?, level)))
            else {
                self.urgent.shrink_to(LIST_KEPT);
                self.bulk.shrink_to(LIST_KEPT);
                return None;
            };
            let place = slots.get_mut(id.slot);
            let Some(slot) = place.filter(|slot| slot.generation == id.generation) else {
                continue;
            };
            if level == Dirty::Bulk {
                slot.marks.set(Marks::IN_BULK, false);
            }
            // An entry of the bulk list is stale once a message of its own has made it urgent.
            if slot.dirty == level {
                slot.dirty = Dirty::Clean;
                if !slot.blocked {
                    return Some(id);
                }
            }
        }
    }

    fn list(&mut self, level: Dirty) -> &mut VecDeque<ConnId> {
        match level {
            Dirty::Urgent => &mut self.urgent,
            Dirty::Bulk | Dirty::Clean => &mut self.bulk,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }

    /// Entries of the longer list.
    #[cfg(test)]
    pub fn longest(&self) -> usize {
        self.urgent.len().max(self.bulk.len())
    }
}
