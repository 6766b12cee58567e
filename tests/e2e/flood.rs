//! Floods: who sends more than the server can pass on is slowed, and nobody is closed or loses anything for it.
//!
//! None of this depends on how quick the machine is: what comes in one write is more than an outbox holds, and no more
//! than an outbox and the kernel do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::told;
use crate::client::Client;
use crate::http::{Http, Response, get};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, close_code, masked};
use crate::seed;
use crate::server::Server;

/// An outbox that holds six messages of [`SIZE`].
const OUTBOX: (&str, &str) = ("OUTBOX_BYTES_MAX", "20000");
const LARGEST: (&str, &str) = ("MESSAGE_BYTES_MAX", "4000");
const SIZE: usize = 3_000;
/// Time for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many of them come in one read, and a kernel takes them all.
const COUNT: usize = 20;

on_cores! {
    what_came_before_it_was_offered_closes_nobody,
    what_is_inflated_before_it_was_offered_closes_nobody,
    a_back_ends_burst_closes_nobody,
    delivered_is_said_of_what_arrives,
    a_round_ends_in_time_whatever_one_write_causes,
    tiny_frames_to_nobody_do_not_fill_the_mailboxes,
    who_is_slowed_is_told,
    idle_listeners_of_events_keep_no_back_end_out,
    idle_connections_make_room,
}

fn body(number: usize, size: usize) -> String {
    format!("{number:04}{}", "x".repeat(size - 4))
}

/// Readers, and one who will send to them.
async fn crowd(server: &Server, count: usize) -> (Vec<Raw>, Raw) {
    let mut readers = Vec::new();
    for number in 0..=count {
        let mut raw = Raw::open(server.address("ws", "relay")).await;
        let uid = format!("u{number}");
        raw.frame(FIN | TEXT, uid.as_bytes()).await;
        let answer = format!("login success, your uid is {uid}");
        raw.expect(FIN | TEXT, answer.as_bytes()).await;
        readers.push(raw);
    }
    let sender = readers.pop().expect("a sender");
    (readers, sender)
}

async fn expect_all(readers: &mut [Raw], bodies: impl Iterator<Item = String> + Clone) {
    for reader in readers {
        for body in bodies.clone() {
            reader.expect(FIN | TEXT, body.as_bytes()).await;
        }
    }
}

async fn nobody_closed(server: &Server) {
    for reason in ["slow consumer", "overloaded", "policy"] {
        assert_eq!(server.closed(reason).await, 0, "{reason}");
    }
}

async fn what_came_before_it_was_offered_closes_nobody(cores: usize) {
    let server = Server::with(cores, &[OUTBOX, LARGEST]).await;
    let (mut readers, mut sender) = crowd(&server, 20).await;
    let bodies = (0..COUNT).map(|number| body(number, SIZE));
    let frames: Vec<u8> = bodies
        .clone()
        .flat_map(|body| masked(FIN | TEXT, format!("all:{body}").as_bytes()))
        .collect();
    sender.write(&frames).await;
    readers.push(sender);
    expect_all(&mut readers, bodies).await;
    nobody_closed(&server).await;
}

/// What a client that compresses sends for so many letters.
fn folded(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bytes = Vec::with_capacity(text.len() + 64);
    let flush = flate2::FlushCompress::Sync;
    encoder
        .compress_vec(text, &mut bytes, flush)
        .expect("it is compressed");
    bytes.truncate(bytes.len() - 4);
    bytes
}

async fn what_is_inflated_before_it_was_offered_closes_nobody(cores: usize) {
    const RSV1: u8 = 0x40;
    let server = Server::with(cores, &[OUTBOX, LARGEST, ("COMPRESS", "true")]).await;
    let (mut readers, mut plain) = crowd(&server, 10).await;
    let mut sender = Raw::dial(server.address("ws", "relay")).await;
    sender
        .shake_hands_with("Sec-WebSocket-Extensions: permessage-deflate\r\n")
        .await;
    sender.frame(FIN | TEXT, b"folds").await;
    sender
        .expect(FIN | TEXT, b"login success, your uid is folds")
        .await;
    let bodies = (0..COUNT).map(|number| body(number, SIZE));
    let frames: Vec<u8> = bodies
        .clone()
        .flat_map(|body| masked(FIN | RSV1 | TEXT, &folded(format!("all:{body}").as_bytes())))
        .collect();
    assert!(
        frames.len() < 3_680,
        "{} bytes cause all that",
        frames.len()
    );
    sender.write(&frames).await;
    expect_all(&mut readers, bodies.clone()).await;
    expect_all(std::slice::from_mut(&mut plain), bodies).await;
    nobody_closed(&server).await;
}

