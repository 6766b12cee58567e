//! Connections that are bound anew, by the rules of uids, of proofs and of webhooks; members' own names; and an app that
//! panics where it is told of a join.

use std::time::Duration;

use ringpost::config::{Auth, UidPolicy, Webhooks};
use ringpost::{Config, Roles, Site};
use serde_json::Value;

use crate::client::Got;
use crate::http::get;
use crate::on_cores;
use crate::receiver::{Receiver, SECRET as HOOK_SECRET};
use crate::rooms::{enter, start, start_with, stop};
use crate::tokens::{File, SECRET, open, token};

on_cores! {
    a_newcomer_by_a_new_bind_replaces,
    a_newcomer_by_a_new_bind_is_refused,
    nothing_is_bound_that_was_not_proved,
    events_of_a_wanderer_are_in_order_and_balanced,
    members_are_listed_by_their_own_names,
    a_panic_at_a_join_ends_one_alone,
}

const WALKS: usize = 8;

fn config(cores: usize) -> Config {
    Config {
        cores,
        pin: false,
        ..Config::default()
    }
}

async fn a_newcomer_by_a_new_bind_replaces(cores: usize) {
    let (running, addresses) = start(Config {
        uid_policy: UidPolicy::Replace,
        ..config(cores)
    })
    .await;
    let mut sender = enter(&addresses, 0, "sender").await;
    for walk in 0..WALKS {
        let (held, own) = (format!("held{walk}"), format!("own{walk}"));
        let mut holder = enter(&addresses, 0, &held).await;
        let mut newcomer = enter(&addresses, walk, &own).await;
        newcomer.send(&format!("bind {held}")).await;
        newcomer.expect("bound").await;
        holder.expect_end(4001).await;
        // Nobody is there by the old uid, and one by the new.
        sender.send(&format!("uid {own} lost")).await;
        sender.send(&format!("uid {held} hi")).await;
        newcomer.expect("hi").await;
        newcomer.send("unbind").await;
        newcomer.send("done").await;
        newcomer.expect("done").await;
        sender.send(&format!("uid {held} lost")).await;
        sender.send("all over").await;
        newcomer.expect("over").await;
        sender.expect("over").await;
    }
    drop(sender);
    stop(running).await;
}

async fn a_newcomer_by_a_new_bind_is_refused(cores: usize) {
    let (running, addresses) = start(Config {
        uid_policy: UidPolicy::Reject,
        ..config(cores)
    })
    .await;
    let mut sender = enter(&addresses, 0, "sender").await;
    for walk in 0..WALKS {
        let (held, own) = (format!("held{walk}"), format!("own{walk}"));
        let mut holder = enter(&addresses, 1, &held).await;
        let mut newcomer = enter(&addresses, 0, &own).await;
        newcomer.send(&format!("bind {held}")).await;
        newcomer.expect("refused").await;
        newcomer.expect_end(4002).await;
        sender.send(&format!("uid {held} hi")).await;
        holder.expect("hi").await;
        // The old uid of who was refused is free.
        let mut next = enter(&addresses, 2, &own).await;
        sender.send(&format!("uid {own} hi")).await;
        next.expect("hi").await;
    }
    drop(sender);
    stop(running).await;
}

async fn nothing_is_bound_that_was_not_proved(cores: usize) {
    let keys = File::new(SECRET);
    let (running, addresses) = start(Config {
        auth: Auth::Hmac,
        auth_key_file: Some(keys.path().into()),
        origins: vec!["http://127.0.0.1:8080".to_owned()],
        ..config(cores)
    })
    .await;
    let prove = |uid: String| async move {
        let mut client = open(addresses[0], "ws").await;
        client.send(&token(&uid)).await;
        client.expect("bound").await;
        client
    };
    let mut sender = prove("sender".to_owned()).await;
    for walk in 0..WALKS {
        let (uid, other) = (format!("mine{walk}"), format!("other{walk}"));
        for unbinds in [false, true] {
            let mut client = prove(uid.clone()).await;
            client.send("join room").await;
            client.expect("joined room").await;
            // What it has proved it may bind again, and again.
            for _ in 0..2 {
                client.send("unbind").await;
                client.send(&format!("bind {uid}")).await;
                client.expect("bound").await;
            }
            if unbinds {
                client.send("unbind").await;
            }
            client.send(&format!("auth {}", token(&other))).await;
            client.send(&format!("bind {other}")).await;
            let words = client.drain_to_end(4006).await;
            assert!(!words.iter().any(|word| word == "bound"), "{words:?}");
            sender.send(&format!("uid {other} lost")).await;
        }
    }
    sender.send("done").await;
    sender.expect("done").await;
    drop(sender);
    stop(running).await;
}

