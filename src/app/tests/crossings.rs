//! Tests of moves of connections that are home already: what they cost others, and what is kept of them.

use std::sync::Arc;

use super::*;
use crate::app::bulk::ToAll;
use crate::app::envelope::Body;
use crate::payload::Payload;

/// `bind UID`, `reserve`, `join GROUP`, `leave GROUP`, `group GROUP text`.
fn script(cx: &mut Context<'_, Scripted>, state: &mut State, event: &str) {
    match event.splitn(4, ' ').collect::<Vec<_>>()[..] {
        ["message", "bind", uid] => cx.bind_uid(uid),
        ["message", "reserve"] => state.places.push(cx.reserve()),
        ["message", "join", group] => cx.join(group),
        ["message", "leave", group] => cx.leave(group),
        ["message", "group", group, text] => cx.send_to_group(group, text),
        _ => {}
    }
}

/// Delivers what one core's mailbox holds.
fn deliver(cores: &mut Cores, core: usize) {
    let host = &mut cores.hosts[core];
    while let Some(envelope) = host.take() {
        host.receive(envelope);
    }
    host.publish_taken();
    host.settle_credits();
}

fn message(cores: &mut Cores, client: usize, text: &str) {
    let (core, id) = cores.clients[client];
    cores.hosts[core].message(id, Message::Text(text));
}

/// A client that is home on a core.
fn client_on(cores: &mut Cores, core: usize) -> usize {
    let client = cores.open(core);
    let uid = cores.uid_of(core);
    cores.say(client, &format!("bind {uid}"));
    client
}

/// Joins and leaves are told the group's home by envelopes, which are on the account of who causes them.
#[test]
fn whoever_joins_and_leaves_without_end_is_not_read_for_a_while() {
    let mut cores = Cores::new(2, script);
    let client = client_on(&mut cores, 0);
    let group = cores.uid_of(1);
    let (_, id) = cores.clients[client];
    let mut pairs = 0;
    while cores.hosts[0].flow(id) == Flow::Go {
        pairs += 1;
        assert!(pairs < 10_000, "nothing holds it up");
        message(&mut cores, client, &format!("join {group}"));
        message(&mut cores, client, &format!("leave {group}"));
        cores.hosts[0].settle_credits();
    }
    cores.run();
    assert_eq!(cores.hosts[0].flow(id), Flow::Go);
    cores.end();
}

/// What the home has of an earlier stay is no answer to a later join.
#[test]
fn a_join_is_answered_when_the_home_has_that_one() {
    let mut cores = Cores::new(2, script);
    let client = client_on(&mut cores, 0);
    let group = cores.uid_of(1);
    let joined = |cores: &Cores| {
        let log = cores.log();
        log.iter().filter(|one| one.starts_with("joined")).count()
    };
    message(&mut cores, client, &format!("join {group}"));
    message(&mut cores, client, &format!("leave {group}"));
    deliver(&mut cores, 1);
    message(&mut cores, client, &format!("join {group}"));
    deliver(&mut cores, 0);
    assert_eq!(joined(&cores), 0, "the home does not know it as a member");
    cores.run();
    assert_eq!(joined(&cores), 2);
    cores.end();
}

/// One that waits for messages in its core's own mailbox does not hold up those that come to bind.
#[test]
fn a_login_is_not_held_up_by_one_that_crosses() {
    let mut cores = Cores::new(2, script);
    let crossing = client_on(&mut cores, 0);
    let newcomer = cores.open(0);
    let uid = cores.uid_of(1);
    message(&mut cores, crossing, &format!("bind {uid}"));
    deliver(&mut cores, 1);
    deliver(&mut cores, 0);
    let local = &mut cores.hosts[0].local;
    local.outgoing.post_free(CoreId(0), Body::RollCall);
    local.crossings.mailed_here(local.outgoing.bus());
    message(&mut cores, newcomer, &format!("bind {uid}"));
    let departure = cores.hosts[0]
        .next_departure()
        .expect("the newcomer may go");
    assert_eq!(departure.connection, cores.clients[newcomer].1);
    assert!(cores.hosts[0].next_departure().is_none());
    let local = &mut cores.hosts[0].local;
    local.departures.push(departure);
    cores.run();
    assert_eq!(cores.clients[crossing].0, 1);
    assert_eq!(cores.clients[newcomer].0, 1);
    cores.end();
}

