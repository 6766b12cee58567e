//! The HTTP API: batches, pipelines, and bodies that are meant to hurt.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{asked, error, told};
use crate::http::{Http, JSON, get};
use crate::on_cores;
use crate::server::Server;

on_cores! {
    ten_thousand_pushes_in_one_batch,
    a_batch_is_done_in_order_and_its_errors_are_in_place,
    what_is_no_batch_does_nothing,
    requests_may_be_pipelined,
    hostile_bodies_hold_up_nobody,
}

async fn ten_thousand_pushes_in_one_batch(cores: usize) {
    let server = Server::start(cores).await;
    let mut clients = Vec::new();
    for number in 0..10 {
        clients.push(server.push("ws", &format!("u{number}")).await);
    }
    while server.count("bound").await < 10 {
        tokio::task::yield_now().await;
    }
    let push = |n: usize| json!({"push": {"uid": format!("u{}", n % 11), "text": n.to_string()}});
    let batch = |count: usize| Value::from((0..count).map(push).collect::<Vec<_>>()).to_string();
    let body = batch(10_000);
    let reading = clients
        .iter_mut()
        .enumerate()
        .map(|(uid, client)| async move {
            for n in (uid..10_000).step_by(11) {
                client.expect(&n.to_string()).await;
            }
        });
    let (answer, _) = tokio::join!(
        told(&server, "/v1/batch", &body),
        futures_util::future::join_all(reading)
    );
    let answers = answer["answers"].as_array().expect("answers");
    assert_eq!(answers.len(), 10_000);
    for (n, answer) in answers.iter().enumerate() {
        let uid = format!("u{}", n % 11);
        let (verdict, connections) = match n % 11 {
            10 => ("offline", 0),
            _ => ("delivered", 1),
        };
        assert_eq!(
            *answer,
            json!({"verdicts": {uid: verdict}, "connections": connections})
        );
    }
    let response = asked(&server, "/v1/batch", &batch(10_001)).await;
    assert_eq!(error(&response), (400, "too_many".into()));
    for client in &mut clients {
        client.expect_silence().await;
    }
}

async fn a_batch_is_done_in_order_and_its_errors_are_in_place(cores: usize) {
    let server = Server::start(cores).await;
    let mut tom = server.push("ws", "tom").await;
    let mut ann = server.push("ws", "ann").await;
    while server.count("bound").await < 2 {
        tokio::task::yield_now().await;
    }
    let batch = json!([
        {"push": {"uid": "tom", "text": "1"}},
        {"join": {"group": "g", "uid": "tom"}},
        {"push": {"group": "g", "text": "2"}},
        {"push": {"uid": "", "text": "no"}},
        {"fly": {}},
        {"push": {"uids": ["tom", "ann", "eve"], "data": [3]}},
        {"broadcast": {"text": "4"}},
        {"leave": {"group": "g", "uid": "tom"}},
        {"push": {"group": "g", "text": "no"}},
        {"kick": {"uid": "tom"}},
        {"push": {"uid": "tom", "text": "no"}},
    ]);
    let answer = told(&server, "/v1/batch", &batch.to_string()).await;
    let answers = answer["answers"].as_array().expect("answers").clone();
    assert_eq!(answers[1], json!({"connections": 1, "refused": 0}));
    assert_eq!(answers[2], json!({"connections": 1}));
    assert_eq!(answers[3]["error"]["code"], "bad_uid");
    assert_eq!(answers[4]["error"]["code"], "bad_request");
    let verdicts = json!({"tom": "delivered", "ann": "delivered", "eve": "offline"});
    assert_eq!(answers[5], json!({"verdicts": verdicts, "connections": 2}));
    assert_eq!(answers[6], json!({"connections": 2}));
    assert_eq!(answers[7], json!({"connections": 1}));
    assert_eq!(answers[8], json!({"connections": 0}));
    assert_eq!(answers[9], json!({"connections": 1}));
    assert_eq!(answers[10]["verdicts"]["tom"], "offline");
    for text in ["1", "2", "[3]", "4"] {
        tom.expect(text).await;
    }
    tom.expect_end(4007).await;
    for text in ["[3]", "4"] {
        ann.expect(text).await;
    }
    ann.expect_silence().await;
}