async fn events_of_a_wanderer_are_in_order_and_balanced(cores: usize) {
    let receiver = Receiver::start().await;
    let webhooks = Webhooks {
        url: Some(receiver.url()),
        secret: Some(HOOK_SECRET.to_owned()),
        batch_delay: Duration::from_millis(20),
        ..Webhooks::default()
    };
    let (running, addresses) = start_with(config(cores), |server| server.webhooks(webhooks)).await;
    let mut client = enter(&addresses, 0, "walk0").await;
    let mut expected = vec![("connect", "walk0".to_owned())];
    for walk in 1..30 {
        let before = expected[expected.len() - 1].clone();
        let uid = format!("walk{}", walk % 7);
        if walk % 5 == 0 {
            client.send("unbind").await;
        }
        client.send(&format!("bind {uid}")).await;
        client.expect("bound").await;
        expected.push(("disconnect", before.1));
        expected.push(("connect", uid));
    }
    expected.push(("disconnect", expected[expected.len() - 1].1.clone()));
    client.close().await;
    let events = receiver.wait(expected.len()).await;
    let told = |event: &Value| {
        let word = |key: &str| event[key].as_str().expect("a word").to_owned();
        (word("event"), word("uid"))
    };
    let told: Vec<(String, String)> = events.iter().map(told).collect();
    let expected = expected.into_iter();
    let expected: Vec<(String, String)> = expected.map(|(a, b)| (a.to_owned(), b)).collect();
    assert_eq!(told, expected);
    for event in &events {
        let key = match event["event"] == "connect" {
            true => "first",
            false => "last",
        };
        assert_eq!(event[key], true, "{event}");
    }
    stop(running).await;
}

async fn members_are_listed_by_their_own_names(cores: usize) {
    let site = Site {
        assets: &[],
        reach: &["rooms"],
        roles: Roles::ALL,
    };
    let (running, addresses) = start_with(config(cores), |server| {
        server.site("http://127.0.0.1:0", site)
    })
    .await;
    let at = running.listening()[3].address.ip().expect("of IP");
    let mut one = enter(&addresses, 0, "one").await;
    let mut two = enter(&addresses, 1, "two").await;
    for line in ["join room first", "join other"] {
        one.send(line).await;
        one.expect_start("joined ").await;
    }
    two.send("join room").await;
    two.expect("joined room").await;
    let members = async || get(at, "/v1/groups/room").await.json()["members"].clone();
    let expected = serde_json::json!({"first": 1, "two": 1});
    assert_eq!(members().await, expected);
    // The name stays with the membership wherever it goes.
    for walk in 0..WALKS {
        one.send(&format!("bind walk{walk}")).await;
        one.expect("bound").await;
        assert_eq!(members().await, expected);
        let other = get(at, "/v1/groups/other").await.json()["members"].clone();
        assert_eq!(other, serde_json::json!({ format!("walk{walk}"): 1 }));
    }
    two.send("join room second").await;
    two.expect("joined room").await;
    one.send("join room").await;
    one.expect("joined room").await;
    let last = format!("walk{}", WALKS - 1);
    assert_eq!(members().await, serde_json::json!({ last: 1, "second": 1 }));
    drop((one, two));
    stop(running).await;
}

async fn a_panic_at_a_join_ends_one_alone(cores: usize) {
    let (running, addresses) = start(config(cores)).await;
    let mut other = enter(&addresses, 1, "other").await;
    other.send("join room").await;
    other.expect("joined room").await;
    for walk in 0..WALKS {
        let mut one = enter(&addresses, 0, &format!("one{walk}")).await;
        one.send("join room").await;
        one.expect("joined room").await;
        one.send("join fatal").await;
        one.expect_end(1011).await;
        other.send("group room hi").await;
        assert_eq!(other.next().await, Got::Text("hi".to_owned()));
    }
    drop(other);
    stop(running).await;
}
