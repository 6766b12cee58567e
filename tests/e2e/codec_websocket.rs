//! The websocket codec as a well-behaved client sees it (RFC 6455).

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use crate::client::{Got, PATIENCE};
use crate::on_cores;
use crate::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Raw, TEXT, close_code, masked, request,
};
use crate::seed;
use crate::server::Server;

on_cores! {
    handshake_answers_the_key_of_the_rfc,
    handshake_may_come_byte_by_byte,
    messages_may_follow_the_handshake_in_the_same_write,
    a_request_that_is_no_handshake_gets_an_http_error,
    an_unknown_version_is_told_the_known_one,
    text_comes_back_as_text_and_binary_as_binary,
    every_form_of_length_is_read_and_written,
    fragments_make_one_message_with_control_frames_between,
    an_empty_message_may_come_in_empty_fragments,
    cutting_the_bytes_anywhere_changes_nothing,
    many_messages_in_one_write_come_back_in_order,
    a_ping_is_answered_with_its_body,
    a_close_is_answered_with_its_code,
    a_close_without_a_code_is_answered,
    what_was_sent_before_a_close_is_answered_first_and_what_follows_is_not,
    a_close_of_the_server_waits_for_the_answer,
    a_close_of_the_server_that_is_not_answered_ends_in_a_reset,
}

async fn handshake_answers_the_key_of_the_rfc(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::dial(server.address("ws", "echo")).await;
    raw.write(request("").as_bytes()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    // Nothing was offered, so nothing may be chosen.
    assert!(!lower.contains("sec-websocket-extensions"), "{head}");
    assert!(!lower.contains("sec-websocket-protocol"), "{head}");
}

async fn handshake_may_come_byte_by_byte(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::dial(server.address("ws", "echo")).await;
    for byte in request("X-Filler: 1\r\n").as_bytes() {
        raw.write(&[*byte]).await;
    }
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    raw.frame(FIN | TEXT, b"hi").await;
    raw.expect(FIN | TEXT, b"hi").await;
}

async fn messages_may_follow_the_handshake_in_the_same_write(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    for uid in seed::uids(&mut rng, 16) {
        let mut raw = Raw::dial(server.address("ws", "relay")).await;
        let mut bytes = request("").into_bytes();
        bytes.extend(masked(FIN | TEXT, uid.as_bytes()));
        bytes.extend(masked(FIN | TEXT, format!("{uid}:to myself").as_bytes()));
        raw.write(&bytes).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
        let welcome = format!("login success, your uid is {uid}");
        raw.expect(FIN | TEXT, welcome.as_bytes()).await;
        raw.expect(FIN | TEXT, b"to myself").await;
    }
}

async fn a_request_that_is_no_handshake_gets_an_http_error(cores: usize) {
    let server = Server::start(cores).await;
    let good = request("");
    let requests = [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(),
        good.replacen("GET", "POST", 1),
        good.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        good.replace("Version: 13", "Version: 8"),
        good.replace("Sec-WebSocket-Version: 13\r\n", ""),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("Connection: Upgrade", "Connection: close"),
        good.replace("HTTP/1.1", "HTTP/1.0"),
        "nonsense\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let mut raw = Raw::dial(server.address("ws", "echo")).await;
        raw.write(request.as_bytes()).await;
        let head = raw.head().await;
        // 505 is for the old version.
        let refused = head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 505 ");
        assert!(refused, "{request:?} got {head}");
        expect_end_of_stream(&mut raw).await;
    }
    assert!(server.closed("bad handshake").await >= 10);
}

async fn an_unknown_version_is_told_the_known_one(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::dial(server.address("ws", "echo")).await;
    raw.write(request("").replace("Version: 13", "Version: 99").as_bytes())
        .await;
    let head = raw.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 426 "), "{head}");
    assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
}

async fn text_comes_back_as_text_and_binary_as_binary(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("ws", "echo").await;
    client.send("grüße 🌍").await;
    assert_eq!(client.next().await, Got::Text("grüße 🌍".to_owned()));
    client.send_binary(b"\x00\xff\x80 not utf-8").await;
    assert_eq!(
        client.next().await,
        Got::Binary(b"\x00\xff\x80 not utf-8".to_vec())
    );
    // Binary stays binary even if it could be text.
    client.send_binary(b"plain").await;
    assert_eq!(client.next().await, Got::Binary(b"plain".to_vec()));
}

async fn every_form_of_length_is_read_and_written(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let mut client = server.connect("ws", "echo").await;
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        let text = seed::text(&mut rng, length);
        client.send(&text).await;
        client.expect(&text).await;
    }
}

async fn fragments_make_one_message_with_control_frames_between(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    let text = "fünf 🌍 Stücke".as_bytes();
    // The cuts lie within characters.
    raw.frame(TEXT, &text[..2]).await;
    raw.frame(FIN | PING, b"between").await;
    raw.expect(FIN | PONG, b"between").await;
    raw.frame(CONTINUATION, &text[2..8]).await;
    raw.frame(CONTINUATION, b"").await;
    raw.frame(FIN | PONG, b"unasked").await;
    raw.frame(FIN | CONTINUATION, &text[8..]).await;
    raw.expect(FIN | TEXT, text).await;
    raw.frame(BINARY, b"\xff").await;
    raw.frame(FIN | CONTINUATION, b"\xfe").await;
    raw.expect(FIN | BINARY, b"\xff\xfe").await;
}

