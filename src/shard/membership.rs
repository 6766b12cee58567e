//! Entering and leaving the tables: binding a uid, joining and leaving groups, becoming one of everybody.

use smallvec::SmallVec;

use super::slot::{Binding, Memberships, Phase};
use super::{Dirty, Shard};
use crate::close::CloseReason;
use crate::config::UidPolicy;
use crate::events::KickedBy;
use crate::ident::{ConnId, Reach, Space, check_uid};

impl Shard {
    /// Marks that the connection asks for a uid. False if it has asked before.
    pub fn ask_to_bind(&mut self, id: ConnId) -> bool {
        match self.get_mut(id) {
            Some(slot) if slot.binding == Binding::NotAsked && slot.phase == Phase::Open => {
                slot.binding = Binding::Asked;
                true
            }
            _ => false,
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
        if self.phase(id) != Phase::Open {
            return false;
        }
        let space = self.spec(id).space;
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
        self.settle(id);
        self.report_connect(id, present == 0);
        // Behind it, so that the uid is not offline in between.
        for other in replaced {
            self.close(other, CloseReason::Replaced);
        }
        true
    }

    /// Makes a connection one of everybody, and lets the joins it asked for take effect.
    pub(super) fn settle(&mut self, id: ConnId) {
        let space = usize::from(self.spec(id).space.0);
        let at = self.everybody[space].len() as u32;
        self.everybody[space].push(id);
        let now = self.now;
        let Some(slot) = self.get_mut(id) else { return };
        slot.phase = Phase::Home;
        slot.everybody_at = at;
        slot.since = now;
        slot.heard = now;
        if let Some(groups) = &mut slot.groups {
            for group in std::mem::take(&mut groups.asked) {
                self.join(id, &group);
            }
        }
        self.schedule(id);
    }

    /// Takes a connection out of every table. Whether it had a uid.
    pub(super) fn forget(&mut self, id: ConnId) -> bool {
        if self.phase(id) != Phase::Home {
            return false;
        }
        let space = self.spec(id).space;
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
        let list = &mut self.everybody[usize::from(space.0)];
        list.swap_remove(at);
        if list.len() < list.capacity() / 4 {
            list.shrink_to(2 * list.len());
        }
        if let Some(&moved) = list.get(at) {
            self.slots[moved.slot].everybody_at = at as u32;
        }
        had_uid
    }

    /// Puts a connection into a group, or, before it is home, notes that it is to be. Whether it is, or will be.
    pub fn join(&mut self, id: ConnId, group: &str) -> bool {
        if check_uid(group).is_err() {
            return false;
        }
        let phase = self.phase(id);
        if phase != Phase::Open && phase != Phase::Home {
            return false;
        }
        let space = self.spec(id).space;
        let most = self.limits.groups_per_connection;
        let Some(slot) = self.get_mut(id) else {
            return false;
        };
        let mut groups = slot.groups.take().unwrap_or_default();
        let mut joined = true;
        if groups.joined.len() + groups.asked.len() < most {
            if phase == Phase::Open {
                if groups.asked.iter().all(|asked| **asked != *group) {
                    groups.asked.push(Box::from(group));
                }
            } else if self.groups.position(&groups.joined, space, group).is_none() {
                self.groups.join(space, group, id, &mut groups.joined);
            }
        } else {
            joined = self.groups.position(&groups.joined, space, group).is_some();
            self.stats.joins_refused += 1;
        }
        if let Some(slot) = self.get_mut(id) {
            slot.groups = Some(groups);
        }
        joined
    }

    /// Takes a connection out of a group. Whether it was in it.
    pub fn leave(&mut self, id: ConnId, group: &str) -> bool {
        let Some(space) = self.listener(id).map(|spec| spec.space) else {
            return false;
        };
        let Some(mut groups) = self.get_mut(id).and_then(|slot| slot.groups.take()) else {
            return false;
        };
        let asked = groups.asked.len();
        groups.asked.retain(|asked| **asked != *group);
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
}