async fn a_back_ends_burst_closes_nobody(cores: usize) {
    let server = Server::with(cores, &[OUTBOX, LARGEST]).await;
    let (mut readers, _sender) = crowd(&server, 20).await;
    let mut backend = server.backend().await;
    let line = |number: usize| {
        let fill = "x".repeat(SIZE);
        format!("{{\"uid\":\"all\",\"n\":{number},\"fill\":\"{fill}\"}}")
    };
    let lines: String = (0..COUNT).map(|number| line(number) + "\n").collect();
    backend.send_bytes(lines.as_bytes()).await;
    for _ in 0..COUNT {
        backend.expect("ok").await;
    }
    expect_all(&mut readers, (0..COUNT).map(line)).await;
    nobody_closed(&server).await;
}

/// Batches to one uid, of more than its outbox and its kernel hold: whatever comes of it, who reads gets exactly what was
/// said to be delivered.
async fn delivered_is_said_of_what_arrives(cores: usize) {
    const SIZE: usize = 30_000;
    // What was delivered before it was closed is still to be read, when the last batch has been answered.
    let patient = ("CLOSE_TIMEOUT", "60s");
    for (batches, each) in [(1, 40), (4, 100)] {
        let server = Server::with(cores, &[patient]).await;
        let uid = seed::uid(&mut seed::rng());
        let mut reader = Raw::relay_narrow(server.address("ws", "relay"), &uid).await;
        let mut delivered = 0;
        for batch in 0..batches {
            let numbers = batch * each..(batch + 1) * each;
            let push = |number| json!({"push": {"uid": uid, "text": body(number, SIZE)}});
            let pushes: Vec<_> = numbers.map(push).collect();
            let answer = told(&server, "/v1/batch", &Value::from(pushes).to_string()).await;
            let answers = answer["answers"].as_array().expect("answers");
            let reached = answers.iter().filter(|one| one["connections"] == 1);
            delivered += reached.count();
        }
        assert!(delivered > 30, "only {delivered} of them");
        for number in 0..delivered {
            reader
                .expect(FIN | TEXT, body(number, SIZE).as_bytes())
                .await;
        }
        match reader.next_within(Duration::from_millis(300)).await {
            None => {}
            Some(Ok(frame)) => assert_eq!(close_code(&frame), Some(4005), "one more came"),
            Some(Err(end)) => panic!("it ended as {end:?} after {delivered} messages"),
        }
    }
}

/// A sample of `/metrics`, its largest over the cores.
async fn most(server: &Server, name: &str) -> f64 {
    let response = get(server.address("http", "page"), "/metrics").await;
    largest(&response, name)
}

fn largest(response: &Response, name: &str) -> f64 {
    let samples = response.body.lines().filter(|line| line.starts_with(name));
    let values = samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.fold(0.0, f64::max)
}

async fn a_round_ends_in_time_whatever_one_write_causes(cores: usize) {
    const READERS: usize = 100;
    /// As many as one read may hold.
    const FRAMES: usize = 5_900;
    let server = Server::with(cores, &[("MESSAGES_PER_SECOND_MAX", "0")]).await;
    let (readers, mut sender) = crowd(&server, READERS).await;
    let frames = masked(FIN | TEXT, b"all:x").repeat(FRAMES);
    assert!(frames.len() <= 65_536);
    let reading = readers.into_iter().map(|mut reader| async move {
        for _ in 0..FRAMES {
            reader.expect(FIN | TEXT, b"x").await;
        }
    });
    let (_, _) = tokio::join!(
        sender.write(&frames),
        futures_util::future::join_all(reading)
    );
    for _ in 0..FRAMES {
        sender.expect(FIN | TEXT, b"x").await;
    }
    let work = most(&server, "ringpost_round_work_max").await;
    // What it has room for, and one message to everybody more by each of three ways.
    let most = 4_096.0 + 3.0 * READERS as f64;
    assert!(work > 0.0 && work <= most, "{work} in one round");
    nobody_closed(&server).await;
}

