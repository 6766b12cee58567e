//! The connections at home on one core, by space: [`Everybody`].

use ahash::RandomState;

use super::slot::Slot;
use super::spaces::BySpace;
use crate::ident::{ConnId, Reach, Space};
use crate::pages::Pages;

/// See the module.
pub struct Everybody {
    lists: BySpace<Vec<ConnId>>,
}

impl Everybody {
    /// The first `own` spaces are the apps'.
    pub fn new(own: usize) -> Everybody {
        Everybody {
            lists: BySpace::new(own),
        }
    }

    /// Lists that hash by the caller's hasher.
    pub fn with_hasher(own: usize, hasher: RandomState) -> Everybody {
        Everybody {
            lists: BySpace::with_hasher(own, hasher),
        }
    }

    /// Who is home in a space.
    #[inline]
    pub fn of(&self, space: Space) -> &[ConnId] {
        self.lists.get(space).map_or(&[], Vec::as_slice)
    }

    /// How many are within reach.
    pub fn count(&self, reach: Reach) -> usize {
        reach.spaces().map(|space| self.of(space).len()).sum()
    }

    /// Adds a connection, and says at which place.
    pub fn enter(&mut self, space: Space, id: ConnId) -> u32 {
        let list = self.lists.claim(space);
        list.push(id);
        list.len() as u32 - 1
    }

    /// Takes away the one at this place. Another may have it then.
    pub fn leave(&mut self, slots: &mut Pages<Slot>, space: Space, at: usize) {
        let list = self.lists.claim(space);
        list.swap_remove(at);
        if list.len() < list.capacity() / 4 {
            list.shrink_to(2 * list.len());
        }
        if let Some(&moved) = list.get(at) {
            slots[moved.slot].everybody_at = at as u32;
        }
        if list.is_empty() {
            self.lists.give_back(space);
        }
    }

    /// All of them, in all spaces.
    #[cfg(test)]
    pub fn total(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// Spaces with a list here that are no app's.
    #[cfg(test)]
    pub fn others(&self) -> usize {
        self.lists.others()
    }
}
