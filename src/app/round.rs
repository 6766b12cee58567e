//! What one round of a core may do before what it has caused is written: [`Round`].
//!
//! Work comes from three sources: from other cores, from connections that have had nothing read lately, and from those that
//! have more than their helping. Each source has a share of the round (deficit round robin, Shreedhar and Varghese, 1995:
//! what one item takes beyond its source's share is taken off the next rounds'), and what one source leaves, the others may
//! use. Units are counted ([`crate::shard::Work`]); the clock is looked at once in a while, for a slow machine or
//! what is dearer than it counts. The turn begins rounds; the turn and the transport ask before each item.

use std::time::{Duration, Instant};

/// Units of one round: about 1 ms.
pub const UNITS_PER_ROUND: u64 = 4_096;
/// Units that one connection's input may cause before the others have had their turn.
pub const UNITS_PER_HELPING: u64 = 512;
/// A round that has taken so long ends where it is.
const TIME_PER_ROUND: Duration = Duration::from_millis(4);
/// Units between two looks at the clock.
const UNITS_PER_LOOK: u64 = 256;

/// Where work comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkSource {
    /// Envelopes of other cores.
    Mail,
    /// Connections with something to read that have not been read for it.
    Fresh,
    /// Those with more than their helping, or whose pause is over.
    Again,
    /// What is left of the round, where the other sources have nothing.
    Rest,
}

const SOURCES: usize = 3;
/// Their shares.
const SHARES: [i64; SOURCES] = [1_792, 1_536, 768];
const _: () = assert!(SHARES[0] + SHARES[1] + SHARES[2] == UNITS_PER_ROUND as i64);

/// See the module.
pub struct Round {
    /// What each source may still do.
    credit: [i64; SOURCES],
    source: WorkSource,
    /// Units when they were last accounted for.
    counted: u64,
    /// Units at which the round is over, and at which the clock is looked at.
    end: u64,
    look: u64,
    began: Instant,
    /// It has taken too long.
    late: bool,
}

impl Round {
    pub fn new(now: Instant) -> Round {
        Round {
            credit: [0; SOURCES],
            source: WorkSource::Rest,
            counted: 0,
            end: 0,
            look: 0,
            began: now,
            late: false,
        }
    }

    /// A round begins, when so many units have been done.
    pub fn begin(&mut self, units: u64, now: Instant) {
        for (credit, share) in self.credit.iter_mut().zip(SHARES) {
            *credit = (*credit + share).min(share);
        }
        self.source = WorkSource::Rest;
        self.counted = units;
        self.end = units + UNITS_PER_ROUND;
        self.look = units + UNITS_PER_LOOK;
        self.began = now;
        self.late = false;
    }

    /// What follows comes from this source.
    pub fn enter(&mut self, source: WorkSource, units: u64) {
        self.account(units);
        self.source = source;
    }

    fn account(&mut self, units: u64) {
        if self.source != WorkSource::Rest {
            self.credit[self.source as usize] -= (units - self.counted) as i64;
        }
        self.counted = units;
    }

    /// Whether one more item may be taken.
    #[inline]
    pub fn goes_on(&mut self, units: u64) -> bool {
        self.account(units);
        if units >= self.look {
            self.look(units);
        }
        let has_credit = self.source == WorkSource::Rest || self.credit[self.source as usize] > 0;
        has_credit && units < self.end && !self.late
    }

    fn look(&mut self, units: u64) {
        self.look = units + UNITS_PER_LOOK;
        self.late = self.began.elapsed() > TIME_PER_ROUND;
        if self.late && self.source != WorkSource::Rest {
            // The other sources have the next round.
            let credit = &mut self.credit[self.source as usize];
            *credit = (*credit).min(-SHARES[self.source as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays rounds in which each source has items of this size without end, and says what each has done.
    fn play(sizes: [u64; SOURCES], rounds: usize) -> [u64; SOURCES] {
        let mut round = Round::new(Instant::now());
        let (mut units, mut done) = (0, [0; SOURCES]);
        for _ in 0..rounds {
            round.begin(units, Instant::now());
            let before = units;
            for source in [WorkSource::Mail, WorkSource::Fresh, WorkSource::Again] {
                round.enter(source, units);
                while sizes[source as usize] > 0 && round.goes_on(units) {
                    units += sizes[source as usize];
                    done[source as usize] += sizes[source as usize];
                }
            }
            round.enter(WorkSource::Rest, units);
            while sizes[0] > 0 && sizes[1..] == [0, 0] && round.goes_on(units) {
                units += sizes[0];
                done[0] += sizes[0];
            }
            let largest = sizes.into_iter().max().unwrap_or(0);
            assert!(units - before < UNITS_PER_ROUND + largest, "one item over");
        }
        done
    }

    #[test]
    fn a_round_passes_its_units_by_one_item_at_most() {
        for size in [1, 100, 5_000, 15_000] {
            let [mail, fresh, again] = play([size; SOURCES], 1_000);
            assert!(mail > 0 && fresh > 0 && again > 0, "{mail} {fresh} {again}");
        }
    }

    #[test]
    fn large_items_of_one_source_do_not_starve_the_others() {
        let [mail, fresh, again] = play([15_000, 4, 4], 10_000);
        let sum = mail + fresh + again;
        assert!(mail < sum / 2, "{mail} of {sum}");
        assert!(
            fresh > sum / 4 && again > sum / 8,
            "{fresh} {again} of {sum}"
        );
    }

    #[test]
    fn what_one_source_leaves_another_uses() {
        let [mail, ..] = play([4, 0, 0], 100);
        assert!(mail >= 100 * UNITS_PER_ROUND);
    }
}
