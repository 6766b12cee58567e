//! Webhooks: what a receiver is told, in which order, how it knows whose it is.

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::client::Client;
use crate::http::get;
use crate::receiver::{Receiver, SECRET, brief, expect_sent};
use crate::server::Server;
use crate::tokens::{File, in_seconds};
use crate::{on_cores, run, run_alone};

on_cores! {
    all_three_events_are_told_in_full,
    a_connection_that_moves_is_told_of_once,
    a_uid_that_is_replaced_stays_online,
    those_that_are_not_wanted_are_not_told,
}

/// A server that tells this receiver.
pub async fn telling(cores: usize, receiver: &Receiver, more: &[(&str, &str)]) -> Server {
    let url = receiver.url();
    let mut settings = vec![
        ("WEBHOOKS_URL", url.as_str()),
        ("WEBHOOKS_SECRET", SECRET),
        ("WEBHOOKS_BATCH_DELAY", "20ms"),
    ];
    settings.extend(more);
    Server::with(cores, &settings).await
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}

async fn all_three_events_are_told_in_full(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[]).await;
    let began = now();
    let url = |scheme: &str, app: &str| format!("{scheme}://{}", server.address(scheme, app));
    // One of a connection that is bound, and none of the back end's.
    let mut tom = server.push("ws", "t\"m").await;
    receiver.wait(1).await;
    let mut other = server.connect("text", "push").await;
    other.send("t\"m").await;
    receiver.wait(2).await;
    assert_eq!(server.backend().await.ask("kick t\"m").await, "ok");
    assert_eq!(server.backend().await.ask("kick nobody").await, "fail");
    tom.expect_end(4007).await;
    receiver.wait(5).await;
    let lisa = server.relay("text", "李雷").await;
    let lisas = lisa.local();
    receiver.wait(6).await;
    drop(lisa);
    let events = receiver.wait(7).await;

    let place = |client: std::net::SocketAddr, scheme: &str, app: &str| json!({"address": client.to_string(), "app": app, "listener": url(scheme, app)});
    let toms = place(tom.local(), "ws", "push");
    let others = place(other.local(), "text", "push");
    let lisas = place(lisas, "text", "relay");
    let all = |parts: [&Value; 2]| {
        let mut whole = parts[0].clone();
        let more = parts[1].as_object().expect("an object").clone();
        whole.as_object_mut().expect("an object").extend(more);
        whole
    };
    let connect = |uid: &str, first: bool| json!({"event": "connect", "uid": uid, "first": first});
    let kicked = |last: bool| json!({"event": "disconnect", "uid": "t\"m", "reason": "kicked", "code": 4007, "last": last});
    let gone = json!({
        "event": "disconnect", "uid": "李雷", "reason": "closed by peer", "code": null, "last": true
    });
    let kick = json!({
        "event": "kick", "uid": "t\"m", "connections": 2, "by": url("text", "push-backend")
    });
    // The latest to come is the first to be closed.
    let expected = [
        all([&connect("t\"m", true), &toms]),
        all([&connect("t\"m", false), &others]),
        kick,
        all([&kicked(false), &others]),
        all([&kicked(true), &toms]),
        all([&connect("李雷", true), &lisas]),
        all([&gone, &lisas]),
    ];
    let mut connections = Vec::new();
    for (event, expected) in events.iter().zip(expected) {
        let mut event = event.as_object().expect("an object").clone();
        let time = event.remove("time").and_then(|time| time.as_f64());
        let time = time.expect("a time");
        assert!((began - 0.002..=now()).contains(&time), "{time}");
        assert!(event.remove("id").is_some());
        connections.push(event.remove("connection"));
        assert_eq!(Value::from(event), expected);
    }
    assert_ne!(connections[0], connections[1]);
    assert_eq!(connections[0], connections[4], "tom's");
    assert_eq!(connections[1], connections[3], "the other's");
    assert_eq!(connections[5], connections[6], "lisa's");
    assert!(connections[2].is_none());

    let batches = receiver.batches();
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(batch["batch"], number + 1);
        assert_eq!(batch["dropped"], 0);
        assert_eq!(batch["server"], batches[0]["server"]);
    }
    let request = &receiver.requests()[0];
    assert_eq!(request["path"], "/hooks?of=tests");
    let agent = request["agent"].as_str().expect("a name");
    assert!(agent.starts_with("ringpost/"), "{agent}");
    expect_sent(&server, 7).await;
    let metrics = get(server.address("http", "page"), "/metrics").await.body;
    assert!(metrics.contains("ringpost_webhooks_total{result=\"sent\"} 7"));
    assert_eq!(server.count("webhooks_failed").await, 0);
    assert_eq!(server.count("webhooks_dropped").await, 0);
    assert!(!server.log().contains(SECRET));
}

