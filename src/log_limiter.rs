//! [`LogLimiter`]: a log line that peers can cause as often as they like, said once a second at most; and
//! [`SharedLogLimiter`], the same for a line that is one and the same whichever core says it.
//!
//! Who refuses peers has one for each line it says of them; what is kept is a time and a count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often one log line is said.
#[derive(Default)]
pub struct LogLimiter {
    next: Option<Instant>,
    unsaid: u64,
}

impl LogLimiter {
    /// Whether the line may be said now, and then how many have not been said since the last.
    pub fn may_log(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return None;
        }
        self.next = Some(now + INTERVAL);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// How often one log line is said by all cores together.
pub struct SharedLogLimiter {
    epoch: Instant,
    interval: Duration,
    /// In milliseconds since then.
    next: AtomicU64,
    unsaid: AtomicU64,
}

impl SharedLogLimiter {
    pub fn new() -> SharedLogLimiter {
        SharedLogLimiter::every(INTERVAL)
    }

    /// One that is said once in this time at most.
    pub fn every(interval: Duration) -> SharedLogLimiter {
        SharedLogLimiter {
            epoch: Instant::now(),
            interval,
            next: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }

    /// As [`LogLimiter::may_log`], for all cores together.
    pub fn may_log(&self, now: Instant) -> Option<u64> {
        let now = now.saturating_duration_since(self.epoch).as_millis() as u64;
        let next = |next| (now >= next).then(|| now + self.interval.as_millis() as u64);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.next.fetch_update(set, get, next).is_err() {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.unsaid.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_together_say_one_line_a_second() {
        let log_limiter = SharedLogLimiter::new();
        let said: Vec<(usize, u64)> = (0..100)
            .filter_map(|n| {
                let now = log_limiter.epoch + Duration::from_millis(20) * n as u32;
                std::thread::scope(|core| {
                    core.spawn(|| Some((n, log_limiter.may_log(now)?))).join()
                })
                .unwrap()
            })
            .collect();
        assert_eq!(said, [(0, 0), (50, 49)]);
    }

    #[test]
    fn one_line_a_second_tells_of_the_others() {
        let (mut log_limiter, start) = (LogLimiter::default(), Instant::now());
        let said: Vec<(usize, u64)> = (0..100)
            .filter_map(|n| {
                Some((
                    n,
                    log_limiter.may_log(start + Duration::from_millis(20) * n as u32)?,
                ))
            })
            .collect();
        assert_eq!(said, [(0, 0), (50, 49)]);
    }
}
