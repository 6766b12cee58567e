//! Connections whose kernel has refused bytes, and how much more than `outbox_bytes_max` may wait for each: [`Refusals`].
//!
//! Slow is who does not take, and that takes time to tell: a burst of some megabytes to many comes faster than any
//! network carries it. A core holds such messages once, however many outboxes they wait in. So with them
//! [`STEADY_FACTOR`] times `outbox_bytes_max` may wait for one whose kernel has taken something within
//! [`TAKES_WITHIN`]; then it is closed. What waits for it alone is never more than `outbox_bytes_max`, but for what
//! waited already when its kernel first refused, which we had been late with; that is less each time that less of it
//! is left.
//!
//! Bound: an entry for each connection whose kernel has refused something since its outbox was last empty.

use ahash::AHashMap;

use super::wheel::{TICKS_SECOND, Tick};
use crate::ident::ConnId;

/// So many times `outbox_bytes_max` may wait for one that goes on taking.
const STEADY_FACTOR: usize = 8;
/// It goes on as long as its kernel has taken something, or has first refused, within this: 10 s.
const TAKES_WITHIN: Tick = 10 * TICKS_SECOND;
/// No longer once the core's outboxes hold this part of what they may, or a few could use up what all share.
const STEADY_PART: usize = 4;

struct Refusal {
    /// What we had been late with.
    late: usize,
    /// When its kernel last took something, or when it first refused.
    took: Tick,
    /// Whether it has been listed since then as one for whom more than `outbox_bytes_max` waits.
    listed: bool,
}

/// More than `outbox_bytes_max` is to wait for one.
#[derive(Clone, Copy)]
pub struct Excess {
    /// All that would wait.
    pub wanted: usize,
    /// What of that would be held for it alone.
    pub own: usize,
    /// Its `outbox_bytes_max`.
    pub most: usize,
}

/// See the module.
pub struct Refusals {
    /// Up to so many bytes in a core's outboxes one that goes on taking may have more than others.
    steady_bytes: usize,
    refused: AHashMap<ConnId, Refusal>,
    /// Those for whom more than `outbox_bytes_max` waits, whose deadline is to be set.
    over: Vec<ConnId>,
}

impl Refusals {
    /// For a core whose outboxes may hold so many bytes.
    pub fn new(outbox_bytes_core: usize) -> Refusals {
        Refusals {
            steady_bytes: outbox_bytes_core / STEADY_PART,
            refused: AHashMap::new(),
            over: Vec::new(),
        }
    }

    /// Goes on with another limit.
    pub fn renew(&mut self, outbox_bytes_core: usize) {
        self.steady_bytes = outbox_bytes_core / STEADY_PART;
    }

    /// Whether so much may wait for a connection whose kernel refuses it, while the core's outboxes hold so much.
    #[cold]
    pub fn allow(&mut self, id: ConnId, excess: Excess, held: usize, now: Tick) -> bool {
        let Excess { wanted, own, most } = excess;
        let Some(refusal) = self.refused.get_mut(&id) else {
            return false;
        };
        if !refusal.listed {
            refusal.listed = true;
            self.over.push(id);
        }
        let takes = now.saturating_sub(refusal.took) <= TAKES_WITHIN;
        let is_roomy = held <= self.steady_bytes;
        wanted <= most + refusal.late
            || takes && is_roomy && own <= most && wanted <= most.saturating_mul(STEADY_FACTOR)
    }

    /// Its kernel has refused what waits, of which there is more than `most` if we were late.
    pub fn refused(&mut self, id: ConnId, waiting: usize, most: usize, now: Tick) {
        let is_over = waiting > most;
        let left = if is_over { waiting } else { 0 };
        let refusal = self.refused.entry(id).or_insert(Refusal {
            late: left,
            took: now,
            listed: false,
        });
        refusal.late = refusal.late.min(left);
        if is_over && !refusal.listed {
            refusal.listed = true;
            self.over.push(id);
        }
    }

    /// Its kernel has taken something; nothing is left if it is `empty`.
    #[inline]
    pub fn took(&mut self, id: ConnId, empty: bool, now: Tick) {
        if self.refused.is_empty() {
            return;
        }
        if empty {
            self.forget(id);
        } else if let Some(refusal) = self.refused.get_mut(&id) {
            refusal.took = now;
            refusal.listed = false;
        }
    }

    /// When one for whom too much waits is closed, if it takes nothing until then.
    pub fn deadline(&self, id: ConnId) -> Option<Tick> {
        let refusal = self.refused.get(&id)?;
        Some(refusal.took + TAKES_WITHIN + 1)
    }

    /// Those whose deadline is to be set.
    pub fn take_over(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.over)
    }

    /// It is gone, or nothing waits for it any more.
    pub fn forget(&mut self, id: ConnId) {
        if !self.refused.is_empty() && self.refused.remove(&id).is_some() && self.refused.is_empty()
        {
            self.refused = AHashMap::new();
            self.over = Vec::new();
        }
    }
}