async fn an_empty_message_may_come_in_empty_fragments(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    raw.frame(TEXT, b"").await;
    raw.frame(CONTINUATION, b"").await;
    raw.frame(FIN | CONTINUATION, b"").await;
    raw.expect(FIN | TEXT, b"").await;
}

async fn cutting_the_bytes_anywhere_changes_nothing(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    let bodies: Vec<Vec<u8>> = [3, 130, 70_000, 0, 126]
        .map(|length| seed::text(&mut rng, length).into_bytes())
        .to_vec();
    let bytes: Vec<u8> = bodies
        .iter()
        .flat_map(|body| masked(FIN | TEXT, body))
        .collect();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let most = if rng.bool() { 3 } else { 20_000 };
        let (now, later) = rest.split_at(rng.usize(1..=most).min(rest.len()));
        raw.write(now).await;
        if rng.u8(..4) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        rest = later;
    }
    for body in &bodies {
        raw.expect(FIN | TEXT, body).await;
    }
}

async fn many_messages_in_one_write_come_back_in_order(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    let bytes: Vec<u8> = (0..2_000)
        .flat_map(|n: u32| masked(FIN | TEXT, n.to_string().as_bytes()))
        .collect();
    raw.write(&bytes).await;
    for n in 0..2_000 {
        raw.expect(FIN | TEXT, n.to_string().as_bytes()).await;
    }
}

async fn a_ping_is_answered_with_its_body(cores: usize) {
    let server = Server::start(cores).await;
    for app in ["echo", "relay", "push", "chat"] {
        let mut raw = Raw::open(server.address("ws", app)).await;
        for body in [&b""[..], b"x", &[0xff; 125]] {
            raw.frame(FIN | PING, body).await;
            raw.expect(FIN | PONG, body).await;
        }
    }
}

async fn a_close_is_answered_with_its_code(cores: usize) {
    let server = Server::start(cores).await;
    for code in [1000u16, 1001, 1003, 1011, 3000, 4999] {
        let mut raw = Raw::open(server.address("ws", "echo")).await;
        let mut body = code.to_be_bytes().to_vec();
        body.extend_from_slice("weil 🌍".as_bytes());
        raw.frame(FIN | CLOSE, &body).await;
        let frame = raw.next().await.expect("a close frame");
        assert_eq!(frame.first, FIN | CLOSE);
        assert!(
            [Some(code), Some(1000)].contains(&close_code(&frame)),
            "{frame:?}"
        );
        raw.expect_end().await;
    }
}

async fn a_close_without_a_code_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    raw.frame(FIN | CLOSE, b"").await;
    let frame = raw.next().await.expect("a close frame");
    assert_eq!(frame.first, FIN | CLOSE);
    assert!(
        [None, Some(1000)].contains(&close_code(&frame)),
        "{frame:?}"
    );
    raw.expect_end().await;
}

async fn what_was_sent_before_a_close_is_answered_first_and_what_follows_is_not(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    let mut bytes = masked(FIN | TEXT, b"before");
    bytes.extend(masked(FIN | CLOSE, &1000u16.to_be_bytes()));
    bytes.extend(masked(FIN | TEXT, b"after"));
    raw.write(&bytes).await;
    raw.expect(FIN | TEXT, b"before").await;
    assert_eq!(raw.next().await.expect("a close frame").first, FIN | CLOSE);
    raw.expect_end().await;
}

async fn a_close_of_the_server_waits_for_the_answer(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "relay")).await;
    let uid = seed::uid(&mut seed::rng());
    raw.frame(FIN | TEXT, uid.as_bytes()).await;
    raw.next().await.expect("a login answer");
    assert_eq!(
        server.backend().await.ask(&format!("kick {uid}")).await,
        "ok"
    );
    raw.expect_close(&[4007]).await;
}

async fn a_close_of_the_server_that_is_not_answered_ends_in_a_reset(cores: usize) {
    let server = Server::with(cores, &[("CLOSE_TIMEOUT", "500ms")]).await;
    let mut raw = Raw::open(server.address("ws", "relay")).await;
    let uid = seed::uid(&mut seed::rng());
    raw.frame(FIN | TEXT, uid.as_bytes()).await;
    raw.next().await.expect("a login answer");
    assert_eq!(
        server.backend().await.ask(&format!("kick {uid}")).await,
        "ok"
    );
    assert_eq!(
        close_code(&raw.next().await.expect("a close frame")),
        Some(4007)
    );
    let start = Instant::now();
    raw.expect_end().await;
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

/// The server ends the connection after an HTTP error, whatever body that has.
async fn expect_end_of_stream(raw: &mut Raw) {
    let mut body = Vec::new();
    timeout(PATIENCE, raw.socket.read_to_end(&mut body))
        .await
        .expect("the server ends the connection")
        .ok();
}
