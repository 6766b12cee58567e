//! Times: the monotonic clock that stamps are written in, and CPU time of our own.

/// Nanoseconds of the monotonic clock, the same for every thread of the machine.
pub fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread so far, in nanoseconds.
pub fn thread_cpu() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// A span in nanoseconds.
pub fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Nanoseconds in seconds.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// CPU time of this process so far, in nanoseconds.
pub fn process_cpu() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec that lives through the call. These clocks exist on every
    // Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
