//! Requests to the HTTP port that nobody means well with: each gets the status that fits and ends its
//! connection, and none brings another one along.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::bad_requests::cases;
use crate::client::{Client, short};
use crate::http::{Http, JSON, Response, get};
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    no_request_brings_another_along,
    byte_by_byte_it_gets_the_same,
    heads_out_of_bounds_are_refused,
    other_protocols_are_told_at_once,
    a_pipeline_is_answered_in_order_and_whole,
    a_pipeline_ends_with_the_request_that_ends_it,
    a_slow_request_gets_408,
    one_that_never_asks_is_closed_without_a_word,
}

/// A push to the victim, as a second request hides it.
fn hidden(address: SocketAddr, uid: &str) -> String {
    let body = format!("{{\"uid\":\"{uid}\",\"text\":\"smuggled\"}}");
    format!(
        "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The one answer that a connection gets before it ends.
async fn only_answer(http: &mut Http, name: &str) -> Response {
    let start = Instant::now();
    let response = http.response().await;
    let response = response.unwrap_or_else(|| panic!("{name}: no answer"));
    assert_eq!(
        response.header("connection"),
        Some("close"),
        "{name}: {response:?}"
    );
    let more = http.response().await;
    assert!(more.is_none(), "{name}: a second answer: {more:?}");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{name}: it took {took:?}");
    response
}

/// A victim whom nothing must reach.
async fn victim(server: &Server) -> (Client, String) {
    let uid = seed::uid(&mut seed::rng());
    (server.push("ws", &uid).await, uid)
}

async fn no_request_brings_another_along(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let (mut client, uid) = victim(&server).await;
    let before = server.holdings().await;
    let hidden = hidden(address, &uid);
    let cases = cases(address, &hidden);
    let hostile = async {
        for (name, bytes, status) in &cases {
            let mut http = Http::dial(address).await;
            http.write(bytes.as_bytes()).await;
            let response = only_answer(&mut http, name).await;
            assert_eq!(response.status, *status, "{name}: {response:?}");
        }
    };
    server.served_meanwhile(hostile).await;
    client.expect_silence().await;
    server.wait_holdings(before).await;
    // It would have been served, had it been a request.
    let mut http = Http::dial(address).await;
    http.write(hidden.as_bytes()).await;
    assert_eq!(http.response().await.expect("an answer").status, 200);
    assert!(client.text().await.contains("smuggled"));
}

async fn byte_by_byte_it_gets_the_same(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    for (name, bytes, status) in cases(address, "GET / HTTP/1.1\r\n") {
        let mut http = Http::dial(address).await;
        for byte in bytes.as_bytes() {
            http.write(&[*byte]).await;
        }
        let response = only_answer(&mut http, &name).await;
        assert_eq!(response.status, status, "{name}: {response:?}");
    }
}

pub async fn heads_out_of_bounds_are_refused(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let (before, memory) = (server.holdings().await, server.memory());
    let request = |target: &str, lines: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{lines}\r\n")
    };
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("X-{n}: {n}\r\n"))
            .collect::<String>()
    };
    let long = |length| "x".repeat(length);
    for (name, bytes, status) in [
        ("64 headers", request("/healthz", &many(62)), 200),
        ("65 headers", request("/healthz", &many(63)), 431),
        ("10,000 headers", request("/healthz", &many(10_000)), 431),
        (
            "15 KB in one",
            request("/healthz", &format!("X: {}\r\n", long(15_000))),
            200,
        ),
        (
            "a header of 17 KB",
            request("/healthz", &format!("X: {}\r\n", long(17_000))),
            431,
        ),
        (
            "a header of 1 MB",
            request("/healthz", &format!("X: {}\r\n", long(1 << 20))),
            431,
        ),
        (
            "a name of 64 KB",
            request("/healthz", &format!("{}: x\r\n", long(64 << 10))),
            431,
        ),
        (
            "a path of 15 KB",
            request(&format!("/{}", long(15_000)), ""),
            404,
        ),
        (
            "a path of 64 KB",
            request(&format!("/{}", long(64 << 10)), ""),
            414,
        ),
        (
            "a query of 1 MB",
            request(&format!("/?{}", long(1 << 20)), ""),
            414,
        ),
        (
            "a method of 64 KB",
            request("/", "").replace("GET", &long(64 << 10)),
            400,
        ),
    ] {
        let mut http = Http::dial(address).await;
        http.write(bytes.as_bytes()).await;
        let response = only_answer(&mut http, name).await;
        assert_eq!(response.status, status, "{name}: {response:?}");
    }
    server.expect_memory(memory, 1 << 20);
    server.wait_holdings(before).await;
}

