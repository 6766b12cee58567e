//! Heartbeat: who sends nothing for `idle_timeout` and 2 s of grace is closed with 4003, and quiet
//! websockets are pinged.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::client::{Client, Got};
use crate::on_cores;
use crate::raw::{FIN, PING, PONG, Raw, TEXT, close_code};
use crate::seed;
use crate::server::Server;

/// One second, after which come 2 s of grace.
const SHORT: &[(&str, &str)] = &[("IDLE_TIMEOUT", "1s")];
/// Earliest and latest end of a silent connection: the wheel turns once a second.
const EARLIEST: Duration = Duration::from_millis(2_500);
const LATEST: Duration = Duration::from_millis(8_000);

/// Logs in to each app of clients over each codec it is tested on.
async fn one_of_each(server: &Server) -> Vec<Client> {
    let mut rng = seed::rng();
    let mut clients = Vec::new();
    for scheme in ["ws", "text", "frame"] {
        clients.push(server.relay(scheme, &seed::uid(&mut rng)).await);
        clients.push(server.push(scheme, &seed::uid(&mut rng)).await);
    }
    let mut chat = server.chat("Zoe").await;
    chat.expect_start("users:").await;
    clients.push(chat);
    clients
}

on_cores! {
    a_silent_client_is_closed_with_4003,
    anything_received_counts,
    what_the_server_sends_does_not_count,
    back_ends_and_echo_have_no_idle_timeout,
    a_quiet_websocket_is_pinged_and_its_pong_keeps_it_alive,
    a_busy_websocket_is_not_pinged,
    zero_turns_both_off,
}

pub async fn a_silent_client_is_closed_with_4003(cores: usize) {
    let server = Server::with(cores, SHORT).await;
    let clients = one_of_each(&server).await;
    let count = clients.len() as u64;
    let start = Instant::now();
    let mut waiting = Vec::new();
    for mut client in clients {
        waiting.push(tokio::spawn(async move {
            client.expect_end(4003).await;
            start.elapsed()
        }));
    }
    for waiting in waiting {
        let lived = waiting.await.expect("a client that was closed");
        assert!(
            lived > EARLIEST - Duration::from_millis(500),
            "closed after {lived:?}"
        );
        assert!(lived < LATEST, "closed after {lived:?} only");
    }
    assert_eq!(server.closed("idle").await, count);
}

async fn anything_received_counts(cores: usize) {
    let server = Server::with(cores, SHORT).await;
    let mut rng = seed::rng();
    let relay_uid = seed::uid(&mut rng);
    let mut relay = server.relay("text", &relay_uid).await;
    let mut push = server.push("ws", &seed::uid(&mut rng)).await;
    let mut chat = server.chat("Zoe").await;
    chat.expect_start("users:").await;
    let mut pinging = Raw::open(server.address("ws", "relay")).await;
    pinging
        .frame(FIN | TEXT, seed::uid(&mut rng).as_bytes())
        .await;
    pinging.next().await.expect("a login answer");
    let mut ponging = Raw::open(server.address("ws", "relay")).await;
    ponging
        .frame(FIN | TEXT, seed::uid(&mut rng).as_bytes())
        .await;
    ponging.next().await.expect("a login answer");
    // Beats of `idle_timeout` itself: the grace keeps them alive.
    for _ in 0..7 {
        sleep(Duration::from_secs(1)).await;
        relay.send(&format!("{relay_uid}:beat")).await;
        relay.expect("beat").await;
        push.send("beat").await;
        chat.send("msg:nihao").await;
        chat.expect("msg:nihao Zoe").await;
        pinging.frame(FIN | PING, b"").await;
        pinging.expect(FIN | PONG, b"").await;
        ponging.frame(FIN | PONG, b"").await;
    }
    push.expect_silence().await;
    ponging.frame(FIN | PING, b"alive").await;
    ponging.expect(FIN | PONG, b"alive").await;
    assert_eq!(server.closed("idle").await, 0);
}

