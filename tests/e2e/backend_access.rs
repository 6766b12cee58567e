//! Who may speak to the back end's port: loopback alone without a token, its bearer with one, and no
//! browser ever.

use std::time::{Duration, Instant};

use crate::client::{Client, Got};
use crate::on_cores;
use crate::seed;
use crate::server::Server;

const TOKEN: &str = "a-long-and-secret-token";

/// Everything that comes until the end, or until nothing more does.
async fn all_answers(client: &mut Client) -> (Vec<String>, bool) {
    let mut answers = Vec::new();
    loop {
        match client.next_within(Duration::from_secs(2)).await {
            Some(Got::Text(answer)) => answers.push(answer),
            Some(Got::End(_)) => return (answers, true),
            Some(other) => panic!("unexpected {other:?}"),
            None => return (answers, false),
        }
    }
}

on_cores! {
    a_request_line_of_http_closes,
    with_a_token_the_first_line_must_be_it,
    without_the_token_nothing_is_done,
    with_a_token_it_may_listen_beyond_loopback,
    strangers_who_never_show_the_token_keep_nobody_out,
}

async fn a_request_line_of_http_closes(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    for method in [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ] {
        let mut browser = server.backend().await;
        // As a page would try it: the push is in the body.
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n\
             {{\"uid\":\"{uid}\"}}\r\nkick {uid}\r\n"
        );
        browser.send_bytes(request.as_bytes()).await;
        let (answers, ended) = all_answers(&mut browser).await;
        assert!(ended, "{method} did not close");
        assert!(
            !answers.iter().any(|answer| answer == "ok"),
            "{method} pushed: {answers:?}"
        );
    }
    client.expect_silence().await;
}

async fn with_a_token_the_first_line_must_be_it(cores: usize) {
    let server = Server::with(cores, &[("BACKEND_TOKEN", TOKEN)]).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    let mut backend = server.backend().await;
    assert_eq!(backend.ask(&format!("auth {TOKEN}")).await, "ok");
    assert_eq!(backend.ask(&format!("online {uid}")).await, "ok");
    let line = format!("{{\"uid\":\"{uid}\"}}");
    assert_eq!(backend.ask(&line).await, "ok");
    client.expect(&line).await;
}

async fn without_the_token_nothing_is_done(cores: usize) {
    let server = Server::with(cores, &[("BACKEND_TOKEN", TOKEN)]).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    let short = &TOKEN[..TOKEN.len() - 1];
    for first in [
        format!("online {uid}"),
        format!("auth {short}"),
        format!("auth {TOKEN}x"),
        "auth wrong".to_owned(),
        "auth ".to_owned(),
        "auth".to_owned(),
        TOKEN.to_owned(),
        String::new(),
    ] {
        let mut backend = server.backend().await;
        let lines = format!("{first}\n{{\"uid\":\"{uid}\"}}\nkick {uid}\nauth {TOKEN}\nstats\n");
        backend.send_bytes(lines.as_bytes()).await;
        let (answers, ended) = all_answers(&mut backend).await;
        assert!(ended, "{first:?} leaves the connection open");
        assert!(
            answers.iter().all(|answer| answer.starts_with("fail: ")),
            "{first:?}: {answers:?}"
        );
    }
    client.expect_silence().await;
}

async fn with_a_token_it_may_listen_beyond_loopback(cores: usize) {
    let listeners = [
        "text://0.0.0.0:0=push-backend",
        "websocket://127.0.0.1:0=push",
    ];
    let server = Server::on(cores, &[("BACKEND_TOKEN", TOKEN)], &listeners).await;
    let mut address = server.address("text", "push-backend");
    address.set_ip([127, 0, 0, 1].into());
    let mut backend = Client::connect("text", address).await;
    assert_eq!(backend.ask(&format!("auth {TOKEN}")).await, "ok");
    assert_eq!(backend.ask("online nobody").await, "fail");
}

async fn strangers_who_never_show_the_token_keep_nobody_out(cores: usize) {
    let settings = [
        ("BACKEND_TOKEN", TOKEN),
        ("BACKEND_CONNECTIONS_MAX", "3"),
        ("LOGIN_TIMEOUT", "1s"),
    ];
    let server = Server::with(cores, &settings).await;
    let auth = format!("auth {TOKEN}");
    let mut backend = server.backend().await;
    assert_eq!(backend.ask(&auth).await, "ok");
    let mut silent = server.backend().await;
    let mut half = server.backend().await;
    half.send_bytes(b"auth a-long").await;
    let start = Instant::now();
    let mut stranger = server.backend().await;
    assert!(matches!(stranger.next().await, Got::End(_)));
    for stranger in [&mut silent, &mut half] {
        assert!(matches!(stranger.next().await, Got::End(_)));
        let lived = start.elapsed();
        assert!(lived > Duration::from_millis(500), "closed after {lived:?}");
        assert!(lived < Duration::from_secs(6), "closed after {lived:?}");
    }
    drop((silent, half));
    let mut other = loop {
        let mut other = server.backend().await;
        if other.try_send(&auth).await.is_ok() && other.next().await == Got::Text("ok".into()) {
            break other;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "nobody gets in");
    };
    // Who has shown it may be silent for as long as it likes.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let stats = backend.ask("stats").await;
    assert!(stats.contains("\"login timeout\":"), "{stats}");
    assert_eq!(other.ask("online nobody").await, "fail");
}
