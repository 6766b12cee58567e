//! Groups over all cores: one order for all members, whoever sends, and a sender's messages to a member stay in order
//! across addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use ringpost::app::{App, BindError, Context, JoinError};
use ringpost::{Config, Message, Running, Server};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, spawn_blocking};

use crate::api::told;
use crate::client::Client;
use crate::on_cores;
use crate::server::Server as Binary;

const MEMBERS: usize = 30;
const SENDERS: usize = 6;
const MESSAGES: usize = 400;
const SCHEMES: [&str; 3] = ["ws", "text", "frame"];

on_cores! {
    all_members_see_one_order,
    a_push_to_a_member_follows_one_to_its_group,
    what_becomes_of_a_join_is_told,
}

/// The first message is the uid. Then `join GROUP`, `join GROUP as NAME`, `leave GROUP`, `group NAME text`, `uid NAME text`
/// and `all text`; what is none of these comes back.
struct Rooms;

impl App for Rooms {
    type Session = bool;
    type Note = ();
    const SPACE: &'static str = "rooms";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) -> bool {
        false
    }

    fn on_message(&mut self, cx: &mut Context<'_, Self>, known: &mut bool, message: Message<'_>) {
        let text = message.text().unwrap_or_default();
        if !std::mem::replace(known, true) {
            return cx.bind_uid(text);
        }
        match text.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["join", group] => cx.join(group),
            ["join", group, name] => cx.join_as(group, name),
            ["leave", group] => cx.leave(group),
            ["group", group, text] => cx.send_to_group(group, text),
            ["uid", uid, text] => cx.send_to_uid(uid, text),
            ["all", text] => cx.broadcast(text),
            _ => cx.send(text),
        }
    }

    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut bool,
        result: Result<(), BindError>,
    ) {
        cx.send(match result {
            Ok(()) => "bound",
            Err(_) => "refused",
        });
    }

    fn on_joined(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut bool,
        group: &str,
        result: Result<(), JoinError>,
    ) {
        cx.send(match result {
            Ok(()) => format!("joined {group}"),
            Err(error) => format!("not {group}: {error}"),
        });
    }
}

/// With the addresses of its listeners, as [`SCHEMES`] has them.
async fn start(config: Config) -> (Running, [SocketAddr; 3]) {
    let listens = [
        "websocket://127.0.0.1:0",
        "text://127.0.0.1:0",
        "frame://127.0.0.1:0",
    ];
    let server = Server::new(config).listen(listens, || Rooms);
    let running = spawn_blocking(|| server.start()).await.expect("no panic");
    let running = running.expect("it starts");
    let addresses = [0, 1, 2].map(|at| running.listening()[at].address);
    (running, addresses)
}

async fn stop(running: Running) {
    spawn_blocking(|| running.stop().expect("it stops"))
        .await
        .expect("no panic");
}

async fn enter(addresses: &[SocketAddr; 3], nth: usize, uid: &str) -> Client {
    let mut client = Client::connect(SCHEMES[nth % 3], addresses[nth % 3]).await;
    client.send(uid).await;
    client.expect("bound").await;
    client
}

/// Six write as fast as they can, now to the room and now to one of its members: all of these see the room's messages in
/// one order, each of a sender's messages once, and in the order sent, whatever they were sent to.
async fn all_members_see_one_order(cores: usize) {
    let (running, addresses) = start(Config {
        cores,
        pin: false,
        ..Config::default()
    })
    .await;
    let mut members = JoinSet::new();
    let joined = Arc::new(Barrier::new(MEMBERS + SENDERS));
    for nth in 0..MEMBERS {
        let joined = Arc::clone(&joined);
        members.spawn(async move {
            let mut client = enter(&addresses, nth, &format!("member{nth}")).await;
            client.send("join room").await;
            client.expect("joined room").await;
            joined.wait().await;
            let mut seen = Vec::new();
            let own = (0..MESSAGES).filter(|number| number % MEMBERS == nth);
            let count = SENDERS * (MESSAGES + own.count());
            while seen.len() < count {
                seen.push(client.text().await);
            }
            // Had anything come twice, it would be there before this.
            client.send("last").await;
            client.expect("last").await;
            (nth, seen)
        });
    }
    let mut senders = JoinSet::new();
    for from in 0..SENDERS {
        let joined = Arc::clone(&joined);
        senders.spawn(async move {
            let mut client = enter(&addresses, from, &format!("sender{from}")).await;
            joined.wait().await;
            for number in 0..MESSAGES {
                client.send(&format!("group room G{from} {number}")).await;
                let to = number % MEMBERS;
                client
                    .send(&format!("uid member{to} U{from} {number}"))
                    .await;
            }
            client.send("done").await;
            client.expect("done").await;
            client
        });
    }
    let senders = senders.join_all().await;
    let seen = members.join_all().await;
    let of_room = |seen: &[String]| {
        let of_room = seen.iter().filter(|text| text.starts_with('G'));
        of_room.cloned().collect::<Vec<_>>()
    };
    let order = of_room(&seen[0].1);
    for (nth, seen) in &seen {
        assert!(of_room(seen) == order, "member {nth} saw another order");
        for from in 0..SENDERS {
            let mut expected = Vec::new();
            for number in 0..MESSAGES {
                expected.push(format!("G{from} {number}"));
                if number % MEMBERS == *nth {
                    expected.push(format!("U{from} {number}"));
                }
            }
            let sender = format!("{from} ");
            let of_sender = seen.iter().filter(|text| text[1..].starts_with(&sender));
            let of_sender: Vec<&String> = of_sender.collect();
            let differs = of_sender.iter().zip(&expected).position(|(a, b)| *a != b);
            assert!(
                differs.is_none() && of_sender.len() == expected.len(),
                "member {nth}, sender {from}: {:?} of {} (expected {})",
                differs.map(|at| (of_sender[at], &expected[at])),
                of_sender.len(),
                expected.len()
            );
        }
    }
    drop(senders);
    stop(running).await;
}

