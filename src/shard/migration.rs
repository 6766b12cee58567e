//! All that a shard knows of a connection, taken out of it in any phase and put into another: [`ShardPart`].
//!
//! Moments become durations, for they mean nothing elsewhere. Two things are left out: bytes on their way to other
//! cores, which come back to the shard that they left, and that its kernel takes no more, which the next write finds out.
//! Called by the host, with the connection's session and the transport's part.

use serde::{Deserialize, Serialize};

use super::carried::Carried;
use super::exchange::Exchange;
use super::followers::Following;
use super::members::JoinRequest;
use super::outbox::Unsent;
use super::replies::Replies;
use super::slot::{Binding, Dirty, Peer, Phase, Slot};
use super::wheel::Tick;
use super::{ConnId, Shard};
use crate::close::CloseReason;
use crate::ident::{NamespaceId, check_name, check_uid};
use crate::protocol::websocket::extension::Window;

/// What a shard knows of a connection that is in none.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardPart {
    pub listener: u16,
    pub peer: Peer,
    /// When it was accepted, in seconds since 1970.
    pub accepted: u32,
    pub stage: SavedPhase,
    /// If compression is agreed on, how far back what is sent may refer.
    pub window: Option<Window>,
    /// How long ago something last arrived; of a closing one, since that was decided.
    pub heard: Tick,
    /// How long ago its phase began, or it was last pinged.
    pub since: Tick,
    /// It is not read for now.
    pub paused: bool,
    /// What few have.
    pub carried: Option<Box<Carried>>,
    /// The namespace that it has entered in place of its listener's.
    pub entered: Option<NamespaceId>,
    /// Groups that it is in.
    pub groups: Vec<JoinRequest>,
    /// Those that it has asked for, until it is home.
    pub join_requests: Vec<JoinRequest>,
    /// The streams that it follows, if it does not have all of them, or more than its uid's.
    pub following: Option<Box<Following>>,
    /// Places of its replies that are open, or filled and held back by one that is.
    pub replies: Option<Box<Replies>>,
    pub unsent: Unsent,
}

/// How far it has come, and what is known of it then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SavedPhase {
    /// Its opening handshake is under way, or a proxy's header before it.
    Opening,
    /// It asks by HTTP.
    Http(Exchange),
    /// Its app knows it.
    Open {
        /// The uid that it is to be bound to where it arrives.
        binds: Option<Box<str>>,
    },
    /// It is where it stays, or never binds.
    Home {
        uid: Option<Box<str>>,
        /// The one that it is to be bound to where it arrives.
        binds: Option<Box<str>>,
    },
    /// It is to end, and its app has been told.
    Closing {
        reason: CloseReason,
        /// Where it was in asking, if it asked by HTTP.
        exchange: Option<Exchange>,
    },
}

impl ShardPart {
    /// Whether a shard can have given it up. What was written down may be anything.
    pub fn check(&self) -> Result<(), &'static str> {
        let uid = match &self.stage {
            SavedPhase::Open { binds: uid } => uid.as_deref(),
            SavedPhase::Home { uid, binds } => uid.as_deref().or(binds.as_deref()),
            SavedPhase::Http(exchange) if exchange.is_under_way() => {
                return Err("a request that is being answered");
            }
            _ => None,
        };
        if let Some(uid) = uid {
            check_uid(uid).map_err(|_| "a uid that is none")?;
        }
        if let Some(carried) = &self.carried {
            carried.check()?;
        }
        for JoinRequest { group, called } in self.groups.iter().chain(&self.join_requests) {
            for name in [Some(group), called.as_ref()].into_iter().flatten() {
                check_name(name).map_err(|_| "a name that is none")?;
            }
        }
        Ok(())
    }

    /// Whether its codec is, or was, HTTP.
    pub fn is_http(&self) -> bool {
        matches!(
            self.stage,
            SavedPhase::Http(_)
                | SavedPhase::Closing {
                    exchange: Some(_),
                    ..
                }
        )
    }
}

/// Why a connection cannot be taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DepartError {
    /// It is not there any more.
    Gone,
    /// It has asked by HTTP, and its answer is not known yet.
    Answering,
    /// It is on its way to its home core already.
    Leaving,
    /// Its app cannot write its session down, so that it stays in this process.
    Unwritten,
    /// Its TLS handshake is under way.
    Handshake,
}

