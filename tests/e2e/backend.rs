//! The back end's lines and their answers.

use serde_json::Value;

use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    a_push_sends_the_whole_line_unchanged,
    a_push_to_nobody_fails,
    a_uid_may_be_an_integer,
    escapes_in_a_uid_are_decoded,
    of_two_uids_in_a_line_the_last_counts,
    all_reaches_relay_and_push_and_needs_anybody,
    a_kick_closes_every_connection_of_a_uid_with_4007,
    whoever_is_kicked_is_offline_at_once,
    what_was_pushed_before_a_kick_arrives_before_its_close,
    online_tells_whether_anybody_has_the_uid,
    stats_is_one_line_of_json,
    anything_else_fails_with_a_reason,
    nesting_is_bounded,
    the_back_end_may_speak_over_any_codec,
}

async fn a_push_sends_the_whole_line_unchanged(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let mut backend = server.backend().await;
    for line in [
        format!("{{\"uid\":\"{uid}\",\"percent\":\"88%\"}}"),
        format!("  {{ \"z\" : [1, 2.50, {{\"uid\":\"other\"}}] ,  \"uid\"\t:\"{uid}\" }}  "),
        format!("{{\"uid\":\"{uid}\",\"text\":\"grüße 🌍 \\u00e4 <b>\"}}"),
    ] {
        assert_eq!(backend.ask(&line).await, "ok");
        client.expect(&line).await;
    }
    client.expect_silence().await;
}

async fn a_push_to_nobody_fails(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    for uid in seed::uids(&mut seed::rng(), 8) {
        assert_eq!(backend.ask(&format!("{{\"uid\":\"{uid}\"}}")).await, "fail");
    }
}

async fn a_uid_may_be_an_integer(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    for number in ["42", "0", "-7", "9007199254740993"] {
        let mut client = server.push("ws", number).await;
        let line = format!("{{\"uid\":{number}}}");
        assert_eq!(backend.ask(&line).await, "ok");
        client.expect(&line).await;
    }
}

async fn escapes_in_a_uid_are_decoded(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    for (uid, escaped) in [
        ("abc", "\\u0061bc"),
        ("a\"b\\c/d", "a\\\"b\\\\c\\/d"),
        ("🌍", "\\ud83c\\udf0d"),
    ] {
        let mut client = server.push("ws", uid).await;
        let line = format!("{{\"uid\":\"{escaped}\"}}");
        assert_eq!(backend.ask(&line).await, "ok");
        client.expect(&line).await;
    }
    // The key may be escaped as well.
    let mut client = server.push("ws", "key").await;
    let line = "{\"\\u0075id\":\"key\"}";
    assert_eq!(backend.ask(line).await, "ok");
    client.expect(line).await;
}

async fn of_two_uids_in_a_line_the_last_counts(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut first = server.push("ws", &uids[0]).await;
    let mut last = server.push("ws", &uids[1]).await;
    let line = format!(
        "{{\"uid\":\"{}\",\"x\":1,\"uid\":\"{}\"}}",
        uids[0], uids[1]
    );
    assert_eq!(server.backend().await.ask(&line).await, "ok");
    last.expect(&line).await;
    first.expect_silence().await;
}

async fn all_reaches_relay_and_push_and_needs_anybody(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 12);
    let mut backend = server.backend().await;
    let line = "{\"uid\":\"all\",\"text\":\"everybody\"}";
    assert_eq!(backend.ask(line).await, "fail");
    // One connection on any core is enough.
    let mut only = server.push("ws", &uids[0]).await;
    assert_eq!(backend.ask(line).await, "ok");
    only.expect(line).await;
    let mut clients = vec![only];
    for (n, uid) in uids[1..].iter().enumerate() {
        let scheme = ["ws", "text", "frame"][n % 3];
        clients.push(match n % 2 {
            0 => server.push(scheme, uid).await,
            _ => server.relay(scheme, uid).await,
        });
    }
    assert_eq!(backend.ask(line).await, "ok");
    for client in &mut clients {
        client.expect(line).await;
    }
    for client in &mut clients {
        client.expect_silence().await;
    }
}

