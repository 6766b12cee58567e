//! Bodies to the HTTP port: too long, in odd chunks, nested without end, or announced and never sent.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::client::PATIENCE;
use crate::http::{Http, JSON, post};
use crate::on_cores;
use crate::raw::Raw;
use crate::seed;
use crate::server::Server;

on_cores! {
    ten_gigabytes_announced_are_refused_at_once,
    a_body_above_the_limit_is_refused_however_it_comes,
    odd_and_right_chunks_are_read,
    an_invitation_is_given_once_and_not_to_what_is_refused,
    json_two_hundred_thousand_levels_deep_is_refused,
    what_is_announced_and_not_sent_is_not_kept,
    one_that_goes_on_sending_after_its_refusal_is_cut_off,
}

async fn ten_gigabytes_announced_are_refused_at_once(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let (before, memory) = (server.holdings().await, server.memory());
    let head = format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}");
    for (name, rest) in [
        ("a length", "Content-Length: 10737418240\r\n\r\n"),
        (
            "a length, with bytes",
            "Content-Length: 10737418240\r\n\r\n{\"uid\":",
        ),
        (
            "one that asks",
            "Content-Length: 10737418240\r\nExpect: 100-continue\r\n\r\n",
        ),
        ("a chunk", "Transfer-Encoding: chunked\r\n\r\n280000000\r\n"),
        (
            "a chunk, with bytes",
            "Transfer-Encoding: chunked\r\n\r\n280000000\r\n{\"uid\":",
        ),
        (
            "a second chunk",
            "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n27fffffff\r\n",
        ),
    ] {
        let mut http = Http::dial(address).await;
        let start = Instant::now();
        http.write(format!("{head}{rest}").as_bytes()).await;
        let response = http.response().await.expect("an answer");
        assert_eq!(response.status, 413, "{name}");
        // The deadline of a request is ten seconds.
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "{name}: it took {took:?}");
        assert_eq!(response.header("connection"), Some("close"), "{name}");
        assert!(http.ends().await, "{name}: it stays open");
    }
    server.expect_memory(memory, 1 << 20);
    server.wait_holdings(before).await;
}

async fn a_body_above_the_limit_is_refused_however_it_comes(cores: usize) {
    let server = Server::with(cores, &[("HTTP_BODY_BYTES_MAX", "1000")]).await;
    let address = server.address("http", "page");
    let head = format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Connection: close\r\n");
    let body = |length: usize| {
        let text = "x".repeat(length - "{\"uid\":\"u\",\"text\":\"\"}".len());
        format!("{{\"uid\":\"u\",\"text\":\"{text}\"}}")
    };
    for (length, status) in [(999, 200), (1_000, 200), (1_001, 413), (5_000, 413)] {
        let body = body(length);
        let whole = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let chunk =
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
        let single: String = body.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
        let single = format!("{head}Transfer-Encoding: chunked\r\n\r\n{single}0\r\n\r\n");
        for (name, request) in [
            ("whole", whole),
            ("in one chunk", chunk),
            ("in single bytes", single),
        ] {
            let mut http = Http::dial(address).await;
            http.write(request.as_bytes()).await;
            let response = http.response().await.expect("an answer");
            assert_eq!(
                response.status, status,
                "{length} bytes {name}: {response:?}"
            );
        }
    }
}

async fn odd_and_right_chunks_are_read(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let body = format!("{{\"uid\":\"{uid}\",\"text\":\"hi\"}}");
    let (first, second) = body.split_at(10);
    let (a, b) = (first.len(), second.len());
    for chunks in [
        format!("{a:x}\r\n{first}\r\n{b:X}\r\n{second}\r\n0\r\n\r\n"),
        format!("000{a:x}\r\n{first}\r\n0000000{b:x}\r\n{second}\r\n000\r\n\r\n"),
        format!("{a:x};a=b;c=\"d\"\r\n{first}\r\n{b:x} ;x\r\n{second}\r\n0;last\r\n\r\n"),
        format!("{a:x}\r\n{first}\r\n{b:x}\r\n{second}\r\n0\r\nX: y\r\nContent-Length: 5\r\n\r\n"),
        format!("{a:x}\r\n{first}\r\n{b:x}\r\n{second}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        for pieces in [1, chunks.len()] {
            let mut http = Http::dial(address).await;
            let request = format!(
                "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Transfer-Encoding:\t chunked \r\n\r\n{chunks}\
                 GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n"
            );
            for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                http.write(piece).await;
            }
            let response = http.response().await.expect("an answer");
            assert_eq!(response.status, 200, "{chunks:?}: {response:?}");
            assert!(client.text().await.contains("hi"), "{chunks:?}");
            // What follows is the next request.
            assert_eq!(
                http.response().await.expect("a second").status,
                200,
                "{chunks:?}"
            );
        }
    }
    let endless = format!("1;{}", "x".repeat(20_000));
    let trailers = format!("0\r\n{}", "X: y\r\n".repeat(5_000));
    for chunks in [endless, trailers] {
        let mut http = Http::dial(address).await;
        let head = format!(
            "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n"
        );
        http.write(format!("{head}{chunks}").as_bytes()).await;
        assert_eq!(http.response().await.expect("an answer").status, 400);
    }
    client.expect_silence().await;
}

