//! A shard counted from scratch, for the simulation: every table must agree with the slots.

use super::slot::{Dirty, Phase};
use super::{ConnId, Shard};

impl Shard {
    /// Panics where a table, a sum or a counter does not agree with the connections themselves.
    pub fn check(&self) {
        let (mut live, mut home, mut bound, mut joined, mut outbox) = (0, 0, 0, 0, 0);
        let mut backlog = 0;
        let mut seen = std::collections::HashSet::new();
        for (number, slot) in self.connections.slots.iter() {
            let id = ConnId {
                slot: number,
                generation: slot.generation,
            };
            if slot.phase == Phase::Free {
                assert!(
                    self.connections.entered(id).is_none(),
                    "nobody has entered a namespace"
                );
                assert!(slot.outbox.is_empty(), "a free slot holds an outbox");
                continue;
            }
            live += 1;
            outbox += slot.outbox.held(&mut seen);
            backlog += match slot.blocked {
                true => 0,
                false => slot.outbox.bytes(),
            };
            let waits = !slot.outbox.is_empty() && !slot.blocked;
            assert!(!waits || slot.dirty != Dirty::Clean, "nobody will write it");
            let namespace = self.connections.namespace_of(id);
            if slot.phase == Phase::Home {
                home += 1;
                let list = self.everybody.of(namespace);
                assert_eq!(list.get(slot.everybody_at as usize), Some(&id));
                joined += slot.groups.as_ref().map_or(0, |groups| groups.joined.len());
            }
            if let (Phase::Home, Some(uid)) = (slot.phase, &slot.uid) {
                bound += 1;
                let own = self
                    .uids
                    .get(&self.connections.slots, namespace, uid)
                    .filter(|one| *one == id);
                assert_eq!(own.count(), 1, "in its uid's list once");
            }
        }
        let everybody = self.everybody.total();
        assert_eq!(everybody, home, "everybody is who is home");
        assert_eq!(self.uids.connections(), bound, "connections with a uid");
        assert_eq!(self.stats.bound, bound as u64);
        assert_eq!(self.groups.memberships(), joined, "memberships");
        assert_eq!(self.outboxes.bytes(), outbox, "bytes in outboxes");
        assert_eq!(self.outboxes.backlog.bytes(), backlog, "what waits for us");
        assert_eq!(self.stats.connections + self.connections.http as u64, live);
        assert_eq!(self.connections.slots.len(), live as usize);
        assert!(self.credentials.len() <= live as usize, "a proof of nobody");
        let with_some = self.attributes.len();
        assert!(with_some <= live as usize, "attributes of nobody");
        let kept = self.connections.names.len();
        assert!(kept <= live as usize, "a name of nobody");
    }

    /// What is left of it, when nothing should be.
    pub fn leftovers(&self) -> usize {
        let everybody = self.everybody.total();
        let connections = self.connections.slots.len();
        let others = self.uids.others() + self.everybody.others() + self.connections.entries();
        connections
            + everybody
            + others
            + self.uids.len()
            + self.groups.len()
            + self.outboxes.bytes()
            + self.outboxes.backlog.bytes()
            + self.credentials.len()
            + self.connections.names.len()
            + self.attributes.len()
    }
}
