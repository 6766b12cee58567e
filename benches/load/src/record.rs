//! [`Record`]: what one generator has counted, and [`Record::merge`] for all of them together.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::ledger::Faults;

/// The longest latency that is told apart from longer ones.
const LATENCY_NANOS_MAX: u64 = 3_600_000_000_000;

/// Counts, faults and latencies.
#[derive(Clone)]
pub struct Record {
    /// Messages that arrived, or whatever the workload counts instead.
    pub delivered: u64,
    pub faults: Faults,
    /// From sending (at a fixed rate: from when it was due) to arriving, in nanoseconds.
    pub latency: Histogram<u64>,
    /// From connecting to being logged in, while the run was measured.
    pub joining: Histogram<u64>,
    /// From when a quiet client's message was due to its arrival: beside the flood, and in the calm before it.
    pub quiet: Histogram<u64>,
    pub calm: Histogram<u64>,
    /// Of what was under way or became due while a command ran.
    pub during: Histogram<u64>,
    /// What else a workload counts, by name.
    pub others: BTreeMap<&'static str, u64>,
    /// The first fault in words.
    pub problem: Option<String>,
    /// Why the run cannot go on.
    pub fatal: Option<String>,
    /// Only what was sent in this time is in the histograms.
    pub window: (u64, u64),
}

impl Default for Record {
    fn default() -> Record {
        Record {
            delivered: 0,
            faults: Faults::default(),
            latency: histogram(),
            joining: histogram(),
            quiet: histogram(),
            calm: histogram(),
            during: histogram(),
            others: BTreeMap::new(),
            problem: None,
            fatal: None,
            window: (u64::MAX, u64::MAX),
        }
    }
}

/// Three digits hold from a microsecond to an hour.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3).expect("the bounds are in order")
}

impl Record {
    /// One delivery, of a message sent or due at `sent`.
    pub fn deliver(&mut self, sent: u64, now: u64) {
        self.delivered += 1;
        if self.is_measured(sent) {
            self.latency.saturating_record(now.saturating_sub(sent));
        }
    }

    /// One connection is logged in that was begun at `begun`.
    pub fn join(&mut self, begun: u64, now: u64) {
        if self.is_measured(begun) {
            self.joining.saturating_record(now.saturating_sub(begun));
        }
    }

    /// A quiet client's message, due at `due`, is back.
    pub fn answer(&mut self, due: u64, now: u64) {
        self.delivered += 1;
        let took = now.saturating_sub(due);
        if now < self.window.0 {
            self.calm.saturating_record(took);
        } else if due < self.window.1 {
            // One that was due before and came after it began has met the flood.
            self.quiet.saturating_record(took);
        }
    }

    fn is_measured(&self, time: u64) -> bool {
        self.window.0 <= time && time < self.window.1
    }

    /// Counts something of the workload's own.
    pub fn count(&mut self, name: &'static str) {
        self.count_more(name, 1);
    }

    /// So many more of it; of none, only its name.
    pub fn count_more(&mut self, name: &'static str, count: u64) {
        *self.others.entry(name).or_default() += count;
    }

    /// Keeps the first fault's words.
    pub fn problem(&mut self, text: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(text);
    }

    /// The run cannot go on.
    pub fn fail(&mut self, text: impl Into<String>) {
        self.fatal.get_or_insert_with(|| text.into());
    }

    /// A message that is not what any sender wrote.
    pub fn corrupt(&mut self, message: &[u8]) {
        self.faults.corrupt += 1;
        let start = &message[..message.len().min(120)];
        self.problem(|| {
            format!(
                "a message arrived that nobody sent: \"{}\"",
                start.escape_ascii()
            )
        });
    }

    pub fn merge(&mut self, other: &Record) {
        self.delivered += other.delivered;
        self.faults.add(&other.faults);
        self.latency += &other.latency;
        self.joining += &other.joining;
        self.quiet += &other.quiet;
        self.calm += &other.calm;
        self.during += &other.during;
        for (name, count) in &other.others {
            *self.others.entry(name).or_default() += count;
        }
        if let Some(problem) = &other.problem {
            self.problem(|| problem.clone());
        }
        if let Some(fatal) = &other.fatal {
            self.fail(fatal.clone());
        }
    }
}

#[test]
fn what_meets_the_flood_is_not_of_the_calm() {
    let mut record = Record::default();
    record.answer(10, 20);
    record.window.0 = 100;
    record.answer(80, 90);
    record.answer(95, 150);
    record.answer(120, 130);
    record.window.1 = 200;
    record.answer(190, 260);
    record.answer(200, 210);
    assert_eq!((record.calm.len(), record.quiet.len()), (2, 3));
    assert_eq!((record.calm.max(), record.quiet.max()), (10, 70));
    assert_eq!(record.delivered, 6);
}
