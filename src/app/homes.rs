//! The groups that are at home here, and which cores have members of each: [`Homes`].
//!
//! Bound: an entry for each such group, with those cores, in a place that it keeps: a listing goes by the places.

use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::ident::{CoreId, NamespaceId, Reach};
use crate::pages::Pages;
use crate::shard::{Cursor, Interest};

/// Cores with members, in order.
pub type CoreList = SmallVec<[CoreId; 4]>;

/// Places that one page of a listing looks at.
const PLACES_PER_PAGE: u32 = 16 << 10;

/// A group that is at home here.
struct HomeGroup {
    namespace: NamespaceId,
    name: Box<str>,
    cores: CoreList,
}

/// One page of groups, and where the next one begins; `None` at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupPage {
    pub groups: Vec<Box<str>>,
    pub next: Option<Cursor>,
}

/// See the module. Its pages are small: most cores have few groups.
#[derive(Default)]
pub struct Homes {
    hasher: RandomState,
    /// Their places, by namespace and name.
    names: HashTable<u32>,
    groups: Pages<Option<HomeGroup>, 1>,
}

fn hash_of(hasher: &RandomState, group: Option<&HomeGroup>) -> u64 {
    group.map_or(0, |group| hasher.hash_one((group.namespace, &*group.name)))
}

impl Homes {
    fn find(&self, namespace: NamespaceId, name: &str) -> Option<u32> {
        if self.names.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one((namespace, name));
        let found = self.names.find(hash, |place| {
            let group = self.groups[*place].as_ref();
            group.is_some_and(|group| group.namespace == namespace && *group.name == *name)
        });
        found.copied()
    }

    fn make(&mut self, namespace: NamespaceId, name: &str) -> u32 {
        let place = self.groups.take();
        self.groups[place] = Some(HomeGroup {
            namespace,
            name: Box::from(name),
            cores: CoreList::new(),
        });
        let hash = self.hasher.hash_one((namespace, name));
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.names.insert_unique(hash, place, |place| {
            hash_of(hasher, groups[*place].as_ref())
        });
        place
    }

    fn forget(&mut self, place: u32) {
        let hash = hash_of(&self.hasher, self.groups[place].as_ref());
        if let Ok(entry) = self.names.find_entry(hash, |of| *of == place) {
            entry.remove();
        }
        self.groups[place] = None;
        self.groups.free(place);
        if self.names.len() < self.names.capacity() / 8 {
            let (groups, hasher) = (&self.groups, &self.hasher);
            let kept = 2 * self.names.len();
            let rehash = |place: &u32| hash_of(hasher, groups[*place].as_ref());
            self.names.shrink_to(kept, rehash);
        }
    }

    /// A core has members of a group, or has none any more.
    pub fn set(&mut self, core: CoreId, of: &Interest) {
        let Interest {
            namespace,
            group,
            wanted,
        } = of;
        let found = self.find(*namespace, group);
        if *wanted {
            let place = found.unwrap_or_else(|| self.make(*namespace, group));
            let cores = self.groups[place].as_mut().map(|group| &mut group.cores);
            if let Some(cores) = cores
                && let Err(at) = cores.binary_search(&core)
            {
                cores.insert(at, core);
            }
            return;
        }
        let Some(place) = found else { return };
        let Some(group) = &mut self.groups[place] else {
            return;
        };
        group.cores.retain(|one| *one != core);
        if group.cores.is_empty() {
            self.forget(place);
        }
    }