impl std::fmt::Display for DepartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DepartError::Gone => "the connection is gone",
            DepartError::Answering => "its request is not answered yet",
            DepartError::Leaving => "it moves to its home core already",
            DepartError::Unwritten => "its app cannot write its session down",
            DepartError::Handshake => "its TLS handshake is under way",
        })
    }
}

impl Slot {
    /// How far it has come; `binds` is the uid that it leaves for.
    fn stage(&self, binds: Option<Box<str>>) -> Result<SavedPhase, DepartError> {
        let exchange = match self.binding {
            Binding::Http(exchange) => Some(exchange),
            _ => None,
        };
        Ok(match (self.phase, exchange) {
            (Phase::Free, _) => return Err(DepartError::Gone),
            (Phase::Opening, _) => SavedPhase::Opening,
            (Phase::Http, Some(exchange)) if exchange.is_under_way() => {
                return Err(DepartError::Answering);
            }
            (Phase::Http, exchange) => SavedPhase::Http(exchange.unwrap_or(Exchange::New)),
            (Phase::Open, _) if self.binding == Binding::Leaving && binds.is_none() => {
                return Err(DepartError::Leaving);
            }
            (Phase::Open, _) => SavedPhase::Open { binds },
            // The tables still go by its uid.
            (Phase::Home, _) => SavedPhase::Home { uid: None, binds },
            (Phase::Closing, exchange) => SavedPhase::Closing {
                reason: self.reason,
                exchange,
            },
        })
    }
}

impl Shard {
    /// Whether [`Shard::depart`] can take the connection out, by itself and not for a uid.
    pub fn may_depart(&self, id: ConnId) -> Result<(), DepartError> {
        let slot = self.connections.get(id).ok_or(DepartError::Gone)?;
        match (slot.phase, slot.binding) {
            (Phase::Http, Binding::Http(exchange)) if exchange.is_under_way() => {
                Err(DepartError::Answering)
            }
            (Phase::Open, Binding::Leaving) => Err(DepartError::Leaving),
            _ => Ok(()),
        }
    }

    /// Takes a connection out: out of every table, without a word to anybody. An open one may do so for a uid that it is
    /// to be bound to at its home. Its session is taken from the app by the caller.
    pub fn depart(
        &mut self,
        id: ConnId,
        binds: Option<Box<str>>,
    ) -> Result<ShardPart, DepartError> {
        let now = self.clock.now();
        let (accepted, entered) = (self.connections.accepted(id), self.connections.entered(id));
        let keeps_uid = binds.is_none();
        let mut stage = self
            .connections
            .get(id)
            .ok_or(DepartError::Gone)?
            .stage(binds)?;
        let groups = match stage {
            SavedPhase::Closing { .. } => Vec::new(),
            _ => self.memberships(id),
        };
        let slot = self
            .connections
            .get_mut(id)
            .and_then(|slot| slot.groups.as_mut());
        let join_requests = slot.map_or_else(Vec::new, |groups| std::mem::take(&mut groups.asked));
        self.unfold(id);
        let mut in_flight = None;
        if matches!(stage, SavedPhase::Home { .. }) {
            if keeps_uid {
                in_flight = self.in_flight.take(id.slot);
            }
            self.forget(id);
            self.note_moved_uid(id, false);
        }
        let following = self.followers.unfollow(id.slot).map(Following::taken);
        let mut carried = self.pick_up(id);
        if let Some(in_flight) = in_flight {
            let carried = carried.get_or_insert_default();
            carried.in_flight = Some(Box::new(in_flight.saved()));
        }
        let slot = self.connections.get_mut(id).ok_or(DepartError::Gone)?;
        let late = match slot.blocked {
            true => 0,
            false => slot.outbox.bytes(),
        };
        if let SavedPhase::Home { uid, .. } = &mut stage {
            *uid = slot.uid.take();
        }
        let (unsent, freed) = slot.outbox.flatten();
        let shard_part = ShardPart {
            listener: slot.listener,
            peer: slot.peer,
            accepted,
            window: slot.window,
            heard: now.saturating_sub(slot.heard),
            since: now.saturating_sub(slot.since),
            paused: slot.paused,
            carried,
            entered,
            groups,
            join_requests,
            following,
            replies: slot.replies.take().filter(|replies| !replies.is_empty()),
            unsent,
            stage,
        };
        self.outboxes.free(freed);
        self.outboxes.backlog.settled(late);
        self.stats.opening -= u64::from(shard_part.stage == SavedPhase::Opening);
        self.release(id, shard_part.listener);
        Ok(shard_part)
    }

