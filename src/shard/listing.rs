//! What a shard tells about itself: the connections of a uid, its uids page by page, who is in a group; and what is
//! done to all connections of a uid at once.
//!
//! Called for questions of back ends. Bounds: [`CONNECTIONS_LISTED_MAX`] connections, [`UIDS_PER_PAGE_MAX`] uids,
//! [`MEMBERS_MAX`] members an answer, and what is looked at for one is some times that.

use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use ahash::AHashMap;

use super::Shard;
use super::uids::ListingMark;
use crate::ident::{ConnId, ConnName, NamespaceId, Reach};
use crate::protocol::attributes::Attributes;

/// Most connections of a uid that are told one by one.
pub const CONNECTIONS_LISTED_MAX: usize = 1_000;
/// Most uids of one page.
pub const UIDS_PER_PAGE_MAX: usize = 10_000;
/// Most uids of a group that are told by name.
pub const MEMBERS_MAX: usize = 1_000;
/// Most connections of one page.
pub const CONNECTIONS_PER_PAGE_MAX: usize = 1_000;
/// Places that are looked at for one answer.
const PLACES_LOOKED_AT: u32 = 10_000;
/// Connections of a group that are looked at for that.
const MEMBERS_LOOKED_AT: usize = 10 * MEMBERS_MAX;

/// One connection of a uid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionInfo {
    /// What it is called.
    pub name: ConnName,
    pub uid: Option<Box<str>>,
    pub attributes: Option<Attributes>,
    /// When it was accepted, in seconds since 1970.
    pub since: u32,
    pub address: SocketAddr,
    /// The listener's number.
    pub listener: u16,
    /// What waits to be written to it.
    pub bytes_waiting: usize,
    /// Whether it is not read for now.
    pub paused: bool,
}

/// Which connections of a shard are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionQuery {
    pub reach: Reach,
    /// Of this uid alone.
    pub uid: Option<Box<str>>,
    /// Of these listeners alone, by their numbers.
    pub listeners: Option<Box<[u16]>>,
    /// Those without a uid alone.
    pub unbound: bool,
    /// The fullest of those looked at, in place of the first.
    pub by_bytes: bool,
    /// The place where this page begins.
    pub from: u32,
    pub most: usize,
}

/// Some of them, and where the next page begins; `None` at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionPage {
    pub list: Vec<ConnectionInfo>,
    pub next: Option<u32>,
}

/// The connections of a uid: all of them counted, the first [`CONNECTIONS_LISTED_MAX`] one by one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UidInfo {
    pub connections: usize,
    pub listed: Vec<ConnectionInfo>,
    /// Groups that it is in with a connection or without.
    pub sticky: Vec<Box<str>>,
}

/// How far a listing of a shard's uids has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    pub namespace: u32,
    /// The next place, and where the namespace's listing ends, as it was when that began (`ListingMark`).
    pub place: u32,
    pub until: u32,
}

/// One page of uids, and where the next one begins; `None` at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UidPage {
    pub uids: Vec<Box<str>>,
    pub next: Option<Cursor>,
}

/// Who is in a group on one core.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupInfo {
    pub connections: usize,
    /// Uids that are members without a connection, too, counted.
    pub sticky: usize,
    /// Some of its uids, with how many connections in it each has.
    pub members: Vec<(Box<str>, u32)>,
    /// Whether these are all.
    pub complete: bool,
}

/// What a group has on one core, or on all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupCount {
    pub connections: usize,
    /// Uids that are members without a connection, too.
    pub sticky: usize,
}

impl GroupCount {
    /// What it has on another core, too.
    pub fn add(&mut self, more: GroupCount) {
        self.connections += more.connections;
        self.sticky += more.sticky;
    }

    /// Whether it has nothing at all.
    pub fn is_empty(self) -> bool {
        self == GroupCount::default()
    }
}

impl Shard {
    /// What a group has here, counted.
    pub fn count_of(&self, reach: Reach, group: &str) -> GroupCount {
        GroupCount {
            connections: self.count_group(reach, group),
            sticky: self.count_stuck(reach, group),
        }
    }

    /// A uid that several namespaces have counts once.
    fn count_stuck(&self, reach: Reach, group: &str) -> usize {
        let groups = reach.namespaces();
        let counts = groups.map(|namespace| self.groups.count_stuck(namespace, group));
        counts.max().unwrap_or_default()
    }

    /// The connections of a uid within reach.
    pub fn uid_info(&mut self, reach: Reach, uid: &str) -> UidInfo {
        let mut look = UidInfo {
            sticky: self.stuck_groups(reach, uid),
            ..UidInfo::default()
        };
        for namespace in reach.namespaces() {
            let connections = self.uids.get(&self.connections.slots, namespace, uid);
            look.connections += connections.len();
            let listed: Vec<ConnId> = connections
                .take(CONNECTIONS_LISTED_MAX - look.listed.len())
                .collect();
            look.listed
                .extend(listed.into_iter().map(|id| self.connection_info(id)));
        }
        look
    }

    /// One that is here, told under its name.
    pub fn connection_info(&mut self, id: ConnId) -> ConnectionInfo {
        let name = self.connections.tell_name(id);
        let slot = &self.connections.slots[id.slot];
        ConnectionInfo {
            name,
            uid: slot.uid.clone(),
            attributes: self.attributes.get(id.slot).cloned(),
            since: self.connections.accepted(id),
            address: slot.peer.address(),
            listener: self.connections.listeners[usize::from(slot.listener)].shown,
            bytes_waiting: slot.outbox.bytes() + slot.replies_bytes(),
            paused: slot.paused,
        }
    }

