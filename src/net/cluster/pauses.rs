//! The pauses between attempts to join: [`Pauses`].

use std::time::Duration;

/// The first one, at most.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Each twice as long as the last, and any time of it: nodes that have lost the same Redis come back one by one.
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses(PAUSE_FIRST)
    }
}

impl Pauses {
    pub fn next(&mut self) -> Duration {
        let longest = self.0;
        self.0 = (2 * longest).min(PAUSE_MAX);
        longest.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_up_to_two_seconds() {
        let mut pauses = Pauses::default();
        assert!(pauses.next() <= PAUSE_FIRST);
        let later: Vec<Duration> = (0..100).map(|_| pauses.next()).collect();
        assert!(later.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(later[50..].iter().all(|pause| *pause >= PAUSE_MAX / 2));
    }
}
