//! A moment as two processes of one machine know it: nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)), which
//! [`Instant`]s are of, too.

use std::time::{Duration, Instant};

fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The nanoseconds of a moment that has been.
pub fn nanos_of(moment: Instant) -> u64 {
    now().saturating_sub(moment.elapsed().as_nanos() as u64)
}

/// The moment of these nanoseconds, which has been.
pub fn moment_of(nanos: u64) -> Instant {
    let since = Duration::from_nanos(now().saturating_sub(nanos));
    let now = Instant::now();
    now.checked_sub(since).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_it_is_that_moment() {
        let moment = Instant::now();
        std::thread::sleep(Duration::from_millis(3));
        let back = moment_of(nanos_of(moment));
        let apart = back.max(moment) - back.min(moment);
        // This thread may have had to wait between the two looks at the clock.
        assert!(apart < Duration::from_secs(1), "{apart:?}");
    }
}