    /// Connections as they are asked for, by their places. One that stays on this core from the first page to the last is in
    /// exactly one of them.
    pub fn list_connections(&mut self, query: &ConnectionQuery) -> ConnectionPage {
        let (ids, next) = match &query.uid {
            Some(uid) => self.places_of_uid(query, uid),
            None => self.places_from(query),
        };
        let list = ids.into_iter().map(|id| self.connection_info(id));
        ConnectionPage {
            list: list.collect(),
            next,
        }
    }

    fn places_of_uid(&self, query: &ConnectionQuery, uid: &str) -> (Vec<ConnId>, Option<u32>) {
        let mut ids: Vec<ConnId> = query
            .reach
            .namespaces()
            .flat_map(|namespace| self.uids.get(&self.connections.slots, namespace, uid))
            .filter(|id| id.slot >= query.from && self.is_asked_for(query, *id))
            .collect();
        if query.by_bytes {
            self.keep_fullest(&mut ids, query.most);
            return (ids, None);
        }
        ids.sort_unstable_by_key(|id| id.slot);
        let next = ids.get(query.most).map(|id| id.slot);
        ids.truncate(query.most);
        (ids, next)
    }

    fn places_from(&self, query: &ConnectionQuery) -> (Vec<ConnId>, Option<u32>) {
        let slots = &self.connections.slots;
        let end = slots.end();
        let until = query.from.saturating_add(PLACES_LOOKED_AT).min(end);
        let mut ids = Vec::new();
        let mut at = query.from;
        while at < until && (query.by_bytes || ids.len() < query.most) {
            let generation = slots.get(at).map_or(0, |slot| slot.generation);
            let id = ConnId {
                slot: at,
                generation,
            };
            if self.connections.is_live(id) && self.is_asked_for(query, id) {
                ids.push(id);
            }
            at += 1;
        }
        if query.by_bytes {
            self.keep_fullest(&mut ids, query.most);
        }
        (ids, (at < end).then_some(at))
    }

    fn is_asked_for(&self, query: &ConnectionQuery, id: ConnId) -> bool {
        let spec = self.connections.spec(id);
        let namespace = self.connections.namespace_of(id);
        let mut within = query.reach.namespaces();
        let listeners = query.listeners.as_ref();
        within.any(|one| one == namespace)
            && listeners.is_none_or(|numbers| numbers.contains(&spec.shown))
            && !(query.unbound && (self.connections.uid(id).is_some() || !spec.binds))
    }

    fn keep_fullest(&self, ids: &mut Vec<ConnId>, most: usize) {
        ids.sort_by_key(|id| {
            let slot = &self.connections.slots[id.slot];
            std::cmp::Reverse(slot.outbox.bytes() + slot.replies_bytes())
        });
        ids.truncate(most);
    }

    /// The next uids within reach, in no order; each that stays from the first page to the last is in exactly
    /// one of them.
    pub fn list_uids(&self, reach: Reach, from: Cursor, uids_max: usize) -> UidPage {
        let mut uids = Vec::new();
        let mut mark = ListingMark {
            place: from.place,
            until: from.until,
        };
        let namespaces = reach
            .namespaces()
            .filter(|namespace| namespace.0 >= from.namespace);
        let mut namespaces = namespaces.peekable();
        if namespaces.peek() != Some(&NamespaceId(from.namespace)) {
            mark = ListingMark::default();
        }
        while let Some(namespace) = namespaces.next() {
            let found = self.uids.page(
                &self.connections.slots,
                namespace,
                mark,
                uids_max,
                &mut uids,
            );
            // A page ends with its table: what it looks at is bounded.
            let next = match found {
                Some(mark) => Some((namespace, mark)),
                None => namespaces
                    .peek()
                    .map(|namespace| (*namespace, ListingMark::default())),
            };
            if next.is_some() {
                let next = next.map(|(namespace, mark)| Cursor {
                    namespace: namespace.0,
                    place: mark.place,
                    until: mark.until,
                });
                return UidPage { uids, next };
            }
        }
        UidPage { uids, next: None }
    }

    /// Who is in a group, up to so many uids by name.
    pub fn group_info(&self, reach: Reach, group: &str, members_max: usize) -> GroupInfo {
        let mut connections = 0;
        let mut complete = true;
        let mut found: AHashMap<&str, u32> = AHashMap::new();
        let mut left = MEMBERS_LOOKED_AT;
        for namespace in reach.namespaces() {
            let Some((length, members)) = self.groups.look(namespace, group) else {
                continue;
            };
            connections += length;
            complete &= length <= left;
            for (id, called) in members.take(left) {
                left -= 1;
                // One without either has no name to tell.
                let Some(name) = called.or_else(|| self.connections.uid(id)) else {
                    continue;
                };
                let room = found.len() < members_max;
                match found.entry(name) {
                    Entry::Occupied(mut entry) => *entry.get_mut() += 1,
                    Entry::Vacant(entry) if room => {
                        entry.insert(1);
                    }
                    Entry::Vacant(_) => complete = false,
                }
            }
        }
        let members = found.into_iter();
        GroupInfo {
            connections,
            sticky: self.count_stuck(reach, group),
            members: members.map(|(uid, count)| (uid.into(), count)).collect(),
            complete,
        }
    }
}
