//! Which connections each uid has, on one core.
//!
//! The table holds numbers of slots and no names: a uid's own bytes are kept by its connections, which are
//! chained to each other. So an entry costs nine bytes. Beside it each uid has a place, four bytes, which it keeps
//! however the table grows and shrinks: a listing goes by them. Bound: an entry and a place a uid; the table is
//! halved when most of it is empty, places come and go by pages.

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::namespaces::ByNamespace;
use super::slot::{NO_SLOT, Slot};
use crate::ident::{ConnId, NamespaceId};
use crate::pages::Pages;

/// The uids of one core, a table per namespace.
pub struct Uids {
    hasher: RandomState,
    namespaces: ByNamespace<UidTable>,
}

#[derive(Default)]
struct UidTable {
    chains: HashTable<Chain>,
    /// The first connection of each uid, by the uid's place, which is the same while it has any connection. Its pages
    /// are small: there may be many namespaces with few in each.
    places: Pages<FirstSlot, 1>,
}

/// The slot of a uid's first connection; [`NO_SLOT`] where the place is free.
struct FirstSlot(u32);

impl Default for FirstSlot {
    fn default() -> FirstSlot {
        FirstSlot(NO_SLOT)
    }
}

/// How far a listing of a table has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListingMark {
    /// The next place.
    pub place: u32,
    /// Where it ends: who was there when it began is before that. 0 if it has not begun.
    pub until: u32,
}

/// Places that one page of a listing looks at.
pub const PLACES_PER_PAGE: u32 = 16 << 10;

/// The connections of one uid.
#[derive(Clone, Copy)]
struct Chain {
    /// The latest to come. [`Slot::next_of_uid`] leads to the others.
    first: u32,
    length: u32,
}

type Slots = Pages<Slot>;

fn name(slots: &Slots, slot: u32) -> &str {
    slots[slot].uid.as_deref().unwrap_or_default()
}

impl UidTable {
    fn find(&self, hasher: &RandomState, slots: &Slots, uid: &str) -> Option<&Chain> {
        let hash = hasher.hash_one(uid);
        self.chains
            .find(hash, |chain| name(slots, chain.first) == uid)
    }
}

impl Uids {
    pub fn new(namespaces: usize) -> Uids {
        Uids::with_hasher(namespaces, RandomState::new())
    }

    /// Tables that hash by the caller's hasher.
    pub fn with_hasher(namespaces: usize, hasher: RandomState) -> Uids {
        Uids {
            namespaces: ByNamespace::with_hasher(namespaces, hasher.clone()),
            hasher,
        }
    }

    /// How many connections the uid has.
    #[inline]
    pub fn count(&self, slots: &Slots, namespace: NamespaceId, uid: &str) -> usize {
        self.namespaces
            .get(namespace)
            .and_then(|table| table.find(&self.hasher, slots, uid))
            .map_or(0, |chain| chain.length as usize)
    }