    /// Puts a connection that has come from elsewhere into a slot, and takes what there is in its part of the migration. One that has
    /// come for a uid is to be bound next.
    pub fn arrive(&mut self, shard_part: &mut ShardPart, session: u32) -> ConnId {
        let id = self.take_slot(shard_part.listener, shard_part.peer, shard_part.accepted);
        let now = self.clock.now();
        self.stats.moved_in += 1;
        self.connections.set_entered(id, shard_part.entered);
        let mut in_flight = None;
        if let Some(carried) = &mut shard_part.carried {
            self.put_down(id, carried);
            in_flight = carried.in_flight.take();
        }
        if let Some(following) = shard_part.following.take() {
            self.followers.follow(id.slot, following);
        }
        let groups = std::mem::take(&mut shard_part.groups);
        let join_requests = std::mem::take(&mut shard_part.join_requests);
        let unsent = std::mem::take(&mut shard_part.unsent);
        let slot = &mut self.connections.slots[id.slot];
        slot.session = session;
        slot.window = shard_part.window;
        slot.heard = now.saturating_sub(shard_part.heard);
        slot.since = now.saturating_sub(shard_part.since);
        slot.paused = shard_part.paused;
        slot.replies = shard_part.replies.take();
        let mut cost = 0;
        if !unsent.bytes.is_empty() {
            cost = slot.outbox.push_moved(unsent);
        }
        self.outboxes.hold(cost);
        self.outboxes.backlog.queued(cost);
        // Where nothing waits any more, a closing one is still to be ended.
        if cost > 0 || matches!(shard_part.stage, SavedPhase::Closing { .. }) {
            self.mark_dirty(id, Dirty::Urgent);
        }
        self.enter_stage(id, &shard_part.stage, groups);
        if let Some(in_flight) = in_flight {
            self.take_in_flight(id, *in_flight);
        }
        if !join_requests.is_empty()
            && let Some(slot) = self.connections.get_mut(id)
        {
            slot.groups.get_or_insert_default().asked = join_requests;
        }
        self.schedule(id);
        id
    }

    /// Gives one that arrives its phase, and the tables theirs of it.
    fn enter_stage(&mut self, id: ConnId, stage: &SavedPhase, groups: Vec<JoinRequest>) {
        let slot = &mut self.connections.slots[id.slot];
        let exchange = match stage {
            SavedPhase::Opening => {
                self.stats.opening += 1;
                return;
            }
            SavedPhase::Open { binds } => {
                slot.phase = Phase::Open;
                if binds.is_some() {
                    slot.binding = Binding::Asked;
                }
                return;
            }
            SavedPhase::Home { uid, binds } => {
                slot.phase = Phase::Home;
                if binds.is_some() {
                    slot.binding = Binding::AsksAnew;
                }
                let namespace = self.connections.namespace_of(id);
                return self.enter_home(id, namespace, uid.as_deref(), &groups);
            }
            SavedPhase::Http(exchange) => {
                slot.phase = Phase::Http;
                Some(*exchange)
            }
            SavedPhase::Closing { reason, exchange } => {
                slot.phase = Phase::Closing;
                slot.reason = *reason;
                *exchange
            }
        };
        if let Some(exchange) = exchange {
            slot.binding = Binding::Http(exchange);
            self.stats.connections -= 1;
            self.connections.http += 1;
        }
    }

    /// Enters one that was home already: nobody is told, and no policy asked again.
    #[inline(never)]
    fn enter_home(
        &mut self,
        id: ConnId,
        namespace: NamespaceId,
        uid: Option<&str>,
        groups: &[JoinRequest],
    ) {
        if let Some(uid) = uid {
            self.connections.slots[id.slot].binding = Binding::Asked;
            self.uids
                .insert(&mut self.connections.slots, namespace, uid, id);
            self.stats.bound += 1;
            self.credentials.bind(id.slot, uid);
            self.note_moved_uid(id, true);
        }
        self.connections.slots[id.slot].everybody_at = self.everybody.enter(namespace, id);
        for JoinRequest { group, called } in groups {
            // Whatever the limit is by now.
            self.join_within(id, group, called.as_deref(), usize::MAX);
        }
    }
}
