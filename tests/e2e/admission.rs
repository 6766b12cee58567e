//! Who is let in: so many connections of the process, of one address, and so many opening handshakes. N
//! come in, one more does not.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::client::{Client, End, PATIENCE};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, request};
use crate::seed;
use crate::server::{Server, closed_in};

on_cores! {
    the_process_has_so_many_connections_and_one_more_is_refused,
    a_place_that_becomes_free_is_taken_again,
    the_page_is_served_by_a_full_server,
    an_address_has_so_many_connections_and_one_more_is_refused,
    of_too_many_handshakes_the_oldest_is_reset,
    who_dawdles_keeps_nobody_out,
    those_refused_are_told_so_as_far_as_it_goes,
    a_limit_is_told_of_once_a_second,
}

async fn ask_stats(backend: &mut Client) -> Value {
    let line = backend.ask("stats").await;
    serde_json::from_str(&line).expect("stats in JSON")
}

/// Dials a websocket listener and sends the request: the connection, and the answer's status.
async fn try_open(server: &Server, app: &str) -> (Raw, Option<u16>) {
    let mut raw = Raw::dial(server.address("ws", app)).await;
    raw.write_if_open(request("").as_bytes()).await;
    let status = raw.status().await;
    (raw, status)
}

async fn the_process_has_so_many_connections_and_one_more_is_refused(cores: usize) {
    let server = Server::with(cores, &[("MAX_CONNECTIONS", "6")]).await;
    let mut rng = seed::rng();
    // The back end's is one of them; its answer says that it is in.
    let mut backend = server.backend().await;
    assert_eq!(ask_stats(&mut backend).await["cores"][0]["core"], 0);
    let mut clients = Vec::new();
    for (n, scheme) in ["ws", "text", "frame", "ws", "text"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(clients.len(), n);
        clients.push(server.relay(scheme, &seed::uid(&mut rng)).await);
    }
    let (mut refused, status) = try_open(&server, "push").await;
    assert_eq!(status, Some(503));
    drop(refused.drain().await);
    for scheme in ["text", "frame"] {
        let mut raw = Raw::dial(server.address(scheme, "push")).await;
        assert!(matches!(raw.next().await, Err(End::Bare | End::Reset)));
    }
    // Nobody notices.
    for client in &mut clients {
        client.send("all:hello").await;
    }
    for client in &mut clients {
        for _ in 0..5 {
            client.expect("hello").await;
        }
    }
    let stats = ask_stats(&mut backend).await;
    assert_eq!(closed_in(&stats, "connection limit"), 3);
    server.wait_log(&["max_connections = 6"]).await;
}