    /// The connections of a uid, the latest first.
    #[inline]
    pub fn get<'s>(
        &self,
        slots: &'s Slots,
        namespace: NamespaceId,
        uid: &str,
    ) -> impl ExactSizeIterator<Item = ConnId> + use<'s> {
        let chain = self
            .namespaces
            .get(namespace)
            .and_then(|table| table.find(&self.hasher, slots, uid));
        ChainOfUid {
            slots,
            next: chain.map_or(NO_SLOT, |chain| chain.first),
            left: chain.map_or(0, |chain| chain.length),
        }
    }

    /// Adds a connection that has no uid yet.
    #[inline]
    pub fn insert(
        &mut self,
        slots: &mut Slots,
        namespace: NamespaceId,
        uid: &str,
        connection: ConnId,
    ) {
        let hasher = &self.hasher;
        let UidTable { chains, places } = self.namespaces.claim(namespace);
        let hash = hasher.hash_one(uid);
        let same = |chain: &Chain| name(slots, chain.first) == uid;
        let rehash = |chain: &Chain| hasher.hash_one(name(slots, chain.first));
        let earlier = match chains.entry(hash, same, rehash) {
            Entry::Occupied(mut entry) => {
                let chain = entry.get_mut();
                chain.length += 1;
                std::mem::replace(&mut chain.first, connection.slot)
            }
            Entry::Vacant(entry) => {
                entry.insert(Chain {
                    first: connection.slot,
                    length: 1,
                });
                NO_SLOT
            }
        };
        let place = match earlier {
            NO_SLOT => places.take(),
            earlier => std::mem::replace(&mut slots[earlier].last_of_uid, connection.slot),
        };
        places[place] = FirstSlot(connection.slot);
        let slot = &mut slots[connection.slot];
        slot.uid = Some(Box::from(uid));
        slot.next_of_uid = earlier;
        slot.last_of_uid = place;
    }

    /// Removes this connection alone, whoever else has the uid. Its slot keeps the name.
    pub fn remove(&mut self, slots: &mut Slots, namespace: NamespaceId, connection: ConnId) {
        let hasher = &self.hasher;
        let Some(UidTable { chains, places }) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let slot = &slots[connection.slot];
        let (next, last) = (slot.next_of_uid, slot.last_of_uid);
        let uid = name(slots, connection.slot);
        let same = |chain: &Chain| name(slots, chain.first) == uid;
        let Ok(mut entry) = chains.find_entry(hasher.hash_one(uid), same) else {
            return;
        };
        let chain = entry.get_mut();
        let was_first = chain.first == connection.slot;
        chain.length -= 1;
        if chain.length == 0 {
            entry.remove();
            places.free(last);
            if chains.len() < chains.capacity() / 8 {
                let rehash = |chain: &Chain| hasher.hash_one(name(slots, chain.first));
                chains.shrink_to(2 * chains.len(), rehash);
            }
            if chains.is_empty() {
                self.namespaces.give_back(namespace);
            }
            return;
        }
        if was_first {
            chain.first = next;
            // Here `last` is the uid's place, which the next one has from now on.
            places[last] = FirstSlot(next);
        } else {
            slots[last].next_of_uid = next;
        }
        if next != NO_SLOT {
            slots[next].last_of_uid = last;
        }
    }

    /// Appends the next uids of a table to `uids`, up to `uids_max` there, and says how far it has come; `None` at
    /// its end. Whoever has a connection from the first page to the last is in exactly one of them: a uid keeps its
    /// place, whichever its connections are and however many others come and go. Those who have come since are
    /// before the end or not listed, so that it has an end, however fast they come.
    pub fn page(
        &self,
        slots: &Slots,
        namespace: NamespaceId,
        from: ListingMark,
        uids_max: usize,
        uids: &mut Vec<Box<str>>,
    ) -> Option<ListingMark> {
        let table = self.namespaces.get(namespace)?;
        let until = match from.until {
            0 => table.places.end(),
            until => until.min(table.places.end()),
        };
        let end = until.min(from.place.saturating_add(PLACES_PER_PAGE));
        let mut place = from.place;
        while place < end && uids.len() < uids_max {
            let first = table.places.get(place).map_or(NO_SLOT, |place| place.0);
            if first != NO_SLOT {
                uids.push(Box::from(name(slots, first)));
            }
            place += 1;
        }
        (place < until).then_some(ListingMark { place, until })
    }

    pub fn len(&self) -> usize {
        self.namespaces.iter().map(|table| table.chains.len()).sum()
    }

    #[cfg(test)]
    pub fn connections(&self) -> usize {
        let chains = self.namespaces.iter().flat_map(|table| &table.chains);
        chains.map(|chain| chain.length as usize).sum()
    }

    /// NamespaceNumbers with a table here that are no app's.
    #[cfg(test)]
    pub fn others(&self) -> usize {
        self.namespaces.others()
    }
}

struct ChainOfUid<'s> {
    slots: &'s Slots,
    next: u32,
    left: u32,
}

