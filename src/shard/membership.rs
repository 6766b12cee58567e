//! Entering and leaving the tables: binding a uid, joining and leaving groups, becoming one of everybody.

use smallvec::SmallVec;

use super::Shard;
use super::members::{JoinError, JoinRequest, Memberships};
use super::slot::{Dirty, Phase};
use crate::close::CloseReason;
use crate::config::UidPolicy;
use crate::events::KickedBy;
use crate::ident::{ConnId, NamespaceId, Reach, check_name};
use crate::payload::Payload;
use crate::protocol::v1::told::ToldFrame;

/// What a connection that is kicked is told last.
#[derive(Clone, Debug, Default)]
pub struct Farewell {
    pub message: Option<Payload>,
    /// In the close frame, in place of the reason's own: at most [`CLOSE_TEXT_BYTES_MAX`](crate::close::CLOSE_TEXT_BYTES_MAX).
    pub text: Option<Box<str>>,
}

/// What has come of a join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joining {
    /// There is no such connection, or it is to end.
    Stale,
    /// It joins when it is home.
    Later,
    /// It is in the group, which has this number.
    In {
        namespace: NamespaceId,
        number: u64,
    },
    Refused(JoinError),
}

impl Shard {
    /// Binds a connection on its uid's home core. False if the policy keeps it out.
    pub fn bind(&mut self, id: ConnId, uid: &str) -> bool {
        self.bind_as(id, uid, false, &[])
    }

    /// Binds a connection whose client, if it comes back, takes the place of the one that it had, which may not be known to
    /// be dead yet. `own` are the uid's connections that are known to have been its.
    pub fn bind_as(&mut self, id: ConnId, uid: &str, comes_back: bool, own: &[ConnId]) -> bool {
        let phase = self.connections.phase(id);
        if self.connections.uid(id) == Some(uid) {
            self.connections.set_asked(id);
            return true;
        }
        if phase != Phase::Open && phase != Phase::Home || self.connections.uid(id).is_some() {
            return false;
        }
        let namespace = self.connections.namespace_of(id);
        let present = self.uids.count(&self.connections.slots, namespace, uid);
        let mut replaced = match own {
            [] => SmallVec::new(),
            own => SmallVec::from_slice(own),
        };
        let others = present - own.len();
        match self.limits.uid_policy {
            UidPolicy::Multi if others >= self.limits.connections_per_uid => return false,
            UidPolicy::Reject if others > 0 && !comes_back => return false,
            UidPolicy::Multi => {}
            UidPolicy::Reject | UidPolicy::Replace => {
                replaced = self.connections_of(namespace, uid)
            }
        }
        self.uids
            .insert(&mut self.connections.slots, namespace, uid, id);
        self.stats.bound += 1;
        self.stats.binds += 1;
        self.credentials.bind(id.slot, uid);
        self.connections.set_asked(id);
        match phase {
            Phase::Home => {
                // It may be in groups, without a name so far.
                self.attend_by_uid(id, true);
                self.schedule(id);
            }
            _ => self.settle(id),
        }
        self.join_stuck(id, namespace, uid);
        self.report_connect(id, present == 0, comes_back);
        // Behind it, so that the uid is not offline in between.
        for other in replaced {
            self.close(other, CloseReason::Replaced);
        }
        true
    }

    /// Takes a connection's uid from it. It stays in its groups and among everybody.
    pub fn unbind(&mut self, id: ConnId) {
        let now = self.clock.now();
        if self.connections.phase(id) != Phase::Home || self.connections.uid(id).is_none() {
            return;
        }
        let namespace = self.connections.namespace_of(id);
        self.leave_queue(id);
        self.leave_stuck(id, namespace);
        self.attend_by_uid(id, false);
        self.uids.remove(&mut self.connections.slots, namespace, id);
        self.stats.bound -= 1;
        self.report_disconnect(id, CloseReason::Normal);
        self.tap_end(id, None);
        let slot = &mut self.connections.slots[id.slot];
        let uid = slot.uid.take();
        slot.since = now;
        self.credentials.unbind(id.slot, uid);
        self.schedule(id);
    }

    /// Makes a connection one of everybody.
    pub(super) fn settle(&mut self, id: ConnId) {
        let namespace = self.connections.namespace_of(id);
        let at = self.everybody.enter(namespace, id);
        let now = self.clock.now();
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        slot.phase = Phase::Home;
        slot.everybody_at = at;
        slot.since = now;
        slot.heard = now;
        self.schedule(id);
    }

