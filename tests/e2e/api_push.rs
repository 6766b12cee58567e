//! The HTTP API: push, broadcast, kick.

use std::time::Duration;

use serde_json::json;

use tokio::time::sleep;

use crate::api::{asked, error, number, told};
use crate::http::post;
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    each_uid_has_its_verdict,
    a_byte_order_mark_before_a_body_is_passed_over,
    data_arrives_as_it_is_written,
    everybody_is_reached,
    a_kick_closes_every_connection,
    a_message_that_no_outbox_holds_closes_nobody,
    what_is_pushed_before_a_kick_arrives_after_a_quiet_time,
    lines_count_more_for_events,
    a_page_behind_a_proxy_is_its_own,
    ten_thousand_uids_in_one_push,
    requests_that_cannot_be,
}

async fn a_byte_order_mark_before_a_body_is_passed_over(cores: usize) {
    let server = Server::start(cores).await;
    let page = server.address("http", "page");
    let body = "\u{feff}{\"uid\":\"tom\",\"text\":\"x\"}";
    let lines = "Content-Type: application/json\r\n";
    let answer = post(page, "/v1/push", lines, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["verdicts"]["tom"], "offline");
}

pub async fn each_uid_has_its_verdict(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 6);
    let mut first = server.push("ws", &uids[0]).await;
    let mut again = server.relay("text", &uids[0]).await;
    let mut other = server.push("frame", &uids[1]).await;
    for uid in &uids[..2] {
        server.wait_online(uid).await;
    }
    while server.count("bound").await < 3 {
        tokio::task::yield_now().await;
    }
    let body = json!({"uids": uids, "text": "hello"}).to_string();
    let answer = told(&server, "/v1/push", &body).await;
    assert_eq!(answer["connections"], 3, "{answer}");
    for (nth, uid) in uids.iter().enumerate() {
        let verdict = if nth < 2 { "delivered" } else { "offline" };
        assert_eq!(answer["verdicts"][uid], verdict, "{answer}");
    }
    assert_eq!(answer["verdicts"].as_object().map(|all| all.len()), Some(6));
    let text = json!({"uid": uids[1], "text": "for one"}).to_string();
    let one = told(&server, "/v1/push", &text).await;
    assert_eq!(
        one,
        json!({"verdicts": {&uids[1]: "delivered"}, "connections": 1})
    );
    // One that comes twice gets one message.
    let twice = json!({"uids": [uids[1], uids[1]], "text": "once"}).to_string();
    assert_eq!(told(&server, "/v1/push", &twice).await["connections"], 1);
    for client in [&mut first, &mut again, &mut other] {
        client.expect("hello").await;
    }
    other.expect("for one").await;
    other.expect("once").await;
    other.expect_silence().await;
}

async fn data_arrives_as_it_is_written(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "7").await;
    for (data, arrives) in [
        ("null", "null"),
        ("1e999", "1e999"),
        ("0.10000000000000000000001", "0.10000000000000000000001"),
        (
            " { \"z\" : [ 1 , { } ] ,\n\"a\": \"x y\" }",
            "{\"z\":[1,{}],\"a\":\"x y\"}",
        ),
        ("\"grüße \\ud83d\\ude00\"", "\"grüße \\ud83d\\ude00\""),
    ] {
        let body = format!("{{\"uid\":7,\"data\":{data}}}");
        assert_eq!(
            told(&server, "/v1/push", &body).await["verdicts"]["7"],
            "delivered"
        );
        client.expect(arrives).await;
    }
    for text in ["", " as it is\n", "\u{0}", "{ \"a\" : 1 }"] {
        let body = json!({"uid": "7", "text": text}).to_string();
        told(&server, "/v1/push", &body).await;
        client.expect(text).await;
    }
}

