//! An app that panics: that ends the connection it was about with 1011, is counted, and is logged with its
//! place; the core goes on serving the others, wherever in a connection's life it happens.

use std::time::{Duration, Instant};

use ringpost::config::UidPolicy;
use tokio::time::sleep;

use crate::client::Client;
use crate::fragile::Site;
use crate::on_cores;
use crate::raw::{CLOSE, FIN, Raw, TEXT, close_code, masked, request};

on_cores! {
    each_callback_that_panics_ends_its_connection_alone,
    a_panic_in_on_connect_ends_the_connection_and_leaves_nothing,
    callbacks_about_no_connection_end_none,
    a_connection_that_moves_is_ended_where_it_arrives,
    what_follows_a_bind_panics_at_home,
    a_bind_is_void_if_its_callback_panics,
    a_panic_over_the_one_replaced_does_not_keep_the_newcomer_out,
    text_and_frame_connections_are_ended_barely,
    a_server_whose_sessions_panic_at_their_end_stops,
}

async fn each_callback_that_panics_ends_its_connection_alone(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for (line, callback, code) in [
        ("panic", "on_message", 1011),
        ("bind fragile", "on_bound", 1011),
        ("offline", "on_offline", 1011),
        ("answer one", "on_answer", 1011),
        ("answer two", "on_answer", 1011),
        ("answer three", "on_answer", 1011),
        // What ends already ends as it would.
        ("close", "on_close", 1000),
        ("drop", "on_close", 1000),
    ] {
        println!("{line}");
        let mut client = site.connect().await;
        assert_eq!(client.ask("echo before").await, "before");
        client.send(line).await;
        client.expect_end(code).await;
        site.expect_panics(callback, 1, u64::from(code == 1011))
            .await;
    }
    site.expect_offline("fragile").await;
    site.stop().await;
}

async fn a_panic_in_on_connect_ends_the_connection_and_leaves_nothing(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for _ in 0..8 {
        let mut raw = Raw::dial(site.address(3)).await;
        // With a message behind the request, which nobody can take any more.
        let mut bytes = request("").into_bytes();
        bytes.extend(masked(FIN | TEXT, b"hello"));
        raw.write(&bytes).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
        raw.expect_close(&[1011]).await;
        site.expect_panics("on_connect", 1, 1).await;
    }
    let start = Instant::now();
    while site.count("connections").await > 1 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "connections are left"
        );
        sleep(Duration::from_millis(10)).await;
    }
    site.stop().await;
}

async fn callbacks_about_no_connection_end_none(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    let mut client = site.connect().await;
    client.send("timer").await;
    site.expect_panics("on_timer", 1, 0).await;
    client.send("note").await;
    site.expect_panics("on_note", cores as u64, 0).await;
    assert_eq!(client.ask("echo still here").await, "still here");
    drop(client);
    site.stop().await;
}

async fn a_connection_that_moves_is_ended_where_it_arrives(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    // So many that with several cores some of them move, all but for one run in a billion.
    for n in 0..30 {
        let uid = format!("fragile-{n}");
        let mut client = site.connect().await;
        client.send(&format!("bind {uid}")).await;
        client.expect_end(1011).await;
        site.expect_offline(&uid).await;
    }
    site.expect_panics("on_bound", 30, 30).await;
    assert_eq!(site.count("moved_in").await > 0, cores > 1);
    assert_eq!(site.count("bound").await, 0);
    site.stop().await;
}

async fn what_follows_a_bind_panics_at_home(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for n in 0..30 {
        let uid = format!("u{n}");
        let mut raw = Raw::open(site.address(0)).await;
        let mut bytes = masked(FIN | TEXT, format!("bind {uid}").as_bytes());
        bytes.extend(masked(FIN | TEXT, b"echo here"));
        bytes.extend(masked(FIN | TEXT, b"panic"));
        bytes.extend(masked(FIN | TEXT, b"echo not here"));
        raw.write(&bytes).await;
        // What came before it is answered, what comes after it is not.
        raw.expect(FIN | TEXT, b"bound").await;
        raw.expect(FIN | TEXT, b"here").await;
        raw.expect_close(&[1011]).await;
        site.expect_offline(&uid).await;
    }
    site.expect_panics("on_message", 30, 30).await;
    assert_eq!(site.count("moved_in").await > 0, cores > 1);
    site.stop().await;
}

async fn a_bind_is_void_if_its_callback_panics(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for (line, callback) in [
        ("bind-and-panic", "on_message"),
        ("bind-and-offline", "on_offline"),
    ] {
        for n in 0..10 {
            let uid = format!("u{n}");
            let mut client = site.connect().await;
            client.send(&format!("{line} {uid}")).await;
            let said = client.drain_to_end(1011).await;
            assert!(
                said.is_empty() || callback == "on_offline",
                "{line}: {said:?}"
            );
            site.expect_offline(&uid).await;
        }
        site.expect_panics(callback, 10, 10).await;
    }
    assert_eq!(site.count("bound").await, 0);
    site.stop().await;
}

async fn a_panic_over_the_one_replaced_does_not_keep_the_newcomer_out(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Replace).await;
    for n in 0..8 {
        let uid = format!("u{n}");
        let mut older = site.connect().await;
        older.send("later").await;
        assert_eq!(older.ask(&format!("bind {uid}")).await, "bound");
        let mut newer = site.connect().await;
        assert_eq!(newer.ask(&format!("bind {uid}")).await, "bound");
        older.expect_end(4001).await;
        assert_eq!(newer.ask("echo here").await, "here");
        assert_eq!(site.bystander.ask(&format!("online {uid}")).await, "1");
    }
    site.expect_panics("on_close", 8, 0).await;
    site.stop().await;
}

async fn text_and_frame_connections_are_ended_barely(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for (scheme, listener) in [("text", 1), ("frame", 2)] {
        let mut client = Client::connect(scheme, site.address(listener)).await;
        assert_eq!(client.ask("echo before").await, "before");
        client.send("panic").await;
        client.expect_end(1011).await;
        site.expect_panics("on_message", 1, 1).await;
    }
    site.stop().await;
}

async fn a_server_whose_sessions_panic_at_their_end_stops(cores: usize) {
    let site = Site::start(cores, UidPolicy::Multi).await;
    let mut clients = Vec::new();
    for n in 0..8 {
        let mut raw = Raw::open(site.address(0)).await;
        raw.frame(FIN | TEXT, b"later").await;
        raw.frame(FIN | TEXT, format!("bind u{n}").as_bytes()).await;
        raw.expect(FIN | TEXT, b"bound").await;
        clients.push(raw);
    }
    let stopping = tokio::spawn(site.stop());
    for raw in &mut clients {
        let frame = raw.next().await.expect("a close frame");
        assert_eq!(close_code(&frame), Some(1001));
        raw.write_if_open(&masked(FIN | CLOSE, &1001u16.to_be_bytes()))
            .await;
    }
    stopping.await.expect("it stops well");
}
