//! What a look at the whole server gathers: every core's counters, and what waits in each mailbox.
//!
//! One question to all cores, as `stats` is, on behalf of a task that awaits the answer. Called by the HTTP port.

use super::Answer;
use super::host::Host;
use super::question::{Asker, Waiting};

/// A look under way.
pub struct Gathering {
    /// Envelopes in each core's mailbox when it was asked: each empties its own before it answers.
    pub depths: Vec<usize>,
    /// The counters to come.
    pub stats: Waiting<Answer>,
}

impl Host {
    /// Asks every core.
    pub fn gather(&mut self) -> Gathering {
        let depths = self.local.bus.depths().collect();
        let stats = Waiting::default();
        self.local.stats(Asker::Task(stats.clone()));
        self.settle();
        Gathering { depths, stats }
    }
}
