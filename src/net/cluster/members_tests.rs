//! What of the other nodes is known, as they come, are lost, and go.

use std::time::{Duration, Instant};

use ahash::AHashSet;

use super::members::{AWAITED, Audience, LOST, Members, SETTLING, SILENT_WORDS};
use crate::protocol::cluster::{NodeId, NodeState, NodeWord};
use crate::protocol::partitions::Partition;

fn word(node: u64, link: u64, state: NodeState) -> NodeWord {
    NodeWord {
        node: NodeId(node),
        name: "n".into(),
        link,
        client: link,
        state,
        asks: false,
        partition: Partition::WHOLE,
    }
}

fn hear_oneself(members: &mut Members, now: Instant) {
    members.said(now, true);
    members.heard_oneself();
}

#[test]
fn who_subscribes_makes_users_unknown_and_everybody_is_reached() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    assert_eq!(members.incomplete(Audience::Some), 0);
    members.heard(&word(1, 10, NodeState::Subscribing));
    assert_eq!(members.incomplete(Audience::Some), 1);
    assert_eq!(members.incomplete(Audience::All), 0);
    members.heard(&word(1, 10, NodeState::Whole));
    assert_eq!(members.incomplete(Audience::Some), 0);
    assert_eq!(members.links(), [10]);
    members.heard(&word(1, 10, NodeState::Leaving));
    assert!(members.links().is_empty() && members.take_fenced().is_empty());
}

#[test]
fn who_was_there_before_is_awaited() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    members.heard(&word(2, 20, NodeState::Whole));
    members.begin_anew(Duration::ZERO, now);
    assert_eq!(members.incomplete(Audience::All), 2);
    members.heard(&word(1, 11, NodeState::Whole));
    // It is not held against them that they are not heard.
    for _ in 0..10 {
        hear_oneself(&mut members, now);
        members.heard(&word(1, 11, NodeState::Whole));
    }
    assert_eq!(members.incomplete(Audience::Some), 1);
    assert_eq!(members.next_due(), Some(now + AWAITED));
    assert!(members.wants_word(now + AWAITED) && !members.wants_word(now));
    // One that was said before tells nothing.
    members.said(now, false);
    members.said(now + AWAITED, false);
    assert!(!members.wants_word(now + AWAITED) && members.next_due().is_none());
    members.heard_oneself();
    assert_eq!(members.incomplete(Audience::Some), 1);
    members.heard_oneself();
    assert_eq!(members.incomplete(Audience::Some), 0);
    assert_eq!(members.links(), [11]);
}

#[test]
fn who_is_silent_is_gone_and_its_connection_ended() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    members.heard(&word(2, 20, NodeState::Whole));
    for _ in 0..SILENT_WORDS {
        assert!(members.take_fenced().is_empty());
        // Those that are said for a reason do not count.
        members.said(now, false);
        members.heard_oneself();
        hear_oneself(&mut members, now);
        members.heard(&word(2, 20, NodeState::Whole));
    }
    assert_eq!(members.take_fenced(), [10]);
    assert_eq!(members.links(), [20]);
}

#[test]
fn a_node_whose_process_is_another_one_has_not_gone() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    // Redis counts the second process of a node in an upgrade, which says that it is none.
    members.expect(3, now);
    members.heard(&word(1, 10, NodeState::Whole));
    members.heard(&word(2, 20, NodeState::Whole));
    assert_eq!(members.incomplete(Audience::Some), 1);
    members.heard(&word(1, 11, NodeState::Shadow));
    assert_eq!(members.incomplete(Audience::Some), 0);
    let before = members.departures();
    members.heard(&word(1, 11, NodeState::Whole));
    assert_eq!(members.departures(), before);
    let links = |members: &Members| {
        let mut links = members.links();
        links.sort_unstable();
        links
    };
    assert_eq!(links(&members), [11, 20]);
    // This node's own next process knows them as well.
    members.heard(&word(2, 20, NodeState::Subscribing));
    members.lost(11, now);
    let (mut next, later) = (Members::default(), now + LOST / 2);
    let written = postcard::to_allocvec(&members.pack(now)).expect("it is written");
    next.unpack(postcard::from_bytes(&written).expect("it is read"), later);
    assert_eq!(next.incomplete(Audience::All), 1);
    assert_eq!(next.incomplete(Audience::Some), 2);
    assert_eq!(
        links(&next),
        [11, 20],
        "and whether it has ended is asked, too"
    );
    hear_oneself(&mut next, later + LOST);
    assert_eq!(next.incomplete(Audience::All), 0);
    // One that comes back by another connection, which asks, may have lost something.
    let before = next.departures();
    let again = NodeWord {
        asks: true,
        ..word(2, 21, NodeState::Whole)
    };
    next.heard(&again);
    assert!(next.departures() > before);
}

