//! Which of a node's parties something is for, where its cluster has several Redis: by what it is about ([`Topic`]), or by the
//! number by which a party has asked.

use crate::app::abroad::ToEngine;
use crate::app::abroad_streams::StreamOrder;
use crate::app::envelope::Body;
use crate::app::follow_step::FollowedStream;
use crate::app::hold_order::{HeldOrder, NewHold};
use crate::protocol::cluster::{NodeLook, NodeOrder};
use crate::protocol::cluster_holds::{HoldOrder, ReleaseOrder};
use crate::protocol::partitions::Topic;

/// Whose mail something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailPlace<'a> {
    Of(Topic<'a>),
    /// The party's that has asked by this number.
    AskedBy(u64),
    /// Any one's that has its Redis.
    Any,
}

/// Whose it is.
pub fn place_of(body: &Body) -> MailPlace<'_> {
    match body {
        Body::ToEngine(what) => place_of_order(what),
        Body::Answer { call, .. } => MailPlace::AskedBy(*call),
        _ => MailPlace::Any,
    }
}

/// Of so many parties, the one that has given out this number.
pub fn asked_by(number: u64, parties: usize) -> usize {
    (number % parties as u64) as usize
}

fn place_of_order(what: &ToEngine) -> MailPlace<'_> {
    match what {
        ToEngine::Uid(interest) => MailPlace::Of(Topic::Uid(&interest.uid)),
        ToEngine::Group { group, .. } => MailPlace::Of(Topic::Group(group)),
        ToEngine::Look {
            node: Some(node), ..
        } => MailPlace::Of(Topic::Node(node.0)),
        ToEngine::Look { look, .. } => match topic_of_look(look) {
            // Each of them has all nodes.
            Topic::All => MailPlace::Any,
            topic => MailPlace::Of(topic),
        },
        ToEngine::Nodes { .. } | ToEngine::Toll => MailPlace::Any,
        ToEngine::Order { order, .. } => MailPlace::Of(topic_of(order)),
        ToEngine::Stream(order) => place_of_stream_order(order),
        ToEngine::Held(HeldOrder::Hold(NewHold { uid, .. }) | HeldOrder::Release { uid, .. }) => {
            MailPlace::Of(Topic::Uid(uid))
        }
        ToEngine::Roster(order) => MailPlace::Of(Topic::Group(&order.group)),
        ToEngine::Sticky(order) => match order.partition() {
            Some(nth) => MailPlace::AskedBy(nth.into()),
            None => MailPlace::Of(order.topic()),
        },
    }
}

/// What an order for other nodes is about: its channel is of that.
pub fn topic_of(order: &NodeOrder) -> Topic<'_> {
    if let Some(node) = order.node() {
        return Topic::Node(node.0);
    }
    match order {
        NodeOrder::PushToUid { uid, .. }
        | NodeOrder::Kick { uid, .. }
        | NodeOrder::Online { uid }
        | NodeOrder::Join { uid, .. }
        | NodeOrder::Leave { uid, .. }
        | NodeOrder::Stick { uid, .. }
        | NodeOrder::Hold(HoldOrder { uid, .. })
        | NodeOrder::Release(ReleaseOrder { uid, .. }) => Topic::Uid(uid),
        NodeOrder::PushToGroup { group, .. } | NodeOrder::Roster { group, .. } => {
            Topic::Group(group)
        }
        NodeOrder::Look(look) => topic_of_look(look),
        // Scripts publish these where their streams are.
        NodeOrder::Kept { .. } | NodeOrder::Forgotten { .. } => Topic::All,
        NodeOrder::PushToAll { .. }
        | NodeOrder::Describe
        | NodeOrder::StickyBegun
        | NodeOrder::PushToConnection { .. }
        | NodeOrder::KickConnection { .. } => Topic::All,
    }
}

fn topic_of_look(look: &NodeLook) -> Topic<'_> {
    match look {
        NodeLook::Group { group, .. } => Topic::Group(group),
        NodeLook::ConnectionsOfUid { uid, .. } => Topic::Uid(uid),
        NodeLook::Connection { .. } => look.node().map_or(Topic::All, |node| Topic::Node(node.0)),
        NodeLook::CountGroups(_)
        | NodeLook::Page { .. }
        | NodeLook::Connections(_)
        | NodeLook::Ungroup { .. } => Topic::All,
    }
}

fn place_of_stream_order(order: &StreamOrder) -> MailPlace<'_> {
    match order {
        StreamOrder::Keep(order) => place_of_stream(Some(&order.of)),
        StreamOrder::Read { of, .. } | StreamOrder::Delivered { of, .. } => {
            place_of_stream(Some(of))
        }
        // All of one order are in one partition.
        StreamOrder::Compare(each) => place_of_stream(each.first().map(|(of, _)| of)),
        StreamOrder::Forget { of, .. } => place_of_stream(of.first()),
        StreamOrder::Handled(place) => MailPlace::Of(Topic::Uid(&place.of.1)),
        StreamOrder::AskHandled(at) => MailPlace::Of(Topic::Uid(&at.of.1)),
        StreamOrder::Claim { id, .. } | StreamOrder::Settle { id, .. } => {
            MailPlace::Of(Topic::Id(id))
        }
    }
}

fn place_of_stream(of: Option<&FollowedStream>) -> MailPlace<'_> {
    of.map_or(MailPlace::Any, |of| MailPlace::Of(of.topic()))
}
