//! Which connections each uid has, on one core.
//!
//! The table holds numbers of slots and no names: a uid's own bytes are kept by its connections, which are
//! chained to each other. So an entry costs nine bytes. Bound: an entry a uid; the table is halved when
//! most of it is empty.

use std::cell::Cell;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::slot::Slot;
use crate::ident::{ConnId, Space};
use crate::pages::Pages;

/// No slot has this number.
pub const NO_SLOT: u32 = u32::MAX;

/// The uids of one core, a table per space.
pub struct Uids {
    spaces: Vec<Table>,
}

struct Table {
    hasher: RandomState,
    chains: HashTable<Chain>,
    /// How often its entries have been given other places: until it changes, who stays keeps his.
    layout: u64,
}

/// How far a listing of a table has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    pub layout: u64,
    pub place: usize,
}

/// Places that one page of a listing looks at.
pub const PLACES_PER_PAGE: usize = 16 << 10;

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

impl Table {
    fn find(&self, slots: &Slots, uid: &str) -> Option<&Chain> {
        let hash = self.hasher.hash_one(uid);
        self.chains
            .find(hash, |chain| name(slots, chain.first) == uid)
    }
}

impl Uids {
    pub fn new(spaces: usize) -> Uids {
        Uids::with_hasher(spaces, RandomState::new)
    }

    /// The same with hashers of the caller's, one for each table.
    pub fn with_hasher(spaces: usize, hasher: impl Fn() -> RandomState) -> Uids {
        let table = |_| Table {
            hasher: hasher(),
            chains: HashTable::new(),
            layout: 0,
        };
        Uids {
            spaces: (0..spaces).map(table).collect(),
        }
    }

    /// How many connections the uid has.
    pub fn count(&self, slots: &Slots, space: Space, uid: &str) -> usize {
        self.spaces
            .get(usize::from(space.0))
            .and_then(|table| table.find(slots, uid))
            .map_or(0, |chain| chain.length as usize)
    }

    /// The connections of a uid, the latest first.
    pub fn get<'s>(
        &self,
        slots: &'s Slots,
        space: Space,
        uid: &str,
    ) -> impl ExactSizeIterator<Item = ConnId> + use<'s> {
        let chain = self
            .spaces
            .get(usize::from(space.0))
            .and_then(|table| table.find(slots, uid));
        Connections {
            slots,
            next: chain.map_or(NO_SLOT, |chain| chain.first),
            left: chain.map_or(0, |chain| chain.length),
        }
    }

    /// Adds a connection that has no uid yet.
    pub fn insert(&mut self, slots: &mut Slots, space: Space, uid: &str, connection: ConnId) {
        let Table {
            hasher,
            chains,
            layout,
        } = &mut self.spaces[usize::from(space.0)];
        let hash = hasher.hash_one(uid);
        let same = |chain: &Chain| name(slots, chain.first) == uid;
        let moved = Cell::new(false);
        let rehash = |chain: &Chain| {
            moved.set(true);
            hasher.hash_one(name(slots, chain.first))
        };
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
        *layout += u64::from(moved.get());
        let slot = &mut slots[connection.slot];
        slot.uid = Some(Box::from(uid));
        slot.next_of_uid = earlier;
        slot.last_of_uid = NO_SLOT;
        if earlier != NO_SLOT {
            slots[earlier].last_of_uid = connection.slot;
        }
    }

    /// Removes this connection alone, whoever else has the uid. Its slot keeps the name.
    pub fn remove(&mut self, slots: &mut Slots, space: Space, connection: ConnId) {
        let Table {
            hasher,
            chains,
            layout,
        } = &mut self.spaces[usize::from(space.0)];
        let slot = &slots[connection.slot];
        let (next, last) = (slot.next_of_uid, slot.last_of_uid);
        let uid = name(slots, connection.slot);
        let same = |chain: &Chain| name(slots, chain.first) == uid;
        let Ok(mut entry) = chains.find_entry(hasher.hash_one(uid), same) else {
            return;
        };
        let chain = entry.get_mut();
        chain.length -= 1;
        if chain.length == 0 {
            entry.remove();
            if chains.len() < chains.capacity() / 8 {
                let rehash = |chain: &Chain| hasher.hash_one(name(slots, chain.first));
                chains.shrink_to(2 * chains.len(), rehash);
                *layout += 1;
            }
            return;
        }
        if last == NO_SLOT {
            chain.first = next;
        } else {
            slots[last].next_of_uid = next;
        }
        if next != NO_SLOT {
            slots[next].last_of_uid = last;
        }
    }

    /// Appends the next uids of a table to `uids`, up to `uids_max` there, and says how far it has come; `None` at
    /// its end. Whoever has a connection from the first page to the last is in one of them: a uid keeps its
    /// place, whichever its connections are, until the table is laid out anew, and then the listing begins again.
    pub fn page(
        &self,
        slots: &Slots,
        space: Space,
        from: Mark,
        uids_max: usize,
        uids: &mut Vec<Box<str>>,
    ) -> Option<Mark> {
        let table = self.spaces.get(usize::from(space.0))?;
        let places = table.chains.num_buckets();
        let mut place = match from.layout == table.layout {
            true => from.place.min(places),
            false => 0,
        };
        let end = places.min(place + PLACES_PER_PAGE);
        while place < end && uids.len() < uids_max {
            if let Some(chain) = table.chains.get_bucket(place) {
                uids.push(Box::from(name(slots, chain.first)));
            }
            place += 1;
        }
        (place < places).then_some(Mark {
            layout: table.layout,
            place,
        })
    }

    pub fn len(&self) -> usize {
        self.spaces.iter().map(|table| table.chains.len()).sum()
    }

    #[cfg(test)]
    pub fn connections(&self) -> usize {
        let chains = self.spaces.iter().flat_map(|table| &table.chains);
        chains.map(|chain| chain.length as usize).sum()
    }
}

