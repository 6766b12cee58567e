//! How a core sleeps without missing what is posted to it, and is left alone while it is awake.
//!
//! The protocol, for mail (credit that returns works alike):
//!
//! ```text
//! poster: push to the queue;  fence;  if asleep, make it awake and ring
//! owner:  say asleep;  fence;  look at the queue again;  wait only if it is still empty
//! ```
//!
//! One of the two fences comes first in the single order of all such fences. If it is the poster's,
//! the owner's second look sees the push; if it is the owner's, the poster sees that it is asleep. So
//! one of them notices always. Release and Acquire alone do not give this: both sides write one thing
//! and then read the other, and without the fences both may read what was before. `tests/loom/doorbell.rs`
//! shows both, on this code.
//!
//! All writes of the state are swaps: each sees the one before, so that the writes of the owner and
//! of posters stand in one order that both know (with plain stores loom does not follow it).
//!
//! A burst costs one ring: only whoever turns the state to awake rings. A ring too many is harmless
//! (one turn that finds nothing); it happens when the owner disarms while someone is ringing.

use std::sync::atomic::AtomicU64;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering, fence};

/// What makes the owner's wait end; an eventfd, or a stand-in under loom. A ring while nobody waits is
/// kept for the next wait.
pub trait Notify {
    /// Ends the owner's wait, the present or the next.
    fn ring(&self);
}

/// What a sleeping core is to be woken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WakeFor {
    /// Envelopes in its mailbox.
    Mail = 1,
    /// Envelopes, and credit that other cores give back: some connection waits for it.
    MailAndCredit = 2,
}

/// The owner neither waits nor is about to.
const AWAKE: u8 = 0;

/// The state of one core's sleep, shared by the owner and all who post to it.
///
/// `FENCED` is true but in the test that shows what the fences are for.
#[derive(Debug)]
pub struct Doorbell<R, const FENCED: bool = true> {
    /// `AWAKE`, or what the owner is asleep for. Posters write it only to wake the owner, so that
    /// its cache line stays shared while the owner is awake.
    state: AtomicU8,
    /// Plain `std`, under loom too: nothing depends on it.
    rings: AtomicU64,
    ring: R,
}

impl<R: Notify, const FENCED: bool> Doorbell<R, FENCED> {
    /// A doorbell whose owner is awake.
    pub fn new(ring: R) -> Self {
        Doorbell {
            state: AtomicU8::new(AWAKE),
            rings: AtomicU64::new(0),
            ring,
        }
    }

    /// Poster: call it after the push. Returns whether it rang.
    pub fn mail_posted(&self) -> bool {
        self.order();
        self.state.load(Ordering::Relaxed) != AWAKE && self.wake()
    }

    /// Poster: call it after giving credit back. Returns whether it rang.
    pub fn credit_returned(&self) -> bool {
        self.order();
        self.state.load(Ordering::Relaxed) == WakeFor::MailAndCredit as u8 && self.wake()
    }

    /// Owner: about to wait. Looks once more whether anything waits for it, and returns true if the
    /// wait may begin; false if there is something to do, and then it counts as awake.
    #[must_use]
    pub fn arm(&self, wake_for: WakeFor, nothing_waits: impl Fn() -> bool) -> bool {
        self.state.swap(wake_for as u8, Ordering::AcqRel);
        self.order();
        if nothing_waits() {
            return true;
        }
        self.disarm();
        false
    }

    /// Owner: awake again, by a ring or by anything else, before it looks at its queue.
    pub fn disarm(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Rings whatever the state: the owner's way to another turn through the poller.
    pub fn ring_now(&self) {
        self.rings
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.ring.ring();
    }

    /// How often it rang.
    pub fn rings(&self) -> u64 {
        self.rings.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What rings: the owner waits on it.
    pub fn ring(&self) -> &R {
        &self.ring
    }

    /// Several may see the owner asleep; the one that finds it so in the swap rings for all. Whatever
    /// it was asleep for by then, it must be rung, for the swap has taken away what others go by.
    fn wake(&self) -> bool {
        let asleep = self.state.swap(AWAKE, Ordering::AcqRel) != AWAKE;
        if asleep {
            self.ring_now();
        }
        asleep
    }

    fn order(&self) {
        if FENCED {
            fence(Ordering::SeqCst);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Silent;
    impl Notify for Silent {
        fn ring(&self) {}
    }

    fn doorbell() -> Doorbell<Silent> {
        Doorbell::new(Silent)
    }

    #[test]
    fn an_awake_owner_is_left_alone() {
        let bell = doorbell();
        assert!(!bell.mail_posted());
        assert!(!bell.credit_returned());
        assert_eq!(bell.rings(), 0);
    }

    #[test]
    fn a_burst_rings_once() {
        let bell = doorbell();
        assert!(bell.arm(WakeFor::Mail, || true));
        assert!(bell.mail_posted());
        assert!(!bell.mail_posted());
        assert_eq!(bell.rings(), 1);
    }

    #[test]
    fn credit_wakes_only_who_asked_for_it() {
        let bell = doorbell();
        assert!(bell.arm(WakeFor::Mail, || true));
        assert!(!bell.credit_returned());
        assert!(bell.arm(WakeFor::MailAndCredit, || true));
        assert!(bell.credit_returned());
        assert!(!bell.mail_posted());
        assert!(bell.arm(WakeFor::MailAndCredit, || true));
        assert!(bell.mail_posted());
    }

    #[test]
    fn something_waiting_forbids_the_sleep() {
        let bell = doorbell();
        assert!(!bell.arm(WakeFor::Mail, || false));
        assert!(!bell.mail_posted());
        assert!(bell.arm(WakeFor::Mail, || true));
        bell.disarm();
        assert!(!bell.mail_posted());
    }
}
