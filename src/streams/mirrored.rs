//! Streams that are kept elsewhere, by Redis, and mirrored here: their epochs and offsets are given, not drawn.
//!
//! Whoever mirrors one says first where it stands ([`Store::adopt`]), then brings what follows, each message at its offset
//! ([`Store::append_at`]). All else, recovery among it, is as for a stream of this store's own.

use std::time::{Duration, Instant};

use super::address::Address;
use super::engine::Outcome;
use super::position::Position;
use super::rules::Keep;
use super::store::{Store, Why, second_after};
use super::stream::Stream;
use crate::payload::Payload;

/// A message as it is mirrored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirrored {
    /// For how long it is kept from now on; nothing of one whose time is over.
    pub left: Option<Duration>,
    /// Whether it waits for its uid's login.
    pub queue: bool,
    pub payload: Payload,
}

impl Store {
    /// Where a stream that is here stands.
    pub fn known(&mut self, now: Instant, of: Address<'_>) -> Option<Position> {
        self.catch_up(now);
        let stream = &self.streams[self.find(of)?];
        Some(stream.at(stream.top))
    }

    /// A stream stands there; what was known of it is forgotten, and nothing that is before is here.
    pub fn adopt(&mut self, now: Instant, of: Address<'_>, at: Position) {
        self.catch_up(now);
        let number = match self.find(of) {
            Some(number) => {
                while self.take_out_oldest(number, Why::Wish) {}
                number
            }
            None => {
                let number = self.streams.take();
                self.streams[number] = Stream::new(of, at.epoch, self.nursery.birth());
                self.enter(number);
                number
            }
        };
        let stream = &mut self.streams[number];
        stream.set_epoch(at.epoch);
        (stream.top, stream.floor, stream.delivered) = (at.offset, at.offset, 0);
    }

    /// Appends the message of the next offset to a stream that is here. False if it is not the next.
    pub fn append_at(
        &mut self,
        now: Instant,
        of: Address<'_>,
        at: Position,
        message: &Mirrored,
    ) -> bool {
        let elapsed = self.catch_up(now);
        let Some(number) = self.find(of) else {
            return false;
        };
        let stream = &self.streams[number];
        if stream.at(stream.top + 1) != at {
            return false;
        }
        let Some(left) = message.left else {
            self.pass_over(number);
            return true;
        };
        let keep = Keep {
            size: u32::MAX,
            ttl: left,
            queue: message.queue,
        };
        let due = second_after(elapsed.saturating_add(left));
        let outcome = self.take_in(number, keep, due, &message.payload);
        debug_assert!(outcome != Outcome::Repeated);
        self.make_room();
        true
    }

    /// The next message is not here.
    fn pass_over(&mut self, number: u32) {
        let stream = &mut self.streams[number];
        stream.top += 1;
        stream.floor = stream.top;
        let places = stream.window.bytes();
        stream.window.push_hole();
        self.bytes += stream.window.bytes() - places;
    }

    /// Up to this offset messages have been thrown away, or have gone for want of room.
    pub fn discard_to(&mut self, now: Instant, of: Address<'_>, offset: u64) {
        self.catch_up(now);
        let Some(number) = self.find(of) else { return };
        while self.streams[number].window.messages() > 0
            && self.streams[number].first() <= offset
            && self.take_out_oldest(number, Why::Wish)
        {}
        let stream = &mut self.streams[number];
        stream.floor = stream.floor.max(offset.min(stream.top));
    }

    /// Up to this offset messages were delivered, somewhere; some of them may be still to come here.
    pub fn adopt_delivered(&mut self, of: Address<'_>, offset: u64) {
        if let Some(number) = self.find(of) {
            self.streams[number].delivered = offset;
        }
    }
}
