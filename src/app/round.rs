//! What one round of a core may do before what it has caused is written: [`Round`].
//!
//! Work comes by three ways: from other cores, from connections that have had nothing read lately, and from those that
//! have more than their helping. Each way has a share of the round (deficit round robin, Shreedhar and Varghese, 1995:
//! what one item takes beyond its way's share is taken off the next rounds'), and what one way leaves, the others may
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

/// By which way work comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Envelopes of other cores.
    Mail,
    /// Connections with something to read that have not been read for it.
    Fresh,
    /// Those with more than their helping, or whose pause is over.
    Again,
    /// What is left of the round, where the other ways have nothing.
    Rest,
}

const WAYS: usize = 3;
/// Their shares.
const SHARES: [i64; WAYS] = [1_792, 1_536, 768];
const _: () = assert!(SHARES[0] + SHARES[1] + SHARES[2] == UNITS_PER_ROUND as i64);

/// See the module.
pub struct Round {
    /// What each way may still do.
    credit: [i64; WAYS],
    way: Way,
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
            credit: [0; WAYS],
            way: Way::Rest,
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
        self.way = Way::Rest;
        self.counted = units;
        self.end = units + UNITS_PER_ROUND;
        self.look = units + UNITS_PER_LOOK;
        self.began = now;
        self.late = false;
    }

    /// What follows comes by this way.
    pub fn enter(&mut self, way: Way, units: u64) {
        self.account(units);
        self.way = way;
    }

    fn account(&mut self, units: u64) {
        if self.way != Way::Rest {
            self.credit[self.way as usize] -= (units - self.counted) as i64;
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
        let has_credit = self.way == Way::Rest || self.credit[self.way as usize] > 0;
        has_credit && units < self.end && !self.late
    }

    fn look(&mut self, units: u64) {
        self.look = units + UNITS_PER_LOOK;
        self.late = self.began.elapsed() > TIME_PER_ROUND;
        if self.late && self.way != Way::Rest {
            // The other ways have the next round.
            let credit = &mut self.credit[self.way as usize];
            *credit = (*credit).min(-SHARES[self.way as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays rounds in which each way has items of this size without end, and says what each has done.
    fn play(sizes: [u64; WAYS], rounds: usize) -> [u64; WAYS] {
        let mut round = Round::new(Instant::now());
        let (mut units, mut done) = (0, [0; WAYS]);
        for _ in 0..rounds {
            round.begin(units, Instant::now());
            let before = units;
            for way in [Way::Mail, Way::Fresh, Way::Again] {
                round.enter(way, units);
                while sizes[way as usize] > 0 && round.goes_on(units) {
                    units += sizes[way as usize];
                    done[way as usize] += sizes[way as usize];
                }
            }
            round.enter(Way::Rest, units);
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
            let [mail, fresh, again] = play([size; WAYS], 1_000);
            assert!(mail > 0 && fresh > 0 && again > 0, "{mail} {fresh} {again}");
        }
    }

    #[test]
    fn large_items_of_one_way_do_not_starve_the_others() {
        let [mail, fresh, again] = play([15_000, 4, 4], 10_000);
        let sum = mail + fresh + again;
        assert!(mail < sum / 2, "{mail} of {sum}");
        assert!(
            fresh > sum / 4 && again > sum / 8,
            "{fresh} {again} of {sum}"
        );
    }

    #[test]
    fn what_one_way_leaves_another_uses() {
        let [mail, ..] = play([4, 0, 0], 100);
        assert!(mail >= 100 * UNITS_PER_ROUND);
    }
}
