//! What is kept of messages in a cluster, where they are sent: by Redis, for all nodes. A kept message goes to the engine and
//! nowhere else; it comes back with its place, to this node as to every other that has somebody for it. So whoever is here
//! gets it when Redis has it, and nobody is told that it is kept or delivered before.

use smallvec::SmallVec;

use super::abroad::ToEngine;
use super::abroad_streams::{KeepOrder, StreamOrder};
use super::addressed::Addressed;
use super::bulk::Exceptions;
use super::envelope::{Body, Call};
use super::follow_step::FollowedStream;
use super::local::Local;
use super::pending::Caller;
use super::query::Query;
use crate::bus::Until;
use crate::ident::{ConnId, CoreId, NamespaceId, Reach, Ticket};
use crate::payload::{Message, Payload};
use crate::protocol::cluster::NodeOrder;
use crate::streams::{Keep, Kind, Wish};

/// Parts of the answer to a message that is kept in one namespace: how many it has reached, and where it stands.
const PARTS: usize = 2;

/// Where a message is kept, and where not.
pub(super) struct KeptAbroad {
    each: SmallVec<[(NamespaceId, Keep); 2]>,
    /// What of the reach it is not kept in, if there is any.
    pub rest: Option<Reach>,
}

/// What is sent, where it is kept.
pub(super) struct ToKeep<'a> {
    pub kind: Kind,
    pub name: &'a str,
    pub refresh: bool,
    pub except: Exceptions,
    pub payload: &'a Payload,
}

impl<'a> ToKeep<'a> {
    pub fn of(kind: Kind, name: &'a str, payload: &'a Payload) -> ToKeep<'a> {
        ToKeep {
            kind,
            name,
            refresh: false,
            except: None,
            payload,
        }
    }
}

impl KeptAbroad {
    pub fn parts(&self) -> usize {
        PARTS * self.each.len()
    }
}

impl Local {
    /// Where Redis keeps a message, if it does.
    #[inline]
    pub(super) fn kept_abroad(
        &self,
        reach: Reach,
        kind: Kind,
        name: &str,
        wish: Wish,
    ) -> Option<KeptAbroad> {
        let keep = self.streams.rules.what_to_keep(kind, name, wish)?;
        let (mut each, mut rest) = (SmallVec::new(), Reach::default());
        for namespace in reach.namespaces() {
            match self.streams.is_kept_in(namespace, keep) {
                Some(keep) => each.push((namespace, keep)),
                None => rest = rest.with(namespace)?,
            }
        }
        let rest = (rest != Reach::default()).then_some(rest);
        (!each.is_empty()).then_some(KeptAbroad { each, rest })
    }

    /// Has it kept, on a connection's account.
    pub(super) fn keep_abroad(
        &mut self,
        payer: Option<ConnId>,
        kept: &KeptAbroad,
        what: ToKeep<'_>,
        call: Option<u64>,
    ) {
        let Some(engine) = self.outgoing.engine() else {
            return;
        };
        let payer = Some(payer.unwrap_or(ConnId::NOBODY));
        let window = self.idempotency.window();
        let id = self.claims.carried.map(|id| (id, window));
        for (namespace, keep) in &kept.each {
            let order = KeepOrder {
                of: FollowedStream {
                    namespace: *namespace,
                    kind: what.kind,
                    name: Box::from(what.name),
                },
                keep: *keep,
                refresh: what.refresh,
                except: what.except.clone(),
                payload: what.payload.clone(),
                id,
                call,
            };
            let bytes = what.name.len() + what.payload.message().len();
            let body = Body::ToEngine(Box::new(ToEngine::Stream(StreamOrder::Keep(Box::new(
                order,
            )))));
            self.outgoing.post_until(
                &mut self.shard.connections,
                engine,
                payer,
                bytes,
                Until::Taken,
                body,
            );
        }
    }

    /// A push to a uid that Redis keeps, in some of the namespaces at least.
    #[cold]
    pub(super) fn push_kept(
        &mut self,
        kept: &KeptAbroad,
        caller: Caller,
        uid: &str,
        message: Message<'_>,
    ) -> Ticket {
        let payload = Payload::new(message);
        let payer = caller.payer();
        let is_counted = !matches!(caller, Caller::Sender(_));
        let parts = kept.parts() + kept.rest.map_or(0, |_| 2);
        let call = self.open(caller, parts, is_counted);
        let what = ToKeep::of(Kind::Uid, uid, &payload);
        self.keep_abroad(payer, kept, what, Some(call));
        if let Some(reach) = kept.rest {
            let bytes = uid.len() + message.len();
            let order = NodeOrder::PushToUid {
                uid: Box::from(uid),
                payload,
            };
            self.send_abroad(payer, reach, order, Some(call));
            let addressed = Addressed::new(uid, message, Wish::Never);
            let home = self.outgoing.home(uid);
            self.call(call, home, payer, bytes, Call::Push { reach, addressed });
        }
        Ticket(call)
    }

    /// Has what is sent for nobody to know kept where that is so. What is left of the reach, where it is not.
    #[cold]
    pub(super) fn keep_some(
        &mut self,
        reach: Reach,
        payer: Option<ConnId>,
        (kind, name): (Kind, &str),
        (message, refresh): (Message<'_>, bool),
    ) -> Option<Reach> {
        let Some(kept) = self.kept_abroad(reach, kind, name, Wish::AsRuled) else {
            return Some(reach);
        };
        let payload = Payload::new(message);
        let what = ToKeep {
            refresh,
            ..ToKeep::of(kind, name, &payload)
        };
        self.keep_abroad(payer, &kept, what, None);
        kept.rest
    }

    /// What a task asks that is answered by Redis, in a cluster; any other is given back.
    pub(super) fn query_abroad(&mut self, from: CoreId, call: u64, what: Query) -> Option<Query> {
        match what {
            Query::History(query) => self.read_mirrored(from, call, query),
            Query::ForgetHistory { reach, kind, name } => {
                self.forget_abroad((from, call), reach, kind, &name);
            }
            Query::Claim { id, wanted, again } => {
                self.claim_abroad((from, call), id, (wanted, again), false);
            }
            Query::Await { id, wanted, again } => {
                self.claim_abroad((from, call), id, (wanted, again), true);
            }
            Query::Settle { id, answer } => self.settle_abroad((from, call), id, answer),
            other => return Some(other),
        }
        None
    }
}
