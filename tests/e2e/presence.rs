//! Presence: members of a group with the rule are told who joins and leaves, and nobody else is.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::api::{read, told};
use crate::listening::{Came, Listening};
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    members_are_told_who_joins_and_leaves,
    two_tabs_are_one_member_in_whatever_order_they_close,
    who_is_back_in_time_has_not_left,
    everybody_has_one_view_however_members_come_and_go,
    a_crowd_is_told_in_few_words,
}

/// A server on which members of `room.*` are told of each other.
async fn server(cores: usize, grace: &str) -> Server {
    let file = format!(
        "uid_policy = 'multi'\nping_interval = '0s'\norigins = '*'\n\
         [[listen]]\nurl = 'http://127.0.0.1:0'\napp = 'page'\n\
         [[listen]]\nurl = 'websocket://127.0.0.1:0'\napp = 'push'\n\
         [[listen]]\nurl = 'text://127.0.0.1:0'\napp = 'push-backend'\n\
         [[groups]]\nname = 'room.*'\npresence = true\npresence_grace = '{grace}'\n"
    );
    Server::from_file(cores, &file).await
}

async fn listen(server: &Server, uid: &str, group: &str) -> Listening {
    let page = server.address("http", "page");
    let one = Listening::ask(page, &format!("uid={uid}&group={group}"), "").await;
    assert_eq!(one.status, 200, "{}", one.head);
    one
}

/// The next event `presence`, as who has joined and who has left.
async fn news(one: &mut Listening, group: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    loop {
        match one.next().await {
            Came::Comment => {}
            Came::Event(kind, data) if kind == "presence" => {
                let told: Value = serde_json::from_str(&data).expect("JSON");
                assert_eq!(told["type"], "presence");
                assert_eq!(told["group"], group);
                return (names(&told["joined"]), names(&told["left"]));
            }
            other => panic!("{other:?} in place of presence"),
        }
    }
}

