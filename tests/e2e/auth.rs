//! Clients that have to prove who they are: by each way a token can come, in each app, and what is refused.

use std::time::{Duration, Instant};

use crate::client::{Client, SILENCE};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, request};
use crate::seed;
use crate::server::Server;
use crate::tokens::{
    CARRIERS, Carrier, File, OTHER, SECRET, in_seconds, open, server, sign, token,
};

on_cores! {
    each_way_of_a_token_proves_a_uid,
    a_uid_of_any_script_can_be_proved,
    a_bare_claim_is_refused_in_each_app,
    bad_tokens_are_refused_however_they_come,
    a_proof_of_one_uid_never_binds_another,
    in_chat_the_uid_is_the_name,
    without_a_proof_nothing_is_received,
    a_token_is_never_answered,
    whoever_says_nothing_runs_into_the_login_timeout,
    origins_that_say_nothing_must_be_listed,
    what_binds_no_uid_needs_no_proof,
    more_than_one_token_is_a_mistake,
    hostile_tokens_cost_little,
    without_auth_a_token_is_ignored,
}

async fn each_way_of_a_token_proves_a_uid(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    for carrier in CARRIERS {
        for uid in seed::uids(&mut seed::rng(), 4) {
            let mut client = carrier
                .connect(&server, "relay", &token(&uid))
                .await
                .expect("101");
            let welcome = format!("login success, your uid is {uid}");
            client.expect(&welcome).await;
            client.send(&format!("{uid}:to myself")).await;
            client.expect("to myself").await;
            let uid = format!("{uid}-push");
            let mut client = carrier
                .connect(&server, "push", &token(&uid))
                .await
                .expect("101");
            server.wait_online(&uid).await;
            let line = format!("{{\"uid\":\"{uid}\"}}");
            assert_eq!(server.backend().await.ask(&line).await, "ok");
            client.expect(&line).await;
        }
    }
}

async fn a_uid_of_any_script_can_be_proved(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    for uid in ["a.b.c", "1.2", "李雷", "a b\"c\\", &"ü".repeat(64)] {
        let carrier = Carrier::Subprotocol;
        let mut client = carrier
            .connect(&server, "relay", &token(uid))
            .await
            .expect("101");
        client
            .expect(&format!("login success, your uid is {uid}"))
            .await;
    }
}

async fn a_bare_claim_is_refused_in_each_app(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let mut refused = 0;
    for (app, claim) in [("relay", "tom"), ("push", "tom"), ("chat", "login:Tom")] {
        for scheme in ["ws", "text", "frame"] {
            if (app, scheme) == ("chat", "frame") {
                continue;
            }
            for claim in [claim, "", "auth ", "auth tom", "all", "a.b.c"] {
                let mut client = open(server.address(scheme, app), scheme).await;
                client.send(claim).await;
                client.send("tom:hello").await;
                let answers = client.drain_to_end(4006).await;
                match app {
                    "relay" => assert!(answers[0].starts_with("error: "), "{answers:?}"),
                    "chat" => assert!(answers[0].starts_with("notice:error "), "{answers:?}"),
                    _ => assert!(answers.is_empty(), "{answers:?}"),
                }
                refused += 1;
            }
        }
    }
    server.wait_closed("bad login", refused).await;
    assert_eq!(server.count("uids").await, 0);
    for why in ["this is not a token", "a token is needed here"] {
        server
            .wait_log(&["INFO", "a bind was refused: ", why, "127.0.0.1"])
            .await;
    }
}

/// Tokens that prove nothing, and the code that a first message with them ends with.
fn bad_tokens() -> Vec<(String, u16)> {
    let good = token("tom");
    let (claim, mac) = good.rsplit_once('.').expect("dots");
    let (uid, expiry) = claim.split_once('.').expect("a dot");
    let later = in_seconds(600);
    vec![
        (sign(SECRET, "tom", in_seconds(-1)), 4008),
        (sign(SECRET, "tom", 0), 4008),
        (sign(OTHER, "tom", later), 4006),
        (sign("", "tom", later), 4006),
        (sign(SECRET, "all", later), 4006),
        (sign(SECRET, "", later), 4006),
        (sign(SECRET, "tab\there", later), 4006),
        (sign(SECRET, &"x".repeat(129), later), 4006),
        (format!("{uid}.{}.{mac}", later + 1), 4006),
        (format!("YW5u.{expiry}.{mac}"), 4006),
        (format!("{uid}.{expiry}."), 4006),
        (format!("{uid}.{expiry}.{}", &mac[1..]), 4006),
        (format!("{good}A"), 4006),
        (format!("{uid}..{expiry}.{mac}"), 4006),
        (
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0b20iLCJleHAiOjQwMDAwMDAwMDB9.".to_owned(),
            4006,
        ),
        ("tom".to_owned(), 4006),
        ("..".to_owned(), 4006),
        (format!("{uid}.{expiry}.{}", "A".repeat(5_000)), 4006),
    ]
}

