//! Who is in groups whose members are told of each other ([`GroupTraits::presence`](super::GroupTraits)), as their homes
//! are to know it; and what these have to tell, put into outboxes.
//!
//! Elsewhere this is a look at a group that is at hand. A member is what a connection is called in the group, or its uid;
//! one that has neither is nobody to tell of.

use super::fanout::Fanout;
use super::members::Membership;
use super::slot::Dirty;
use super::{ConnId, Shard};
use crate::ident::NamespaceId;

impl Shard {
    /// By which name a connection is in a group where that is told.
    pub(super) fn attends_as(&self, id: ConnId, number: Option<u32>) -> Option<Box<str>> {
        let number = number.filter(|number| self.groups.is_attended(*number))?;
        let called = self.groups.called(number, id);
        let slot = self.connections.slots.get(id.slot)?;
        called.or(slot.uid.as_deref()).map(Box::from)
    }

    /// A connection in a group goes by another name there, or is in it only now.
    pub(super) fn note_name(&mut self, number: u32, old: Option<Box<str>>, new: Option<Box<str>>) {
        if old == new {
            return;
        }
        if let Some(new) = new {
            self.groups.count_member(number, &new, true);
        }
        if let Some(old) = old {
            self.groups.count_member(number, &old, false);
        }
    }

    /// A connection is to leave a group.
    #[inline]
    pub(super) fn note_leaving(&mut self, id: ConnId, membership: Membership) {
        if self.groups.is_attended(membership.group)
            && let Some(name) = self.attends_as(id, Some(membership.group))
        {
            self.groups.count_member(membership.group, &name, false);
        }
    }

    /// A connection has its uid now, or is to lose it: it is by that name in groups where it has no other.
    pub(super) fn attend_by_uid(&mut self, id: ConnId, more: bool) {
        let Some(slot) = self.connections.get(id) else {
            return;
        };
        let (Some(uid), Some(groups)) = (&slot.uid, &slot.groups) else {
            return;
        };
        for membership in &groups.joined {
            let number = membership.group;
            if self.groups.is_attended(number) && self.groups.called(number, id).is_none() {
                self.groups.count_member(number, uid, more);
            }
        }
    }

    /// Queues what a group's home has to tell of its members, for those here whose protocol has a word for it; and says for
    /// how many. `told` is a JSON object that begins with a member `type`.
    pub fn send_presence(&mut self, namespace: NamespaceId, group: &str, told: &str) -> u32 {
        let mut receivers = self.receivers.take();
        self.groups.members(namespace, group, &mut receivers);
        receivers.retain(|id| self.hears_presence(*id));
        let reached = match receivers.is_empty() {
            true => 0,
            false => self.fan_out(&mut receivers, &mut Fanout::of_presence(told), Dirty::Bulk),
        };
        self.receivers.put_back(receivers);
        reached
    }

    /// Whether it has a word for that, now. One that has not been told yet that it is bound has the list behind that.
    fn hears_presence(&self, id: ConnId) -> bool {
        let is_told = self.connections.is_told_of_presence(id);
        is_told && (!self.connections.is_told_places(id) || self.has_begun(id))
    }

    /// Queues it for one member, which comes from where it has not got it.
    pub fn send_presence_to(&mut self, id: ConnId, told: &str) {
        if self.hears_presence(id) {
            let mut receivers = self.receivers.take();
            receivers.push(id);
            self.fan_out(&mut receivers, &mut Fanout::of_presence(told), Dirty::Bulk);
            self.receivers.put_back(receivers);
        }
    }
}
