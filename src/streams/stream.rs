//! [`Stream`]: what is remembered of one stream beside its messages.

use super::address::{Address, Kind};
use super::ages::Age;
use super::list::Links;
use super::nursery::BirthTurn;
use super::position::{Epoch, Position};
use super::window::{Second, StreamWindow};
use crate::ident::NamespaceId;

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
    /// Its messages up to the top.
    pub window: StreamWindow,
    namespace: NamespaceId,
    /// Among those that are to be looked at in the same second; if it is empty, among the empty ones, in the order in
    /// which they became so.
    pub links: Links,
    /// When it is to be looked at; if it is empty, since when.
    pub second: Second,
    kind: Kind,
    /// Its messages wait for the uid's login.
    pub queues: bool,
}

const _: () = assert!(size_of::<Stream>() <= 112);

impl Default for Stream {
    fn default() -> Stream {
        let nobody = Address::all(NamespaceId(0));
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
            window: StreamWindow::default(),
            namespace: address.namespace,
            links: Links::default(),
            second: 0,
            kind: address.kind,
            queues: false,
        }
    }

    /// The last offset whose message is not there.
    pub fn last_gone(&self) -> u64 {
        let places = self.window.from(0).enumerate();
        let mut holes = places.filter(|(_, kept)| kept.payload.is_none());
        let last = holes
            .next_back()
            .map(|(place, _)| self.first() + place as u64);
        last.unwrap_or(self.first() - 1)
    }

    /// What another store remembers of it before it has its messages.
    pub fn without_messages(&self) -> Stream {
        Stream {
            floor: self.floor,
            delivered: self.delivered,
            queues: self.queues,
            ..Stream::new(self.address(), self.epoch, self.born)
        }
    }

    pub fn address(&self) -> Address<'_> {
        Address {
            namespace: self.namespace,
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

    /// It is another life of it from now on.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// The age of its oldest message.
    #[inline]
    pub fn oldest_age(&self) -> Option<Age> {
        self.window.oldest().map(|oldest| oldest.age)
    }

    /// The offset of the oldest place of its window.
    #[inline]
    pub fn first(&self) -> u64 {
        self.top + 1 - self.window.len() as u64
    }

    /// The place in its window of the first message after an offset.
    #[inline]
    pub fn place_after(&self, offset: u64) -> usize {
        (offset + 1).saturating_sub(self.first()) as usize
    }
}