async fn a_place_that_becomes_free_is_taken_again(cores: usize) {
    let server = Server::with(cores, &[("MAX_CONNECTIONS", "4")]).await;
    let mut rng = seed::rng();
    for round in 0..4 {
        // They move to their uids' cores, and end there.
        let mut clients = Vec::new();
        while clients.len() < 4 {
            let (mut raw, status) = try_open(&server, "relay").await;
            if status != Some(101) {
                // The last round's are still leaving.
                assert!(clients.len() < 4 && round > 0);
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            raw.frame(FIN | TEXT, seed::uid(&mut rng).as_bytes()).await;
            raw.next().await.expect("a login answer");
            clients.push(raw);
        }
        assert_eq!(try_open(&server, "relay").await.1, Some(503));
        // One by its end, one by a reset, one by its close, one by its mistake.
        let mut ends = clients.into_iter();
        drop(ends.next());
        let reset = ends.next().expect("four");
        reset.socket.set_zero_linger().expect("no linger");
        drop(reset);
        let mut closing = ends.next().expect("four");
        closing.frame(FIN | 8, &1000u16.to_be_bytes()).await;
        let mut mistaken = ends.next().expect("four");
        mistaken.write(b"\xff\xff").await;
        closing.drain().await;
        mistaken.drain().await;
    }
}

async fn the_page_is_served_by_a_full_server(cores: usize) {
    let server = Server::with(cores, &[("MAX_CONNECTIONS", "1")]).await;
    let _client = server.connect("ws", "echo").await;
    let mut http = crate::http::Http::dial(server.address("http", "page")).await;
    http.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(http.response().await.expect("an answer").status, 200);
}

async fn an_address_has_so_many_connections_and_one_more_is_refused(cores: usize) {
    let server = Server::with(cores, &[("CONNECTIONS_PER_ADDRESS_MAX", "3")]).await;
    let address = server.address("ws", "relay");
    let mut rng = seed::rng();
    for round in 0..3 {
        let mut clients = Vec::new();
        for own in [[127, 0, 0, 2], [127, 0, 0, 3]] {
            let start = Instant::now();
            while clients.len() % 4 < 3 {
                let mut raw = Raw::dial_from(own, address).await;
                raw.write_if_open(request("").as_bytes()).await;
                if raw.status().await == Some(101) {
                    raw.frame(FIN | TEXT, seed::uid(&mut rng).as_bytes()).await;
                    raw.next().await.expect("a login answer");
                    clients.push(raw);
                } else {
                    // The last round's are still leaving.
                    assert!(round > 0 && start.elapsed() < PATIENCE);
                    sleep(Duration::from_millis(20)).await;
                }
            }
            let mut refused = Raw::dial_from(own, address).await;
            refused.write_if_open(request("").as_bytes()).await;
            assert_eq!(refused.status().await, Some(429));
            clients.push(refused);
            let mut line = Raw::dial_from(own, server.address("text", "push")).await;
            assert!(matches!(line.next().await, Err(End::Bare | End::Reset)));
        }
    }
    server.wait_log(&["connections_per_address_max = 3"]).await;
    assert!(server.closed("address limit").await >= 12);
}

/// Whether the server has reset it.
async fn is_reset(raw: &mut Raw) -> bool {
    match raw.next_within(Duration::from_millis(300)).await {
        None => false,
        Some(Err(End::Reset)) => true,
        Some(other) => panic!("{other:?}"),
    }
}

async fn of_too_many_handshakes_the_oldest_is_reset(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKES_MAX", "3")]).await;
    let address = server.address("ws", "relay");
    if cores > 1 {
        // The kernel deals them out, and each core has three.
        let mut silent = Vec::new();
        for _ in 0..20 * cores {
            silent.push(Raw::dial(address).await);
        }
        let mut backend = server.backend().await;
        let start = Instant::now();
        loop {
            let stats = ask_stats(&mut backend).await;
            let opening = |core: &Value| core["opening"].as_u64().expect("a figure");
            let each: Vec<u64> = stats["cores"]
                .as_array()
                .unwrap()
                .iter()
                .map(opening)
                .collect();
            let dropped = closed_in(&stats, "handshake limit");
            assert!(each.iter().all(|count| *count <= 3), "{each:?}");
            if dropped + each.iter().sum::<u64>() == silent.len() as u64 {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{stats}");
            sleep(Duration::from_millis(20)).await;
        }
        return;
    }
    let mut backend = server.backend().await;
    let mut silent = Vec::new();
    for count in 1..=3 {
        silent.push(Raw::dial(address).await);
        silent[0].write(b"G").await;
        for raw in &mut silent {
            assert!(!is_reset(raw).await, "of {count}");
        }
    }
    // One that is done is none of them.
    let mut done = Raw::dial(address).await;
    assert!(is_reset(&mut silent[0]).await);
    done.shake_hands().await;
    silent.push(Raw::dial(address).await);
    for raw in &mut silent[1..] {
        assert!(!is_reset(raw).await);
    }
    silent.push(Raw::dial(address).await);
    assert!(is_reset(&mut silent[1]).await);
    for raw in &mut silent[2..] {
        assert!(!is_reset(raw).await);
        raw.shake_hands().await;
    }
    let stats = ask_stats(&mut backend).await;
    assert_eq!(closed_in(&stats, "handshake limit"), 2);
    server.wait_log(&["handshakes_max = 3"]).await;
}

async fn who_dawdles_keeps_nobody_out(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKES_MAX", "50")]).await;
    let address = server.address("ws", "echo");
    // Ten times as many as may be under way, each with a byte now and then.
    let mut dawdlers = Vec::new();
    for _ in 0..500 * cores {
        let mut raw = Raw::dial(address).await;
        raw.write_if_open(b"GET ").await;
        dawdlers.push(raw);
    }
    for _ in 0..20 {
        let start = Instant::now();
        let mut client = server.connect("ws", "echo").await;
        assert_eq!(client.ask("hello").await, "hello");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    let opening = server.count("opening").await;
    assert!(
        opening <= 50 * cores as u64,
        "{opening} handshakes under way"
    );
}

async fn those_refused_are_told_so_as_far_as_it_goes(cores: usize) {
    // They stay for as long as they like, having been told.
    let settings = [("MAX_CONNECTIONS", "1"), ("CLOSE_TIMEOUT", "30s")];
    let server = Server::with(cores, &settings).await;
    let mut backend = server.backend().await;
    assert_eq!(server_holds(&mut backend).await, 1);
    let mut refused = Vec::new();
    let mut told = 0;
    for _ in 0..80 * cores {
        let (raw, status) = try_open(&server, "push").await;
        assert!(matches!(status, None | Some(503)), "{status:?}");
        told += usize::from(status.is_some());
        refused.push(raw);
    }
    assert!((64..=64 * cores).contains(&told), "{told} were told");
    // When they have gone, others are told.
    drop(refused);
    let start = Instant::now();
    loop {
        let (_, status) = try_open(&server, "push").await;
        if status == Some(503) && server_holds(&mut backend).await < 10 {
            return;
        }
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Connections that the server has a place for.
async fn server_holds(backend: &mut Client) -> u64 {
    let stats = ask_stats(backend).await;
    let cores = stats["cores"].as_array().expect("a list of cores");
    let figures = cores.iter().map(|core| core["connections"].as_u64());
    figures.map(|count| count.expect("a figure")).sum()
}

async fn a_limit_is_told_of_once_a_second(cores: usize) {
    let server = Server::with(cores, &[("MAX_CONNECTIONS", "1")]).await;
    let mut one = server.connect("text", "echo").await;
    assert_eq!(one.ask("hello").await, "hello");
    let start = Instant::now();
    for _ in 0..100 {
        let mut raw = Raw::dial(server.address("text", "echo")).await;
        raw.next().await.expect_err("its end");
    }
    let seconds = start.elapsed().as_secs() as usize;
    server.wait_log(&["max_connections"]).await;
    let log = server.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("max_connections"))
        .count();
    assert!((1..=cores * (seconds + 2)).contains(&lines), "{log}");
}
