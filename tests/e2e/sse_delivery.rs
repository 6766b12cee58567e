//! Server-Sent Events: what is pushed comes, in order, on every core and beside websockets; and each way to end.

use std::time::Duration;

use libc::SIGTERM;
use tokio::time::{sleep, timeout};

use crate::listening::{Came, Listening};
use crate::seed;
use crate::server::Server;
use crate::{on_cores, on_drivers};

on_cores! {
    clients_listen_beside_websockets,
    what_is_pushed_comes_in_order,
    lines_within_a_message_come_whole,
    one_that_is_kicked_is_told,
    one_that_goes_is_gone,
    one_that_does_not_read_is_closed_and_others_do_not_notice,
    all_are_told_when_the_server_stops,
    without_a_listener_for_push_there_is_the_app,
}

on_drivers! {
    with_a_descriptor_table_for_each_core,
    quiet_ones_get_comments_and_stay,
}

fn push(uid: &str, number: usize) -> String {
    format!("{{\"uid\":\"{uid}\",\"n\":{number}}}")
}

async fn clients_listen_beside_websockets(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 12);
    let mut backend = server.backend().await;
    let (mut listening, mut sockets) = (Vec::new(), Vec::new());
    for uid in &uids {
        listening.push(server.listen(uid).await);
        // Bound before the answer's head has come.
        assert_eq!(backend.ask(&format!("online {uid}")).await, "ok");
        let mut socket = server.connect("ws", "push").await;
        socket.send(uid).await;
        sockets.push(socket);
    }
    while server.count("bound").await < 2 * uids.len() as u64 {
        sleep(Duration::from_millis(10)).await;
    }
    for uid in &uids {
        assert_eq!(backend.ask(&push(uid, 1)).await, "ok");
    }
    assert_eq!(backend.ask(&push("all", 2)).await, "ok");
    for ((one, socket), uid) in listening.iter_mut().zip(&mut sockets).zip(&uids) {
        one.expect(&push(uid, 1)).await;
        one.expect(&push("all", 2)).await;
        socket.expect(&push(uid, 1)).await;
        socket.expect(&push("all", 2)).await;
    }
    for one in &mut listening {
        one.expect_silence().await;
    }
    if cores > 1 {
        assert!(
            server.count("moved_in").await > 0,
            "all were at home at once"
        );
    }
}

pub async fn what_is_pushed_comes_in_order(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut one = server.listen(&uid).await;
    let mut backend = server.backend().await;
    for number in 0..3_000 {
        let to = if number % 7 == 0 { "all" } else { &uid };
        backend.send(&push(to, number)).await;
    }
    for number in 0..3_000 {
        let to = if number % 7 == 0 { "all" } else { &uid };
        one.expect(&push(to, number)).await;
    }
}

async fn lines_within_a_message_come_whole(cores: usize) {
    let listeners = [
        "http://127.0.0.1:0=page",
        "frame://127.0.0.1:0=push-backend",
    ];
    let server = Server::on(cores, &[], &listeners).await;
    let mut backend = server.connect("frame", "push-backend").await;
    let mut one = server.listen("u").await;
    for (sent, came) in [
        ("{\"uid\":\n\"u\"}", "{\"uid\":\n\"u\"}"),
        ("{\r\n\r\n \"uid\":\"u\"\r}", "{\n\n \"uid\":\"u\"\n}"),
    ] {
        assert_eq!(backend.ask(sent).await, "ok");
        one.expect(came).await;
    }
}

async fn one_that_is_kicked_is_told(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut one = server.listen(&uids[0]).await;
    let mut other = server.listen(&uids[1]).await;
    let mut backend = server.backend().await;
    assert_eq!(backend.ask(&push(&uids[0], 1)).await, "ok");
    assert_eq!(backend.ask(&format!("kick {}", uids[0])).await, "ok");
    one.expect(&push(&uids[0], 1)).await;
    one.expect_close(4007).await;
    server.wait_offline(&uids[0]).await;
    assert_eq!(backend.ask(&push(&uids[1], 2)).await, "ok");
    other.expect(&push(&uids[1], 2)).await;
    assert_eq!(server.closed("kicked").await, 1);
}

