//! The groups at home here, as other nodes of a cluster are to know who is in them, and they of theirs: each has a
//! [`GroupRoster`] where members are told of each other.

use std::cmp::Reverse;
use std::time::Instant;

use super::homes::{Homes, PresenceTold, grace_of};
use super::presence::{NodesWake, PresenceWake, TOLD_EVERY};
use super::roster::{GroupRoster, Seating, WaitingMembers};
use crate::ident::{CoreId, NamespaceId};
use crate::protocol::partitions::{Partition, Topic};
use crate::shard::{GroupRules, Interest, InterestKind};

impl Homes {
    /// As [`Homes::note`]. The group's roster, if nobody is in the group here any more.
    pub fn note_in_cluster(
        &mut self,
        core: CoreId,
        of: &Interest,
        rules: &GroupRules,
        now: Instant,
    ) -> Option<Box<GroupRoster>> {
        let (namespace, name) = (of.namespace, &*of.group);
        match &of.what {
            InterestKind::Attends { member, .. } => {
                let before = self.count_here(namespace, name, member);
                self.note(core, of, rules, now);
                let after = self.count_here(namespace, name, member);
                self.change(namespace, name, (member, before, after), now);
                None
            }
            InterestKind::Unwanted => {
                let place = self.find(namespace, name);
                let group = place.and_then(|place| self.groups[place].as_mut());
                let roster = group.and_then(|group| match *group.cores == [core] {
                    true => group.roster.take(),
                    false => None,
                });
                self.note(core, of, rules, now);
                roster
            }
            InterestKind::Wanted => {
                self.note(core, of, rules, now);
                None
            }
        }
    }

    fn count_here(&self, namespace: NamespaceId, group: &str, member: &str) -> u32 {
        let place = self.find(namespace, group);
        let group = place.and_then(|place| self.groups[place].as_ref());
        let presence = group.and_then(|group| group.presence.as_ref());
        presence.map_or(0, |presence| presence.count_here(member))
    }

    /// Who is in a group on other nodes of a cluster.
    pub fn elsewhere(&self, namespace: NamespaceId, group: &str) -> Vec<Box<str>> {
        let place = self.find(namespace, group);
        let group = place.and_then(|place| self.groups[place].as_ref());
        let presence = group.and_then(|group| group.presence.as_ref());
        presence.map_or_else(Vec::new, |presence| {
            presence.elsewhere().map(Box::from).collect()
        })
    }

    fn change(
        &mut self,
        namespace: NamespaceId,
        group: &str,
        (member, before, after): (&str, u32, u32),
        now: Instant,
    ) {
        let Some(place) = self.find(namespace, group) else {
            return;
        };
        if let Some(group) = &mut self.groups[place]
            && let Some(roster) = &mut group.roster
            && let Some(at) = roster.change(member, (before, after), (now, TOLD_EVERY))
        {
            let wake = (at, place, group.id, PresenceWake::Nodes(NodesWake::Tell));
            self.due.push(Reverse(wake));
        }
    }

    /// The roster of a group with members here begins, which was drawn this life. Whether it did.
    pub fn begin_roster(&mut self, namespace: NamespaceId, group: &str, life: u64) -> bool {
        let place = self.find(namespace, group);
        let group = place.and_then(|place| self.groups[place].as_mut());
        let Some(group) = group.filter(|group| group.roster.is_none()) else {
            return false;
        };
        let mut roster = GroupRoster::new(life);
        if let Some(presence) = &group.presence {
            for (name, count) in presence.here() {
                // What there is to tell is told at once.
                roster.change(name, (0, count), (Instant::now(), TOLD_EVERY));
            }
        }
        group.roster = Some(Box::new(roster));
        true
    }

    /// Does something with a group's roster, if it has one.
    pub fn with_roster<R>(
        &mut self,
        (namespace, name): (NamespaceId, &str),
        (rules, now): (&GroupRules, Instant),
        does: impl FnOnce(&mut GroupRoster, &mut Seating<'_>) -> R,
    ) -> Option<R> {
        let place = self.find(namespace, name)?;
        let group = self.groups[place].as_mut()?;
        let roster = group.roster.as_mut()?;
        let presence = group.presence.get_or_insert_default();
        let mut wakes = Vec::new();
        let mut seating = Seating {
            presence,
            now,
            grace: grace_of(rules, namespace, name),
            wakes: &mut wakes,
            has_moved: false,
        };
        let done = does(roster, &mut seating);
        if seating.has_moved && rules.is_watched(namespace, name) {
            wakes.extend(roster.tell_others_at(now, TOLD_EVERY));
        }
        let wakes = wakes
            .into_iter()
            .map(|(at, wake)| Reverse((at, place, group.id, wake)));
        self.due.extend(wakes);
        if presence.is_empty() {
            group.presence = None;
        }
        Some(done)
    }

    /// Whether there is one.
    pub fn has_roster(&self, namespace: NamespaceId, group: &str) -> bool {
        let place = self.find(namespace, group);
        let group = place.and_then(|place| self.groups[place].as_ref());
        group.is_some_and(|group| group.roster.is_some())
    }

    /// Whether all nodes have told who is in a group, as far as is known.
    pub fn is_whole(&self, namespace: NamespaceId, group: &str) -> bool {
        let place = self.find(namespace, group);
        let group = place.and_then(|place| self.groups[place].as_ref());
        let roster = group.and_then(|group| group.roster.as_ref());
        roster.is_some_and(|roster| roster.is_whole())
    }

    /// The groups whose roster is there, of those of one Redis.
    pub fn with_rosters(&self, partition: Partition) -> Vec<(NamespaceId, Box<str>)> {
        let groups = self.groups.iter().filter_map(|(_, group)| group.as_ref());
        let groups = groups
            .filter(|group| group.roster.is_some() && partition.has(Topic::Group(&group.name)));
        groups
            .map(|group| (group.namespace, group.name.clone()))
            .collect()
    }

    /// Whoever is in a group is told from now on: what they are to be told now, and who waits for that.
    pub fn open(
        &mut self,
        (namespace, name): (NamespaceId, &str),
        (rules, now): (&GroupRules, Instant),
    ) -> Option<(PresenceTold, Vec<WaitingMembers>)> {
        let opened = self.with_roster((namespace, name), (rules, now), |roster, seating| {
            if !roster.is_opening() {
                return None;
            }
            let waiting = roster.open();
            seating.presence.know_of_others();
            let pieces = seating.presence.tell(now, seating.grace);
            Some((pieces, waiting))
        });
        let (mut pieces, waiting) = opened.flatten()?;
        if rules.presence_of(namespace, name).is_none() {
            pieces.clear();
        }
        let group = Box::from(name);
        let told = PresenceTold {
            namespace,
            group,
            pieces,
        };
        Some((told, waiting))
    }
}
