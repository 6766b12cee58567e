//! Who is in which group, on one core.
//!
//! A connection is removed from a list of any length in constant time, because it knows its place in
//! each. Who somebody is in a group belongs to the membership: a connection may have a name of its own in each.
//! Bound: `groups_per_connection_max` entries a connection.

use std::fmt;
use std::rc::Rc;

use ahash::{AHashMap, RandomState};
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::group_rules::GroupRules;
use super::limits::LIST_KEPT;
use crate::ident::{ConnId, NamespaceId, UidError};
use crate::queue::Queue;
use crate::streams::Position;

/// A connection's membership: which group, and where in its list.
#[derive(Clone, Copy)]
pub struct Membership {
    pub(super) group: u32,
    at: u32,
}

pub(super) struct Member {
    pub(super) connection: ConnId,
    /// The index of this membership in the connection's own list.
    nth: u32,
}

pub(super) struct Group {
    /// Never used again, while its number is.
    id: u64,
    pub(super) namespace: NamespaceId,
    pub(super) name: Box<str>,
    pub(super) members: Vec<Member>,
    /// What members are called here that are not called by their connection's uid.
    pub(super) called: Option<Box<AHashMap<ConnId, Box<str>>>>,
    /// The group's home knows that it has members here.
    confirmed: bool,
    /// The last kept message of its stream that has come here: all have it who are in it here and have everything.
    seen: Option<Position>,
    /// Connections that are to come and will be members.
    pins: u32,
    /// Uids that are members without a connection, too, and what each takes.
    stuck: Option<Box<AHashMap<Rc<str>, u32>>>,
    /// Where members are told of each other: how many connections each has here.
    pub(super) attendance: Option<Box<AHashMap<Box<str>, u32>>>,
}

impl Group {
    fn is_unwanted(&self) -> bool {
        self.members.is_empty() && self.pins == 0 && self.stuck.is_none()
    }
}

/// A connection's groups.
#[derive(Default)]
pub struct Memberships {
    pub joined: Vec<Membership>,
    /// Joins asked for before the connection is home.
    pub asked: Vec<JoinRequest>,
}

/// A group that a connection is to join, and what it is called there if not by its uid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    pub group: Box<str>,
    pub called: Option<Box<str>>,
}

impl JoinRequest {
    pub fn new(group: &str, called: Option<&str>) -> JoinRequest {
        JoinRequest {
            group: Box::from(group),
            called: called.map(Box::from),
        }
    }
}

/// What a group's home is to know of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interest {
    pub namespace: NamespaceId,
    pub group: Box<str>,
    pub what: InterestKind,
}

/// See [`Interest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InterestKind {
    /// It has members on this core now, or is to have some.
    Wanted,
    /// It has none any more.
    Unwanted,
    /// A member has so many connections in it here now. Told where members are told of each other.
    Attends { member: Box<str>, connections: u32 },
}

/// Why a connection is not put into a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The string is no name of a group or of a member: 1 to 128 bytes of UTF-8 without control characters.
    Name(UidError),
    /// It is in as many groups as it may be (`groups_per_connection_max`).
    TooMany,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Name(error) => error.fmt(f),
            JoinError::TooMany => {
                f.write_str("in as many groups as it may be (groups_per_connection_max)")
            }
        }
    }
}

impl std::error::Error for JoinError {}

fn hash_of(hasher: &RandomState, group: &Option<Group>) -> u64 {
    let group = group.as_ref();
    group.map_or(0, |group| hasher.hash_one((group.namespace, &*group.name)))
}

/// The groups of one core.
pub struct Groups {
    hasher: RandomState,
    /// Their numbers, by namespace and name.
    names: HashTable<u32>,
    pub(super) groups: Vec<Option<Group>>,
    free: Vec<u32>,
    next_id: u64,
    /// What holds for groups by their names.
    pub rules: GroupRules,
    /// What the homes are to be told, in order.
    pub(super) interests: Queue<Interest, LIST_KEPT>,
    /// Not for now.
    pub(super) are_interests_held: bool,
}

impl Groups {
    pub fn new() -> Groups {
        Groups::with_hasher(RandomState::new())
    }

    /// Groups that these rules hold for.
    pub fn with_rules(rules: GroupRules) -> Groups {
        Groups {
            rules,
            ..Groups::new()
        }
    }

