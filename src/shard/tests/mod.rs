//! Tests of the shard as a whole: what it counts, what it closes, and who goes first.

mod compression;
mod credentials;
mod exchange;
mod following;
mod lateness;
mod migration;
mod queues;
mod room;
mod sse;
mod sticky;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::config::{OUTBOX_MESSAGE_COST, UidPolicy};
use crate::events::KickedBy;
use crate::ident::{NamespaceId, Reach};
use crate::payload::Message;
use crate::protocol::Codec;

const REACH: Reach = Reach(0b11);

fn spec(codec: Codec, namespace: u32, outbox_bytes_max: usize) -> ListenerSpec {
    ListenerSpec {
        binds: true,
        message_bytes_max: 1_000,
        outbox_bytes_max,
        ..ListenerSpec::new(0, codec, NamespaceId(namespace))
    }
}

/// A websocket listener in namespace 0, a text one in namespace 1, both with 10 kB of outbox.
fn shard(config: &Config) -> Shard {
    let specs = [
        spec(Codec::WebSocket, 0, 10_000),
        spec(Codec::Text, 1, 10_000),
    ];
    Shard::new(config, Rc::from(specs), 2)
}

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn open(shard: &mut Shard, listener: u16) -> ConnId {
    let id = shard.insert(listener, peer());
    assert!(shard.opened(id));
    assert!(shard.connections.set_session(id, 0));
    id
}

fn bound(shard: &mut Shard, listener: u16, uid: &str) -> ConnId {
    let id = open(shard, listener);
    assert!(shard.bind(id, uid));
    id
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// All that waits for a connection.
fn waiting(shard: &Shard, id: ConnId) -> Vec<u8> {
    shard.connections.pieces(id).flatten().copied().collect()
}

fn write_all(shard: &mut Shard, id: ConnId) {
    while !shard.connections.outbox_is_empty(id) {
        let bytes = waiting(shard, id).len();
        shard.written(id, bytes);
    }
}

/// The counters against the slots themselves.
fn check_accounts(shard: &Shard, context: &str) {
    let live = shard
        .connections
        .slots
        .iter()
        .map(|(_, slot)| slot)
        .filter(|slot| slot.phase != Phase::Free);
    let mut seen = std::collections::HashSet::new();
    let held = live.clone().map(|slot| slot.outbox.held(&mut seen));
    let outbox: usize = held.sum();
    assert_eq!(shard.outboxes.bytes(), outbox, "{context}: outbox bytes");
    let late = live.clone().filter(|slot| !slot.blocked);
    let late: usize = late.map(|slot| slot.outbox.bytes()).sum();
    assert_eq!(shard.outboxes.backlog.bytes(), late, "{context}: backlog");
    let connections = live.clone().count() as u64;
    assert_eq!(shard.stats.connections, connections, "{context}");
    let bound = live
        .clone()
        .filter(|slot| slot.phase == Phase::Home && slot.uid.is_some());
    assert_eq!(shard.stats.bound, bound.count() as u64, "{context}: bound");
    let home = live.filter(|slot| slot.phase == Phase::Home).count();
    let listed: usize = shard.everybody.total();
    assert_eq!(listed, home, "{context}: everybody");
}

#[test]
fn accounts_match_the_slots_on_every_way() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let config = Config {
            outbox_bytes_core_max: random.choice([20_000, 1 << 30]).unwrap_or(0),
            groups_per_connection_max: 2,
            compress_bytes_min: 500,
            ..Config::default()
        };
        let mut shard = shard(&config);
        let mut ids: Vec<ConnId> = Vec::new();
        for step in 0..400 {
            let name = format!("u{}", random.u8(..5));
            let payload = text(random.usize(..3_000));
            let message = Message::Text(&payload);
            let picked = random.choice(ids.iter().copied());
            match (random.u8(..16), picked) {
                (0..=1, _) => ids.push(open(&mut shard, random.u16(..2))),
                (2, _) => ids.push(compression::open(&mut shard, random.u8(8..=15))),
                (3, _) => ids.push(shard.insert(0, peer())),
                (4, _) => drop(shard.send_to_everybody(REACH, message)),
                (5, _) => drop(shard.send_to_uid(REACH, &name, message)),
                (6, _) => drop(shard.send_to_group(REACH, &name, message, random.bool())),
                (7, _) => drop(shard.kick(REACH, &name, KickedBy::App, None)),
                (8, Some(id)) => {
                    shard.bind(id, &name);
                    join_wishes(&mut shard, id);
                }
                (9, Some(id)) => drop(shard.join(id, &name, None)),
                (10, Some(id)) => drop(shard.send(id, message)),
                (11, Some(id)) => {
                    let bytes = waiting(&shard, id).len();
                    shard.written(id, random.usize(..=bytes));
                }
                (12, Some(id)) => {
                    let reasons = CloseReason::ALL.iter().copied();
                    shard.close(id, random.choice(reasons).unwrap_or(CloseReason::Normal));
                }
                (13, Some(id)) if shard.connections.phase(id) == Phase::Closing => shard.remove(id),
                (14, Some(id)) if shard.connections.phase(id) != Phase::Free => {
                    let binds = Some(Box::from(&*name)).filter(|_| random.bool());
                    let mut shard_part = shard.depart(id, binds).unwrap();
                    check_accounts(&shard, &format!("seed {seed} step {step} departed"));
                    ids.push(shard.arrive(&mut shard_part, 0));
                }
                (15, Some(id)) => {
                    let reply = shard.reserve(id);
                    shard.fill(reply, message);
                }
                _ => {}
            }
            for id in shard.endings.take_overdue() {
                shard.remove(id);
            }
            check_accounts(&shard, &format!("seed {seed} step {step}"));
        }
        for id in shard.connections.ids() {
            shard.close(id, CloseReason::Normal);
            shard.remove(id);
        }
        check_accounts(&shard, &format!("seed {seed} end"));
        assert_eq!(
            (shard.outboxes.bytes(), shard.uids.len()),
            (0, 0),
            "seed {seed}"
        );
        assert_eq!(shard.groups.len(), 0, "seed {seed}");
    }
}