/// The same by the HTTP API: a batch keeps its order to each member, and what comes by several connections at a time is in
/// one order for all.
async fn a_push_to_a_member_follows_one_to_its_group(cores: usize) {
    const BATCHES: usize = 20;
    const PUSHES: usize = 30;
    let server = Binary::start(cores).await;
    let mut members = Vec::new();
    for nth in 0..12 {
        let scheme = ["ws", "text", "frame"][nth % 3];
        let uid = format!("m{nth}");
        members.push(server.push(scheme, &uid).await);
        server.wait_online(&uid).await;
        let body = json!({ "uid": uid }).to_string();
        let joined = told(&server, "/v1/groups/room/join", &body).await;
        assert_eq!(joined["connections"], 1, "{joined}");
    }
    let one = |from: usize| {
        let server = &server;
        async move {
            for batch in 0..BATCHES {
                let pushes = (0..PUSHES).map(|number| {
                    let text = format!("{from} {batch}.{number}");
                    match number % 3 {
                        0 => json!({"push": {"uid": "m3", "text": text}}),
                        1 => json!({"push": {"group": "room", "text": format!("G{text}")}}),
                        _ => json!({"push": {"uid": format!("m{}", number % 12), "text": text}}),
                    }
                });
                let body = json!(pushes.collect::<Vec<_>>()).to_string();
                let answer = told(server, "/v1/batch", &body).await;
                assert!(!answer.to_string().contains("error"), "{answer}");
            }
        }
    };
    tokio::join!(one(0), one(1), one(2));
    let mut orders = Vec::new();
    for (nth, member) in members.iter_mut().enumerate() {
        let own = |number: &usize| match number % 3 {
            0 => nth == 3,
            1 => true,
            _ => number % 12 == nth,
        };
        let count = 3 * BATCHES * (0..PUSHES).filter(own).count();
        let mut seen = Vec::new();
        for _ in 0..count {
            seen.push(member.text().await);
        }
        member.expect_silence().await;
        for from in 0..3 {
            let start = format!("{from} ");
            let of_sender = seen.iter().map(|text| text.trim_start_matches('G'));
            let of_sender: Vec<&str> = of_sender.filter(|text| text.starts_with(&start)).collect();
            let mut expected = Vec::new();
            for batch in 0..BATCHES {
                let own = (0..PUSHES).filter(own);
                expected.extend(own.map(|number| format!("{from} {batch}.{number}")));
            }
            assert_eq!(of_sender, expected, "member {nth}");
        }
        let order: Vec<String> = seen
            .into_iter()
            .filter(|one| one.starts_with('G'))
            .collect();
        orders.push(order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]));
}

async fn what_becomes_of_a_join_is_told(cores: usize) {
    let (running, addresses) = start(Config {
        cores,
        pin: false,
        groups_per_connection_max: 3,
        ..Config::default()
    })
    .await;
    let mut client = enter(&addresses, 0, "u").await;
    let mut other = enter(&addresses, 1, "v").await;
    for group in ["a", "b", "all"] {
        client.send(&format!("join {group}")).await;
        client.expect(&format!("joined {group}")).await;
    }
    client.send("join c").await;
    client
        .expect("not c: in as many groups as it may be (groups_per_connection_max)")
        .await;
    client.send("join a again").await;
    client.expect("joined a").await;
    // A group of that name is a group, and everybody is not in it.
    other.send("group all to the group").await;
    client.expect("to the group").await;
    other.send("all everybody").await;
    client.expect("everybody").await;
    other.expect("everybody").await;
    client.send("leave b").await;
    client.send("join c").await;
    client.expect("joined c").await;
    stop(running).await;
}
