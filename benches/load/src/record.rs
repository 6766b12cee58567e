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

    fn is_measured(&self, time: u64) -> bool {
        self.window.0 <= time && time < self.window.1
    }

    /// Counts something of the workload's own.
    pub fn count(&mut self, name: &'static str) {
        *self.others.entry(name).or_default() += 1;
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
