//! Whose fault it is that something waits: the receiver's, ours, or an app's.

use super::*;

/// A connection with an outbox of 10,000 bytes whose kernel refuses what waits.
fn refusing(shard: &mut Shard) -> ConnId {
    let id = bound(shard, 1, "u");
    assert!(shard.send(id, Message::Text(&text(1_000 - 33))));
    shard.set_blocked(id, true);
    id
}

/// A tenth of its outbox, for it and others.
fn to_all(shard: &mut Shard, id: ConnId) -> bool {
    shard.send_to_everybody(REACH, Message::Text(&text(1_000 - 33)));
    shard.connections.phase(id) == Phase::Home
}

/// A tenth of its outbox, for it alone.
fn to_one(shard: &mut Shard, id: ConnId) -> bool {
    shard.send(id, Message::Text(&text(1_000 - 33)))
}

/// How often it takes that.
fn fill(shard: &mut Shard, id: ConnId, send: fn(&mut Shard, ConnId) -> bool) -> usize {
    (0..1_000).take_while(|_| send(shard, id)).count()
}

fn is_slow(shard: &Shard, id: ConnId) -> bool {
    shard.connections.reason(id) == Some(CloseReason::SlowConsumer)
}

#[test]
fn what_came_before_its_kernel_refused_is_not_held_against_it() {
    let mut shard = shard(&Config::default());
    let id = bound(&mut shard, 1, "u");
    // Twenty times what its outbox holds, before anything was offered to it.
    for _ in 0..20 {
        assert!(shard.send(id, Message::Text(&text(9_900))));
    }
    assert_eq!(
        shard.outboxes.backlog.bytes(),
        20 * (9_901 + OUTBOX_MESSAGE_COST)
    );
    // Its kernel refuses: what waited was our lateness, and as much as ever may come beyond it.
    shard.set_blocked(id, true);
    assert_eq!(shard.outboxes.backlog.bytes(), 0);
    assert!(shard.send(id, Message::Text(&text(9_900))));
    assert!(!shard.send(id, Message::Text(&text(9_900))));
    assert!(is_slow(&shard, id));
    check_accounts(&shard, "refused");
    // What it was said to get still waits for it.
    assert!(waiting(&shard, id).len() > 20 * 9_900);
}

#[test]
fn a_burst_to_many_may_be_eight_times_what_an_outbox_holds() {
    let mut shard = shard(&Config::default());
    let id = refusing(&mut shard);
    assert_eq!(fill(&mut shard, id, to_all), 79);
    assert!(is_slow(&shard, id));
    check_accounts(&shard, "burst");
}

#[test]
fn what_waits_for_it_alone_is_no_more_than_its_outbox_holds() {
    let mut shard = shard(&Config::default());
    let id = refusing(&mut shard);
    assert_eq!(fill(&mut shard, id, to_one), 9);
    assert!(is_slow(&shard, id));
    // Beside what it shares, of which 32 bytes each are its own.
    let mut shard = super::shard(&Config::default());
    let id = refusing(&mut shard);
    for _ in 0..20 {
        assert!(to_all(&mut shard, id));
    }
    assert_eq!(fill(&mut shard, id, to_one), 8);
    assert!(is_slow(&shard, id));
    check_accounts(&shard, "of both kinds");
    // And not only messages: who asks and does not read.
    let mut shard = super::shard(&Config::default());
    let id = refusing(&mut shard);
    for _ in 0..20 {
        assert!(to_all(&mut shard, id));
    }
    for _ in 0..8 {
        shard.send_raw(id, |_, out| out.extend_from_slice(&[0; 1_000 - 32]));
    }
    assert!(!is_slow(&shard, id));
    shard.send_raw(id, |_, out| out.extend_from_slice(&[0; 1_000 - 32]));
    shard.send_raw(id, |_, out| out.extend_from_slice(&[0; 1_000 - 32]));
    assert!(is_slow(&shard, id));
}

#[test]
fn lateness_is_forgiven_once() {
    let mut shard = shard(&Config::default());
    let id = bound(&mut shard, 1, "u");
    for _ in 0..20 {
        shard.send(id, Message::Text(&text(9_900)));
    }
    // It takes nothing each time, and more comes.
    for round in 0..10 {
        shard.set_blocked(id, true);
        let sent = shard.send(id, Message::Text(&text(9_900)));
        assert_eq!(sent, round < 1, "round {round}");
        shard.set_blocked(id, false);
        check_accounts(&shard, "nothing");
    }
}