async fn bad_tokens_are_refused_however_they_come(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    for carrier in CARRIERS {
        for (token, code) in bad_tokens() {
            match carrier.connect(&server, "push", &token).await {
                Ok(mut client) => {
                    assert_ne!(carrier.scheme(), "", "{carrier:?} let {token:?} in");
                    client.expect_end(code).await;
                }
                Err(status) => assert_eq!(status, 401, "{carrier:?} {token:?}"),
            }
        }
    }
    assert_eq!(server.count("uids").await, 0);
    let each = CARRIERS.len() as u64;
    let (expired, all) = (2 * each, bad_tokens().len() as u64 * each);
    server.wait_closed("authorization expired", expired).await;
    server.wait_closed("bad login", all - expired).await;
    server
        .wait_log(&["a connection was refused", "token"])
        .await;
}

async fn a_proof_of_one_uid_never_binds_another(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let mut backend = server.backend().await;
    for carrier in CARRIERS {
        let mut tom = carrier
            .connect(&server, "relay", &token("tom"))
            .await
            .expect("101");
        tom.expect("login success, your uid is tom").await;
        // As the pattern's clients would log in.
        tom.send("ann").await;
        tom.expect_start("error: ").await;
        assert_eq!(backend.ask("online ann").await, "fail");
        // A proof of another uid on the same connection ends it.
        tom.send(&format!("auth {}", token("ann"))).await;
        tom.expect_end(4006).await;
        assert_eq!(backend.ask("online ann").await, "fail");
        let mut push = carrier
            .connect(&server, "push", &token("tom"))
            .await
            .expect("101");
        server.wait_online("tom").await;
        push.send("ann").await;
        push.expect_silence().await;
        assert_eq!(backend.ask("online ann").await, "fail");
        drop(push);
        server.wait_offline("tom").await;
    }
}

async fn in_chat_the_uid_is_the_name(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    for (carrier, app) in [(Carrier::Query, "chat"), (Carrier::Message("text"), "chat")] {
        let mut tom = carrier
            .connect(&server, app, &token("Tom"))
            .await
            .expect("101");
        tom.expect("notice:success").await;
        tom.expect("msg:welcome Tom").await;
        tom.expect_start("users:{").await;
        tom.send("login:Ann").await;
        tom.expect_start("notice:error second login").await;
        // A failing further proof ends it as any end does: the roster forgets him.
        let mut ann = Carrier::Query
            .connect(&server, app, &token("Ann"))
            .await
            .expect("101");
        ann.expect("notice:success").await;
        ann.expect("msg:welcome Ann").await;
        let both = ann.expect_start("users:{").await;
        assert!(both.contains("Tom") && both.contains("Ann"), "{both}");
        tom.send(&format!("auth {}", token("Ann"))).await;
        tom.drain_to_end(4006).await;
        loop {
            let roster = ann.expect_start("users:{").await;
            if !roster.contains("Tom") {
                break;
            }
        }
        // What is proved is all of the name: who is "Tom Smith" must not pass for Tom.
        for uid in ["a b", "Tom Smith", "abcdefghijklmnopqrstu"] {
            let mut nameless = carrier
                .connect(&server, app, &token(uid))
                .await
                .expect("101");
            nameless.expect_start("notice:error bad name").await;
            nameless.expect_end(4006).await;
        }
    }
}

async fn without_a_proof_nothing_is_received(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let mut unproved = open(server.address("ws", "relay"), "ws").await;
    let carrier = Carrier::Authorization;
    let mut tom = carrier
        .connect(&server, "relay", &token("tom"))
        .await
        .expect("101");
    tom.expect("login success, your uid is tom").await;
    tom.send("all:hello").await;
    tom.expect("hello").await;
    assert_eq!(server.backend().await.ask("{\"uid\":\"all\"}").await, "ok");
    unproved.expect_silence().await;
}

async fn a_token_is_never_answered(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let token = token("tom");
    let mut open = Vec::new();
    for (offers, answered) in [
        (format!("ringpost, ringpost.token.{token}"), true),
        (format!("ringpost.token.{token}, other ,ringpost"), true),
        (
            format!("ringpost.token.{token}\r\nSec-WebSocket-Protocol: ringpost"),
            true,
        ),
        (format!("ringpost.token.{token}"), false),
        (format!("other, ringpost.token.{token}"), false),
    ] {
        let mut raw = Raw::dial(server.address("ws", "push")).await;
        let lines = format!("Origin: http://localhost\r\nSec-WebSocket-Protocol: {offers}\r\n");
        let head = raw.shake_hands_with(&lines).await;
        let answers = head
            .matches("\r\nSec-WebSocket-Protocol: ringpost\r\n")
            .count();
        assert_eq!(answers, usize::from(answered), "{offers}: {head}");
        assert_eq!(
            head.matches("Protocol").count(),
            1 + usize::from(answered),
            "{head}"
        );
        assert!(!head.contains(&token) && !server.log().contains(&token));
        open.push(raw);
    }
    server.wait_online("tom").await;
}