async fn one_that_goes_is_gone(cores: usize) {
    let server = Server::start(cores).await;
    for uid in seed::uids(&mut seed::rng(), 8) {
        let one = server.listen(&uid).await;
        drop(one);
        server.wait_offline(&uid).await;
    }
    server.wait_closed("closed by peer", 8).await;
    assert_eq!(server.count("uids").await, 0);
}

pub async fn one_that_does_not_read_is_closed_and_others_do_not_notice(cores: usize) {
    let server = Server::with(cores, &[("OUTBOX_BYTES_MAX", "200000")]).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let address = server.address("http", "page");
    let mut stuck = Listening::open_narrow(address, &uids[0]).await;
    let mut other = server.listen(&uids[1]).await;
    let mut backend = server.backend().await;
    let fill = "x".repeat(50_000);
    let mut number = 0;
    while backend
        .ask(&format!("{{\"uid\":\"{}\",\"f\":\"{fill}\"}}", uids[0]))
        .await
        == "ok"
    {
        assert_eq!(backend.ask(&push(&uids[1], number)).await, "ok");
        other.expect(&push(&uids[1], number)).await;
        number += 1;
        assert!(number < 4_000, "200 MB are waiting for one connection");
    }
    server.wait_closed("slow consumer", 1).await;
    // What comes of it is whole, and the reason is told if it is taken in time.
    let mut last = Came::Comment;
    loop {
        match stuck.next().await {
            Came::End => break,
            came => last = came,
        }
    }
    if let Came::Event(kind, data) = last
        && kind == "close"
    {
        assert!(data.contains("4005"), "{data}");
    }
    assert_eq!(backend.ask(&push(&uids[1], number)).await, "ok");
    other.expect(&push(&uids[1], number)).await;
}

async fn all_are_told_when_the_server_stops(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut listening = Vec::new();
    for uid in seed::uids(&mut seed::rng(), 8) {
        listening.push(server.listen(&uid).await);
    }
    server.signal(SIGTERM);
    for one in &mut listening {
        one.expect_close(1001).await;
    }
    drop(listening);
    let status = server.wait_exit(Duration::from_secs(8)).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

async fn without_a_listener_for_push_there_is_the_app(cores: usize) {
    let listeners = [
        "http://127.0.0.1:0=page:events",
        "text://127.0.0.1:0=push-backend",
    ];
    let server = Server::on(cores, &[], &listeners).await;
    let mut one = server.listen("u").await;
    assert_eq!(server.backend().await.ask(&push("u", 1)).await, "ok");
    one.expect(&push("u", 1)).await;
}

async fn with_a_descriptor_table_for_each_core(driver: &'static str) {
    let settings = [("DRIVER", driver), ("DESCRIPTOR_TABLES", "per_core")];
    let server = Server::with(4, &settings).await;
    let uids = seed::uids(&mut seed::rng(), 24);
    let mut listening = Vec::new();
    for uid in &uids {
        listening.push(server.listen(uid).await);
    }
    let mut backend = server.backend().await;
    for (one, uid) in listening.iter_mut().zip(&uids) {
        assert_eq!(backend.ask(&push(uid, 1)).await, "ok");
        one.expect(&push(uid, 1)).await;
    }
    assert!(server.count("moved_in").await > 0);
    drop(listening);
    server.wait_closed("closed by peer", 24).await;
}

async fn quiet_ones_get_comments_and_stay(driver: &'static str) {
    let settings = [
        ("DRIVER", driver),
        ("PING_INTERVAL", "1s"),
        ("IDLE_TIMEOUT", "1s"),
        ("LOGIN_TIMEOUT", "1s"),
    ];
    let server = Server::with(2, &settings).await;
    let mut one = server.listen("u").await;
    for _ in 0..5 {
        let came = timeout(Duration::from_secs(4), one.next()).await;
        assert_eq!(came, Ok(Came::Comment));
    }
    assert_eq!(server.backend().await.ask(&push("u", 1)).await, "ok");
    one.expect(&push("u", 1)).await;
}
