//! Deadlines of connections: handshake, login, idle, ping, close, and the end of what was proved. Each is computed from when something last
//! happened; the wheel only says when to look.

use super::due::{Due, next_due};
use super::listener_spec::ListenerSpec;
use super::slot::{Dirty, Phase, Slot};
use super::wheel::Tick;
use super::{ConnId, Shard};
use crate::close::CloseReason;

/// Connections whose deadlines are looked at in one round: all of those that came at one time are due at one time.
const EXPIRED_PER_ROUND: usize = 1_024;
impl Shard {
    pub(super) fn due(&self, id: ConnId) -> Due {
        self.connections.get(id).map_or(Due::Never, |slot| {
            let spec = &self.connections.listeners[usize::from(slot.listener)];
            let due = next_due(slot, spec, &self.limits);
            let due = match spec.proves {
                true => self.due_or_expired(id, slot, due),
                false => due,
            };
            match self.takes_until(id, slot, spec) {
                Some(tick) if due.tick().is_none_or(|due| tick < due) => {
                    Due::Close(tick, CloseReason::SlowConsumer)
                }
                _ => due,
            }
        })
    }

    /// When a connection is closed for whom more waits than `outbox_bytes_max`, if it takes nothing until then.
    fn takes_until(&self, id: ConnId, slot: &Slot, spec: &ListenerSpec) -> Option<Tick> {
        let is_open = matches!(slot.phase, Phase::Open | Phase::Home);
        let is_over = !spec.pauses && slot.refused_bytes() > spec.outbox_bytes_max;
        match is_open && is_over {
            true => self.outboxes.deadline(id),
            false => None,
        }
    }

    /// Enters the connection on the wheel, unless its entry there comes up early enough.
    pub(super) fn schedule(&mut self, id: ConnId) {
        let Some(due) = self.due(id).tick() else {
            return;
        };
        let slot = &mut self.connections.slots[id.slot];
        if slot.wheel_at == 0 || due < slot.wheel_at {
            slot.wheel_at = self.clock.enter(id, due);
        }
    }

    /// Holds a connection to the limits that there are now. What is due earlier than it was must be looked at earlier,
    /// or at all.
    pub fn renew_connection(&mut self, id: ConnId, since_now: bool) {
        let now = self.clock.now();
        if since_now
            && let Some(slot) = self.connections.get_mut(id)
            && slot.phase == Phase::Home
        {
            slot.heard = now;
        }
        self.schedule(id);
    }

    /// Something has arrived from the connection.
    #[inline]
    pub fn heard(&mut self, id: ConnId, bytes: usize) {
        let now = self.clock.now();
        self.stats.bytes_in += bytes as u64;
        if let Some(slot) = self.connections.get_mut(id)
            && slot.phase != Phase::Closing
        {
            slot.heard = now;
        }
    }

    /// Stops or resumes reading, and says whether that is a change. Time in which we did not read is
    /// not the peer's idleness.
    pub fn set_paused(&mut self, id: ConnId, paused: bool) -> bool {
        let now = self.clock.now();
        match self.connections.get_mut(id) {
            Some(slot) if slot.paused != paused => {
                slot.paused = paused;
                if !paused && matches!(slot.phase, Phase::Opening | Phase::Open) {
                    slot.since += now - slot.heard;
                }
                if slot.phase != Phase::Closing {
                    slot.heard = now;
                }
                self.schedule(id);
                true
            }
            _ => false,
        }
    }

    /// Does what has come due: pings, closes, and marks to be cut off what was not answered. Looks at so many
    /// connections at most; [`TurnClock::is_expiring`](super::TurnClock::is_expiring) tells of more.
    pub fn expire(&mut self) {
        for id in self.outboxes.take_over() {
            self.schedule(id);
        }
        for _ in 0..EXPIRED_PER_ROUND {
            let Some((tick, id)) = self.clock.next_come() else {
                return;
            };
            self.look_at_deadline(id, tick);
        }
    }

    /// An entry of this tick has come up.
    fn look_at_deadline(&mut self, id: ConnId, tick: Tick) {
        match self.connections.get_mut(id) {
            // Entries that an earlier one has made stale, or of a connection gone.
            Some(slot) if slot.wheel_at == tick => slot.wheel_at = 0,
            _ => return,
        }
        match self.due(id) {
            Due::CutOff(due) if due <= self.clock.now() => return self.endings.cut_off(id),
            Due::Ping(due) if due <= self.clock.now() => self.ping(id),
            Due::Close(due, reason) if due <= self.clock.now() => self.close(id, reason),
            _ => {}
        }
        self.schedule(id);
    }

    fn ping(&mut self, id: ConnId) {
        let now = self.clock.now();
        if let Some(slot) = self.connections.get_mut(id) {
            slot.since = now;
            // What already waits for a peer that does not read asks it often enough.
            if slot.outbox.is_empty() {
                self.send_raw(id, |codec, out| codec.encode_ping(out));
                self.mark_dirty(id, Dirty::Urgent);
            }
        }
    }
}
