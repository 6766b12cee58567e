//! [`Names`]: which stream has a name; the streams of a core, by their numbers.
//!
//! The table of names holds numbers alone: a name is its stream's. Bound: an entry a stream; the table is halved when most
//! of it is empty.

use ahash::RandomState;
use hashbrown::HashTable;

use super::address::Address;
use super::list::{Linked, Links};
use super::stream::Stream;
use crate::pages::Pages;

/// The streams of a core. Pages are small, for limits may be.
pub type Streams = Pages<Stream, 1>;

impl Linked for Streams {
    fn links(&mut self, number: u32) -> &mut Links {
        &mut self[number].links
    }
}

/// See the module.
pub struct Names {
    hasher: RandomState,
    table: HashTable<u32>,
    drawn: u64,
}

impl Names {
    pub fn new(hasher: RandomState) -> Names {
        Names {
            hasher,
            table: HashTable::new(),
            drawn: 0,
        }
    }

    /// Another one with the same hasher, and no name in it.
    pub fn emptied(&self) -> Names {
        Names {
            hasher: self.hasher.clone(),
            table: HashTable::new(),
            drawn: self.drawn,
        }
    }

    pub fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// The streams that there are, in no order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.table.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// A random number, as the hasher is.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.hasher.hash_one(self.drawn)
    }

    #[inline]
    pub fn find(&self, streams: &Streams, of: Address<'_>) -> Option<u32> {
        let same = |number: &u32| streams[*number].address() == of;
        self.table.find(self.hasher.hash_one(of), same).copied()
    }

    /// A stream that is new and has its number.
    pub fn insert(&mut self, streams: &Streams, number: u32) {
        let hasher = &self.hasher;
        let hash = |number: &u32| hasher.hash_one(streams[*number].address());
        self.table.insert_unique(hash(&number), number, hash);
    }

    /// The number is free from now on.
    pub fn remove(&mut self, streams: &mut Streams, number: u32) {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(streams[number].address());
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        streams.free(number);
        if self.table.len() < self.table.capacity() / 8 {
            let rehash = |number: &u32| hasher.hash_one(streams[*number].address());
            self.table.shrink_to(2 * self.table.len(), rehash);
        }
    }
}
