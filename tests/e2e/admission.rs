//! Who is let in: so many clients, so many back ends, so many HTTP connections, so many of one address, and so
//! many opening handshakes. N come in, one more does not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use crate::client::{Client, End, PATIENCE};
use crate::http::{Http, get};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, request};
use crate::seed;
use crate::server::{Server, closed_in};

on_cores! {
    the_process_has_so_many_connections_and_one_more_is_refused,
    a_place_that_becomes_free_is_taken_again,
    back_ends_get_in_however_many_clients_there_are,
    back_ends_have_a_limit_of_their_own,
    http_connections_have_a_limit_of_their_own,
    back_ends_streams_and_health_find_a_place_in_http_however_many_others_there_are,
    who_asks_and_goes_keeps_a_place_until_it_is_answered,
    an_address_has_so_many_http_connections_beside_its_websockets,
    a_listener_may_have_its_own_limit_by_address,
    an_address_has_so_many_connections_and_one_more_is_refused,
    of_too_many_handshakes_the_oldest_is_reset,
    a_proxys_header_under_way_is_a_handshake,
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
    let server = Server::with(cores, &[("MAX_CONNECTIONS", "5")]).await;
    let mut rng = seed::rng();
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
    assert_eq!(server.closed("connection limit").await, 3);
    server.wait_log(&["max_connections = 5"]).await;
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

async fn back_ends_get_in_however_many_clients_there_are(cores: usize) {
    let settings = [
        ("MAX_CONNECTIONS", "2"),
        ("CONNECTIONS_PER_ADDRESS_MAX", "2"),
    ];
    let server = Server::with(cores, &settings).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let mut other = server.connect("ws", "echo").await;
    assert_eq!(other.ask("hello").await, "hello");
    // They come from the same address, and go on coming.
    let flood = async {
        loop {
            let (_, status) = try_open(&server, "echo").await;
            assert_ne!(status, Some(101));
        }
    };
    let back_ends = async {
        let mut back_ends = Vec::new();
        for _ in 0..20 {
            let mut backend = server.backend().await;
            let line = format!("{{\"uid\":\"{uid}\"}}");
            assert_eq!(backend.ask(&line).await, "ok");
            client.expect(&line).await;
            back_ends.push(backend);
            let page = server.address("http", "page");
            assert_eq!(get(page, "/healthz").await.status, 200);
        }
    };
    tokio::select! {
        () = back_ends => {}
        () = flood => {}
    }
}

/// Connects a back end; false if it is not let in.
async fn try_backend(server: &Server) -> (Raw, bool) {
    let mut raw = Raw::dial(server.address("text", "push-backend")).await;
    raw.write_if_open(b"online x\n").await;
    let mut answer = [0; 5];
    let read = raw.socket.read_exact(&mut answer).await;
    (raw, read.is_ok_and(|_| &answer == b"fail\n"))
}

async fn back_ends_have_a_limit_of_their_own(cores: usize) {
    let server = Server::with(cores, &[("BACKEND_CONNECTIONS_MAX", "3")]).await;
    let mut back_ends = Vec::new();
    for n in 1..=3 {
        let (raw, is_in) = try_backend(&server).await;
        assert!(is_in, "back end {n}");
        back_ends.push(raw);
    }
    assert!(!try_backend(&server).await.1);
    server.wait_log(&["backend_connections_max = 3"]).await;
    // It is nobody else's limit.
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(server.relay("text", &seed::uid(&mut seed::rng())).await);
    }
    drop(back_ends.pop());
    let start = Instant::now();
    while !try_backend(&server).await.1 {
        assert!(start.elapsed() < PATIENCE, "its place is not given back");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn http_connections_have_a_limit_of_their_own(cores: usize) {
    let settings = [("HTTP_CONNECTIONS_MAX", "3"), ("MAX_CONNECTIONS", "1")];
    let server = Server::with(cores, &settings).await;
    let page = server.address("http", "page");
    let _client = server.connect("ws", "echo").await;
    let request = b"GET /listeners.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for round in 0..3 {
        let mut open_ones = Vec::new();
        let start = Instant::now();
        // On whichever cores they are.
        while open_ones.len() < 3 {
            let mut http = Http::dial(page).await;
            http.write(request).await;
            let response = http.response().await.expect("an answer");
            match response.status {
                200 => open_ones.push(http),
                // The last round's are still leaving.
                status => assert!(round > 0 && status == 503, "{response:?}"),
            }
            assert!(start.elapsed() < PATIENCE);
        }
        for _ in 0..2 {
            // Nor need it ask to be told.
            let mut refused = Http::dial(page).await;
            let response = refused.response().await.expect("an answer");
            assert_eq!(response.status, 503, "{response:?}");
            assert_eq!(response.header("connection"), Some("close"));
            assert!(refused.ends().await);
        }
        for http in &mut open_ones {
            http.write(request).await;
            assert_eq!(http.response().await.expect("an answer").status, 200);
        }
    }
    server.wait_log(&["http_connections_max = 3"]).await;
    assert!(server.closed("connection limit").await >= 6);
}

/// Asks over a connection of its own, which is kept.
async fn ask(page: SocketAddr, request: &str) -> (Http, u16) {
    let mut http = Http::dial(page).await;
    let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    http.write(request.as_bytes()).await;
    let status = http.response().await.expect("an answer").status;
    (http, status)
}

/// A back end's request whose body is still to come.
async fn begin_push(page: SocketAddr) -> (Http, u16) {
    let mut http = Http::dial(page).await;
    http.write(
        b"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
          Content-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    let status = http.head_response().await.expect("an answer").status;
    (http, status)
}

async fn back_ends_streams_and_health_find_a_place_in_http_however_many_others_there_are(
    cores: usize,
) {
    let settings = [
        ("HTTP_CONNECTIONS_MAX", "3"),
        ("MAX_CONNECTIONS", "2"),
        ("HANDSHAKE_TIMEOUT", "60s"),
    ];
    let server = Server::with(cores, &settings).await;
    let page = server.address("http", "page");
    // Nobody's, whose requests are under way, so that none can go for another.
    let mut others = Vec::new();
    while others.len() < 3 {
        let (mut http, status) = ask(page, "GET /").await;
        assert_eq!(status, 200);
        http.write(b"GET / HTTP/1.1\r\n").await;
        others.push(http);
    }
    assert_eq!(ask(page, "GET /").await.1, 503);
    for path in ["/healthz", "/readyz"] {
        let (mut health, status) = ask(page, &format!("GET {path}")).await;
        assert_eq!(status, 200);
        assert!(health.ends().await, "it has no place to keep");
    }
    let _streams = (server.listen("a").await, server.listen("b").await);
    let mut back_ends = Vec::new();
    while back_ends.len() < 3 {
        let (http, status) = begin_push(page).await;
        assert_eq!(status, 100);
        back_ends.push(http);
    }
    // They have a limit, too, and it is nobody else's.
    assert_eq!(begin_push(page).await.1, 503);
    // One whose request is slow to come is told that there is no place.
    let mut slow = Http::dial(page).await;
    slow.write(b"GET /v1/sta").await;
    assert_eq!(slow.response().await.expect("an answer").status, 503);
    // Those who dawdle keep nobody out.
    let mut dawdlers = Vec::new();
    for _ in 0..100 * cores {
        let mut http = Http::dial(page).await;
        http.write(b"GET ").await;
        dawdlers.push(http);
    }
    drop(back_ends.pop());
    let start = Instant::now();
    while begin_push(page).await.1 != 100 {
        assert!(start.elapsed() < PATIENCE, "its place is not given back");
    }
    // Nobody has noticed.
    for http in &mut others {
        http.write(b"Host: localhost\r\n\r\n").await;
        assert_eq!(http.response().await.expect("an answer").status, 200);
    }
    for http in &mut back_ends {
        http.write(b"{}").await;
        assert_eq!(http.response().await.expect("an answer").status, 400);
    }
}

/// Else there could be any number of requests under way.
async fn who_asks_and_goes_keeps_a_place_until_it_is_answered(cores: usize) {
    let settings = [
        ("HTTP_CONNECTIONS_MAX", "1"),
        ("BACKEND_TOKEN", "0123456789abcdef"),
    ];
    let server = Server::with(cores, &settings).await;
    let page = server.address("http", "page");
    // Answered after a pause.
    let wrong =
        "GET /v1/stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer fedcba9876543210\r\n\r\n";
    // On a busy machine it may be reset before it is read, or be answered before we come to ask.
    for _ in 0..20 {
        let mut gone = Raw::dial(page).await;
        gone.write(wrong.as_bytes()).await;
        sleep(Duration::from_millis(50)).await;
        gone.reset();
        sleep(Duration::from_millis(50)).await;
        let is_kept = ask(page, "GET /").await.1 == 503;
        let start = Instant::now();
        while ask(page, "GET /").await.1 != 200 {
            assert!(start.elapsed() < PATIENCE, "the place is lost");
            sleep(Duration::from_millis(20)).await;
        }
        if is_kept {
            return;
        }
    }
    panic!("another had its place while it was not answered, each time");
}

async fn an_address_has_so_many_http_connections_beside_its_websockets(cores: usize) {
    let server = Server::with(cores, &[("CONNECTIONS_PER_ADDRESS_MAX", "2")]).await;
    let page = server.address("http", "page");
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (raw, status) = try_open(&server, "echo").await;
        assert_eq!(status, Some(101));
        kept.push(raw);
    }
    let mut others = Vec::new();
    for expected in [200, 200, 429] {
        let (http, status) = ask(page, "GET /").await;
        assert_eq!(status, expected);
        others.push(http);
    }
    drop(others);
    // Back ends are as many as they like, wherever they are.
    let mut back_ends = Vec::new();
    let start = Instant::now();
    while back_ends.len() < 5 {
        let (http, status) = ask(page, "GET /v1/stats").await;
        match status {
            200 => back_ends.push(http),
            // The others are still leaving.
            status => assert_eq!(status, 429),
        }
        assert!(start.elapsed() < PATIENCE);
    }
}

async fn a_listener_may_have_its_own_limit_by_address(cores: usize) {
    let server = Server::from_file(
        cores,
        "connections_per_address_max = 1
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"push-backend\"
        connections_per_address_max = 2
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"echo\"
        [[listen]]
        url = \"frame://127.0.0.1:0\"
        app = \"echo\"
        connections_per_address_max = 0
        [[listen]]
        url = \"http://127.0.0.1:0\"
        app = \"page\"
        connections_per_address_max = 2",
    )
    .await;
    let mut held = Vec::new();
    for own in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        for (scheme, app, max, question, status) in [
            ("text", "push-backend", 2, &b"online x\n"[..], None),
            ("text", "echo", 1, b"hi\n", None),
            (
                "http",
                "page",
                2,
                b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
                Some(429),
            ),
        ] {
            for n in 1..=max + 1 {
                let mut raw = Raw::dial_from(own, server.address(scheme, app)).await;
                raw.write_if_open(question).await;
                if n <= max {
                    let mut byte = [0];
                    let read = raw.socket.read_exact(&mut byte).await;
                    assert!(read.is_ok(), "{app}, number {n} of {own:?}");
                } else {
                    assert_eq!(raw.status().await, status, "{app}, number {n} of {own:?}");
                }
                held.push(raw);
            }
        }
        for _ in 0..5 {
            let mut raw = Raw::dial_from(own, server.address("frame", "echo")).await;
            raw.write(b"\0\0\0\x05x").await;
            let mut answer = [0; 5];
            raw.socket.read_exact(&mut answer).await.expect("an answer");
            held.push(raw);
        }
    }
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

/// The server resets it, however busy the machine is.
async fn expect_reset(raw: &mut Raw) {
    let end = raw.next_within(PATIENCE).await;
    assert!(matches!(end, Some(Err(End::Reset))), "{end:?}");
}

/// Waits until of so many silent connections each core has three at most, and the others were reset.
async fn expect_three_a_core(server: &Server, silent: usize) {
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
        if dropped + each.iter().sum::<u64>() == silent as u64 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{stats}");
        sleep(Duration::from_millis(20)).await;
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
        return expect_three_a_core(&server, silent.len()).await;
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
    expect_reset(&mut silent[0]).await;
    done.shake_hands().await;
    silent.push(Raw::dial(address).await);
    for raw in &mut silent[1..] {
        assert!(!is_reset(raw).await);
    }
    silent.push(Raw::dial(address).await);
    expect_reset(&mut silent[1]).await;
    for raw in &mut silent[2..] {
        assert!(!is_reset(raw).await);
        raw.shake_hands().await;
    }
    let stats = ask_stats(&mut backend).await;
    assert_eq!(closed_in(&stats, "handshake limit"), 2);
    server.wait_log(&["handshakes_max = 3"]).await;
}

async fn a_proxys_header_under_way_is_a_handshake(cores: usize) {
    let server = Server::from_file(
        cores,
        "handshakes_max = 3
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"echo\"
        proxy_protocol = true
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"push-backend\"",
    )
    .await;
    if cores > 1 {
        let mut silent = Vec::new();
        for _ in 0..20 * cores {
            silent.push(Raw::dial(server.address("text", "echo")).await);
        }
        return expect_three_a_core(&server, silent.len()).await;
    }
    let mut waiting = Vec::new();
    for count in 1..=3 {
        let mut raw = Raw::dial(server.address("text", "echo")).await;
        raw.write(b"PROXY TCP4 1.2").await;
        waiting.push(raw);
        for raw in &mut waiting {
            assert!(!is_reset(raw).await, "of {count}");
        }
    }
    waiting.push(Raw::dial(server.address("text", "echo")).await);
    expect_reset(&mut waiting[0]).await;
    for raw in &mut waiting[1..] {
        assert!(!is_reset(raw).await);
    }
    assert_eq!(server.closed("handshake limit").await, 1);
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
    let mut client = server.connect("text", "echo").await;
    assert_eq!(client.ask("hello").await, "hello");
    assert_eq!(server_holds(&mut backend).await, 2);
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
