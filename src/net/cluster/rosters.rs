//! Who is in groups whose members are told of each other, as their homes on the nodes tell it ([`Party`]).
//!
//! A node is asked whom it has when what it tells comes to this one. Bound: a question for each such group that is here.

use std::time::Instant;

use super::interests::SubscriptionChange;
use super::party::{Party, answer, unknown};
use crate::app::abroad::{RosterNews, RosterOrder};
use crate::app::envelope::Body;
use crate::app::outcome::Unknown;
use crate::bus::{Endpoint, Until};
use crate::ident::{ConnId, CoreId, Reach};
use crate::protocol::cluster::{NodeAnswer, NodeOrder, OrderHead};
use crate::protocol::cluster_roster::RosterWords;

impl Party {
    /// A group's home has something for the others.
    pub(super) fn take_roster_order(
        &mut self,
        bus: &mut Endpoint<Body>,
        (from, order): (CoreId, RosterOrder),
        now: Instant,
        is_joined: bool,
    ) {
        if !is_joined {
            // The core asks again when Redis is back.
            if let Some(call) = order.call {
                answer(bus, from, call, unknown(Unknown::away()));
            }
            return;
        }
        let channel = self.channel_of_group(&order.group);
        let waits = order.call.is_some() && order.node.is_none();
        if waits && !self.interests.is_in_force(&channel) {
            let waiting = self.rosters.waiting.entry(channel).or_default();
            return waiting.push((from, order));
        }
        self.tell_roster(from, order, now);
    }

    fn tell_roster(&mut self, from: CoreId, order: RosterOrder, now: Instant) {
        let RosterOrder {
            namespace,
            group,
            about,
            node,
            call,
        } = order;
        let order = NodeOrder::Roster { group, about };
        self.ask_node(node, (from, call), Reach::of(namespace), order, now);
    }

    /// Redis has taken a change of what this node is subscribed to.
    pub(super) fn ask_for_rosters(&mut self, change: &SubscriptionChange, now: Instant) {
        if self.rosters.waiting.is_empty() {
            return;
        }
        for channel in &change.channels {
            let waiting = self.rosters.waiting.remove(&**channel);
            for (from, order) in waiting.unwrap_or_default() {
                self.tell_roster(from, order, now);
            }
        }
    }

    /// There is no connection to Redis any more.
    pub(super) fn rosters_lost(&mut self, bus: &mut Endpoint<Body>) {
        for (_, waiting) in std::mem::take(&mut self.rosters.waiting) {
            for (from, order) in waiting {
                if let Some(call) = order.call {
                    answer(bus, from, call, unknown(Unknown::away()));
                }
            }
        }
    }

    /// Another node says something of a group.
    pub(super) fn do_roster(
        &mut self,
        bus: &mut Endpoint<Body>,
        head: &OrderHead,
        (group, about): (Box<str>, RosterWords),
    ) {
        let of = (head.origin, head.number);
        let namespace = match self.spaces.reach(&head.namespaces) {
            Some(reach) => reach.namespaces().next(),
            None => None,
        };
        let Some(namespace) = namespace else {
            return self.answer_node_or_self(bus, of, NodeAnswer::Reached(0));
        };
        // What it says when it is held to be gone is nobody's. It is asked again once it is there.
        if !self.members.has(head.origin) || self.is_behind(bus) {
            return;
        }
        let bytes = group.len() + about.bytes();
        let home = bus.home(&group);
        let news = RosterNews::Said {
            from: head.origin,
            namespace,
            group,
            about,
            number: self.number_of_order(of),
        };
        post(bus, home, bytes, news);
    }

    /// Tells the cores which nodes are there no more.
    pub(super) fn tell_gone(&mut self, bus: &mut Endpoint<Body>) {
        for node in self.members.take_gone() {
            for core in 0..bus.cores() {
                post(
                    bus,
                    CoreId(core as u16),
                    0,
                    RosterNews::Gone(node, self.partition),
                );
            }
        }
    }
}

fn post(bus: &mut Endpoint<Body>, core: CoreId, bytes: usize, news: RosterNews) {
    let payer = Some((ConnId::NOBODY, bytes));
    let body = Body::RosterNews(Box::new(news));
    bus.post(core, payer, Until::Taken, body);
}