async fn other_protocols_are_told_at_once(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKE_TIMEOUT", "60s")]).await;
    let address = server.address("http", "page");
    for (name, bytes, status) in [
        (
            "a TLS hello",
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            400,
        ),
        (
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            505,
        ),
        ("a PROXY header", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", 400),
        ("a line of the back end", b"{\"uid\":\"x\"}\n", 400),
        ("mail", b"EHLO example\r\n", 400),
        ("noise", &[0xff; 300], 400),
    ] {
        let mut http = Http::dial(address).await;
        http.write(bytes).await;
        assert_eq!(only_answer(&mut http, name).await.status, status, "{name}");
    }
    assert_eq!(get(address, "/healthz").await.status, 200);
}

pub async fn a_pipeline_is_answered_in_order_and_whole(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let (mut client, uid) = victim(&server).await;
    let mut http = Http::dial(address).await;
    let mut requests = String::new();
    let mut expected = Vec::new();
    for n in 0..1_000 {
        let text = format!("{{\"uid\":\"{uid}\",\"text\":\"{n}\"}}");
        let length = text.len();
        let (request, status) = match n % 5 {
            0 => (
                format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n"),
                200,
            ),
            1 => (
                format!("GET /nothing HTTP/1.1\r\nHost: {address}\r\n\r\n"),
                404,
            ),
            2 => (
                format!("HEAD /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n"),
                200,
            ),
            // A body that looks like a request is none.
            3 => (
                format!(
                    "GET /healthz HTTP/1.1\r\nHost: {address}\r\nContent-Length: 16\r\n\r\nGET / HTTP/1.1\r\n"
                ),
                200,
            ),
            _ => (
                format!(
                    "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: {length}\r\n\r\n{text}"
                ),
                200,
            ),
        };
        requests.push_str(&request);
        expected.push((n, status));
    }
    http.write(requests.as_bytes()).await;
    for (n, status) in expected {
        let response = match n % 5 {
            2 => http.head_response().await,
            _ => http.response().await,
        };
        let response = response.unwrap_or_else(|| panic!("no answer to request {n}"));
        assert_eq!(response.status, status, "request {n}: {response:?}");
        if n % 5 == 4 {
            assert!(client.text().await.contains(&n.to_string()));
        }
    }
    client.expect_silence().await;
}

async fn a_pipeline_ends_with_the_request_that_ends_it(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let (mut client, uid) = victim(&server).await;
    let hidden = hidden(address, &uid);
    let good = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let close = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let bad = "nonsense\r\n\r\n".to_owned();
    let big =
        format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9999999\r\n\r\n");
    for (last, status) in [(close, 200), (bad, 400), (big, 413)] {
        let mut http = Http::dial(address).await;
        let bytes = [&good, &good, &last, &hidden, &good]
            .map(String::as_str)
            .concat();
        http.write(bytes.as_bytes()).await;
        for expected in [200, 200] {
            assert_eq!(http.response().await.expect("an answer").status, expected);
        }
        assert_eq!(
            only_answer(&mut http, &last).await.status,
            status,
            "{}",
            short(&last)
        );
    }
    client.expect_silence().await;
}

async fn a_slow_request_gets_408(cores: usize) {
    tokio::join!(
        slow_requests_get_408(cores, "auto"),
        slow_requests_get_408(cores, "epoll"),
    );
}

async fn slow_requests_get_408(cores: usize, driver: &str) {
    let settings = [("HANDSHAKE_TIMEOUT", "1s"), ("DRIVER", driver)];
    let server = Server::with(cores, &settings).await;
    let address = server.address("http", "page");
    let before = server.holdings().await;
    let head = format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}");
    let start = Instant::now();
    let mut slow = Vec::new();
    for (name, bytes) in [
        ("half a first line", "GET /hea".to_owned()),
        ("half a head", head.clone()),
        (
            "half a body",
            format!("{head}Content-Length: 100\r\n\r\n{{\"uid\":"),
        ),
        ("no body", format!("{head}Content-Length: 100\r\n\r\n")),
        (
            "half a chunk",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
        ),
        (
            "no last chunk",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
        ),
        (
            "a second request",
            format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n{head}"),
        ),
    ] {
        let mut http = Http::dial(address).await;
        http.write(bytes.as_bytes()).await;
        slow.push((name, http));
    }
    // Bytes that come now and then do not stretch it.
    let mut dripping = Http::dial(address).await;
    dripping.write(head.as_bytes()).await;
    while start.elapsed() < Duration::from_millis(2_500) {
        dripping.write(b"X").await;
        sleep(Duration::from_millis(50)).await;
    }
    // Its own bytes may have made a reset of the end, before the answer was read.
    let last = Instant::now();
    let ended = dripping.response().await;
    let took = last.elapsed();
    assert!(
        took < Duration::from_millis(900),
        "{driver}: a byte stretches it by {took:?}"
    );
    assert!(
        ended.is_none_or(|answer| answer.status == 408),
        "{driver}: dripping"
    );
    for (name, http) in &mut slow {
        let mut response = http.response().await.expect("an answer");
        if *name == "a second request" {
            assert_eq!(response.status, 200, "{driver}: {name}");
            response = http.response().await.expect("a second answer");
        }
        assert_eq!(response.status, 408, "{driver}: {name}");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(http.ends().await, "{driver}: {name} is left open");
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    server.wait_holdings(before).await;
}

async fn one_that_never_asks_is_closed_without_a_word(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKE_TIMEOUT", "1s")]).await;
    let before = server.holdings().await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(Http::dial(server.address("http", "page")).await);
    }
    for http in &mut silent {
        assert!(http.response().await.is_none(), "it was told something");
    }
    server.wait_holdings(before).await;
}
