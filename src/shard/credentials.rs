//! What connections have proved, for those that have: whose they are, and until when.
//!
//! Kept beside the slots, so that a connection that had nothing to prove pays nothing. The end of a proof is a
//! time of the clock on the wall, which may be set: it is turned into a tick whenever the wheel looks, which is
//! every hundred seconds at the latest. Bound: an entry a connection.

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use super::deadlines::Due;
use super::slot::{Phase, Slot};
use super::wheel::{TICK, TICKS_SECOND, Tick};
use super::{ConnId, LIST_KEPT, Shard};
use crate::auth::WallTime;
use crate::close::CloseReason;

/// Proofs that a connection may show one after the other before it has to wait a second for each: checking
/// one costs a signature.
const REFRESHES_AT_ONCE: Tick = 4;

/// What a connection has proved.
pub struct HeldCredential {
    /// Whose it is; `None` once it is bound to just that.
    uid: Option<Box<str>>,
    expires: WallTime,
    /// Up to when it has used up what it may show.
    refreshed: Tick,
}

/// The same of a connection that is in no shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedCredential {
    pub uid: Option<Box<str>>,
    pub expires: WallTime,
    /// How long it is until all that it has used up is earned again.
    pub refreshed_in: Tick,
}

impl HeldCredential {
    pub(super) fn taken(self, now: Tick) -> SavedCredential {
        SavedCredential {
            uid: self.uid,
            expires: self.expires,
            refreshed_in: self.refreshed.saturating_sub(now),
        }
    }
}

impl SavedCredential {
    pub(super) fn held(self, now: Tick) -> HeldCredential {
        let most = REFRESHES_AT_ONCE * TICKS_SECOND;
        HeldCredential {
            uid: self.uid,
            expires: self.expires,
            refreshed: now + self.refreshed_in.min(most),
        }
    }
}

/// The proofs of one core's connections, by their slots.
#[derive(Default)]
pub struct Credentials {
    held: AHashMap<u32, HeldCredential>,
    /// The time now.
    wall: WallTime,
}

impl Shard {
    /// Sets the time that proofs end by.
    pub fn set_wall(&mut self, now: WallTime) {
        self.credentials.wall = now;
    }

    /// The same again.
    pub fn wall(&self) -> WallTime {
        self.credentials.wall
    }

    /// An open connection has proved whose it is.
    pub fn prove(&mut self, id: ConnId, uid: Box<str>, expires: WallTime) {
        if self.phase(id) == Phase::Open {
            let held = HeldCredential {
                uid: Some(uid),
                expires,
                refreshed: self.now,
            };
            self.hold(id, Some(held));
            self.schedule(id);
        }
    }

    /// The uid that a connection has proved to be.
    pub fn proved(&self, id: ConnId) -> Option<&str> {
        let slot = self.get(id)?;
        let held = self.credentials.held.get(&id.slot)?;
        held.uid.as_deref().or(slot.uid.as_deref())
    }

    /// Whether a connection may show one more proof now; that counts as one.
    pub fn may_refresh(&mut self, id: ConnId) -> bool {
        let now = self.now;
        if self.get(id).is_none() {
            return false;
        }
        self.credentials.held.get_mut(&id.slot).is_some_and(|held| {
            held.refreshed = held.refreshed.max(now) + TICKS_SECOND;
            held.refreshed - now <= REFRESHES_AT_ONCE * TICKS_SECOND
        })
    }

    /// A connection has shown a further proof of its uid. One that ends sooner changes nothing.
    pub fn refresh(&mut self, id: ConnId, expires: WallTime) {
        if self.get(id).is_some()
            && let Some(held) = self.credentials.held.get_mut(&id.slot)
        {
            held.expires = held.expires.max(expires);
            self.schedule(id);
        }
    }

    /// A connection has been bound: if to what it has proved, that is kept once.
    #[inline]
    pub(super) fn bound_as_proved(&mut self, id: ConnId) {
        if self.credentials.held.is_empty() {
            return;
        }
        if let Some(slot) = self.get(id)
            && let uid @ Some(_) = slot.uid.as_deref()
            && self
                .credentials
                .held
                .get(&id.slot)
                .is_some_and(|held| held.uid.as_deref() == uid)
            && let Some(held) = self.credentials.held.get_mut(&id.slot)
        {
            held.uid = None;
        }
    }

    /// A connection is bound to this no more, and has still proved it.
    pub(super) fn keep_proved(&mut self, id: ConnId, uid: Option<Box<str>>) {
        if let Some(held) = self.credentials.held.get_mut(&id.slot)
            && held.uid.is_none()
        {
            held.uid = uid;
        }
    }

    /// Takes what a connection has proved, because it goes.
    pub(super) fn take_credential(&mut self, id: ConnId) -> Option<HeldCredential> {
        if self.credentials.held.is_empty() {
            return None;
        }
        let held = self.credentials.held.remove(&id.slot);
        if self.credentials.held.len() < self.credentials.held.capacity() / 4 {
            let kept = (2 * self.credentials.held.len()).max(LIST_KEPT);
            self.credentials.held.shrink_to(kept);
        }
        held
    }

    /// Keeps what a connection has proved, here or on the core that it has come from.
    pub(super) fn hold(&mut self, id: ConnId, held: Option<HeldCredential>) {
        if let Some(held) = held {
            self.credentials.held.insert(id.slot, held);
        }
    }

    /// What is due for a connection, given what is due besides, if its proof ends before that.
    pub(super) fn due_or_expired(&self, id: ConnId, slot: &Slot, due: Due) -> Due {
        let Some(held) = self.credentials.held.get(&id.slot) else {
            return due;
        };
        if !matches!(slot.phase, Phase::Open | Phase::Home) {
            return due;
        }
        let left = held.expires.saturating_sub(self.credentials.wall);
        let ticks = left.div_ceil(TICK.as_millis() as WallTime);
        // Beyond the wheel's end it does not matter how far.
        let expires = self.now + ticks.min(WallTime::from(Tick::MAX / 4)) as Tick;
        match due.tick() {
            Some(tick) if tick < expires => due,
            _ => Due::Close(expires, CloseReason::Expired),
        }
    }

    /// How many connections have proved something.
    #[cfg(all(test, not(loom)))]
    pub(super) fn credentials(&self) -> usize {
        self.credentials.held.len()
    }
}