    /// Groups that hash by the caller's hasher.
    pub fn with_hasher(hasher: RandomState) -> Groups {
        Groups {
            hasher,
            names: HashTable::new(),
            groups: Vec::new(),
            free: Vec::new(),
            next_id: 0,
            rules: GroupRules::default(),
            interests: Queue::default(),
            are_interests_held: false,
        }
    }

    pub fn len(&self) -> usize {
        self.groups.len() - self.free.len()
    }

    #[cfg(test)]
    pub fn memberships(&self) -> usize {
        let groups = self.groups.iter().flatten();
        groups.map(|group| group.members.len()).sum()
    }

    /// The number of a group that is wanted here.
    pub(super) fn find(&self, namespace: NamespaceId, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((namespace, name));
        let is_it = |group: &Group| group.namespace == namespace && *group.name == *name;
        let found = self.names.find(hash, |number| {
            self.groups[*number as usize].as_ref().is_some_and(is_it)
        });
        found.copied()
    }

    /// Copies a group's members into `out`, and says which group that is, if there is one.
    pub fn members(
        &self,
        namespace: NamespaceId,
        name: &str,
        out: &mut Vec<ConnId>,
    ) -> Option<u64> {
        let number = self.find(namespace, name)?;
        let group = self.groups[number as usize].as_ref()?;
        out.extend(group.members.iter().map(|member| member.connection));
        Some(group.id)
    }

