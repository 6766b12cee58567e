//! What goes to other nodes of a cluster and comes from them, on a core: by the engine, a party on the bus that is no core.
//!
//! What is asked of a uid, a group or everybody is asked here as ever, and of the engine beside it ([`ToEngine`]), which
//! answers as a core does: a call has one part more. What other nodes ask comes as [`FromEngine`], and is done by this core
//! as for any sender of its own. Where there is no engine all this is a look at an `Option`. Bound: the sender's credit,
//! which it gets back when Redis has what it sent, and its call's cost until that is answered.

use super::abroad::{FromEngine, ToEngine, exceptions, farewell, last_words};
use super::addressed::Addressed;
use super::calls::farewell_bytes;
use super::envelope::{AnswerPart, Body, Call};
use super::local::Local;
use super::outcome::{Abroad, Delivered};
use super::pending::Caller;
use super::query::{MembershipChange, Query, QueryResult};
use crate::bus::Until;
use crate::ident::{ConnId, CoreId, Reach, Ticket};
use crate::payload::{Message, Payload};
use crate::protocol::cluster::NodeOrder;
use crate::shard::{Farewell, Interest};
use crate::streams::{Kind, Wish};

impl Local {
    /// Whether what this one asks is for other nodes, too.
    #[inline]
    pub(super) fn goes_abroad(&self, caller: &Caller) -> bool {
        self.outgoing.engine().is_some() && !matches!(caller, Caller::Node(_))
    }

    /// Whether this node is one of a cluster.
    #[inline]
    pub(super) fn has_engine(&self) -> bool {
        self.outgoing.engine().is_some()
    }

    /// Has something done on other nodes, on a connection's account.
    pub(super) fn send_abroad(
        &mut self,
        payer: Option<ConnId>,
        reach: Reach,
        order: NodeOrder,
        call: Option<u64>,
    ) {
        let Some(engine) = self.outgoing.engine() else {
            return;
        };
        let bytes = order.bytes();
        let payer = Some(payer.unwrap_or(ConnId::NOBODY));
        let body = Body::ToEngine(Box::new(ToEngine::Order { reach, order, call }));
        // Straight, whatever is under way to other cores: it leaves the node in the order in which it is posted.
        self.outgoing.post_until(
            &mut self.shard.connections,
            engine,
            payer,
            bytes,
            Until::Taken,
            body,
        );
    }

    /// A push to a uid, where there is a cluster or one of its nodes asks.
    #[cold]
    #[inline(never)]
    pub(super) fn push_in_cluster(
        &mut self,
        reach: Reach,
        caller: Caller,
        uid: &str,
        message: Message<'_>,
        wish: Wish,
    ) -> Ticket {
        let kept = match self.goes_abroad(&caller) {
            true => self.kept_abroad(reach, Kind::Uid, uid, wish),
            false => None,
        };
        if let Some(kept) = kept {
            return self.push_kept(&kept, caller, uid, message);
        }
        let order = NodeOrder::PushToUid {
            uid: Box::from(uid),
            payload: Payload::new(message),
        };
        let home = self.outgoing.home(uid);
        if caller.is_for_verdict()
            && home == self.core()
            && !self.outgoing.goes_by_mail(caller.payer())
        {
            return self.push_at_home(reach, caller, (uid, message, wish), order);
        }
        let bytes = uid.len() + message.len();
        let addressed = Addressed::new(uid, message, wish);
        let is_counted = !matches!(caller, Caller::Node(_) | Caller::Sender(_));
        let what = Call::Push { reach, addressed };
        self.call_in_cluster(reach, caller, (bytes, is_counted), (home, what), order)
    }

