//! Uids become members of groups, and are none any more, with a connection or without ([`super::stickies`]); each connection
//! that binds such a uid is in its groups at once.
//!
//! Each of these memberships has the group be wanted here, so that the group's home sends its messages before the first
//! connection comes. Bounds: those of the table.

use std::fmt;
use std::rc::Rc;

use smallvec::SmallVec;

use super::Shard;
use super::members::JoinError;
use crate::ident::{ConnId, NamespaceId, Reach, check_name};

/// What a uid takes beside its name: its entry, its counted name, and places of tables that are partly empty.
const UID_COST: usize = 112;
/// What a membership takes: its number here, and the uid's place among the group's.
const MEMBERSHIP_COST: usize = 48;
/// What a group takes beside its name that no other membership has made, here and at its home.
const GROUP_COST: usize = 400;

/// Why a uid does not become a member for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StickyError {
    /// It cannot join at all.
    Join(JoinError),
    /// Its home core keeps as many as it may (`sticky_bytes_core_max`).
    Full,
    /// The Redis of the cluster, which keeps them, is away, or does not do it.
    Away,
}

impl fmt::Display for StickyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StickyError::Join(JoinError::TooMany) => {
                f.write_str("the uid is in as many groups as it may be (groups_per_connection_max)")
            }
            StickyError::Join(error) => error.fmt(f),
            StickyError::Full => f.write_str(
                "its core keeps as many sticky members as it may (sticky_bytes_core_max): end some by leave or ungroup, \
                 or allow more",
            ),
            StickyError::Away => f.write_str(
                "the Redis of the cluster, which keeps sticky members, is away or refuses it: ask again",
            ),
        }
    }
}

impl std::error::Error for StickyError {}