    /// How many connections a group has, and they one by one, with their names if these are the group's own.
    pub fn look(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Option<(usize, impl Iterator<Item = (ConnId, Option<&str>)> + '_)> {
        let group = self.groups[self.find(namespace, name)? as usize].as_ref()?;
        let members = group.members.iter().map(|member| {
            let called = group.called.as_ref();
            let called = called.and_then(|called| called.get(&member.connection));
            (member.connection, called.map(|name| &**name))
        });
        Some((group.members.len(), members))
    }

    /// The number of the group, which no other has had.
    pub fn number(&self, namespace: NamespaceId, name: &str) -> Option<u64> {
        let group = self.groups[self.find(namespace, name)? as usize].as_ref()?;
        Some(group.id)
    }

    /// Calls a member by this name in the group, or by its uid again.
    pub fn call(
        &mut self,
        namespace: NamespaceId,
        name: &str,
        connection: ConnId,
        called: Option<&str>,
    ) {
        let number = self.find(namespace, name);
        let group = number.and_then(|number| self.groups[number as usize].as_mut());
        let Some(group) = group else { return };
        match (called, &mut group.called) {
            (Some(called), names) => {
                let names = names.get_or_insert_default();
                names.insert(connection, Box::from(called));
            }
            (None, Some(names)) => {
                names.remove(&connection);
            }
            (None, None) => {}
        }
    }

    /// Whether the home knows that this group has members here.
    pub fn is_confirmed(&self, namespace: NamespaceId, name: &str, id: u64) -> bool {
        let number = self.find(namespace, name);
        let group = number.and_then(|number| self.groups[number as usize].as_ref());
        group.is_some_and(|group| group.id == id && group.confirmed)
    }

    /// It does.
    pub fn confirm(&mut self, namespace: NamespaceId, name: &str, id: u64) {
        let number = self.find(namespace, name);
        let group = number.and_then(|number| self.groups[number as usize].as_mut());
        if let Some(group) = group.filter(|group| group.id == id) {
            group.confirmed = true;
        }
    }

    /// How far its stream has come here, if anything of it ever has.
    pub(super) fn seen(&self, number: u32) -> Option<Position> {
        self.groups.get(number as usize)?.as_ref()?.seen
    }

    /// A kept message of a group's stream has come here.
    pub(super) fn see_next(&mut self, namespace: NamespaceId, name: &str, position: Position) {
        if let Some(number) = self.find(namespace, name)
            && !self.seen(number).is_some_and(|seen| seen.has(position))
        {
            self.see(number, position);
        }
    }

    /// Its stream has come this far here.
    pub(super) fn see(&mut self, number: u32, position: Position) {
        if let Some(Some(group)) = self.groups.get_mut(number as usize) {
            group.seen = Some(position);
        }
    }

    /// The group of a membership, and what the member is called there if that is not its uid.
    pub fn wish(&self, membership: Membership, connection: ConnId) -> Option<JoinRequest> {
        let group = self.groups[membership.group as usize].as_ref()?;
        let called = group.called.as_ref();
        let called = called.and_then(|called| called.get(&connection));
        Some(JoinRequest::new(&group.name, called.map(AsRef::as_ref)))
    }

    /// Whether a connection with these memberships is in the group, and as which of them.
    pub fn position(&self, of: &[Membership], namespace: NamespaceId, name: &str) -> Option<usize> {
        let number = self.find(namespace, name)?;
        of.iter().position(|membership| membership.group == number)
    }

    fn find_or_make(&mut self, namespace: NamespaceId, name: &str) -> u32 {
        if let Some(number) = self.find(namespace, name) {
            return number;
        }
        self.interests.push(Interest {
            namespace,
            group: Box::from(name),
            what: InterestKind::Wanted,
        });
        self.next_id += 1;
        let group = Some(Group {
            id: self.next_id,
            namespace,
            name: Box::from(name),
            members: Vec::new(),
            called: None,
            confirmed: false,
            seen: None,
            pins: 0,
            stuck: None,
            attendance: self
                .rules
                .presence_of(namespace, name)
                .map(|_| Box::default()),
        });
        let number = match self.free.pop() {
            Some(number) => {
                self.groups[number as usize] = group;
                number
            }
            None => {
                self.groups.push(group);
                self.groups.len() as u32 - 1
            }
        };
        let hash = self.hasher.hash_one((namespace, name));
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.names.insert_unique(hash, number, |number| {
            hash_of(hasher, &groups[*number as usize])
        });
        number
    }

    /// Wants a group's messages here, whether it has members or not.
    pub fn pin(&mut self, namespace: NamespaceId, name: &str) {
        let number = self.find_or_make(namespace, name);
        if let Some(group) = &mut self.groups[number as usize] {
            group.pins += 1;
        }
    }

    /// Ends that once.
    pub fn unpin(&mut self, namespace: NamespaceId, name: &str) {
        let Some(number) = self.find(namespace, name) else {
            return;
        };
        if let Some(group) = &mut self.groups[number as usize] {
            group.pins = group.pins.saturating_sub(1);
        }
        self.drop_unwanted(number);
    }

    /// Makes a uid one of its members without a connection, for so many bytes, and wants its messages here for it. Returns
    /// the group's number.
    pub(super) fn stick(
        &mut self,
        namespace: NamespaceId,
        name: &str,
        uid: Rc<str>,
        cost: usize,
    ) -> u32 {
        let number = self.find_or_make(namespace, name);
        if let Some(group) = &mut self.groups[number as usize] {
            let stuck = group.stuck.get_or_insert_default();
            stuck.insert(uid, cost as u32);
        }
        number
    }

    /// Ends that, and says how many bytes it took.
    pub(super) fn unstick(&mut self, number: u32, uid: &str) -> usize {
        let Some(group) = &mut self.groups[number as usize] else {
            return 0;
        };
        let Some(stuck) = &mut group.stuck else {
            return 0;
        };
        let cost = stuck.remove(uid).unwrap_or_default();
        match stuck.len() {
            0 => group.stuck = None,
            left if left < stuck.capacity() / 8 => stuck.shrink_to(2 * left),
            _ => {}
        }
        self.drop_unwanted(number);
        cost as usize
    }

    /// Up to so many of the uids that are members without a connection.
    pub(super) fn stuck(&self, namespace: NamespaceId, name: &str, most: usize) -> Vec<Rc<str>> {
        let number = self.find(namespace, name);
        let group = number.and_then(|number| self.groups[number as usize].as_ref());
        let stuck = group.and_then(|group| group.stuck.as_ref());
        let uids = stuck.into_iter().flat_map(|stuck| stuck.keys());
        uids.take(most).cloned().collect()
    }

    /// How many there are.
    pub(super) fn count_stuck(&self, namespace: NamespaceId, name: &str) -> usize {
        let number = self.find(namespace, name);
        let group = number.and_then(|number| self.groups[number as usize].as_ref());
        let stuck = group.and_then(|group| group.stuck.as_ref());
        stuck.map_or(0, |stuck| stuck.len())
    }

    /// The name of the group with this number.
    pub(super) fn name(&self, number: u32) -> Option<&str> {
        let group = self.groups.get(number as usize)?.as_ref()?;
        Some(&group.name)
    }

    /// Forgets a group that nobody wants anything of here.
    fn drop_unwanted(&mut self, number: u32) {
        let group = self.groups[number as usize].as_ref();
        let Some(group) = group.filter(|group| group.is_unwanted()) else {
            return;
        };
        let hash = self.hasher.hash_one((group.namespace, &*group.name));
        if let Ok(entry) = self.names.find_entry(hash, |of| *of == number) {
            entry.remove();
        }
        self.interests.push(Interest {
            namespace: group.namespace,
            group: Box::from(&*group.name),
            what: InterestKind::Unwanted,
        });
        self.groups[number as usize] = None;
        self.free.push(number);
    }

    /// Adds a connection that is not in the group; `memberships` is the connection's own list.
    pub fn join(
        &mut self,
        namespace: NamespaceId,
        name: &str,
        connection: ConnId,
        memberships: &mut Vec<Membership>,
    ) {
        let number = self.find_or_make(namespace, name);
        if let Some(group) = &mut self.groups[number as usize] {
            memberships.push(Membership {
                group: number,
                at: group.members.len() as u32,
            });
            group.members.push(Member {
                connection,
                nth: memberships.len() as u32 - 1,
            });
        }
    }

    /// Takes a connection out of its `nth` group. `moved` is called for another connection of which one
    /// membership, given by its index, has a new place now.
    pub fn leave(
        &mut self,
        memberships: &mut Vec<Membership>,
        nth: usize,
        moved: impl FnOnce(ConnId, usize, GroupIndex),
    ) {
        let Membership { group: number, at } = memberships.swap_remove(nth);
        let Some(group) = &mut self.groups[number as usize] else {
            return;
        };
        let gone = group.members.swap_remove(at as usize);
        if let Some(called) = &mut group.called {
            called.remove(&gone.connection);
        }
        if let Some(member) = group.members.get(at as usize) {
            // The group's last member has come to the place that became free.
            moved(member.connection, member.nth as usize, GroupIndex(at));
        }
        self.drop_unwanted(number);
        if let Some(shifted) = memberships.get(nth) {
            // The connection's last membership has come to the index that became free.
            if let Some(group) = &mut self.groups[shifted.group as usize] {
                group.members[shifted.at as usize].nth = nth as u32;
            }
        }
    }
}

/// A new place in a group's list.
#[derive(Clone, Copy)]
pub struct GroupIndex(u32);

impl Membership {
    pub fn move_to(&mut self, place: GroupIndex) {
        self.at = place.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const NAMESPACE: NamespaceId = NamespaceId(0);

    fn id(slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: 0,
        }
    }

