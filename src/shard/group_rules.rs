//! [`GroupRules`]: what holds for a group by its name, as the `[[groups]]` rules say.
//!
//! Asked when a group comes into being on a core, and where a client wants to join by itself; never for a message.

use std::time::Duration;

use crate::config::{GroupRule, PRESENCE_GRACE_MAX};
use crate::ident::NamespaceId;
use crate::streams::Pattern;

/// What holds for a group. Without a rule nothing does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct GroupTraits {
    /// Any client may join by itself.
    pub public: bool,
    /// Its members are told who joins and leaves, after so long that a member may be gone unnoticed.
    pub presence: Option<Duration>,
}

/// The rules that hold, to be asked by a name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupRules {
    each: Box<[(Pattern, GroupTraits)]>,
    /// Groups of which apps are told who is in them on other nodes, whatever is configured. A few.
    watched: Vec<(NamespaceId, Box<str>)>,
}

impl GroupRules {
    /// The rules as they are configured.
    pub fn new(configured: &[GroupRule]) -> GroupRules {
        let each = configured.iter().map(|rule| {
            let grace = rule.presence_grace.min(PRESENCE_GRACE_MAX);
            let traits = GroupTraits {
                public: rule.public,
                presence: rule.presence.then_some(grace),
            };
            (Pattern::new(&rule.name), traits)
        });
        GroupRules {
            each: each.collect(),
            watched: Vec::new(),
        }
    }

    /// These, with the groups that are watched by others.
    pub fn watching_as(mut self, others: &GroupRules) -> GroupRules {
        self.watched.clone_from(&others.watched);
        self
    }

    /// From now on an app is told who is in this group on other nodes.
    pub fn watch(&mut self, namespace: NamespaceId, group: &str) {
        if !self.is_watched(namespace, group) {
            self.watched.push((namespace, Box::from(group)));
        }
    }

    /// Whether an app is told that.
    #[inline]
    pub fn is_watched(&self, namespace: NamespaceId, group: &str) -> bool {
        let mut watched = self.watched.iter();
        watched.any(|(of, name)| *of == namespace && **name == *group)
    }

    /// For how long a member of this group may be gone before the others are told, if they are.
    #[inline]
    pub fn presence_of(&self, namespace: NamespaceId, group: &str) -> Option<Duration> {
        match self.is_watched(namespace, group) {
            true => Some(Duration::ZERO),
            false => self.of(group).presence,
        }
    }

    /// What holds for the group of that name, by the first rule that fits it.
    #[inline]
    pub fn of(&self, group: &str) -> GroupTraits {
        match self.each.is_empty() {
            true => GroupTraits::default(),
            false => self.find(group),
        }
    }

    fn find(&self, group: &str) -> GroupTraits {
        let mut each = self.each.iter();
        let found = each.find(|(pattern, _)| pattern.fits(group));
        found.map(|(_, traits)| *traits).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_holds() {
        let rule = |name: &str, public, presence| GroupRule {
            name: name.to_owned(),
            public,
            presence,
            presence_grace: Duration::from_secs(3),
        };
        let none = GroupTraits::default();
        assert_eq!(GroupRules::default().of("news"), none);
        let rules = GroupRules::new(&[
            rule("room.secret.*", false, false),
            rule("room.*", true, true),
            rule("news", true, false),
        ]);
        assert_eq!(rules.of("room.secret.x"), none);
        assert_eq!(rules.of("newspaper"), none);
        let room = rules.of("room.x");
        assert!(room.public && room.presence == Some(Duration::from_secs(3)));
        let news = rules.of("news");
        assert!(news.public && news.presence.is_none());
    }

    #[test]
    fn what_an_app_watches_has_presence_in_its_namespace_alone() {
        let (own, other) = (NamespaceId(3), NamespaceId(4));
        let mut rules = GroupRules::default();
        rules.watch(own, "room");
        assert_eq!(rules.presence_of(own, "room"), Some(Duration::ZERO));
        assert_eq!(rules.presence_of(own, "rooms"), None);
        assert_eq!(rules.presence_of(other, "room"), None);
        let reloaded = GroupRules::new(&[]).watching_as(&rules);
        assert!(reloaded.is_watched(own, "room") && !reloaded.is_watched(other, "room"));
        assert_eq!(reloaded.of("room"), GroupTraits::default());
    }

    #[test]
    fn no_grace_is_longer_than_the_longest() {
        let rules = GroupRules::new(&[GroupRule {
            name: "*".to_owned(),
            public: false,
            presence: true,
            presence_grace: Duration::MAX,
        }]);
        assert_eq!(rules.of("x").presence, Some(PRESENCE_GRACE_MAX));
    }
}
