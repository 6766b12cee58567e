//! How many envelopes went from whom to whom: what is paid back to senders, and whether anything is
//! still under way.
//!
//! Each count has one writer, which stores and never reads, modifies and writes, except for the posts
//! from outside. `bus::endpoint` counts; the thread that stops the server looks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::envelope::{OUTSIDE, Until};
use crate::ident::CoreId;

/// The counts of the whole bus, shared by all.
#[derive(Debug)]
pub struct BusCounters {
    cores: usize,
    /// By sender, the outside last: written by the sender, one count a destination.
    posted: Box<[Row]>,
    /// By destination, then sender, the outside last. The destination writes, the sender reads at its
    /// own pace: a line each, so that senders do not disturb each other.
    taken: Box<[CachePadded<AtomicU64>]>,
    /// By destination, then sender: how far what was for many is written, and what was to be passed on is paid back.
    done: Box<[CachePadded<Done>]>,
    /// By destination: its endpoint is gone and takes nothing any more.
    gone: Box<[CachePadded<AtomicBool>]>,
}

#[derive(Debug, Default)]
struct Done {
    written: AtomicU64,
    relayed: AtomicU64,
}

#[derive(Debug)]
struct Row {
    to: Box<[AtomicU64]>,
    /// Posts that met a mailbox whose owner is gone.
    undeliverable: CachePadded<AtomicU64>,
}

/// What was counted at one moment, by [`BusCounters::look`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Envelopes posted to cores that live.
    pub posted: u64,
    /// Envelopes that these have taken and dealt with.
    pub taken: u64,
}

impl Look {
    /// Whether all that was posted has been dealt with, together with what came of it.
    pub fn settled(self) -> bool {
        self.posted == self.taken
    }
}