async fn a_kick_closes_every_connection_of_a_uid_with_4007(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let mut backend = server.backend().await;
    for uids in [
        seed::uids(&mut rng, 2),
        seed::uids(&mut rng, 2),
        seed::uids(&mut rng, 2),
    ] {
        let mut kicked = Vec::new();
        for scheme in ["ws", "text", "frame"] {
            kicked.push(server.push(scheme, &uids[0]).await);
            kicked.push(server.relay(scheme, &uids[0]).await);
        }
        let mut bystander = server.relay("ws", &uids[1]).await;
        while server.count("bound").await < 7 {
            tokio::task::yield_now().await;
        }
        assert_eq!(backend.ask(&format!("kick {}", uids[0])).await, "ok");
        for client in &mut kicked {
            client.expect_end(4007).await;
        }
        assert_eq!(backend.ask(&format!("kick {}", uids[0])).await, "fail");
        bystander.expect_silence().await;
        bystander.close().await;
        server.wait_offline(&uids[1]).await;
        // A kick is no ban.
        let mut again = server.relay("ws", &uids[0]).await;
        again.expect_silence().await;
        again.close().await;
        server.wait_offline(&uids[0]).await;
    }
    assert_eq!(server.closed("kicked").await, 18);
}

async fn whoever_is_kicked_is_offline_at_once(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    for uid in seed::uids(&mut seed::rng(), 8) {
        let _client = server.relay("ws", &uid).await;
        let lines =
            format!("online {uid}\nkick {uid}\nonline {uid}\n{{\"uid\":\"{uid}\"}}\nkick {uid}\n");
        backend.send_bytes(lines.as_bytes()).await;
        for answer in ["ok", "ok", "fail", "fail", "fail"] {
            backend.expect(answer).await;
        }
    }
}

async fn what_was_pushed_before_a_kick_arrives_before_its_close(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    for uid in seed::uids(&mut seed::rng(), 8) {
        let mut client = server.push("ws", &uid).await;
        let line = format!("{{\"uid\":\"{uid}\"}}");
        backend
            .send_bytes(format!("{line}\nkick {uid}\n").as_bytes())
            .await;
        backend.expect("ok").await;
        backend.expect("ok").await;
        client.expect(&line).await;
        client.expect_end(4007).await;
    }
}

async fn online_tells_whether_anybody_has_the_uid(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    for uid in seed::uids(&mut seed::rng(), 6) {
        assert_eq!(backend.ask(&format!("online {uid}")).await, "fail");
        let client = server.relay("ws", &uid).await;
        assert_eq!(backend.ask(&format!("online {uid}")).await, "ok");
        client.close().await;
        server.wait_offline(&uid).await;
    }
}

async fn stats_is_one_line_of_json(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 6);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(server.relay("ws", uid).await);
    }
    let mut backend = server.backend().await;
    let line = backend.ask("stats").await;
    let stats: Value = serde_json::from_str(&line).expect("JSON");
    assert!(stats.is_object(), "{line}");
    assert_eq!(server.count("bound").await, 6);
    assert_eq!(server.count("uids").await, 6);
    assert!(server.count("connections").await >= 7);
    assert!(server.count("messages_in").await >= 6);
    assert!(server.count("messages_out").await >= 6);
    assert!(server.count("bytes_in").await > 0);
    assert!(server.count("bytes_out").await > 0);
    assert_eq!(server.count("outbox_bytes").await, 0);
}

