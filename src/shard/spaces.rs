//! Something of each space: [`BySpace`].
//!
//! The apps' spaces, of which there are a few, have theirs at once and for good, in a list. Another has its own from when
//! somebody is first in it on this core until nobody is any more. Bound: one for each of the apps' spaces, and for each
//! other that somebody here is in.

use ahash::{AHashMap, RandomState};

use crate::ident::Space;

pub struct BySpace<T> {
    own: Vec<T>,
    others: AHashMap<Space, Box<T>>,
}

impl<T: Default> BySpace<T> {
    /// The first `own` spaces are the apps'.
    pub fn new(own: usize) -> BySpace<T> {
        BySpace::with_hasher(own, RandomState::new())
    }

    /// One that hashes by the caller's hasher.
    pub fn with_hasher(own: usize, hasher: RandomState) -> BySpace<T> {
        BySpace {
            own: (0..own).map(|_| T::default()).collect(),
            others: AHashMap::with_hasher(hasher),
        }
    }

    /// A space's, which it has from now on.
    pub fn claim(&mut self, space: Space) -> &mut T {
        match self.own.get_mut(space.0 as usize) {
            Some(item) => item,
            None => self.others.entry(space).or_default(),
        }
    }
}

impl<T> BySpace<T> {
    #[inline]
    pub fn get(&self, space: Space) -> Option<&T> {
        match self.own.get(space.0 as usize) {
            Some(item) => Some(item),
            None => self.others.get(&space).map(|item| &**item),
        }
    }

    pub fn get_mut(&mut self, space: Space) -> Option<&mut T> {
        match self.own.get_mut(space.0 as usize) {
            Some(item) => Some(item),
            None => self.others.get_mut(&space).map(|item| &mut **item),
        }
    }

    /// Nothing is in a space's any more.
    pub fn give_back(&mut self, space: Space) {
        let removed = self.others.remove(&space);
        let left = self.others.len();
        if removed.is_some() && left < self.others.capacity() / 4 {
            self.others.shrink_to(2 * left);
        }
    }

    /// How many are there, those of the apps apart.
    #[cfg(test)]
    pub fn others(&self) -> usize {
        self.others.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.own
            .iter()
            .chain(self.others.values().map(|item| &**item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apps_keep_theirs_and_others_do_not() {
        let mut lists: BySpace<Vec<u32>> = BySpace::new(2);
        assert!(lists.get(Space(1)).is_some() && lists.get(Space(2)).is_none());
        for number in 0..1_000 {
            lists.claim(Space(number)).push(number);
        }
        assert_eq!((lists.others(), lists.iter().count()), (998, 1_000));
        assert_eq!(lists.get(Space(999)), Some(&vec![999]));
        for number in 0..1_000 {
            lists.get_mut(Space(number)).expect("it is there").clear();
            lists.give_back(Space(number));
            lists.give_back(Space(number));
        }
        assert!(lists.get(Space(1)).is_some() && lists.get(Space(2)).is_none());
        assert!(lists.others() == 0 && lists.others.capacity() < 16);
    }
}
