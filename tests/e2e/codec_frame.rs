//! The frame codec: a length of four bytes that counts itself, then the body.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::{Got, frame};
use crate::on_cores;
use crate::seed;
use crate::server::Server;

const CLIENT_MAX: usize = 64 << 10;

on_cores! {
    the_length_counts_itself,
    a_body_of_any_bytes_comes_back_unchanged,
    cutting_the_bytes_anywhere_changes_nothing,
    a_length_below_four_closes,
    a_body_of_the_largest_size_passes_and_one_byte_more_closes,
    an_announced_length_is_enough_to_close,
    a_kick_is_a_bare_close,
}

async fn the_length_counts_itself(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("frame", "echo").await;
    client
        .send_bytes(b"\x00\x00\x00\x06hi\x00\x00\x00\x04\x00\x00\x00\x05x")
        .await;
    for body in ["hi", "", "x"] {
        client.expect(body).await;
    }
    client.expect_silence().await;
}

pub async fn a_body_of_any_bytes_comes_back_unchanged(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("frame", "echo").await;
    let all: Vec<u8> = (0..=255).collect();
    client.send_binary(&all).await;
    assert_eq!(client.next().await, Got::Binary(all));
    client.send("line\nends\r\nstay").await;
    client.expect("line\nends\r\nstay").await;
}

pub async fn cutting_the_bytes_anywhere_changes_nothing(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("frame", "echo").await;
    let bytes: Vec<u8> = ["one", "", "grüße 🌍"]
        .iter()
        .flat_map(|b| frame(b.as_bytes()))
        .collect();
    for byte in bytes {
        client.send_bytes(&[byte]).await;
        sleep(Duration::from_micros(300)).await;
    }
    for body in ["one", "", "grüße 🌍"] {
        client.expect(body).await;
    }
}

async fn a_length_below_four_closes(cores: usize) {
    let server = Server::start(cores).await;
    for length in 0..4u8 {
        let mut client = server.connect("frame", "echo").await;
        client.send_bytes(&[0, 0, 0, length]).await;
        client.expect_end(1002).await;
    }
    server.wait_closed("protocol error", 4).await;
}

async fn a_body_of_the_largest_size_passes_and_one_byte_more_closes(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uid = seed::uid(&mut rng);
    let mut client = server.relay("frame", &uid).await;
    let body = seed::text(&mut rng, CLIENT_MAX - uid.len() - 1);
    client.send(&format!("{uid}:{body}")).await;
    client.expect(&body).await;
    client.send(&format!("{uid}:{body}x")).await;
    client.expect_end(1009).await;
    server.wait_closed("message too big", 1).await;
}

async fn an_announced_length_is_enough_to_close(cores: usize) {
    let server = Server::start(cores).await;
    for length in [CLIENT_MAX as u32 + 5, u32::MAX] {
        let mut client = server.connect("frame", "relay").await;
        client.send_bytes(&length.to_be_bytes()).await;
        client.expect_end(1009).await;
    }
}

async fn a_kick_is_a_bare_close(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("frame", &uid).await;
    assert_eq!(
        server.backend().await.ask(&format!("kick {uid}")).await,
        "ok"
    );
    client.expect_end(4007).await;
}
