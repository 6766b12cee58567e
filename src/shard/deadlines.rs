//! Deadlines of connections: handshake, login, idle, ping, close, and the end of what was proved. Each is computed from when something last
//! happened; the wheel only says when to look.

use super::slot::{Phase, Slot};
use super::wheel::{TICKS_SECOND, Tick};
use super::{ConnId, Dirty, ListenerSpec, Shard, ShardLimits};
use crate::close::CloseReason;

/// Connections whose deadlines are looked at in one round: all of those that came at one time are due at one time.
const EXPIRED_PER_ROUND: usize = 1_024;
/// A closing connection that takes its last messages slowly is cut off after this many `close_timeout`s.
const CLOSE_TIMEOUTS_MAX: Tick = 10;

/// What is due for a connection, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Never,
    Ping(Tick),
    Close(Tick, CloseReason),
    CutOff(Tick),
}

impl Due {
    pub fn tick(self) -> Option<Tick> {
        match self {
            Due::Never => None,
            Due::Ping(tick) | Due::Close(tick, _) | Due::CutOff(tick) => Some(tick),
        }
    }
}

/// Idle checks happen once a second.
fn whole_second(tick: Tick) -> Tick {
    tick.div_ceil(TICKS_SECOND).saturating_mul(TICKS_SECOND)
}

fn next_due(slot: &Slot, spec: &ListenerSpec, limits: &ShardLimits) -> Due {
    match slot.phase {
        Phase::Free => Due::Never,
        Phase::Http => slot.http_due(limits),
        // While we do not read it, its silence is ours.
        Phase::Opening | Phase::Open | Phase::Home if slot.paused => Due::Never,
        Phase::Opening => Due::Close(slot.since + limits.handshake, CloseReason::HandshakeTimeout),
        Phase::Open if !spec.binds || !spec.codec.hears() => Due::Never,
        Phase::Open => Due::Close(slot.since + limits.login, CloseReason::LoginTimeout),
        Phase::Closing => Due::CutOff(
            (slot.since + slot.time_to_end(limits)).min(
                slot.heard
                    .saturating_add(slot.time_to_end(limits).saturating_mul(CLOSE_TIMEOUTS_MAX)),
            ),
        ),
        Phase::Home if !spec.binds => Due::Never,
        // It had one, and has the time of a login for another.
        Phase::Home if slot.uid.is_none() && !spec.optional && spec.codec.hears() => {
            Due::Close(slot.since + limits.login, CloseReason::LoginTimeout)
        }
        Phase::Home => {
            let idle = whole_second(slot.heard + limits.idle);
            let quiet_since = slot.heard.max(slot.since);
            let ping = whole_second(quiet_since + limits.ping);
            let pings = limits.ping > 0 && spec.codec.pings();
            match (limits.idle > 0 && spec.codec.hears(), pings) {
                (true, true) if ping < idle => Due::Ping(ping),
                (true, _) => Due::Close(idle, CloseReason::Idle),
                (false, true) => Due::Ping(ping),
                (false, false) => Due::Never,
            }
        }
    }
}

impl Shard {
    pub(super) fn due(&self, id: ConnId) -> Due {
        self.get(id).map_or(Due::Never, |slot| {
            let spec = &self.listeners[usize::from(slot.listener)];
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
            true => self.refusals.deadline(id),
            false => None,
        }
    }

    /// Enters the connection on the wheel, unless its entry there comes up early enough.
    pub(super) fn schedule(&mut self, id: ConnId) {
        let Some(due) = self.due(id).tick() else {
            return;
        };
        let slot = &mut self.slots[id.slot];
        if slot.wheel_at == 0 || due < slot.wheel_at {
            slot.wheel_at = self.wheel.insert(id, due);
        }
    }

    /// Holds a connection to the limits that there are now. What is due earlier than it was must be looked at earlier,
    /// or at all.
    pub fn renew_connection(&mut self, id: ConnId, since_now: bool) {
        let now = self.now;
        if since_now
            && let Some(slot) = self.get_mut(id)
            && slot.phase == Phase::Home
        {
            slot.heard = now;
        }
        self.schedule(id);
    }

    /// Something has arrived from the connection.
    #[inline]
    pub fn heard(&mut self, id: ConnId, bytes: usize) {
        let now = self.now;
        self.stats.bytes_in += bytes as u64;
        if let Some(slot) = self.get_mut(id)
            && slot.phase != Phase::Closing
        {
            slot.heard = now;
        }
    }

    /// Stops or resumes reading, and says whether that is a change. Time in which we did not read is
    /// not the peer's idleness.
    pub fn set_paused(&mut self, id: ConnId, paused: bool) -> bool {
        let now = self.now;
        match self.get_mut(id) {
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

    /// Whether it is not read for now.
    pub fn is_paused(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|slot| slot.paused)
    }

    /// Counts bytes on their way to other cores on the connection's account.
    pub fn add_transit(&mut self, id: ConnId, bytes: usize) {
        if let Some(slot) = self.get_mut(id) {
            slot.transit = slot.transit.saturating_add(bytes as u32);
        }
    }

    /// They have been taken.
    pub fn sub_transit(&mut self, id: ConnId, bytes: usize) {
        if let Some(slot) = self.get_mut(id) {
            slot.transit = slot.transit.saturating_sub(bytes as u32);
        }
    }

    pub fn transit(&self, id: ConnId) -> usize {
        self.get(id).map_or(0, |slot| slot.transit as usize)
    }

    /// Does what has come due: pings, closes, and marks to be cut off what was not answered. Looks at so many
    /// connections at most; [`Shard::is_expiring`] tells of more.
    pub fn expire(&mut self) {
        for id in self.refusals.take_over() {
            self.schedule(id);
        }
        for _ in 0..EXPIRED_PER_ROUND {
            while self.expiring.1.is_empty() {
                match self.wheel.pop_due(self.now) {
                    Some(come) => self.expiring = come,
                    None => return,
                }
            }
            let tick = self.expiring.0;
            if let Some(id) = self.expiring.1.pop() {
                self.look_at_deadline(id, tick);
            }
        }
    }

    /// Whether more has come up than was looked at.
    pub fn is_expiring(&self) -> bool {
        !self.expiring.1.is_empty() || self.wheel.next_due().is_some_and(|due| due <= self.now)
    }

    /// An entry of this tick has come up.
    fn look_at_deadline(&mut self, id: ConnId, tick: Tick) {
        match self.get_mut(id) {
            // Entries that an earlier one has made stale, or of a connection gone.
            Some(slot) if slot.wheel_at == tick => slot.wheel_at = 0,
            _ => return,
        }
        match self.due(id) {
            Due::CutOff(due) if due <= self.now => return self.overdue.push(id),
            Due::Ping(due) if due <= self.now => self.ping(id),
            Due::Close(due, reason) if due <= self.now => self.close(id, reason),
            _ => {}
        }
        self.schedule(id);
    }

    fn ping(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(slot) = self.get_mut(id) {
            slot.since = now;
            // What already waits for a peer that does not read asks it often enough.
            if slot.outbox.is_empty() {
                self.send_raw(id, |codec, out| codec.encode_ping(out));
                self.mark_dirty(id, Dirty::Urgent);
            }
        }
    }

    /// Connections to be cut off by the transport: their close was not answered, or not even taken.
    pub fn take_overdue(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.overdue)
    }

    /// The next tick at which [`Shard::expire`] has something to look at.
    pub fn next_tick_due(&self) -> Option<Tick> {
        self.wheel.next_due()
    }
}
