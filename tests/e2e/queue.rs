//! `offline = "queue"`: what comes for a uid without a connection waits for its next login on a plain wire, and what its
//! peer's kernel has not acknowledged goes back.

use std::collections::BTreeSet;
use std::time::Duration;

use libc::SIGTERM;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::{read, told};
use crate::client::Client;
use crate::on_cores;
use crate::raw::Raw;
use crate::receiver::{Receiver, SECRET};
use crate::seed;
use crate::server::Server;

on_cores! {
    what_waited_comes_at_the_login_in_order,
    what_is_newer_comes_behind_what_waited,
    only_uids_of_the_rule_wait,
    one_that_was_delivered_does_not_wait,
    what_was_not_acknowledged_goes_back,
    whoever_reads_to_the_end_misses_nothing,
    a_newcomer_takes_what_the_replaced_one_has_not_got,
    more_than_an_outbox_holds_comes_in_pieces,
    a_restart_says_what_it_forgets,
    what_expires_is_told,
    another_device_gets_what_the_first_has_not_got,
}

fn file(more: &str) -> String {
    format!(
        r#"
{more}
[[listen]]
url = "websocket://127.0.0.1:0"
app = "push"
[[listen]]
url = "text://127.0.0.1:0"
app = "push"
[[listen]]
url = "frame://127.0.0.1:0"
app = "push"
[[listen]]
url = "text://127.0.0.1:0"
app = "push-backend"
[[listen]]
url = "http://127.0.0.1:0"
app = "page"
[[history]]
kind = "uid"
name = "q*"
size = 100000
ttl = "10m"
offline = "queue"
[[history]]
kind = "uid"
size = 10
ttl = "10m"
"#
    )
}

fn line(uid: &str, number: usize) -> String {
    format!("{{\"uid\":\"{uid}\",\"n\":{number}}}")
}

/// Receives up to the message before this number, each the next one; which was the first.
async fn first_of_rest(client: &mut Client, end: usize) -> usize {
    let mut first = None;
    let mut next = None;
    while next != Some(end) {
        let text = client.text().await;
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let number = value["n"].as_u64().expect("a number") as usize;
        assert_eq!(number, next.unwrap_or(number));
        assert!(number < end);
        first.get_or_insert(number);
        next = Some(number + 1);
    }
    first.expect("one came")
}

async fn what_waited_comes_at_the_login_in_order(cores: usize) {
    let server = Server::from_file_with(cores, &file(""), 5).await;
    let mut backend = server.backend().await;
    for scheme in ["ws", "text", "frame"] {
        let uid = format!("q-{scheme}");
        for number in 0..200 {
            assert_eq!(backend.ask(&line(&uid, number)).await, "ok");
        }
        let mut client = server.push(scheme, &uid).await;
        for number in 0..200 {
            client.expect(&line(&uid, number)).await;
        }
        // And now it is there.
        for number in 200..210 {
            assert_eq!(backend.ask(&line(&uid, number)).await, "ok");
            client.expect(&line(&uid, number)).await;
        }
    }
}

async fn what_is_newer_comes_behind_what_waited(cores: usize) {
    let server = Server::from_file_with(cores, &file(""), 5).await;
    let mut backend = server.backend().await;
    let uid = "q1";
    for number in 0..2_000 {
        assert_eq!(backend.ask(&line(uid, number)).await, "ok");
    }
    let mut client = server.push("ws", uid).await;
    let newer = tokio::spawn(async move {
        for number in 2_000..3_000 {
            assert_eq!(backend.ask(&line(uid, number)).await, "ok");
        }
    });
    for number in 0..3_000 {
        client.expect(&line(uid, number)).await;
    }
    newer.await.expect("no panic");
}

