//! What a delivery reads of the world beside the network: time, chance, and whether the server stops.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};

pub trait Clock {
    fn now(&self) -> Instant;
    fn wall_seconds(&self) -> u64;
    /// From 0 to 1.
    fn random(&mut self) -> f64;
    /// Waits so long, or less if the server begins to stop meanwhile.
    fn pause(&mut self, time: Duration);
    /// When all is to be over, if the server stops.
    fn until(&self) -> Option<Instant>;
}

/// The real one.
pub struct SystemClock {
    /// Says once when all is to be over.
    closing: Receiver<Instant>,
    until: std::cell::Cell<Option<Instant>>,
}

impl SystemClock {
    pub fn new(closing: Receiver<Instant>) -> SystemClock {
        SystemClock {
            closing,
            until: std::cell::Cell::new(None),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_seconds(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    fn random(&mut self) -> f64 {
        let mut byte = [0];
        // Without any the pauses are merely alike.
        let _ = aws_lc_rs::rand::fill(&mut byte);
        f64::from(byte[0]) / 255.0
    }

    fn pause(&mut self, time: Duration) {
        // What has been said since is taken below.
        if self.until.get().is_some() {
            return std::thread::sleep(time);
        }
        match self.closing.recv_timeout(time) {
            Ok(until) => self.until.set(Some(until)),
            Err(RecvTimeoutError::Timeout) => {}
            // Whoever would have said so is gone.
            Err(RecvTimeoutError::Disconnected) => self.until.set(Some(Instant::now())),
        }
    }

    fn until(&self) -> Option<Instant> {
        if self.until.get().is_none()
            && let Ok(until) = self.closing.try_recv()
        {
            self.until.set(Some(until));
        }
        self.until.get()
    }
}
