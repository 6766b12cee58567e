//! Reading the streams of a [`Store`]: whether somebody can have all that it has missed, and that, piece by piece.

use std::collections::vec_deque::Iter;
use std::time::Instant;

use super::address::Address;
use super::engine::{Appended, Engine, Gap, Id, Limit, Page, Recovery};
use super::position::Position;
use super::rules::Keep;
use super::store::{Store, Why};
use super::window::Kept;
use crate::payload::Payload;

impl Store {
    /// See [`Engine::top`].
    pub fn top(&mut self, now: Instant, of: Address<'_>) -> Position {
        self.catch_up(now);
        self.top_of(self.find(of))
    }

    fn top_of(&self, number: Option<u32>) -> Position {
        #[cfg(test)]
        if let Some(number) = number {
            self.faults.trip("top", self.streams[number].address().name);
        }
        match number {
            Some(number) => self.streams[number].at(self.streams[number].top),
            None => self.nursery.position(),
        }
    }

    /// Whether somebody who holds this position can have all that followed it. An unreadable one is `None`.
    pub fn recover(&mut self, now: Instant, of: Address<'_>, asked: Option<Position>) -> Recovery {
        self.catch_up(now);
        match self.judge(self.find(of), asked) {
            Ok(after) => Recovery::Recovered {
                after,
                top: self.top_of(self.find(of)),
            },
            Err(gap) => {
                self.counters.gaps += 1;
                Recovery::Gap(gap)
            }
        }
    }

    /// Whether a position is one that clients of this stream were told, though not all that follows may be there.
    pub fn has_told(&mut self, now: Instant, of: Address<'_>, asked: Position) -> bool {
        self.catch_up(now);
        let number = self.find(of);
        let top = self.top_of(number);
        let is_of_it = asked.epoch == top.epoch && asked.offset <= top.offset;
        is_of_it || self.judge(number, Some(asked)).is_ok()
    }

    /// Whether somebody can have all that followed who has had nothing of the stream since the core began.
    pub fn recover_all(&mut self, now: Instant, of: Address<'_>) -> Recovery {
        self.catch_up(now);
        let stream = self.find(of).map(|number| &self.streams[number]);
        let has_all = self.nursery.has_all(stream.map(|stream| stream.born));
        let beginning = match stream {
            Some(stream) => stream.at(0),
            None => self.nursery.position(),
        };
        match self.recover(now, of, Some(beginning).filter(|_| has_all)) {
            Recovery::Gap(gap) => Recovery::Gap(Gap { asked: None, ..gap }),
            recovered => recovered,
        }
    }

    /// What a position means in a stream as it is now, if all that follows is there.
    fn judge(&self, number: Option<u32>, asked: Option<Position>) -> Result<Position, Gap> {
        let top = self.top_of(number);
        let stream = number.map(|number| &self.streams[number]);
        #[cfg(test)]
        if let Some(stream) = stream {
            self.faults.trip("read", stream.address().name);
        }
        let after = asked.and_then(|asked| {
            let Some(stream) = stream else {
                return self.nursery.turn_of(asked).map(|_| top);
            };
            let offset = if asked.epoch == top.epoch {
                asked.offset
            } else {
                // Told before the stream was born.
                let turn = self.nursery.turn_of(asked)?;
                self.nursery.precedes(turn, stream.born).then_some(0)?
            };
            let there = stream.floor..=stream.top;
            there.contains(&offset).then(|| stream.at(offset))
        });
        after.ok_or_else(|| Gap {
            asked,
            first: stream
                .filter(|stream| stream.floor < stream.top)
                .map(|stream| stream.at(stream.floor + 1)),
            top,
        })
    }

