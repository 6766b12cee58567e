//! A client that does not read: it is closed with 4005 or, if it cannot be told, reset; no other
//! one notices, and what may wait is bounded.

use std::time::{Duration, Instant};

use crate::client::End;
use crate::on_cores;
use crate::raw::{CLOSE, FIN, Raw, TEXT, close_code};
use crate::seed;
use crate::server::Server;

/// An outbox small enough to fill fast, large enough for one largest message.
const SMALL: (&str, &str) = ("OUTBOX_BYTES_MAX", "200000");
/// A large line for the back end, with a number to tell it by.
fn line(uid: &str, number: usize, size: usize) -> String {
    format!(
        "{{\"uid\":\"{uid}\",\"n\":{number},\"fill\":\"{}\"}}",
        "x".repeat(size)
    )
}

/// What a victim's connection came to: 4005 in words, or a reset.
pub async fn expect_slow_consumer(victim: &mut Raw) {
    let (frames, end) = victim.drain().await;
    let last = frames.last();
    let told =
        last.is_some_and(|frame| frame.first == FIN | CLOSE && close_code(frame) == Some(4005));
    assert!(
        told || end == End::Reset,
        "ended as {end:?} without a close frame"
    );
}

on_cores! {
    one_that_does_not_read_is_closed_and_others_do_not_notice,
    a_message_that_overflows_the_only_connection_gets_fail,
    a_broadcast_closes_only_those_that_do_not_read,
    what_waits_on_a_core_is_bounded_and_the_fullest_go_first,
    text_and_frame_connections_are_cut_barely,
    one_that_reads_late_but_in_time_loses_nothing,
}

pub async fn one_that_does_not_read_is_closed_and_others_do_not_notice(cores: usize) {
    let server = Server::with(cores, &[SMALL]).await;
    let mut rng = seed::rng();
    let mut backend = server.backend().await;
    for uids in [seed::uids(&mut rng, 2), seed::uids(&mut rng, 2)] {
        let mut victim = Raw::relay_narrow(server.address("ws", "relay"), &uids[0]).await;
        let mut living = server.relay("ws", &uids[1]).await;
        let mut number = 0;
        // Until the kernel's buffers and the outbox are full.
        while backend.ask(&line(&uids[0], number, 50_000)).await == "ok" {
            let other = line(&uids[1], number, 10);
            assert_eq!(backend.ask(&other).await, "ok");
            living.expect(&other).await;
            number += 1;
            assert!(number < 4_000, "200 MB are waiting for one connection");
        }
        assert_eq!(backend.ask(&format!("online {}", uids[0])).await, "fail");
        expect_slow_consumer(&mut victim).await;
        let other = line(&uids[1], number, 10);
        assert_eq!(backend.ask(&other).await, "ok");
        living.expect(&other).await;
    }
    assert_eq!(server.closed("slow consumer").await, 2);
}

async fn a_message_that_overflows_the_only_connection_gets_fail(cores: usize) {
    let server = Server::with(cores, &[SMALL]).await;
    let mut rng = seed::rng();
    let uid = seed::uid(&mut rng);
    let mut victim = Raw::relay_narrow(server.address("ws", "relay"), &uid).await;
    let mut backend = server.backend().await;
    let mut accepted = 0;
    while backend.ask(&line(&uid, accepted, 50_000)).await == "ok" {
        accepted += 1;
        assert!(accepted < 4_000, "200 MB are waiting for one connection");
    }
    // What it had accepted and could still write came in order and without a gap.
    let (frames, _) = victim.drain().await;
    for (number, frame) in frames
        .iter()
        .filter(|frame| frame.first == FIN | TEXT)
        .enumerate()
    {
        let expected = line(&uid, number, 50_000);
        assert!(
            frame.body == expected.as_bytes(),
            "message {number} is another"
        );
    }
    assert!(frames.len() <= accepted + 1, "more came than was accepted");
}

pub async fn a_broadcast_closes_only_those_that_do_not_read(cores: usize) {
    let server = Server::with(cores, &[SMALL]).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, 12);
    let mut victims = Vec::new();
    for uid in &uids[..4] {
        victims.push(Raw::relay_narrow(server.address("ws", "relay"), uid).await);
    }
    let mut living = Vec::new();
    for uid in &uids[4..] {
        living.push(server.relay("ws", uid).await);
    }
    let mut sender = living.pop().expect("a sender");
    let mut number = 0;
    let start = Instant::now();
    while server.closed("slow consumer").await < 4 {
        for _ in 0..10 {
            let body = format!("{number} {}", "x".repeat(40_000));
            sender.send(&format!("all:{body}")).await;
            sender.expect(&body).await;
            for client in &mut living {
                client.expect(&body).await;
            }
            number += 1;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{number} broadcasts later"
        );
    }
    assert_eq!(server.closed("slow consumer").await, 4);
    for victim in &mut victims {
        expect_slow_consumer(victim).await;
    }
}

async fn what_waits_on_a_core_is_bounded_and_the_fullest_go_first(cores: usize) {
    let server = Server::on(
        cores,
        &[
            ("OUTBOX_BYTES_MAX", "1000000"),
            ("OUTBOX_BYTES_CORE_MAX", "3000000"),
        ],
        &[
            "websocket://127.0.0.1:0=relay",
            "text://127.0.0.1:0=push-backend",
        ],
    )
    .await;
    let mut rng = seed::rng();
    // Connections of one uid live on one core: ten of them may hold 10 MB, the core 3.
    let uids = seed::uids(&mut rng, 2);
    let mut victims = Vec::new();
    for _ in 0..10 {
        victims.push(Raw::relay_narrow(server.address("ws", "relay"), &uids[0]).await);
    }
    let mut living = server.relay("ws", &uids[1]).await;
    let mut backend = server.backend().await;
    let mut number = 0;
    while backend.ask(&line(&uids[0], number, 50_000)).await == "ok" {
        if number % 10 == 0 {
            let waiting = server.count("outbox_bytes").await;
            assert!(waiting <= 3_200_000, "{waiting} bytes wait");
            assert_eq!(backend.ask(&line(&uids[1], number, 10)).await, "ok");
            living.expect(&line(&uids[1], number, 10)).await;
        }
        number += 1;
        assert!(number < 4_000, "they never overflow");
    }
    assert_eq!(server.closed("slow consumer").await, 10);
    living.expect_silence().await;
}

async fn text_and_frame_connections_are_cut_barely(cores: usize) {
    let server = Server::with(cores, &[SMALL]).await;
    let mut rng = seed::rng();
    let mut backend = server.backend().await;
    for scheme in ["text", "frame"] {
        let uid = seed::uid(&mut rng);
        let _victim = server.relay(scheme, &uid).await;
        let mut number = 0;
        while backend.ask(&line(&uid, number, 60_000)).await == "ok" {
            number += 1;
            assert!(number < 4_000, "240 MB are waiting for one connection");
        }
    }
    server.wait_closed("slow consumer", 2).await;
}

async fn one_that_reads_late_but_in_time_loses_nothing(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut late = Raw::relay_narrow(server.address("ws", "relay"), &uid).await;
    let mut backend = server.backend().await;
    // 900 KB fit into the outbox alone.
    for number in 0..18 {
        assert_eq!(backend.ask(&line(&uid, number, 50_000)).await, "ok");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 0..18 {
        late.expect(FIN | TEXT, line(&uid, number, 50_000).as_bytes())
            .await;
    }
}
