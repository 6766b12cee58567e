//! Which uids are in groups whether they have a connection or not: [`StickyUids`], on the uid's home core.
//!
//! Bound: `sticky_bytes_core_max`, and of a uid `groups_per_connection_max` groups. A restart forgets all of them. Called
//! by [`super::sticking`].

use std::rc::Rc;

use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::ident::NamespaceId;

/// One of them.
pub struct StickyUid {
    pub namespace: NamespaceId,
    pub uid: Rc<str>,
    /// By their numbers on this core, which they have while they are wanted.
    pub groups: SmallVec<[u32; 4]>,
}

/// See the module.
pub struct StickyUids {
    hasher: RandomState,
    uids: HashTable<StickyUid>,
    /// Memberships.
    count: usize,
    bytes: usize,
    bytes_max: usize,
}

impl StickyUids {
    pub fn new(bytes_max: usize) -> StickyUids {
        StickyUids {
            hasher: RandomState::new(),
            uids: HashTable::new(),
            count: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Goes on with another bound; what is there stays.
    pub fn renew(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Memberships, and what they take.
    pub fn counts(&self) -> (usize, usize) {
        (self.count, self.bytes)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    fn hash(&self, namespace: NamespaceId, uid: &str) -> u64 {
        self.hasher.hash_one((namespace, uid))
    }

    /// A uid that is in some group.
    pub fn get(&self, namespace: NamespaceId, uid: &str) -> Option<&StickyUid> {
        let hash = self.hash(namespace, uid);
        self.uids
            .find(hash, |one| one.namespace == namespace && *one.uid == *uid)
    }

    /// All of them, in no order.
    pub fn each(&self) -> impl Iterator<Item = &StickyUid> {
        self.uids.iter()
    }

    /// The groups of a uid, by their numbers.
    pub fn groups_of(&self, namespace: NamespaceId, uid: &str) -> SmallVec<[u32; 4]> {
        match self.is_empty() {
            true => SmallVec::new(),
            false => self
                .get(namespace, uid)
                .map(|one| one.groups.clone())
                .unwrap_or_default(),
        }
    }

    /// Whether there is room for so many bytes more.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= self.bytes_max
    }

    /// A uid is in this group, too, which takes so many bytes.
    pub fn add(&mut self, namespace: NamespaceId, uid: &Rc<str>, group: u32, bytes: usize) {
        let hash = self.hash(namespace, uid);
        let is_it = |one: &StickyUid| one.namespace == namespace && one.uid == *uid;
        let hasher = &self.hasher;
        let entry = self.uids.entry(hash, is_it, |one| {
            hasher.hash_one((one.namespace, &*one.uid))
        });
        let mut entry = entry.or_insert_with(|| StickyUid {
            namespace,
            uid: Rc::clone(uid),
            groups: SmallVec::new(),
        });
        entry.get_mut().groups.push(group);
        self.count += 1;
        self.bytes += bytes;
    }

    /// It is in this group no more. Whether it was.
    pub fn remove(&mut self, namespace: NamespaceId, uid: &str, group: u32) -> bool {
        let hash = self.hash(namespace, uid);
        let is_it = |one: &StickyUid| one.namespace == namespace && *one.uid == *uid;
        let Ok(mut entry) = self.uids.find_entry(hash, is_it) else {
            return false;
        };
        let groups = &mut entry.get_mut().groups;
        let Some(at) = groups.iter().position(|one| *one == group) else {
            return false;
        };
        groups.swap_remove(at);
        if groups.is_empty() {
            entry.remove();
            let hasher = &self.hasher;
            if self.uids.len() < self.uids.capacity() / 8 {
                let kept = 2 * self.uids.len();
                let rehash = |one: &StickyUid| hasher.hash_one((one.namespace, &*one.uid));
                self.uids.shrink_to(kept, rehash);
            }
        }
        self.count -= 1;
        true
    }

    /// What that took is free.
    pub fn free(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }
}