    /// Takes a connection out of every table. Whether it had a uid.
    pub(super) fn forget(&mut self, id: ConnId) -> bool {
        if self.connections.phase(id) != Phase::Home {
            return false;
        }
        let namespace = self.connections.namespace_of(id);
        let Some(slot) = self.connections.get_mut(id) else {
            return false;
        };
        let at = slot.everybody_at as usize;
        let groups = slot.groups.take();
        let had_uid = slot.uid.is_some();
        if had_uid {
            self.in_flight.leave(id);
            self.uids.remove(&mut self.connections.slots, namespace, id);
            self.stats.bound -= 1;
        }
        if let Some(mut groups) = groups {
            while !groups.joined.is_empty() {
                self.leave_nth(id, &mut groups, 0);
            }
        }
        self.everybody
            .leave(&mut self.connections.slots, namespace, at);
        had_uid
    }

    /// Puts a connection into a group, or, before it is home, notes that it is to be. It is called by that name there, or by
    /// its uid. One that is in it is called anew.
    pub fn join(&mut self, id: ConnId, group: &str, called: Option<&str>) -> Joining {
        self.join_within(id, group, called, self.limits.groups_per_connection)
    }

    /// Puts a connection into a group where it may be in so many.
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
        let phase = self.connections.phase(id);
        if phase != Phase::Open && phase != Phase::Home {
            return Joining::Stale;
        }
        let namespace = self.connections.namespace_of(id);
        let is_going = self
            .connections
            .reading(id)
            .is_some_and(|one| one.leaving || one.crossing);
        let Some(slot) = self.connections.get_mut(id) else {
            return Joining::Stale;
        };
        let mut groups = slot.groups.take().unwrap_or_default();
        let is_full = groups.joined.len() + groups.asked.len() >= most;
        let is_in = self
            .groups
            .position(&groups.joined, namespace, group)
            .is_some();
        let joining = if phase == Phase::Open || is_going {
            let wish = groups.asked.iter_mut().find(|wish| *wish.group == *group);
            match wish {
                Some(wish) => wish.called = called.map(Box::from),
                None if is_full && !is_in => {}
                None => groups.asked.push(JoinRequest::new(group, called)),
            }
            Joining::Later
        } else {
            let number = self.groups.find(namespace, group);
            let old = self.attends_as(id, number.filter(|_| is_in));
            if !is_in && !is_full {
                self.groups.join(namespace, group, id, &mut groups.joined);
            }
            if is_in || !is_full {
                self.groups.call(namespace, group, id, called);
                let number = self.groups.find(namespace, group);
                let new = self.attends_as(id, number);
                if let Some(number) = number {
                    self.note_name(number, old, new);
                }
            }
            match self.groups.number(namespace, group) {
                Some(number) if is_in || !is_full => Joining::In { namespace, number },
                _ => Joining::Refused(JoinError::TooMany),
            }
        };
        let is_noted = groups.asked.iter().any(|wish| *wish.group == *group);
        let joining = match joining {
            Joining::Later if !is_noted => Joining::Refused(JoinError::TooMany),
            joining => joining,
        };
        self.stats.joins_refused += u64::from(joining == Joining::Refused(JoinError::TooMany));
        if let Some(slot) = self.connections.get_mut(id) {
            slot.groups = Some(groups);
        }
        joining
    }

    /// The groups that a connection is in.
    pub fn memberships(&self, id: ConnId) -> Vec<JoinRequest> {
        let groups = self
            .connections
            .get(id)
            .and_then(|slot| slot.groups.as_ref());
        let joined = groups.into_iter().flat_map(|groups| &groups.joined);
        joined
            .filter_map(|one| self.groups.wish(*one, id))
            .collect()
    }

    /// Whether a connection is in a group.
    pub fn is_in(&self, id: ConnId, group: &str) -> bool {
        let groups = self
            .connections
            .get(id)
            .and_then(|slot| slot.groups.as_ref());
        groups.is_some_and(|groups| {
            let namespace = self.connections.namespace_of(id);
            self.groups
                .position(&groups.joined, namespace, group)
                .is_some()
        })
    }

    /// The namespace and the number of a group that a connection is in.
    pub fn group_of(&self, id: ConnId, group: &str) -> Option<(NamespaceId, u64)> {
        if !self.is_in(id, group) {
            return None;
        }
        let namespace = self.connections.namespace_of(id);
        Some((namespace, self.groups.number(namespace, group)?))
    }

    /// Takes a connection out of a group. Whether it was in it. One that is told places is told.
    pub fn leave(&mut self, id: ConnId, group: &str) -> bool {
        let left = self.leave_untold(id, group);
        if left && self.connections.is_told_places(id) {
            self.tell(id, ToldFrame::new("left").string("group", group));
        }
        left
    }

    /// As [`Shard::leave`], without a word.
    pub fn leave_untold(&mut self, id: ConnId, group: &str) -> bool {
        if self.seen_at_rest(id, group).is_some() {
            self.unfold(id);
        }
        let Some(mut groups) = self
            .connections
            .get_mut(id)
            .and_then(|slot| slot.groups.take())
        else {
            return false;
        };
        let namespace = self.connections.namespace_of(id);
        let asked = groups.asked.len();
        groups.asked.retain(|wish| *wish.group != *group);
        let nth = self.groups.position(&groups.joined, namespace, group);
        if let Some(nth) = nth {
            self.leave_nth(id, &mut groups, nth);
            self.lose_stream(id, group);
        }
        let left = nth.is_some() || groups.asked.len() < asked;
        if let Some(slot) = self.connections.get_mut(id) {
            slot.groups = Some(groups);
        }
        left
    }

    fn leave_nth(&mut self, id: ConnId, of: &mut Memberships, nth: usize) {
        self.note_leaving(id, of.joined[nth]);
        let slots = &mut self.connections.slots;
        self.groups.leave(&mut of.joined, nth, |who, nth, place| {
            if let Some(groups) = &mut slots[who.slot].groups {
                groups.joined[nth].move_to(place);
            }
        });
    }

    /// Puts the present connections of a uid into a group. How many are in it then, and how many are not because
    /// they are in as many as they may be.
    pub fn join_uid(&mut self, reach: Reach, uid: &str, group: &str) -> (u32, u32) {
        let (mut joined, mut refused) = (0, 0);
        for namespace in reach.namespaces() {
            for id in self.connections_of(namespace, uid) {
                if self.connections.is_told_places(id) && !self.is_in(id, group) {
                    self.followers.note_newcomer(id, group);
                }
                match self.join(id, group, None) {
                    Joining::In { .. } | Joining::Later => joined += 1,
                    Joining::Stale | Joining::Refused(_) => refused += 1,
                }
            }
        }
        (joined, refused)
    }

    /// Takes them out of it, and says how many.
    pub fn leave_uid(&mut self, reach: Reach, uid: &str, group: &str) -> u32 {
        let mut left = 0;
        for namespace in reach.namespaces() {
            for id in self.connections_of(namespace, uid) {
                left += u32::from(self.leave(id, group));
            }
        }
        left
    }

    /// How many connections the uid has within reach.
    pub fn online(&self, reach: Reach, uid: &str) -> u32 {
        reach
            .namespaces()
            .map(|namespace| self.uids.count(&self.connections.slots, namespace, uid) as u32)
            .sum()
    }

    /// A copy of the uid's connections, because closing takes each out of the chain.
    pub fn connections_of(&self, namespace: NamespaceId, uid: &str) -> SmallVec<[ConnId; 4]> {
        self.uids
            .get(&self.connections.slots, namespace, uid)
            .collect()
    }

    /// Closes every connection of the uid within reach, and says how many.
    pub fn kick(&mut self, reach: Reach, uid: &str, by: KickedBy, last: Option<&Farewell>) -> u32 {
        self.report_kick(reach, uid, self.online(reach, uid), by);
        let mut kicked = 0;
        for namespace in reach.namespaces() {
            for id in self.connections_of(namespace, uid) {
                self.end_by_kick(id, last);
                kicked += 1;
            }
        }
        kicked
    }

    /// Closes one connection.
    pub fn kick_one(&mut self, id: ConnId, by: KickedBy, last: Option<&Farewell>) {
        if let Some(uid) = self.connections.uid(id) {
            let uid: Box<str> = Box::from(uid);
            let reach = Reach::of(self.connections.namespace_of(id));
            self.report_kick(reach, &uid, 1, by);
        }
        self.end_by_kick(id, last);
    }

    fn end_by_kick(&mut self, id: ConnId, last: Option<&Farewell>) {
        let reason = CloseReason::Kicked;
        let Some(Farewell { message, text }) = last else {
            return self.close(id, reason);
        };
        let message = message.as_ref().map(Payload::message);
        self.close_saying(id, reason, message, text.as_deref());
    }

    pub(super) fn mark_dirty(&mut self, id: ConnId, how: Dirty) {
        let place = self.connections.slots.get_mut(id.slot);
        if let Some(slot) = place.filter(|slot| slot.generation == id.generation) {
            self.outboxes.mark(id, slot, how);
        }
    }

    /// Groups that one connection may be in.
    pub fn groups_per_connection_max(&self) -> usize {
        self.limits.groups_per_connection
    }
}
