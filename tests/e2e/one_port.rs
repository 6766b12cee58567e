//! One port for all: websockets at paths of an HTTP listener, beside its page, API and events; and a proxy's header there.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::client::PATIENCE;
use crate::http::{Http, JSON, exchange, get, post};
use crate::listening::{Came, Listening};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, masked, request};
use crate::server::{Server, closed_in};
use crate::tokens::{File, SECRET, token};

on_cores! {
    apps_have_their_paths,
    a_path_is_for_websockets_alone,
    a_request_and_messages_may_come_at_once,
    pages_are_held_to_the_websockets_rules,
    tokens_are_held_to_the_websockets_rules,
    websockets_count_as_clients,
    an_http_connection_may_become_one_later,
    a_proxys_header_comes_before_requests,
    what_a_proxy_brings_is_not_this_machines,
    addresses_behind_a_proxy_are_limited,
    a_small_request_does_not_wait_for_a_large_batch,
    a_drain_lets_no_clients_in_by_http,
}

const LISTENERS: &[&str] = &[
    "http://127.0.0.1:0=page",
    "websocket://127.0.0.1:0/ws=push",
    "websocket://127.0.0.1:0/relay=relay",
    "text://127.0.0.1:0=push-backend",
];

fn at(path: &str, lines: &str) -> String {
    request(lines).replace("GET /chat ", &format!("GET {path} "))
}

/// Opens a websocket at a path, and logs in as a uid.
async fn login(server: &Server, path: &str, uid: &str) -> Raw {
    let mut raw = Raw::dial(server.address("http", "page")).await;
    raw.write(at(path, "").as_bytes()).await;
    assert_eq!(raw.status().await, Some(101), "{path}");
    raw.frame(FIN | TEXT, uid.as_bytes()).await;
    raw
}

