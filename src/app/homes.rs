//! The groups that are at home here, which cores have members of each, and, where members are told of each other, who:
//! [`Homes`].
//!
//! Bound: an entry for each such group, with those cores, in a place that it keeps: a listing goes by the places.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::presence::{MemberPage, NodesWake, Presence, PresenceNews, PresenceWake, SeatPlace};
use super::roster::GroupRoster;
use crate::config::PRESENCE_GRACE_DEFAULT;
use crate::handover::{WrittenMember, WrittenPresence};
use crate::ident::{CoreId, NamespaceId, Reach};
use crate::pages::Pages;
use crate::shard::{Cursor, GroupRules, Interest, InterestKind};

/// Cores with members, in order.
pub type CoreList = SmallVec<[CoreId; 4]>;

/// Places that the list of what is due keeps.
const DUE_KEPT: usize = 64;
/// Members of a piece in writing.
const MEMBERS_PER_PIECE: usize = 1_000;
/// Places that one page of a listing looks at.
const PLACES_PER_PAGE: u32 = 16 << 10;

/// A group that is at home here.
pub(super) struct HomeGroup {
    pub(super) namespace: NamespaceId,
    pub(super) name: Box<str>,
    pub(super) cores: CoreList,
    /// No other has had it.
    pub(super) id: u64,
    /// Who is in it, where members are told of each other.
    pub(super) presence: Option<Box<Presence>>,
    /// What the nodes of a cluster tell each other of that.
    pub(super) roster: Option<Box<GroupRoster>>,
}

/// What is to be looked at when, of which group: its place and its id.
type PresenceDue = (Instant, u32, u64, PresenceWake);

/// Members with how many connections each has.
#[cfg(test)]
type MemberCounts = Vec<(Box<str>, u32)>;

/// What members of a group are to be told.
pub struct PresenceTold {
    pub namespace: NamespaceId,
    pub group: Box<str>,
    pub pieces: Vec<PresenceNews>,
}

/// What has come due.
pub enum HomeDue {
    /// It is done.
    Done,
    /// Members are to be told.
    Told(PresenceTold),
    /// Other nodes are, or something else is to be done about them.
    Nodes(NamespaceId, Box<str>, NodesWake),
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
    pub(super) groups: Pages<Option<HomeGroup>, 1>,
    next_id: u64,
    pub(super) due: BinaryHeap<Reverse<PresenceDue>>,
}

/// For how long a member may be gone.
pub(super) fn grace_of(rules: &GroupRules, namespace: NamespaceId, group: &str) -> Duration {
    let grace = rules.presence_of(namespace, group);
    grace.unwrap_or(PRESENCE_GRACE_DEFAULT)
}

fn hash_of(hasher: &RandomState, group: Option<&HomeGroup>) -> u64 {
    group.map_or(0, |group| hasher.hash_one((group.namespace, &*group.name)))
}

