//! How a [`Party`] has the nodes agree on whose a uid is (`uid_policy`, and clients with a name): holds are published in the
//! uid's channel, whose order is the same for all, and each node answers what it has.

use std::time::Instant;

use super::holders::{Evicted, HoldStage, HoldVerdict, OwnHold, Unsaid};
use super::interests::SubscriptionChange;
use super::party::{Party, answer, unknown};
use crate::app::envelope::Body;
use crate::app::hold_order::{HeldOrder, NewHold};
use crate::app::outcome::{Abroad, Unknown};
use crate::bus::{Endpoint, Until};
use crate::close::CloseReason;
use crate::ident::{ConnId, CoreId, NamespaceId, Reach};
use crate::protocol::cluster::{ClusterMessage, NodeAnswer, NodeId, NodeOrder, OrderHead};
use crate::protocol::cluster_holds::{HoldOrder, ReleaseOrder, SaidAgain};

impl Party {
    /// A core has something for it.
    pub(super) fn take_held(
        &mut self,
        bus: &mut Endpoint<Body>,
        (from, order): (CoreId, HeldOrder),
        now: Instant,
        is_joined: bool,
    ) {
        match order {
            HeldOrder::Hold(new) => self.hold(bus, from, new, now, is_joined),
            HeldOrder::Release {
                namespace,
                uid,
                connection,
                call,
            } => {
                let whose = (namespace, from, connection);
                if let Some(call) = call.filter(|_| is_joined) {
                    return self.release(bus, (whose, &uid), call, now);
                }
                if let Some(number) = self.holders.remove(&uid, whose) {
                    // It has ended before anybody was asked.
                    self.end(bus, number, Unknown::nodes_silent(1));
                }
                if let Some(call) = call {
                    answer(bus, from, call, unknown(Unknown::away()));
                }
            }
        }
    }

    /// Somebody wants to know whether others have it still.
    fn release(
        &mut self,
        bus: &mut Endpoint<Body>,
        (whose, uid): ((NamespaceId, CoreId, ConnId), &str),
        call: u64,
        now: Instant,
    ) {
        let number = self.ask_later(whose.1, call, now);
        match self.holders.release(uid, whose, number) {
            true => self.say_holds(uid),
            // Nobody has been told that it came.
            false => self.end(bus, number, Unknown::nodes_silent(1)),
        }
    }

    fn hold(
        &mut self,
        bus: &mut Endpoint<Body>,
        core: CoreId,
        new: NewHold,
        now: Instant,
        is_joined: bool,
    ) {
        let NewHold {
            namespace,
            uid,
            connection,
            client,
            how,
            policy,
            since,
            call,
        } = new;
        if how.is_none() && self.holders.has(&uid, (namespace, core, connection)) {
            return;
        }
        let number = match call {
            Some(call) if is_joined => self.ask_later(core, call, now),
            Some(call) => {
                answer(bus, core, call, unknown(Unknown::away()));
                0
            }
            None => 0,
        };
        // What was settled elsewhere is not said; what cannot be said is said anew.
        let is_said = how.is_some() && is_joined;
        let is_uids = connection == ConnId::NOBODY;
        let again = (how.is_some() && !is_joined).then_some(SaidAgain { wants_reply: true });
        let hold = OwnHold {
            core,
            connection,
            namespace,
            client,
            serial: 0,
            since,
            how: how.filter(|_| is_said).unwrap_or(policy),
            policy,
            again,
            stage: match is_said {
                true => HoldStage::Said,
                false => HoldStage::Held,
            },
            unsaid: is_said || how.is_some() && !is_uids,
            number,
            release: 0,
            is_release_said: false,
            carries: false,
            is_gone: false,
        };
        self.holders.add(&uid, hold);
        if is_said {
            self.say_holds(&uid);
        }
    }

    /// Publishes what is to be said of a uid, if that comes back here.
    fn say_holds(&mut self, uid: &str) {
        let channel = self.channel_of_uid(uid);
        if !self.interests.is_in_force(&channel) {
            return;
        }
        for unsaid in self.holders.take_unsaid(uid) {
            let (hold, order, number) = match unsaid {
                Unsaid::Hold(hold) => {
                    let number = match hold.again {
                        None => hold.number,
                        Some(_) => 0,
                    };
                    let order = NodeOrder::Hold(hold.order(uid));
                    (hold, order, number)
                }
                Unsaid::Release(hold) => {
                    let (uid, serial) = (Box::from(uid), hold.serial);
                    let order = NodeOrder::Release(ReleaseOrder { uid, serial });
                    let number = hold.release;
                    (hold, order, number)
                }
            };
            if number != 0 {
                self.asked_only_now(number);
            }
            let message = self.hold_message(&hold, order, number);
            let number = Some(number).filter(|number| *number != 0);
            self.publish(channel.clone(), &message, number);
        }
    }