/// What is kept for one on its way is bounded however small the messages are.
#[test]
fn empty_messages_that_are_kept_count_too() {
    let mut cores = Cores::new(2, script);
    let client = client_on(&mut cores, 0);
    let uid = cores.uid_of(1);
    message(&mut cores, client, &format!("bind {uid}"));
    deliver(&mut cores, 1);
    let local = &mut cores.hosts[1].local;
    for _ in 0..400_000 {
        let to_all = Arc::new(ToAll {
            mark: None,
            except: None,
            bulk: local.next_bulk(),
            reach: Reach(1),
            payload: Payload::new(Message::Text("")),
        });
        local.deliver_to_everybody(&to_all);
        if local.crossings.kept() == 0 {
            break;
        }
    }
    assert_eq!(local.crossings.kept(), 0, "it is given up before");
    cores.run();
    assert_eq!(cores.phase(client), Phase::Closing);
    cores.end();
}

/// A core that sends to some cores alone has the others wait for what never comes, unless they ask.
#[test]
fn whoever_has_come_is_soon_like_the_others() {
    let mut cores = Cores::new(3, script);
    let client = client_on(&mut cores, 0);
    let group = cores.uid_of(2);
    cores.say(client, &format!("join {group}"));
    cores.say(client, &format!("group {group} hi"));
    let uid = cores.uid_of(1);
    for _ in 0..2 {
        cores.say(client, &format!("bind {uid}"));
        assert_eq!(cores.clients[client].0, 1);
        assert_eq!(cores.hosts[1].local.crossings.ahead(), 0);
        let uid = cores.uid_of(0);
        cores.say(client, &format!("bind {uid}"));
        assert_eq!(cores.hosts[0].local.crossings.ahead(), 0);
    }
    cores.end();
}

/// A limit that is lower by now takes no group from one that moves.
#[test]
fn whoever_moves_stays_in_its_groups_whatever_the_limit_is_now() {
    let mut cores = Cores::new(2, script);
    let client = client_on(&mut cores, 0);
    for group in ["a", "b", "c"] {
        cores.say(client, &format!("join {group}"));
    }
    for host in &mut cores.hosts {
        let listeners = Rc::clone(&host.listeners);
        let config = Config {
            groups_per_connection_max: 1,
            ..Config::default()
        };
        host.set_limits(&config, listeners);
    }
    let uid = cores.uid_of(1);
    message(&mut cores, client, &format!("bind {uid}"));
    // One that it is in is no further one.
    message(&mut cores, client, "join b");
    cores.run();
    let (core, id) = cores.clients[client];
    assert_eq!(core, 1);
    let shard = cores.hosts[1].shard();
    let groups = shard.memberships(id);
    assert_eq!(groups.len(), 3);
    assert_eq!(shard.stats.joins_refused, 0);
    cores.end();
}

/// Replies that are never filled are not remembered longer than their connection lives, on none of the cores that it was on.
#[test]
fn replies_of_one_that_has_moved_and_ended_are_forgotten() {
    let mut cores = Cores::new(3, script);
    let client = client_on(&mut cores, 0);
    for core in [1, 2, 0] {
        cores.say(client, "reserve");
        let uid = cores.uid_of(core);
        cores.say(client, &format!("bind {uid}"));
        assert_eq!(cores.clients[client].0, core);
    }
    let are_empty = |cores: &Cores| {
        let hosts = cores.hosts.iter();
        hosts
            .map(|host| host.local.forwards.is_empty())
            .collect::<Vec<_>>()
    };
    assert_eq!(are_empty(&cores), [false; 3]);
    let (core, id) = cores.clients[client];
    cores.hosts[core].close(id, CloseReason::ByPeer);
    cores.run();
    assert_eq!(are_empty(&cores), [true; 3]);
    cores.end();
}
