//! How fast each connection may send: a token bucket for its messages, one for its bytes, and one for the
//! frames that are no message.
//!
//! A message is what the app sees, in however many frames it came; bytes are all that was read. Pings and pongs
//! are answered or cost a look, so as many of them may come as messages, but beside these: a client that sends at
//! its rate must be able to answer our pings. Fragments count there, too, for they may be empty and have no end.
//!
//! Kept beside the connections, by their slots, and made only where some listener has a rate: without one
//! a connection costs nothing. A bucket is a single time (the generic cell rate algorithm): what has been
//! spent is earned again until then, so it lies ahead of now by what is missing, and nothing has to be
//! refilled. Bound: 40 bytes a slot. The transport asks for each message, and has the bucket travel along.

mod limit;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::limit::{Bucket, RateLimit};
pub use self::limit::{Rate, Unit};
use crate::ident::ConnId;
use crate::migration::Spent;
use crate::pages::Pages;

/// The buckets of one core.
pub struct Rates {
    epoch: Instant,
    /// By listener.
    limits: Box<[RateLimit]>,
    /// By slot.
    buckets: Pages<Bucket>,
    /// After the core stood still: since when, and until when that counts.
    stood_still: Option<(u64, u64)>,
}

impl Rates {
    /// By listener, in their order; `None` if none of them has a rate. The epoch is the same on every core.
    pub fn new(rates: &[Rate], burst: Duration, epoch: Instant) -> Option<Rates> {
        let limited = |rate: &Rate| rate.messages_per_second > 0 || rate.bytes_per_second > 0;
        rates.iter().any(limited).then(|| Rates {
            epoch,
            limits: rates
                .iter()
                .map(|rate| RateLimit::new(rate, burst))
                .collect(),
            buckets: Pages::default(),
            stood_still: None,
        })
    }

    /// Goes on with the limits of others, by the same listeners.
    pub fn renew(&mut self, others: Rates) {
        self.limits = others.limits;
    }

    fn since_epoch(&self, now: Instant) -> u64 {
        // Never 0, which stands for no time at all.
        now.saturating_duration_since(self.epoch).as_nanos() as u64 + 1
    }

    /// A connection is in this slot from now on, with all that it may save up.
    pub fn enter(&mut self, id: ConnId, listener: u16) {
        *self.buckets.claim(id.slot) = Bucket {
            listener,
            ..Bucket::default()
        };
    }

    /// One has come from elsewhere, where it had spent so much, so long ago: that has been earned since.
    pub fn put(&mut self, id: ConnId, listener: u16, spent: &Spent, way: Duration, now: Instant) {
        let now = self.since_epoch(now);
        let way = i64::try_from(way.as_nanos()).unwrap_or(i64::MAX);
        let until = |left: i64| now.saturating_add_signed(left.saturating_sub(way));
        let since = |ago: u64| now.saturating_sub(ago.saturating_add_signed(way)).max(1);
        *self.buckets.claim(id.slot) = Bucket {
            messages_until: until(spent.messages_in),
            others_until: until(spent.others_in),
            bytes_until: until(spent.bytes_in),
            behind_since: spent.behind.map_or(0, since),
            listener,
        };
    }

    /// One leaves for elsewhere, with what it has spent.
    pub fn leave(&mut self, id: ConnId, now: Instant) -> Spent {
        let now = self.since_epoch(now);
        let bucket = self.take(id);
        let left = |until: u64| (until as i64).wrapping_sub(now as i64);
        let behind = (bucket.behind_since > 0).then(|| now.saturating_sub(bucket.behind_since));
        Spent {
            messages_in: left(bucket.messages_until),
            others_in: left(bucket.others_until),
            bytes_in: left(bucket.bytes_until),
            behind,
        }
    }

    /// What one has spent that stays, by a moment that has been. `None` of one that we are behind with.
    pub fn copy(&self, id: ConnId, moment: Instant) -> Option<Spent> {
        let moment = self.since_epoch(moment);
        let bucket = self.buckets.get(id.slot).copied().unwrap_or_default();
        let left = |until: u64| (until as i64).wrapping_sub(moment as i64);
        (bucket.behind_since == 0).then(|| Spent {
            messages_in: left(bucket.messages_until),
            others_in: left(bucket.others_until),
            bytes_in: left(bucket.bytes_until),
            behind: None,
        })
    }

    /// One is gone.
    pub fn forget(&mut self, id: ConnId) {
        self.take(id);
    }

    fn take(&mut self, id: ConnId) -> Bucket {
        let bucket = self.buckets.get(id.slot).copied();
        self.buckets.free(id.slot);
        bucket.unwrap_or_default()
    }

    /// It has sent so many bytes, and this with them. False if that is more than it may.
    pub fn spend(&mut self, id: ConnId, bytes: usize, unit: Unit, now: Instant) -> bool {
        let now = self.since_epoch(now);
        let Some(bucket) = self.buckets.get_mut(id.slot) else {
            return true;
        };
        let limit = &self.limits[usize::from(bucket.listener)];
        // What we were late to read may have been sent at any time since: earning goes on from then, beyond
        // what could have been saved up.
        let mut from = now;
        if bucket.behind_since > 0 {
            from = bucket.behind_since;
        }
        if let Some((since, until)) = self.stood_still
            && now < until
        {
            from = from.min(since);
        }
        limit.take(bucket, bytes, unit, from, now)
    }

    /// We do not read it for now.
    pub fn fall_behind(&mut self, id: ConnId, now: Instant) {
        let now = self.since_epoch(now);
        if let Some(bucket) = self.buckets.get_mut(id.slot)
            && bucket.behind_since == 0
        {
            bucket.behind_since = now;
        }
    }

    /// All that it has sent so far is read.
    pub fn catch_up(&mut self, id: ConnId) {
        if let Some(bucket) = self.buckets.get_mut(id.slot) {
            bucket.behind_since = 0;
        }
    }

    /// The core stood still for so long, and reads only now what came meanwhile; it gets as long again to
    /// do so.
    pub fn stood_still(&mut self, time: Duration, now: Instant) {
        let now = self.since_epoch(now);
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.stood_still = Some((now.saturating_sub(time).max(1), now.saturating_add(time)));
    }
}
