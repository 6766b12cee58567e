//! The text codec: lines of UTF-8.

use std::time::Duration;

use tokio::time::sleep;

use crate::on_cores;
use crate::seed;
use crate::server::Server;

const CLIENT_MAX: usize = 64 << 10;

on_cores! {
    a_line_is_a_message_and_gets_one_line_end_back,
    a_carriage_return_before_the_line_end_is_dropped_and_no_other,
    cutting_the_bytes_anywhere_changes_nothing,
    a_line_of_the_largest_size_passes_and_one_byte_more_closes,
    a_line_without_an_end_closes_once_it_is_too_long,
    a_line_that_is_not_utf8_closes,
    the_end_of_the_stream_unmaps_the_uid,
    a_kick_is_a_bare_close,
}

async fn a_line_is_a_message_and_gets_one_line_end_back(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("text", "echo").await;
    client
        .send_bytes("erste\nzweite 🌍\n\nvierte\n".as_bytes())
        .await;
    for line in ["erste", "zweite 🌍", "", "vierte"] {
        client.expect(line).await;
    }
    client.expect_silence().await;
}

async fn a_carriage_return_before_the_line_end_is_dropped_and_no_other(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("text", "echo").await;
    client.send_bytes(b"one\r\n\r\ntwo\r\r\nth\rree\n").await;
    for line in ["one", "", "two\r", "th\rree"] {
        client.expect(line).await;
    }
}

pub async fn cutting_the_bytes_anywhere_changes_nothing(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("text", "echo").await;
    for byte in "grüße\r\n🌍\nend\n".as_bytes() {
        client.send_bytes(&[*byte]).await;
        sleep(Duration::from_micros(300)).await;
    }
    for line in ["grüße", "🌍", "end"] {
        client.expect(line).await;
    }
}

async fn a_line_of_the_largest_size_passes_and_one_byte_more_closes(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uid = seed::uid(&mut rng);
    let mut client = server.relay("text", &uid).await;
    let body = seed::text(&mut rng, CLIENT_MAX - uid.len() - 1);
    client.send(&format!("{uid}:{body}")).await;
    client.expect(&body).await;
    // A `\r\n` is no part of the message.
    client.send(&format!("{uid}:{body}\r")).await;
    client.expect(&body).await;
    client.send(&format!("{uid}:{body}x")).await;
    client.expect_end(1009).await;
    server.wait_closed("message too big", 1).await;
}

pub async fn a_line_without_an_end_closes_once_it_is_too_long(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("text", &uid).await;
    client.send_bytes(&vec![b'x'; CLIENT_MAX + 2]).await;
    client.expect_end(1009).await;
}

async fn a_line_that_is_not_utf8_closes(cores: usize) {
    let server = Server::start(cores).await;
    for app in ["echo", "relay", "push", "chat"] {
        let mut client = server.connect("text", app).await;
        client.send_bytes(b"bad \xff line\n").await;
        client.expect_end(1007).await;
    }
    server.wait_closed("not UTF-8", 4).await;
}

async fn the_end_of_the_stream_unmaps_the_uid(cores: usize) {
    let server = Server::start(cores).await;
    for uid in seed::uids(&mut seed::rng(), 8) {
        let client = server.relay("text", &uid).await;
        drop(client);
        server.wait_offline(&uid).await;
    }
}

async fn a_kick_is_a_bare_close(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("text", &uid).await;
    assert_eq!(
        server.backend().await.ask(&format!("kick {uid}")).await,
        "ok"
    );
    client.expect_end(4007).await;
}