impl BusCounters {
    pub(super) fn new(cores: usize) -> BusCounters {
        let row = |_| Row {
            to: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            undeliverable: CachePadded::default(),
        };
        BusCounters {
            cores,
            posted: (0..=cores).map(row).collect(),
            taken: (0..cores * (cores + 1))
                .map(|_| CachePadded::default())
                .collect(),
            done: (0..cores * (cores + 1))
                .map(|_| CachePadded::default())
                .collect(),
            gone: (0..cores).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Whether anything is under way, for a coordinator that wants to stop all cores: Mattern's
    /// four-counter method.
    ///
    /// All `taken` are read before any `posted`. A core counts a post before it sends it, and
    /// publishes what it has taken only when that is dealt with and all posts that came of it are
    /// counted. So each take that is seen here brings with it (release, acquire) the sight of its own
    /// post and of the posts that it caused. `posted` is never below `taken`, and if they are equal,
    /// every envelope that is counted has been dealt with and all its consequences are counted too:
    /// nothing is under way.
    ///
    /// What envelopes cannot tell is whether a core is about to post for another reason: a socket, a
    /// timer, a broadcast half done. Therefore look, ask each core whether it is idle, and look again.
    /// The counts only grow; so if both looks are settled and equal, nothing was posted or taken in
    /// between, and each core's answer holds for all of them at once.
    pub fn look(&self) -> Look {
        let lives: Vec<bool> = (0..self.cores).map(|to| !self.is_gone(to)).collect();
        let live = |to: &usize| lives[*to];
        let taken = (0..self.cores)
            .filter(live)
            .map(|to| self.taken_by(CoreId(to as u16)))
            .sum();
        let posted = (0..self.cores)
            .filter(live)
            .flat_map(|to| self.posted.iter().map(move |row| &row.to[to]))
            .map(|count| count.load(Ordering::Relaxed))
            .sum();
        Look { posted, taken }
    }

    /// Whether an envelope from outside waits at this core: one that has not been dealt with, and may be yet.
    pub(super) fn waits_from_outside(&self, to: CoreId) -> bool {
        // In this order: what was posted before the look at `taken` is in it, if it was taken.
        let posted = self.posted[self.cores].to[to.index()].load(Ordering::Relaxed);
        self.taken_of(OUTSIDE, to) < posted
    }

    /// Envelopes this core has posted.
    pub fn posted_by(&self, from: CoreId) -> u64 {
        let counts = self.posted[self.sender(from)].to.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Envelopes this core has posted to that one.
    pub(super) fn posted_to(&self, from: CoreId, to: CoreId) -> u64 {
        self.posted[from.index()].to[to.index()].load(Ordering::Relaxed)
    }

    /// Envelopes this core has taken and dealt with.
    pub fn taken_by(&self, to: CoreId) -> u64 {
        let first = to.index() * (self.cores + 1);
        let counts = self.taken[first..=first + self.cores].iter();
        counts.map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// Posts that were dropped because the core they were for is gone.
    pub fn undeliverable(&self) -> u64 {
        let counts = self.posted.iter().map(|row| &row.undeliverable);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Counts a post of a core, which alone writes this count, and numbers it among those between
    /// the two. It must come before the sending; `look` says why.
    pub(super) fn count_post(&self, from: CoreId, to: CoreId) -> u64 {
        increase(&self.posted[from.index()].to[to.index()])
    }

    /// Counts posts from outside, of which several threads may make some at a time.
    pub(super) fn count_post_from_outside(&self, to: CoreId) {
        self.posted[self.cores].to[to.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_undeliverable(&self, from: CoreId) {
        increase(&self.posted[from.index()].undeliverable);
    }

    pub(super) fn count_undeliverable_from_outside(&self) {
        let count = &self.posted[self.cores].undeliverable;
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the sender how many of its envelopes have been dealt with so far.
    pub(super) fn publish_taken(&self, from: CoreId, to: CoreId, count: u64) {
        self.taken[self.pair(from, to)].store(count, Ordering::Release);
    }

    /// How far the destination is, from 1, in the numbers that [`BusCounters::count_post`] gave;
    /// `u64::MAX` when it is gone, for then nothing waits there any more.
    pub(super) fn taken_of(&self, from: CoreId, to: CoreId) -> u64 {
        if self.is_gone(to.index()) {
            return u64::MAX;
        }
        self.taken[self.pair(from, to)].load(Ordering::Acquire)
    }

    /// Tells the sender up to which of its envelopes all that they have caused has been written.
    pub(super) fn publish_written(&self, from: CoreId, to: CoreId, count: u64) {
        let done = &self.done[self.pair(from, to)];
        done.written.store(count, Ordering::Release);
    }

    /// Tells the sender up to which of the envelopes that were to be passed on that has been done, and paid back.
    pub(super) fn publish_relayed(&self, from: CoreId, to: CoreId, count: u64) {
        let done = &self.done[self.pair(from, to)];
        done.relayed.store(count, Ordering::Release);
    }

    /// How many of a sender's envelopes for many a core has written; all, once its endpoint is gone.
    pub(super) fn written_of(&self, from: CoreId, to: CoreId) -> u64 {
        if self.is_gone(to.index()) {
            return u64::MAX;
        }
        let done = &self.done[self.pair(from, to)];
        done.written.load(Ordering::Acquire)
    }

    /// How many of a sender's envelopes a core has passed on, and been paid back for; all, once its endpoint is gone.
    pub(super) fn relayed_of(&self, from: CoreId, to: CoreId) -> u64 {
        if self.is_gone(to.index()) {
            return u64::MAX;
        }
        let done = &self.done[self.pair(from, to)];
        done.relayed.load(Ordering::Acquire)
    }

    /// How far the destination is with what this core has sent it, of one kind.
    pub(super) fn reached(&self, from: CoreId, to: CoreId, until: Until) -> u64 {
        match until {
            Until::Taken => self.taken_of(from, to),
            Until::Written => self.written_of(from, to),
            Until::Relayed => self.relayed_of(from, to),
        }
    }

    pub(super) fn declare_gone(&self, core: CoreId) {
        self.gone[core.index()].store(true, Ordering::Release);
    }

    pub fn is_gone(&self, to: usize) -> bool {
        self.gone[to].load(Ordering::Acquire)
    }

    /// A sender's place; what is no core is the outside.
    fn sender(&self, from: CoreId) -> usize {
        from.index().min(self.cores)
    }

    fn pair(&self, from: CoreId, to: CoreId) -> usize {
        to.index() * (self.cores + 1) + self.sender(from)
    }
}

fn increase(count: &AtomicU64) -> u64 {
    let next = count.load(Ordering::Relaxed) + 1;
    count.store(next, Ordering::Relaxed);
    next
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_settled_when_all_is_taken() {
        let counters = BusCounters::new(2);
        let (a, b) = (CoreId(0), CoreId(1));
        assert!(counters.look().settled());
        assert_eq!(counters.count_post(a, b), 1);
        assert_eq!(counters.count_post(a, b), 2);
        counters.count_post_from_outside(b);
        assert_eq!(
            counters.look(),
            Look {
                posted: 3,
                taken: 0
            }
        );
        counters.publish_taken(a, b, 2);
        assert!(!counters.look().settled());
        counters.publish_taken(OUTSIDE, b, 1);
        assert_eq!(
            counters.look(),
            Look {
                posted: 3,
                taken: 3
            }
        );
        assert_eq!((counters.posted_by(a), counters.taken_by(b)), (2, 3));
        assert_eq!(counters.posted_by(OUTSIDE), 1);
    }

    #[test]
    fn what_was_posted_to_the_dead_is_not_waited_for() {
        let counters = BusCounters::new(2);
        counters.count_post(CoreId(0), CoreId(1));
        counters.declare_gone(CoreId(1));
        assert!(counters.look().settled());
        assert_eq!(counters.taken_of(CoreId(0), CoreId(1)), u64::MAX);
    }
}
