//! Connections that have had all of a stream, and have not any more: another life of it has begun, or something is gone that
//! was not delivered. They are put back to where the stream stood; what follows is read for them, or they are told of a gap.

use super::followers::{Followed, Following, Since, Standing};
use super::{ConnId, Shard};
use crate::ident::NamespaceId;
use crate::streams::{Kind, Position};

impl Shard {
    /// Puts back those on this core who follow a stream that stood there. Returns who they are.
    pub fn put_back_followers(
        &mut self,
        namespace: NamespaceId,
        kind: Kind,
        name: &str,
        stood: Position,
    ) -> Vec<ConnId> {
        let mut each: Vec<ConnId> = match kind {
            Kind::Uid => self.connections_of(namespace, name).to_vec(),
            Kind::Group => {
                let mut members = Vec::new();
                self.groups.members(namespace, name, &mut members);
                members
            }
            Kind::All => self.everybody.of(namespace).to_vec(),
        };
        each.retain(|id| self.put_back(*id, kind, name, stood));
        each
    }

    /// Whether it follows the stream, and is behind in it now.
    fn put_back(&mut self, id: ConnId, kind: Kind, name: &str, stood: Position) -> bool {
        let is_told_places = self.connections.is_told_places(id);
        if !is_told_places && !self.connections.tells_positions(id) {
            return false;
        }
        self.unfold(id);
        if self.following(id).is_none() {
            let mut following = Following::begun_with([]);
            if !is_told_places {
                // Of one that follows its uid's stream alone nothing was known.
                following.add(abreast(Kind::Uid, ""));
            }
            self.follow(id, following);
        }
        let Some(following) = self.following_mut(id) else {
            return false;
        };
        let mut streams = following.streams.iter();
        let name = if kind == Kind::Group { name } else { "" };
        let found = streams.position(|one| one.kind == kind && *one.name == *name);
        let nth = match found {
            Some(nth) => nth,
            // It is in the group, and has no position of it.
            None if !is_told_places && kind == Kind::Group => {
                self.settle_following(id);
                return false;
            }
            None => {
                following.add(abreast(kind, name));
                following.streams.len() - 1
            }
        };
        let one = &mut following.streams[nth];
        if one.standing == Standing::Abreast && !one.lost {
            one.standing = Standing::Behind;
            one.position = one.position.or(Some(stood));
        }
        self.followers.be_behind(id.slot);
        true
    }
}

fn abreast(kind: Kind, name: &str) -> Followed {
    Followed {
        standing: Standing::Abreast,
        ..Followed::new(kind, name, Since::Now)
    }
}
