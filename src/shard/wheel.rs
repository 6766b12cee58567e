//! The coarse wheel: one entry a connection, at the earliest moment at which something could be due.
//!
//! Entries are lazy. A heartbeat moves no entry: when one comes up, its connection's real deadline is
//! computed, and it is entered again if that lies later. So the cost is proportional to what comes
//! up, not to what is connected or received. Bound: a connection has one live entry; entries that an
//! earlier one has made stale are dropped when they come up.

use std::time::Duration;

use crate::ident::ConnId;

/// A moment in ticks since the core's start. A `u32` lasts 13 years.
pub type Tick = u32;

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(100);
/// Ticks in a second: idle checks and pings are due on whole seconds only.
pub const TICKS_SECOND: Tick = 10;

const TICKS_MAX: Tick = Tick::MAX / 4;

const PLACES: usize = 1024;

/// A duration in ticks, rounded up. It ends at three years, so that a moment and a duration can be added.
pub fn ticks(duration: Duration) -> Tick {
    let ticks = duration.as_millis().div_ceil(TICK.as_millis());
    Tick::try_from(ticks).map_or(TICKS_MAX, |ticks| ticks.min(TICKS_MAX))
}

pub struct Wheel {
    places: Vec<Vec<ConnId>>,
    /// One bit a place that holds entries.
    occupied: [u64; PLACES / 64],
    /// Everything up to and including this tick has come up.
    now: Tick,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel {
            places: vec![Vec::new(); PLACES],
            occupied: [0; PLACES / 64],
            now: 0,
        }
    }
}

impl Wheel {
    /// Enters a connection at `due`, or at the far end of the wheel where that lies beyond it (it comes up
    /// early then, and is entered again). Returns the tick at which it will come up.
    pub fn insert(&mut self, connection: ConnId, due: Tick) -> Tick {
        let at = due.clamp(self.now + 1, self.now + PLACES as Tick - 1);
        let place = at as usize % PLACES;
        self.places[place].push(connection);
        self.occupied[place / 64] |= 1 << (place % 64);
        at
    }

    /// Drops every entry.
    pub fn clear(&mut self) {
        for (word, bits) in self.occupied.iter_mut().enumerate() {
            while *bits != 0 {
                self.places[word * 64 + bits.trailing_zeros() as usize] = Vec::new();
                *bits &= *bits - 1;
            }
        }
    }

    /// The next tick at which something comes up.
    pub fn next_due(&self) -> Option<Tick> {
        let start = (self.now as usize + 1) % PLACES;
        let mut word = start / 64;
        let mut bits = self.occupied[word] & (u64::MAX << (start % 64));
        for _ in 0..=PLACES / 64 {
            if bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (place + PLACES - start) % PLACES;
                return Some(self.now + 1 + ahead as Tick);
            }
            word = (word + 1) % (PLACES / 64);
            bits = self.occupied[word];
        }
        None
    }

    /// Takes out what comes up at the next due tick not after `now`, with that tick. Call until `None`.
    pub fn pop_due(&mut self, now: Tick) -> Option<(Tick, Vec<ConnId>)> {
        match self.next_due() {
            Some(due) if due <= now => {
                self.now = due;
                let place = due as usize % PLACES;
                self.occupied[place / 64] &= !(1 << (place % 64));
                Some((due, std::mem::take(&mut self.places[place])))
            }
            _ => {
                self.now = self.now.max(now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: 1,
        }
    }

    #[test]
    fn comes_up_at_its_tick_and_not_before() {
        let mut wheel = Wheel::default();
        wheel.insert(id(1), 5);
        assert_eq!(wheel.next_due(), Some(5));
        assert!(wheel.pop_due(4).is_none());
        assert_eq!(wheel.pop_due(5), Some((5, vec![id(1)])));
        assert!(wheel.pop_due(5).is_none());
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn far_deadlines_come_up_early_rather_than_late() {
        let mut wheel = Wheel::default();
        let at = wheel.insert(id(1), 1_000_000);
        assert_eq!(at, PLACES as Tick - 1);
        assert!(wheel.pop_due(at - 1).is_none());
        assert_eq!(wheel.pop_due(at), Some((at, vec![id(1)])));
    }

    #[test]
    fn a_past_deadline_comes_up_at_the_next_tick() {
        let mut wheel = Wheel::default();
        assert!(wheel.pop_due(100).is_none());
        assert_eq!(wheel.insert(id(1), 7), 101);
    }

    #[test]
    fn matches_a_sorted_list() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut wheel = Wheel::default();
            let mut expected: Vec<(Tick, u32)> = Vec::new();
            let mut now = 0;
            for slot in 0..500 {
                let due = now + random.u32(1..900);
                wheel.insert(id(slot), due);
                expected.push((due, slot));
                if random.bool() {
                    now += random.u32(0..300);
                    let mut came = Vec::new();
                    while let Some((tick, ids)) = wheel.pop_due(now) {
                        came.extend(ids.iter().map(|id| (tick, id.slot)));
                    }
                    let (mut due, later): (Vec<_>, Vec<_>) =
                        expected.into_iter().partition(|(tick, _)| *tick <= now);
                    due.sort_unstable();
                    came.sort_unstable();
                    assert_eq!(came, due, "seed {seed}");
                    expected = later;
                }
            }
        }
    }
}
