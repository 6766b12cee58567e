//! [`Pace`]: when the next message is due at a fixed rate.
//!
//! The times are laid down beforehand, so a message that leaves late carries the time at which it was
//! due: latencies are free of coordinated omission without any correction afterwards.

/// A fixed rate from a beginning on.
#[derive(Clone, Debug)]
pub struct Pace {
    interval_nanos: f64,
    start: Option<u64>,
    taken: u64,
}

impl Pace {
    /// So many a second.
    pub fn new(rate: f64) -> Pace {
        Pace {
            interval_nanos: 1e9 / rate,
            start: None,
            taken: 0,
        }
    }

    /// The time at which one was due, if one is; it counts as sent. The first call begins.
    pub fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next(now);
        (due <= now).then(|| {
            self.taken += 1;
            due
        })
    }

    /// When the next one is due.
    pub fn next(&mut self, now: u64) -> u64 {
        let start = *self.start.get_or_insert(now);
        start + (self.taken as f64 * self.interval_nanos) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_made_up_for_with_the_times_that_were_due() {
        let mut pace = Pace::new(1e9 / 10.0);
        assert_eq!(pace.take(100), Some(100));
        assert_eq!(pace.take(105), None);
        let late: Vec<u64> = std::iter::from_fn(|| pace.take(140)).collect();
        assert_eq!(late, [110, 120, 130, 140]);
        assert_eq!(pace.next(140), 150);
    }
}
