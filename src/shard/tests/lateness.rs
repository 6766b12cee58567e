//! Whose fault it is that something waits: the receiver's, ours, or an app's.

use super::*;

#[test]
fn slow_is_who_does_not_take() {
    let mut shard = shard(&Config::default());
    let id = bound(&mut shard, 1, "u");
    // Five times what its outbox holds, before anything was offered to it.
    for _ in 0..5 {
        assert!(shard.send(id, Message::Text(&text(9_900))));
    }
    assert_eq!(shard.backlog.bytes(), 5 * (9_901 + OUTBOX_MESSAGE_COST));
    // Its kernel refuses: what waited was our lateness, and as much as ever may come beyond it.
    shard.set_blocked(id, true);
    assert_eq!(shard.backlog.bytes(), 0);
    assert!(shard.send(id, Message::Text(&text(9_900))));
    assert!(!shard.send(id, Message::Text(&text(9_900))));
    assert_eq!(shard.reason(id), Some(CloseReason::SlowConsumer));
    check_accounts(&shard, "refused");
    // What it was said to get still waits for it.
    assert!(waiting(&shard, id).len() > 59_000);
}

#[test]
fn lateness_is_forgiven_once() {
    let mut shard = shard(&Config::default());
    let id = bound(&mut shard, 1, "u");
    for _ in 0..4 {
        shard.send(id, Message::Text(&text(9_900)));
    }
    // It takes a little each time, and more comes than that.
    for round in 0..10 {
        shard.set_blocked(id, true);
        let sent = shard.send(id, Message::Text(&text(9_900)));
        assert_eq!(sent, round < 1, "round {round}");
        shard.set_blocked(id, false);
        if round < 3 {
            shard.written(id, 5_000);
        }
        check_accounts(&shard, "a little");
    }
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
    assert_eq!(shard.reason(only), Some(CloseReason::Overloaded));
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
        assert_eq!(shard.reason(first), Some(reason));
    }
}
