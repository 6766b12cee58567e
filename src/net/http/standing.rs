//! Whether clients are to be sent here, as `/readyz` tells whoever balances them: [`Standing`], one for all cores.

use std::sync::atomic::{AtomicU8, Ordering};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Starting, ready or draining, in this order.
#[derive(Default)]
pub struct Standing(AtomicU8);

impl Standing {
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
        let standing = Standing::default();
        assert_eq!(standing.answer(), (503, "starting\n"));
        standing.ready();
        assert_eq!(standing.answer(), (200, "ready\n"));
        standing.drain();
        standing.ready();
        assert_eq!(standing.answer(), (503, "draining\n"));
    }
}