async fn an_invitation_is_given_once_and_not_to_what_is_refused(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let head =
        format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Expect: 100-Continue\r\n");
    let body = "{\"uid\":\"u\",\"text\":\"hi\"}";
    let mut http = Http::dial(address).await;
    http.write(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes())
        .await;
    assert_eq!(
        http.head_response().await.expect("an invitation").status,
        100
    );
    http.write(body.as_bytes()).await;
    assert_eq!(http.response().await.expect("an answer").status, 200);
    // A body that is there needs none.
    http.write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
        .await;
    assert_eq!(http.response().await.expect("an answer").status, 200);
}

async fn json_two_hundred_thousand_levels_deep_is_refused(cores: usize) {
    let server = Server::with(cores, &[("HTTP_BODY_BYTES_MAX", "8 MiB")]).await;
    let address = server.address("http", "page");
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let arrays = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let objects = format!("{}1{}", "{\"uid\":".repeat(200_000), "}".repeat(200_000));
    let hostile = async {
        for body in [
            format!("{{\"uid\":{arrays},\"text\":\"x\"}}"),
            format!("{{\"uid\":\"{uid}\",\"text\":{objects}}}"),
            format!("{{\"uid\":\"{uid}\",\"text\":\"x\",\"more\":{arrays}}}"),
            arrays.clone(),
            objects.clone(),
            "[".repeat(1_000_000),
            "{\"uid\":1e999,\"text\":\"x\"}".to_owned(),
            "{\"uid\":\"\\ud800\",\"text\":\"x\"}".to_owned(),
            format!("{{\"uid\":\"{uid}\",\"text\":\"\\ud800\"}}"),
            format!("{{\"uid\":\"{uid}\",\"text\":\"\0\"}}"),
            format!("{{\"uid\":\"{uid}\\u0000\",\"text\":\"x\"}}"),
            format!("{{\"uid\":\"{uid}\",\"uid\":\"{uid}\",\"text\":\"x\"}}"),
            format!("{{\"{}\":1}}", "\u{e9}".repeat(1_000_000)),
        ] {
            let response = post(address, "/v1/push", JSON, &body).await;
            let start: String = body.chars().take(40).collect();
            assert_eq!(response.status, 400, "{start}…: {response:?}");
            assert!(response.body.len() < 1_000, "{start}…: {response:?}");
        }
    };
    server.served_meanwhile(hostile).await;
    client.expect_silence().await;
}

async fn what_is_announced_and_not_sent_is_not_kept(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let (before, memory) = (server.holdings().await, server.memory());
    let mut waiting = Vec::new();
    for n in 0..200 {
        let mut http = Http::dial(address).await;
        let framing = match n % 2 {
            0 => "Content-Length: 1048576\r\n\r\n{",
            _ => "Transfer-Encoding: chunked\r\n\r\n100000\r\n{",
        };
        let request = format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}{framing}");
        http.write(request.as_bytes()).await;
        waiting.push(http);
    }
    let body = "{\"uid\":\"u\",\"text\":\"hi\"}";
    assert_eq!(post(address, "/v1/push", JSON, body).await.status, 200);
    // Each has a task and the buffer that it reads into.
    server.expect_memory(memory, 5 << 20);
    drop(waiting);
    server.wait_holdings(before).await;
}

async fn one_that_goes_on_sending_after_its_refusal_is_cut_off(cores: usize) {
    for driver in ["auto", "epoll"] {
        let server = Server::with(cores, &[("DRIVER", driver)]).await;
        let address = server.address("http", "page");
        let (before, memory) = (server.holdings().await, server.memory());
        let mut raw = Raw::dial(address).await;
        let head = format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}");
        raw.write(format!("{head}Content-Length: 10737418240\r\n\r\n").as_bytes())
            .await;
        let flood = async {
            let start = Instant::now();
            let chunk = [b'x'; 64 << 10];
            while let Ok(Ok(())) = timeout(PATIENCE, raw.socket.write_all(&chunk)).await {
                // By what it sends: the deadline is later.
                let late = start.elapsed() > Duration::from_secs(6);
                assert!(!late, "{driver}: it is read without end");
            }
        };
        server.served_meanwhile(flood).await;
        server.expect_memory(memory, 1 << 20);
        server.wait_holdings(before).await;
    }
}
