//! Groups over all cores: one order for all members, whoever sends, and a sender's messages to a member stay in order
//! across addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringpost::app::{App, BindError, Context, JoinError};
use ringpost::{Config, Message, Running, Server};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::api::told;
use crate::client::{Client, PATIENCE};
use crate::server::Server as Binary;
use crate::{on_cores, run_alone};

const MEMBERS: usize = 30;
const SENDERS: usize = 6;
const MESSAGES: usize = 400;
const SCHEMES: [&str; 3] = ["ws", "text", "frame"];

on_cores! {
    all_members_see_one_order,
    a_push_to_a_member_follows_one_to_its_group,
    what_becomes_of_a_join_is_told,
    whoever_joins_and_leaves_without_end_leaves_others_alone,
}

/// Readers of a room that is flooded.
const READERS: usize = 1_000;

/// `bind UID`, `unbind`, `join GROUP`, `join GROUP NAME`, `leave GROUP`, `group NAME text`, `uid NAME text` and `all text`;
/// what is none of these comes back. To have joined the group `fatal` is.
pub struct Rooms;

impl App for Rooms {
    type Session = ();
    type Note = ();
    const NAMESPACE: &'static str = "rooms";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
        let text = message.text().unwrap_or_default();
        match text.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["bind", uid] => cx.bind_uid(uid),
            ["unbind"] => cx.unbind(),
            ["join", group] => cx.join(group),
            ["join", group, name] => cx.join_as(group, name),
            ["leave", group] => cx.leave(group),
            ["group", group, text] => cx.send_to_group(group, text),
            ["uid", uid, text] => cx.send_to_uid(uid, text),
            ["all", ..] => cx.broadcast(&text["all ".len()..]),
            _ => cx.send(text),
        }
    }

    fn on_bound(&mut self, cx: &mut Context<'_, Self>, _: &mut (), result: Result<(), BindError>) {
        cx.send(match result {
            Ok(()) => "bound",
            Err(_) => "refused",
        });
    }

    fn on_joined(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut (),
        group: &str,
        result: Result<(), JoinError>,
    ) {
        assert_ne!(group, "fatal", "on purpose");
        cx.send(match result {
            Ok(()) => format!("joined {group}"),
            Err(error) => format!("not {group}: {error}"),
        });
    }
}

/// With the addresses of its listeners, as [`SCHEMES`] has them.
pub async fn start(config: Config) -> (Running, [SocketAddr; 3]) {
    start_with(config, |server| server).await
}

/// Starts one with a configuration of the test's own.
pub async fn start_with(
    config: Config,
    more: impl FnOnce(Server) -> Server,
) -> (Running, [SocketAddr; 3]) {
    let listens = [
        "websocket://127.0.0.1:0",
        "text://127.0.0.1:0",
        "frame://127.0.0.1:0",
    ];
    crate::fragile::quiet_cores();
    let server = more(Server::new(config).listen(listens, || Rooms));
    let running = spawn_blocking(|| server.start()).await.expect("no panic");
    let running = running.expect("it starts");
    let addresses = [0, 1, 2].map(|at| running.listening()[at].address.ip().expect("of IP"));
    (running, addresses)
}

pub async fn stop(running: Running) {
    spawn_blocking(|| running.stop().expect("it stops"))
        .await
        .expect("no panic");
}

pub async fn enter(addresses: &[SocketAddr; 3], nth: usize, uid: &str) -> Client {
    let mut client = Client::connect(SCHEMES[nth % 3], addresses[nth % 3]).await;
    client.send(&format!("bind {uid}")).await;
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

/// A push to a member by the HTTP API follows one to its group: a batch keeps its order to each member, and what comes by several connections at a time is in
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

/// A client that answers itself until it is over: how long each answer took, in order of size.
async fn echo(addresses: [SocketAddr; 3], nth: usize, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut client = enter(&addresses, nth, &format!("quiet{nth}")).await;
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        client.send("echo").await;
        client.expect("echo").await;
        took.push(began.elapsed());
        sleep(Duration::from_millis(2)).await;
    }
    took.sort();
    took
}

/// Memory of this process in bytes, the server's included.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.expect("it is told").split_whitespace().nth(1);
    words
        .and_then(|kb| kb.parse::<usize>().ok())
        .expect("kilobytes")
        << 10
}

