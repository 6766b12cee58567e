//! Order: messages from one sender to one receiver arrive in the order sent, each once, whichever
//! cores the two live on.

use std::collections::HashMap;

use crate::client::Client;
use crate::on_cores;
use crate::seed;
use crate::server::Server;

/// Reads so many messages `SENDER NUMBER`; the numbers of each sender must count up from 0.
async fn expect_in_order(client: &mut Client, count: usize) {
    let mut next: HashMap<String, u64> = HashMap::new();
    for _ in 0..count {
        let text = client.text().await;
        let (sender, number) = text
            .split_once(' ')
            .unwrap_or_else(|| panic!("unexpected {text:?}"));
        let expected = next.entry(sender.to_owned()).or_default();
        assert_eq!(number, expected.to_string(), "from sender {sender}");
        *expected += 1;
    }
    client.expect_silence().await;
}

on_cores! {
    many_senders_to_many_receivers,
    a_broadcast_is_not_overtaken,
    a_back_end_is_a_sender_too,
    what_is_sent_while_a_connection_moves_stays_in_order,
    most_sends_cross_cores,
}

async fn many_senders_to_many_receivers(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, 16);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(server.relay("ws", uid).await);
    }
    let mut sent = vec![vec![0u64; uids.len()]; uids.len()];
    for _ in 0..6_000 {
        let (from, to) = (rng.usize(..uids.len()), rng.usize(..uids.len()));
        let number = &mut sent[from][to];
        clients[from]
            .send(&format!("{}:{from} {number}", uids[to]))
            .await;
        *number += 1;
    }
    for (to, client) in clients.iter_mut().enumerate() {
        let count: u64 = sent.iter().map(|to_each| to_each[to]).sum();
        expect_in_order(client, count as usize).await;
    }
}

async fn a_broadcast_is_not_overtaken(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, 24);
    let mut clients = Vec::new();
    for (n, uid) in uids.iter().enumerate() {
        clients.push(server.relay(["ws", "text", "frame"][n % 3], uid).await);
    }
    // Each message goes to one or to all; to each receiver the numbers it sees must grow.
    for number in 0..3_000 {
        let from = rng.usize(..4);
        let to = if rng.u8(..4) == 0 {
            "all"
        } else {
            &uids[rng.usize(..uids.len())]
        };
        clients[from].send(&format!("{to}:{from} {number}")).await;
    }
    for client in &mut clients[4..] {
        expect_growing(client).await;
    }
}

async fn a_back_end_is_a_sender_too(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, 12);
    let mut clients = Vec::new();
    for (n, uid) in uids.iter().enumerate() {
        clients.push(match n % 2 {
            0 => server.relay("ws", uid).await,
            _ => server.push("ws", uid).await,
        });
    }
    let mut backend = server.backend().await;
    let mut lines = String::new();
    for number in 0..4_000 {
        let to = if rng.u8(..8) == 0 {
            "all"
        } else {
            &uids[rng.usize(..uids.len())]
        };
        lines.push_str(&format!("{{\"uid\":\"{to}\",\"n\":{number}}}\n"));
    }
    backend.send_bytes(lines.as_bytes()).await;
    for _ in 0..4_000 {
        backend.expect("ok").await;
    }
    let mut expected: Vec<Vec<&str>> = vec![Vec::new(); uids.len()];
    for line in lines.lines() {
        for (uid, lines) in uids.iter().zip(&mut expected) {
            if line.starts_with(&format!("{{\"uid\":\"{uid}\""))
                || line.starts_with("{\"uid\":\"all\"")
            {
                lines.push(line);
            }
        }
    }
    for (client, lines) in clients.iter_mut().zip(expected) {
        for line in lines {
            client.expect(line).await;
        }
        client.expect_silence().await;
    }
}

pub async fn what_is_sent_while_a_connection_moves_stays_in_order(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let target = seed::uid(&mut rng);
    let mut receiver = server.relay("ws", &target).await;
    // Login and messages go out before the connection can have moved to its home core.
    let mut senders = Vec::new();
    for (n, uid) in seed::uids(&mut rng, 30).iter().enumerate() {
        let mut sender = server.connect("text", "relay").await;
        let mut lines = format!("{uid}\n");
        for number in 0..100 {
            lines.push_str(&format!("{target}:{n} {number}\n"));
            lines.push_str(&format!("{uid}:{n} {number}\n"));
        }
        sender.send_bytes(lines.as_bytes()).await;
        senders.push(sender);
    }
    expect_in_order(&mut receiver, 3_000).await;
    for sender in &mut senders {
        sender.expect_start("login success").await;
        expect_in_order(sender, 100).await;
    }
}

pub async fn most_sends_cross_cores(cores: usize) {
    // Guards the other tests: with random uids they must exercise the bus.
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, 32);
    let mut sender = server.relay("ws", &uids[0]).await;
    let mut clients = Vec::new();
    for uid in &uids[1..] {
        clients.push(server.relay("ws", uid).await);
    }
    let before = server.count("envelopes_out").await;
    for uid in &uids[1..] {
        sender.send(&format!("{uid}:hello")).await;
    }
    for client in &mut clients {
        client.expect("hello").await;
    }
    let crossed = server.count("envelopes_out").await - before;
    if cores == 1 {
        assert_eq!(crossed, 0);
    } else {
        assert!(crossed >= 4, "only {crossed} envelopes for 31 sends");
    }
}

/// Reads until nothing more comes; of each sender the numbers must grow, so none came twice.
async fn expect_growing(client: &mut Client) {
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut count = 0;
    while let Some(got) = client.next_within(std::time::Duration::from_secs(1)).await {
        let crate::client::Got::Text(text) = got else {
            panic!("unexpected {got:?}");
        };
        let (sender, number) = text.split_once(' ').expect("a sender and a number");
        let number: u64 = number.parse().expect("a number");
        if let Some(last) = last.insert(sender.to_owned(), number) {
            assert!(last < number, "sender {sender}: {number} came after {last}");
        }
        count += 1;
    }
    // About a quarter of 3,000 went to all.
    assert!(count > 500, "only {count} messages came");
}
