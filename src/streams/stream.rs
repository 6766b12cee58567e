//! [`Stream`]: what is remembered of one stream beside its messages.

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;

use super::address::{Address, Kind};
use super::kept::Second;
use super::list::{Links, NONE};
use super::nursery::BirthTurn;
use super::position::{Epoch, Position};
use crate::ident::Space;

/// A stream that was born. One that is empty has only this.
pub struct Stream {
    name: Box<str>,
    epoch: Epoch,
    pub born: BirthTurn,
    /// Offset of the last message; 0 where no stream is.
    pub top: u64,
    /// The last offset whose message is gone: what follows a position below it cannot be had whole.
    pub floor: u64,
    /// What was delivered to the uid, where its rule has a queue.
    pub delivered: u64,
    /// The numbers of the messages up to the top, [`NONE`] where one went before an older one. The first is there.
    window: VecDeque<u32>,
    /// Of those that are there.
    pub messages: u32,
    space: Space,
    /// Among the empty ones, in the order in which they became so.
    pub links: Links,
    /// When it became empty.
    pub empty_since: Second,
    kind: Kind,
    /// Its messages wait for the uid's login.
    pub queues: bool,
}

const _: () = assert!(size_of::<Stream>() <= 112);

impl Default for Stream {
    fn default() -> Stream {
        let nobody = Address::all(Space(0));
        Stream::new(Address { name: "", ..nobody }, Epoch::of(0), 0)
    }
}

impl Stream {
    pub fn new(address: Address<'_>, epoch: Epoch, born: BirthTurn) -> Stream {
        Stream {
            name: Box::from(address.name),
            epoch,
            born,
            top: 0,
            floor: 0,
            delivered: 0,
            window: VecDeque::new(),
            messages: 0,
            space: address.space,
            links: Links::default(),
            empty_since: 0,
            kind: address.kind,
            queues: false,
        }
    }

    pub fn address(&self) -> Address<'_> {
        Address {
            space: self.space,
            kind: self.kind,
            name: &self.name,
        }
    }

    pub fn at(&self, offset: u64) -> Position {
        let epoch = self.epoch;
        Position { epoch, offset }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes in the message at the top; [`NONE`] for one that is not kept.
    #[inline]
    pub fn push(&mut self, number: u32) {
        if number != NONE {
            self.messages += 1;
        } else if self.window.is_empty() {
            return;
        }
        self.window.push_back(number);
    }

    /// The message at this offset is gone.
    pub fn remove(&mut self, offset: u64) {
        self.messages -= 1;
        self.floor = self.floor.max(offset);
        if self.messages == 0 {
            self.window = VecDeque::new();
            return;
        }
        let place = self.window.len() - 1 - (self.top - offset) as usize;
        self.window[place] = NONE;
        while self.window.front() == Some(&NONE) {
            self.window.pop_front();
        }
        if self.window.len() < self.window.capacity() / 4 {
            self.window.shrink_to(2 * self.window.len());
        }
    }

    /// Places of messages that went before an older one.
    pub fn holes(&self) -> usize {
        self.window.len() - self.messages as usize
    }

    /// The number of the oldest message that is there.
    pub fn oldest(&self) -> Option<u32> {
        self.window.front().copied()
    }

    /// The numbers of the messages after an offset, the oldest first; [`NONE`] for those that are gone.
    #[inline]
    pub fn after(&self, offset: u64) -> Iter<'_, u32> {
        let first = self.top - self.window.len() as u64;
        let from = offset.clamp(first, self.top) - first;
        self.window.range(from as usize..)
    }
}
