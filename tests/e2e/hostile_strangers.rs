//! Other protocols at the clients' line and frame listeners: a web page that has the browser post lines there reaches
//! nobody, whatever the app, and the log says what came.

use crate::client::{Client, Got};
use crate::on_cores;
use crate::raw::Raw;
use crate::seed;
use crate::server::Server;

on_cores! {
    a_web_page_reaches_nobody_by_a_line_listener,
    what_only_looks_like_a_request_later_on_is_a_message,
    the_log_names_what_came,
}

/// What a page can have a browser send: `fetch` with this method, or whatever a browser would.
const REQUEST_LINES: [&str; 10] = [
    "POST / HTTP/1.1",
    "GET / HTTP/1.1",
    "HEAD /x HTTP/1.1",
    "PUT /?a=b HTTP/1.1",
    "DELETE / HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "CONNECT 127.0.0.1:1 HTTP/1.1",
    "PRI * HTTP/2.0",
    "PURGE / HTTP/1.1",
    "login:Mallory / HTTP/1.1",
];

async fn a_web_page_reaches_nobody_by_a_line_listener(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut relay = server.relay("text", &uid).await;
    let mut other = server.relay("ws", "other").await;
    let mut zoe = server.chat("Zoe").await;
    zoe.expect_start("users:").await;
    let mut ended = 0;
    for (scheme, app) in [
        ("text", "relay"),
        ("text", "push"),
        ("text", "chat"),
        ("text", "echo"),
        ("frame", "relay"),
        ("frame", "push"),
        ("frame", "echo"),
    ] {
        let body = format!("all:x\n{uid}:x\nlogin:Mallory\nchat:<{}>:x\n", zoe.local());
        for line in REQUEST_LINES {
            if scheme == "frame" && line.starts_with(|c: char| c.is_lowercase()) {
                continue;
            }
            for pieces in [1, 30] {
                let request = format!("{line}\r\nHost: 127.0.0.1\r\n\r\n{body}");
                let mut browser = Raw::dial(server.address(scheme, app)).await;
                for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                    browser.write_if_open(piece).await;
                }
                // It ends without a word, be it by a reset, since more had come than was read.
                let answer = Client::over(scheme, browser.socket).await.next().await;
                assert!(
                    matches!(answer, Got::End(_)),
                    "{line:?} to {app} over {scheme}: {answer:?}"
                );
                ended += 1;
            }
        }
    }
    // A made-up method is no frame, but a length like others.
    server.wait_closed("protocol error", ended - 3 * 2).await;
    assert_eq!(server.closed("message too big").await, 3 * 2);
    for client in [&mut relay, &mut other, &mut zoe] {
        client.expect_silence().await;
    }
}

async fn what_only_looks_like_a_request_later_on_is_a_message(cores: usize) {
    let server = Server::start(cores).await;
    let mut relay = server.relay("text", "tom").await;
    for body in ["GET / HTTP/1.1", "\x16\x03\x01", "POST /"] {
        relay.send(&format!("tom:{body}")).await;
        relay.expect(body).await;
    }
    for scheme in ["text", "frame"] {
        let mut echo = server.connect(scheme, "echo").await;
        for message in ["I speak HTTP/1.1 well", "GET / HTTP/1.1", "\x16\x03\x01"] {
            echo.send(message).await;
            echo.expect(message).await;
        }
    }
}

async fn the_log_names_what_came(cores: usize) {
    for (scheme, bytes, word) in [
        ("text", &b"POST / HTTP/1.1\r\n\r\n"[..], "HTTP"),
        ("frame", b"POST / HTTP/1.1\r\n\r\n", "HTTP"),
        (
            "text",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "TLS",
        ),
        (
            "frame",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "TLS",
        ),
    ] {
        let server = Server::start(cores).await;
        let mut stranger = Raw::dial(server.address(scheme, "push")).await;
        let own = stranger.socket.local_addr().expect("an address");
        stranger.write(bytes).await;
        assert!(stranger.next().await.is_err(), "{scheme} {word}");
        server.wait_log(&["refused", word, &own.to_string()]).await;
    }
}
