//! What load balancers, monitors and proxies of the old sort send: health on every port, and HTTP/1.0.

use crate::http::{Http, JSON, Response, exchange};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT};
use crate::server::Server;
use crate::tokens;

on_cores! {
    health_is_told_on_every_port,
    what_opens_no_websocket_is_told_so,
    an_old_answer_ends_unless_it_is_to_be_kept,
    an_old_request_is_served_as_any_other,
    an_old_body_has_a_length,
    events_are_an_old_answer_without_end,
    a_check_is_no_failure,
}

/// What the server answers, and whether its connection ends then. HEAD's has no body.
async fn ask(server: &Server, scheme: &str, app: &str, request: &str) -> (Response, bool) {
    let mut http = Http::dial(server.address(scheme, app)).await;
    http.write(request.as_bytes()).await;
    let response = match request.trim_start().starts_with("HEAD ") {
        true => http.head_response().await,
        false => http.response().await,
    };
    let response = response.unwrap_or_else(|| panic!("no answer to {request:?}"));
    let closes = response.header("connection").unwrap_or_default();
    let ends = closes.starts_with("close") && http.ends().await;
    (response, ends)
}

async fn health_is_told_on_every_port(cores: usize) {
    let server = Server::start(cores).await;
    for (scheme, app) in [("ws", "push"), ("ws", "echo"), ("http", "page")] {
        for (request, body) in [
            (
                "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "ok\n",
            ),
            (
                "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "ready\n",
            ),
            (
                "HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "",
            ),
            (
                "OPTIONS / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "",
            ),
            (
                "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "",
            ),
            ("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", "ok\n"),
            ("OPTIONS / HTTP/1.1\r\nConnection: close\r\n\r\n", ""),
            ("GET /healthz HTTP/1.0\r\n\r\n", "ok\n"),
            ("HEAD /healthz HTTP/1.0\r\n\r\n", ""),
            ("OPTIONS / HTTP/1.0\r\n\r\n", ""),
            ("HEAD / HTTP/1.0\r\n\r\n", ""),
            (
                "\r\nGET /healthz HTTP/1.0\r\nUser-Agent: check\r\n\r\n",
                "ok\n",
            ),
        ] {
            let (response, ends) = ask(&server, scheme, app, request).await;
            assert_eq!(response.status, 200, "{scheme} {app} {request:?}");
            assert!(ends, "{scheme} {app} {request:?}: {response:?}");
            assert_eq!(response.body, body, "{scheme} {app} {request:?}");
            assert_eq!(response.header("transfer-encoding"), None);
        }
        let (response, ends) = ask(&server, scheme, app, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(
            response.status == 200 && ends,
            "{scheme} {app} {response:?}"
        );
        let shows_page = response.body.contains("<html");
        assert!(shows_page == (scheme == "http") && (shows_page || response.body == "ok\n"));
    }
    // Without a page there is nothing else to show there.
    let server = Server::on(cores, &[], &["http://127.0.0.1:0=page:metrics"]).await;
    let (response, _) = ask(&server, "http", "page", "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((response.status, response.body.as_str()), (200, "ok\n"));
}

async fn what_opens_no_websocket_is_told_so(cores: usize) {
    let server = Server::start(cores).await;
    // As nginx passes a browser's handshake on by a bare proxy_pass.
    let old = "GET / HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let (response, ends) = ask(&server, "ws", "push", old).await;
    assert!(response.status == 505 && ends, "{response:?}");
    assert!(
        response.body.contains("proxy_http_version 1.1"),
        "{response:?}"
    );
    server
        .wait_log(&["INFO", "505", "proxy_http_version 1.1"])
        .await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    ] {
        let (response, ends) = ask(&server, "ws", "push", request).await;
        assert!(response.status == 426 && ends, "{request:?} {response:?}");
    }
}

async fn an_old_answer_ends_unless_it_is_to_be_kept(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    for (lines, kept) in [
        ("", false),
        ("Connection: close\r\n", false),
        ("Connection: keep-alive\r\n", true),
        ("Connection: Keep-Alive\r\nKeep-Alive: 300\r\n", true),
        ("Connection: keep-alive, close\r\n", false),
    ] {
        let mut http = Http::dial(address).await;
        for _ in 0..3 {
            let request = format!("GET /healthz HTTP/1.0\r\n{lines}\r\n");
            http.write(request.as_bytes()).await;
            let response = http.response().await.expect("an answer");
            assert_eq!(response.status, 200);
            let expected = if kept { "keep-alive" } else { "close" };
            assert_eq!(response.header("connection"), Some(expected), "{lines}");
            if !kept {
                assert!(http.ends().await);
                break;
            }
        }
    }
}

async fn an_old_request_is_served_as_any_other(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let mut client = server.push("ws", "old").await;
    let body = r#"{"uid":"old","text":"by HTTP/1.0"}"#;
    let length = body.len();
    // Expect means nothing there: nobody waits for an answer before the answer.
    let push = format!(
        "POST /v1/push HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n{JSON}Expect: 100-continue\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = exchange(address, &push).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["verdicts"]["old"], "delivered");
    client.expect("by HTTP/1.0").await;
    for (path, status) in [
        ("/", 200),
        ("/app.js", 200),
        ("/v1/stats", 200),
        ("/none", 404),
    ] {
        for host in ["", "Host: localhost\r\n"] {
            let answer = exchange(address, &format!("GET {path} HTTP/1.0\r\n{host}\r\n")).await;
            assert_eq!(answer.status, status, "{path} {host}");
            assert!(answer.header("content-length").is_some() && !answer.body.is_empty());
            assert_eq!(answer.header("transfer-encoding"), None);
        }
    }
    // The name must be ours here, too, where there is one.
    let foreign = "GET /v1/stats HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    assert_eq!(exchange(address, foreign).await.status, 421);
}

async fn an_old_body_has_a_length(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let lines = format!("Host: {address}\r\n{JSON}");
    let body = r#"{"uid":"a","text":"b"}"#;
    let endless = format!("POST /v1/push HTTP/1.0\r\n{lines}\r\n{body}");
    let answer = exchange(address, &endless).await;
    assert_eq!(answer.status, 411, "{answer:?}");
    assert_eq!(answer.json()["error"]["code"], "length_required");
    let chunked =
        format!("POST /v1/push HTTP/1.0\r\n{lines}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(exchange(address, &chunked).await.status, 400);
}

async fn events_are_an_old_answer_without_end(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let mut http = Http::dial(address).await;
    http.write(b"GET /v1/events?uid=old HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .await;
    let head = http.head_response().await.expect("an answer");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("connection"), Some("close"));
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(head.header("content-length"), None);
    let mut backend = server.backend().await;
    for n in 0..3 {
        let line = format!("{{\"uid\":\"old\",\"n\":{n}}}");
        assert_eq!(backend.ask(&line).await, "ok");
        http.expect_text(&format!("data: {line}\n\n")).await;
    }
    assert_eq!(backend.ask("kick old").await, "ok");
    http.expect_text("event: close").await;
    while !http.ends().await {}
}

/// Checks are no bad handshakes, nor is anything said of them, and they count as connections that ended well.
async fn a_check_is_no_failure(cores: usize) {
    let key = tokens::File::new(tokens::SECRET);
    let server = tokens::server(cores, "hmac", &key, &[]).await;
    for _ in 0..20 {
        let (response, _) = ask(&server, "ws", "push", "OPTIONS / HTTP/1.0\r\n\r\n").await;
        assert_eq!(response.status, 200);
    }
    assert_eq!(server.closed("bad handshake").await, 0);
    server.wait_closed("normal", 20).await;
    assert!(!server.log().contains("refused"), "{}", server.log());
    // Who begins with it is still read as what it is.
    let mut raw = Raw::dial(server.address("ws", "echo")).await;
    raw.write(b"\r\n").await;
    raw.shake_hands().await;
    raw.frame(FIN | TEXT, b"hello").await;
    raw.expect(FIN | TEXT, b"hello").await;
}