impl Iterator for ChainOfUid<'_> {
    type Item = ConnId;

    fn next(&mut self) -> Option<ConnId> {
        let number = self.next;
        let slot = self.slots.get(number)?;
        self.next = slot.next_of_uid;
        self.left -= 1;
        Some(ConnId {
            slot: number,
            generation: slot.generation,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for ChainOfUid<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const NAMESPACE: NamespaceId = NamespaceId(0);

    /// Comings and goings at random, many connections to a uid, against a plain model.
    #[test]
    fn chains_match_a_model() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut uids, mut slots) = (Uids::new(1), Slots::default());
            let mut model: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
            for _ in 0..600 {
                let uid = format!("u{}", random.u32(0..12));
                let present = model.entry(uid.clone()).or_default();
                if random.bool() {
                    let connection = ConnId {
                        slot: slots.take(),
                        generation: 7,
                    };
                    slots[connection.slot].generation = 7;
                    uids.insert(&mut slots, NAMESPACE, &uid, connection);
                    present.insert(connection.slot);
                } else if let Some(&slot) = random.choice(present.iter()) {
                    let generation = 7;
                    uids.remove(&mut slots, NAMESPACE, ConnId { slot, generation });
                    slots.free(slot);
                    present.remove(&slot);
                }
                model.retain(|_, present| !present.is_empty());
                assert_eq!(uids.len(), model.len(), "seed {seed}");
                for (uid, present) in &model {
                    let found = uids.get(&slots, NAMESPACE, uid);
                    assert_eq!(found.len(), present.len(), "seed {seed}");
                    let found: BTreeSet<u32> = found.map(|id| id.slot).collect();
                    assert_eq!(&found, present, "seed {seed}");
                    assert_eq!(uids.count(&slots, NAMESPACE, uid), present.len());
                }
            }
        }
    }

    fn table(uids: &Uids) -> &UidTable {
        uids.namespaces
            .get(NAMESPACE)
            .expect("an app's has its table")
    }

    fn connect(uids: &mut Uids, slots: &mut Slots, uid: &str) -> ConnId {
        let connection = ConnId {
            slot: slots.take(),
            generation: 0,
        };
        uids.insert(slots, NAMESPACE, uid, connection);
        connection
    }

    fn disconnect(uids: &mut Uids, slots: &mut Slots, connection: ConnId) {
        uids.remove(slots, NAMESPACE, connection);
        slots.free(connection.slot);
    }

    /// A listing page by page, of any size, while others come and go and those that stay do so by other connections
    /// than before: each of them is in one page, and the listing has an end although nothing ever rests.
    #[test]
    fn whoever_stays_is_listed_once() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut uids, mut slots) = (Uids::new(1), Slots::default());
            let mut others = Vec::new();
            let mut staying = Vec::new();
            for number in 0..20 {
                staying.push(connect(&mut uids, &mut slots, &format!("s{number}")));
                others.push(connect(&mut uids, &mut slots, &format!("o{number}")));
            }
            let limit = random.usize(1..30);
            let churn = random.usize(0..20);
            let (mut listed, mut mark) = (BTreeMap::new(), ListingMark::default());
            for page in 0.. {
                // All places are in the first 256, which come together.
                assert!(page <= 256, "seed {seed}: no end");
                let mut found = Vec::new();
                let next = uids.page(&slots, NAMESPACE, mark, limit, &mut found);
                assert!(found.len() <= limit, "seed {seed}");
                for uid in found {
                    *listed.entry(uid).or_insert(0) += 1;
                }
                let Some(next) = next else { break };
                mark = next;
                for nth in 0..churn {
                    if random.bool() || others.is_empty() {
                        let uid = format!("{page} {nth}");
                        others.push(connect(&mut uids, &mut slots, &uid));
                    } else {
                        let gone = others.swap_remove(random.usize(..others.len()));
                        disconnect(&mut uids, &mut slots, gone);
                    }
                    let number = random.usize(..staying.len());
                    let other = connect(&mut uids, &mut slots, &format!("s{number}"));
                    let gone = std::mem::replace(&mut staying[number], other);
                    disconnect(&mut uids, &mut slots, gone);
                }
            }
            for number in 0..staying.len() {
                let uid = format!("s{number}");
                let times = listed.get(&*uid);
                assert_eq!(times, Some(&1), "seed {seed}: pages that {uid} was in");
            }
        }
    }

    /// Between each two pages the table grows many times over, and shrinks again or stays as large as it is.
    #[test]
    fn a_listing_ends_while_the_table_grows_and_shrinks() {
        for shrinks in [true, false] {
            let (mut uids, mut slots) = (Uids::new(1), Slots::default());
            for number in 0..100 {
                connect(&mut uids, &mut slots, &format!("s{number}"));
            }
            let (mut listed, mut mark) = (Vec::new(), ListingMark::default());
            let (mut least, mut most) = (usize::MAX, 0);
            for page in 0.. {
                assert!(page < 100, "no end (shrinks: {shrinks})");
                let mut found = Vec::new();
                let next = uids.page(&slots, NAMESPACE, mark, 3, &mut found);
                listed.extend(found);
                let Some(next) = next else { break };
                mark = next;
                let come: Vec<ConnId> = (0..2_000)
                    .map(|nth| connect(&mut uids, &mut slots, &format!("{page} {nth}")))
                    .collect();
                most = most.max(table(&uids).chains.capacity());
                if shrinks {
                    for connection in come {
                        disconnect(&mut uids, &mut slots, connection);
                    }
                }
                least = least.min(table(&uids).chains.capacity());
            }
            assert!(!shrinks || most > 4 * least, "{most} from {least}");
            listed.retain(|uid| uid.starts_with('s'));
            listed.sort();
            let mut expected: Vec<Box<str>> =
                (0..100).map(|nth| format!("s{nth}").into()).collect();
            expected.sort();
            assert_eq!(listed, expected, "shrinks: {shrinks}");
        }
    }

    #[test]
    fn a_table_that_has_emptied_is_given_back() {
        let (mut uids, mut slots) = (Uids::new(1), Slots::default());
        let all: Vec<ConnId> = (0..10_000)
            .map(|number| connect(&mut uids, &mut slots, &format!("u{number}")))
            .collect();
        for connection in all {
            disconnect(&mut uids, &mut slots, connection);
        }
        assert_eq!(uids.len(), 0);
        assert_eq!(table(&uids).places.end(), 0);
        assert!(table(&uids).chains.capacity() < 16);
    }

    /// A uid of one name in each of many namespaces that are no app's: each has its own, and its table while it has.
    #[test]
    fn a_namespace_has_a_table_while_somebody_is_in_it() {
        let (mut uids, mut slots) = (Uids::new(1), Slots::default());
        let mut connections = Vec::new();
        for number in 1..=1_000 {
            let connection = ConnId {
                slot: slots.take(),
                generation: 0,
            };
            uids.insert(&mut slots, NamespaceId(number), "u", connection);
            connections.push(connection);
        }
        assert_eq!((uids.others(), uids.len()), (1_000, 1_000));
        for (number, connection) in (1..).zip(&connections) {
            let found: Vec<ConnId> = uids.get(&slots, NamespaceId(number), "u").collect();
            assert_eq!(found, [*connection]);
            let mut page = Vec::new();
            let next = uids.page(
                &slots,
                NamespaceId(number),
                ListingMark::default(),
                10,
                &mut page,
            );
            assert_eq!((page.len(), next), (1, None));
            uids.remove(&mut slots, NamespaceId(number), *connection);
            assert_eq!(uids.count(&slots, NamespaceId(number), "u"), 0);
            assert_eq!(uids.others(), 1_000 - number as usize);
        }
        assert_eq!(uids.count(&slots, NamespaceId(0), "u"), 0);
    }
}