    /// What follows a position, the oldest first, up to a limit, without a copy: all of it, or a gap. Whoever reads a
    /// stream piece by piece holds the position of the last message that it has had, and nothing else; what goes
    /// meanwhile is a gap to the next piece.
    pub fn read(
        &mut self,
        now: Instant,
        of: Address<'_>,
        after: Option<Position>,
        limit: Limit,
    ) -> Result<Piece<'_>, Gap> {
        self.catch_up(now);
        let number = self.find(of);
        match self.judge(number, after) {
            Ok(after) => Ok(self.piece(number, after.offset, limit)),
            Err(gap) => {
                self.counters.gaps += 1;
                Err(gap)
            }
        }
    }

    /// What is there after an offset, up to a limit; what is gone is passed over. For what waits for a uid without
    /// positions, and for listings.
    pub fn read_what_is_there(
        &mut self,
        now: Instant,
        of: Address<'_>,
        after: u64,
        limit: Limit,
    ) -> Piece<'_> {
        self.catch_up(now);
        self.piece(self.find(of), after, limit)
    }

    fn piece(&self, number: Option<u32>, after: u64, limit: Limit) -> Piece<'_> {
        let stream = number.map(|number| &self.streams[number]);
        let top = self.top_of(number);
        let Some(stream) = stream else {
            return Piece::new(Iter::default(), (0, 0), limit, top);
        };
        let place = stream.place_after(after).min(stream.window.len());
        let offsets = (stream.first() + place as u64, stream.top);
        Piece::new(stream.window.from(place), offsets, limit, top)
    }

    /// See [`Engine::discard`].
    pub fn discard(&mut self, now: Instant, of: Address<'_>) -> u32 {
        self.catch_up(now);
        let Some(number) = self.find(of) else {
            return 0;
        };
        let stream = &self.streams[number];
        let (count, top) = (stream.window.messages(), stream.top);
        while self.take_out_oldest(number, Why::Wish) {}
        self.streams[number].floor = top;
        count
    }

    /// The offset up to which a uid's messages were delivered; 0 at first, and where there is no stream.
    pub fn delivered(&self, of: Address<'_>) -> u64 {
        let stream = self.find(of).map(|number| &self.streams[number]);
        stream.map_or(0, |stream| stream.delivered)
    }

    /// Says up to which offset they were, if it was less.
    pub fn set_delivered(&mut self, of: Address<'_>, offset: u64) {
        if let Some(number) = self.find(of) {
            let stream = &mut self.streams[number];
            stream.delivered = stream.delivered.max(offset.min(stream.top));
        }
    }

    /// What follows this offset was not delivered after all. Of what is gone already it is told as of all that goes.
    pub fn put_back(&mut self, of: Address<'_>, offset: u64) {
        let Some(number) = self.find(of) else { return };
        let stream = &mut self.streams[number];
        let (before, floor) = (stream.delivered, stream.floor);
        stream.delivered = before.min(offset);
        for gone in offset + 1..=before.min(floor) {
            self.tell_undelivered(number, gone);
        }
    }
}

/// Messages of a stream with their positions, lent.
pub struct Piece<'s> {
    messages: Iter<'s, Kept>,
    /// The offsets of the first and the last of them.
    first: u64,
    last: u64,
    limit: Limit,
    backwards: bool,
    /// None has been read yet.
    is_first: bool,
    top: Position,
}

impl<'s> Piece<'s> {
    fn new(
        messages: Iter<'s, Kept>,
        (first, last): (u64, u64),
        limit: Limit,
        top: Position,
    ) -> Piece<'s> {
        Piece {
            messages,
            first,
            last,
            limit,
            backwards: false,
            is_first: true,
            top,
        }
    }

    /// The next place of the window, with its offset.
    fn next_place(&mut self) -> Option<(u64, &'s Kept)> {
        match self.backwards {
            false => {
                let kept = self.messages.next()?;
                self.first += 1;
                Some((self.first - 1, kept))
            }
            true => {
                let kept = self.messages.next_back()?;
                let offset = self.last;
                self.last -= 1;
                Some((offset, kept))
            }
        }
    }

    /// Where the stream ends.
    pub fn top(&self) -> Position {
        self.top
    }

    /// The piece from its other end: the newest first.
    pub fn backwards(self) -> Self {
        Piece {
            backwards: true,
            ..self
        }
    }
}

impl<'s> Iterator for Piece<'s> {
    type Item = (Position, &'s Payload);

    fn next(&mut self) -> Option<(Position, &'s Payload)> {
        if self.limit.messages == 0 {
            return None;
        }
        loop {
            let (offset, kept) = self.next_place()?;
            let Some(payload) = &kept.payload else {
                continue;
            };
            let length = payload.message().len();
            if length > self.limit.bytes && !self.is_first {
                self.limit.messages = 0;
                return None;
            }
            self.is_first = false;
            self.limit.messages -= 1;
            self.limit.bytes = self.limit.bytes.saturating_sub(length);
            let epoch = self.top.epoch;
            return Some((Position { epoch, offset }, payload));
        }
    }
}

impl Engine for Store {
    fn append(
        &mut self,
        now: Instant,
        to: Address<'_>,
        keep: Keep,
        id: Option<Id>,
        payload: &Payload,
    ) -> Appended {
        Store::append(self, now, to, keep, id, payload)
    }

    fn read(
        &mut self,
        now: Instant,
        of: Address<'_>,
        after: Option<Position>,
        limit: Limit,
    ) -> Result<Page, Gap> {
        let piece = Store::read(self, now, of, after, limit)?;
        let top = piece.top();
        let messages = piece.map(|(position, payload)| (position, payload.clone()));
        Ok(Page {
            messages: messages.collect(),
            top,
        })
    }

    fn top(&mut self, now: Instant, of: Address<'_>) -> Position {
        Store::top(self, now, of)
    }

    fn discard(&mut self, now: Instant, of: Address<'_>) -> u32 {
        Store::discard(self, now, of)
    }
}