#[test]
fn who_is_elsewhere_may_have_users() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    members.compare(&members.joined().collect());
    assert_eq!(members.incomplete(Audience::Some), 0);
    members.compare(&[NodeId(1), NodeId(2)].into_iter().collect());
    assert_eq!(members.incomplete(Audience::Some), 1);
    members.compare(&AHashSet::new());
    assert_eq!(members.incomplete(Audience::Some), 0);
}

#[test]
fn who_is_lost_may_come_back() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    let before = members.departures();
    members.lost(10, now);
    assert!(members.departures() > before);
    assert_eq!(members.incomplete(Audience::All), 1);
    members.heard(&word(1, 11, NodeState::Subscribing));
    hear_oneself(&mut members, now + LOST);
    assert_eq!(members.incomplete(Audience::All), 0);
    assert_eq!(members.incomplete(Audience::Some), 1);
    members.lost(11, now);
    hear_oneself(&mut members, now + LOST);
    assert_eq!(members.incomplete(Audience::Some), 0);
}

#[test]
fn whose_process_has_ended_is_gone_at_once() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    members.heard(&word(2, 20, NodeState::Subscribing));
    assert_eq!(members.take_unseen().len(), 2);
    assert!(members.take_unseen().is_empty());
    members.saw([10, 20].into_iter());
    let before = members.departures();
    members.ended(10, now);
    members.ended(20, now);
    assert_eq!(members.take_gone(), [NodeId(1), NodeId(2)]);
    assert_eq!(members.take_ended(), [NodeId(1), NodeId(2)]);
    assert_eq!(members.incomplete(Audience::Some), 0);
    assert_eq!(members.departures(), before, "what was asked is exact");
    assert!(!members.may_be(NodeId(1)) && members.links().is_empty());
    // It was seen between the ends of its connections.
    members.heard(&word(1, 11, NodeState::Whole));
    members.saw([11].into_iter());
    members.heard(&word(1, 11, NodeState::Whole));
    members.lost(11, now);
    assert_eq!(members.incomplete_but_lost(Audience::Some), 0);
    assert_eq!(
        (members.incomplete(Audience::Some), members.links()),
        (1, vec![11])
    );
    members.ended(11, now);
    assert_eq!(members.incomplete(Audience::Some), 0);
    // One that is back by another link is not the one that was looked at.
    members.heard(&word(1, 12, NodeState::Whole));
    members.ended(11, now);
    assert_eq!(members.links(), [12]);
}

#[test]
fn who_is_awaited_is_not_judged_by_its_link() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    // This node is the first one that is back; the others' connections have ended, too.
    members.begin_anew(SETTLING, now);
    assert!(members.links().is_empty());
    members.ended(10, now);
    members.lost(10, now);
    assert!(members.has(NodeId(1)) && members.take_gone().is_empty());
    hear_oneself(&mut members, now + SETTLING);
    assert_eq!(members.incomplete(Audience::Some), 1);
    // Once it is heard it is as any other.
    members.heard(&word(1, 11, NodeState::Whole));
    assert_eq!(members.take_unseen(), [11]);
    members.saw([11].into_iter());
    members.ended(11, now);
    assert_eq!(members.incomplete(Audience::Some), 0);
}

#[test]
fn whose_link_was_never_seen_is_lost_and_not_judged() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    members.saw([10].into_iter());
    // All connections end; this node is the first that is back, and the other one says a word before it notices.
    members.begin_anew(Duration::ZERO, now);
    members.heard(&word(1, 10, NodeState::Whole));
    members.ended(10, now);
    assert!(members.take_gone().is_empty());
    assert_eq!(members.incomplete(Audience::Some), 1);
    members.heard(&word(1, 11, NodeState::Whole));
    assert_eq!(members.incomplete(Audience::Some), 0);
}

#[test]
fn many_are_looked_at_in_turn() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(Duration::ZERO, now);
    for node in 1..=300 {
        members.heard(&word(node, 10 * node, NodeState::Whole));
    }
    let mut seen: Vec<u64> = (0..3).flat_map(|_| members.next_links()).collect();
    assert_eq!(seen.len(), 3 * 128);
    seen.sort_unstable();
    seen.dedup();
    let mut all = members.links();
    all.sort_unstable();
    assert_eq!(seen, all);
}

#[test]
fn strangers_are_waited_for() {
    let (mut members, now) = (Members::default(), Instant::now());
    members.begin_anew(SETTLING, now);
    assert_eq!(members.incomplete(Audience::All), 1);
    members.expect(2, now);
    hear_oneself(&mut members, now + SETTLING);
    assert_eq!(members.incomplete(Audience::Some), 2);
    members.heard(&word(1, 10, NodeState::Whole));
    members.heard(&word(2, 20, NodeState::Whole));
    assert_eq!(members.incomplete(Audience::Some), 0);
    // Once they have been heard no more is expected.
    hear_oneself(&mut members, now + SETTLING);
    members.heard(&word(2, 20, NodeState::Leaving));
    assert_eq!(members.incomplete(Audience::Some), 0);
    members.expect(2, now);
    hear_oneself(&mut members, now + AWAITED);
    assert_eq!(members.incomplete(Audience::Some), 0);
}