async fn a_connection_that_moves_is_told_of_once(cores: usize) {
    const CLIENTS: usize = 60;
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[]).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(server.relay("frame", &format!("u{number}")).await);
    }
    // One that never says who it is, and one whose uid is refused.
    let silent = server.connect("ws", "relay").await;
    let mut refused = server.connect("ws", "relay").await;
    refused.send("a:b").await;
    refused.expect_start("error: ").await;
    let moved = server.count("moved_in").await;
    assert_eq!(moved > 0, cores > 1);
    drop((silent, refused));
    drop(clients);
    let events = receiver.wait(2 * CLIENTS).await;
    let mut names: HashMap<&str, &Value> = HashMap::new();
    for event in &events {
        let uid = event["uid"].as_str().expect("a uid");
        let name = &event["connection"];
        assert_eq!(*names.entry(uid).or_insert(name), name);
    }
    let apart: HashSet<String> = names.values().map(|name| name.to_string()).collect();
    assert_eq!(apart.len(), CLIENTS);
    let mut seen: HashMap<&str, Vec<&str>> = HashMap::new();
    for (event, uid, _) in brief(&events, "first") {
        seen.entry(uid).or_default().push(event);
    }
    assert_eq!(seen.len(), CLIENTS);
    for (uid, events) in seen {
        assert_eq!(events, ["connect", "disconnect"], "{uid}");
    }
}

async fn a_uid_that_is_replaced_stays_online(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[("UID_POLICY", "replace")]).await;
    let mut older = server.relay("ws", "tom").await;
    let newer = server.relay("ws", "tom").await;
    older.expect_end(4001).await;
    drop(newer);
    let events = receiver.wait(4).await;
    let told: Vec<(&str, &Value, &Value)> = events
        .iter()
        .map(|it| {
            (
                it["event"].as_str().expect("a name"),
                &it["first"],
                &it["last"],
            )
        })
        .collect();
    let (yes, no, none) = (json!(true), json!(false), Value::Null);
    assert_eq!(
        told,
        [
            ("connect", &yes, &none),
            ("connect", &no, &none),
            ("disconnect", &none, &no),
            ("disconnect", &none, &yes),
        ]
    );
    assert_eq!(events[2]["code"], 4001);
    assert_eq!(events[2]["connection"], events[0]["connection"]);
}

async fn those_that_are_not_wanted_are_not_told(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[("WEBHOOKS_EVENTS", "kick")]).await;
    let _tom = server.push("ws", "tom").await;
    assert_eq!(server.backend().await.ask("kick tom").await, "ok");
    let events = receiver.wait(1).await;
    assert_eq!(events[0]["event"], "kick");
}

/// Comings and goings of 2,000 uids, five times each.
#[test]
fn ten_thousand_connects_come_in_batches_and_in_order_with_2_cores() {
    run_alone(ten_thousand(2));
}

#[test]
fn ten_thousand_connects_come_in_batches_and_in_order_with_4_cores() {
    run_alone(ten_thousand(4));
}