async fn what_is_no_batch_does_nothing(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    let push = r#"{"push":{"uid":"tom","text":"no"}}"#;
    for body in [
        format!("[{push},{push}"),
        format!("[{push},]"),
        format!("[{push}] x"),
        format!("[{push},{{\"push\":]"),
        push.to_owned(),
        format!("[{push} {push}]"),
    ] {
        let response = asked(&server, "/v1/batch", &body).await;
        assert_eq!(error(&response), (400, "bad_request".into()), "{body}");
    }
    client.expect_silence().await;
    assert_eq!(
        told(&server, "/v1/batch", " [ ] ").await,
        json!({"answers": []})
    );
}

async fn requests_may_be_pipelined(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let mut client = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    let mut http = Http::dial(address).await;
    for number in 0..50 {
        let body = format!("{{\"uid\":\"tom\",\"data\":{number}}}");
        let length = body.len();
        let request = format!(
            "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: {length}\r\n\r\n{body}\
             GET /v1/uids/tom HTTP/1.1\r\nHost: {address}\r\n\r\n"
        );
        http.write(request.as_bytes()).await;
    }
    for _ in 0..50 {
        let pushed = http.response().await.expect("an answer").json();
        assert_eq!(pushed["verdicts"]["tom"], "delivered");
        assert_eq!(
            http.response().await.expect("an answer").json()["uid"],
            "tom"
        );
    }
    for number in 0..50 {
        client.expect(&number.to_string()).await;
    }
}

/// For a body that is refused: processor time of a server that is not optimized.
const WORK_MAX: Duration = Duration::from_secs(10);

async fn hostile_bodies_hold_up_nobody(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let most = (4 << 20) - 100;
    let many = |piece: &str, bytes: usize| {
        let pieces = vec![piece; bytes / (piece.len() + 1)];
        pieces.join(",")
    };
    for (path, body) in [
        ("/v1/push", "[".repeat(most)),
        (
            "/v1/push",
            format!("{{\"uid\":\"u\",\"data\":{}", "[".repeat(most)),
        ),
        (
            "/v1/push",
            format!(
                "{{\"uid\":\"u\",\"data\":{}{}}}",
                "[".repeat(most / 2),
                "]".repeat(most / 2)
            ),
        ),
        (
            "/v1/push",
            format!("{{\"uids\":[{}],\"text\":\"x\"}}", many("\"u\"", most)),
        ),
        ("/v1/push", format!("{{\"uids\":[{}]}}", many("7", most))),
        ("/v1/push", format!("{{\"{}\":1}}", "x".repeat(most))),
        (
            "/v1/push",
            format!("{{\"uid\":\"{}\"}}", "\\u0061".repeat(most / 6 - 10)),
        ),
        ("/v1/push", "\u{1}".repeat(most)),
        ("/v1/batch", "[".repeat(most)),
        ("/v1/batch", format!("[{}]", many("[]", most))),
        ("/v1/batch", format!("[{}]", many("", most / 2))),
        ("/v1/batch", "\"".repeat(most)),
        (
            "/v1/batch",
            format!(
                "[{{\"push\":{{\"uid\":\"u\",\"data\":{}",
                "{\"a\":".repeat(most / 6)
            ),
        ),
    ] {
        let began = server.cpu_time();
        let beside = async {
            let mut longest = Duration::ZERO;
            for _ in 0..5 {
                let began = server.cpu_time();
                assert_eq!(get(address, "/healthz").await.status, 200);
                longest = longest.max(server.cpu_time() - began);
            }
            longest
        };
        let (response, longest) = tokio::join!(asked(&server, path, &body), beside);
        let start: String = body.chars().take(30).collect();
        assert_eq!(error(&response).0, 400, "{path} {start}");
        // Far from what one that is quadratic would take: hours.
        let spent = server.cpu_time() - began;
        assert!(spent < WORK_MAX, "{path} {start}: {spent:?}");
        assert!(longest < WORK_MAX / 2, "{path} {start}: {longest:?}");
    }
    // As many uids as fit, most of them twice: refused for their number alone.
    let uids: Vec<String> = (0..9_000).map(|n| n.to_string()).collect();
    let push = json!({"push": {"uids": uids, "text": "x"}}).to_string();
    let body = format!("[{}]", many(&push, 900_000));
    let began = server.cpu_time();
    let response = asked(&server, "/v1/batch", &body).await;
    assert_eq!(response.json()["error"]["code"], "too_many");
    let spent = server.cpu_time() - began;
    assert!(spent < 2 * WORK_MAX, "{spent:?}");
}
