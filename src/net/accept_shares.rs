//! [`AcceptShares`]: how the cores take turns at a listening socket that they share.
//!
//! All cores wait for it, so each connection wakes them all, and whoever is there first would have it: mostly the same
//! core. So each counts what it has taken, and one that is ahead of another lets it go first: it looks again after
//! [`GRACE`]. Where all have time they take turns exactly, and nobody waits. A core that is busy is not waited for
//! longer, and what the others take in its stead is not counted: it need not make up for that. Of many that wait the
//! shares double from look to look, up to [`MOST`]. (EPOLLEXCLUSIVE would wake one core alone, but always the same.) Where a connection stays its uid decides, not who has
//! accepted it; what binds none stays.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For so long who is ahead leaves a connection to the others.
pub const GRACE: Duration = Duration::from_millis(1);
/// Connections taken in one look.
pub const MOST: usize = 64;

/// What each core has taken in its turn.
pub struct AcceptShares(Box<[AtomicU64]>);

impl AcceptShares {
    pub fn new(cores: usize) -> AcceptShares {
        AcceptShares((0..cores).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether another core has taken fewer.
    pub fn is_ahead(&self, core: usize) -> bool {
        let taken = |one: &AtomicU64| one.load(Ordering::Relaxed);
        let own = self.0.get(core).map_or(0, taken);
        self.0.iter().any(|other| taken(other) < own)
    }

    /// One has been taken by a core whose turn it was.
    pub fn count(&self, core: usize) {
        if let Some(own) = self.0.get(core) {
            own.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_more_than_another_is_ahead() {
        let shares = AcceptShares::new(3);
        assert!((0..3).all(|core| !shares.is_ahead(core)));
        shares.count(1);
        assert_eq!(
            [0, 1, 2].map(|core| shares.is_ahead(core)),
            [false, true, false]
        );
        shares.count(0);
        shares.count(2);
        assert!((0..3).all(|core| !shares.is_ahead(core)));
        let alone = AcceptShares::new(1);
        alone.count(0);
        assert!(!alone.is_ahead(0));
    }
}
