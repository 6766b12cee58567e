//! Whose a uid is in a cluster: what the core tells the engine of its connections, and binds for which other nodes are asked.
//!
//! Under `uid_policy = "reject"` a bind waits for them, and its connection is not read meanwhile. Under `"replace"` it does
//! not; the others end theirs. Bound: a call for each bind that waits, for `answer_timeout` at most.

use std::time::{SystemTime, UNIX_EPOCH};

use super::abroad::ToEngine;
use super::asked_bind::{AskedBind, AskedEvent};
use super::effect::Effect;
use super::hold_order::{HeldOrder, NewHold};
use super::host::Host;
use super::local::Local;
use super::outcome::{Abroad, BindError};
use super::pending::Caller;
use super::query::{ConnectionAnswer, QueryResult};
use crate::close::CloseReason;
use crate::config::UidPolicy;
use crate::ident::{ConnId, NamespaceId};
use crate::protocol::cluster_holds::HoldHow;
use crate::shard::{Elsewhere, HeldUid, HoldWish, Phase, ReleasedUid, UidInterest, UidNews};

/// By the clock on the wall, since 1970: two binds within a millisecond are not at the same time.
fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

impl Local {
    /// Tells the engine which uids have come to this core and gone from it.
    #[cold]
    pub(super) fn tell_uid_news(&mut self) {
        while let Some(news) = self.shard.next_uid_news() {
            match news {
                UidNews::Interest(interest) => {
                    if !interest.here {
                        self.mirror_no_more(&interest.uid);
                    }
                    self.tell_engine(ToEngine::Uid(interest));
                }
                UidNews::Held(held) => self.tell_held(held),
                UidNews::Released(released) => {
                    let ReleasedUid {
                        namespace,
                        uid,
                        connection,
                        event,
                    } = released;
                    let call = self.ask_for_event(&uid, event);
                    self.tell_engine(ToEngine::Held(HeldOrder::Release {
                        namespace,
                        uid,
                        connection,
                        call,
                    }));
                }
            }
        }
    }

    fn tell_held(&mut self, held: HeldUid) {
        let HeldUid {
            namespace,
            uid,
            connection,
            client,
            wish,
            event,
        } = held;
        let call = self.ask_for_event(&uid, event);
        let since = match wish {
            Some(_) => micros_now(),
            // That it was accepted is all that is known.
            None => 1_000_000 * u64::from(self.shard.connections.accepted(connection)),
        };
        self.tell_engine(ToEngine::Held(HeldOrder::Hold(NewHold {
            namespace,
            uid,
            connection,
            client,
            how: wish.map(|wish| match wish {
                HoldWish::Shares => HoldHow::Shares,
                HoldWish::Takes => HoldHow::Takes,
            }),
            policy: self.hold_policy(),
            since,
            call,
        })));
    }

    /// The number by which an event that waits is told what it waits for.
    fn ask_for_event(&mut self, uid: &str, event: Option<u64>) -> Option<u64> {
        let uid = Box::from(uid);
        let caller = Caller::Event(Box::new(AskedEvent { uid, event: event? }));
        Some(self.pending.open(caller, 1, None, false))
    }

    fn hold_policy(&self) -> HoldHow {
        match self.shard.uid_policy() {
            UidPolicy::Multi => HoldHow::Shares,
            UidPolicy::Replace => HoldHow::Takes,
            UidPolicy::Reject => HoldHow::Asks,
        }
    }

    fn release(&mut self, namespace: NamespaceId, uid: Box<str>, connection: ConnId) {
        self.tell_engine(ToEngine::Held(HeldOrder::Release {
            namespace,
            uid,
            connection,
            call: None,
        }));
    }

    /// Whether other nodes are to be asked before this one is bound.
    pub(super) fn is_to_ask(&self, id: ConnId, uid: &str, comes_back: bool) -> bool {
        self.shard.uid_policy() == UidPolicy::Reject
            && !comes_back
            && self.shard.connections.uid(id) != Some(uid)
            && !self.has_others(id, uid)
    }

