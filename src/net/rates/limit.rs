//! The limit of a rate, and the bucket that is held against it: a single time each of messages, others and bytes.

use std::time::Duration;

use crate::config::UNIT_HEAD_BYTES;

/// Largest head of a message as a client sends it: with the mask's key (RFC 6455, section 5.2).
const HEAD_BYTES: usize = UNIT_HEAD_BYTES + 4;
const SECOND: u64 = 1_000_000_000;
/// So many fragments count as one control frame. Whoever cuts messages up for a reason cuts them coarsely.
const FRAGMENTS_EACH: u64 = 16;

/// What one listener takes from each of its connections. Zero is any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    pub messages_per_second: usize,
    pub bytes_per_second: usize,
    /// The largest message, which must fit the bytes that can be saved up.
    pub message_bytes_max: usize,
}

/// What has been read of a connection beside bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Part of something.
    Nothing,
    Message,
    /// A ping or a pong.
    Control,
    /// So many fragments of a message that do not end it.
    Fragments(u32),
}

/// A rate in nanoseconds.
#[derive(Clone, Copy)]
pub struct RateLimit {
    /// The time that earns one message; 0 is no limit.
    per_message: u64,
    messages_saved: u64,
    bytes_per_second: u64,
    bytes_saved: u64,
}

impl RateLimit {
    /// What a rate comes to, of which so long can be saved up.
    pub fn new(rate: &Rate, burst: Duration) -> RateLimit {
        let burst = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX / 4);
        let per_message = match rate.messages_per_second as u64 {
            0 => 0,
            messages => (SECOND / messages).max(1),
        };
        let mut limit = RateLimit {
            per_message,
            messages_saved: burst.max(per_message),
            bytes_per_second: rate.bytes_per_second as u64,
            bytes_saved: 0,
        };
        let largest = rate.message_bytes_max.saturating_add(HEAD_BYTES);
        limit.bytes_saved = burst.max(limit.of_bytes(largest));
        limit
    }

    /// The time that earns so many bytes.
    fn of_bytes(&self, bytes: usize) -> u64 {
        match self.bytes_per_second {
            0 => 0,
            rate => (bytes as u64).saturating_mul(SECOND) / rate,
        }
    }

    /// Takes what was read out of a bucket that earns from this time on, if not from an earlier one. False if
    /// there is not so much in it.
    pub fn take(&self, bucket: &mut Bucket, bytes: usize, unit: Unit, from: u64, now: u64) -> bool {
        let put = |until: &mut u64, cost: u64, saved: u64| {
            *until = (*until).max(from).saturating_add(cost);
            *until <= now.saturating_add(saved)
        };
        let mut within = true;
        if self.per_message > 0 {
            let (each, saved) = (self.per_message, self.messages_saved);
            let fragment = (each / FRAGMENTS_EACH).max(1);
            within = match unit {
                Unit::Nothing => true,
                Unit::Message => put(&mut bucket.messages_until, each, saved),
                Unit::Control => put(&mut bucket.others_until, each, saved),
                Unit::Fragments(count) => {
                    let cost = fragment.saturating_mul(u64::from(count));
                    put(&mut bucket.others_until, cost, saved)
                }
            };
        }
        if self.bytes_per_second > 0 {
            let cost = self.of_bytes(bytes);
            within &= put(&mut bucket.bytes_until, cost, self.bytes_saved);
        }
        within
    }
}

/// What one connection has spent, in nanoseconds since the epoch that all cores share.
#[derive(Clone, Copy, Default)]
pub struct Bucket {
    /// When all that its messages have cost is earned again.
    pub messages_until: u64,
    /// When all that its frames that are no message have cost is.
    pub others_until: u64,
    pub bytes_until: u64,
    /// Since when we have not read all that it sent; 0 if we have.
    pub behind_since: u64,
    /// Its listener's number.
    pub listener: u16,
}