/// Writes as much of this as the server takes, until it is over, and reads nothing.
async fn flood(address: SocketAddr, uid: String, line: String, over: Arc<AtomicBool>) -> u64 {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let bind = format!("bind {uid}\n");
    socket.write_all(bind.as_bytes()).await.expect("it leaves");
    let (mut read, mut write) = socket.into_split();
    let reading = tokio::spawn(async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(1..) = read.read(&mut piece).await {}
    });
    let block = line.repeat((16 << 10) / line.len() + 1);
    let mut bytes = 0;
    while !over.load(Ordering::Relaxed) {
        let writing = write.write(block.as_bytes());
        if let Ok(written) = timeout(Duration::from_millis(100), writing).await {
            // What is cut in two goes on with the next: lines are alike, and one may be odd.
            bytes += written.expect("it is not closed") as u64;
        }
    }
    drop(write);
    let _ = timeout(PATIENCE, reading).await;
    bytes
}

async fn a_flooded_room(cores: usize) {
    let (running, addresses) = start(Config {
        cores,
        pin: false,
        ..Config::default()
    })
    .await;
    let received = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for nth in 0..READERS {
        let mut socket = TcpStream::connect(addresses[1])
            .await
            .expect("a connection");
        let lines = format!("bind reader{nth}\njoin room\n");
        socket.write_all(lines.as_bytes()).await.expect("it leaves");
        let mut answers = [0; "bound\njoined room\n".len()];
        socket.read_exact(&mut answers).await.expect("answers");
        let (received, over) = (Arc::clone(&received), Arc::clone(&over));
        readers.spawn(async move {
            let mut piece = vec![0; 16 << 10];
            while !over.load(Ordering::Relaxed) {
                let reading = timeout(Duration::from_millis(200), socket.read(&mut piece));
                match reading.await {
                    Ok(Ok(count @ 1..)) => received.fetch_add(count as u64, Ordering::Relaxed),
                    Ok(end) => panic!("reader {nth} was closed: {end:?}"),
                    Err(_) => 0,
                };
            }
        });
    }
    let before = memory();
    let mut quiet = JoinSet::new();
    for nth in 0..6 {
        quiet.spawn(echo(addresses, nth, Arc::clone(&over)));
    }
    let mut floods = JoinSet::new();
    for from in 0..4 {
        let line = format!("group room {}\n", "x".repeat(100));
        floods.spawn(flood(
            addresses[1],
            format!("flood{from}"),
            line,
            Arc::clone(&over),
        ));
    }
    let mut most = 0;
    for _ in 0..40 {
        sleep(Duration::from_millis(100)).await;
        most = most.max(memory());
    }
    over.store(true, Ordering::Relaxed);
    let sent: u64 = floods.join_all().await.iter().sum();
    let took: Vec<Duration> = quiet.join_all().await.into_iter().flatten().collect();
    readers.join_all().await;
    let slowest = took.iter().max().expect("answers");
    let mut took_sorted = took.clone();
    took_sorted.sort();
    let grown = most.saturating_sub(before);
    println!(
        "{cores} cores: {} bytes sent, {} received, memory +{} MB; {} echoes, median {:?}, 99 % {:?}, slowest {slowest:?}",
        sent,
        received.load(Ordering::Relaxed),
        grown >> 20,
        took.len(),
        took_sorted[took.len() / 2],
        took_sorted[took.len() * 99 / 100],
    );
    assert!(grown < 512 << 20, "{} MB", grown >> 20);
    stop(running).await;
}

/// Four flood a room of a thousand: none of its readers is closed, quiet clients are answered, and memory stays bounded.
#[test]
fn a_flooded_room_leaves_others_their_turn_on_2_cores() {
    run_alone(a_flooded_room(2));
}

#[test]
fn a_flooded_room_leaves_others_their_turn_on_4_cores() {
    run_alone(a_flooded_room(4));
}

/// Each join of an empty group and each leave is told its home: whoever does so as fast as he can is slowed down with it.
async fn whoever_joins_and_leaves_without_end_leaves_others_alone(cores: usize) {
    let (running, addresses) = start(Config {
        cores,
        pin: false,
        ..Config::default()
    })
    .await;
    let over = Arc::new(AtomicBool::new(false));
    let before = memory();
    let mut floods = JoinSet::new();
    for from in 0..4 {
        let line = format!("join g{from}\nleave g{from}\n");
        floods.spawn(flood(
            addresses[1],
            format!("flood{from}"),
            line,
            Arc::clone(&over),
        ));
    }
    let quiet = tokio::spawn(echo(addresses, 0, Arc::clone(&over)));
    let mut most = 0;
    for _ in 0..10 {
        sleep(Duration::from_millis(100)).await;
        most = most.max(memory());
    }
    over.store(true, Ordering::Relaxed);
    floods.join_all().await;
    assert!(!quiet.await.expect("no panic").is_empty());
    let grown = most.saturating_sub(before);
    println!("{cores} cores: memory +{} MB", grown >> 20);
    assert!(grown < 256 << 20, "{} MB", grown >> 20);
    stop(running).await;
}