fn names(list: &Value) -> BTreeSet<String> {
    let names = list.as_array().expect("a list").iter();
    names
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Waits until it has been told that these have joined and those have left, in whatever pieces.
async fn hears(one: &mut Listening, group: &str, joined: &[&str], left: &[&str]) {
    let (mut wanted_in, mut wanted_out) = (set(joined), set(left));
    while !wanted_in.is_empty() || !wanted_out.is_empty() {
        let (joined, left) = news(one, group).await;
        for name in joined {
            assert!(wanted_in.remove(&name), "{name} has joined?");
        }
        for name in left {
            assert!(wanted_out.remove(&name), "{name} has left?");
        }
    }
}

async fn members_are_told_who_joins_and_leaves(cores: usize) {
    let server = server(cores, "0s").await;
    let mut ann = listen(&server, "ann", "room.1").await;
    hears(&mut ann, "room.1", &["ann"], &[]).await;
    // What speaks another protocol is a member, and is told nothing.
    let mut tom = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    let body = json!({"uid": "tom"}).to_string();
    told(&server, "/v1/groups/room.1/join", &body).await;
    hears(&mut ann, "room.1", &["tom"], &[]).await;
    let mut other = listen(&server, "eve", "hall").await;
    told(
        &server,
        "/v1/push",
        &json!({"group": "room.1", "text": "hi"}).to_string(),
    )
    .await;
    tom.expect("hi").await;
    ann.expect("hi").await;
    told(&server, "/v1/groups/room.1/leave", &body).await;
    hears(&mut ann, "room.1", &[], &["tom"]).await;
    tom.expect_silence().await;
    // Groups without the rule have no such word.
    told(&server, "/v1/groups/hall/join", &body).await;
    other.expect_silence().await;
    // A kick, and all that a sticky uid is in.
    let sticky = json!({"uid": "kim", "sticky": true}).to_string();
    told(&server, "/v1/groups/room.1/join", &sticky).await;
    let _kim = server.push("ws", "kim").await;
    hears(&mut ann, "room.1", &["kim"], &[]).await;
    told(&server, "/v1/kick", &json!({"uid": "kim"}).to_string()).await;
    hears(&mut ann, "room.1", &[], &["kim"]).await;
}

async fn two_tabs_are_one_member_in_whatever_order_they_close(cores: usize) {
    let server = server(cores, "0s").await;
    let mut ann = listen(&server, "ann", "room.1").await;
    hears(&mut ann, "room.1", &["ann"], &[]).await;
    for order in [[0, 1], [1, 0]] {
        let mut tabs = Vec::new();
        tabs.push(Some(listen(&server, "tom", "room.1").await));
        hears(&mut ann, "room.1", &["tom"], &[]).await;
        tabs.push(Some(listen(&server, "tom", "room.1").await));
        while read(&server, "/v1/groups/room.1").await["members"]["tom"] != 2 {
            tokio::task::yield_now().await;
        }
        tabs[order[0]] = None;
        while read(&server, "/v1/groups/room.1").await["members"]["tom"] != 1 {
            tokio::task::yield_now().await;
        }
        ann.expect_silence().await;
        tabs[order[1]] = None;
        hears(&mut ann, "room.1", &[], &["tom"]).await;
    }
}

async fn who_is_back_in_time_has_not_left(cores: usize) {
    let server = server(cores, "10m").await;
    let mut ann = listen(&server, "ann", "room.1").await;
    hears(&mut ann, "room.1", &["ann"], &[]).await;
    for _ in 0..3 {
        let tom = listen(&server, "tom", "room.1").await;
        drop(tom);
        while read(&server, "/v1/groups/room.1").await["connections"] != 1 {
            tokio::task::yield_now().await;
        }
    }
    hears(&mut ann, "room.1", &["tom"], &[]).await;
    ann.expect_silence().await;
}

/// Members come and go at random. What each that stays has been told, put together, is who is there.
async fn everybody_has_one_view_however_members_come_and_go(cores: usize) {
    let server = server(cores, "0s").await;
    let mut random = seed::rng();
    let mut first = listen(&server, "first", "room.1").await;
    let mut there: Vec<(String, Listening)> = Vec::new();
    for _ in 0..120 {
        if random.u8(..3) > 0 || there.is_empty() {
            let uid = format!("u{}", random.u8(..12));
            there.push((uid.clone(), listen(&server, &uid, "room.1").await));
        } else {
            drop(there.swap_remove(random.usize(..there.len())));
        }
        if random.u8(..10) == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    let mut last = listen(&server, "last", "room.1").await;
    let mut members: BTreeSet<String> = there.iter().map(|(uid, _)| uid.clone()).collect();
    members.extend(set(&["first", "last"]));
    let mut view = BTreeSet::new();
    while view != members {
        let (joined, left) = news(&mut first, "room.1").await;
        for name in left {
            assert!(view.remove(&name), "{name} was not there");
        }
        for name in joined {
            assert!(view.insert(name.clone()), "{name} was there");
        }
    }
    first.expect_silence().await;
    // The server may have learnt of some that had gone when it was in already.
    while !news(&mut last, "room.1").await.0.contains("last") {}
    there.clear();
    while view != set(&["first", "last"]) {
        for name in news(&mut first, "room.1").await.1 {
            assert!(view.remove(&name), "{name} was not there");
        }
    }
}

/// Hundreds who come at once are told of in much fewer words.
async fn a_crowd_is_told_in_few_words(cores: usize) {
    let server = server(cores, "0s").await;
    let mut ann = listen(&server, "ann", "room.1").await;
    hears(&mut ann, "room.1", &["ann"], &[]).await;
    let mut crowd = Vec::new();
    for number in 0..300 {
        crowd.push(server.push("ws", &format!("c{number}")).await);
    }
    while server.count("bound").await < 301 {
        tokio::task::yield_now().await;
    }
    let entries: Vec<Value> = (0..300)
        .map(|number| json!({"join": {"group": "room.1", "uid": format!("c{number}")}}))
        .collect();
    told(&server, "/v1/batch", &Value::from(entries).to_string()).await;
    let (mut count, mut words) = (0, 0);
    while count < 300 {
        count += news(&mut ann, "room.1").await.0.len();
        words += 1;
    }
    assert!(words <= 30, "{words} words");
}
