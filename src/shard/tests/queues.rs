//! Connections of uids with a queue: what is in flight, and what is held behind what waits.

use std::time::{Duration, Instant};

use super::*;
use crate::payload::Payload;
use crate::streams::{Epoch, Kind, Position};

fn position(offset: u64) -> Position {
    Position {
        epoch: Epoch::of(7),
        offset,
    }
}

fn send(shard: &mut Shard, uid: &str, text: &str, at: u64) -> u32 {
    let payload = Payload::new(Message::Text(text));
    let marked = Marked {
        kind: Kind::Uid,
        name: uid,
        mark: Some(Mark {
            position: position(at),
            kept: true,
            queued: true,
        }),
        payload: &payload,
    };
    shard.send_marked_to_uid(NamespaceId(1), marked, &mut |_, _| position(0))
}

/// What a peer has of what was sent, if so many bytes of it are outstanding.
fn has_up_to(shard: &mut Shard, id: ConnId, outstanding: usize) -> u64 {
    let mut one = shard.in_flight.take_left(id).expect("it has left");
    one.acknowledge(outstanding)
}

#[test]
fn what_the_kernel_still_has_is_not_delivered() {
    for (outstanding, upto) in [
        (0, 3),
        (1, 2),
        (3, 2),
        (4, 1),
        (6, 1),
        (7, 0),
        (9, 0),
        (99, 0),
    ] {
        let mut shard = shard(&Config::default());
        let one = bound(&mut shard, 1, "u");
        shard.take_from_queue(one, 0);
        for at in 1..=3 {
            assert_eq!(send(&mut shard, "u", "ab", at), 1);
        }
        write_all(&mut shard, one);
        shard.close(one, CloseReason::Reset);
        assert_eq!(
            has_up_to(&mut shard, one, outstanding),
            upto,
            "{outstanding}"
        );
        assert!(shard.in_flight.take_left(one).is_none(), "asked for once");
    }
}

#[test]
fn what_was_not_written_is_not_delivered() {
    let mut shard = shard(&Config::default());
    let one = bound(&mut shard, 1, "u");
    // Of what is not its uid's nothing is counted, but for its bytes.
    shard.send(one, Message::Text("hello"));
    shard.take_from_queue(one, 4);
    send(&mut shard, "u", "ab", 5);
    shard.written(one, 6);
    send(&mut shard, "u", "cd", 6);
    shard.written(one, 3);
    shard.close(one, CloseReason::ByPeer);
    assert_eq!(has_up_to(&mut shard, one, 0), 5);
}

#[test]
fn others_are_told_what_has_come() {
    let mut shard = shard(&Config::default());
    shard.in_flight.tell_others();
    let one = bound(&mut shard, 1, "u");
    shard.take_from_queue(one, 0);
    let now = Instant::now();
    assert_eq!(shard.in_flight.ask_again_at(now), None);
    for at in 1..=3 {
        assert_eq!(send(&mut shard, "u", "ab", at), 1);
    }
    let least = |shard: &Shard| shard.least_acknowledged(NamespaceId(1), "u");
    let ask = |shard: &mut Shard, later, outstanding| {
        let now = now + Duration::from_millis(later);
        let ask = shard.in_flight.ask_for_others(now, |_| Some(outstanding));
        ask.len()
    };
    assert_eq!(shard.in_flight.ask_again_at(now), Some(now));
    assert_eq!(ask(&mut shard, 0, 0), 0, "nothing is written");
    assert_eq!(least(&shard), Some(0));
    write_all(&mut shard, one);
    assert_eq!(ask(&mut shard, 10, 4), 0, "it was asked just now");
    // One that acknowledged nothing is passed over once.
    assert_eq!(ask(&mut shard, 100, 4), 0);
    assert_eq!(ask(&mut shard, 200, 4), 1);
    assert_eq!(least(&shard), Some(1));
    assert_eq!(ask(&mut shard, 300, 0), 1);
    assert_eq!(least(&shard), None);
    assert_eq!(shard.in_flight.ask_again_at(now), None);
    // One that has left counts until it is known what it has.
    send(&mut shard, "u", "ab", 4);
    write_all(&mut shard, one);
    shard.close(one, CloseReason::Reset);
    assert_eq!(least(&shard), Some(3));
    assert_eq!(has_up_to(&mut shard, one, 1), 3);
    assert_eq!(least(&shard), None);
}

#[test]
fn one_that_begins_again_further_back_has_come_no_further() {
    let mut shard = shard(&Config::default());
    shard.in_flight.tell_others();
    let one = bound(&mut shard, 1, "u");
    shard.take_from_queue(one, 4);
    send(&mut shard, "u", "ab", 5);
    assert_eq!(shard.least_acknowledged(NamespaceId(1), "u"), Some(4));
    shard.take_from_queue_again(one, position(1));
    assert_eq!(shard.least_acknowledged(NamespaceId(1), "u"), Some(1));
}

#[test]
fn of_several_that_have_left_each_counts_until_it_is_taken() {
    let mut shard = shard(&Config::default());
    shard.in_flight.tell_others();
    for (listener, first) in [(1, 0), (1, 1)] {
        let one = bound(&mut shard, listener, "u");
        shard.take_from_queue(one, first);
    }
    send(&mut shard, "u", "ab", 2);
    let all: Vec<ConnId> = shard
        .connections_of(NamespaceId(1), "u")
        .into_iter()
        .collect();
    all.iter()
        .for_each(|id| shard.close(*id, CloseReason::Reset));
    let least = |shard: &Shard| shard.least_acknowledged(NamespaceId(1), "u");
    for left in [Some(1), None] {
        assert!(shard.in_flight.next_left().is_some());
        assert_eq!(least(&shard), left);
    }
}

#[test]
fn the_kernel_is_asked_when_much_is_in_flight() {
    let mut shard = shard(&Config::default());
    let one = bound(&mut shard, 1, "u");
    shard.take_from_queue(one, 0);
    let mut asked = 0;
    for at in 1..=1_000 {
        send(&mut shard, "u", "ab", at);
        write_all(&mut shard, one);
        for id in shard.in_flight.take_long() {
            asked += 1;
            shard.acknowledge(id, 0);
            assert_eq!(
                shard.in_flight.get(id.slot).map(InFlight::unacknowledged),
                Some(0)
            );
        }
    }
    assert_eq!(asked, 1_000 / 64);
}

#[test]
fn whoever_is_unbound_gets_what_was_held_and_is_behind_no_more() {
    let mut shard = shard(&Config::default());
    let one = bound(&mut shard, 1, "u");
    shard.take_from_queue(one, 2);
    shard.follow(one, Following::of_queue(position(2)));
    let payload = Payload::new(Message::Text("for all"));
    let to_all = Marked {
        kind: Kind::All,
        name: "all",
        mark: None,
        payload: &payload,
    };
    assert_eq!(send(&mut shard, "u", "queued", 5), 1);
    let mut tops = |_, _: &str| position(0);
    assert_eq!(
        shard.send_marked_to_everybody(NamespaceId(1), to_all, &mut tops),
        1
    );
    assert!(
        shard.connections.outbox_is_empty(one),
        "what waits is first"
    );
    shard.unbind(one);
    assert_eq!(waiting(&shard, one), b"for all\n");
    assert!(!shard.followers.any_behind());
    // Nothing of the queue was sent.
    write_all(&mut shard, one);
    assert_eq!(has_up_to(&mut shard, one, 0), 2);
    assert_eq!(shard.send_to_everybody(Reach(0b10), Message::Text("x")), 1);
    check_accounts(&shard, "unbound");
}
