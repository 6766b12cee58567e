//! The outboxes of a core together: what they hold, what of that waits for us, whose kernels refuse bytes, and whose turn it
//! is to be written ([`Outboxes`]).
//!
//! Bound: `outbox_bytes_core_max`, which the shard keeps to by ending connections; and what each of its parts names.

use super::backlog::Backlog;
use super::dirty::DirtyLists;
use super::refusals::{Excess, Refusals};
use super::slot::{Dirty, Slot};
use super::wheel::Tick;
use crate::ident::ConnId;
use crate::pages::Pages;

/// See the module.
pub struct Outboxes {
    /// What they hold of the core's memory, a message shared by many counting once.
    bytes: usize,
    bytes_max: usize,
    /// What of all that waits for us.
    pub backlog: Backlog,
    /// Whose kernels have refused bytes.
    refusals: Refusals,
    /// Connections with something to write.
    dirty: DirtyLists,
}

impl Outboxes {
    /// All empty, of a core where they may hold so many bytes.
    pub fn new(bytes_max: usize) -> Outboxes {
        Outboxes {
            bytes: 0,
            bytes_max,
            backlog: Backlog::new(bytes_max),
            refusals: Refusals::new(bytes_max),
            dirty: DirtyLists::default(),
        }
    }

    /// Goes on with another limit.
    pub fn renew(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.backlog.renew(bytes_max);
        self.refusals.renew(bytes_max);
    }

    /// What they hold.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether they hold more than they may.
    #[inline]
    pub fn are_over(&self) -> bool {
        self.bytes > self.bytes_max
    }

    /// Whether that is over for a while, so that the search for what is to go is not repeated for each message.
    pub fn have_room_again(&self) -> bool {
        self.bytes <= self.bytes_max - self.bytes_max / 8
    }

    /// Whether they hold so much, and so much of that waits for us, that nobody is to add to it.
    #[inline]
    pub fn are_short_of_memory(&self) -> bool {
        self.backlog.is_much() && self.bytes > self.bytes_max / 2
    }

    /// So many bytes more are held.
    #[inline]
    pub fn hold(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// So many are given back.
    #[inline]
    pub fn free(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// A message has been queued that this connection alone has, and holds so many bytes.
    #[inline]
    pub fn queued_own(&mut self, id: ConnId, slot: &mut Slot, cost: usize) {
        self.bytes += cost;
        if !slot.blocked {
            self.backlog.queued(cost);
        }
        self.dirty.mark(id, slot, Dirty::Urgent);
    }

    /// Whether more than `outbox_bytes_max` may wait for one whose kernel refuses it.
    #[cold]
    pub fn allow(&mut self, id: ConnId, excess: Excess, now: Tick) -> bool {
        self.refusals.allow(id, excess, self.bytes, now)
    }

    /// The kernel of a connection has refused what waits for it, which is no longer for us to write.
    pub fn refused(&mut self, id: ConnId, waiting: usize, most: usize, now: Tick) {
        self.backlog.settled(waiting);
        self.refusals.refused(id, waiting, most, now);
    }

    /// A kernel has taken something; nothing is left if it is `empty`.
    #[inline]
    pub fn took(&mut self, id: ConnId, empty: bool, now: Tick) {
        self.refusals.took(id, empty, now);
    }

    /// When one for whom too much waits is closed, if it takes nothing until then.
    pub fn deadline(&self, id: ConnId) -> Option<Tick> {
        self.refusals.deadline(id)
    }

    /// Those whose deadline is to be set.
    pub fn take_over(&mut self) -> Vec<ConnId> {
        self.refusals.take_over()
    }

    /// A connection is gone.
    pub fn forget(&mut self, id: ConnId) {
        self.backlog.forget(id);
        self.refusals.forget(id);
    }

    /// Notes that a connection is to be written; `slot` is its own.
    #[inline]
    pub fn mark(&mut self, id: ConnId, slot: &mut Slot, how: Dirty) {
        self.dirty.mark(id, slot, how);
    }

    /// The next connection to be written; `bulk` says whether those that only a broadcast made dirty may come, too.
    pub fn next_dirty(&mut self, slots: &mut Pages<Slot>, bulk: bool) -> Option<ConnId> {
        self.dirty.next(slots, bulk)
    }

    /// Whether something is left to be written.
    pub fn are_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    #[cfg(test)]
    pub fn longest_dirty(&self) -> usize {
        self.dirty.longest()
    }
}
