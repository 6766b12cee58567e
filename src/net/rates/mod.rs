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

use std::time::{Duration, Instant};

use crate::ident::ConnId;
use crate::migration::Spent;
use crate::pages::Pages;

/// Largest head of a message as a client sends it (RFC 6455, section 5.2).
const HEAD_BYTES: usize = 14;
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

/// The same in nanoseconds.
#[derive(Clone, Copy)]
struct RateLimit {
    /// The time that earns one message; 0 is no limit.
    per_message: u64,
    messages_saved: u64,
    bytes_per_second: u64,
    bytes_saved: u64,
}

impl RateLimit {
    fn new(rate: &Rate, burst: Duration) -> RateLimit {
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
    fn take(&self, bucket: &mut Bucket, bytes: usize, unit: Unit, from: u64, now: u64) -> bool {
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
struct Bucket {
    /// When all that its messages have cost is earned again.
    messages_until: u64,
    /// The same of frames that are no message.
    others_until: u64,
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
        let count = (0..)
            .take_while(|_| rates.spend(ID, 1, Unit::Message, now))
            .count();
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
        assert!((0..10_000).all(|_| rates.spend(ID, 1 << 20, Unit::Message, now)));
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
            assert!(rates.spend(ID, 0, Unit::Message, now));
        }
        assert_eq!(takes(&mut rates, now + Duration::from_millis(99)), 0);
        assert_eq!(takes(&mut rates, now + Duration::from_millis(100)), 1);
        assert_eq!(takes(&mut rates, now + Duration::from_millis(350)), 3);
        // For ever at the rate.
        for n in 1..1_000 {
            assert!(rates.spend(ID, 0, Unit::Message, now + n * Duration::from_millis(100)));
        }
    }

    #[test]
    fn bytes_have_a_bucket_of_their_own() {
        let (mut fresh, now) = rates(0, 1_000, 1);
        assert!(fresh.spend(ID, 999, Unit::Nothing, now));
        assert!(fresh.spend(ID, 1, Unit::Nothing, now));
        assert!(!fresh.spend(ID, 1, Unit::Nothing, now));
        // One largest message always fits, with its head.
        let (mut slow, now) = rates(0, 10, 1);
        assert!(slow.spend(ID, 114, Unit::Message, now));
        assert!(!slow.spend(ID, 1, Unit::Nothing, now));
    }

    #[test]
    fn frames_that_are_no_message_have_a_bucket_of_their_own() {
        for (controls, fragments, within) in [
            (9, 0, true),
            (10, 0, true),
            (11, 0, false),
            (0, 159, true),
            (0, 160, true),
            (0, 161, false),
            (9, 16, true),
            (9, 17, false),
        ] {
            let (mut rates, now) = rates(10, 0, 1);
            // Messages are not in their way, nor are they in that of messages.
            assert!((0..10).all(|_| rates.spend(ID, 0, Unit::Message, now)));
            let mut passes = true;
            for _ in 0..controls {
                passes &= rates.spend(ID, 0, Unit::Control, now);
            }
            passes &= rates.spend(ID, 0, Unit::Fragments(fragments), now);
            assert_eq!(passes, within, "{controls} and {fragments}");
            let later = now + Duration::from_millis(1_200);
            assert!(rates.spend(ID, 0, Unit::Message, later));
        }
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
        // Elsewhere it goes on, and its way there is counted.
        let spent = rates.leave(ID, late - second);
        rates.enter(ID, 1);
        rates.put(ID, 1, &spent, second, late);
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
            assert!(rates.spend(ID, 0, Unit::Message, now));
        }
        let spent = rates.leave(ID, now);
        rates.enter(ID, 1);
        rates.put(ID, 1, &spent, Duration::ZERO, now);
        assert_eq!(takes(&mut rates, now), 1);
        // As much as it earns on its way it may send more, there as here.
        let (way, later) = (Duration::from_millis(300), Duration::from_millis(500));
        let spent = rates.leave(ID, now + later);
        rates.put(ID, 1, &spent, way, now + later + way);
        let here = rates.buckets[3];
        assert_eq!(here.messages_until, 900_000_001);
        assert_eq!(takes(&mut rates, now + later + way), 9);
    }

    #[test]
    fn a_core_whose_time_is_earlier_asks_for_no_more() {
        let ahead = Duration::from_millis(3);
        let (mut rates, now) = rates(10, 0, 1);
        assert!(rates.spend(ID, 0, Unit::Message, now + ahead));
        let spent = rates.leave(ID, now + ahead);
        // It has not been on its way at all, as time is there.
        rates.put(ID, 1, &spent, Duration::ZERO, now);
        assert_eq!(takes(&mut rates, now), 9);
    }
}
