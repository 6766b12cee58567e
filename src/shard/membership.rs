//! Entering and leaving the tables: binding a uid, joining and leaving groups, becoming one of everybody.

use smallvec::SmallVec;

use super::members::JoinError;
use super::slot::{Binding, JoinRequest, Memberships, Phase};
use super::{Dirty, Interest, Shard};
use crate::close::CloseReason;
use crate::config::UidPolicy;
use crate::events::KickedBy;
use crate::ident::{ConnId, Reach, Space, check_name};

/// What has come of a join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joining {
    /// There is no such connection, or it is to end.
    Stale,
    /// It joins when it is home.
    Later,
    /// It is in the group, which has this number.
    In {
        space: Space,
        number: u64,
    },
    Refused(JoinError),
}

impl Shard {
    /// Marks that the connection asks for a uid. False if it has asked before.
    pub fn ask_to_bind(&mut self, id: ConnId) -> bool {
        let binds = self.listener(id).is_some_and(|spec| spec.binds);
        match self.get_mut(id) {
            Some(slot) if slot.binding == Binding::NotAsked && slot.phase == Phase::Open => {
                slot.binding = Binding::Asked;
                true
            }
            Some(slot)
                if matches!(slot.binding, Binding::NotAsked | Binding::Asked)
                    && slot.phase == Phase::Home
                    && binds =>
            {
                slot.binding = Binding::AsksAnew;
                true
            }
            _ => false,
        }
    }

    /// Marks that the connection is announced to another core, so that it is not read here any more.
    pub fn set_crossing(&mut self, id: ConnId) {
        if let Some(slot) = self.get_mut(id) {
            slot.binding = Binding::Crossing;
        }
    }

    /// Marks that the connection's home is another core, so that it is not read here any more.
    pub fn set_leaving(&mut self, id: ConnId) {
        if let Some(slot) = self.get_mut(id) {
            slot.binding = Binding::Leaving;
        }
    }

    /// Binds a connection on its uid's home core. False if the policy keeps it out.
    pub fn bind(&mut self, id: ConnId, uid: &str) -> bool {
        let phase = self.phase(id);
        if self.uid(id) == Some(uid) {
            self.set_asked(id);
            return true;
        }
        if phase != Phase::Open && phase != Phase::Home || self.uid(id).is_some() {
            return false;
        }
        let space = self.space_of(id);
        let present = self.uids.count(&self.slots, space, uid);
        let mut replaced = SmallVec::new();
        match self.limits.uid_policy {
            UidPolicy::Multi if present >= self.limits.connections_per_uid => return false,
            UidPolicy::Reject if present > 0 => return false,
            UidPolicy::Replace => replaced = self.connections_of(space, uid),
            UidPolicy::Multi | UidPolicy::Reject => {}
        }
        self.uids.insert(&mut self.slots, space, uid, id);
        self.stats.bound += 1;
        self.stats.binds += 1;
        self.bound_as_proved(id);
        self.set_asked(id);
        match phase {
            Phase::Home => self.schedule(id),
            _ => self.settle(id),
        }
        self.report_connect(id, present == 0);
        // Behind it, so that the uid is not offline in between.
        for other in replaced {
            self.close(other, CloseReason::Replaced);
        }
        true
    }

    fn set_asked(&mut self, id: ConnId) {
        if let Some(slot) = self.get_mut(id) {
            slot.binding = Binding::Asked;
        }
    }

    /// Takes a connection's uid from it. It stays in its groups and among everybody.
    pub fn unbind(&mut self, id: ConnId) {
        let now = self.now;
        if self.phase(id) != Phase::Home || self.uid(id).is_none() {
            return;
        }
        let space = self.space_of(id);
        self.uids.remove(&mut self.slots, space, id);
        self.stats.bound -= 1;
        self.report_disconnect(id, CloseReason::Normal);
        let slot = &mut self.slots[id.slot];
        let uid = slot.uid.take();
        slot.since = now;
        self.keep_proved(id, uid);
        self.schedule(id);
    }

    /// Makes a connection one of everybody.
    pub(super) fn settle(&mut self, id: ConnId) {
        let at = self.enter_everybody(id, self.space_of(id));
        let now = self.now;
        let Some(slot) = self.get_mut(id) else { return };
        slot.phase = Phase::Home;
        slot.everybody_at = at;
        slot.since = now;
        slot.heard = now;
        self.schedule(id);
    }

