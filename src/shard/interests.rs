//! What the homes of groups are to be told: [`Interest`]s, one by one, or put off while members leave and come back.

use ahash::AHashMap;

use super::members::{Groups, Interest, InterestKind};
use crate::ident::NamespaceId;

/// What an interest is about: the group, or a member of it.
type InterestKey = (NamespaceId, Box<str>, Option<Box<str>>);

impl Groups {
    #[inline]
    pub fn has_interests(&self) -> bool {
        !self.interests.is_empty() && !self.are_interests_held
    }

    /// The next thing that a home is to be told.
    pub fn next_interest(&mut self) -> Option<Interest> {
        match self.are_interests_held {
            true => None,
            false => self.interests.pop(),
        }
    }

    /// Tells homes nothing for now: members leave, and may all come back.
    pub fn hold_interests(&mut self) {
        self.are_interests_held = true;
    }

    /// Tells what is otherwise than before, and no more: which groups have no members any more, and how many connections
    /// those have who have gone or come.
    pub fn release_interests(&mut self) {
        self.are_interests_held = false;
        let mut last: AHashMap<InterestKey, InterestKind> = AHashMap::new();
        let mut order = Vec::new();
        while let Some(interest) = self.interests.pop() {
            let Interest {
                namespace,
                group,
                what,
            } = interest;
            let member = match &what {
                InterestKind::Attends { member, .. } => Some(member.clone()),
                _ => None,
            };
            let key = (namespace, group, member);
            if last.insert(key.clone(), what).is_none() {
                order.push(key);
            }
        }
        for key in order {
            if let Some(what) = last.remove(&key) {
                let (namespace, group, _) = key;
                self.interests.push(Interest {
                    namespace,
                    group,
                    what,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::group_rules::GroupRules;
    use super::*;
    use crate::config::GroupRule;
    use crate::ident::ConnId;

    #[test]
    fn who_leaves_and_comes_back_meanwhile_has_not_left() {
        let rule = GroupRule {
            name: "*".to_owned(),
            public: false,
            presence: true,
            presence_grace: std::time::Duration::ZERO,
        };
        let mut groups = Groups::with_rules(GroupRules::new(&[rule]));
        let (namespace, mut lists) = (NamespaceId(0), [Vec::new(), Vec::new()]);
        let join = |groups: &mut Groups, lists: &mut [Vec<_>; 2], slot: usize, name: &str| {
            let id = ConnId::from_bits(slot as u64);
            groups.join(namespace, name, id, &mut lists[slot]);
            let number = groups.find(namespace, name).expect("it has a member");
            groups.count_member(number, &slot.to_string(), true);
        };
        let leave = |groups: &mut Groups, lists: &mut [Vec<_>; 2], slot: usize, name: &str| {
            let number = groups.find(namespace, name).expect("it has a member");
            groups.count_member(number, &slot.to_string(), false);
            groups.leave(&mut lists[slot], 0, |_, _, _| {});
        };
        join(&mut groups, &mut lists, 0, "stays");
        join(&mut groups, &mut lists, 1, "goes");
        while groups.next_interest().is_some() {}
        groups.hold_interests();
        leave(&mut groups, &mut lists, 0, "stays");
        leave(&mut groups, &mut lists, 1, "goes");
        join(&mut groups, &mut lists, 0, "stays");
        assert!(!groups.has_interests() && groups.next_interest().is_none());
        groups.release_interests();
        let mut told = Vec::new();
        while let Some(Interest { group, what, .. }) = groups.next_interest() {
            told.push(format!("{group} {what:?}"));
        }
        let member = |name: &str, count: u32| {
            format!("Attends {{ member: {name:?}, connections: {count} }}")
        };
        assert_eq!(
            told,
            [
                format!("stays {}", member("0", 1)),
                "stays Wanted".to_owned(),
                format!("goes {}", member("1", 0)),
                "goes Unwanted".to_owned(),
            ]
        );
    }
}
