//! Who is in a group, for clients of `ringpost.v1`: the list comes with the join, by pages, and what changes is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::api::{read, told};
use crate::server::Server;
use crate::speaking::Speaking;
use crate::{on_cores, run_alone};

on_cores! {
    the_list_comes_with_the_join,
    who_may_not_know_is_told_why,
    a_view_put_together_of_list_and_words_is_who_is_there,
    who_ends_by_a_fault_leaves_no_ghost,
}

/// Members of a [`the_list_of_ten_thousand`].
const MANY: usize = 10_000;

/// A server on which members of `room.*` are told of each other, also those that speak text.
async fn server(cores: usize) -> Server {
    let file = "max_connections = 15000\norigins = '*'\nlogin_timeout = '2m'\n\
        [[listen]]\nurl = 'websocket://127.0.0.1:0'\napp = 'push'\n\
        [[listen]]\nurl = 'text://127.0.0.1:0'\napp = 'push'\n\
        [[listen]]\nurl = 'http://127.0.0.1:0'\napp = 'page'\n\
        [[listen]]\nurl = 'text://127.0.0.1:0'\napp = 'push-backend'\n\
        [[groups]]\nname = 'room.*'\npublic = true\npresence = true\npresence_grace = '0s'\n\
        [[groups]]\nname = '*'\npublic = true\n";
    Server::from_file(cores, file).await
}

fn names(list: &Value) -> BTreeSet<String> {
    let names = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = names.iter().map(|name| name.as_str().expect("a name"));
    names.map(str::to_owned).collect()
}

/// What one client knows of who is there.
#[derive(Default)]
struct View {
    members: BTreeSet<String>,
    has_list: bool,
}

impl View {
    /// Takes a frame about a room, asking for the next page if there is one.
    async fn take(&mut self, one: &mut Speaking) {
        let frame = one.frame().await;
        match frame["type"].as_str() {
            Some("members") => {
                let page = frame["members"].as_object().expect("a list");
                self.members.extend(page.keys().cloned());
                self.has_list = frame["cursor"].is_null();
                if !self.has_list {
                    let next = json!({"type": "presence", "group": frame["group"], "id": 1,
                        "limit": 1000, "cursor": frame["cursor"]});
                    one.ask(&next).await;
                }
            }
            Some("presence") => {
                for name in names(&frame["left"]) {
                    self.members.remove(&name);
                }
                self.members.extend(names(&frame["joined"]));
            }
            _ => panic!("{frame}"),
        }
    }
}

async fn the_list_comes_with_the_join(cores: usize) {
    let server = server(cores).await;
    let mut ann = Speaking::of(&server, "ann", &["room.1", "hall"]).await;
    let mut view = View::default();
    while !view.has_list || view.members.len() != 1 {
        view.take(&mut ann).await;
    }
    let (mut tom, _) = Speaking::bind(&server, json!({"uid": "tom"})).await;
    let join = json!({"type": "join", "id": 3, "group": "room.1"});
    assert_eq!(tom.answer(join.clone()).await["type"], "joined");
    let mut of_tom = View::default();
    while !of_tom.has_list || of_tom.members.len() != 2 {
        of_tom.take(&mut tom).await;
    }
    while view.members.len() < 2 {
        view.take(&mut ann).await;
    }
    // By pages, as it is asked for.
    let page = json!({"type": "presence", "id": "p", "group": "room.1", "limit": 1});
    ann.ask(&page).await;
    let page = ann.frame().await;
    assert_eq!(
        page,
        json!({"type": "members", "id": "p", "group": "room.1", "members": {"ann": 1}, "cursor": "ann"})
    );
    let next = json!({"type": "presence", "group": "room.1", "limit": 1, "cursor": "ann"});
    ann.ask(&next).await;
    let page = ann.frame().await;
    assert_eq!(page["members"], json!({"tom": 1}));
    assert!(page["cursor"].is_null(), "{page}");
    drop(tom);
    while view.members.len() > 1 {
        view.take(&mut ann).await;
    }
}