async fn anything_else_fails_with_a_reason(cores: usize) {
    let server = Server::start(cores).await;
    let _client = server.relay("ws", &seed::uid(&mut seed::rng())).await;
    let mut backend = server.backend().await;
    let long = "x".repeat(129);
    let lines = [
        "".to_owned(),
        "hello".to_owned(),
        "kick".to_owned(),
        "kick ".to_owned(),
        "online".to_owned(),
        "kick all".to_owned(),
        "online all".to_owned(),
        "Kick someone".to_owned(),
        "KICK someone".to_owned(),
        "Stats".to_owned(),
        format!("online {long}"),
        format!("kick {long}"),
        "null".to_owned(),
        "42".to_owned(),
        "\"uid\"".to_owned(),
        "[{\"uid\":\"x\"}]".to_owned(),
        "{}".to_owned(),
        "{\"UID\":\"x\"}".to_owned(),
        "{\"a\":{\"uid\":\"x\"}}".to_owned(),
        "{\"uid\":null}".to_owned(),
        "{\"uid\":true}".to_owned(),
        "{\"uid\":1.5}".to_owned(),
        "{\"uid\":[\"x\"]}".to_owned(),
        "{\"uid\":{}}".to_owned(),
        "{\"uid\":\"\"}".to_owned(),
        "{\"uid\":\"tab\\there\"}".to_owned(),
        "{\"uid\":\"half \\ud83c pair\"}".to_owned(),
        "{\"uid\":\"x\"".to_owned(),
        "{\"uid\":\"x\",}".to_owned(),
        "{\"uid\":\"x\"} more".to_owned(),
        "{\"uid\":\"x\"}{\"uid\":\"y\"}".to_owned(),
        "{'uid':'x'}".to_owned(),
        format!("{{\"uid\":\"{long}\"}}"),
    ];
    for line in &lines {
        let answer = backend.ask(line).await;
        assert!(
            answer.starts_with("fail: ") && answer.len() > "fail: ".len(),
            "{line:?} was answered {answer:?}"
        );
    }
    // None of that ends the connection.
    assert_eq!(backend.ask("online nobody").await, "fail");
}

async fn nesting_is_bounded(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let mut backend = server.backend().await;
    for open in ["[", "{\"a\":"] {
        let line = format!(
            "{{\"uid\":\"{uid}\",\"deep\":{}",
            open.repeat(60_000 / open.len())
        );
        let answer = backend.ask(&line).await;
        assert!(answer.starts_with("fail: "), "{answer:?}");
    }
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let answer = backend
        .ask(&format!("{{\"uid\":\"{uid}\",\"deep\":{deep}}}"))
        .await;
    assert!(answer.starts_with("fail: "), "{answer:?}");
    client.expect_silence().await;
    // Ordinary depth passes.
    let line = format!("{{\"uid\":\"{uid}\",\"deep\":[[[[[[[[[[1]]]]]]]]]]}}");
    assert_eq!(backend.ask(&line).await, "ok");
    client.expect(&line).await;
}

async fn the_back_end_may_speak_over_any_codec(cores: usize) {
    let listeners = [
        "websocket://127.0.0.1:0=push",
        "websocket://127.0.0.1:0=push-backend",
        "frame://127.0.0.1:0=push-backend",
        "text://127.0.0.1:0=push-backend",
    ];
    // Any page could open a websocket, so that one wants a token.
    let server = Server::on(
        cores,
        &[("BACKEND_TOKEN", "a-secret-of-the-back-end")],
        &listeners,
    )
    .await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.connect("ws", "push").await;
    client.send(&uid).await;
    for scheme in ["ws", "frame", "text"] {
        let mut backend = server.connect(scheme, "push-backend").await;
        assert_eq!(backend.ask("auth a-secret-of-the-back-end").await, "ok");
        while backend.ask(&format!("online {uid}")).await != "ok" {}
        let line = format!("{{\"uid\":\"{uid}\"}}");
        assert_eq!(backend.ask(&line).await, "ok");
        client.expect(&line).await;
        assert_eq!(backend.ask("online nobody").await, "fail");
    }
}
