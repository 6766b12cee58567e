//! The time to open a connection and the time to log in.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, request};
use crate::seed;
use crate::server::Server;

on_cores! {
    a_client_that_does_not_log_in_is_closed_with_4004,
    bytes_that_are_no_message_do_not_log_in,
    a_chat_user_whose_login_fails_is_not_logged_in,
    who_has_logged_in_stays,
    back_ends_and_echo_need_no_login,
    a_handshake_that_takes_too_long_ends,
    a_byte_now_and_then_does_not_stretch_the_handshake,
    a_login_in_time_is_not_hurried_by_the_handshake_timeout,
    a_core_that_slept_gives_newcomers_their_whole_time,
    time_in_which_the_server_stood_still_does_not_count,
}

async fn a_client_that_does_not_log_in_is_closed_with_4004(cores: usize) {
    let server = Server::with(cores, &[("LOGIN_TIMEOUT", "1s")]).await;
    let start = Instant::now();
    let mut waiting = Vec::new();
    for (scheme, app) in [
        ("ws", "relay"),
        ("text", "relay"),
        ("frame", "relay"),
        ("ws", "push"),
        ("text", "push"),
        ("frame", "push"),
        ("ws", "chat"),
        ("text", "chat"),
    ] {
        let mut client = server.connect(scheme, app).await;
        waiting.push(tokio::spawn(async move {
            client.expect_end(4004).await;
            start.elapsed()
        }));
    }
    for waiting in waiting {
        let lived = waiting.await.expect("a client that was closed");
        assert!(lived > Duration::from_millis(800), "closed after {lived:?}");
        assert!(
            lived < Duration::from_secs(6),
            "closed after {lived:?} only"
        );
    }
    assert_eq!(server.closed("login timeout").await, 8);
}

async fn bytes_that_are_no_message_do_not_log_in(cores: usize) {
    let server = Server::with(cores, &[("LOGIN_TIMEOUT", "1s")]).await;
    let mut half_a_line = server.connect("text", "relay").await;
    half_a_line.send_bytes(b"no end of line").await;
    half_a_line.expect_end(4004).await;
    let mut half_a_message = Raw::open(server.address("ws", "relay")).await;
    half_a_message.frame(TEXT, b"not the last fragment").await;
    half_a_message.expect_close(&[4004]).await;
    server.wait_closed("login timeout", 2).await;
}

async fn a_chat_user_whose_login_fails_is_not_logged_in(cores: usize) {
    let server = Server::with(cores, &[("LOGIN_TIMEOUT", "1s")]).await;
    let mut client = server.connect("ws", "chat").await;
    client.send("login:x").await;
    client.expect_start("notice:error ").await;
    client.expect_end(4004).await;
}

async fn who_has_logged_in_stays(cores: usize) {
    let server = Server::with(cores, &[("LOGIN_TIMEOUT", "1s")]).await;
    let mut rng = seed::rng();
    let mut clients = Vec::new();
    for scheme in ["ws", "text", "frame"] {
        let uid = seed::uid(&mut rng);
        clients.push((server.relay(scheme, &uid).await, uid));
    }
    sleep(Duration::from_secs(4)).await;
    for (client, uid) in &mut clients {
        client.send(&format!("{uid}:still here")).await;
        client.expect("still here").await;
    }
}

async fn back_ends_and_echo_need_no_login(cores: usize) {
    let server = Server::with(cores, &[("LOGIN_TIMEOUT", "1s")]).await;
    let mut backend = server.backend().await;
    let mut echo = server.connect("ws", "echo").await;
    sleep(Duration::from_secs(4)).await;
    assert_eq!(backend.ask("online nobody").await, "fail");
    assert_eq!(echo.ask("hello").await, "hello");
}

