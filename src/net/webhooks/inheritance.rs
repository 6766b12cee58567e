//! What a process has not delivered and another one is to deliver: [`Inheritance`].

use crate::events::UidEvent;
use crate::handover::{ProcessRecord, WrittenWebhooks};

/// See the module.
#[derive(Default)]
pub struct Inheritance {
    pub written: WrittenWebhooks,
    /// Those of the batch that is begun first, then those that wait.
    pub events: Vec<UidEvent>,
}

impl Inheritance {
    /// In writing: itself first, then its events.
    pub fn records(self) -> impl Iterator<Item = ProcessRecord> {
        let events = self.events.into_iter().map(Box::new);
        std::iter::once(ProcessRecord::Webhooks(self.written))
            .chain(events.map(ProcessRecord::Event))
    }
}
