//! How often the log is told of refusals: once a second for each kind of them.
//!
//! Bound: an entry for each reason, and for each text that a request is refused by.

use std::collections::HashMap;
use std::time::Instant;

use crate::close::CloseReason;
use crate::log_limiter::LogLimiter;

/// See the module.
#[derive(Default)]
pub struct RefusalLog {
    /// Of connections refused, by limit.
    connections: HashMap<CloseReason, LogLimiter>,
    /// Of requests refused, by what was said of them.
    requests: HashMap<&'static str, LogLimiter>,
}

impl RefusalLog {
    /// Whether it may be told of one more, and how many it was not told of before that.
    pub fn may_tell_of(&mut self, reason: CloseReason) -> Option<u64> {
        self.connections
            .entry(reason)
            .or_default()
            .may_log(Instant::now())
    }

    /// As [`RefusalLog::may_tell_of`], of a request that was refused with these words.
    pub fn may_tell_of_request(&mut self, text: &'static str) -> Option<u64> {
        self.requests
            .entry(text)
            .or_default()
            .may_log(Instant::now())
    }
}
