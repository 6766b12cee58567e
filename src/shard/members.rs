//! Who is in which group, on one core.
//!
//! A connection is removed from a list of any length in constant time, because it knows its place in
//! each. Bound: `groups_per_connection_max` entries a connection.

use std::rc::Rc;

use ahash::RandomState;

use crate::ident::{ConnId, Space};

type Table<V> = std::collections::HashMap<Rc<str>, V, RandomState>;

/// A connection's membership: which group, and where in its list.
#[derive(Clone, Copy)]
pub struct Membership {
    group: u32,
    at: u32,
}

struct Member {
    connection: ConnId,
    /// The index of this membership in the connection's own list.
    nth: u32,
}

struct Group {
    /// Never used again, while its number is.
    id: u64,
    space: Space,
    name: Rc<str>,
    members: Vec<Member>,
}

/// The groups of one core.
pub struct Groups {
    names: Vec<Table<u32>>,
    groups: Vec<Option<Group>>,
    free: Vec<u32>,
    next_id: u64,
}

impl Groups {
    pub fn new(spaces: usize) -> Groups {
        Groups::with_hasher(spaces, RandomState::new)
    }

    /// The same with hashers of the caller's, one for each table.
    pub fn with_hasher(spaces: usize, hasher: impl Fn() -> RandomState) -> Groups {
        Groups {
            names: (0..spaces).map(|_| Table::with_hasher(hasher())).collect(),
            groups: Vec::new(),
            free: Vec::new(),
            next_id: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.groups.len() - self.free.len()
    }

    #[cfg(test)]
    pub fn memberships(&self) -> usize {
        let groups = self.groups.iter().flatten();
        groups.map(|group| group.members.len()).sum()
    }

    fn find(&self, space: Space, name: &str) -> Option<u32> {
        self.names.get(usize::from(space.0))?.get(name).copied()
    }

    /// Copies a group's members into `out`, and says which group that is, if there is one.
    pub fn members(&self, space: Space, name: &str, out: &mut Vec<ConnId>) -> Option<u64> {
        let number = self.find(space, name)?;
        let group = self.groups[number as usize].as_ref()?;
        out.extend(group.members.iter().map(|member| member.connection));
        Some(group.id)
    }

    /// How many connections a group has, and they one by one.
    pub fn look(
        &self,
        space: Space,
        name: &str,
    ) -> Option<(usize, impl Iterator<Item = ConnId> + '_)> {
        let group = self.groups[self.find(space, name)? as usize].as_ref()?;
        let members = group.members.iter().map(|member| member.connection);
        Some((group.members.len(), members))
    }

    /// Whether a connection with these memberships is in the group, and as which of them.
    pub fn position(&self, of: &[Membership], space: Space, name: &str) -> Option<usize> {
        let number = self.find(space, name)?;
        of.iter().position(|membership| membership.group == number)
    }

    /// Adds a connection that is not in the group; `memberships` is the connection's own list.
    pub fn join(
        &mut self,
        space: Space,
        name: &str,
        connection: ConnId,
        memberships: &mut Vec<Membership>,
    ) {
        let number = self.find(space, name).unwrap_or_else(|| {
            let name: Rc<str> = Rc::from(name);
            self.next_id += 1;
            let group = Some(Group {
                id: self.next_id,
                space,
                name: Rc::clone(&name),
                members: Vec::new(),
            });
            let number = match self.free.pop() {
                Some(number) => {
                    self.groups[number as usize] = group;
                    number
                }
                None => {
                    self.groups.push(group);
                    self.groups.len() as u32 - 1
                }
            };
            self.names[usize::from(space.0)].insert(name, number);
            number
        });
        if let Some(group) = &mut self.groups[number as usize] {
            memberships.push(Membership {
                group: number,
                at: group.members.len() as u32,
            });
            group.members.push(Member {
                connection,
                nth: memberships.len() as u32 - 1,
            });
        }
    }

    /// Takes a connection out of its `nth` group. `moved` is called for another connection of which one
    /// membership, given by its index, has a new place now.
    pub fn leave(
        &mut self,
        memberships: &mut Vec<Membership>,
        nth: usize,
        moved: impl FnOnce(ConnId, usize, Place),
    ) {
        let Membership { group: number, at } = memberships.swap_remove(nth);
        let Some(group) = &mut self.groups[number as usize] else {
            return;
        };
        group.members.swap_remove(at as usize);
        if let Some(member) = group.members.get(at as usize) {
            // The group's last member has come to the place that became free.
            moved(member.connection, member.nth as usize, Place(at));
        }
        if group.members.is_empty() {
            self.names[usize::from(group.space.0)].remove(&group.name);
            self.groups[number as usize] = None;
            self.free.push(number);
        }
        if let Some(shifted) = memberships.get(nth) {
            // The connection's last membership has come to the index that became free.
            if let Some(group) = &mut self.groups[shifted.group as usize] {
                group.members[shifted.at as usize].nth = nth as u32;
            }
        }
    }
}

/// A new place in a group's list.
#[derive(Clone, Copy)]
pub struct Place(u32);

impl Membership {
    pub fn move_to(&mut self, place: Place) {
        self.at = place.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const SPACE: Space = Space(0);

    fn id(slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: 0,
        }
    }

    /// Joins and leaves at random against a plain model.
    #[test]
    fn groups_match_a_model() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut groups = Groups::new(1);
            let mut lists: Vec<Vec<Membership>> = vec![Vec::new(); 10];
            let mut model: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
            for _ in 0..400 {
                let slot = random.u32(0..10);
                let name = format!("g{}", random.u32(0..6));
                let mut own = std::mem::take(&mut lists[slot as usize]);
                match groups.position(&own, SPACE, &name) {
                    None => {
                        groups.join(SPACE, &name, id(slot), &mut own);
                        model.entry(name).or_default().insert(slot);
                    }
                    Some(nth) => {
                        groups.leave(&mut own, nth, |who, nth, place| {
                            lists[who.slot as usize][nth].move_to(place);
                        });
                        model.entry(name).or_default().remove(&slot);
                    }
                }
                lists[slot as usize] = own;
                model.retain(|_, members| !members.is_empty());
                assert_eq!(groups.len(), model.len(), "seed {seed}");
                for (name, members) in &model {
                    let mut found = Vec::new();
                    groups.members(SPACE, name, &mut found);
                    let found: BTreeSet<u32> = found.iter().map(|id| id.slot).collect();
                    assert_eq!(&found, members, "seed {seed}");
                }
            }
        }
    }
}
