//! What connections prove, and how long that holds.

use super::Shard;
use super::credentials::{HeldCredential, REFRESHES_AT_ONCE};
use super::due::Due;
use super::slot::{Phase, Slot};
use super::wheel::{TICK, TICKS_SECOND, Tick};
use crate::auth::WallTime;
use crate::close::CloseReason;
use crate::ident::ConnId;

impl Shard {
    /// An open connection has proved whose it is.
    pub fn prove(&mut self, id: ConnId, uid: Box<str>, expires: WallTime) {
        if self.connections.phase(id) == Phase::Open {
            let held = HeldCredential {
                uid: Some(uid),
                expires,
                refreshed: self.clock.now(),
            };
            self.credentials.hold(id.slot, held);
            self.schedule(id);
        }
    }

    /// The uid that a connection has proved to be.
    pub fn proved(&self, id: ConnId) -> Option<&str> {
        let slot = self.connections.get(id)?;
        let held = self.credentials.get(id.slot)?;
        held.uid.as_deref().or(slot.uid.as_deref())
    }

    /// When what it has proved proves nothing any more.
    pub fn proof_ends(&self, id: ConnId) -> Option<WallTime> {
        self.connections.get(id)?;
        self.credentials.get(id.slot).map(|held| held.expires)
    }

    /// Whether a connection may show one more proof now; that counts as one.
    pub fn may_refresh(&mut self, id: ConnId) -> bool {
        let now = self.clock.now();
        if self.connections.get(id).is_none() {
            return false;
        }
        self.credentials.get_mut(id.slot).is_some_and(|held| {
            held.refreshed = held.refreshed.max(now) + TICKS_SECOND;
            held.refreshed - now <= REFRESHES_AT_ONCE * TICKS_SECOND
        })
    }

    /// A connection has shown a further proof of its uid. One that ends sooner changes nothing.
    pub fn refresh(&mut self, id: ConnId, expires: WallTime) {
        if self.connections.get(id).is_some()
            && let Some(held) = self.credentials.get_mut(id.slot)
        {
            held.expires = held.expires.max(expires);
            self.schedule(id);
        }
    }

    /// What is due for a connection, given what is due besides, if its proof ends before that.
    pub(super) fn due_or_expired(&self, id: ConnId, slot: &Slot, due: Due) -> Due {
        let Some(held) = self.credentials.get(id.slot) else {
            return due;
        };
        if !matches!(slot.phase, Phase::Open | Phase::Home) {
            return due;
        }
        let left = held.expires.saturating_sub(self.credentials.wall());
        let ticks = left.div_ceil(TICK.as_millis() as WallTime);
        // Beyond the wheel's end it does not matter how far.
        let expires = self.clock.now() + ticks.min(WallTime::from(Tick::MAX / 4)) as Tick;
        match due.tick() {
            Some(tick) if tick < expires => due,
            _ => Due::Close(expires, CloseReason::Expired),
        }
    }
}
