//! What a proof's end does to a connection that lives on it, and how a further one puts that off.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::on_cores;
use crate::tokens::{CARRIERS, Carrier, File, OTHER, SECRET, in_seconds, server, sign, token};

on_cores! {
    a_connection_ends_with_its_proof,
    a_further_proof_puts_the_end_off,
    a_further_proof_that_ends_sooner_changes_nothing,
    a_bad_further_proof_ends_the_connection,
    further_proofs_have_a_rate,
    keys_are_read_anew_on_sighup,
    bad_keys_change_nothing,
}

async fn a_connection_ends_with_its_proof(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let expires = in_seconds(3);
    let mut clients = Vec::new();
    for (number, carrier) in CARRIERS.iter().enumerate() {
        let token = sign(SECRET, &format!("u{number}"), expires);
        clients.push(carrier.connect(&server, "push", &token).await.expect("101"));
    }
    let chat = sign(SECRET, "Tom", expires);
    let mut chat = Carrier::Query
        .connect(&server, "chat", &chat)
        .await
        .expect("101");
    for client in &mut clients {
        client.expect_end(4008).await;
        assert!(in_seconds(0) >= expires, "before its time");
    }
    chat.drain_to_end(4008).await;
    let late = in_seconds(0) - expires;
    assert!(late <= 5, "{late} s after its time");
    let count = clients.len() as u64 + 1;
    server.wait_closed("authorization expired", count).await;
    assert_eq!(server.count("uids").await, 0);
}

async fn a_further_proof_puts_the_end_off(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    for (number, carrier) in CARRIERS.iter().enumerate() {
        let uid = format!("u{number}");
        let first = sign(SECRET, &uid, in_seconds(3));
        let mut client = carrier.connect(&server, "push", &first).await.expect("101");
        server.wait_online(&uid).await;
        client.send(&format!("auth {}", token(&uid))).await;
        // Another one is left to its end, which tells when the first would have ended.
        if number + 1 == CARRIERS.len() {
            let mut witness = carrier.connect(&server, "push", &first).await.expect("101");
            witness.expect_end(4008).await;
            sleep(Duration::from_millis(500)).await;
            let line = format!("{{\"uid\":\"{uid}\"}}");
            assert_eq!(server.backend().await.ask(&line).await, "ok");
            client.expect(&line).await;
        }
    }
    // In relay it is no message, and answers nothing.
    let mut tom = Carrier::Query
        .connect(&server, "relay", &token("tom"))
        .await
        .expect("101");
    tom.expect("login success, your uid is tom").await;
    tom.send(&format!("auth {}", token("tom"))).await;
    // Whereas what only looks a little like it is one.
    tom.send("auth tom:hello").await;
    tom.expect("error: uid \"auth tom\" is not online").await;
}

async fn a_further_proof_that_ends_sooner_changes_nothing(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let mut client = Carrier::Query
        .connect(&server, "push", &token("tom"))
        .await
        .expect("101");
    server.wait_online("tom").await;
    client
        .send(&format!("auth {}", sign(SECRET, "tom", in_seconds(2))))
        .await;
    assert!(client.next_within(Duration::from_secs(3)).await.is_none());
    assert_eq!(server.backend().await.ask("online tom").await, "ok");
}

async fn a_bad_further_proof_ends_the_connection(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    for scheme in ["ws", "text", "frame"] {
        for (bad, code) in [
            (sign(OTHER, "tom", in_seconds(600)), 4006),
            (sign(SECRET, "tom", in_seconds(-1)), 4008),
            (token("ann"), 4006),
            ("a.b.c".to_owned(), 4006),
        ] {
            let carrier = Carrier::Message(scheme);
            let mut client = carrier
                .connect(&server, "push", &token("tom"))
                .await
                .expect("101");
            client.send(&format!("auth {bad}")).await;
            client.expect_end(code).await;
        }
    }
}

async fn further_proofs_have_a_rate(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "hmac", &keys, &[]).await;
    let mut patient = Carrier::Query
        .connect(&server, "push", &token("tom"))
        .await
        .expect("101");
    for _ in 0..3 {
        patient.send(&format!("auth {}", token("tom"))).await;
    }
    patient.expect_silence().await;
    let mut hasty = Carrier::Query
        .connect(&server, "push", &token("ann"))
        .await
        .expect("101");
    let start = Instant::now();
    for _ in 0..50 {
        let _ = hasty.try_send(&format!("auth {}", token("ann"))).await;
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "too slow to tell"
    );
    hasty.expect_end(1008).await;
    server.wait_closed("rate limit", 1).await;
}

async fn keys_are_read_anew_on_sighup(cores: usize) {
    let keys = File::new(SECRET);
    let mut server = server(cores, "hmac", &keys, &[]).await;
    let mut old = Carrier::Query
        .connect(&server, "push", &token("old"))
        .await
        .expect("101");
    server.wait_online("old").await;
    keys.write(OTHER);
    server.signal_on(libc::SIGHUP);
    server.wait_log(&["read anew", "keys=1"]).await;
    // On every core, wherever the kernel puts them.
    for _ in 0..8 * cores {
        let refused = Carrier::Query.connect(&server, "push", &token("tom")).await;
        assert_eq!(refused.err(), Some(401));
        let fresh = sign(OTHER, "tom", in_seconds(600));
        Carrier::Query
            .connect(&server, "push", &fresh)
            .await
            .expect("101");
    }
    // Whoever is in stays for his time.
    assert_eq!(server.backend().await.ask("{\"uid\":\"old\"}").await, "ok");
    old.expect("{\"uid\":\"old\"}").await;
}

async fn bad_keys_change_nothing(cores: usize) {
    let keys = File::new(SECRET);
    let mut server = server(cores, "hmac", &keys, &[]).await;
    keys.write("too short");
    server.signal_on(libc::SIGHUP);
    server
        .wait_log(&["ERROR", "auth_key_file", "at least 32"])
        .await;
    server
        .wait_log(&["ERROR", "the configuration stays what it was"])
        .await;
    Carrier::Query
        .connect(&server, "push", &token("tom"))
        .await
        .expect("101");
    assert!(!server.log().contains("too short"));
}