    /// A push to a uid whose home this is, and to the other nodes: where it has reached somebody here nobody waits for them,
    /// and they need not answer.
    fn push_at_home(
        &mut self,
        reach: Reach,
        caller: Caller,
        (uid, message, wish): (&str, Message<'_>, Wish),
        order: NodeOrder,
    ) -> Ticket {
        let payer = caller.payer();
        let is_counted = !matches!(caller, Caller::Sender(_));
        let delivered = self.push_to_own_uid(reach, uid, message, wish);
        self.tap_push_to_uid(reach, uid, message, &delivered);
        if delivered.reached == 0 {
            let call = self.open(caller, 2, is_counted);
            self.send_abroad(payer, reach, order, Some(call));
            self.answered(call, delivered.into());
            return Ticket(call);
        }
        self.send_abroad(payer, reach, order, None);
        match is_counted {
            true => self.push_answered_at_once(caller, delivered),
            false => self.answer_at_once(caller, delivered.reached),
        }
    }

    /// A call to one core, and to the other nodes unless one of them asks.
    pub(super) fn call_in_cluster(
        &mut self,
        reach: Reach,
        caller: Caller,
        (bytes, is_push): (usize, bool),
        (home, what): (CoreId, Call),
        order: NodeOrder,
    ) -> Ticket {
        let payer = caller.payer();
        let abroad = self.goes_abroad(&caller);
        let for_verdict = caller.is_for_verdict();
        let call = self.open(caller, 1 + usize::from(abroad), is_push);
        if for_verdict {
            self.pending.answer_by_first(call);
        }
        if abroad {
            self.send_abroad(payer, reach, order, Some(call));
        }
        self.call(call, home, payer, bytes, what);
        Ticket(call)
    }

    /// A message to a uid whose sender is to hear if nobody is there, on any node.
    #[cold]
    #[inline(never)]
    pub(super) fn send_in_cluster(
        &mut self,
        reach: Reach,
        connection: ConnId,
        uid: &str,
        message: Message<'_>,
    ) {
        let sender = Caller::Sender(Box::new((connection, Box::from(uid))));
        self.push_in_cluster(reach, sender, uid, message, Wish::AsRuled);
    }

    /// Asks a uid's home for a change of its groups, and the other nodes.
    pub(super) fn change_membership(
        &mut self,
        caller: Caller,
        change: Box<MembershipChange>,
        joins: bool,
    ) {
        let home = self.outgoing.home(&change.uid);
        let abroad = self.goes_abroad(&caller);
        let call = self
            .pending
            .open(caller, 1 + usize::from(abroad), None, false);
        if abroad {
            let (uid, group) = (change.uid.clone(), change.group.clone());
            let order = match joins {
                true => NodeOrder::Join { uid, group },
                false => NodeOrder::Leave { uid, group },
            };
            self.send_abroad(None, change.reach, order, Some(call));
        }
        let what = match joins {
            true => Query::Join(change),
            false => Query::Leave(change),
        };
        self.query_as(call, home, what);
    }

    /// Asks which nodes there are.
    pub(super) fn ask_for_nodes(&mut self, caller: Caller) {
        let call = self.pending.open(caller, 1, None, false);
        self.tell_engine(ToEngine::Nodes { call });
    }

    /// Does what another node asks, as for a sender of this core.
    pub(super) fn do_for_node(&mut self, from: FromEngine) {
        let FromEngine {
            reach,
            order,
            number,
        } = from;
        let caller = Caller::Node(number);
        match order {
            NodeOrder::PushToUid { uid, payload } => {
                self.push(reach, caller, &uid, payload.message(), Wish::AsRuled);
            }
            NodeOrder::PushToGroup {
                group,
                refresh: true,
                payload,
                ..
            } => {
                self.send_to_group_here(reach, None, &group, payload.message(), true);
                self.answer_node(number, Abroad::default());
            }
            NodeOrder::PushToGroup {
                group,
                except,
                payload,
                ..
            } => {
                let how = (Wish::AsRuled, exceptions(except));
                self.push_to_group(reach, caller, &group, payload.message(), how);
            }
            NodeOrder::PushToAll { except, payload } => {
                let how = (Wish::AsRuled, exceptions(except));
                self.push_to_everybody(reach, caller, payload.message(), how);
            }
            NodeOrder::PushToConnection { name, payload } => {
                self.push_to_connection(reach, caller, name, payload.message());
            }
            NodeOrder::Kick { uid, last } => {
                self.kick(reach, caller, &uid, farewell(last));
            }
            NodeOrder::KickConnection { name, last } => {
                self.kick_connection(reach, caller, name, farewell(last));
            }
            // The engine knows, and has these done otherwise.
            NodeOrder::Describe
            | NodeOrder::Kept { .. }
            | NodeOrder::Forgotten { .. }
            | NodeOrder::Hold(_)
            | NodeOrder::Release(_)
            | NodeOrder::Stick { .. }
            | NodeOrder::StickyBegun
            | NodeOrder::Roster { .. } => self.answer_node(number, Abroad::default()),
            NodeOrder::Look(look) => self.look_for_node(reach, number, look),
            NodeOrder::Online { uid } => {
                self.online(reach, caller, &uid);
            }
            NodeOrder::Join { uid, group } => {
                self.change_membership(caller, change(reach, uid, group), true);
            }
            NodeOrder::Leave { uid, group } => {
                self.change_membership(caller, change(reach, uid, group), false);
            }
        }
    }

    /// A call of another node's is answered.
    pub(super) fn answer_for_node(
        &mut self,
        number: u64,
        delivered: &Delivered,
        mut found: Vec<QueryResult>,
    ) {
        if let Some(
            QueryResult::Connections(_) | QueryResult::Connection(_) | QueryResult::Uid(_),
        ) = found.first()
        {
            return self.tell_found_by_node(number, found.remove(0));
        }
        if let Some(answer) = self.look_answer(&found) {
            return self.tell_looked(number, answer);
        }
        let mut abroad = Abroad::to(delivered.told());
        for result in &found {
            match result {
                QueryResult::Joined { joined, refused } => {
                    abroad.reached += joined;
                    abroad.refused += refused;
                }
                QueryResult::Left { left, .. } => abroad.reached += left,
                _ => {}
            }
        }
        self.answer_node(number, abroad);
    }

    pub(super) fn answer_node(&mut self, number: u64, abroad: Abroad) {
        if let Some(engine) = self.outgoing.engine() {
            let part = AnswerPart::Abroad(abroad);
            let call = number;
            self.outgoing.post_free(engine, Body::Answer { call, part });
        }
    }

    /// What has come of a message to a uid whose sender wants to know whether nobody was there.
    pub(super) fn tell_sender(&mut self, sender: (ConnId, Box<str>), delivered: &Delivered) {
        // Where a node has not said, it may have got there.
        if delivered.told() == 0 && !delivered.unknown.is_some() {
            self.tell_offline(sender.0, &sender.1);
        }
    }

    /// Tells the engine which uids have come to this core and gone from it.
    #[inline]
    pub fn post_uid_interests(&mut self) {
        if self.has_engine() {
            self.tell_uid_news();
        }
    }

    pub(super) fn tell_engine(&mut self, what: ToEngine) {
        if let Some(engine) = self.outgoing.engine() {
            self.outgoing
                .post_free(engine, Body::ToEngine(Box::new(what)));
        }
    }

    /// As [`Local::tell_engine`], of this size and on the account of the connection that causes it: it is not read while too much
    /// of that waits for Redis.
    pub(super) fn tell_engine_for(&mut self, payer: ConnId, bytes: usize, what: ToEngine) {
        if let Some(engine) = self.outgoing.engine() {
            let body = Body::ToEngine(Box::new(what));
            let (connections, until) = (&mut self.shard.connections, Until::Taken);
            self.outgoing
                .post_until(connections, engine, Some(payer), bytes, until, body);
        }
    }

    /// A connection has joined a group, of which the group's home may have told the engine: whoever joins and leaves without end
    /// is not read while too much of that waits.
    #[inline]
    pub(super) fn pay_for_join(&mut self, connection: ConnId, group: &str) {
        if self.has_engine() {
            self.tell_engine_for(connection, group.len(), ToEngine::Toll);
        }
    }

    /// A group's home, where there is a cluster: the other nodes are told of its first and last members here.
    #[cold]
    pub(super) fn note_interest_in_cluster(&mut self, core: CoreId, interest: &Interest) {
        let Interest {
            namespace, group, ..
        } = interest;
        let was_here = self.homes.has(*namespace, group);
        let now = self.now();
        let ended = self
            .homes
            .note_in_cluster(core, interest, &self.shard.groups.rules, now);
        if let Some(roster) = ended {
            self.end_roster(*namespace, group, *roster);
        }
        let here = self.homes.has(*namespace, group);
        if was_here && !here {
            self.mirror_group_no_more(*namespace, group);
        }
        if here != was_here {
            let group = group.clone();
            self.tell_engine(ToEngine::Group { group, here });
        }
        if here {
            self.begin_roster(*namespace, group);
        }
    }

    /// A kick, where there is a cluster.
    #[cold]
    pub(super) fn kick_in_cluster(
        &mut self,
        reach: Reach,
        caller: Caller,
        uid: &str,
        last: Option<Box<Farewell>>,
    ) -> Ticket {
        let order = NodeOrder::Kick {
            uid: Box::from(uid),
            last: last_words(last.as_deref()),
        };
        let by = self.named(&caller);
        let bytes = uid.len() + farewell_bytes(last.as_deref());
        let uid = Box::from(uid);
        let home = self.outgoing.home(&uid);
        let what = Call::Kick {
            reach,
            uid,
            by,
            last,
        };
        self.call_in_cluster(reach, caller, (bytes, false), (home, what), order)
    }
}

fn change(reach: Reach, uid: Box<str>, group: Box<str>) -> Box<MembershipChange> {
    Box::new(MembershipChange {
        reach,
        uid,
        group,
        sticky: false,
    })
}
