//! What connections have proved, for those that have: whose they are, and until when.
//!
//! Kept beside the slots, so that a connection that had nothing to prove pays nothing. The end of a proof is a
//! time of the clock on the wall, which may be set: it is turned into a tick whenever the wheel looks, which is
//! every hundred seconds at the latest. Bound: an entry a connection.

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use super::limits::LIST_KEPT;
use super::wheel::{TICKS_SECOND, Tick};
use crate::auth::WallTime;

/// Proofs that a connection may show one after the other before it has to wait a second for each: checking
/// one costs a signature.
pub const REFRESHES_AT_ONCE: Tick = 4;

/// What a connection has proved.
pub struct HeldCredential {
    /// Whose it is; `None` once it is bound to just that.
    pub(super) uid: Option<Box<str>>,
    pub(super) expires: WallTime,
    /// Up to when it has used up what it may show.
    pub(super) refreshed: Tick,
}

/// What a connection has proved that is in no shard.
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

impl Credentials {
    /// Sets the time that proofs end by.
    pub fn set_wall(&mut self, now: WallTime) {
        self.wall = now;
    }

    /// The time that proofs end by.
    pub fn wall(&self) -> WallTime {
        self.wall
    }

    /// What the connection of a slot has proved.
    pub(super) fn get(&self, slot: u32) -> Option<&HeldCredential> {
        self.held.get(&slot)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut HeldCredential> {
        self.held.get_mut(&slot)
    }

    /// Whether any connection has proved something.
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.held.is_empty()
    }

    /// It is bound to this uid: if to what it has proved, that is kept once.
    #[inline]
    pub(super) fn bind(&mut self, slot: u32, uid: &str) {
        if self.held.is_empty() {
            return;
        }
        if let Some(held) = self.held.get_mut(&slot)
            && held.uid.as_deref() == Some(uid)
        {
            held.uid = None;
        }
    }

    /// It is bound to this no more, and has still proved it.
    pub(super) fn unbind(&mut self, slot: u32, uid: Option<Box<str>>) {
        if let Some(held) = self.held.get_mut(&slot)
            && held.uid.is_none()
        {
            held.uid = uid;
        }
    }

    /// Takes what it has proved, because it goes.
    pub(super) fn take(&mut self, slot: u32) -> Option<HeldCredential> {
        if self.held.is_empty() {
            return None;
        }
        let held = self.held.remove(&slot);
        if self.held.len() < self.held.capacity() / 4 {
            let kept = (2 * self.held.len()).max(LIST_KEPT);
            self.held.shrink_to(kept);
        }
        held
    }

    /// Keeps what it has proved, here or on the core that it has come from.
    pub(super) fn hold(&mut self, slot: u32, held: HeldCredential) {
        self.held.insert(slot, held);
    }

    /// How many connections have proved something.
    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}
