//! Tests of what connections are called: the same wherever they move to, and at no cost to those whom nobody has asked after.

use super::*;
use crate::app::bulk::Except;
use crate::app::query::{ConnectionAnswer, QueryResult};
use crate::app::to_connection::Order;
use crate::config::UidPolicy;
use crate::ident::ConnName;
use crate::streams::Wish;

/// `name`: sends it; `bind UID`.
fn script(cx: &mut Context<'_, Scripted>, _: &mut State, event: &str) {
    match event.split(' ').collect::<Vec<_>>()[..] {
        ["message", "name"] => {
            let name = cx.connection_name().expect("it is about one");
            cx.send(name.to_string());
        }
        ["message", "bind", uid] => cx.bind_uid(uid),
        _ => {}
    }
}

fn name_of(cores: &mut Cores, client: usize) -> String {
    cores.say(client, "name");
    let mut lines = cores.lines(client);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn a_connection_is_called_by_the_place_where_that_was_first_asked() {
    for asks_first in [true, false] {
        let mut cores = Cores::new(3, script);
        let client = cores.open(0);
        let uids: Vec<String> = [1, 2, 1, 0].map(|core| cores.uid_of(core)).into();
        let mut name = asks_first.then(|| name_of(&mut cores, client));
        for uid in &uids {
            cores.say(client, &format!("bind {uid}"));
            let now = name_of(&mut cores, client);
            assert_eq!(*name.get_or_insert(now.clone()), now);
        }
        let first = if asks_first { "0-" } else { "1-" };
        assert!(name.is_some_and(|name| name.starts_with(first)));
        cores.end();
    }
}

#[test]
fn one_whose_name_nobody_was_told_leaves_nothing_behind() {
    let mut cores = Cores::new(2, script);
    let client = cores.open(0);
    let uid = cores.uid_of(1);
    cores.say(client, &format!("bind {uid}"));
    assert!(cores.hosts[1].shard().connections.names.is_empty());
    name_of(&mut cores, client);
    // It is called by where it is.
    assert!(cores.hosts[1].shard().connections.names.is_empty());
    let uid = cores.uid_of(0);
    cores.say(client, &format!("bind {uid}"));
    assert!(!cores.hosts[0].shard().connections.names.is_empty());
    assert!(cores.hosts[1].shard().connections.names.is_empty());
    let (core, id) = cores.clients[client];
    cores.hosts[core].close(id, CloseReason::ByPeer);
    cores.run();
    cores.hosts[core].shard().remove(id);
    assert!(cores.hosts[core].shard().connections.names.is_empty());
}

/// What has come of a request that is answered by now.
fn answer_of<T>(promise: crate::app::promise::Promise<T>) -> T {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    let mut promise = std::pin::pin!(promise);
    match promise
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it is not answered"),
    }
}

fn order(cores: &mut Cores, core: usize, name: ConnName, order: Order) -> ConnectionAnswer {
    let promise = cores.hosts[core].tasks().order(Reach(1), name, order);
    cores.run();
    match answer_of(promise).pop() {
        Some(QueryResult::Connection(answer)) => answer,
        _ => panic!("no answer"),
    }
}

fn told_name(cores: &mut Cores, client: usize) -> ConnName {
    name_of(cores, client).parse().expect("a name")
}

#[test]
fn what_is_for_one_by_its_name_finds_it_wherever_it_is_and_nothing_is_left() {
    let mut cores = Cores::new(4, script);
    let client = cores.open(2);
    let name = told_name(&mut cores, client);
    let walk = [1, 3, 2, 0, 1, 2, 3, 0, 3];
    for core in walk {
        let uid = cores.uid_of(core);
        cores.say(client, &format!("bind {uid}"));
        assert_eq!(cores.clients[client].0, core);
        for from in 0..4 {
            let text = format!("{core} from {from}");
            let message = Message::Text(&text);
            let promise = cores.hosts[from]
                .tasks()
                .push_to_connection(Reach(1), name, message);
            cores.run();
            assert_eq!(answer_of(promise).reached, 1);
            assert_eq!(cores.lines(client), [&*text]);
            // To who is in another namespace nothing of it comes.
            let promise = cores.hosts[from]
                .tasks()
                .push_to_connection(Reach(2), name, message);
            cores.run();
            assert_eq!(answer_of(promise).reached, 0);
        }
    }
    let (core, id) = cores.clients[client];
    cores.hosts[core].close(id, CloseReason::ByPeer);
    cores.hosts[core].shard().remove(id);
    // The keeper is told at the end of a round.
    cores.run();
    cores.run();
    for host in &cores.hosts {
        assert!(host.local.whereabouts.is_empty());
    }
    let answer = order(&mut cores, 1, name, Order::Look);
    assert!(matches!(answer, ConnectionAnswer::None));
}

