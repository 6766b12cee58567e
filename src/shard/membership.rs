//! Entering and leaving the tables: binding a uid, joining and leaving groups, becoming one of everybody.

use super::members::Connections;
use super::slot::{Binding, Memberships, Phase};
use super::{Dirty, Shard};
use crate::close::CloseReason;
use crate::config::UidPolicy;
use crate::ident::{ConnId, Reach, check_uid};

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

    pub fn is_leaving(&self, id: ConnId) -> bool {
        self.get(id)
            .is_some_and(|slot| slot.binding == Binding::Leaving)
    }

    /// Binds a connection on its uid's home core. False if the policy keeps it out.
    pub fn bind(&mut self, id: ConnId, uid: &str) -> bool {
        if self.phase(id) != Phase::Open {
            return false;
        }
        let space = self.spec(id).space;
        let present = self.uids.get(space, uid);
        match self.limits.uid_policy {
            UidPolicy::Multi if present.len() >= self.limits.connections_per_uid => return false,
            UidPolicy::Reject if !present.is_empty() => return false,
            UidPolicy::Replace => {
                // A copy, because closing takes each out of the list.
                let present = Connections::from_slice(present);
                for other in present {
                    self.close(other, CloseReason::Replaced);
                }
            }
            UidPolicy::Multi | UidPolicy::Reject => {}
        }
        let uid = self.uids.insert(space, uid, id);
        if let Some(slot) = self.get_mut(id) {
            slot.uid = Some(uid);
        }
        self.stats.bound += 1;
        self.settle(id);
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
        let asked = slot
            .groups
            .as_mut()
            .map_or_else(Vec::new, |groups| std::mem::take(&mut groups.asked));
        for group in asked {
            self.join(id, &group);
        }
        self.schedule(id);
    }

    /// Takes a connection out of every table.
    pub(super) fn forget(&mut self, id: ConnId) {
        if self.phase(id) != Phase::Home {
            return;
        }
        let space = self.spec(id).space;
        let Some(slot) = self.get_mut(id) else { return };
        let at = slot.everybody_at as usize;
        let uid = slot.uid.clone();
        let groups = slot.groups.take();
        if let Some(uid) = uid {
            self.uids.remove(space, &uid, id);
            self.stats.bound -= 1;
        }
        if let Some(mut groups) = groups {
            while !groups.joined.is_empty() {
                self.leave_nth(&mut groups, 0);
            }
        }
        let list = &mut self.everybody[usize::from(space.0)];
        list.swap_remove(at);
        if let Some(&moved) = list.get(at) {
            self.slots[moved.slot as usize].everybody_at = at as u32;
        }
    }

    /// Puts a connection into a group, or, before it is home, notes that it is to be.
    pub fn join(&mut self, id: ConnId, group: &str) {
        if check_uid(group).is_err() {
            return;
        }
        let phase = self.phase(id);
        if phase != Phase::Open && phase != Phase::Home {
            return;
        }
        let space = self.spec(id).space;
        let most = self.limits.groups_per_connection;
        let Some(slot) = self.get_mut(id) else { return };
        let mut groups = slot.groups.take().unwrap_or_default();
        if groups.joined.len() + groups.asked.len() < most {
            if phase == Phase::Open {
                if groups.asked.iter().all(|asked| **asked != *group) {
                    groups.asked.push(Box::from(group));
                }
            } else if self.groups.position(&groups.joined, space, group).is_none() {
                self.groups.join(space, group, id, &mut groups.joined);
            }
        } else {
            self.stats.joins_refused += 1;
        }
        if let Some(slot) = self.get_mut(id) {
            slot.groups = Some(groups);
        }
    }

    pub fn leave(&mut self, id: ConnId, group: &str) {
        let Some(space) = self.listener(id).map(|spec| spec.space) else {
            return;
        };
        let Some(mut groups) = self.get_mut(id).and_then(|slot| slot.groups.take()) else {
            return;
        };
        groups.asked.retain(|asked| **asked != *group);
        if let Some(nth) = self.groups.position(&groups.joined, space, group) {
            self.leave_nth(&mut groups, nth);
        }
        if let Some(slot) = self.get_mut(id) {
            slot.groups = Some(groups);
        }
    }

    fn leave_nth(&mut self, of: &mut Memberships, nth: usize) {
        let slots = &mut self.slots;
        self.groups.leave(&mut of.joined, nth, |who, nth, place| {
            if let Some(groups) = &mut slots[who.slot as usize].groups {
                groups.joined[nth].move_to(place);
            }
        });
    }

    /// How many connections the uid has within reach.
    pub fn online(&self, reach: Reach, uid: &str) -> u32 {
        reach
            .spaces()
            .map(|space| self.uids.get(space, uid).len() as u32)
            .sum()
    }

    /// Closes every connection of the uid within reach, and says how many.
    pub fn kick(&mut self, reach: Reach, uid: &str) -> u32 {
        let mut kicked = 0;
        for space in reach.spaces() {
            for id in Connections::from_slice(self.uids.get(space, uid)) {
                self.close(id, CloseReason::Kicked);
                kicked += 1;
            }
        }
        kicked
    }

    pub(super) fn mark_dirty(&mut self, id: ConnId, how: Dirty) {
        let Some(slot) = self.get_mut(id) else { return };
        if slot.dirty >= how {
            return;
        }
        slot.dirty = how;
        match how {
            Dirty::Urgent => self.urgent.push_back(id),
            // It may be there from before, for what was urgent has been written first.
            Dirty::Bulk if std::mem::replace(&mut slot.in_bulk, true) => {}
            Dirty::Bulk => self.bulk.push_back(id),
            Dirty::Clean => {}
        }
    }
}