async fn who_may_not_know_is_told_why(cores: usize) {
    let server = server(cores).await;
    let mut ann = Speaking::of(&server, "ann", &["hall"]).await;
    let ask = |group: &str, more: Value| {
        let mut frame = json!({"type": "presence", "id": 9, "group": group});
        if let Some(more) = more.as_object() {
            frame.as_object_mut().expect("one").extend(more.clone());
        }
        frame
    };
    for (frame, code) in [
        (ask("room.1", json!({})), "not_in_group"),
        (ask("hall", json!({})), "not_available"),
        (ask("hall", json!({"limit": 0})), "bad_request"),
        (ask("hall", json!({"limit": 1001})), "bad_request"),
        (ask("hall", json!({"cursor": 7})), "bad_request"),
    ] {
        ann.ask(&frame).await;
        assert_eq!(ann.expect_error(code).await["id"], 9);
    }
    ann.expect_silence().await;
}

async fn a_view_put_together_of_list_and_words_is_who_is_there(cores: usize) {
    let server = server(cores).await;
    let mut random = crate::seed::rng();
    let mut there = BTreeMap::new();
    let mut watching = Vec::new();
    for turn in 0..60 {
        let uid = format!("u{}", random.u8(..10));
        if there.remove(&uid).is_none() {
            there.insert(uid.clone(), Speaking::of(&server, &uid, &["room.1"]).await);
        }
        if turn % 20 == 10 {
            let name = format!("w{turn}");
            let one = Speaking::of(&server, &name, &["room.1"]).await;
            watching.push((name, one));
        }
    }
    let mut wanted: BTreeSet<String> = there.keys().cloned().collect();
    wanted.extend(watching.iter().map(|(name, _)| name.clone()));
    for (name, one) in &mut watching {
        let mut view = View::default();
        while !view.has_list || view.members != wanted {
            view.take(one).await;
        }
        assert!(view.members.contains(name));
    }
}

async fn who_ends_by_a_fault_leaves_no_ghost(cores: usize) {
    let server = server(cores).await;
    let mut ann = Speaking::of(&server, "ann", &["room.1"]).await;
    let mut tom = Speaking::of(&server, "tom", &["room.1"]).await;
    let mut view = View::default();
    while view.members.len() < 2 {
        view.take(&mut ann).await;
    }
    // Longer than any: it ends with 1009, in whatever it was.
    tom.client.send(&"x".repeat(100_000)).await;
    while view.members.len() > 1 {
        view.take(&mut ann).await;
    }
    assert_eq!(
        read(&server, "/v1/groups/room.1").await["members"],
        json!({"ann": 1})
    );
}

#[test]
fn the_list_of_ten_thousand() {
    run_alone(async {
        let server = server(2).await;
        let address = server.address("text", "push");
        let mut crowd = Vec::with_capacity(MANY);
        for number in 0..MANY {
            let mut one = TcpStream::connect(address).await.expect("there is room");
            let login = format!("c{number:05}\n");
            one.write_all(login.as_bytes()).await.expect("it is there");
            crowd.push(one);
        }
        while server.count("bound").await < MANY as u64 {
            tokio::task::yield_now().await;
        }
        let entries: Vec<Value> = (0..MANY)
            .map(|number| json!({"join": {"group": "room.1", "uid": format!("c{number:05}")}}))
            .collect();
        for some in entries.chunks(1_000) {
            told(&server, "/v1/batch", &Value::from(some).to_string()).await;
        }
        let mut one = Speaking::of(&server, "watches", &["room.1"]).await;
        let mut view = View::default();
        while !view.has_list || view.members.len() < MANY + 1 {
            view.take(&mut one).await;
        }
        // Half of them go.
        crowd.truncate(MANY / 2);
        while view.members.len() > MANY / 2 + 1 {
            view.take(&mut one).await;
        }
        let wanted = (0..MANY / 2).map(|number| format!("c{number:05}"));
        let wanted: BTreeSet<String> = wanted.chain(["watches".to_owned()]).collect();
        assert!(view.members == wanted);
        // And everybody who comes now has them in one list.
        let mut last = Speaking::of(&server, "zoe", &["room.1"]).await;
        let mut view = View::default();
        while !view.has_list || view.members.len() < MANY / 2 + 2 {
            view.take(&mut last).await;
        }
    });
}
