//! Whether clients are to be sent here, as `/readyz` tells whoever balances them: [`Readiness`], one for all cores.

use std::sync::atomic::{AtomicU8, Ordering};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

const NO_CLUSTER: u8 = 0;
const JOINED: u8 = 1;
/// Its Redis is away, which matters not.
const ALONE: u8 = 2;
/// It is away, and no clients are to come.
#[cfg(feature = "cluster")]
const CUT_OFF: u8 = 3;

/// Starting, ready or draining, in this order; and how it stands with the cluster.
#[derive(Default)]
pub struct Readiness {
    stage: AtomicU8,
    cluster: AtomicU8,
}

impl Readiness {
    /// Every core has started.
    pub fn ready(&self) {
        self.stage.fetch_max(READY, Ordering::Relaxed);
    }

    /// The server is going to stop.
    pub fn drain(&self) {
        self.stage.store(DRAINING, Ordering::Relaxed);
    }

    /// Whether it is one with a cluster's Redis; or, if not, whether clients are to come even so.
    #[cfg(feature = "cluster")]
    pub fn cluster(&self, joined: bool, ready_alone: bool) {
        let state = match (joined, ready_alone) {
            (true, _) => JOINED,
            (false, true) => ALONE,
            (false, false) => CUT_OFF,
        };
        self.cluster.store(state, Ordering::Relaxed);
    }

    /// What `/readyz` answers.
    pub fn answer(&self) -> (u16, &'static str) {
        match self.stage.load(Ordering::Relaxed) {
            STARTING => (503, "starting\n"),
            READY => match self.cluster.load(Ordering::Relaxed) {
                NO_CLUSTER | JOINED => (200, "ready\n"),
                ALONE => (200, "ready, but the cluster's Redis is away\n"),
                _ => (503, "the cluster's Redis is away\n"),
            },
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

    #[cfg(feature = "cluster")]
    #[test]
    fn a_node_alone_is_ready_as_configured() {
        let readiness = Readiness::default();
        readiness.cluster(false, false);
        assert_eq!(readiness.answer(), (503, "starting\n"));
        readiness.ready();
        assert_eq!(readiness.answer().0, 503);
        readiness.cluster(false, true);
        let (status, words) = readiness.answer();
        assert!(status == 200 && words.contains("Redis is away"), "{words}");
        readiness.cluster(true, true);
        assert_eq!(readiness.answer(), (200, "ready\n"));
        readiness.drain();
        assert_eq!(readiness.answer(), (503, "draining\n"));
    }
}
