//! Relay: the first message binds a uid, or is refused.

use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    the_first_message_binds_and_is_answered,
    uids_live_on_every_core,
    a_uid_has_1_to_128_bytes_of_any_script,
    a_refused_uid_is_answered_and_closed_with_4006,
    a_first_message_that_is_not_utf8_is_no_uid,
    whoever_is_refused_is_not_reached,
    a_client_may_send_before_its_login_is_answered,
    with_errors_off_a_refused_uid_is_closed_without_words,
}

async fn the_first_message_binds_and_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    for scheme in ["ws", "text", "frame"] {
        for uid in seed::uids(&mut rng, 8) {
            let _client = server.relay(scheme, &uid).await;
            assert_eq!(
                server.backend().await.ask(&format!("online {uid}")).await,
                "ok"
            );
        }
    }
}

async fn uids_live_on_every_core(cores: usize) {
    let server = Server::start(cores).await;
    let mut clients = Vec::new();
    for uid in seed::uids(&mut seed::rng(), 64) {
        clients.push(server.relay("ws", &uid).await);
    }
    let stats = server.stats().await;
    let bound: Vec<u64> = stats["cores"]
        .as_array()
        .expect("a list of cores")
        .iter()
        .map(|core| core["bound"].as_u64().expect("a number"))
        .collect();
    assert_eq!(bound.len(), cores);
    assert_eq!(bound.iter().sum::<u64>(), 64);
    assert!(bound.iter().all(|bound| *bound > 0), "{bound:?}");
    assert_eq!(server.count("uids").await, 64);
}

async fn a_uid_has_1_to_128_bytes_of_any_script(cores: usize) {
    let server = Server::start(cores).await;
    for uid in [
        "x",
        " ",
        "Зоя",
        "🌍",
        "a b\"c\\",
        &"x".repeat(128),
        &"ü".repeat(64),
    ] {
        let mut client = server.relay("ws", uid).await;
        client.send(&format!("{uid}:hello")).await;
        client.expect("hello").await;
    }
}

async fn a_refused_uid_is_answered_and_closed_with_4006(cores: usize) {
    let server = Server::start(cores).await;
    let long = "x".repeat(129);
    let wide = format!("{}x", "ü".repeat(64));
    let refused = [
        "",
        "all",
        "with:colon",
        ":",
        &long,
        &wide,
        "tab\there",
        "nul\0",
        "del\u{7f}",
        "next\u{85}line",
    ];
    for scheme in ["ws", "text", "frame"] {
        for uid in refused {
            let mut client = server.connect(scheme, "relay").await;
            client.send(uid).await;
            client.expect_start("error: ").await;
            client.expect_end(4006).await;
        }
    }
    server
        .wait_closed("bad login", 3 * refused.len() as u64)
        .await;
}

async fn a_first_message_that_is_not_utf8_is_no_uid(cores: usize) {
    let server = Server::start(cores).await;
    for scheme in ["ws", "frame"] {
        let mut client = server.connect(scheme, "relay").await;
        client.send_binary(b"\xff\xfe").await;
        client.expect_start("error: ").await;
        client.expect_end(4006).await;
    }
}

async fn whoever_is_refused_is_not_reached(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    let mut unbound = server.connect("ws", "relay").await;
    client.send("all:hello").await;
    client.expect("hello").await;
    unbound.expect_silence().await;
}

async fn a_client_may_send_before_its_login_is_answered(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    for scheme in ["ws", "text", "frame"] {
        for uid in seed::uids(&mut rng, 10) {
            let mut client = server.connect(scheme, "relay").await;
            client.send(&uid).await;
            for n in 0..20 {
                client.send(&format!("{uid}:{n}")).await;
            }
            client
                .expect(&format!("login success, your uid is {uid}"))
                .await;
            for n in 0..20 {
                client.expect(&n.to_string()).await;
            }
        }
    }
}

async fn with_errors_off_a_refused_uid_is_closed_without_words(cores: usize) {
    let server = Server::with(cores, &[("RELAY_ERRORS", "false")]).await;
    for scheme in ["ws", "text", "frame"] {
        let mut client = server.connect(scheme, "relay").await;
        client.send("all").await;
        client.expect_end(4006).await;
    }
}
