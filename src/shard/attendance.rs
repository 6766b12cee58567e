//! Which members a group has on one core, by name with their connections counted, where they are told of each other. The
//! group's home hears of each change ([`InterestKind::Attends`]). Called by [`super::presence`].

use super::group_rules::GroupRules;
use super::members::{Groups, Interest, InterestKind};
use crate::ident::ConnId;

impl Groups {
    /// Whether members of this group are told of each other.
    #[inline]
    pub(super) fn is_attended(&self, number: u32) -> bool {
        let group = self.groups[number as usize].as_ref();
        group.is_some_and(|group| group.attendance.is_some())
    }

    /// What a member is called in a group, if not by its uid.
    pub(super) fn called(&self, number: u32, connection: ConnId) -> Option<&str> {
        let group = self.groups[number as usize].as_ref()?;
        let called = group.called.as_ref()?.get(&connection)?;
        Some(called)
    }

    /// A member of a group where they are told of each other has one connection more here, or one less.
    pub(super) fn count_member(&mut self, number: u32, member: &str, more: bool) {
        let Some(group) = &mut self.groups[number as usize] else {
            return;
        };
        let Some(attendance) = &mut group.attendance else {
            return;
        };
        let connections = match (attendance.get_mut(member), more) {
            (Some(count), true) => {
                *count += 1;
                *count
            }
            (Some(count), false) if *count > 1 => {
                *count -= 1;
                *count
            }
            (Some(_), false) => {
                attendance.remove(member);
                if attendance.len() < attendance.capacity() / 8 {
                    let kept = 2 * attendance.len();
                    attendance.shrink_to(kept);
                }
                0
            }
            (None, true) => {
                attendance.insert(Box::from(member), 1);
                1
            }
            (None, false) => return,
        };
        self.interests.push(Interest {
            namespace: group.namespace,
            group: Box::from(&*group.name),
            what: InterestKind::Attends {
                member: Box::from(member),
                connections,
            },
        });
    }

    /// Goes on by other rules. `uids` tells the uid of a connection: where members are told of each other only now, all
    /// are told of to the home; where they are no more, that none is there.
    pub fn renew<'u>(&mut self, rules: GroupRules, uids: impl Fn(ConnId) -> Option<&'u str>) {
        self.rules = rules.watching_as(&self.rules);
        for number in 0..self.groups.len() as u32 {
            let Some(group) = &mut self.groups[number as usize] else {
                continue;
            };
            let presence = self.rules.presence_of(group.namespace, &group.name);
            let is_told = presence.is_some();
            let names: Vec<Box<str>> = match (is_told, &mut group.attendance) {
                (true, None) => {
                    group.attendance = Some(Box::default());
                    let called = group.called.as_ref();
                    let members = group.members.iter().map(|member| member.connection);
                    let names = members.filter_map(|id| {
                        let called = called.and_then(|called| called.get(&id));
                        called.map(|name| &**name).or_else(|| uids(id))
                    });
                    names.map(Box::from).collect()
                }
                (false, Some(attendance)) => {
                    for count in attendance.values_mut() {
                        *count = 1;
                    }
                    attendance.keys().cloned().collect()
                }
                _ => continue,
            };
            for name in names {
                self.count_member(number, &name, is_told);
            }
            if let (false, Some(group)) = (is_told, &mut self.groups[number as usize]) {
                group.attendance = None;
            }
        }
    }
}
