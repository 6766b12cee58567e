//! The counters of a core in writing: [`WrittenCounters`], by their names, so that another version reads those that it has.

use std::time::Duration;

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use crate::stats::{CoreStats, Hold};

/// See the module. What is held now is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WrittenCounters {
    counts: Vec<(Box<str>, u64)>,
    /// By listener and name: for how many nanoseconds connections were not read.
    pub(super) paused: Vec<(u16, Box<str>, u64)>,
    /// The most that one round has done.
    round_units_max: u64,
}

impl WrittenCounters {
    pub fn of(mut stats: CoreStats) -> WrittenCounters {
        let mut written = WrittenCounters {
            round_units_max: stats.round_units_max,
            ..WrittenCounters::default()
        };
        stats.each_counter(&mut |name, count| {
            if *count > 0 {
                written.counts.push((Box::from(name), *count));
            }
        });
        for (listener, times) in (0..).zip(&stats.paused) {
            for hold in Hold::ALL {
                let time = times[hold as usize].as_nanos();
                if time > 0 {
                    let time = u64::try_from(time).unwrap_or(u64::MAX);
                    written
                        .paused
                        .push((listener, Box::from(hold.name()), time));
                }
            }
        }
        written
    }

    /// Adds them to those of a core. Of one that has another name now nothing is known.
    pub fn add_to(&self, stats: &mut CoreStats) {
        let counts: AHashMap<&str, u64> = self
            .counts
            .iter()
            .map(|(name, count)| (&**name, *count))
            .collect();
        stats.each_counter(&mut |name, count| {
            *count = count.saturating_add(counts.get(name).copied().unwrap_or(0));
        });
        for (listener, name, time) in &self.paused {
            if let Some(hold) = Hold::ALL.into_iter().find(|hold| hold.name() == &**name) {
                stats.count_pause(*listener, hold, Duration::from_nanos(*time));
            }
        }
        stats.round_units_max = stats.round_units_max.max(self.round_units_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseReason;

    #[test]
    fn counters_go_on_and_gauges_do_not() {
        let mut stats = CoreStats {
            connections: 5,
            messages_in: 7,
            closed: vec![3; CloseReason::COUNT],
            round_units_max: 9,
            ..CoreStats::default()
        };
        stats.turns.add(Duration::from_micros(7));
        stats.count_pause(1, Hold::Transit, Duration::from_millis(5));
        let written = WrittenCounters::of(stats.clone());
        let mut fresh = CoreStats {
            messages_in: 1,
            ..CoreStats::default()
        };
        written.add_to(&mut fresh);
        written.add_to(&mut fresh);
        assert_eq!((fresh.connections, fresh.messages_in), (0, 15));
        assert_eq!(fresh.closed, vec![6; CloseReason::COUNT]);
        assert_eq!(fresh.turns.total, Duration::from_micros(14));
        assert_eq!(
            fresh.turns.counts,
            stats.turns.counts.map(|count| 2 * count)
        );
        assert_eq!(
            fresh.paused[1][Hold::Transit as usize],
            Duration::from_millis(10)
        );
        assert_eq!(fresh.round_units_max, 9);
    }

    #[test]
    fn one_that_is_not_known_here_is_passed_over() {
        let mut written = WrittenCounters::of(CoreStats {
            binds: 2,
            ..CoreStats::default()
        });
        written.counts.push(("flights".into(), 3));
        written.paused.push((0, "weather".into(), 3));
        let mut stats = CoreStats::default();
        written.add_to(&mut stats);
        assert_eq!((stats.binds, stats.paused.len()), (2, 0));
    }
}
