//! Push, the browsers' side: the first message binds, the rest is heartbeat, nothing is answered.

use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    the_first_message_binds_and_nothing_is_answered,
    anything_later_is_ignored,
    a_uid_may_have_colons_here,
    a_refused_uid_is_closed_with_4006,
    several_connections_of_a_uid_each_get_every_push,
    a_client_that_leaves_is_offline,
}

async fn the_first_message_binds_and_nothing_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    for scheme in ["ws", "text", "frame"] {
        for uid in seed::uids(&mut rng, 4) {
            let mut client = server.push(scheme, &uid).await;
            client.expect_silence().await;
        }
    }
}

async fn anything_later_is_ignored(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut client = server.push("ws", &uids[0]).await;
    let mut other = server.push("ws", &uids[1]).await;
    for message in [
        "another uid",
        "",
        "all:hello",
        &format!("{}:hello", uids[1]),
        "login:Zoe",
        "stats",
    ] {
        client.send(message).await;
    }
    client.send_binary(b"\xff").await;
    client.expect_silence().await;
    other.expect_silence().await;
    let mut backend = server.backend().await;
    assert_eq!(backend.ask("online another uid").await, "fail");
    let line = format!("{{\"uid\":\"{}\"}}", uids[0]);
    assert_eq!(backend.ask(&line).await, "ok");
    client.expect(&line).await;
}

async fn a_uid_may_have_colons_here(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "user:42:phone").await;
    let line = "{\"uid\":\"user:42:phone\"}";
    assert_eq!(server.backend().await.ask(line).await, "ok");
    client.expect(line).await;
}

async fn a_refused_uid_is_closed_with_4006(cores: usize) {
    let server = Server::start(cores).await;
    let long = "x".repeat(129);
    for scheme in ["ws", "text", "frame"] {
        for uid in ["", "all", "tab\there", &long] {
            let mut client = server.connect(scheme, "push").await;
            client.send(uid).await;
            client.expect_end(4006).await;
        }
    }
    server.wait_closed("bad login", 12).await;
}

pub async fn several_connections_of_a_uid_each_get_every_push(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut clients = Vec::new();
    for scheme in ["ws", "ws", "text", "frame"] {
        clients.push(server.push(scheme, &uid).await);
    }
    // The last to log in is not in `online` by itself: wait until a push reaches all.
    while server.count("bound").await < 4 {
        tokio::task::yield_now().await;
    }
    let line = format!("{{\"uid\":\"{uid}\",\"percent\":\"88%\"}}");
    assert_eq!(server.backend().await.ask(&line).await, "ok");
    for client in &mut clients {
        client.expect(&line).await;
        client.expect_silence().await;
    }
}

async fn a_client_that_leaves_is_offline(cores: usize) {
    let server = Server::start(cores).await;
    for uid in seed::uids(&mut seed::rng(), 6) {
        let client = server.push("ws", &uid).await;
        client.close().await;
        server.wait_offline(&uid).await;
        let line = format!("{{\"uid\":\"{uid}\"}}");
        assert_eq!(server.backend().await.ask(&line).await, "fail");
    }
}