    fn hold_message(&mut self, hold: &OwnHold, order: NodeOrder, number: u64) -> ClusterMessage {
        let head = OrderHead {
            origin: self.node,
            number,
            lane: hold.core.0,
            namespaces: self.spaces.names(Reach::of(hold.namespace)),
        };
        ClusterMessage::Order(head, order)
    }

    /// Redis has subscribed this node to these.
    pub(super) fn say_holds_in(&mut self, change: &SubscriptionChange) {
        if !change.subscribes || self.holders.is_empty() {
            return;
        }
        let all = self.channel_of_uid("");
        for channel in &change.channels {
            if let Some(uid) = channel.strip_prefix(&*all) {
                self.say_holds(uid);
            }
        }
    }

    /// A hold has come by the uid's channel, or by this node's own.
    pub(super) fn hold_came(
        &mut self,
        bus: &mut Endpoint<Body>,
        head: &OrderHead,
        order: &HoldOrder,
    ) {
        if head.origin == self.node {
            let blocks = self.holders.placed(&order.uid, order.serial);
            let holds = false;
            return self.answered(bus, head.number, NodeAnswer::Holds { holds, blocks });
        }
        let reach = self.spaces.reach(&head.namespaces).unwrap_or_default();
        let mut told = HoldVerdict::default();
        for namespace in reach.namespaces() {
            let verdict = self
                .holders
                .judge(namespace, (head.origin, self.node), order);
            told.holds |= verdict.holds;
            told.blocks |= verdict.blocks;
            for number in verdict.refused {
                if let Some(asked) = self.asked.get_mut(&number) {
                    asked.abroad.refused += 1;
                }
            }
            for evicted in verdict.evicted {
                evict(bus, &order.uid, evicted);
            }
            if let Some(serial) = verdict.stays {
                self.say_to(head.origin, &order.uid, serial);
            }
        }
        let HoldVerdict { holds, blocks, .. } = told;
        self.answer_node(
            head.origin,
            head.number,
            NodeAnswer::Holds { holds, blocks },
        );
    }

    /// A release has come by the uid's channel.
    pub(super) fn release_came(
        &mut self,
        bus: &mut Endpoint<Body>,
        head: &OrderHead,
        order: &ReleaseOrder,
    ) {
        let own = Some(order.serial).filter(|_| head.origin == self.node);
        let reach = self.spaces.reach(&head.namespaces).unwrap_or_default();
        let mut holds = false;
        for namespace in reach.namespaces() {
            holds |= self.holders.released(namespace, &order.uid, own);
        }
        let blocks = false;
        let told = NodeAnswer::Holds { holds, blocks };
        self.answer_node_or_self(bus, (head.origin, head.number), told);
    }

    /// Tells a node of a hold here that stays where its own is to go.
    fn say_to(&mut self, node: NodeId, uid: &str, serial: u64) {
        let Some(hold) = self.holders.get_mut(uid, serial) else {
            return;
        };
        let mut hold = hold.clone();
        hold.how = hold.policy;
        hold.again = Some(SaidAgain { wants_reply: false });
        let order = NodeOrder::Hold(hold.order(uid));
        let message = self.hold_message(&hold, order, 0);
        self.publish(self.channel_of_node(node), &message, None);
    }

    /// Something is answered that was asked of others, which may be whether they hold a uid.
    pub(super) fn hold_answered(&mut self, number: u64, abroad: &Abroad) {
        if let Some(uid) =
            self.holders
                .settled(number, abroad.refused > 0, abroad.unknown.is_some())
        {
            self.say_holds(&uid);
        }
    }
}

/// Has a connection of this node closed.
fn evict(bus: &mut Endpoint<Body>, uid: &str, evicted: Evicted) {
    let Evicted {
        core,
        connection,
        is_replaced,
    } = evicted;
    let reason = match is_replaced {
        true => CloseReason::Replaced,
        false => CloseReason::UidInUse,
    };
    let body = Body::EndHeld(Box::new((connection, Box::from(uid), reason)));
    bus.post(core, None, Until::Taken, body);
}
