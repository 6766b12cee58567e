//! Something of each namespace: [`ByNamespace`].
//!
//! The apps' namespaces, of which there are a few, have theirs at once and for good, in a list. Another has its own from when
//! somebody is first in it on this core until nobody is any more. Bound: one for each of the apps' namespaces, and for each
//! other that somebody here is in.

use ahash::{AHashMap, RandomState};

use crate::ident::NamespaceId;

pub struct ByNamespace<T> {
    own: Vec<T>,
    others: AHashMap<NamespaceId, Box<T>>,
}

impl<T: Default> ByNamespace<T> {
    /// The first `own` namespaces are the apps'.
    pub fn new(own: usize) -> ByNamespace<T> {
        ByNamespace::with_hasher(own, RandomState::new())
    }

    /// One that hashes by the caller's hasher.
    pub fn with_hasher(own: usize, hasher: RandomState) -> ByNamespace<T> {
        ByNamespace {
            own: (0..own).map(|_| T::default()).collect(),
            others: AHashMap::with_hasher(hasher),
        }
    }

    /// A namespace's, which it has from now on.
    pub fn claim(&mut self, namespace: NamespaceId) -> &mut T {
        match self.own.get_mut(namespace.0 as usize) {
            Some(item) => item,
            None => self.others.entry(namespace).or_default(),
        }
    }
}

impl<T> ByNamespace<T> {
    #[inline]
    pub fn get(&self, namespace: NamespaceId) -> Option<&T> {
        match self.own.get(namespace.0 as usize) {
            Some(item) => Some(item),
            None => self.others.get(&namespace).map(|item| &**item),
        }
    }

    pub fn get_mut(&mut self, namespace: NamespaceId) -> Option<&mut T> {
        match self.own.get_mut(namespace.0 as usize) {
            Some(item) => Some(item),
            None => self.others.get_mut(&namespace).map(|item| &mut **item),
        }
    }

    /// Nothing is in a namespace's any more.
    pub fn give_back(&mut self, namespace: NamespaceId) {
        let removed = self.others.remove(&namespace);
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
        let mut lists: ByNamespace<Vec<u32>> = ByNamespace::new(2);
        assert!(lists.get(NamespaceId(1)).is_some() && lists.get(NamespaceId(2)).is_none());
        for number in 0..1_000 {
            lists.claim(NamespaceId(number)).push(number);
        }
        assert_eq!((lists.others(), lists.iter().count()), (998, 1_000));
        assert_eq!(lists.get(NamespaceId(999)), Some(&vec![999]));
        for number in 0..1_000 {
            lists
                .get_mut(NamespaceId(number))
                .expect("it is there")
                .clear();
            lists.give_back(NamespaceId(number));
            lists.give_back(NamespaceId(number));
        }
        assert!(lists.get(NamespaceId(1)).is_some() && lists.get(NamespaceId(2)).is_none());
        assert!(lists.others() == 0 && lists.others.capacity() < 16);
    }
}