#[test]
fn a_bind_that_a_back_end_asks_for_is_answered_once_whatever_comes_of_it() {
    let config = Config {
        uid_policy: UidPolicy::Reject,
        ..Config::default()
    };
    let mut cores = Cores::with(3, &config, true, script);
    let uids: Vec<String> = (0..3).map(|core| cores.uid_of(core)).collect();
    let bind = |uid: &str| Order::Bind(Box::from(uid));
    let (one, other) = (cores.open(0), cores.open(0));
    let (name, other_name) = (told_name(&mut cores, one), told_name(&mut cores, other));
    for uid in &uids {
        let answer = order(&mut cores, 1, name, bind(uid));
        assert!(matches!(answer, ConnectionAnswer::Bound));
        let (core, id) = cores.clients[one];
        let bound = cores.hosts[core].shard().connections.uid(id);
        assert_eq!(bound, Some(&**uid));
    }
    let answer = order(&mut cores, 2, other_name, bind(&uids[2]));
    assert!(matches!(answer, ConnectionAnswer::InUse));
    // One that ends before it has gone.
    let third = cores.open(0);
    let name = told_name(&mut cores, third);
    let (core, id) = cores.clients[third];
    let promise = cores.hosts[0].tasks().order(Reach(1), name, bind(&uids[1]));
    let again = cores.hosts[0].tasks().order(Reach(1), name, bind(&uids[1]));
    cores.hosts[core].close(id, CloseReason::ByPeer);
    cores.run();
    let answer = answer_of(promise).pop();
    let gone = QueryResult::Connection(ConnectionAnswer::None);
    assert!(answer.is_some_and(|it| std::mem::discriminant(&it) == std::mem::discriminant(&gone)));
    assert!(matches!(
        answer_of(again).pop(),
        Some(QueryResult::Connection(ConnectionAnswer::Busy))
    ));
    for host in &cores.hosts {
        assert!(host.local.bind_answers.is_empty());
    }
}

#[test]
fn one_that_is_left_out_is_so_on_its_way_between_two_cores() {
    let mut cores = Cores::new(3, script);
    let (one, other) = (cores.open(0), cores.open(0));
    let uids: Vec<String> = (0..3).map(|core| cores.uid_of(core)).collect();
    cores.say(one, &format!("bind {}", uids[0]));
    cores.say(other, &format!("bind {}", uids[0]));
    let name = told_name(&mut cores, one);
    // Announced to the other core, which keeps what comes for many.
    let (_, id) = cores.clients[one];
    let text = format!("bind {}", uids[1]);
    cores.hosts[0].message(id, Message::Text(&text));
    while let Some(envelope) = cores.hosts[1].take() {
        cores.hosts[1].receive(envelope);
    }
    let except = |connections: &[ConnName], uids: &[&str]| {
        Some(std::sync::Arc::new(Except {
            uids: uids.iter().map(|uid| Box::from(*uid)).collect(),
            connections: connections.into(),
        }))
    };
    let sends = [except(&[name], &[]), except(&[], &[&uids[2]]), None];
    for (nth, except) in sends.into_iter().enumerate() {
        let text = nth.to_string();
        let message = Message::Text(&text);
        let wish = (Wish::AsRuled, except);
        drop(cores.hosts[2].tasks().broadcast(Reach(1), message, wish));
    }
    cores.run();
    assert_eq!(cores.clients[one].0, 1);
    assert_eq!(cores.lines(one), ["1", "2"]);
    assert_eq!(cores.lines(other), ["0", "1", "2"]);
    cores.end();
}