async fn a_handshake_that_takes_too_long_ends(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKE_TIMEOUT", "1s")]).await;
    let whole = request("");
    let start = Instant::now();
    let mut dialled = Vec::new();
    for bytes in ["", "GET / HT", &whole[..whole.len() - 2]] {
        let mut raw = Raw::dial(server.address("ws", "relay")).await;
        raw.write(bytes.as_bytes()).await;
        dialled.push(raw);
    }
    for raw in &mut dialled {
        expect_end_of_stream(raw).await;
    }
    assert!(
        start.elapsed() > Duration::from_millis(800),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(7),
        "{:?}",
        start.elapsed()
    );
    server.wait_closed("handshake timeout", 3).await;
    // The time to open is over, that to log in is not.
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.connect("ws", "relay").await;
    sleep(Duration::from_secs(3)).await;
    client.send(&uid).await;
    client.expect_start("login success").await;
}

async fn a_byte_now_and_then_does_not_stretch_the_handshake(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKE_TIMEOUT", "1s")]).await;
    let mut raw = Raw::dial(server.address("ws", "relay")).await;
    let start = Instant::now();
    for byte in request("").bytes() {
        raw.write_if_open(&[byte]).await;
        sleep(Duration::from_millis(100)).await;
        if start.elapsed() > Duration::from_secs(6) {
            break;
        }
    }
    expect_end_of_stream(&mut raw).await;
    server.wait_closed("handshake timeout", 1).await;
}

async fn a_login_in_time_is_not_hurried_by_the_handshake_timeout(cores: usize) {
    let server = Server::with(
        cores,
        &[("HANDSHAKE_TIMEOUT", "1s"), ("LOGIN_TIMEOUT", "8s")],
    )
    .await;
    let mut raw = Raw::open(server.address("ws", "relay")).await;
    sleep(Duration::from_secs(4)).await;
    raw.frame(FIN | TEXT, seed::uid(&mut seed::rng()).as_bytes())
        .await;
    let welcome = raw.next().await.expect("a login answer");
    assert!(welcome.body.starts_with(b"login success"));
}

async fn a_core_that_slept_gives_newcomers_their_whole_time(cores: usize) {
    let settings = [("HANDSHAKE_TIMEOUT", "1s"), ("LOGIN_TIMEOUT", "1s")];
    let server = Server::with(cores, &settings).await;
    // Nothing happens meanwhile, so no core looks at the time.
    sleep(Duration::from_secs(3)).await;
    let mut rng = seed::rng();
    for _ in 0..8 {
        let mut client = server.connect("ws", "relay").await;
        sleep(Duration::from_millis(200)).await;
        client.send(&seed::uid(&mut rng)).await;
        client.expect_start("login success").await;
    }
}

async fn time_in_which_the_server_stood_still_does_not_count(cores: usize) {
    let settings = [("IDLE_TIMEOUT", "1s"), ("PING_INTERVAL", "0")];
    let mut server = Server::with(cores, &settings).await;
    let mut rng = seed::rng();
    let mut clients = Vec::new();
    for uid in seed::uids(&mut rng, 8) {
        clients.push((server.relay("ws", &uid).await, uid));
    }
    server.stop_still().await;
    for (client, uid) in &mut clients {
        client.send(&format!("{uid}:I live")).await;
    }
    // Far beyond the idle timeout and its grace; what has arrived meanwhile counts.
    sleep(Duration::from_secs(5)).await;
    server.signal(libc::SIGCONT);
    for (client, _) in &mut clients {
        client.expect("I live").await;
    }
}

/// The server ends the connection, with or without an HTTP error before.
async fn expect_end_of_stream(raw: &mut Raw) {
    use tokio::io::AsyncReadExt;
    let mut answer = Vec::new();
    tokio::time::timeout(crate::client::PATIENCE, raw.socket.read_to_end(&mut answer))
        .await
        .expect("the server ends the connection")
        .ok();
    assert!(
        !answer.starts_with(b"HTTP/1.1 101"),
        "the handshake was accepted"
    );
}