async fn only_uids_of_the_rule_wait(cores: usize) {
    let server = Server::from_file_with(cores, &file(""), 5).await;
    let mut backend = server.backend().await;
    assert_eq!(backend.ask(&line("tom", 1)).await, "fail");
    let answer = told(&server, "/v1/push", r#"{"uids":["tom","q1"],"text":"x"}"#).await;
    // Both are kept, for who listens by events; the second also for a login.
    assert_eq!(answer["verdicts"], json!({"tom": "kept", "q1": "kept"}));
    let answer = told(
        &server,
        "/v1/push",
        r#"{"uid":"q1","text":"y","keep":false}"#,
    )
    .await;
    assert_eq!(answer["verdicts"], json!({"q1": "offline"}));
    let mut tom = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    assert_eq!(backend.ask(&line("tom", 2)).await, "ok");
    tom.expect(&line("tom", 2)).await;
    let mut one = server.push("ws", "q1").await;
    one.expect("x").await;
    assert_eq!(backend.ask(&line("q1", 3)).await, "ok");
    one.expect(&line("q1", 3)).await;
}

async fn one_that_was_delivered_does_not_wait(cores: usize) {
    let server = Server::from_file_with(cores, &file(""), 5).await;
    let mut backend = server.backend().await;
    for round in 0..5 {
        let mut client = server.push("ws", "q1").await;
        server.wait_online("q1").await;
        assert_eq!(backend.ask(&line("q1", round)).await, "ok");
        client.expect(&line("q1", round)).await;
        client.close().await;
        server.wait_offline("q1").await;
    }
    // They are all in the stream.
    let page = read(&server, "/v1/history?uid=q1").await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(5), "{page}");
}

/// The peer reads nothing, so its kernel soon acknowledges nothing more.
async fn what_was_not_acknowledged_goes_back(cores: usize) {
    const COUNT: usize = 400;
    let server = Server::from_file_with(cores, &file("outbox_bytes_max = \"8 MiB\""), 5).await;
    let mut backend = server.backend().await;
    let mut stalled = Raw::dial_narrow(server.address("text", "push")).await;
    stalled.write(b"q1\n").await;
    server.wait_online("q1").await;
    let long = "x".repeat(500);
    for number in 0..COUNT {
        let message = format!("{{\"uid\":\"q1\",\"n\":{number},\"long\":\"{long}\"}}");
        assert_eq!(backend.ask(&message).await, "ok");
    }
    stalled.reset();
    server.wait_offline("q1").await;
    let mut client = server.push("text", "q1").await;
    let first = first_of_rest(&mut client, COUNT).await;
    assert!(first > 0, "what had fitted was acknowledged");
}