impl Shard {
    /// Makes a uid a member of a group in each namespace within reach, for connections that are to come, too. In one where
    /// it cannot be it is in none.
    pub fn stick(&mut self, reach: Reach, uid: &str, group: &str) -> Result<(), StickyError> {
        check_name(group).map_err(|error| StickyError::Join(JoinError::Name(error)))?;
        let mut done: SmallVec<[NamespaceId; 4]> = SmallVec::new();
        for namespace in reach.namespaces() {
            match self.stick_in(namespace, uid, group) {
                Ok(true) => done.push(namespace),
                Ok(false) => {}
                Err(error) => {
                    for namespace in done {
                        self.unstick_in(namespace, uid, group);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether it is one only now.
    fn stick_in(
        &mut self,
        namespace: NamespaceId,
        uid: &str,
        group: &str,
    ) -> Result<bool, StickyError> {
        let number = self.groups.find(namespace, group);
        let known = self.stickies.get(namespace, uid);
        let groups = known.map_or(0, |one| one.groups.len());
        if let (Some(known), Some(number)) = (known, number)
            && known.groups.contains(&number)
        {
            return Ok(false);
        }
        if groups >= self.limits.groups_per_connection {
            return Err(StickyError::Join(JoinError::TooMany));
        }
        let cost = self.cost_to_stick(namespace, uid, group);
        if !self.stickies.has_room(cost) {
            return Err(StickyError::Full);
        }
        self.enter_stuck(namespace, uid, group, cost);
        Ok(true)
    }

    fn cost_to_stick(&self, namespace: NamespaceId, uid: &str, group: &str) -> usize {
        let mut cost = MEMBERSHIP_COST;
        if self.stickies.get(namespace, uid).is_none() {
            cost += UID_COST + uid.len();
        }
        if self.groups.find(namespace, group).is_none() {
            cost += GROUP_COST + 2 * group.len();
        }
        cost
    }

    fn enter_stuck(&mut self, namespace: NamespaceId, uid: &str, group: &str, cost: usize) {
        let name = match self.stickies.get(namespace, uid) {
            Some(known) => Rc::clone(&known.uid),
            None => Rc::from(uid),
        };
        let number = self.groups.stick(namespace, group, Rc::clone(&name), cost);
        self.stickies.add(namespace, &name, number, cost);
    }

    /// Makes a uid a member of a group that it was one of in another process, whatever the bounds are here.
    pub fn stick_again(&mut self, namespace: NamespaceId, uid: &str, group: &str) {
        let number = self.groups.find(namespace, group);
        let known = self.stickies.groups_of(namespace, uid);
        if number.is_none_or(|number| !known.contains(&number)) {
            let cost = self.cost_to_stick(namespace, uid, group);
            self.enter_stuck(namespace, uid, group, cost);
        }
    }

    /// In a cluster: the uid has no connection here any more, and what other nodes change of it is not heard. Its groups are
    /// read when it comes again.
    pub(super) fn forget_stuck(&mut self, namespace: NamespaceId, uid: &str) {
        for number in self.stickies.groups_of(namespace, uid) {
            if self.stickies.remove(namespace, uid, number) {
                let freed = self.groups.unstick(number, uid);
                self.stickies.free(freed);
            }
        }
    }

    /// Whether any uid is in a group for good.
    pub fn has_stuck_uids(&self) -> bool {
        !self.stickies.is_empty()
    }

    /// All uids that are in groups for good, each with these.
    pub fn stuck_uids(&self) -> impl Iterator<Item = (NamespaceId, &str, Vec<Box<str>>)> {
        self.stickies.each().map(|one| {
            let groups = one.groups.iter();
            let groups = groups.filter_map(|number| self.groups.name(*number));
            (one.namespace, &*one.uid, groups.map(Box::from).collect())
        })
    }

    /// Ends the membership of a uid within reach; its present connections stay. Whether there was one.
    pub fn unstick(&mut self, reach: Reach, uid: &str, group: &str) -> bool {
        let mut was = false;
        for namespace in reach.namespaces() {
            was |= self.unstick_in(namespace, uid, group);
        }
        was
    }

    fn unstick_in(&mut self, namespace: NamespaceId, uid: &str, group: &str) -> bool {
        if self.stickies.is_empty() {
            return false;
        }
        let Some(number) = self.groups.find(namespace, group) else {
            return false;
        };
        if !self.stickies.remove(namespace, uid, number) {
            return false;
        }
        let freed = self.groups.unstick(number, uid);
        self.stickies.free(freed);
        true
    }

    /// One has bound a uid: it is in the uid's groups.
    #[inline]
    pub(super) fn join_stuck(&mut self, id: ConnId, namespace: NamespaceId, uid: &str) {
        if !self.stickies.is_empty() {
            for number in self.stickies.groups_of(namespace, uid) {
                if let Some(group) = self.groups.name(number).map(Box::<str>::from) {
                    if self.connections.is_told_places(id) && !self.is_in(id, &group) {
                        self.followers.note_newcomer(id, &group);
                    }
                    self.join(id, &group, None);
                }
            }
        }
    }

    /// One is to lose its uid: it is in the uid's groups no more.
    #[inline]
    pub(super) fn leave_stuck(&mut self, id: ConnId, namespace: NamespaceId) {
        if self.stickies.is_empty() {
            return;
        }
        let Some(uid) = self.connections.uid(id) else {
            return;
        };
        for number in self.stickies.groups_of(namespace, uid) {
            if let Some(group) = self.groups.name(number).map(Box::<str>::from) {
                self.leave(id, &group);
            }
        }
    }

    /// The groups that a uid is in for good, within reach, each once.
    pub fn stuck_groups(&self, reach: Reach, uid: &str) -> Vec<Box<str>> {
        let mut found: Vec<Box<str>> = Vec::new();
        for namespace in reach.namespaces() {
            for number in self.stickies.groups_of(namespace, uid) {
                if let Some(name) = self.groups.name(number)
                    && !found.iter().any(|one| **one == *name)
                {
                    found.push(Box::from(name));
                }
            }
        }
        found
    }

    /// Takes up to so many connections and sticky uids out of a group. How many of each, and whether there are more.
    pub fn ungroup(&mut self, reach: Reach, group: &str, most: usize) -> Ungrouped {
        let mut done = Ungrouped::default();
        for namespace in reach.namespaces() {
            let stuck = self.groups.stuck(namespace, group, most + 1);
            done.is_more |= stuck.len() > most;
            let mut unstuck = 0;
            for uid in stuck.iter().take(most) {
                unstuck += u32::from(self.unstick_in(namespace, uid, group));
            }
            // A uid that several namespaces have counts once.
            done.sticky = done.sticky.max(unstuck);
            let members = self.groups.look(namespace, group);
            let members = members.into_iter().flat_map(|(_, members)| members);
            let members: Vec<ConnId> = members.take(most + 1).map(|(id, _)| id).collect();
            done.is_more |= members.len() > most;
            for id in members.iter().take(most) {
                done.connections += u32::from(self.leave(*id, group));
            }
        }
        done
    }
}

/// What [`Shard::ungroup`] has taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ungrouped {
    pub connections: u32,
    /// Uids that are in it no more for connections that are to come.
    pub sticky: u32,
    /// There are more.
    pub is_more: bool,
}
