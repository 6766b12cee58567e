//! [`Store`]: the streams of one core, in its memory.
//!
//! Bound: [`Config::history_bytes_core_max`] of messages, what they take beside their bytes, streams and ids; past it the
//! oldest message of all streams goes. A stream that has no messages left is remembered for [`META_TIME`], and all such
//! take a quarter of the bound at most; so do ids. It has no clock: each call is told the time, and what is due by then
//! is gone first. Much that is due at once goes in helpings ([`Store::advance`]).

use std::time::{Duration, Instant};

use ahash::RandomState;

use super::address::Address;
use super::ages::{AGE_COST, Ages};
use super::counters::{Counters, Undelivered};
use super::dues::{Dues, Sweep};
use super::engine::{Appended, Id, Outcome};
use super::ids::{ID_COST, Ids};
use super::list::{List, NONE};
use super::names::{Names, Streams};
use super::nursery::Nursery;
use super::position::{Epoch, Position};
use super::rules::Keep;
use super::stream::Stream;
use super::unpacking::Unpacking;
use super::window::{KEPT_COST, Second};
use crate::config::Config;
use crate::payload::Payload;

/// How long an empty stream's position is remembered. Whoever comes back later is told of a gap.
pub const META_TIME: Duration = Duration::from_secs(24 * 3_600);
/// What a stream counts beside its name: itself and its entry in the table of names.
pub(super) const STREAM_COST: usize = 128;
/// What a message counts beside its bytes and the places of its stream's window: its age, and the counts of those who
/// share it.
const MESSAGE_COST: usize = AGE_COST + 16;
/// So many places are looked at for the price of a message that goes.
const PLACES_LOOKED_AT: u64 = 16;
/// Things that go with each call, if so many are due.
const DUE_PER_CALL: usize = 64;
/// Streams whose undelivered messages went, until somebody takes the list.
const UNDELIVERED_MAX: usize = 4_096;

/// Why a message goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Bytes,
    Size,
    Time,
    Wish,
}

/// See the module.
pub struct Store {
    pub(super) start: Instant,
    /// All that was due until this second is gone, unless a helping was not enough.
    now: Second,
    /// A helping was not enough.
    is_behind: bool,
    pub(super) streams: Streams,
    pub(super) names: Names,
    /// Messages that are kept.
    messages: u32,
    pub(super) ages: Ages,
    dues: Dues,
    pub(super) empty: List,
    empty_bytes: usize,
    pub(super) nursery: Nursery,
    pub(super) ids: Ids,
    id_window: Duration,
    pub(super) bytes: usize,
    bytes_max: usize,
    /// What holds while a bound that was lowered has not been reached.
    bytes_for_now: usize,
    pub(super) counters: Counters,
    pub(super) undelivered: Vec<Undelivered>,
    /// What comes of another process, while it comes.
    pub(super) unpacking: Option<Box<Unpacking>>,
    /// What is to panic, and how often.
    #[cfg(test)]
    pub faults: super::faults::Faults,
}

impl Store {
    /// An empty one. Its names are hashed by `hasher`, and its epochs are drawn by it.
    pub fn new(config: &Config, now: Instant, hasher: RandomState) -> Store {
        let mut names = Names::new(hasher.clone());
        let nursery = Nursery::new(names.draw());
        let bytes_max = config.history_bytes_core_max;
        Store {
            start: now,
            now: 0,
            is_behind: false,
            streams: Streams::default(),
            names,
            messages: 0,
            ages: Ages::default(),
            dues: Dues::default(),
            empty: List::default(),
            empty_bytes: 0,
            nursery,
            ids: Ids::new(hasher),
            id_window: config.idempotency_window,
            bytes: 0,
            bytes_max,
            bytes_for_now: bytes_max,
            counters: Counters::default(),
            undelivered: Vec::new(),
            unpacking: None,
            #[cfg(test)]
            faults: super::faults::Faults::default(),
        }
    }

    /// Another one with the same bounds and counters, and nothing in it.
    pub(super) fn emptied(&self) -> Store {
        let names = self.names.emptied();
        let mut counters = self.counters;
        counters.ids_forgotten += (self.ids.bytes() / ID_COST) as u64;
        Store {
            ids: Ids::new(names.hasher()),
            names,
            start: self.start,
            now: self.now,
            is_behind: true,
            streams: Streams::default(),
            messages: 0,
            ages: Ages::default(),
            dues: Dues::default(),
            empty: List::default(),
            empty_bytes: 0,
            nursery: self.nursery.clone(),
            id_window: self.id_window,
            bytes: 0,
            bytes_max: self.bytes_max,
            bytes_for_now: self.bytes_for_now,
            counters,
            undelivered: self.undelivered.clone(),
            unpacking: None,
            #[cfg(test)]
            faults: self.faults.clone(),
        }
    }

