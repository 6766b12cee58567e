//! Webhooks in writing: [`WrittenWebhooks`], behind which the events follow one by one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the thread that delivers knows beside the events that wait.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WrittenWebhooks {
    /// The name by which the receiver knows this server's events.
    pub server: Box<str>,
    /// Batches that have been begun.
    pub batches: u64,
    /// The last of them, if it is not delivered.
    pub begun: Option<WrittenBatch>,
    /// Lost events that the receiver has not been told of.
    pub untold: u64,
    /// By number: an app, and the listener's URL.
    pub listeners: Vec<(Box<str>, Box<str>)>,
}

/// A batch that may have been sent, and is to be sent again as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenBatch {
    /// So many of the events that wait, the first ones.
    pub events: u32,
    /// As many lost events it tells of.
    pub dropped: u64,
    /// When it was first tried.
    pub ago: Duration,
}