async fn what_the_server_sends_does_not_count(cores: usize) {
    let server = Server::with(cores, SHORT).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let mut backend = server.backend().await;
    let line = format!("{{\"uid\":\"{uid}\"}}");
    let start = Instant::now();
    loop {
        backend.ask(&line).await;
        match client.next_within(Duration::from_millis(200)).await {
            Some(Got::Text(_)) | None => sleep(Duration::from_millis(100)).await,
            other => {
                println!("ended as {other:?}");
                break;
            }
        }
        assert!(start.elapsed() < LATEST, "pushes keep it alive");
    }
    server.wait_closed("idle", 1).await;
}

async fn back_ends_and_echo_have_no_idle_timeout(cores: usize) {
    let server = Server::with(cores, SHORT).await;
    let mut backend = server.backend().await;
    let mut echo = Vec::new();
    for scheme in ["ws", "text", "frame"] {
        echo.push(server.connect(scheme, "echo").await);
    }
    sleep(Duration::from_secs(6)).await;
    assert_eq!(backend.ask("online nobody").await, "fail");
    for client in &mut echo {
        assert_eq!(client.ask("hello").await, "hello");
    }
}

async fn a_quiet_websocket_is_pinged_and_its_pong_keeps_it_alive(cores: usize) {
    let server = Server::with(cores, &[("IDLE_TIMEOUT", "2s"), ("PING_INTERVAL", "1s")]).await;
    let mut rng = seed::rng();
    let mut answering = Raw::open(server.address("ws", "push")).await;
    answering
        .frame(FIN | TEXT, seed::uid(&mut rng).as_bytes())
        .await;
    let mut deaf = Raw::open(server.address("ws", "push")).await;
    deaf.frame(FIN | TEXT, seed::uid(&mut rng).as_bytes()).await;
    // A library's client answers by itself, as a page does.
    let mut library = server.push("ws", &seed::uid(&mut rng)).await;
    let library = tokio::spawn(async move { library.next_within(Duration::from_secs(9)).await });
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < Duration::from_secs(9) {
        let Some(frame) = answering.next_within(Duration::from_millis(500)).await else {
            continue;
        };
        let frame = frame.expect("the answering connection lives");
        assert_eq!(frame.first, FIN | PING, "{frame:?}");
        answering.frame(FIN | PONG, &frame.body).await;
        pings += 1;
    }
    assert!((2..=12).contains(&pings), "{pings} pings in 9 s");
    assert_eq!(
        library.await.expect("no panic"),
        None,
        "the library's connection ended"
    );
    // The one that did not answer got pings, and then 4003.
    let (frames, _) = deaf.drain().await;
    let close = frames.last().expect("pings and a close");
    assert_eq!(close_code(close), Some(4003), "{frames:?}");
    assert!(frames.len() > 1, "closed without a ping");
    assert!(
        frames[..frames.len() - 1]
            .iter()
            .all(|frame| frame.first == FIN | PING)
    );
}

async fn a_busy_websocket_is_not_pinged(cores: usize) {
    let server = Server::with(cores, &[("PING_INTERVAL", "2s")]).await;
    let uid = seed::uid(&mut seed::rng());
    let mut raw = Raw::open(server.address("ws", "relay")).await;
    raw.frame(FIN | TEXT, uid.as_bytes()).await;
    raw.next().await.expect("a login answer");
    for _ in 0..20 {
        raw.frame(FIN | TEXT, format!("{uid}:beat").as_bytes())
            .await;
        raw.expect(FIN | TEXT, b"beat").await;
        sleep(Duration::from_millis(200)).await;
    }
}

async fn zero_turns_both_off(cores: usize) {
    let server = Server::with(cores, &[("IDLE_TIMEOUT", "0s"), ("PING_INTERVAL", "0s")]).await;
    let mut raw = Raw::open(server.address("ws", "push")).await;
    raw.frame(FIN | TEXT, seed::uid(&mut seed::rng()).as_bytes())
        .await;
    let nothing = timeout(Duration::from_secs(5), raw.next()).await;
    assert!(nothing.is_err(), "got {nothing:?}");
}