struct Connections<'s> {
    slots: &'s Slots,
    next: u32,
    left: u32,
}

impl Iterator for Connections<'_> {
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

impl ExactSizeIterator for Connections<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const SPACE: Space = Space(0);

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
                    uids.insert(&mut slots, SPACE, &uid, connection);
                    present.insert(connection.slot);
                } else if let Some(&slot) = random.choice(present.iter()) {
                    let generation = 7;
                    uids.remove(&mut slots, SPACE, ConnId { slot, generation });
                    slots.free(slot);
                    present.remove(&slot);
                }
                model.retain(|_, present| !present.is_empty());
                assert_eq!(uids.len(), model.len(), "seed {seed}");
                for (uid, present) in &model {
                    let found = uids.get(&slots, SPACE, uid);
                    assert_eq!(found.len(), present.len(), "seed {seed}");
                    let found: BTreeSet<u32> = found.map(|id| id.slot).collect();
                    assert_eq!(&found, present, "seed {seed}");
                    assert_eq!(uids.count(&slots, SPACE, uid), present.len());
                }
            }
        }
    }

    /// A listing page by page, of any size, while others come and go and those that stay do so by other connections
    /// than before: each of them is in some page, and the listing has an end.
    #[test]
    fn whoever_stays_is_listed() {
        let connect = |uids: &mut Uids, slots: &mut Slots, uid: &str| {
            let connection = ConnId {
                slot: slots.take(),
                generation: 0,
            };
            uids.insert(slots, SPACE, uid, connection);
            connection
        };
        let mut relaid = 0;
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut uids, mut slots) = (Uids::new(1), Slots::default());
            let mut staying: Vec<ConnId> = (0..20)
                .map(|number| connect(&mut uids, &mut slots, &format!("s{number}")))
                .collect();
            let mut others = Vec::new();
            let limit = random.usize(1..30);
            let churn = random.usize(0..20);
            let (mut listed, mut mark) = (BTreeSet::new(), Mark::default());
            for page in 0.. {
                assert!(page < 10_000, "seed {seed}: no end");
                let mut found = Vec::new();
                let next = uids.page(&slots, SPACE, mark, limit, &mut found);
                assert!(found.len() <= limit, "seed {seed}");
                listed.extend(found);
                let Some(next) = next else { break };
                relaid += usize::from(mark.layout != next.layout);
                mark = next;
                // In the end nobody comes any more.
                for nth in 0..churn.saturating_sub(page / 4) {
                    if random.bool() || others.is_empty() {
                        let uid = format!("{page} {nth}");
                        others.push(connect(&mut uids, &mut slots, &uid));
                    } else {
                        let gone: ConnId = others.swap_remove(random.usize(..others.len()));
                        uids.remove(&mut slots, SPACE, gone);
                        slots.free(gone.slot);
                    }
                    let number = random.usize(..staying.len());
                    let other = connect(&mut uids, &mut slots, &format!("s{number}"));
                    let gone = std::mem::replace(&mut staying[number], other);
                    uids.remove(&mut slots, SPACE, gone);
                    slots.free(gone.slot);
                }
            }
            for number in 0..staying.len() {
                let uid: Box<str> = format!("s{number}").into();
                assert!(listed.contains(&uid), "seed {seed}: {uid} was in no page");
            }
        }
        assert!(
            relaid > 100,
            "only {relaid} pages after the table was laid out anew"
        );
    }

    #[test]
    fn a_table_that_has_emptied_is_given_back() {
        let (mut uids, mut slots) = (Uids::new(1), Slots::default());
        let all: Vec<ConnId> = (0..10_000)
            .map(|number| {
                let slot = slots.take();
                let connection = ConnId {
                    slot,
                    generation: 0,
                };
                uids.insert(&mut slots, SPACE, &format!("u{number}"), connection);
                connection
            })
            .collect();
        for connection in all {
            uids.remove(&mut slots, SPACE, connection);
            slots.free(connection.slot);
        }
        assert_eq!(uids.len(), 0);
        assert!(uids.spaces[0].chains.capacity() < 16);
    }
}
