//! Where a uid lives: the one place that decides uid -> core.
//!
//! A [`Route`] is a few words and is copied to each core; all copies agree. `bus::endpoint` asks it
//! for every send and every bind.

use std::io;

use ahash::RandomState;

use crate::ident::CoreId;

/// How many cores one server may have: each pair of them has a counter on a cache line of its own.
pub const CORES_MAX: usize = 1024;

/// Maps uids to their home cores. The namespace is no part of the hash: all that is called one uid
/// lives on one core, whichever app speaks of it.
#[derive(Clone, Debug)]
pub struct Route {
    state: RandomState,
    cores: u16,
}

impl Route {
    /// A route over so many cores, seeded at random: nobody outside can choose uids that all
    /// live on one core. Made once a process.
    pub fn new(cores: usize) -> io::Result<Route> {
        Route::over(cores, RandomState::new())
    }

    /// A route that another run with the same seed decides alike, for tests.
    pub fn with_seed(cores: usize, seed: u64) -> io::Result<Route> {
        // `RandomState::with_seed` mixes in what is random for each process; this does not.
        Route::over(cores, RandomState::with_seeds(seed, !seed, 0, 0))
    }

    fn over(cores: usize, state: RandomState) -> io::Result<Route> {
        if cores == 0 || cores > CORES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("cores: {cores}, expected 1 to {CORES_MAX}"),
            ));
        }
        Ok(Route {
            state,
            cores: cores as u16,
        })
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        usize::from(self.cores)
    }

    /// The core where the connections of this uid live.
    pub fn home(&self, uid: &str) -> CoreId {
        let hash = self.state.hash_one(uid);
        // The high word of a product is a fair share of the cores without a division.
        CoreId(((u128::from(hash) * u128::from(self.cores)) >> 64) as u16)
    }

    /// The core that does what comes by one way from outside, by a number of that way.
    pub fn core_of_lane(&self, lane: u64) -> CoreId {
        CoreId((lane % u64::from(self.cores)) as u16)
    }

    /// The core that knows where the connections are that are called by this one, which may be of a process with more cores.
    pub fn keeper(&self, named: CoreId) -> CoreId {
        CoreId(named.0 % self.cores)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn copies_agree_and_seeds_differ() {
        let route = Route::new(7).unwrap();
        let copy = route.clone();
        let one = Route::with_seed(64, 1).unwrap();
        let same = Route::with_seed(64, 1).unwrap();
        let other = Route::with_seed(64, 2).unwrap();
        let mut moved = 0;
        for n in 0..1000 {
            let uid = format!("uid{n}");
            assert_eq!(route.home(&uid), copy.home(&uid));
            assert_eq!(one.home(&uid), same.home(&uid));
            moved += usize::from(one.home(&uid) != other.home(&uid));
        }
        assert!(moved > 900, "only {moved} of 1000 depend on the seed");
    }

    #[test]
    fn every_core_gets_its_share() {
        for cores in [1, 2, 3, 5, 64] {
            let route = Route::with_seed(cores, 3).unwrap();
            let mut count = vec![0; cores];
            for n in 0..cores * 1000 {
                count[route.home(&format!("user-{n}")).index()] += 1;
            }
            for share in count {
                assert!(
                    (800..1200).contains(&share),
                    "{share} of 1000, {cores} cores"
                );
            }
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert!(Route::new(0).is_err());
        assert!(Route::new(CORES_MAX + 1).is_err());
        assert!(Route::new(CORES_MAX).is_ok());
    }
}