    /// Joins and leaves at random against a plain model.
    #[test]
    fn groups_match_a_model() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut groups = Groups::new();
            let mut lists: Vec<Vec<Membership>> = vec![Vec::new(); 10];
            let mut model: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
            for _ in 0..400 {
                let slot = random.u32(0..10);
                let name = format!("g{}", random.u32(0..6));
                let mut own = std::mem::take(&mut lists[slot as usize]);
                match groups.position(&own, NAMESPACE, &name) {
                    None => {
                        groups.join(NAMESPACE, &name, id(slot), &mut own);
                        model.entry(name).or_default().insert(slot);
                    }
                    Some(nth) => {
                        groups.leave(&mut own, nth, |who, nth, place| {
                            lists[who.slot as usize][nth].move_to(place);
                        });
                        model.entry(name).or_default().remove(&slot);
                    }
                }
                lists[slot as usize] = own;
                model.retain(|_, members| !members.is_empty());
                assert_eq!(groups.len(), model.len(), "seed {seed}");
                for (name, members) in &model {
                    let mut found = Vec::new();
                    groups.members(NAMESPACE, name, &mut found);
                    let found: BTreeSet<u32> = found.iter().map(|id| id.slot).collect();
                    assert_eq!(&found, members, "seed {seed}");
                }
            }
        }
    }
}
