//! A copy of what a shard knows of a connection, which stays in it: [`Shard::copy`]. For another process, which may go on with
//! it: what is copied ahead of that need not be written while nobody is served.

use std::time::Duration;

use super::carried::Carried;
use super::credentials::SavedCredential;
use super::followers::Following;
use super::migration::{SavedPhase, ShardPart};
use super::slot::{Binding, Phase};
use super::wheel::{Tick, ticks};
use super::{ConnId, Shard};

/// So far ahead of a copying's beginning lies the moment that a copy's times count to.
const AHEAD: Duration = Duration::from_secs(60 * 60);

impl Shard {
    /// The moment that the times of copies count to, if the first one is made now. It lies ahead, so that a copy is the same
    /// bytes whenever it is made, as long as the connection is the same.
    pub fn copy_moment(&self) -> Tick {
        self.clock.now().saturating_add(ticks(AHEAD))
    }

    /// How far that moment still lies ahead.
    pub fn ticks_until(&self, moment: Tick) -> Tick {
        moment.saturating_sub(self.clock.now())
    }

    /// What [`Shard::depart`] would give, with times that count to `moment`, of a connection that is at home and has nothing
    /// under way. `None` of another.
    pub fn copy(&self, id: ConnId, moment: Tick) -> Option<ShardPart> {
        let slot = self.connections.get(id)?;
        let is_settled = matches!(slot.binding, Binding::NotAsked | Binding::Asked);
        let asked = slot.groups.as_ref().is_some_and(|it| !it.asked.is_empty());
        let has_rest = asked
            || slot.replies.as_ref().is_some_and(|it| !it.is_empty())
            || slot.marks.are_rare()
            || !slot.outbox.is_empty()
            || slot.transit > 0
            || self.in_flight.get(id.slot).is_some()
            || self.followers.get(id.slot).is_some();
        if slot.phase != Phase::Home || !is_settled || has_rest {
            return None;
        }
        let carried = match self.credentials.get(id.slot) {
            Some(held) if held.refreshed > self.clock.now() => return None,
            Some(held) => Some(Box::new(Carried {
                credential: Some(SavedCredential {
                    uid: held.uid.clone(),
                    expires: held.expires,
                    refreshed_in: 0,
                }),
                ..Carried::default()
            })),
            None => None,
        };
        let following = self.unfolded(id).map(|it| Following::taken(Box::new(it)));
        Some(ShardPart {
            listener: slot.listener,
            peer: slot.peer,
            accepted: self.connections.accepted(id),
            stage: SavedPhase::Home {
                uid: slot.uid.clone(),
                binds: None,
            },
            window: slot.window,
            heard: moment.saturating_sub(slot.heard),
            since: moment.saturating_sub(slot.since),
            paused: slot.paused,
            carried,
            entered: self.connections.entered(id),
            groups: self.memberships(id),
            join_requests: Vec::new(),
            following,
            replies: None,
            unsent: Default::default(),
        })
    }
}

impl ShardPart {
    /// Has its times count to a moment that lies so much earlier.
    pub fn count_to_earlier(&mut self, by: Tick) {
        self.heard = self.heard.saturating_sub(by);
        self.since = self.since.saturating_sub(by);
    }
}