async fn tiny_frames_to_nobody_do_not_fill_the_mailboxes(cores: usize) {
    const FLOODERS: usize = 30;
    const FRAMES: usize = 4_000;
    let server = Server::with(cores, &[("RELAY_ERRORS", "false")]).await;
    let (mut flooders, mut last) = crowd(&server, FLOODERS).await;
    let frames = masked(FIN | TEXT, b"nobody:x").repeat(FRAMES);
    let scraped = async {
        let mut most: f64 = 0.0;
        for _ in 0..20 {
            most = most.max(self::most(&server, "ringpost_mailbox_envelopes").await);
        }
        most
    };
    let writing = flooders.iter_mut().map(|flooder| flooder.write(&frames));
    let (depth, _) = tokio::join!(scraped, futures_util::future::join_all(writing));
    // Of each core 4 MiB of credit at 512 bytes and more an envelope, up to twice that, and what is free.
    let most = (cores - 1) as f64 * 16_384.0 + 2_048.0;
    assert!(depth <= most, "{depth} envelopes wait");
    // Nobody was closed, and all of it was read.
    for flooder in flooders.iter_mut().chain([&mut last]) {
        flooder.frame(FIN | TEXT, b"u0:end").await;
    }
    for _ in 0..=FLOODERS {
        flooders[0].expect(FIN | TEXT, b"end").await;
    }
    nobody_closed(&server).await;
}

/// A back end that does not take its answers is not read, and that can be seen.
async fn who_is_slowed_is_told(cores: usize) {
    let server = Server::with(cores, &[OUTBOX, LARGEST]).await;
    let mut backend = Raw::dial_narrow(server.address("text", "push-backend")).await;
    let lines = "online nobody\n".repeat(200_000);
    let paused = async {
        loop {
            let response = get(server.address("http", "page"), "/metrics").await;
            if largest(&response, "ringpost_paused_seconds_total") > 0.0 {
                return response;
            }
            // How long it lasts is counted when something moves.
            let mut other: Client = server.backend().await;
            assert_eq!(other.ask("online nobody").await, "fail");
        }
    };
    let writing = async {
        backend.write(lines.as_bytes()).await;
        // What it has written may all be in the kernels' hands.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = writing => {}
        response = paused => {
            assert!(response.body.contains("reason=\"answers\""), "{response:?}");
            assert!(largest(&response, "ringpost_pauses_total") >= 1.0);
        }
    }
    server
        .wait_log(&["is not read for a while", "answers"])
        .await;
}

const FEW: (&str, &str) = ("HTTP_CONNECTIONS_MAX", "20");

async fn idle_listeners_of_events_keep_no_back_end_out(cores: usize) {
    let server = Server::on(
        cores,
        &[FEW],
        &[
            "websocket://127.0.0.1:0=relay",
            "websocket://127.0.0.1:0=push",
            "text://127.0.0.1:0=push-backend",
            "http://127.0.0.1:0=page:events",
            "http://127.0.0.1:0=page:api+metrics",
        ],
    )
    .await;
    let [public, private] = server.addresses("http", "page")[..] else {
        panic!("two ports are served");
    };
    let mut idle = Vec::new();
    for _ in 0..30 {
        idle.push(Http::dial(public).await);
    }
    let response = get(private, "/healthz").await;
    assert_eq!(response.status, 200, "{response:?}");
    let response = get(private, "/metrics").await;
    assert_eq!(response.status, 200, "{response:?}");
}

/// Where all have one port, who asks nothing goes for who comes.
async fn idle_connections_make_room(cores: usize) {
    let server = Server::with(cores, &[FEW]).await;
    let address = server.address("http", "page");
    let mut idle = Vec::new();
    for _ in 0..(20 * cores) {
        idle.push(Http::dial(address).await);
    }
    let start = Instant::now();
    // They are let be for some seconds. And each core ends its own: with several, one without any has to refuse.
    while get(address, "/healthz").await.status != 200 {
        assert!(start.elapsed() < PATIENCE, "nobody gets in");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