#[test]
fn a_message_for_many_counts_once_in_the_cores_sum() {
    let config = Config {
        outbox_bytes_core_max: 20_000,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let everyone: Vec<ConnId> = (0..300)
        .map(|number| bound(&mut shard, 0, &number.to_string()))
        .collect();
    let big = text(9_000);
    assert_eq!(shard.send_to_everybody(REACH, Message::Text(&big)), 300);
    check_accounts(&shard, "after the broadcast");
    // All but one take it: that one still holds it, and the sum has it until then.
    let held = shard.outboxes.bytes();
    for id in &everyone[1..] {
        let length = shard.connections.slots[id.slot].outbox.bytes() - OUTBOX_MESSAGE_COST;
        shard.written(*id, length);
    }
    assert!(shard.outboxes.bytes() > 9_000 && shard.outboxes.bytes() < held);
    check_accounts(&shard, "with one left");
    shard.close(everyone[0], CloseReason::Reset);
    shard.remove(everyone[0]);
    assert_eq!(shard.outboxes.bytes(), 0);
}

#[test]
fn what_waits_for_the_closing_costs_nobody_else_his_connection() {
    let config = Config {
        outbox_bytes_core_max: 20_000,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let mut closing = Vec::new();
    for uid in ["a", "b"] {
        let id = bound(&mut shard, 0, uid);
        shard.send(id, Message::Text(&text(9_000)));
        // It asks to be closed, and takes nothing.
        shard.close(id, CloseReason::ByPeer);
        closing.push(id);
    }
    let living = bound(&mut shard, 0, "c");
    assert!(shard.send(living, Message::Text(&text(100))));
    for _ in 0..50 {
        assert!(shard.send(living, Message::Text(&text(100))));
        check_accounts(&shard, "while shedding");
    }
    assert_eq!(shard.connections.phase(living), Phase::Home);
    assert!(closing.contains(&shard.endings.take_overdue()[0]));
}

#[test]
fn a_large_unit_half_written_is_given_up_before_others() {
    let config = Config {
        outbox_bytes_core_max: 10_000,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let slow = bound(&mut shard, 0, "slow");
    shard.send(slow, Message::Text(&text(9_000)));
    shard.written(slow, 1);
    let others: Vec<ConnId> = (0..30)
        .map(|n| bound(&mut shard, 0, &format!("u{n}")))
        .collect();
    shard.send_to_everybody(REACH, Message::Text(&text(50)));
    assert_eq!(shard.connections.phase(slow), Phase::Closing);
    assert!(
        others
            .iter()
            .all(|id| shard.connections.phase(*id) == Phase::Home)
    );
    assert_eq!(shard.endings.take_overdue(), [slow]);
}

#[test]
fn who_only_listens_is_written_while_others_talk_without_a_pause() {
    let mut shard = shard(&Config::default());
    let listener = bound(&mut shard, 0, "listener");
    shard.send_to_everybody(REACH, Message::Text("news"));
    let talkers: Vec<ConnId> = (0..100)
        .map(|n| bound(&mut shard, 0, &format!("t{n}")))
        .collect();
    for id in &talkers {
        shard.send(*id, Message::Text("x"));
    }
    let served = (0..100).position(|_| {
        let id = shard.next_dirty(true).unwrap();
        write_all(&mut shard, id);
        // Whoever was written gets the next message at once.
        if id != listener {
            shard.send(id, Message::Text("x"));
        }
        id == listener
    });
    assert!(served.is_some_and(|at| at < 8), "{served:?}");
}

#[test]
fn a_refresh_that_replaces_needs_room_for_itself_alone() {
    let mut shard = shard(&Config::default());
    let slow = bound(&mut shard, 0, "slow");
    shard.join(slow, "room", None);
    let roster = |fill: &str| fill.repeat(4_500);
    shard.send_to_group(REACH, "room", Message::Text(&roster("1")), true);
    shard.written(slow, 1);
    for state in ["2", "3", "4"] {
        let reached = shard.send_to_group(REACH, "room", Message::Text(&roster(state)), true);
        assert_eq!(reached, 1, "state {state}");
        check_accounts(&shard, state);
    }
    let waiting = waiting(&shard, slow);
    assert_eq!(waiting.iter().filter(|byte| **byte == b'1').count(), 4_500);
    assert!(!waiting.contains(&b'2') && !waiting.contains(&b'3'));
    assert!(waiting.ends_with(b"4444"));
}

#[test]
fn refreshes_of_two_groups_both_arrive() {
    let mut shard = shard(&Config::default());
    let id = bound(&mut shard, 1, "u");
    shard.join(id, "prices", None);
    shard.join(id, "weather", None);
    shard.send_to_group(REACH, "prices", Message::Text("1"), true);
    shard.send_to_group(REACH, "weather", Message::Text("sun"), true);
    shard.send_to_group(REACH, "prices", Message::Text("2"), true);
    assert_eq!(waiting(&shard, id), b"sun\n2\n");
}

#[test]
fn as_many_connections_a_uid_as_configured() {
    let config = Config {
        connections_per_uid_max: 3,
        ..Config::default()
    };
    let mut shard = shard(&config);
    for _ in 0..3 {
        bound(&mut shard, 0, "u");
    }
    let fourth = open(&mut shard, 0);
    assert!(!shard.bind(fourth, "u"));
    // Another namespace has uids of its own.
    bound(&mut shard, 1, "u");
    assert_eq!(shard.online(REACH, "u"), 4);
    let first = shard
        .uids
        .get(&shard.connections.slots, NamespaceId(0), "u")
        .next();
    let first = first.expect("it is there");
    shard.close(first, CloseReason::Normal);
    assert!(shard.bind(fourth, "u"));
}

#[test]
fn the_newest_replaces_all_and_is_alone_at_once() {
    let config = Config {
        uid_policy: UidPolicy::Replace,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let old = bound(&mut shard, 0, "u");
    let new = bound(&mut shard, 0, "u");
    assert_eq!(shard.connections.reason(old), Some(CloseReason::Replaced));
    assert_eq!(shard.send_to_uid(REACH, "u", Message::Text("x")), 1);
    shard.remove(old);
    assert_eq!(shard.online(REACH, "u"), 1);
    assert_eq!(shard.connections.phase(new), Phase::Home);
    check_accounts(&shard, "replaced");
}

#[test]
fn an_end_is_told_even_when_the_slot_is_free_again() {
    let mut shard = shard(&Config::default());
    let id = open(&mut shard, 0);
    shard.connections.set_session(id, 7);
    shard.close(id, CloseReason::Idle);
    shard.remove(id);
    let reused = shard.insert(0, peer());
    assert_eq!(reused.slot, id.slot);
    let ended = shard.endings.next_ended().unwrap();
    assert_eq!((ended.connection, ended.session), (id, 7));
    assert_eq!(ended.reason, CloseReason::Idle);
    assert!(shard.endings.next_ended().is_none());
}

#[test]
fn open_replies_are_bounded_where_nothing_pauses() {
    let mut shard = shard(&Config::default());
    // Places without end.
    let id = bound(&mut shard, 0, "u");
    for _ in 0..=10_000 / OUTBOX_MESSAGE_COST {
        shard.reserve(id);
    }
    assert_eq!(
        shard.connections.reason(id),
        Some(CloseReason::SlowConsumer)
    );
    // Filled places that wait behind an open one.
    let id = bound(&mut shard, 0, "v");
    let first = shard.reserve(id);
    for _ in 0..4 {
        let place = shard.reserve(id);
        shard.fill(place, Message::Text(&text(3_000)));
    }
    assert_eq!(
        shard.connections.reason(id),
        Some(CloseReason::SlowConsumer)
    );
    shard.fill(first, Message::Text("late"));
    check_accounts(&shard, "replies");
}

#[test]
fn a_reply_may_fill_the_outbox_to_its_last_byte() {
    let mut shard = shard(&Config::default());
    let id = bound(&mut shard, 1, "u");
    let place = shard.reserve(id);
    shard.fill(
        place,
        Message::Text(&text(10_000 - OUTBOX_MESSAGE_COST - 1)),
    );
    assert_eq!(shard.connections.phase(id), Phase::Home);
    shard.set_blocked(id, true);
    assert!(!shard.send(id, Message::Text("")));
}

/// As the host does when it is home.
fn join_wishes(shard: &mut Shard, id: ConnId) {
    for wish in shard.connections.take_wishes(id) {
        shard.join(id, &wish.group, wish.called.as_deref());
    }
}

#[test]
fn joins_above_the_limit_are_counted() {
    let config = Config {
        groups_per_connection_max: 1,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let id = open(&mut shard, 0);
    shard.join(id, "a", None);
    let refused = Joining::Refused(JoinError::TooMany);
    assert_eq!(shard.join(id, "b", None), refused);
    shard.bind(id, "u");
    join_wishes(&mut shard, id);
    assert_eq!(shard.join(id, "c", None), refused);
    assert_eq!(shard.stats.joins_refused, 2);
    assert_eq!(shard.groups.len(), 1);
}

#[test]
fn left_before_home_is_not_joined() {
    let mut shard = shard(&Config::default());
    let id = open(&mut shard, 0);
    shard.join(id, "a", None);
    shard.join(id, "a", None);
    shard.join(id, "b", None);
    shard.leave(id, "a");
    shard.bind(id, "u");
    join_wishes(&mut shard, id);
    assert_eq!(
        shard.send_to_group(REACH, "a", Message::Text("x"), false),
        0
    );
    assert_eq!(
        shard.send_to_group(REACH, "b", Message::Text("x"), false),
        1
    );
}

#[test]
fn a_closing_connection_that_was_blocked_is_ended_when_it_can_be() {
    let mut shard = shard(&Config::default());
    let id = bound(&mut shard, 1, "u");
    shard.send(id, Message::Text("x"));
    assert_eq!(shard.next_dirty(true), Some(id));
    shard.set_blocked(id, true);
    // What waits is dropped; the text codec has no close frame, so nothing is left to write.
    shard.close(id, CloseReason::Reset);
    assert!(shard.connections.outbox_is_empty(id));
    assert_eq!(shard.next_dirty(true), None);
    shard.set_blocked(id, false);
    assert_eq!(shard.next_dirty(true), Some(id));
}

#[test]
fn durations_without_end_are_no_deadline_in_the_past() {
    let config = Config {
        idle_timeout: Duration::MAX,
        ping_interval: TICK * (Tick::MAX - 1),
        login_timeout: TICK * (Tick::MAX - 1),
        handshake_timeout: Duration::MAX,
        close_timeout: TICK * (Tick::MAX - 1),
        ..Config::default()
    };
    let mut shard = shard(&config);
    shard.clock.set_now(100);
    shard.expire();
    let ids = [
        bound(&mut shard, 0, "u"),
        open(&mut shard, 0),
        shard.insert(0, peer()),
    ];
    let closing = bound(&mut shard, 0, "v");
    shard.close(closing, CloseReason::Normal);
    for day in 1..100 {
        shard.clock.set_now(day * 864_000);
        shard.expire();
    }
    assert!(ids.iter().all(|id| shard.connections.reason(*id).is_none()));
    assert!(shard.endings.take_overdue().is_empty());
}

#[test]
fn silence_is_idleness_only_while_it_is_read() {
    let mut shard = shard(&Config::default());
    let heard = bound(&mut shard, 1, "heard");
    let silent = bound(&mut shard, 1, "silent");
    let paused = bound(&mut shard, 1, "paused");
    for second in 1..=60 {
        shard.clock.set_now(second * 10);
        shard.expire();
        if second == 10 {
            shard.set_paused(paused, true);
        }
        if second % 55 == 0 {
            shard.heard(heard, 1);
        }
        let ended = shard.connections.reason(silent).is_some();
        assert_eq!(ended, second >= 57, "after {second} s");
    }
    assert_eq!(shard.connections.reason(heard), None);
    shard.clock.set_now(5_000);
    shard.expire();
    assert_eq!(shard.connections.reason(paused), None);
    shard.set_paused(paused, false);
    shard.clock.set_now(5_000 + 569);
    shard.expire();
    assert_eq!(shard.connections.reason(paused), None);
    shard.clock.set_now(5_000 + 570);
    shard.expire();
    assert_eq!(shard.connections.reason(paused), Some(CloseReason::Idle));
}

#[test]
fn a_closing_connection_is_cut_off_however_slowly_it_takes_its_last_messages() {
    let mut shard = shard(&Config::default());
    let silent = bound(&mut shard, 0, "silent");
    let slow = bound(&mut shard, 0, "slow");
    for id in [silent, slow] {
        shard.send(id, Message::Text(&text(5_000)));
        shard.close(id, CloseReason::Kicked);
    }
    let mut cut_off = Vec::new();
    for tick in 1..=110 {
        shard.clock.set_now(tick);
        shard.expire();
        for id in shard.endings.take_overdue() {
            cut_off.push((id, tick));
            shard.remove(id);
        }
        shard.written(slow, 1);
        shard.heard(slow, 1);
    }
    assert_eq!(cut_off, [(silent, 10), (slow, 100)]);
}

#[test]
fn the_lists_of_what_is_to_be_written_hold_each_connection_once() {
    let mut shard = shard(&Config::default());
    for n in 0..10 {
        bound(&mut shard, 0, &format!("u{n}"));
    }
    for _ in 0..100 {
        // All are made dirty by a broadcast, then urgent, and some are written.
        shard.send_to_everybody(REACH, Message::Text("news"));
        for n in 0..10 {
            shard.send_to_uid(REACH, &format!("u{n}"), Message::Text("x"));
        }
        for _ in 0..6 {
            let id = shard.next_dirty(true).unwrap();
            write_all(&mut shard, id);
        }
        assert!(shard.outboxes.longest_dirty() <= 10);
    }
    while let Some(id) = shard.next_dirty(true) {
        write_all(&mut shard, id);
    }
    assert_eq!(shard.outboxes.bytes(), 0);
}

#[test]
fn the_time_to_log_in_stands_still_while_it_is_not_read() {
    let mut shard = shard(&Config::default());
    let id = open(&mut shard, 0);
    let opening = shard.insert(0, peer());
    for tick in 1..=1_000 {
        shard.clock.set_now(tick);
        shard.expire();
        if tick == 50 || tick == 950 {
            shard.set_paused(id, tick == 50);
            shard.set_paused(opening, tick == 50);
        }
        let ended = shard.connections.reason(id).is_some();
        assert_eq!(ended, tick == 1_000, "at {tick}");
    }
    assert_eq!(
        shard.connections.reason(id),
        Some(CloseReason::LoginTimeout)
    );
    assert_eq!(
        shard.connections.reason(opening),
        Some(CloseReason::HandshakeTimeout)
    );
}
