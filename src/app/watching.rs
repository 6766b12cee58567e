//! Apps that are told who is in a group on other nodes of a cluster ([`MembersWatch`]). The members of such a group
//! have presence ([`GroupRules::watch`](crate::shard::GroupRules)), of which they are told nothing.

use super::effect::{Effect, MembersElsewhere};
use super::local::Local;
use super::watch::MembersWatch;
use crate::ident::{NamespaceId, Reach};

impl Local {
    /// An app is told from now on. Whether there is a cluster.
    pub(super) fn watch_members(&mut self, app: u8, reach: Reach, group: &str) -> bool {
        if !self.has_engine() {
            return false;
        }
        for namespace in reach.namespaces() {
            self.shard.groups.rules.watch(namespace, group);
            let group = Box::from(group);
            let watch = MembersWatch {
                app,
                namespace,
                group,
            };
            let is_it = |one: &MembersWatch| {
                one.app == app && one.namespace == namespace && one.group == watch.group
            };
            if !self.watches.iter().any(is_it) {
                self.watches.push(watch);
            }
        }
        true
    }

    /// Who is in a group on other nodes has changed, or nobody is in it here any more.
    pub(super) fn tell_watchers(&mut self, namespace: NamespaceId, group: &str) {
        if !self.shard.groups.rules.is_watched(namespace, group) {
            return;
        }
        let names = self.homes.elsewhere(namespace, group);
        for watch in &self.watches {
            if watch.namespace == namespace && *watch.group == *group {
                let told = Box::new(MembersElsewhere {
                    group: Box::from(group),
                    names: names.clone(),
                });
                let app = watch.app;
                self.effects.push(Effect::Members { app, told });
            }
        }
    }

    /// Whether the home of a group knows who is in it.
    pub(super) fn is_told_of_members(&self, namespace: NamespaceId, group: &str) -> bool {
        let rules = &self.shard.groups.rules;
        rules.presence_of(namespace, group).is_some()
    }
}
