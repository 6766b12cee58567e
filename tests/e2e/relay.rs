//! Relay: clients that talk to each other.

use crate::client::{Client, Got};
use crate::on_cores;
use crate::seed;
use crate::server::Server;

/// So many clients logged in, over the codecs in turn.
async fn crowd(server: &Server, uids: &[String]) -> Vec<Client> {
    let mut clients = Vec::new();
    for (n, uid) in uids.iter().enumerate() {
        clients.push(server.relay(["ws", "text", "frame"][n % 3], uid).await);
    }
    clients
}

on_cores! {
    a_message_reaches_its_uid_and_nobody_else,
    a_message_reaches_every_connection_of_its_uid_once,
    all_reaches_everybody_once_and_the_sender_too,
    only_the_first_colon_splits,
    a_body_may_be_empty,
    a_message_to_nobody_is_answered,
    a_message_to_one_who_left_is_answered,
    a_message_without_an_address_is_answered,
    an_address_that_is_no_uid_is_answered,
    a_binary_message_is_delivered_as_binary,
    with_errors_off_bad_input_is_swallowed,
}

async fn a_message_reaches_its_uid_and_nobody_else(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 12);
    let mut clients = crowd(&server, &uids).await;
    for (from, client) in clients.iter_mut().enumerate() {
        for (to, uid) in uids.iter().enumerate() {
            client.send(&format!("{uid}:from {from} to {to}")).await;
        }
    }
    for (to, client) in clients.iter_mut().enumerate() {
        let mut got = Vec::new();
        for _ in 0..uids.len() {
            got.push(client.text().await);
        }
        got.sort();
        let mut expected: Vec<_> = (0..uids.len())
            .map(|from| format!("from {from} to {to}"))
            .collect();
        expected.sort();
        assert_eq!(got, expected);
    }
    for client in &mut clients {
        client.expect_silence().await;
    }
}

pub async fn a_message_reaches_every_connection_of_its_uid_once(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut sender = server.relay("ws", &uids[0]).await;
    let mut receivers = Vec::new();
    for scheme in ["ws", "text", "frame", "ws"] {
        receivers.push(server.relay(scheme, &uids[1]).await);
    }
    sender.send(&format!("{}:one for each", uids[1])).await;
    for receiver in &mut receivers {
        receiver.expect("one for each").await;
        receiver.expect_silence().await;
    }
    sender.expect_silence().await;
}

pub async fn all_reaches_everybody_once_and_the_sender_too(cores: usize) {
    let server = Server::start(cores).await;
    let mut uids = seed::uids(&mut seed::rng(), 11);
    uids.push(uids[0].clone());
    let mut clients = crowd(&server, &uids).await;
    for n in 0..3 {
        clients[0].send(&format!("all:everybody {n}")).await;
    }
    for client in &mut clients {
        for n in 0..3 {
            client.expect(&format!("everybody {n}")).await;
        }
    }
    for client in &mut clients {
        client.expect_silence().await;
    }
}

async fn only_the_first_colon_splits(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    for body in ["a:b:c", ":", "::x", "{\"a\":1}", "http://host:1/"] {
        client.send(&format!("{uid}:{body}")).await;
        client.expect(body).await;
        client.send(&format!("all:{body}")).await;
        client.expect(body).await;
    }
}

async fn a_body_may_be_empty(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    for scheme in ["ws", "text", "frame"] {
        let mut client = server.relay(scheme, &uid).await;
        client.send(&format!("{uid}:")).await;
        client.expect("").await;
    }
}

async fn a_message_to_nobody_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    for scheme in ["ws", "text", "frame"] {
        let mut client = server.relay(scheme, &seed::uid(&mut rng)).await;
        // Enough of them that most live on other cores.
        for nobody in seed::uids(&mut rng, 8) {
            client.send(&format!("{nobody}:hello")).await;
            client
                .expect(&format!("error: uid \"{nobody}\" is not online"))
                .await;
        }
    }
}

async fn a_message_to_one_who_left_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 9);
    let mut sender = server.relay("ws", &uids[0]).await;
    for uid in &uids[1..] {
        let receiver = server.relay("ws", uid).await;
        sender.send(&format!("{uid}:hello")).await;
        sender.expect_silence().await;
        receiver.close().await;
        server.wait_offline(uid).await;
        sender.send(&format!("{uid}:hello")).await;
        sender
            .expect(&format!("error: uid \"{uid}\" is not online"))
            .await;
    }
}

async fn a_message_without_an_address_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    for scheme in ["ws", "text", "frame"] {
        let mut client = server.relay(scheme, &uid).await;
        for message in ["hello", "", "all", &uid] {
            client.send(message).await;
            client
                .expect("error: expected \"uid:message\" or \"all:message\"")
                .await;
        }
        client.send(":body").await;
        client.expect_start("error: ").await;
        // None of that ends the connection.
        client.send(&format!("{uid}:still here")).await;
        client.expect("still here").await;
    }
}

async fn an_address_that_is_no_uid_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    client.send(&format!("{}:body", "x".repeat(129))).await;
    client.expect_start("error: ").await;
    client.send("tab\there:body").await;
    client.expect_start("error: ").await;
    client.send_binary(b"\xff\xfe:body").await;
    client.expect_start("error: ").await;
    client.send(&format!("{uid}:still here")).await;
    client.expect("still here").await;
}

async fn a_binary_message_is_delivered_as_binary(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 8);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(server.relay("ws", uid).await);
    }
    clients[0].send_binary(b"all:\x00\xff:\x80").await;
    for client in &mut clients {
        assert_eq!(client.next().await, Got::Binary(b"\x00\xff:\x80".to_vec()));
    }
}

async fn with_errors_off_bad_input_is_swallowed(cores: usize) {
    let server = Server::with(cores, &[("RELAY_ERRORS", "false")]).await;
    let mut rng = seed::rng();
    let uid = seed::uid(&mut rng);
    let mut client = server.relay("ws", &uid).await;
    for nobody in seed::uids(&mut rng, 8) {
        client.send(&format!("{nobody}:hello")).await;
    }
    client.send("no address").await;
    client.send(":").await;
    client.expect_silence().await;
    client.send(&format!("{uid}:still here")).await;
    client.expect("still here").await;
}
