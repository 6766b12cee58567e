//! How outboxes empty: whose turn it is to be written, and what the kernel has taken or refuses.

use super::delivery::COPY_BYTES_MAX;
use super::slot::{Dirty, Phase};
use super::{ConnId, Shard};

impl Shard {
    /// The next connection to be written; `bulk` says whether those that only a broadcast made dirty may
    /// come, too.
    pub fn next_dirty(&mut self, bulk: bool) -> Option<ConnId> {
        self.outboxes.next_dirty(&mut self.connections.slots, bulk)
    }

    /// Whether something is left to be written by a later turn.
    pub fn has_dirty(&self) -> bool {
        self.outboxes.are_dirty()
    }

    /// It has had its part of this round's writing, and is written on in a later one.
    pub fn write_later(&mut self, id: ConnId) {
        self.mark_dirty(id, Dirty::Bulk);
    }

    /// The kernel has taken this much.
    #[inline]
    pub fn written(&mut self, id: ConnId, bytes: usize) {
        let now = self.clock.now();
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        // HTTP is left out of what is told.
        let told = if slot.is_http() { 0 } else { bytes as u64 };
        let waited = slot.outbox.bytes();
        let freed = slot.outbox.advance(bytes);
        let left = waited - slot.outbox.bytes();
        if slot.phase == Phase::Closing {
            // A peer that still takes its last messages is not cut off.
            slot.since = now;
        }
        if !slot.blocked {
            self.outboxes.backlog.settled(left);
        }
        self.outboxes.free(freed);
        self.outboxes.took(id, waited == left, now);
        if waited == left {
            self.followers.note_drained(id);
        }
        self.stats.bytes_out += told;
        self.in_flight.note_written(id.slot, bytes);
    }

    /// The kernel takes no more until the connection is writable again.
    pub fn set_blocked(&mut self, id: ConnId, blocked: bool) {
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        let was = std::mem::replace(&mut slot.blocked, blocked);
        let (waiting, listener) = (slot.outbox.bytes(), usize::from(slot.listener));
        // Where nothing waits any more, a closing one is still to be ended.
        if !blocked && (waiting > 0 || slot.phase == Phase::Closing) {
            // Those who have much waiting would be as many as read a flood, and each of them has had his part.
            let how = match waiting > COPY_BYTES_MAX {
                true => Dirty::Bulk,
                false => Dirty::Urgent,
            };
            self.mark_dirty(id, how);
        }
        match (was, blocked) {
            (false, true) => {
                let most = self.connections.listeners[listener].outbox_bytes_max;
                self.outboxes.refused(id, waiting, most, self.clock.now());
            }
            (true, false) => self.outboxes.backlog.taken_back(waiting),
            _ => {}
        }
    }
}
