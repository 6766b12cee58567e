//! Who is in groups whose members are told of each other: what their homes know, against what all connections say.

use std::collections::BTreeMap;

use super::world::World;
use crate::ident::NamespaceId;

/// By namespace and group: each member with its connections.
type Attendance = BTreeMap<(NamespaceId, String), BTreeMap<String, u32>>;

impl World {
    /// Every core sleeps, and nobody has come or gone for longer than any grace: the homes know whom the connections are.
    pub fn check_attendance(&mut self) {
        let mut there = Attendance::new();
        let mut known = Attendance::new();
        for core in 0..self.scene.cores {
            let shard = self.hosts[core].shard();
            for id in shard.connections.ids() {
                let namespace = shard.connections.namespace_of(id);
                for wish in shard.memberships(id) {
                    if shard.groups.rules.of(&wish.group).presence.is_none() {
                        continue;
                    }
                    let called = wish.called.as_deref();
                    let Some(name) = called.or_else(|| shard.connections.uid(id)) else {
                        continue;
                    };
                    let group = (namespace, wish.group.to_string());
                    let members = there.entry(group).or_default();
                    *members.entry(name.to_owned()).or_default() += 1;
                }
            }
            for (namespace, group, members) in self.hosts[core].local().homes.attendance() {
                let members = members.into_iter();
                let members = members.map(|(name, connections)| (name.to_string(), connections));
                known.insert((namespace, group.to_string()), members.collect());
            }
        }
        assert_eq!(known, there, "who is in which group");
        *self.tally.entry("members").or_default() +=
            there.values().map(BTreeMap::len).sum::<usize>();
    }
}