impl Homes {
    pub(super) fn find(&self, namespace: NamespaceId, name: &str) -> Option<u32> {
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
            id: self.next_id,
            presence: None,
            roster: None,
        });
        self.next_id += 1;
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

    /// What a core has of a group now. `rules` say for how long a member may be gone.
    pub fn note(&mut self, core: CoreId, of: &Interest, rules: &GroupRules, now: Instant) {
        let Interest {
            namespace,
            group: name,
            what,
        } = of;
        let found = self.find(*namespace, name);
        let place = match (what, found) {
            (_, Some(place)) => place,
            (InterestKind::Wanted, None) => self.make(*namespace, name),
            _ => return,
        };
        let Some(group) = &mut self.groups[place] else {
            return;
        };
        match what {
            InterestKind::Wanted => {
                if let Err(at) = group.cores.binary_search(&core) {
                    group.cores.insert(at, core);
                }
            }
            InterestKind::Unwanted => {
                group.cores.retain(|one| *one != core);
                if group.cores.is_empty() {
                    // Nobody is left to be told of anybody.
                    self.forget(place);
                }
            }
            InterestKind::Attends {
                member,
                connections,
            } => {
                let presence = group.presence.get_or_insert_default();
                let grace = grace_of(rules, *namespace, name);
                let wake = presence.attend(SeatPlace::core(core), member, *connections, now, grace);
                if let Some((at, wake)) = wake {
                    self.due.push(Reverse((at, place, group.id, wake)));
                }
            }
        }
    }

    /// When a member's grace is over next, or something is to be told.
    #[inline]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Does the next thing that is due, or tells what is to be done. `None` if nothing is.
    pub fn advance(&mut self, now: Instant, rules: &GroupRules) -> Option<HomeDue> {
        let Reverse((_, place, id, wake)) = match self.due.peek() {
            Some(Reverse((at, ..))) if *at <= now => self.due.pop()?,
            _ => return None,
        };
        if self.due.is_empty() {
            self.due.shrink_to(DUE_KEPT);
        }
        let group = self.groups.get_mut(place).and_then(Option::as_mut);
        let Some(group) = group.filter(|group| group.id == id) else {
            return Some(HomeDue::Done);
        };
        if let PresenceWake::Nodes(wake) = wake {
            return Some(HomeDue::Nodes(group.namespace, group.name.clone(), wake));
        }
        let roster = group.roster.as_ref();
        let is_held = roster.is_some_and(|roster| roster.is_opening());
        let (name, Some(presence)) = (&group.name, &mut group.presence) else {
            return Some(HomeDue::Done);
        };
        let grace = grace_of(rules, group.namespace, name);
        let pieces = match wake {
            PresenceWake::Gone(member) => {
                if let Some((at, wake)) = presence.look(&member, now, grace) {
                    self.due.push(Reverse((at, place, id, wake)));
                }
                return Some(HomeDue::Done);
            }
            // When it opens.
            _ if is_held => return Some(HomeDue::Done),
            _ => presence.tell(now, grace),
        };
        if presence.is_empty() {
            group.presence = None;
        }
        // Where members are told of each other no more, that is nobody's to know.
        let presence = rules.presence_of(group.namespace, &group.name);
        let is_told = presence.is_some() && !pieces.is_empty();
        let told = is_told.then(|| PresenceTold {
            namespace: group.namespace,
            group: group.name.clone(),
            pieces,
        });
        // Of another process, and none of its members has come.
        if group.presence.is_none() && group.cores.is_empty() {
            self.forget(place);
        }
        Some(told.map_or(HomeDue::Done, HomeDue::Told))
    }

    /// Gives out who is known to be in groups, at this time.
    pub fn pack(&self, now: Instant, out: &mut dyn FnMut(WrittenPresence)) {
        for (_, group) in self.groups.iter() {
            let Some(HomeGroup {
                namespace,
                name,
                presence: Some(presence),
                ..
            }) = group
            else {
                continue;
            };
            let mut members = presence.pack(now).peekable();
            while members.peek().is_some() {
                out(WrittenPresence {
                    namespace: *namespace,
                    group: name.clone(),
                    members: members.by_ref().take(MEMBERS_PER_PIECE).collect(),
                });
            }
        }
    }

    /// Takes in who was known to be in a group by another process, packed at that time.
    pub fn unpack(&mut self, packed: Instant, one: &WrittenPresence, rules: &GroupRules) {
        let WrittenPresence {
            namespace,
            group: name,
            members,
        } = one;
        if rules.presence_of(*namespace, name).is_none() {
            return;
        }
        let found = self.find(*namespace, name);
        let place = found.unwrap_or_else(|| self.make(*namespace, name));
        let Some(group) = &mut self.groups[place] else {
            return;
        };
        let (presence, grace) = (
            group.presence.get_or_insert_default(),
            grace_of(rules, *namespace, name),
        );
        let wakes = |member: &WrittenMember| presence.unpack(packed, member, grace);
        for (at, wake) in members.iter().filter_map(wakes) {
            self.due.push(Reverse((at, place, group.id, wake)));
        }
    }

    /// Members of a group whose members are told of each other, behind this name.
    pub fn members(
        &self,
        namespace: NamespaceId,
        group: &str,
        (after, most): (&str, usize),
    ) -> MemberPage {
        let place = self.find(namespace, group);
        let found = place.and_then(|place| self.groups[place].as_ref());
        let presence = found.and_then(|group| group.presence.as_ref());
        presence.map_or_else(MemberPage::default, |presence| presence.page(after, most))
    }

    /// Whether a group has members on any core.
    pub fn has(&self, namespace: NamespaceId, name: &str) -> bool {
        let place = self.find(namespace, name);
        let group = place.and_then(|place| self.groups[place].as_ref());
        group.is_some_and(|group| !group.cores.is_empty())
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

    /// All that is known of members, for the simulation.
    #[cfg(test)]
    pub fn attendance(&self) -> Vec<(NamespaceId, &str, MemberCounts)> {
        let groups = self.groups.iter().filter_map(|(_, group)| group.as_ref());
        let attended = groups.filter_map(|group| {
            let page = group.presence.as_ref()?.page("", usize::MAX);
            let members: Vec<_> = page
                .members
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect();
            (!members.is_empty()).then_some((group.namespace, &*group.name, members))
        });
        attended.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::GroupRule;

    fn interest(namespace: u32, group: &str, wanted: bool) -> Interest {
        Interest {
            namespace: NamespaceId(namespace),
            group: Box::from(group),
            what: match wanted {
                true => InterestKind::Wanted,
                false => InterestKind::Unwanted,
            },
        }
    }

    fn set(homes: &mut Homes, core: CoreId, of: &Interest) {
        homes.note(core, of, &GroupRules::default(), Instant::now());
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
                let of = interest(namespace, &name, wanted);
                set(&mut homes, CoreId(core), &of);
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
    fn a_group_of_another_process_goes_if_none_of_its_members_comes() {
        let rules = GroupRules::new(&[GroupRule {
            name: "*".to_owned(),
            public: false,
            presence: true,
            presence_grace: Duration::from_secs(1),
        }]);
        let (mut homes, now) = (Homes::default(), Instant::now());
        for group in ["gone", "goes on", "untold"] {
            let member = WrittenMember {
                name: "tom".into(),
                left: None,
            };
            let one = WrittenPresence {
                namespace: NamespaceId(0),
                group: group.into(),
                members: vec![member],
            };
            homes.unpack(now, &one, &rules);
        }
        homes.note(CoreId(1), &interest(0, "goes on", true), &rules, now);
        let later = now + Duration::from_secs(60);
        while homes.advance(later, &rules).is_some() {}
        let listed = homes.list(Reach::of(NamespaceId(0)), Cursor::default(), 9);
        assert_eq!(listed.groups, [Box::<str>::from("goes on")]);
        assert_eq!(homes.next_due(), None);
    }

    #[test]
    fn whoever_stays_is_listed_once() {
        let mut homes = Homes::default();
        let own = Reach::of(NamespaceId(0));
        for number in 0..300 {
            set(
                &mut homes,
                CoreId(0),
                &interest(0, &format!("s{number}"), true),
            );
        }
        let (mut listed, mut at) = (Vec::new(), Some(Cursor::default()));
        let mut page_number = 0;
        while let Some(from) = at {
            let page = homes.list(own, from, 10);
            listed.extend(page.groups);
            at = page.next;
            page_number += 1;
            for number in 0..50 {
                set(
                    &mut homes,
                    CoreId(0),
                    &interest(0, &format!("{page_number} {number}"), true),
                );
                if page_number > 1 {
                    let gone = format!("{} {number}", page_number - 1);
                    set(&mut homes, CoreId(0), &interest(0, &gone, false));
                }
            }
            assert!(page_number < 1_000, "no end");
        }
        listed.retain(|name| name.starts_with('s'));
        assert_eq!(listed.len(), 300);
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), 300);
    }
}