async fn everybody_is_reached(cores: usize) {
    let server = Server::start(cores).await;
    let mut clients = Vec::new();
    for uid in seed::uids(&mut seed::rng(), 6) {
        clients.push(server.push("ws", &uid).await);
    }
    let mut room = server.chat("Tom").await;
    while server.count("bound").await < 7 {
        tokio::task::yield_now().await;
    }
    let answer = told(&server, "/v1/broadcast", r#"{"data":{"at":"noon"}}"#).await;
    assert_eq!(answer, json!({"connections": 6}));
    let answer = told(&server, "/v1/push", r#"{"uid":"all","text":"again"}"#).await;
    assert_eq!(
        answer,
        json!({"verdicts": {"all": "delivered"}, "connections": 6})
    );
    for client in &mut clients {
        client.expect(r#"{"at":"noon"}"#).await;
        client.expect("again").await;
    }
    // A chat is a namespace of its own.
    room.expect_start("users:").await;
    room.expect_silence().await;
}

pub async fn a_kick_closes_every_connection(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut one = server.push("ws", &uid).await;
    let mut two = server.relay("ws", &uid).await;
    while server.count("bound").await < 2 {
        tokio::task::yield_now().await;
    }
    let body = json!({"uid": uid}).to_string();
    assert_eq!(
        told(&server, "/v1/kick", &body).await,
        json!({"connections": 2})
    );
    one.expect_end(4007).await;
    two.expect_end(4007).await;
    assert_eq!(
        told(&server, "/v1/kick", &body).await,
        json!({"connections": 0})
    );
    let all = asked(&server, "/v1/kick", r#"{"uid":"all"}"#).await;
    assert_eq!(error(&all), (400, "bad_uid".into()));
}

async fn a_message_that_no_outbox_holds_closes_nobody(cores: usize) {
    const MOST: usize = (1 << 20) - 42;
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "big").await;
    for (bytes, status) in [(MOST, 200), (MOST + 1, 413), (3 << 20, 413)] {
        let text = "x".repeat(bytes);
        let body = json!({"uid": "big", "text": text}).to_string();
        let response = asked(&server, "/v1/push", &body).await;
        assert_eq!(response.status, status, "{bytes}: {}", response.body);
        if status == 200 {
            client.expect(&text).await;
        } else {
            assert_eq!(error(&response).1, "message_too_large");
        }
    }
    client.expect_silence().await;
}

/// A core that has long had nothing to do must not take what it closes for closed since then.
async fn what_is_pushed_before_a_kick_arrives_after_a_quiet_time(cores: usize) {
    let server = Server::with(cores, &[("CLOSE_TIMEOUT", "150ms")]).await;
    for round in 0..4 {
        let uid = format!("u{round}");
        let mut client = server.push("ws", &uid).await;
        server.wait_online(&uid).await;
        sleep(Duration::from_millis(700)).await;
        let batch = json!([{"push": {"uid": uid, "text": "last"}}, {"kick": {"uid": uid}}]);
        let answer = told(&server, "/v1/batch", &batch.to_string()).await;
        assert_eq!(answer["answers"][0]["verdicts"][&uid], "delivered");
        client.expect("last").await;
        client.expect_end(4007).await;
    }
}

/// What no outbox holds as events is refused, and closes nobody.
async fn lines_count_more_for_events(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "lines").await;
    server.wait_online("lines").await;
    let text = "\n".repeat(200_000);
    let body = json!({"uid": "lines", "text": text}).to_string();
    let response = asked(&server, "/v1/push", &body).await;
    assert_eq!(error(&response), (413, "message_too_large".into()));
    let text = "\n".repeat(100_000);
    let body = json!({"uid": "lines", "text": text}).to_string();
    assert_eq!(told(&server, "/v1/push", &body).await["connections"], 1);
    client.expect(&text).await;
}

/// TLS is taken off on the way, and the page says where it comes from.
async fn a_page_behind_a_proxy_is_its_own(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    for (origin, status) in [
        (format!("https://{address}"), 200),
        (format!("http://{address}"), 200),
        ("https://evil.example".to_owned(), 403),
    ] {
        let fields = format!("Origin: {origin}\r\nContent-Type: application/json\r\n");
        let answer = post(address, "/v1/push", &fields, r#"{"uid":"u","text":"x"}"#).await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

async fn ten_thousand_uids_in_one_push(cores: usize) {
    let server = Server::start(cores).await;
    let mut clients = Vec::new();
    for number in [0, 511, 512, 9_999] {
        clients.push(server.push("ws", &format!("u{number}")).await);
    }
    while server.count("bound").await < 4 {
        tokio::task::yield_now().await;
    }
    let body = |count: usize, text: &str| {
        let uids: Vec<String> = (0..count).map(|number| format!("u{number}")).collect();
        json!({"uids": uids, "text": text}).to_string()
    };
    // A small one, which each gets of its own, and one that they share.
    for text in ["hello".to_owned(), "x".repeat(100_000)] {
        let answer = told(&server, "/v1/push", &body(10_000, &text)).await;
        assert_eq!(answer["connections"], 4);
        let verdicts = answer["verdicts"].as_object().expect("verdicts");
        assert_eq!(verdicts.len(), 10_000);
        let delivered = verdicts
            .iter()
            .filter(|(_, verdict)| *verdict == "delivered");
        let mut delivered: Vec<&str> = delivered.map(|(uid, _)| uid.as_str()).collect();
        delivered.sort_unstable();
        assert_eq!(delivered, ["u0", "u511", "u512", "u9999"]);
        for client in &mut clients {
            client.expect(&text).await;
        }
    }
    let many = asked(&server, "/v1/push", &body(10_001, "no")).await;
    assert_eq!(error(&many), (400, "bad_request".into()));
    clients[0].expect_silence().await;
    assert_eq!(
        number(&told(&server, "/v1/push", &body(0, "x")).await["connections"]),
        0
    );
}

async fn requests_that_cannot_be(cores: usize) {
    let server = Server::start(cores).await;
    for (path, body, code) in [
        (
            "/v1/push",
            "{\"uid\":\"u\",\"text\":\"x\",\"more\":1}",
            "bad_request",
        ),
        (
            "/v1/push",
            "{\"uid\":\"u\",\"group\":\"g\",\"text\":\"x\"}",
            "bad_request",
        ),
        ("/v1/push", "{\"uid\":\"a\\nb\",\"text\":\"x\"}", "bad_uid"),
        (
            "/v1/push",
            "{\"uids\":[\"a\",\"all\"],\"text\":\"x\"}",
            "bad_uid",
        ),
        (
            "/v1/push",
            "{\"group\":\"all\",\"text\":\"x\"}",
            "bad_group",
        ),
        (
            "/v1/push",
            "{\"uid\":\"u\",\"text\":\"x\",\"id\":\"\"}",
            "bad_id",
        ),
        (
            "/v1/broadcast",
            "{\"uid\":\"u\",\"text\":\"x\"}",
            "bad_request",
        ),
        ("/v1/broadcast", "{}", "bad_request"),
        ("/v1/kick", "{}", "bad_request"),
        ("/v1/groups/all/join", "{\"uid\":\"u\"}", "bad_group"),
        ("/v1/groups/%/join", "{\"uid\":\"u\"}", "bad_group"),
        ("/v1/groups/g/join", "{\"uid\":\"\"}", "bad_uid"),
        ("/v1/batch", "{}", "bad_request"),
    ] {
        let response = asked(&server, path, body).await;
        assert_eq!(error(&response), (400, code.into()), "{path} {body}");
    }
}
