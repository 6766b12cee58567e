//! Timers of a core's apps: [`Timers`].
//!
//! Bound: none here; an app sets what it wants.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::queue;

/// No timer is shorter.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// A timer by its time, its app and the app's token.
type Timer = Reverse<(Instant, u8, u64)>;

/// See the module.
#[derive(Default)]
pub struct Timers {
    waiting: BinaryHeap<Timer>,
}

impl Timers {
    /// Sets one.
    pub fn set(&mut self, now: Instant, app: u8, time: Duration, token: u64) {
        // A timer that is due at once would hold up the turn that sets it, again and again. One that is
        // due after the end of time is never due.
        if let Some(due) = now.checked_add(time.max(TIMER_MIN)) {
            self.waiting.push(Reverse((due, app, token)));
        }
    }

    /// One that has run out, as its app and token.
    #[inline]
    pub fn pop(&mut self, now: Instant) -> Option<(u8, u64)> {
        match self.waiting.peek() {
            Some(Reverse((due, ..))) if *due <= now => {
                let Reverse((_, app, token)) = self.waiting.pop()?;
                if self.waiting.is_empty() {
                    self.waiting.shrink_to(queue::KEPT);
                }
                Some((app, token))
            }
            _ => None,
        }
    }

    /// When the next one runs out.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, ..))| *due)
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.waiting.capacity()
    }
}
