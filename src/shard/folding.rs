//! What a connection by events follows, folded up while it has everything ([`Resting`](super::resting)), and unfolded when
//! something is to be done with one of its streams.

use smallvec::SmallVec;

use super::followers::{Followed, Following, Since, Standing};
use super::resting::GroupNumbers;
use super::{ConnId, Shard};
use crate::streams::{Kind, Position};

impl Shard {
    /// Keeps no more of what a connection follows than which groups, if it has all there is, as far as the others here have.
    /// It has begun, and is abreast everywhere.
    pub(super) fn rest(&mut self, id: ConnId) {
        if let Some(groups) = self.groups_to_rest_in(id) {
            for (number, position) in &groups {
                self.groups.see(*number, *position);
            }
            self.followers.unfollow(id.slot);
            let numbers: GroupNumbers = groups.iter().map(|(number, _)| *number).collect();
            self.followers.resting.insert(id.slot, &numbers);
        }
    }

    fn groups_to_rest_in(&self, id: ConnId) -> Option<SmallVec<[(u32, Position); 4]>> {
        let following = self.following(id)?;
        let namespace = self.connections.namespace_of(id);
        let (own, rest) = following.streams.split_first()?;
        let groups = match rest.split_last()? {
            (last, before) if last.kind == Kind::All => {
                let is_seen = last.position == self.followers.all_seen(namespace);
                is_seen.then_some(before)?
            }
            _ => rest,
        };
        if own.kind != Kind::Uid || groups.is_empty() || following.client.is_some() {
            return None;
        }
        let each = groups.iter().map(|one| {
            let is_group = one.kind == Kind::Group && !one.lost;
            let is_there = is_group && self.is_in(id, &one.name);
            let number = self
                .groups
                .find(namespace, &one.name)
                .filter(|_| is_there)?;
            let position = one.position?;
            let seen = self.groups.seen(number).unwrap_or(position);
            (seen == position).then_some((number, position))
        });
        each.collect()
    }

    /// A connection's streams one by one, to be changed: it rests no more. Before it leaves one of its groups.
    pub(super) fn unfold(&mut self, id: ConnId) {
        if self.followers.resting.is_empty() || self.connections.get(id).is_none() {
            return;
        }
        if let Some(following) = self.unfolded(id) {
            self.followers.unfollow(id.slot);
            self.followers.follow(id.slot, Box::new(following));
        }
    }

    /// The streams of one that rests, one by one. In its uid's it stands where that does.
    pub(super) fn unfolded(&self, id: ConnId) -> Option<Following> {
        let abreast = |kind, name: &str, position| Followed {
            position,
            standing: Standing::Abreast,
            ..Followed::new(kind, name, Since::Now)
        };
        let groups = self.followers.resting.groups(id.slot)?.iter();
        let groups = groups.map(|number| {
            let name = self.groups.name(*number).unwrap_or_default();
            abreast(Kind::Group, name, self.groups.seen(*number))
        });
        let own = abreast(Kind::Uid, "", None);
        Some(Following::begun_with([own].into_iter().chain(groups)))
    }

    /// The number of a group whose stream one follows that rests, and where it stands in that.
    pub fn seen_at_rest(&self, id: ConnId, group: &str) -> Option<(u32, Option<Position>)> {
        let groups = self.followers.resting.groups(id.slot)?;
        let number = self.groups.find(self.connections.namespace_of(id), group)?;
        let follows = groups.contains(&number);
        follows.then(|| (number, self.groups.seen(number)))
    }
}
