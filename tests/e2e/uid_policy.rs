//! Several connections of one uid: `multi`, `replace`, `reject`; and whatever the policy, the end of
//! one connection unmaps that connection alone.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::client::{Client, Got};
use crate::on_cores;
use crate::seed;
use crate::server::Server;

/// Sends to a uid until all its live connections are these; each must get the probe once.
async fn expect_mapped(sender: &mut Client, uid: &str, connections: &mut [&mut Client]) {
    sender.send(&format!("{uid}:probe")).await;
    for connection in connections {
        connection.expect("probe").await;
        connection.expect_silence().await;
    }
    sender.expect_silence().await;
}

on_cores! {
    multi_keeps_all_and_an_end_unmaps_one_alone,
    multi_has_a_limit,
    multi_takes_256_connections_of_one_uid_by_default,
    replace_keeps_the_newest,
    replace_holds_for_push_too,
    reject_closes_the_newcomer,
    of_many_logins_at_once_replace_leaves_one,
}

async fn multi_keeps_all_and_an_end_unmaps_one_alone(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut sender = server.relay("ws", &uids[0]).await;
    let uid = &uids[1];
    let first = server.relay("ws", uid).await;
    let mut second = server.relay("text", uid).await;
    let mut third = server.relay("ws", uid).await;
    // The oldest ends: in the pattern this unmaps the newest.
    first.close().await;
    expect_mapped(&mut sender, uid, &mut [&mut second, &mut third]).await;
    drop(third);
    sleep(Duration::from_millis(100)).await;
    expect_mapped(&mut sender, uid, &mut [&mut second]).await;
    drop(second);
    server.wait_offline(uid).await;
}

async fn multi_has_a_limit(cores: usize) {
    let server = Server::with(cores, &[("CONNECTIONS_PER_UID_MAX", "3")]).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut sender = server.relay("ws", &uids[0]).await;
    let uid = &uids[1];
    let mut a = server.relay("ws", uid).await;
    let mut b = server.relay("ws", uid).await;
    let mut c = server.relay("ws", uid).await;
    let mut fourth = server.connect("ws", "relay").await;
    fourth.send(uid).await;
    let words = fourth.drain_to_end(4002).await;
    assert!(
        words.iter().all(|word| word.starts_with("error: ")),
        "{words:?}"
    );
    expect_mapped(&mut sender, uid, &mut [&mut a, &mut b, &mut c]).await;
    // One place becomes free.
    a.close().await;
    let mut d = login_when_free(&server, uid).await;
    expect_mapped(&mut sender, uid, &mut [&mut b, &mut c, &mut d]).await;
}

async fn multi_takes_256_connections_of_one_uid_by_default(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut connections = Vec::new();
    for _ in 0..256 {
        connections.push(server.relay("text", &uid).await);
    }
    let mut newcomer = server.connect("text", "relay").await;
    newcomer.send(&uid).await;
    newcomer.drain_to_end(4002).await;
    server.wait_closed("uid in use", 1).await;
    connections[0].send("all:hello").await;
    for connection in &mut connections {
        connection.expect("hello").await;
    }
}

async fn replace_keeps_the_newest(cores: usize) {
    let server = Server::with(cores, &[("UID_POLICY", "replace")]).await;
    let mut rng = seed::rng();
    let mut sender = server.relay("ws", &seed::uid(&mut rng)).await;
    for uid in &seed::uids(&mut rng, 6) {
        let mut old = server.relay("ws", uid).await;
        for scheme in ["text", "frame", "ws"] {
            let mut new = server.relay(scheme, uid).await;
            old.expect_end(4001).await;
            drop(old);
            // Time in which the end of the old one could do its harm.
            sleep(Duration::from_millis(50)).await;
            expect_mapped(&mut sender, uid, &mut [&mut new]).await;
            old = new;
        }
    }
    assert_eq!(server.closed("replaced").await, 18);
}

async fn replace_holds_for_push_too(cores: usize) {
    let server = Server::with(cores, &[("UID_POLICY", "replace")]).await;
    let uid = seed::uid(&mut seed::rng());
    let mut old = server.push("ws", &uid).await;
    let mut new = server.connect("ws", "push").await;
    new.send(&uid).await;
    old.expect_end(4001).await;
    let line = format!("{{\"uid\":\"{uid}\"}}");
    assert_eq!(server.backend().await.ask(&line).await, "ok");
    new.expect(&line).await;
}

async fn reject_closes_the_newcomer(cores: usize) {
    let server = Server::with(cores, &[("UID_POLICY", "reject")]).await;
    let mut rng = seed::rng();
    let mut sender = server.relay("ws", &seed::uid(&mut rng)).await;
    for uid in &seed::uids(&mut rng, 6) {
        let mut first = server.relay("ws", uid).await;
        for scheme in ["ws", "text", "frame"] {
            let mut newcomer = server.connect(scheme, "relay").await;
            newcomer.send(uid).await;
            let words = newcomer.drain_to_end(4002).await;
            assert!(
                words.iter().all(|word| word.starts_with("error: ")),
                "{words:?}"
            );
        }
        expect_mapped(&mut sender, uid, &mut [&mut first]).await;
        first.close().await;
        let mut second = login_when_free(&server, uid).await;
        expect_mapped(&mut sender, uid, &mut [&mut second]).await;
    }
    assert!(server.closed("uid in use").await >= 18);
}

async fn of_many_logins_at_once_replace_leaves_one(cores: usize) {
    let server = Server::with(cores, &[("UID_POLICY", "replace")]).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let uid = &uids[1];
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(server.connect("ws", "relay").await);
    }
    for client in &mut clients {
        client.send(uid).await;
    }
    server.wait_closed("replaced", 39).await;
    let mut sender = server.relay("ws", &uids[0]).await;
    sender.send(&format!("{uid}:who is left")).await;
    let mut left = 0;
    for client in &mut clients {
        let welcome = client.text().await;
        assert!(welcome.starts_with("login success"), "{welcome}");
        match client.next().await {
            Got::Text(text) if text == "who is left" => left += 1,
            Got::End(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(left, 1);
}

/// Logs in to relay as soon as the server lets it: an end elsewhere takes a moment to be seen.
async fn login_when_free(server: &Server, uid: &str) -> Client {
    let start = Instant::now();
    loop {
        let mut client = server.connect("ws", "relay").await;
        client.send(uid).await;
        if let Got::Text(text) = client.next().await
            && text.starts_with("login success")
        {
            return client;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{uid:?} did not become free"
        );
        sleep(Duration::from_millis(20)).await;
    }
}
