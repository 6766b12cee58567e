//! Messages for many, as a core sends them out and delivers them: numbered, kept for connections that are to come, and
//! past those that have got them where they were ([`Crossings`](super::crossings::Crossings)).

use std::sync::Arc;
use std::time::Instant;

use super::bulk::{Bulk, Except, ToAll, ToGroup};
use super::crossings::KeptMessage;
use super::local::Local;
use crate::ident::Reach;
use crate::payload::{Message, Payload};
use crate::shard::Shard;

/// To members here: who joins and leaves.
fn deliver_presence(shard: &mut Shard, to_group: &ToGroup) -> u32 {
    let Message::Text(told) = to_group.payload.message() else {
        return 0;
    };
    let namespaces = to_group.reach.namespaces();
    let reached = namespaces.map(|namespace| shard.send_presence(namespace, &to_group.group, told));
    reached.sum()
}

impl Local {
    /// A message for many that this core sends out.
    pub fn next_bulk(&mut self) -> Bulk {
        Bulk::new(self.core(), self.crossings.next_number())
    }

    /// To everybody here, from this core.
    pub fn deliver_own(&mut self, bulk: Bulk, reach: Reach, message: Message<'_>) -> u32 {
        if self.crossings.keeps() {
            let to_all = Arc::new(ToAll {
                bulk,
                reach,
                mark: None,
                except: None,
                payload: Payload::new(message),
            });
            self.crossings.keep(bulk, KeptMessage::Everybody(to_all));
        }
        self.pass_by(bulk);
        let reached = match self.shard.followers.any_behind() {
            true => self.deliver_marked_to_all(reach, None, &Payload::new(message)),
            false => self.shard.send_to_everybody(reach, message),
        };
        self.delivered(bulk);
        reached
    }

    /// To everybody here, from any core.
    pub fn deliver_to_everybody(&mut self, to_all: &Arc<ToAll>) -> u32 {
        let bulk = to_all.bulk;
        if self.crossings.keeps() {
            self.crossings
                .keep(bulk, KeptMessage::Everybody(Arc::clone(to_all)));
        }
        self.pass_by(bulk);
        let ToAll {
            reach,
            mark,
            payload,
            except,
            ..
        } = &**to_all;
        self.leave_out(*reach, except.as_deref());
        let reached = match mark.is_some() || self.shard.followers.any_behind() {
            true => self.deliver_marked_to_all(*reach, *mark, payload),
            false => self.shard.send_to_everybody(*reach, payload.message()),
        };
        self.leave_out_nobody(except.is_some());
        self.delivered(bulk);
        reached
    }

    /// To the members of a group on this core, where the home has sent it.
    pub fn deliver_to_members(&mut self, bulk: Bulk, to_group: &Arc<ToGroup>) -> u32 {
        if self.crossings.keeps() {
            self.crossings
                .keep(bulk, KeptMessage::Group(Arc::clone(to_group)));
        }
        self.pass_by(bulk);
        let ToGroup {
            reach,
            refresh,
            group,
            payload,
            mark,
            except,
            ..
        } = &**to_group;
        self.leave_out(*reach, except.as_deref());
        let shard = &mut self.shard;
        let reached = match mark.is_some() || shard.followers.any_behind() {
            _ if to_group.presence => deliver_presence(shard, to_group),
            true => self.deliver_marked_to_group(to_group),
            false => shard.send_to_group(*reach, group, payload.message(), *refresh),
        };
        self.leave_out_nobody(except.is_some());
        self.delivered(bulk);
        reached
    }

    /// Those that a message is not for, for as long as it is delivered.
    fn leave_out(&mut self, reach: Reach, except: Option<&Except>) {
        if let Some(except) = except {
            self.shard.except(reach, &except.uids, &except.connections);
        }
    }

    fn leave_out_nobody(&mut self, were_some: bool) {
        if were_some {
            self.shard.except_nobody();
        }
    }

    /// Has it pass by those who have got it where they were.
    fn pass_by(&mut self, bulk: Bulk) {
        for connection in self.crossings.have_got(bulk) {
            self.shard.pass_by(connection);
        }
    }

    fn delivered(&mut self, bulk: Bulk) {
        let now = self.now();
        if self.crossings.delivered(bulk, self.outgoing.bus().core()) {
            self.shard.pass_by_nobody();
            self.look_ahead(now);
        }
    }

    /// Forgets those that are ahead of this core no more, or gone.
    pub(super) fn look_ahead(&mut self, now: Instant) {
        let waits = self.crossings.waits_here(self.outgoing.bus());
        let shard = &self.shard;
        self.crossings.look_ahead(waits, now, |connection| {
            shard.connections.is_here(connection)
        });
    }
}