async fn ten_thousand(cores: usize) {
    const UIDS: usize = 2_000;
    const ROUNDS: usize = 5;
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[]).await;
    let address = server.address("text", "push");
    for round in 1..=ROUNDS {
        let mut clients = Vec::with_capacity(UIDS);
        for number in 0..UIDS {
            let mut client = Client::connect("text", address).await;
            client.send(&format!("u{number}")).await;
            clients.push(client);
        }
        // Told of each, so each is bound before it goes.
        receiver.wait((2 * round - 1) * UIDS).await;
        drop(clients);
        receiver.wait(2 * round * UIDS).await;
    }
    let events = receiver.events();
    let mut seen: HashMap<&str, Vec<&str>> = HashMap::new();
    for (event, uid, _) in brief(&events, "first") {
        seen.entry(uid).or_default().push(event);
    }
    assert_eq!(seen.len(), UIDS);
    for (uid, events) in seen {
        assert_eq!(events, ["connect", "disconnect"].repeat(ROUNDS), "{uid}");
    }
    let batches = receiver.batches();
    let sizes: Vec<usize> = batches
        .iter()
        .map(|batch| batch["events"].as_array().expect("a list").len())
        .collect();
    assert!(
        sizes.iter().all(|size| (1..=500).contains(size)),
        "{sizes:?}"
    );
    assert!(sizes.len() < 2 * UIDS * ROUNDS / 4, "{sizes:?}");
    // Ids of a core have no gap.
    let mut last: HashMap<String, u64> = HashMap::new();
    for event in &events {
        let id = event["id"].as_str().expect("an id");
        let (core, number) = id.rsplit_once('-').expect("a number");
        let number: u64 = number.parse().expect("a number");
        let before = last.insert(core.to_owned(), number).unwrap_or(0);
        assert_eq!(number, before + 1, "{id}");
    }
    assert_eq!(last.len(), cores);
    expect_sent(&server, (2 * UIDS * ROUNDS) as u64).await;
}

/// A language that is not here is left out, and said so.
#[test]
fn other_languages_verify_what_is_sent() {
    run(verified());
}

async fn verified() {
    let receiver = Receiver::start().await;
    let server = telling(2, &receiver, &[]).await;
    let _tom = server.push("ws", "李雷").await;
    receiver.wait(1).await;
    let request = &receiver.requests()[0];
    let signature = request["signature"].as_str().expect("a signature");
    let body = request["body"].as_str().expect("a body");
    let old = resigned(in_seconds(-600), body);
    let file = File::new(&format!("{SECRET}\n"));
    let wrong = File::new("another one that has 32 as well!");
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/webhooks");
    for (program, name) in [
        ("php", "verify.php"),
        ("python3", "verify.py"),
        ("node", "verify.js"),
    ] {
        let verify = |file: &File, signature: &str, body: &str| {
            let mut child = Command::new(program)
                .arg(format!("{examples}/{name}"))
                .args([file.path(), signature])
                .stdin(Stdio::piped())
                .spawn()
                .ok()?;
            let mut stdin = child.stdin.take().expect("a pipe");
            std::io::Write::write_all(&mut stdin, body.as_bytes()).expect("it reads");
            drop(stdin);
            child.wait().expect("a status").code()
        };
        let Some(status) = verify(&file, signature, body) else {
            println!("{program} is not here: its verification is not tried");
            continue;
        };
        assert_eq!(status, 0, "{program}");
        let changed = body.replace("李雷", "李四");
        let later = signature.replacen("t=1", "t=2", 1);
        let fresh = resigned(in_seconds(0), body);
        for (name, expected, status) in [
            ("another body", 1, verify(&file, signature, &changed)),
            ("another time", 1, verify(&file, &later, body)),
            ("another secret", 1, verify(&wrong, signature, body)),
            ("ten minutes ago", 1, verify(&file, &old, body)),
            ("now", 0, verify(&file, &fresh, body)),
        ] {
            assert_eq!(status, Some(expected), "{program}: {name}");
        }
    }
}

/// The signature of another time.
fn resigned(seconds: u64, body: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let mac = aws_lc_rs::hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = mac
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={seconds},v1={hex}")
}

/// The pause in which nothing more has to come.
pub const QUIET: Duration = Duration::from_millis(500);
