//! A snapshot of the whole server: every core's counters, and what waits in each mailbox.
//!
//! One call to all cores, as `stats` is, on behalf of a task that awaits the answer. Called by the HTTP port.

use super::host::Host;
use super::outcome::Answer;
use super::pending::Caller;
use super::promise::Promise;

/// A snapshot under way.
pub struct Snapshot {
    /// Envelopes in each core's mailbox when it was asked: each empties its own before it answers.
    pub depths: Vec<usize>,
    /// The counters to come.
    pub stats: Promise<Answer>,
}

impl Host {
    /// Asks every core.
    pub fn snapshot(&mut self) -> Snapshot {
        let depths = self.local.outgoing.bus().depths().collect();
        let stats = Promise::default();
        self.local.stats(Caller::Task(stats.clone()));
        self.settle();
        Snapshot { depths, stats }
    }
}