async fn whoever_reads_to_the_end_misses_nothing(cores: usize) {
    let server = Server::from_file_with(cores, &file(""), 5).await;
    let mut rng = seed::rng();
    let mut backend = server.backend().await;
    const COUNT: usize = 3_000;
    let pushing = tokio::spawn(async move {
        for number in 0..COUNT {
            assert_eq!(backend.ask(&line("q1", number)).await, "ok");
            if number % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT {
        let mut socket = TcpStream::connect(server.address("text", "push"))
            .await
            .expect("it listens");
        socket.write_all(b"q1\n").await.expect("it reads");
        let (reading, mut writing) = socket.split();
        let mut reader = BufReader::new(reading).lines();
        let some = rng.usize(..40);
        let mut lines = Vec::new();
        while lines.len() < some {
            let next = timeout(Duration::from_millis(100), reader.next_line());
            match next.await {
                Ok(line) => lines.push(line.expect("UTF-8").expect("it goes on")),
                Err(_) => break,
            }
        }
        // It sends no more, and reads what there is to the end.
        writing.shutdown().await.expect("it is there");
        while let Some(line) = reader.next_line().await.expect("UTF-8") {
            lines.push(line);
        }
        let numbers = lines.iter().map(|line| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            value["n"].as_u64().expect("a number") as usize
        });
        seen.extend(numbers);
    }
    assert!(seen.into_iter().eq(0..COUNT));
    pushing.await.expect("no panic");
}

async fn a_newcomer_takes_what_the_replaced_one_has_not_got(cores: usize) {
    let more = "uid_policy = \"replace\"\noutbox_bytes_max = \"8 MiB\"";
    let server = Server::from_file_with(cores, &file(more), 5).await;
    let mut backend = server.backend().await;
    let mut stalled = Raw::dial_narrow(server.address("text", "push")).await;
    stalled.write(b"q1\n").await;
    server.wait_online("q1").await;
    let long = "x".repeat(8 << 10);
    for number in 0..200 {
        let message = format!("{{\"uid\":\"q1\",\"n\":{number},\"long\":\"{long}\"}}");
        assert_eq!(backend.ask(&message).await, "ok");
    }
    // The phone comes by another network, and the old connection is still there.
    let mut client = server.push("text", "q1").await;
    first_of_rest(&mut client, 200).await;
    drop(stalled);
}

async fn more_than_an_outbox_holds_comes_in_pieces(cores: usize) {
    let more = "message_bytes_max = \"8 KiB\"\noutbox_bytes_max = \"64 KiB\"";
    let server = Server::from_file_with(cores, &file(more), 5).await;
    let long = "x".repeat(1_000);
    const COUNT: usize = 4_000;
    for first in (0..COUNT).step_by(500) {
        let entry = |number| json!({"push": {"uid": "q1", "text": format!("{number} {long}")}});
        let batch: Vec<_> = (first..first + 500).map(entry).collect();
        told(&server, "/v1/batch", &json!(batch).to_string()).await;
    }
    let mut client = server.push("ws", "q1").await;
    for number in 0..COUNT {
        client.expect(&format!("{number} {long}")).await;
    }
}

/// The end of the server is the end of what it keeps, which the log says.
async fn a_restart_says_what_it_forgets(cores: usize) {
    let mut server = Server::from_file_with(cores, &file("log = \"info\""), 5).await;
    let mut backend = server.backend().await;
    for number in 0..3 {
        assert_eq!(backend.ask(&line("q1", number)).await, "ok");
    }
    drop(backend);
    server.signal(SIGTERM);
    server
        .wait_log(&["messages=3", "is forgotten", "a restart keeps none of it"])
        .await;
    server.wait_exit(Duration::from_secs(60)).await;
}

async fn what_expires_is_told(cores: usize) {
    let receiver = Receiver::start().await;
    let webhooks = format!(
        "log = \"warn\"\nwebhooks.url = \"{}\"\nwebhooks.secret = \"{SECRET}\"\nwebhooks.events = \"expired\"",
        receiver.url()
    );
    let text = file(&webhooks).replace("size = 100000", "size = 2");
    let server = Server::from_file_with(cores, &text, 5).await;
    let mut backend = server.backend().await;
    for number in 0..5 {
        assert_eq!(backend.ask(&line("q1", number)).await, "ok");
    }
    assert_eq!(server.count("history_undelivered").await, 3);
    let mut gone = 0;
    while gone < 3 {
        let events = receiver.events();
        let is_told = |event: &Value| event["event"] == "expired" && event["uid"] == "q1";
        assert!(events.iter().all(is_told), "{events:?}");
        gone = events
            .iter()
            .filter_map(|event| event["messages"].as_u64())
            .sum();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(gone, 3);
    let mut client = server.push("ws", "q1").await;
    client.expect(&line("q1", 3)).await;
    client.expect(&line("q1", 4)).await;
}

/// A second device logs in while the first takes nothing any more; when the first is gone, the second gets the rest.
async fn another_device_gets_what_the_first_has_not_got(cores: usize) {
    const COUNT: usize = 200;
    let server = Server::from_file_with(cores, &file("outbox_bytes_max = \"8 MiB\""), 5).await;
    let mut backend = server.backend().await;
    let mut stalled = Raw::dial_narrow(server.address("text", "push")).await;
    stalled.write(b"q1\n").await;
    server.wait_online("q1").await;
    let long = "x".repeat(500);
    let message = |number| format!("{{\"uid\":\"q1\",\"n\":{number},\"long\":\"{long}\"}}");
    for number in 0..COUNT {
        assert_eq!(backend.ask(&message(number)).await, "ok");
    }
    let mut second = server.push("text", "q1").await;
    while server.count("bound").await < 2 {}
    // It is newer than these, and gets what comes.
    assert_eq!(backend.ask(&message(COUNT)).await, "ok");
    second.expect(&message(COUNT)).await;
    stalled.reset();
    first_of_rest(&mut second, COUNT + 1).await;
    second.close().await;
    server.wait_offline("q1").await;
    // All of it was delivered.
    let mut third = server.push("text", "q1").await;
    server.wait_online("q1").await;
    assert_eq!(backend.ask(&message(COUNT + 1)).await, "ok");
    third.expect(&message(COUNT + 1)).await;
}