async fn bound(server: &Server, count: u64) {
    while server.count("bound").await < count {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn apps_have_their_paths(cores: usize) {
    let server = Server::on(cores, &[], LISTENERS).await;
    let address = server.address("http", "page");
    assert_eq!(server.address("ws", "push"), address);
    let mut pushed = login(&server, "/ws", "tom").await;
    let mut relayed = login(&server, "/relay", "ann").await;
    let welcome = b"login success, your uid is ann";
    relayed.expect(FIN | TEXT, welcome).await;
    let mut listens = Listening::open(address, "eve").await;
    bound(&server, 3).await;
    let body = json!({"uids": ["tom", "ann", "eve"], "text": "hello"}).to_string();
    let answer = post(address, "/v1/push", JSON, &body).await;
    assert_eq!(answer.json()["connections"], 3, "{answer:?}");
    pushed.expect(FIN | TEXT, b"hello").await;
    relayed.expect(FIN | TEXT, b"hello").await;
    assert_eq!(
        listens.next().await,
        Came::Event(String::new(), "hello".to_owned())
    );
    // Each is told by its own URL.
    let listed = get(address, "/listeners.json").await.json();
    let urls: Vec<_> = listed.as_array().expect("a list").iter().collect();
    assert!(
        urls.contains(
            &&json!({"app": "push", "url": format!("ws://{address}/ws"), "token": false})
        )
    );
    let seat = &get(address, "/v1/uids/tom").await.json()["list"][0];
    assert_eq!(seat["listener"], format!("ws://{address}/ws"));
    assert_eq!(seat["app"], "push");
    let metrics = get(address, "/metrics").await.body;
    let open = |url: &str, app: &str| -> u64 {
        let labels = format!("listener=\"{url}\",app=\"{app}\"}} ");
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("ringpost_connections{"));
        let counts = lines.filter_map(|line| line.split_once(&labels)?.1.parse::<u64>().ok());
        counts.sum()
    };
    assert_eq!(open(&format!("ws://{address}/ws"), "push"), 1, "{metrics}");
    assert_eq!(open(&format!("ws://{address}/relay"), "relay"), 1);
    // That of events, and the one that asks; those that have asked may be still leaving.
    assert!(open(&format!("http://{address}"), "http") >= 2);
}

async fn a_path_is_for_websockets_alone(cores: usize) {
    let server = Server::on(cores, &[], LISTENERS).await;
    let address = server.address("http", "page");
    let plain = get(address, "/ws").await;
    assert_eq!(plain.status, 426, "{plain:?}");
    assert_eq!(plain.header("upgrade"), Some("websocket"));
    // Whoever asks for one elsewhere asks in vain, and what is no right handshake is told why.
    for (text, status) in [
        (at("/other", ""), 404),
        (at("/ws/", ""), 404),
        (at("/ws", "").replace("Version: 13", "Version: 8"), 426),
        (at("/ws", "").replace("GET ", "POST "), 405),
        (at("/ws", "").replace("HTTP/1.1", "HTTP/1.0"), 505),
    ] {
        assert_eq!(exchange(address, &text).await.status, status, "{text}");
    }
    assert_eq!(server.closed("bad handshake").await, 3);
    // Without the role there are no websockets.
    let server = Server::on(cores, &[], &["http://127.0.0.1:0=page"]).await;
    let answer = exchange(server.address("http", "page"), &at("/ws", "")).await;
    assert_eq!(answer.status, 404);
}

async fn a_request_and_messages_may_come_at_once(cores: usize) {
    let server = Server::on(cores, &[], LISTENERS).await;
    for cut in [1, 40, 150, 170] {
        let mut raw = Raw::dial(server.address("http", "page")).await;
        let mut bytes = at("/relay", "").into_bytes();
        bytes.extend(masked(FIN | TEXT, b"tom"));
        bytes.extend(masked(FIN | TEXT, b"tom:hello"));
        raw.write(&bytes[..cut]).await;
        sleep(Duration::from_millis(20)).await;
        raw.write(&bytes[cut..]).await;
        assert_eq!(raw.status().await, Some(101));
        raw.expect(FIN | TEXT, b"login success, your uid is tom")
            .await;
        raw.expect(FIN | TEXT, b"hello").await;
        raw.frame(FIN | 8, &1000u16.to_be_bytes()).await;
        raw.drain().await;
        while server.count("bound").await > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn pages_are_held_to_the_websockets_rules(cores: usize) {
    let server = Server::on(cores, &[], LISTENERS).await;
    let address = server.address("http", "page");
    for (lines, status) in [
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://localhost:3000\r\n", 101),
        ("", 101),
    ] {
        let mut raw = Raw::dial(address).await;
        raw.write(at("/ws", lines).as_bytes()).await;
        assert_eq!(raw.status().await, Some(status), "{lines}");
    }
    // By role, not by port: a listed page has its websocket where the API is for this machine's names alone.
    let listed = [("ORIGINS", "https://shop.example")];
    let server = Server::on(cores, &listed, LISTENERS).await;
    let address = server.address("http", "page");
    let mut raw = Raw::dial(address).await;
    let asks = at("/ws", "Origin: https://shop.example\r\n");
    raw.write(
        asks.replace("Host: 127.0.0.1", "Host: push.example")
            .as_bytes(),
    )
    .await;
    assert_eq!(raw.status().await, Some(101));
    let api = "GET /v1/stats HTTP/1.1\r\nHost: push.example\r\n\r\n";
    assert_eq!(exchange(address, api).await.status, 421);
}

async fn tokens_are_held_to_the_websockets_rules(cores: usize) {
    let keys = File::new(SECRET);
    let settings = [("AUTH", "hmac"), ("AUTH_KEY_FILE", keys.path())];
    let server = Server::on(cores, &settings, LISTENERS).await;
    let address = server.address("http", "page");
    let field = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (lines, status) in [(field(&token("tom")), 101), (field("nonsense"), 401)] {
        let mut raw = Raw::dial(address).await;
        raw.write(at("/ws", &lines).as_bytes()).await;
        assert_eq!(raw.status().await, Some(status));
        if status == 101 {
            bound(&server, 1).await;
        }
    }
    assert_eq!(server.closed("bad login").await, 1);
    // It is the API's that has another token, or none.
    assert_eq!(get(address, "/v1/stats").await.status, 200);
}

async fn websockets_count_as_clients(cores: usize) {
    let settings = [
        ("MAX_CONNECTIONS", "3"),
        ("HTTP_CONNECTIONS_MAX", "1"),
        ("CONNECTIONS_PER_ADDRESS_MAX", "2"),
    ];
    let server = Server::on(cores, &settings, LISTENERS).await;
    let address = server.address("http", "page");
    let mut kept = Vec::new();
    for (own, status) in [(1, 101), (1, 101), (1, 429), (2, 101), (2, 503)] {
        let mut raw = Raw::dial_from([127, 0, 0, own], address).await;
        raw.write(at("/ws", "").as_bytes()).await;
        assert_eq!(raw.status().await, Some(status));
        if status == 101 {
            kept.push(raw);
        } else {
            drop(raw.drain().await);
        }
    }
    // More than there may be HTTP connections.
    assert_eq!(server.closed("connection limit").await, 1);
    assert_eq!(server.closed("address limit").await, 1);
}

async fn an_http_connection_may_become_one_later(cores: usize) {
    let server = Server::on(cores, &[], LISTENERS).await;
    let address = server.address("http", "page");
    let mut raw = Raw::dial(address).await;
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..3 {
        raw.write(health.as_bytes()).await;
        assert_eq!(raw.status().await, Some(200));
        raw.take(3).await;
    }
    // Right behind a request that is answered first.
    raw.write(format!("{health}{}", at("/relay", "")).as_bytes())
        .await;
    assert_eq!(raw.status().await, Some(200));
    raw.take(3).await;
    assert_eq!(raw.status().await, Some(101));
    raw.frame(FIN | TEXT, b"tom").await;
    raw.expect(FIN | TEXT, b"login success, your uid is tom")
        .await;
    assert_eq!(server.count("connections").await, 2);
}

const PROXIED: &str = "
    [[listen]]
    url = \"http://127.0.0.1:0\"
    app = \"page\"
    proxy_protocol = true
    paths = { \"/chat\" = \"chat\" }
    [[listen]]
    url = \"text://127.0.0.1:0\"
    app = \"push-backend\"
    [backend]
    token = \"0123456789abcdef\"";

fn came_from(ip: &str, port: u16) -> String {
    format!("PROXY TCP4 {ip} 10.0.0.1 {port} 80\r\n")
}

async fn proxied(cores: usize, more: &str) -> Server {
    let file = format!("{more}{PROXIED}");
    Server::from_file_with(cores, &file, 3).await
}

async fn a_proxys_header_comes_before_requests(cores: usize) {
    let server = proxied(cores, "").await;
    let address = server.address("http", "page");
    let auth = "Authorization: Bearer 0123456789abcdef\r\n";
    let ask = |request: String| async move {
        let mut http = Http::dial(address).await;
        http.write(request.as_bytes()).await;
        http.response().await
    };
    // Its pieces may come apart, and requests right behind it.
    let header = came_from("203.0.113.5", 4660);
    let stats = format!("GET /v1/stats HTTP/1.1\r\nHost: x\r\n{auth}\r\n");
    let mut http = Http::dial(address).await;
    for piece in header.as_bytes().chunks(7) {
        http.write(piece).await;
        sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..2 {
        http.write(stats.as_bytes()).await;
        let answer = http.response().await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(
        ask(format!("{header}{stats}"))
            .await
            .expect("an answer")
            .status,
        200
    );
    // The address is the client's, by events and by a websocket.
    let events = format!("{header}GET /v1/events?uid=tom HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let socket = tokio::net::TcpStream::connect(address).await;
    let listens = Listening::over(socket.expect("a connection"), &events).await;
    assert_eq!(listens.status, 200, "{}", listens.head);
    let seat = ask(format!(
        "{header}GET /v1/uids/tom HTTP/1.1\r\nHost: x\r\n{auth}\r\n"
    ))
    .await;
    let seat = &seat.expect("an answer").json()["list"][0];
    assert_eq!(seat["address"], "203.0.113.5:4660");
    let mut raw = Raw::dial(address).await;
    let opening = format!("{}{}", came_from("203.0.113.6", 7), at("/chat", ""));
    raw.write(opening.as_bytes()).await;
    assert_eq!(raw.status().await, Some(101));
    raw.frame(FIN | TEXT, b"login:Tom").await;
    raw.expect(FIN | TEXT, b"notice:success").await;
    raw.expect(FIN | TEXT, b"msg:welcome Tom").await;
    raw.expect(FIN | TEXT, b"users:{\"203.0.113.6:7\":\"Tom\"}")
        .await;
    // Without it there is no request.
    assert!(
        ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned())
            .await
            .is_none()
    );
    let told = ask(format!("{header}{stats}")).await;
    let told = told.expect("an answer").json();
    assert_eq!(closed_in(&told, "bad proxy header"), 1);
}

async fn what_a_proxy_brings_is_not_this_machines(cores: usize) {
    let file = "
        [[listen]]
        url = \"http://127.0.0.1:0\"
        app = \"page\"
        proxy_protocol = true
        roles = [\"events\"]";
    let server = Server::from_file(cores, file).await;
    let address = server.address("http", "page");
    let mut http = Http::dial(address).await;
    let request = "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n";
    http.write(format!("{}{request}", came_from("203.0.113.5", 1)).as_bytes())
        .await;
    assert_eq!(http.response().await.expect("an answer").status, 404);
}

async fn addresses_behind_a_proxy_are_limited(cores: usize) {
    let server = proxied(cores, "connections_per_address_max = 2\n").await;
    let address = server.address("http", "page");
    let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept = Vec::new();
    for (ip, status) in [(5, 200), (5, 200), (5, 429), (6, 200), (6, 200), (6, 429)] {
        let mut http = Http::dial(address).await;
        let from = came_from(&format!("203.0.113.{ip}"), 1);
        http.write(format!("{from}{request}").as_bytes()).await;
        let answer = http.response().await.expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        kept.push(http);
    }
}

async fn a_drain_lets_no_clients_in_by_http(cores: usize) {
    let settings = [("DRAIN_RATE", "1"), ("DRAIN_TIMEOUT", "120s")];
    let mut server = Server::on(cores, &settings, LISTENERS).await;
    let address = server.address("http", "page");
    let mut kept = Vec::new();
    for n in 0..30 {
        kept.push(login(&server, "/ws", &format!("u{n}")).await);
    }
    server.signal(libc::SIGTERM);
    let start = Instant::now();
    loop {
        let mut raw = Raw::dial(address).await;
        raw.write(at("/ws", "").as_bytes()).await;
        match raw.status().await {
            // Not yet.
            Some(101) => sleep(Duration::from_millis(20)).await,
            status => break assert_eq!(status, Some(503)),
        }
        assert!(start.elapsed() < PATIENCE);
    }
    // One that listens is told nothing, so that its browser comes back; others are served.
    let mut listens = Http::dial(address).await;
    let events = format!("GET /v1/events?uid=x HTTP/1.1\r\nHost: {address}\r\n\r\n");
    listens.write(events.as_bytes()).await;
    assert!(listens.response().await.is_none());
    assert_eq!(get(address, "/readyz").await.status, 503);
    assert_eq!(get(address, "/v1/uids/u29").await.status, 200);
    drop(kept);
    assert_eq!(server.wait_exit(PATIENCE).await.code(), Some(0));
}

async fn a_small_request_does_not_wait_for_a_large_batch(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let mut tom = server.push("ws", "tom").await;
    let many: Vec<String> = (0..10).map(|n| format!("nobody{n}")).collect();
    let mut entries = vec![json!({"push": {"uid": "tom", "text": "begun"}})];
    entries.resize(10_000, json!({"push": {"uids": many, "text": "x"}}));
    let body = json!(entries).to_string();
    // On a busy machine it may be done before we come to ask.
    for _ in 0..20 {
        let mut batch = Http::dial(address).await;
        let head = format!(
            "POST /v1/batch HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: {}\r\n\r\n",
            body.len()
        );
        batch.write(head.as_bytes()).await;
        batch.write(body.as_bytes()).await;
        tom.expect("begun").await;
        let small = get(address, "/v1/uids/tom").await;
        assert_eq!(small.json()["connections"], 1);
        let is_first = timeout(Duration::ZERO, batch.response()).await.is_err();
        if is_first {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("a small request has waited for a batch within {PATIENCE:?}, each time");
}
