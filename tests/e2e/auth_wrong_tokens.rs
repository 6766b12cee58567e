//! Wrong tokens of back ends: told after a pause, however many come at once, and right ones are never kept waiting.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::http::{get, post};
use crate::on_cores;
use crate::server::Server;

on_cores! {
    a_wrong_token_on_the_text_port_is_answered_after_a_pause,
    a_wrong_token_over_http_is_answered_after_a_pause,
    whoever_tries_keeps_no_back_end_out,
}

const TOKEN: &str = "0123456789abcdef";
const PAUSE: Duration = Duration::from_secs(1);
const JSON: &str = "Content-Type: application/json\r\n";
const BODY: &str = r#"{"uid":"tom","text":"hello"}"#;

async fn server(cores: usize) -> Server {
    Server::with(cores, &[("BACKEND_TOKEN", TOKEN)]).await
}

async fn a_wrong_token_on_the_text_port_is_answered_after_a_pause(cores: usize) {
    let server = server(cores).await;
    let mut backend = server.connect("text", "push-backend").await;
    let start = Instant::now();
    // What comes behind it is no second try, not even if it is right.
    backend.send("auth fedcba9876543210").await;
    backend.send(&format!("auth {TOKEN}")).await;
    backend.send("{\"uid\":\"tom\"}").await;
    backend.expect("fail: wrong token").await;
    assert!(start.elapsed() >= PAUSE, "{:?}", start.elapsed());
    backend.expect_end(1008).await;
    server.wait_log(&["WARN", "wrong token", "127.0.0.1"]).await;
    // One that goes meanwhile leaves nothing behind.
    let mut backend = server.connect("text", "push-backend").await;
    backend.send("auth fedcba9876543210").await;
    drop(backend);
    let mut backend = server.connect("text", "push-backend").await;
    assert_eq!(backend.ask(&format!("auth {TOKEN}")).await, "ok");
    assert!(!server.log().contains("fedcba") && !server.log().contains(TOKEN));
}

async fn a_wrong_token_over_http_is_answered_after_a_pause(cores: usize) {
    let server = server(cores).await;
    let page = server.address("http", "page");
    for (token, status, pauses) in [("fedcba9876543210", 401, true), (TOKEN, 200, false)] {
        let start = Instant::now();
        let field = format!("Authorization: Bearer {token}\r\n{JSON}");
        let answer = post(page, "/v1/push", &field, BODY).await;
        assert_eq!(answer.status, status);
        if pauses {
            assert!(start.elapsed() >= PAUSE, "{:?}", start.elapsed());
        }
    }
    // Who shows none is told at once that one is needed, and who is no back end is not looked at.
    assert_eq!(get(page, "/metrics").await.status, 401);
    assert_eq!(get(page, "/healthz").await.status, 200);
    server.wait_log(&["WARN", "wrong token"]).await;
}

async fn whoever_tries_keeps_no_back_end_out(cores: usize) {
    let server = server(cores).await;
    let (text, page) = (
        server.address("text", "push-backend"),
        server.address("http", "page"),
    );
    let field = format!("Authorization: Bearer fedcba9876543210\r\n{JSON}");
    let mut guesses = Vec::new();
    for n in 0..60 {
        let field = field.clone();
        guesses.push(tokio::spawn(async move {
            if n % 2 == 0 {
                let mut backend = Client::connect("text", text).await;
                backend.send("auth fedcba9876543210").await;
                backend.expect("fail: wrong token").await;
            } else {
                let answer = post(page, "/v1/push", &field, BODY).await;
                assert_eq!(answer.status, 401);
            }
        }));
    }
    // From the same address, amid them.
    for _ in 0..5 {
        let mut backend = server.connect("text", "push-backend").await;
        assert_eq!(backend.ask(&format!("auth {TOKEN}")).await, "ok");
        assert_eq!(backend.ask("online tom").await, "fail");
        let field = format!("Authorization: Bearer {TOKEN}\r\n{JSON}");
        assert_eq!(post(page, "/v1/push", &field, BODY).await.status, 200);
    }
    for guess in guesses {
        guess.await.expect("each is answered");
    }
}
