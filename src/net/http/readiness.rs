//! Whether clients are to be sent here, as `/readyz` tells whoever balances them: [`Readiness`], one for all cores.

use std::sync::atomic::{AtomicU8, Ordering};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Starting, ready or draining, in this order.
#[derive(Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Every core has started.
    pub fn ready(&self) {
        self.0.fetch_max(READY, Ordering::Relaxed);
    }

    /// The server is going to stop.
    pub fn drain(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }

    /// What `/readyz` answers.
    pub fn answer(&self) -> (u16, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            STARTING => (503, "starting\n"),
            READY => (200, "ready\n"),
            _ => (503, "draining\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_drains_is_never_ready_again() {
        let readiness = Readiness::default();
        assert_eq!(readiness.answer(), (503, "starting\n"));
        readiness.ready();
        assert_eq!(readiness.answer(), (200, "ready\n"));
        readiness.drain();
        readiness.ready();
        assert_eq!(readiness.answer(), (503, "draining\n"));
    }
}