    /// Asks them. The connection is not read until they have answered.
    pub(super) fn ask_nodes(&mut self, id: ConnId, uid: &str) {
        let namespace = self.shard.connections.namespace_of(id);
        let asked = AskedBind {
            connection: id,
            namespace,
            uid: Box::from(uid),
        };
        self.shard.connections.set_crossing(id);
        let caller = Caller::Bind(Box::new(asked));
        let call = self.pending.open(caller, 1, None, false);
        let client = self.shard.client_part(id).and_then(|it| it.name.clone());
        // What has come before is told before.
        self.tell_uid_news();
        self.tell_interest(uid, true);
        self.tell_engine(ToEngine::Held(HeldOrder::Hold(NewHold {
            namespace,
            uid: Box::from(uid),
            connection: id,
            client,
            how: Some(HoldHow::Asks),
            policy: HoldHow::Asks,
            since: micros_now(),
            call: Some(call),
        })));
    }

    /// While it asks it has to hear what others say of the uid.
    fn tell_interest(&mut self, uid: &str, here: bool) {
        let uid = Box::from(uid);
        self.tell_engine(ToEngine::Uid(UidInterest { uid, here }));
    }

    /// They have answered, or have not in time.
    pub(super) fn bind_asked(&mut self, asked: Box<AskedBind>, found: &[QueryResult]) {
        let abroad = abroad_of(found);
        self.outgoing.note_returned();
        self.effects.push(Effect::BindAsked { asked, abroad });
    }

    /// They have, to an event that waits.
    pub(super) fn event_asked(&mut self, asked: &AskedEvent, found: &[QueryResult]) {
        let elsewhere = elsewhere(abroad_of(found));
        self.shard.settle_event(&asked.uid, asked.event, elsewhere);
    }

    /// Another node has it now.
    pub(super) fn end_held(&mut self, (id, uid, reason): (ConnId, Box<str>, CloseReason)) {
        if self.shard.connections.uid(id) == Some(&*uid) {
            self.shard.close(id, reason);
        }
    }
}

impl Host {
    /// As [`Host::bind`], where other nodes may have the uid.
    #[cold]
    #[inline(never)]
    pub(super) fn bind_in_cluster(&mut self, id: ConnId, uid: &str, comes_back: bool) {
        if self.local.is_to_ask(id, uid, comes_back) {
            return self.local.ask_nodes(id, uid);
        }
        self.bind_here(id, uid, comes_back);
        self.local.read_stickies(id);
    }

    /// Binds one for which other nodes were asked, or refuses it.
    #[cold]
    pub(super) fn bind_as_answered(&mut self, asked: AskedBind, abroad: Abroad) {
        let is_free = abroad.refused == 0;
        let AskedBind {
            connection,
            namespace,
            uid,
        } = asked;
        let phase = self.local.shard.connections.phase(connection);
        let is_there = matches!(phase, Phase::Open | Phase::Home);
        if is_there && is_free {
            self.local.shard.bind_knowing(Some(elsewhere(abroad)));
            self.bind_here(connection, &uid, false);
            self.local.shard.bind_knowing(None);
            self.local.read_stickies(connection);
        } else if is_there {
            self.local
                .answer_bind(connection, || ConnectionAnswer::InUse);
            self.refuse(connection, BindError::InUse);
        }
        let is_bound = self.local.shard.connections.uid(connection) == Some(&*uid);
        let is_home = self.local.shard.connections.phase(connection) == Phase::Home;
        if is_free && !(is_bound && is_home) {
            self.local.release(namespace, uid.clone(), connection);
        }
        self.local.tell_uid_news();
        self.local.tell_interest(&uid, false);
    }
}

fn abroad_of(found: &[QueryResult]) -> Abroad {
    let abroad = found.iter().find_map(|result| match result {
        QueryResult::Abroad(abroad) => Some(*abroad),
        _ => None,
    });
    abroad.unwrap_or_default()
}

fn elsewhere(abroad: Abroad) -> Elsewhere {
    Elsewhere {
        is_held: abroad.reached > 0,
        unknown: abroad.unknown.nodes(),
    }
}