    /// Makes a connection one of everybody, and says at which place.
    pub(super) fn enter_everybody(&mut self, id: ConnId, space: Space) -> u32 {
        let list = self.everybody.claim(space);
        list.push(id);
        list.len() as u32 - 1
    }

    /// Whether a connection is in any group, or has asked to be.
    #[inline]
    pub fn has_groups(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|slot| slot.groups.is_some())
    }

    /// The groups that a connection asked to join before it was home. It is to join them now.
    pub fn take_wishes(&mut self, id: ConnId) -> Vec<JoinRequest> {
        let groups = self.get_mut(id).and_then(|slot| slot.groups.as_mut());
        groups.map_or_else(Vec::new, |groups| std::mem::take(&mut groups.asked))
    }

    /// Takes a connection out of every table. Whether it had a uid.
    pub(super) fn forget(&mut self, id: ConnId) -> bool {
        if self.phase(id) != Phase::Home {
            return false;
        }
        let space = self.space_of(id);
        let Some(slot) = self.get_mut(id) else {
            return false;
        };
        let at = slot.everybody_at as usize;
        let groups = slot.groups.take();
        let had_uid = slot.uid.is_some();
        if had_uid {
            self.uids.remove(&mut self.slots, space, id);
            self.stats.bound -= 1;
        }
        if let Some(mut groups) = groups {
            while !groups.joined.is_empty() {
                self.leave_nth(&mut groups, 0);
            }
        }
        let list = self.everybody.claim(space);
        list.swap_remove(at);
        if list.len() < list.capacity() / 4 {
            list.shrink_to(2 * list.len());
        }
        if let Some(&moved) = list.get(at) {
            self.slots[moved.slot].everybody_at = at as u32;
        }
        if list.is_empty() {
            self.everybody.give_back(space);
        }
        had_uid
    }

    /// Puts a connection into a group, or, before it is home, notes that it is to be. It is called by that name there, or by
    /// its uid. One that is in it is called anew.
    pub fn join(&mut self, id: ConnId, group: &str, called: Option<&str>) -> Joining {
        self.join_within(id, group, called, self.limits.groups_per_connection)
    }

    /// The same where it may be in so many.
    pub(super) fn join_within(
        &mut self,
        id: ConnId,
        group: &str,
        called: Option<&str>,
        most: usize,
    ) -> Joining {
        for name in [Some(group), called].into_iter().flatten() {
            if let Err(error) = check_name(name) {
                return Joining::Refused(JoinError::Name(error));
            }
        }
        let phase = self.phase(id);
        if phase != Phase::Open && phase != Phase::Home {
            return Joining::Stale;
        }
        let space = self.space_of(id);
        let is_going = self
            .reading(id)
            .is_some_and(|one| one.leaving || one.crossing);
        let Some(slot) = self.get_mut(id) else {
            return Joining::Stale;
        };
        let mut groups = slot.groups.take().unwrap_or_default();
        let is_full = groups.joined.len() + groups.asked.len() >= most;
        let is_in = self.groups.position(&groups.joined, space, group).is_some();
        let joining = if phase == Phase::Open || is_going {
            let wish = groups.asked.iter_mut().find(|wish| *wish.group == *group);
            match wish {
                Some(wish) => wish.called = called.map(Box::from),
                None if is_full && !is_in => {}
                None => groups.asked.push(JoinRequest::new(group, called)),
            }
            Joining::Later
        } else {
            if !is_in && !is_full {
                self.groups.join(space, group, id, &mut groups.joined);
            }
            if is_in || !is_full {
                self.groups.call(space, group, id, called);
            }
            match self.groups.number(space, group) {
                Some(number) if is_in || !is_full => Joining::In { space, number },
                _ => Joining::Refused(JoinError::TooMany),
            }
        };
        let is_noted = groups.asked.iter().any(|wish| *wish.group == *group);
        let joining = match joining {
            Joining::Later if !is_noted => Joining::Refused(JoinError::TooMany),
            joining => joining,
        };
        self.stats.joins_refused += u64::from(joining == Joining::Refused(JoinError::TooMany));
        if let Some(slot) = self.get_mut(id) {
            slot.groups = Some(groups);
        }
        joining
    }

    /// Whether the home of this group knows that it has members here.
    pub fn is_confirmed(&self, space: Space, group: &str, number: u64) -> bool {
        self.groups.is_confirmed(space, group, number)
    }

    /// It does.
    pub fn confirm(&mut self, space: Space, group: &str, number: u64) {
        self.groups.confirm(space, group, number);
    }

    #[inline]
    pub fn has_interests(&self) -> bool {
        self.groups.has_interests()
    }

    /// The next thing that the home of a group is to be told.
    pub fn next_interest(&mut self) -> Option<Interest> {
        self.groups.next_interest()
    }

    /// The groups that a connection is in.
    pub fn memberships(&self, id: ConnId) -> Vec<JoinRequest> {
        let groups = self.get(id).and_then(|slot| slot.groups.as_ref());
        let joined = groups.into_iter().flat_map(|groups| &groups.joined);
        joined
            .filter_map(|one| self.groups.wish(*one, id))
            .collect()
    }

    /// Wants a group's messages here, for a connection that is to come.
    pub fn pin(&mut self, space: Space, group: &str) {
        self.groups.pin(space, group);
    }

    /// It has come, or does not.
    pub fn unpin(&mut self, space: Space, group: &str) {
        self.groups.unpin(space, group);
    }

    /// Whether a connection is in a group.
    pub fn is_in(&self, id: ConnId, group: &str) -> bool {
        let groups = self.get(id).and_then(|slot| slot.groups.as_ref());
        groups.is_some_and(|groups| {
            let space = self.space_of(id);
            self.groups.position(&groups.joined, space, group).is_some()
        })
    }

    /// The space and the number of a group that a connection is in.
    pub fn group_of(&self, id: ConnId, group: &str) -> Option<(Space, u64)> {
        if !self.is_in(id, group) {
            return None;
        }
        let space = self.space_of(id);
        Some((space, self.groups.number(space, group)?))
    }

    /// Takes a connection out of a group. Whether it was in it.
    pub fn leave(&mut self, id: ConnId, group: &str) -> bool {
        let Some(mut groups) = self.get_mut(id).and_then(|slot| slot.groups.take()) else {
            return false;
        };
        let space = self.space_of(id);
        let asked = groups.asked.len();
        groups.asked.retain(|wish| *wish.group != *group);
        let nth = self.groups.position(&groups.joined, space, group);
        if let Some(nth) = nth {
            self.leave_nth(&mut groups, nth);
        }
        let left = nth.is_some() || groups.asked.len() < asked;
        if let Some(slot) = self.get_mut(id) {
            slot.groups = Some(groups);
        }
        left
    }

    fn leave_nth(&mut self, of: &mut Memberships, nth: usize) {
        let slots = &mut self.slots;
        self.groups.leave(&mut of.joined, nth, |who, nth, place| {
            if let Some(groups) = &mut slots[who.slot].groups {
                groups.joined[nth].move_to(place);
            }
        });
    }

    /// How many connections the uid has within reach.
    pub fn online(&self, reach: Reach, uid: &str) -> u32 {
        reach
            .spaces()
            .map(|space| self.uids.count(&self.slots, space, uid) as u32)
            .sum()
    }

    /// A copy of the uid's connections, because closing takes each out of the chain.
    pub(super) fn connections_of(&self, space: Space, uid: &str) -> SmallVec<[ConnId; 4]> {
        self.uids.get(&self.slots, space, uid).collect()
    }

    /// Closes every connection of the uid within reach, and says how many.
    pub fn kick(&mut self, reach: Reach, uid: &str, by: KickedBy) -> u32 {
        self.report_kick(uid, self.online(reach, uid), by);
        let mut kicked = 0;
        for space in reach.spaces() {
            for id in self.connections_of(space, uid) {
                self.close(id, CloseReason::Kicked);
                kicked += 1;
            }
        }
        kicked
    }

    pub(super) fn mark_dirty(&mut self, id: ConnId, how: Dirty) {
        let place = self.slots.get_mut(id.slot);
        if let Some(slot) = place.filter(|slot| slot.generation == id.generation) {
            self.dirty.mark(id, slot, how);
        }
    }

    /// Groups that one connection may be in.
    pub fn groups_per_connection_max(&self) -> usize {
        self.limits.groups_per_connection
    }
}
