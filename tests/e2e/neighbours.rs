//! What stands between: proxies that forward to a port for this machine alone, clients that end a body with a line too
//! many, cookies of a single sign-on, TLS to a port without.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::http::{Http, JSON, Response, exchange, get};
use crate::on_cores;
use crate::raw::{Raw, request};
use crate::server::Server;

on_cores! {
    what_a_proxy_forwards_is_not_of_this_machine,
    with_a_token_it_may_be_forwarded,
    a_body_with_an_empty_line_too_many,
    empty_lines_are_no_request,
    large_cookies_are_taken,
    tls_is_named_in_the_log,
}

const TELLTALES: [&str; 8] = [
    "X-Forwarded-For: 203.0.113.5",
    "x-forwarded-proto: https",
    "X-Forwarded-Host: push.example",
    "X-Forwarded-Whatever: x",
    "Forwarded: for=203.0.113.5",
    "Via: 1.1 proxy",
    "X-Real-IP: 203.0.113.5",
    "x-real-ip: 127.0.0.1",
];

async fn push(address: SocketAddr, lines: &str) -> Response {
    let body = r#"{"uid":"all","text":"hi"}"#;
    let length = body.len();
    let request = format!(
        "POST /v1/push HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{JSON}{lines}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(address, &request).await
}

async fn fetch(address: SocketAddr, path: &str, lines: &str) -> u16 {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{lines}\r\n");
    exchange(address, &request).await.status
}

async fn what_a_proxy_forwards_is_not_of_this_machine(cores: usize) {
    // Whoever is trusted to tell an address is not trusted with this.
    for trusted in ["", "127.0.0.1"] {
        let server = Server::with(cores, &[("TRUSTED_PROXIES", trusted)]).await;
        let address = server.address("http", "page");
        let mut client = server.relay("ws", "victim").await;
        for telltale in TELLTALES {
            let line = format!("{telltale}\r\n");
            let answer = push(address, &line).await;
            assert_eq!(answer.status, 403, "{telltale} {answer:?}");
            assert_eq!(answer.json()["error"]["code"], "forwarded");
            assert!(answer.body.contains("backend.token"), "{answer:?}");
            for (path, status) in [
                ("/metrics", 403),
                ("/v1/stats", 403),
                ("/v1/uids", 403),
                ("/v1/uids/victim", 403),
                ("/v1/groups/g", 403),
                ("/v1/none", 404),
                ("/healthz", 200),
                ("/readyz", 200),
                ("/", 200),
                ("/listeners.json", 200),
            ] {
                let got = fetch(address, path, &line).await;
                assert_eq!(got, status, "{path} {telltale}");
            }
        }
        client.expect_silence().await;
        server.wait_log(&["INFO", "backend.token"]).await;
        assert_eq!(push(address, "").await.status, 200);
        client.expect("hi").await;
        // There is no room for the body of who may not.
        let request = format!(
            "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Via: 1.1 x\r\nContent-Length: 1000000\r\n\r\n"
        );
        assert_eq!(exchange(address, &request).await.status, 413);
        // Clients that listen are let in by other rules.
        let mut events = Http::dial(address).await;
        let request = format!(
            "GET /v1/events?uid=a HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n"
        );
        events.write(request.as_bytes()).await;
        assert_eq!(events.head_response().await.expect("an answer").status, 200);
    }
}

async fn with_a_token_it_may_be_forwarded(cores: usize) {
    let token = "a-token-of-forty-characters-or-so-1234567";
    let server = Server::with(cores, &[("BACKEND_TOKEN", token)]).await;
    let address = server.address("http", "page");
    for telltale in TELLTALES {
        let bearer = format!("{telltale}\r\nAuthorization: Bearer {token}\r\n");
        assert_eq!(fetch(address, "/metrics", &bearer).await, 200);
        assert_eq!(push(address, &bearer).await.status, 200);
        let none = format!("{telltale}\r\n");
        assert_eq!(fetch(address, "/metrics", &none).await, 401);
    }
}

async fn a_body_with_an_empty_line_too_many(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let body = r#"{"uid":"all","text":"hi"}"#;
    let length = body.len();
    let request = format!(
        "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: {length}\r\n\r\n{body}\r\n"
    );
    // At once, and after its answer has come.
    for waits in [false, true] {
        let mut http = Http::dial(address).await;
        for _ in 0..3 {
            http.write(request.as_bytes()).await;
            if waits {
                assert_eq!(http.response().await.expect("an answer").status, 200);
            }
        }
        for _ in 0..if waits { 0 } else { 3 } {
            assert_eq!(http.response().await.expect("an answer").status, 200);
        }
    }
    // Cut where it hurts.
    let mut http = Http::dial(address).await;
    for piece in [request.as_str(), "\r", "\n", request.as_str()] {
        http.write(piece.as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    for _ in 0..2 {
        assert_eq!(http.response().await.expect("an answer").status, 200);
    }
}

/// A connection on which only empty lines come asks nothing, and is not told that it is too slow.
async fn empty_lines_are_no_request(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKE_TIMEOUT", "1s")]).await;
    let address = server.address("http", "page");
    let mut http = Http::dial(address).await;
    http.write(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n\r\n\r").as_bytes())
        .await;
    assert_eq!(http.response().await.expect("an answer").status, 200);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    http.write(format!("\nGET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await;
    assert_eq!(http.response().await.expect("an answer").status, 200);
}

async fn large_cookies_are_taken(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let cookie = |length| format!("Cookie: session={}\r\n", "c".repeat(length));
    let mut raw = Raw::dial(server.address("ws", "push")).await;
    raw.shake_hands_with(&cookie(12_000)).await;
    assert_eq!(fetch(address, "/healthz", &cookie(12_000)).await, 200);
    assert!(!server.log().contains("refused"));
    // The log says which key, and how much it is.
    let mut raw = Raw::dial(server.address("ws", "push")).await;
    raw.write_if_open(request(&cookie(17_000)).as_bytes()).await;
    assert_eq!(raw.status().await, Some(431));
    server
        .wait_log(&["INFO", "431", "request_head_bytes_max", "16384"])
        .await;
    assert_eq!(fetch(address, "/healthz", &cookie(17_000)).await, 431);
    let target = format!("/?{}", "x".repeat(17_000));
    assert_eq!(fetch(address, &target, "").await, 414);
    server
        .wait_log(&["INFO", "414", "request_head_bytes_max"])
        .await;
    let server = Server::with(cores, &[("REQUEST_HEAD_BYTES_MAX", "32KiB")]).await;
    let mut raw = Raw::dial(server.address("ws", "push")).await;
    raw.shake_hands_with(&cookie(30_000)).await;
    let address = server.address("http", "page");
    assert_eq!(fetch(address, "/healthz", &cookie(30_000)).await, 200);
    assert_eq!(fetch(address, "/healthz", &cookie(33_000)).await, 431);
}

async fn tls_is_named_in_the_log(cores: usize) {
    for (scheme, app) in [("ws", "push"), ("http", "page")] {
        let server = Server::with(cores, &[("HANDSHAKE_TIMEOUT", "60s")]).await;
        let start = Instant::now();
        // One byte is enough.
        for hello in [
            &b"\x16"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ] {
            let mut http = Http::dial(server.address(scheme, app)).await;
            http.write(hello).await;
            let answer = http.response().await.expect("an answer");
            assert_eq!(answer.status, 400);
            assert!(answer.body.contains("TLS"), "{answer:?}");
        }
        server.wait_log(&["INFO", "TLS", "127.0.0.1:"]).await;
        assert!(start.elapsed() < Duration::from_secs(30));
        let page = server.address("http", "page");
        assert_eq!(get(page, "/healthz").await.status, 200);
    }
}