async fn whoever_says_nothing_runs_into_the_login_timeout(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[("LOGIN_TIMEOUT", "300ms")]).await;
    for scheme in ["ws", "text", "frame"] {
        let mut client = open(server.address(scheme, "push"), scheme).await;
        client.expect_end(4004).await;
    }
}

async fn status(server: &Server, app: &str, origin: Option<&str>, lines: &str) -> u16 {
    let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
    let mut raw = Raw::dial(server.address("ws", app)).await;
    raw.write(request(&format!("{origin}{lines}")).as_bytes())
        .await;
    raw.status().await.expect("a status")
}

async fn origins_that_say_nothing_must_be_listed(cores: usize) {
    let keys = File::new(SECRET);
    let strict = server(cores, "hmac", &keys, &[]).await;
    let bearer = format!("Authorization: Bearer {}\r\n", token("tom"));
    for (app, origin, lines, expected) in [
        ("push", None, "", 403),
        ("push", Some("null"), "", 403),
        ("push", Some("http://127.0.0.1:80"), "", 101),
        ("push", Some("http://evil.example"), "", 403),
        ("push", None, bearer.as_str(), 101),
        ("push", Some("http://evil.example"), bearer.as_str(), 403),
        // Nobody logs in to echo.
        ("echo", None, "", 101),
        ("echo", Some("null"), "", 403),
    ] {
        let got = status(&strict, app, origin, lines).await;
        assert_eq!(got, expected, "{app} {origin:?} {lines}");
    }
    strict
        .wait_log(&[
            "without an origin was refused",
            "\"none\" under \"origins\"",
        ])
        .await;
    let origins = ("ORIGINS", "https://shop.example, null, none");
    let listed = server(cores, "hmac", &keys, &[origins]).await;
    for (origin, expected) in [
        (None, 101),
        (Some("null"), 101),
        (Some("https://shop.example"), 101),
        (Some("http://127.0.0.1"), 403),
    ] {
        assert_eq!(
            status(&listed, "push", origin, "").await,
            expected,
            "{origin:?}"
        );
    }
}

async fn what_binds_no_uid_needs_no_proof(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    for scheme in ["ws", "text", "frame"] {
        let mut echo = server.connect(scheme, "echo").await;
        for message in ["hello", "auth a.b.c"] {
            assert_eq!(echo.ask(message).await, message);
        }
    }
    assert_eq!(server.backend().await.ask("online tom").await, "fail");
}

async fn more_than_one_token_is_a_mistake(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let token = token("tom");
    let address = server.address("ws", "push");
    let bearer = format!("Bearer {token}");
    let fields = [("Origin", "http://localhost"), ("Authorization", &bearer)];
    let refused = Client::shake(address, &format!("/?token={token}"), &fields).await;
    assert_eq!(refused.err(), Some(400));
    let twice = format!("/?token={token}&token={token}");
    assert_eq!(
        Client::shake(address, &twice, &fields[..1]).await.err(),
        Some(400)
    );
}

async fn hostile_tokens_cost_little(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let start = Instant::now();
    let heads = [
        format!("GET /?{} HTTP/1.1\r\n", "token=&".repeat(1_000)),
        format!("GET /?{} HTTP/1.1\r\n", "&".repeat(7_000)),
    ];
    let fields = [
        format!(
            "Sec-WebSocket-Protocol: {}\r\n",
            "ringpost.token.,".repeat(450)
        ),
        format!("Sec-WebSocket-Protocol: {}\r\n", ",".repeat(7_000)),
        format!("Authorization: Bearer {}\r\n", "a.".repeat(3_500)),
        format!("Authorization: {}\r\n", "Bearer ".repeat(1_000)),
    ];
    let origin = "Origin: http://localhost\r\n";
    let targets = heads
        .iter()
        .map(|head| request(origin).replace("GET /chat HTTP/1.1\r\n", head));
    let fields = fields
        .iter()
        .map(|field| request(&format!("{origin}{field}")));
    for hostile in targets.chain(fields) {
        for _ in 0..20 {
            let mut raw = Raw::dial(server.address("ws", "push")).await;
            raw.write(hostile.as_bytes()).await;
            let status = raw.status().await.expect("a status");
            assert!(matches!(status, 101 | 400 | 401), "{status}");
        }
    }
    for body in [
        ".".repeat(60_000),
        "a".repeat(60_000),
        format!("auth {}", "a.b.".repeat(15_000)),
    ] {
        for _ in 0..20 {
            let mut raw = Raw::dial(server.address("ws", "push")).await;
            raw.shake_hands_with(origin).await;
            raw.frame(FIN | TEXT, body.as_bytes()).await;
            raw.expect_close(&[4006]).await;
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(server.count("uids").await, 0);
}

async fn without_auth_a_token_is_ignored(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("ws", "push");
    let fields = [
        ("Authorization", "Bearer x"),
        ("Sec-WebSocket-Protocol", "ringpost"),
    ];
    let mut client = Client::shake(address, "/?token=nonsense", &fields)
        .await
        .expect("101");
    client.send("auth a.b.c").await;
    server.wait_online("auth a.b.c").await;
    assert!(client.next_within(SILENCE).await.is_none());
}
