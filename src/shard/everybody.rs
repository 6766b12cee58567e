//! The connections at home on one core, by namespace: [`Everybody`].

use ahash::RandomState;

use super::namespaces::ByNamespace;
use super::slot::Slot;
use crate::ident::{ConnId, NamespaceId, Reach};
use crate::pages::Pages;

/// See the module.
pub struct Everybody {
    lists: ByNamespace<Vec<ConnId>>,
}

impl Everybody {
    /// The first `own` namespaces are the apps'.
    pub fn new(own: usize) -> Everybody {
        Everybody {
            lists: ByNamespace::new(own),
        }
    }

    /// Lists that hash by the caller's hasher.
    pub fn with_hasher(own: usize, hasher: RandomState) -> Everybody {
        Everybody {
            lists: ByNamespace::with_hasher(own, hasher),
        }
    }

    /// Who is home in a namespace.
    #[inline]
    pub fn of(&self, namespace: NamespaceId) -> &[ConnId] {
        self.lists.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// How many are within reach.
    pub fn count(&self, reach: Reach) -> usize {
        reach
            .namespaces()
            .map(|namespace| self.of(namespace).len())
            .sum()
    }

    /// Adds a connection, and says at which place.
    pub fn enter(&mut self, namespace: NamespaceId, id: ConnId) -> u32 {
        let list = self.lists.claim(namespace);
        list.push(id);
        list.len() as u32 - 1
    }

    /// Takes away the one at this place. Another may have it then.
    pub fn leave(&mut self, slots: &mut Pages<Slot>, namespace: NamespaceId, at: usize) {
        let list = self.lists.claim(namespace);
        list.swap_remove(at);
        if list.len() < list.capacity() / 4 {
            list.shrink_to(2 * list.len());
        }
        if let Some(&moved) = list.get(at) {
            slots[moved.slot].everybody_at = at as u32;
        }
        if list.is_empty() {
            self.lists.give_back(namespace);
        }
    }

    /// All of them, in all namespaces.
    #[cfg(test)]
    pub fn total(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// NamespaceNumbers with a list here that are no app's.
    #[cfg(test)]
    pub fn others(&self) -> usize {
        self.lists.others()
    }
}
