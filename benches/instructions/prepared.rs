//! A workload ready to be counted, and what must come out of it.

use crate::cores::{Cores, Script};

/// A workload ready to be counted.
pub struct Prepared {
    pub cores: Cores,
    pub script: Script,
    pub expected: Outcome,
}

/// What came out of a workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What the workload is counted by: messages, deliveries, connections.
    pub messages: u64,
    /// Messages queued for clients by the apps.
    pub queued: u64,
    pub envelopes: u64,
    pub moved: u64,
    pub bytes: u64,
}
