//! How fast each connection may send: a token bucket for its messages and one for their bytes.
//!
//! Kept beside the connections, by their slots, and made only where some listener has a rate: without one
//! a connection costs nothing. A bucket is a single time (the generic cell rate algorithm): what has been
//! spent is earned again until then, so it lies ahead of now by what is missing, and nothing has to be
//! refilled. Bound: 32 bytes a slot. The transport asks for each message, and has the bucket travel along.

use std::time::{Duration, Instant};

use crate::ident::ConnId;
use crate::pages::Pages;

/// Largest head of a message as a client sends it (RFC 6455, section 5.2).
const HEAD_BYTES: usize = 14;
const SECOND: u64 = 1_000_000_000;

/// What one listener takes from each of its connections. Zero is any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    pub messages_per_second: usize,
    pub bytes_per_second: usize,
    /// The largest message, which must fit the bytes that can be saved up.
    pub message_bytes_max: usize,
}

/// The same in nanoseconds.
#[derive(Clone, Copy)]
struct Limit {
    /// The time that earns one message; 0 is no limit.
    per_message: u64,
    messages_saved: u64,
    bytes_per_second: u64,
    bytes_saved: u64,
}

impl Limit {
    fn new(rate: &Rate, burst: Duration) -> Limit {
        let burst = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX / 4);
        let per_message = match rate.messages_per_second as u64 {
            0 => 0,
            messages => (SECOND / messages).max(1),
        };
        let mut limit = Limit {
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
}

/// What one connection has spent, in nanoseconds since the epoch that all cores share.
#[derive(Clone, Copy, Default)]
pub struct Bucket {
    /// When all that its messages have cost is earned again.
    messages_until: u64,
    bytes_until: u64,
    /// Since when we have not read all that it sent; 0 if we have.
    behind_since: u64,
    /// Its listener's number.
    listener: u16,
}

/// The buckets of one core.
pub struct Rates {
    epoch: Instant,
    /// By listener.
    limits: Box<[Limit]>,
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
            limits: rates.iter().map(|rate| Limit::new(rate, burst)).collect(),
            buckets: Pages::default(),
            stood_still: None,
        })
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

    /// One that has come from another core, with its bucket from there. That core's time may have been read
    /// later than ours, so much `ahead`: what is spent there must not weigh more here.
    pub fn put(&mut self, id: ConnId, bucket: Bucket, ahead: Duration) {
        let ahead = u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX);
        let behind_since = match bucket.behind_since {
            0 => 0,
            since => since.saturating_sub(ahead).max(1),
        };
        *self.buckets.claim(id.slot) = Bucket {
            messages_until: bucket.messages_until.saturating_sub(ahead),
            bytes_until: bucket.bytes_until.saturating_sub(ahead),
            behind_since,
            listener: bucket.listener,
        };
    }

    /// One is gone, or leaves for another core and has its bucket travel along.
    pub fn take(&mut self, id: ConnId) -> Bucket {
        let bucket = self.buckets.get(id.slot).copied();
        self.buckets.free(id.slot);
        bucket.unwrap_or_default()
    }

    /// It has sent so many bytes, and a message with them or not. False if that is more than it may.
    pub fn spend(&mut self, id: ConnId, bytes: usize, message: bool, now: Instant) -> bool {
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
        let mut within = true;
        if message && limit.per_message > 0 {
            bucket.messages_until = bucket
                .messages_until
                .max(from)
                .saturating_add(limit.per_message);
            within = bucket.messages_until <= now.saturating_add(limit.messages_saved);
        }
        if limit.bytes_per_second > 0 {
            let cost = limit.of_bytes(bytes);
            bucket.bytes_until = bucket.bytes_until.max(from).saturating_add(cost);
            within &= bucket.bytes_until <= now.saturating_add(limit.bytes_saved);
        }
        within
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnId = ConnId {
        slot: 3,
        generation: 1,
    };

    fn rates(messages: usize, bytes: usize, burst: u64) -> (Rates, Instant) {
        let epoch = Instant::now();
        let rate = Rate {
            messages_per_second: messages,
            bytes_per_second: bytes,
            message_bytes_max: 100,
        };
        let burst = Duration::from_secs(burst);
        let mut rates = Rates::new(&[Rate::default(), rate], burst, epoch).unwrap();
        rates.enter(ID, 1);
        (rates, epoch)
    }

    /// How many messages it takes at this time.
    fn takes(rates: &mut Rates, now: Instant) -> usize {
        let before = rates.buckets[3];
        let count = (0..).take_while(|_| rates.spend(ID, 1, true, now)).count();
        rates.buckets[3] = before;
        count
    }

    #[test]
    fn without_a_rate_there_is_nothing() {
        let none = [Rate::default(), Rate::default()];
        assert!(Rates::new(&none, Duration::from_secs(1), Instant::now()).is_none());
    }

    #[test]
    fn a_listener_without_a_rate_takes_all() {
        let (mut rates, now) = rates(1, 1, 1);
        rates.enter(ID, 0);
        assert!((0..10_000).all(|_| rates.spend(ID, 1 << 20, true, now)));
    }

    #[test]
    fn what_is_saved_up_goes_at_once_and_no_more() {
        for (messages, burst, saved) in [
            (1, 1, 1),
            (10, 1, 10),
            (7, 3, 21),
            (3, 1, 3),
            (9_999, 1, 9_999),
        ] {
            let (mut rates, now) = rates(messages, 0, burst);
            assert_eq!(
                takes(&mut rates, now),
                saved,
                "{messages} a second, {burst} s"
            );
            // However long it was quiet.
            let later = now + Duration::from_secs(1_000);
            assert_eq!(takes(&mut rates, later), saved);
        }
    }

    #[test]
    fn spent_messages_are_earned_again() {
        let (mut rates, now) = rates(10, 0, 1);
        for _ in 0..10 {
            assert!(rates.spend(ID, 0, true, now));
        }
        assert_eq!(takes(&mut rates, now + Duration::from_millis(99)), 0);
        assert_eq!(takes(&mut rates, now + Duration::from_millis(100)), 1);
        assert_eq!(takes(&mut rates, now + Duration::from_millis(350)), 3);
        // For ever at the rate.
        for n in 1..1_000 {
            assert!(rates.spend(ID, 0, true, now + n * Duration::from_millis(100)));
        }
    }

    #[test]
    fn bytes_have_a_bucket_of_their_own() {
        let (mut fresh, now) = rates(0, 1_000, 1);
        assert!(fresh.spend(ID, 999, false, now));
        assert!(fresh.spend(ID, 1, false, now));
        assert!(!fresh.spend(ID, 1, false, now));
        // One largest message always fits, with its head.
        let (mut slow, now) = rates(0, 10, 1);
        assert!(slow.spend(ID, 114, true, now));
        assert!(!slow.spend(ID, 1, false, now));
    }

    #[test]
    fn what_was_read_late_is_not_held_against_it() {
        let second = Duration::from_secs(1);
        let (mut rates, now) = rates(10, 0, 1);
        rates.fall_behind(ID, now);
        let late = now + 5 * second;
        // It did not matter that it was said again.
        rates.fall_behind(ID, now + second);
        assert_eq!(takes(&mut rates, late), 60);
        // On another core it goes on.
        let bucket = rates.take(ID);
        rates.enter(ID, 1);
        rates.put(ID, bucket, Duration::ZERO);
        assert_eq!(takes(&mut rates, late), 60);
        rates.catch_up(ID);
        assert_eq!(takes(&mut rates, late), 10);
    }

    #[test]
    fn time_in_which_the_core_stood_still_is_not_held_against_it() {
        let second = Duration::from_secs(1);
        let (mut rates, now) = rates(10, 0, 1);
        let late = now + 5 * second;
        rates.stood_still(4 * second, late);
        assert_eq!(takes(&mut rates, late), 50);
        // As long again to read it all.
        assert_eq!(takes(&mut rates, late + 4 * second), 10);
    }

    #[test]
    fn what_is_spent_travels_along() {
        let (mut rates, now) = rates(10, 0, 1);
        for _ in 0..9 {
            assert!(rates.spend(ID, 0, true, now));
        }
        let bucket = rates.take(ID);
        rates.enter(ID, 1);
        rates.put(ID, bucket, Duration::ZERO);
        assert_eq!(takes(&mut rates, now), 1);
    }

    #[test]
    fn a_core_whose_time_is_earlier_asks_for_no_more() {
        let ahead = Duration::from_millis(3);
        let (mut rates, now) = rates(10, 0, 1);
        assert!(rates.spend(ID, 0, true, now + ahead));
        let bucket = rates.take(ID);
        rates.put(ID, bucket, ahead);
        assert_eq!(takes(&mut rates, now), 9);
    }
}