    /// Goes on with other bounds. What is beyond a lower one goes in helpings.
    pub fn renew(&mut self, config: &Config) {
        self.id_window = config.idempotency_window;
        self.bytes_max = config.history_bytes_core_max;
        self.hold_for_now();
    }

    /// Holds what there is, however much: what is beyond the bounds goes in helpings.
    pub(super) fn hold_for_now(&mut self) {
        self.bytes_for_now = self.bytes_max.max(self.used());
        self.is_behind = true;
    }

    /// Whether no stream lives.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.names.len() == 0
    }

    /// What has happened, and what there is.
    pub fn counters(&self) -> Counters {
        Counters {
            bytes: (self.bytes + self.ids.bytes()) as u64,
            streams: self.names.len() as u64,
            messages: u64::from(self.messages),
            ..self.counters
        }
    }

    /// Whether messages went undelivered that nobody was told of yet.
    #[inline]
    pub fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// Takes the list of those whose messages went undelivered. A longer one than its bound is only counted.
    pub fn take_undelivered(&mut self) -> Vec<Undelivered> {
        std::mem::take(&mut self.undelivered)
    }

    pub(super) fn find(&self, of: Address<'_>) -> Option<u32> {
        self.names.find(&self.streams, of)
    }

    /// Lets go what is due by now, so many things at most. Returns whether more are.
    pub fn advance(&mut self, now: Instant, most: usize) -> bool {
        if self.unpacking.is_some() {
            return false;
        }
        let now = second_of(now.saturating_duration_since(self.start));
        if now > self.now {
            self.now = now;
            self.nursery.go_on();
        }
        self.is_behind = self.let_go(most);
        self.is_behind
    }

    /// Lets go what is due by now, where that has not been done in this second, or not to the end. Returns the time since the start.
    #[inline]
    pub(super) fn catch_up(&mut self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.start);
        if self.is_behind || second_of(elapsed) > self.now {
            self.advance(now, DUE_PER_CALL);
        }
        elapsed
    }

    fn let_go(&mut self, most: usize) -> bool {
        #[cfg(test)]
        self.faults.trip("advance", "");
        let mut left = most;
        while let Some(number) = self.dues.due(self.now) {
            if left == 0 {
                return true;
            }
            left = match self.streams[number].window.is_in_order_of_time() {
                true => self.look_at_oldest(number, left),
                false => self.look_at_all(number, left),
            };
        }
        while self.empty.first != NONE
            && after(self.streams[self.empty.first].second, META_TIME) <= self.now
        {
            if left == 0 {
                return true;
            }
            left -= 1;
            self.forget(self.empty.first);
        }
        while let Some(since) = self.ids.oldest()
            && after(since, self.id_window) <= self.now
        {
            if left == 0 {
                return true;
            }
            left -= 1;
            self.ids.forget_oldest();
        }
        while self.used() > self.bytes_max {
            if left == 0 {
                self.bytes_for_now = self.used();
                return true;
            }
            left -= 1;
            self.evict();
        }
        self.bytes_for_now = self.bytes_max;
        false
    }

    /// Messages of this stream go whose time is over, or so many; the oldest are the first. Returns how many more may.
    fn look_at_oldest(&mut self, number: u32, mut left: usize) -> usize {
        while let Some(oldest) = self.streams[number].window.oldest() {
            let due = oldest.due;
            if due > self.now {
                self.dues.put_off(&mut self.streams, number, due);
                return left.saturating_sub(1);
            }
            if left == 0 {
                return 0;
            }
            left -= 1;
            self.take_out_oldest(number, Why::Time);
        }
        left
    }

    /// Takes out what is due of a stream whose times are in no order.
    fn look_at_all(&mut self, number: u32, mut left: usize) -> usize {
        let begun = self.dues.looked_at.filter(|look| look.stream == number);
        let mut look = begun.unwrap_or(Sweep {
            stream: number,
            offset: 0,
            first: Second::MAX,
        });
        loop {
            let stream = &self.streams[number];
            look.offset = look.offset.max(stream.first());
            if look.offset > stream.top {
                self.dues.looked_at = None;
                self.dues.put_off(&mut self.streams, number, look.first);
                return left.saturating_sub(1);
            }
            if left == 0 {
                self.dues.looked_at = Some(look);
                return 0;
            }
            let place = (look.offset - stream.first()) as usize;
            let kept = stream.window.get(place);
            let due = kept
                .filter(|kept| kept.payload.is_some())
                .map(|kept| kept.due);
            if let Some(due) = due.filter(|due| *due > self.now) {
                look.first = look.first.min(due);
            }
            let is_over = due.is_some_and(|due| due <= self.now);
            left -= usize::from(is_over || look.offset.is_multiple_of(PLACES_LOOKED_AT));
            look.offset += 1;
            if is_over {
                self.take_out(number, place, Why::Time);
                if self.streams[number].window.messages() == 0 {
                    return left;
                }
            }
        }
    }

    /// Places that its tables have.
    #[cfg(test)]
    pub(super) fn tables(&self) -> (u32, usize, usize) {
        assert!(self.messages > 0 || self.dues.is_empty());
        let places = (self.streams.end(), self.names.capacity());
        (places.0, places.1, self.ages.entries())
    }

    #[inline]
    fn used(&self) -> usize {
        self.bytes + self.ids.bytes()
    }

    /// See [`Engine::append`].
    pub fn append(
        &mut self,
        now: Instant,
        to: Address<'_>,
        keep: Keep,
        id: Option<Id>,
        payload: &Payload,
    ) -> Appended {
        let elapsed = self.catch_up(now);
        let number = self.find_or_bear(to);
        if let Some(id) = id {
            let epoch = self.streams[number].epoch();
            if let Some(offset) = self.ids.find(epoch, id) {
                self.counters.repeated += 1;
                return Appended {
                    position: Position { epoch, offset },
                    outcome: Outcome::Repeated,
                };
            }
        }
        let due = second_after(elapsed.saturating_add(keep.ttl));
        // One whose time is over at once: it was told an older time than before.
        self.is_behind |= due <= self.now;
        let outcome = self.take_in(number, keep, due, payload);
        let stream = &self.streams[number];
        let position = stream.at(stream.top);
        if let Some(id) = id {
            while self.ids.bytes() + ID_COST > self.bytes_max / 4 && self.ids.forget_oldest() {
                self.counters.ids_forgotten += 1;
            }
            self.ids
                .insert(self.now, position.epoch, id, position.offset);
        }
        self.make_room();
        Appended { position, outcome }
    }

    /// What is beyond the bounds goes.
    #[inline]
    pub(super) fn make_room(&mut self) {
        while self.used() > self.bytes_for_now && self.evict() {}
    }

    /// The stream's number; a message is about to make it one.
    fn find_or_bear(&mut self, of: Address<'_>) -> u32 {
        if let Some(number) = self.find(of) {
            return number;
        }
        let epoch = Epoch::of(self.names.draw());
        let number = self.streams.take();
        self.streams[number] = Stream::new(of, epoch, self.nursery.birth());
        self.enter(number);
        number
    }

    /// Enters a stream without messages.
    pub(super) fn enter(&mut self, number: u32) {
        self.names.insert(&self.streams, number);
        self.bytes += STREAM_COST + self.streams[number].address().name.len();
        self.become_empty(number);
    }

    pub(super) fn become_empty(&mut self, number: u32) {
        let stream = &mut self.streams[number];
        stream.second = self.now;
        self.empty_bytes += STREAM_COST + stream.address().name.len();
        self.empty.push(&mut self.streams, number);
    }

    fn is_empty_no_more(&mut self, number: u32) {
        self.empty.remove(&mut self.streams, number);
        self.empty_bytes -= STREAM_COST + self.streams[number].address().name.len();
    }

    /// Gives a message the next offset, and keeps it if it is not too large.
    pub(super) fn take_in(
        &mut self,
        number: u32,
        keep: Keep,
        due: Second,
        payload: &Payload,
    ) -> Outcome {
        let stream = &mut self.streams[number];
        if keep.queue && !stream.queues {
            // What was kept before a rule said that it waits was never waited for.
            stream.delivered = stream.top;
        }
        stream.top += 1;
        stream.queues = keep.queue;
        let cost = MESSAGE_COST + payload.message().len();
        if cost + 2 * KEPT_COST + STREAM_COST + stream.address().name.len() > self.bytes_max {
            let places = stream.window.bytes();
            stream.window.push_hole();
            self.bytes += stream.window.bytes() - places;
            stream.floor = stream.top;
            self.counters.too_large += 1;
            let offset = stream.top;
            self.tell_undelivered(number, offset);
            return Outcome::TooLarge;
        }
        #[cfg(test)]
        self.faults.trip("append", stream.address().name);
        self.hold(number, payload.clone(), due);
        self.counters.appended += 1;
        while self.streams[number].window.messages() > keep.size.max(1) {
            self.take_out_oldest(number, Why::Size);
        }
        Outcome::Kept
    }

    /// Keeps the message at the top of a stream.
    #[inline]
    pub(super) fn hold(&mut self, number: u32, payload: Payload, due: Second) {
        self.messages += 1;
        let oldest = |stream: u32| self.streams.get(stream)?.oldest_age();
        let age = self.ages.push(number, self.messages, oldest);
        if self.streams[number].window.messages() == 0 {
            self.is_empty_no_more(number);
            self.dues.insert(&mut self.streams, number, due);
        } else if due < self.streams[number].second {
            self.dues.put_off(&mut self.streams, number, due);
        }
        let stream = &mut self.streams[number];
        let (length, places) = (payload.message().len(), stream.window.bytes());
        stream.window.push(payload, age, due);
        self.bytes += MESSAGE_COST + length + stream.window.bytes() - places;
    }

    /// The oldest message of a stream goes. Returns whether there was one.
    pub(super) fn take_out_oldest(&mut self, number: u32, why: Why) -> bool {
        let there = self.streams[number].window.messages() > 0;
        if there {
            self.take_out(number, 0, why);
        }
        there
    }

    /// The message at this place of a stream's window goes.
    fn take_out(&mut self, number: u32, place: usize, why: Why) {
        let stream = &mut self.streams[number];
        let (offset, places) = (stream.first() + place as u64, stream.window.bytes());
        let Some(payload) = stream.window.remove(place) else {
            return;
        };
        stream.floor = stream.floor.max(offset);
        let now_empty = stream.window.messages() == 0;
        self.bytes -= MESSAGE_COST + payload.message().len();
        self.bytes -= places - stream.window.bytes();
        self.messages -= 1;
        let counter = match why {
            Why::Bytes => Some(&mut self.counters.evicted_by_bytes),
            Why::Size => Some(&mut self.counters.evicted_by_size),
            Why::Time => Some(&mut self.counters.evicted_by_time),
            Why::Wish => None,
        };
        if let Some(counter) = counter {
            *counter += 1;
            self.tell_undelivered(number, offset);
        }
        if now_empty {
            self.dues.remove(&mut self.streams, number);
            self.become_empty(number);
        }
        if self.messages == 0 {
            self.ages.clear();
        }
    }

    pub(super) fn tell_undelivered(&mut self, number: u32, offset: u64) {
        let stream = &self.streams[number];
        if !stream.queues || offset <= stream.delivered {
            return;
        }
        self.counters.undelivered += 1;
        let Address {
            namespace, name, ..
        } = stream.address();
        let has_room = self.undelivered.len() < UNDELIVERED_MAX;
        match self.undelivered.last_mut() {
            Some(last) if last.namespace == namespace && *last.uid == *name => last.messages += 1,
            _ if has_room => self.undelivered.push(Undelivered {
                namespace,
                uid: Box::from(name),
                messages: 1,
            }),
            _ => {}
        }
    }

    /// Nothing is remembered of an empty stream.
    fn forget(&mut self, number: u32) {
        self.is_empty_no_more(number);
        let stream = &self.streams[number];
        let (cost, born) = (STREAM_COST + stream.address().name.len(), stream.born);
        self.names.remove(&mut self.streams, number);
        self.bytes -= cost;
        self.nursery.forget(born);
    }

    /// Makes room: the oldest message goes, but the newest of all stays; or the empty stream that has been so for
    /// longest, if such take more than their part or only the newest message is left; or the oldest id. False if there
    /// is nothing.
    fn evict(&mut self) -> bool {
        let last_one = self.messages <= 1;
        if self.empty.first != NONE && (last_one || self.empty_bytes > self.bytes_max / 4) {
            self.counters.forgotten_by_bytes += 1;
            self.forget(self.empty.first);
            return true;
        }
        if last_one && self.ids.forget_oldest() {
            self.counters.ids_forgotten += 1;
            return true;
        }
        let oldest = |stream: u32| self.streams.get(stream)?.oldest_age();
        match self.ages.oldest(oldest) {
            Some(stream) => self.take_out_oldest(stream, Why::Bytes),
            None => false,
        }
    }
}

/// The second that has begun.
pub(super) fn second_of(elapsed: Duration) -> Second {
    Second::try_from(elapsed.as_secs()).unwrap_or(Second::MAX)
}

/// The first second that begins then or later.
pub(super) fn second_after(elapsed: Duration) -> Second {
    let more = u64::from(elapsed.subsec_nanos() > 0);
    Second::try_from(elapsed.as_secs().saturating_add(more)).unwrap_or(Second::MAX)
}

fn after(since: Second, time: Duration) -> Second {
    since.saturating_add(second_after(time))
}