    /// The cores with members within reach, in order.
    pub fn cores(&self, reach: Reach, name: &str) -> CoreList {
        let mut found = CoreList::new();
        for namespace in reach.namespaces() {
            let place = self.find(namespace, name);
            let group = place.and_then(|place| self.groups[place].as_ref());
            found.extend(group.into_iter().flat_map(|group| &group.cores).copied());
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The next groups within reach, in no order; each that stays from the first page to the last is in exactly one of
    /// them. A name that several namespaces have is told once.
    pub fn list(&self, reach: Reach, from: Cursor, groups_max: usize) -> GroupPage {
        let until = match from.until {
            0 => self.groups.end(),
            until => until.min(self.groups.end()),
        };
        let end = until.min(from.place.saturating_add(PLACES_PER_PAGE));
        let mut groups = Vec::new();
        let mut place = from.place;
        while place < end && groups.len() < groups_max {
            let group = self.groups.get(place).and_then(Option::as_ref);
            if let Some(group) = group.filter(|group| self.is_first(reach, group)) {
                groups.push(group.name.clone());
            }
            place += 1;
        }
        let next = (place < until).then_some(Cursor {
            namespace: 0,
            place,
            until,
        });
        GroupPage { groups, next }
    }

    /// Whether no earlier namespace within reach has a group of that name.
    fn is_first(&self, reach: Reach, group: &HomeGroup) -> bool {
        let mut having = reach
            .namespaces()
            .filter(|one| *one == group.namespace || self.find(*one, &group.name).is_some());
        having.next() == Some(group.namespace)
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn interest(namespace: u32, group: &str, wanted: bool) -> Interest {
        Interest {
            namespace: NamespaceId(namespace),
            group: Box::from(group),
            wanted,
        }
    }

    /// Cores that get members and lose them at random, against a plain model.
    #[test]
    fn homes_match_a_model() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut homes = Homes::default();
            let mut model: BTreeMap<(u32, String), BTreeSet<u16>> = BTreeMap::new();
            for _ in 0..500 {
                let (namespace, core) = (random.u32(0..3), random.u16(0..4));
                let name = format!("g{}", random.u32(0..30));
                let wanted = random.bool();
                homes.set(CoreId(core), &interest(namespace, &name, wanted));
                let cores = model.entry((namespace, name.clone())).or_default();
                match wanted {
                    true => cores.insert(core),
                    false => cores.remove(&core),
                };
                model.retain(|_, cores| !cores.is_empty());
                assert_eq!(homes.names.len(), model.len(), "seed {seed}");
                let found = homes.cores(Reach::of(NamespaceId(namespace)), &name);
                let found: BTreeSet<u16> = found.iter().map(|core| core.0).collect();
                let expected = model.get(&(namespace, name));
                assert_eq!(found, expected.cloned().unwrap_or_default(), "seed {seed}");
            }
            let both = Reach::of(NamespaceId(0))
                .with(NamespaceId(2))
                .expect("bits");
            let mut listed = Vec::new();
            let mut at = Some(Cursor::default());
            while let Some(from) = at {
                let page = homes.list(both, from, 7);
                listed.extend(page.groups);
                at = page.next;
            }
            let unique: BTreeSet<&str> = listed.iter().map(|name| &**name).collect();
            assert_eq!(unique.len(), listed.len(), "seed {seed}: one twice");
            let within = model.keys().filter(|(namespace, _)| *namespace != 1);
            let expected: BTreeSet<&str> = within.map(|(_, name)| &**name).collect();
            assert_eq!(unique, expected, "seed {seed}");
        }
    }

    #[test]
    fn whoever_stays_is_listed_once() {
        let mut homes = Homes::default();
        let own = Reach::of(NamespaceId(0));
        for number in 0..300 {
            homes.set(CoreId(0), &interest(0, &format!("s{number}"), true));
        }
        let (mut listed, mut at) = (Vec::new(), Some(Cursor::default()));
        let mut page_number = 0;
        while let Some(from) = at {
            let page = homes.list(own, from, 10);
            listed.extend(page.groups);
            at = page.next;
            page_number += 1;
            for number in 0..50 {
                homes.set(
                    CoreId(0),
                    &interest(0, &format!("{page_number} {number}"), true),
                );
                if page_number > 1 {
                    let gone = format!("{} {number}", page_number - 1);
                    homes.set(CoreId(0), &interest(0, &gone, false));
                }
            }
            assert!(page_number < 1_000, "no end");
        }
        listed.retain(|name| name.starts_with('s'));
        assert_eq!(listed.len(), 300);
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), 300);
    }
}