#[test]
fn who_takes_nothing_has_what_its_outbox_holds_and_ten_seconds() {
    // No more comes: it is closed all the same.
    let mut shard = shard(&Config::default());
    let id = refusing(&mut shard);
    for _ in 0..10 {
        assert!(to_all(&mut shard, id));
    }
    for (tick, slow) in [(1, false), (100, false), (101, true)] {
        shard.clock.set_now(tick);
        shard.expire();
        assert_eq!(is_slow(&shard, id), slow, "{tick}");
    }
    // More comes after that time.
    let mut shard = super::shard(&Config::default());
    let id = refusing(&mut shard);
    shard.clock.set_now(101);
    assert_eq!(fill(&mut shard, id, to_all), 9);
    assert!(is_slow(&shard, id));
    // It has no more than its outbox holds.
    let mut shard = super::shard(&Config::default());
    let id = refusing(&mut shard);
    for _ in 0..9 {
        assert!(to_all(&mut shard, id));
    }
    shard.clock.set_now(500);
    shard.expire();
    assert!(!is_slow(&shard, id));
}

#[test]
fn who_goes_on_taking_has_ten_seconds_more() {
    let mut shard = shard(&Config::default());
    let id = refusing(&mut shard);
    for tick in (0..2_000).step_by(100) {
        shard.clock.set_now(tick);
        shard.heard(id, 1);
        shard.expire();
        for _ in 0..(if tick == 0 { 40 } else { 4 }) {
            assert!(to_all(&mut shard, id));
        }
        shard.expire();
        shard.set_blocked(id, false);
        shard.written(id, 4_000);
        shard.set_blocked(id, true);
        check_accounts(&shard, "taking");
    }
    // And then no more.
    shard.clock.set_now(2_000);
    shard.expire();
    assert!(!is_slow(&shard, id));
    shard.clock.set_now(2_001);
    shard.expire();
    assert!(is_slow(&shard, id));
}

#[test]
fn who_has_taken_all_begins_anew() {
    let mut shard = shard(&Config::default());
    let id = refusing(&mut shard);
    shard.clock.set_now(101);
    shard.set_blocked(id, false);
    write_all(&mut shard, id);
    assert!(shard.send(id, Message::Text(&text(1_000 - 33))));
    shard.set_blocked(id, true);
    shard.clock.set_now(201);
    assert_eq!(fill(&mut shard, id, to_all), 79);
}

#[test]
fn nobody_has_more_than_his_outbox_where_the_core_has_little_memory_left() {
    let config = Config {
        outbox_bytes_core_max: 80_000,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let id = refusing(&mut shard);
    // A quarter of it, and the one that found it so.
    assert_eq!(fill(&mut shard, id, to_all), 20);
    assert!(is_slow(&shard, id));
}

#[test]
fn a_message_that_the_cores_sum_costs_its_receiver_has_not_reached_it() {
    let config = Config {
        outbox_bytes_core_max: 1_000,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let _small = bound(&mut shard, 0, "other");
    let only = bound(&mut shard, 0, "u");
    let big = text(2_000);
    assert_eq!(shard.send_to_uid(REACH, "u", Message::Text(&big)), 0);
    assert_eq!(
        shard.connections.reason(only),
        Some(CloseReason::Overloaded)
    );
    // The same where it is shared: of two it reaches the one that stays, and who takes nothing goes first.
    for (blocked, reason) in [
        (false, CloseReason::Overloaded),
        (true, CloseReason::SlowConsumer),
    ] {
        let mut shard = super::shard(&config);
        let first = bound(&mut shard, 1, "v");
        let other_one = bound(&mut shard, 1, "v");
        let (one, other) = if blocked { (300, 400) } else { (400, 100) };
        shard.send(first, Message::Text(&text(one)));
        shard.set_blocked(first, blocked);
        shard.send(other_one, Message::Text(&text(other)));
        assert_eq!(shard.send_to_uid(REACH, "v", Message::Text(&text(400))), 1);
        assert_eq!(shard.connections.reason(first), Some(reason));
    }
}
