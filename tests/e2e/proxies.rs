//! Behind proxies: the address that a PROXY protocol header or X-Forwarded-For tells is the client's, if it
//! is to be believed. The chat's roster shows which address the server took.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::{Client, End};
use crate::http::{Http, exchange};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, masked, request};
use crate::server::Server;

on_cores! {
    a_proxys_header_tells_the_clients_address,
    a_header_may_come_in_any_pieces,
    a_header_the_request_and_a_message_may_come_at_once,
    a_proxys_own_connections_keep_their_address,
    without_its_header_a_connection_is_closed,
    a_header_has_to_come_in_time,
    a_stranger_may_not_play_the_proxy,
    the_address_told_is_the_one_that_is_limited,
    a_trusted_proxy_tells_whom_it_forwards,
    what_a_stranger_says_of_itself_is_ignored,
    a_request_of_nobody_is_refused,
    the_address_forwarded_is_the_one_that_is_limited,
    both_ways_go_together,
    http_requests_that_a_proxy_forwards_are_limited_by_their_clients,
}

/// Chat behind a proxy, and the back end.
fn file(settings: &str) -> String {
    let mut file = format!("{settings}\n");
    for (url, app, proxied) in [
        ("websocket://127.0.0.1:0", "chat", true),
        ("text://127.0.0.1:0", "chat", true),
        ("text://127.0.0.1:0", "push-backend", false),
    ] {
        file.push_str(&format!(
            "[[listen]]\nurl = \"{url}\"\napp = \"{app}\"\nproxy_protocol = {proxied}\n"
        ));
    }
    file
}

fn line(ip: &str, port: u16) -> Vec<u8> {
    let family = if ip.contains(':') {
        "TCP6 {ip} ::1"
    } else {
        "TCP4 {ip} 127.0.0.1"
    };
    let family = family.replace("{ip}", ip);
    format!("PROXY {family} {port} 80\r\n").into_bytes()
}

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// Version 2, for 203.0.113.5.
fn header_v4(port: u16) -> Vec<u8> {
    let mut rest = vec![203, 0, 113, 5, 127, 0, 0, 1];
    rest.extend(port.to_be_bytes());
    rest.extend([0, 80]);
    // A part of no meaning, as proxies add for alignment.
    rest.extend([4, 0, 3, 0, 0, 0]);
    header(0x21, 0x11, &rest)
}

/// Opens a websocket behind bytes that a proxy sends first, and with further header lines.
async fn open(server: &Server, before: &[u8], lines: &str) -> Raw {
    let mut raw = Raw::dial(server.address("ws", "chat")).await;
    raw.write(before).await;
    raw.write(request(lines).as_bytes()).await;
    raw
}

/// Logs in to chat: the addresses in the roster.
async fn addresses(raw: &mut Raw, name: &str) -> Vec<String> {
    raw.frame(FIN | TEXT, format!("login:{name}").as_bytes())
        .await;
    loop {
        let frame = raw.next().await.expect("a roster");
        let text = String::from_utf8(frame.body).expect("text");
        if let Some(roster) = text.strip_prefix("users:") {
            let roster: serde_json::Value = serde_json::from_str(roster).expect("JSON");
            let roster = roster.as_object().expect("an object");
            return roster.keys().cloned().collect();
        }
    }
}

async fn opened_as(server: &Server, before: &[u8], lines: &str) -> String {
    let mut raw = open(server, before, lines).await;
    assert_eq!(raw.status().await, Some(101));
    let mut all = addresses(&mut raw, "alone").await;
    assert_eq!(all.len(), 1, "{all:?}");
    raw.frame(FIN | 8, &1000u16.to_be_bytes()).await;
    raw.drain().await;
    all.remove(0)
}

async fn a_proxys_header_tells_the_clients_address(cores: usize) {
    let server = Server::from_file(cores, &file("")).await;
    let mut v6 = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    v6.extend([0; 16]);
    v6.extend([0x12, 0x34, 0, 80]);
    for (before, address) in [
        (header_v4(4_660), "203.0.113.5:4660"),
        (header(0x21, 0x21, &v6), "[2001:db8::9]:4660"),
        (line("203.0.113.6", 7), "203.0.113.6:7"),
        (line("2001:db8::8", 7), "[2001:db8::8]:7"),
    ] {
        assert_eq!(opened_as(&server, &before, "").await, address);
    }
    // Over text, too, where nothing else opens the connection.
    let mut socket = TcpStream::connect(server.address("text", "chat"))
        .await
        .expect("a connection");
    socket.write_all(&header_v4(9)).await.expect("it is taken");
    let mut client = Client::over("text", socket).await;
    client.send("login:alone").await;
    client.expect("notice:success").await;
    client.expect("msg:welcome alone").await;
    client.expect("users:{\"203.0.113.5:9\":\"alone\"}").await;
    assert_eq!(server.closed("bad proxy header").await, 0);
}

async fn a_header_may_come_in_any_pieces(cores: usize) {
    let server = Server::from_file(cores, &file("")).await;
    for before in [header_v4(4_660), line("203.0.113.5", 4_660)] {
        let mut raw = Raw::dial(server.address("ws", "chat")).await;
        for byte in before {
            raw.write(&[byte]).await;
            sleep(Duration::from_millis(2)).await;
        }
        raw.shake_hands().await;
        assert_eq!(addresses(&mut raw, "alone").await, ["203.0.113.5:4660"]);
        raw.frame(FIN | 8, &1000u16.to_be_bytes()).await;
        raw.drain().await;
    }
}

async fn a_header_the_request_and_a_message_may_come_at_once(cores: usize) {
    let server = Server::from_file(cores, &file("")).await;
    let mut raw = Raw::dial(server.address("ws", "chat")).await;
    let mut bytes = header_v4(4_660);
    bytes.extend(request("").as_bytes());
    bytes.extend(masked(FIN | TEXT, b"login:alone"));
    raw.write(&bytes).await;
    assert_eq!(raw.status().await, Some(101));
    raw.expect(FIN | TEXT, b"notice:success").await;
    raw.expect(FIN | TEXT, b"msg:welcome alone").await;
    raw.expect(FIN | TEXT, b"users:{\"203.0.113.5:4660\":\"alone\"}")
        .await;
}

async fn a_proxys_own_connections_keep_their_address(cores: usize) {
    // However many, for they are health checks.
    let server = Server::from_file(cores, &file("connections_per_address_max = 1")).await;
    let mut open_ones = Vec::new();
    for (n, before) in [
        header(0x20, 0, &[]),
        header(0x20, 0x11, &[]),
        header(0x21, 0, &[]),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ]
    .iter()
    .enumerate()
    {
        let mut raw = open(&server, before, "").await;
        assert_eq!(raw.status().await, Some(101));
        let own = raw.socket.local_addr().expect("an address").to_string();
        let all = addresses(&mut raw, &format!("check{n}")).await;
        assert!(all.contains(&own), "{own} in {all:?}");
        open_ones.push(raw);
    }
}

async fn without_its_header_a_connection_is_closed(cores: usize) {
    let server = Server::from_file(cores, &file("")).await;
    let mut cases = vec![
        request("").into_bytes(),
        b"login:alone\n".to_vec(),
        header(0x31, 0x11, &[0; 12]),
        header(0x21, 0x11, &[0; 11]),
        header(0x21, 0x12, &[0; 12]),
        header(0x20, 0, &[0; 4_081]),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n".to_vec(),
    ];
    cases.push([b"PROXY ", &[b'x'; 200][..]].concat());
    let start = Instant::now();
    for bytes in &cases {
        for scheme in ["ws", "text"] {
            let mut raw = Raw::dial(server.address(scheme, "chat")).await;
            raw.write_if_open(bytes).await;
            assert!(matches!(raw.next().await, Err(End::Bare | End::Reset)));
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "by the timeout only"
    );
    server.wait_log(&["proxy_protocol"]).await;
    assert_eq!(
        server.closed("bad proxy header").await,
        2 * cases.len() as u64
    );
}

async fn a_header_has_to_come_in_time(cores: usize) {
    let server = Server::from_file(cores, &file("handshake_timeout = \"1s\"")).await;
    for scheme in ["ws", "text"] {
        for bytes in [&b""[..], b"PROXY TCP4", &header_v4(1)[..20]] {
            let start = Instant::now();
            let mut raw = Raw::dial(server.address(scheme, "chat")).await;
            raw.write(bytes).await;
            raw.next().await.expect_err("its end");
            let lived = start.elapsed();
            assert!(lived > Duration::from_millis(800), "closed after {lived:?}");
            assert!(lived < Duration::from_secs(6), "closed after {lived:?}");
        }
    }
    server.wait_closed("handshake timeout", 6).await;
    // The request has what is left of the same time.
    let mut raw = Raw::dial(server.address("ws", "chat")).await;
    raw.write(&header_v4(1)).await;
    raw.next().await.expect_err("its end");
    server.wait_closed("handshake timeout", 7).await;
}

async fn a_stranger_may_not_play_the_proxy(cores: usize) {
    let server = Server::from_file(cores, &file("trusted_proxies = \"127.0.0.2\"")).await;
    let address = server.address("ws", "chat");
    for (own, is_proxy) in [([127, 0, 0, 2], true), ([127, 0, 0, 3], false)] {
        let mut raw = Raw::dial_from(own, address).await;
        raw.write_if_open(&header_v4(4_660)).await;
        raw.write_if_open(request("").as_bytes()).await;
        assert_eq!(raw.status().await.is_some(), is_proxy);
    }
    server.wait_log(&["127.0.0.3", "trusted_proxies"]).await;
}

async fn the_address_told_is_the_one_that_is_limited(cores: usize) {
    let server = Server::from_file(cores, &file("connections_per_address_max = 2")).await;
    let mut clients = Vec::new();
    for round in 0..2 {
        for ip in ["203.0.113.5", "203.0.113.6"] {
            for (port, status) in [(1, 101), (2, 101), (3, 429)] {
                let start = Instant::now();
                loop {
                    let mut raw = open(&server, &line(ip, port), "").await;
                    let got = raw.status().await;
                    clients.push(raw);
                    // The last round's may still be leaving.
                    if got == Some(status) {
                        break;
                    }
                    assert!(
                        round > 0 && start.elapsed() < Duration::from_secs(10),
                        "{got:?}"
                    );
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
        let mut text = Raw::dial(server.address("text", "chat")).await;
        text.write(&line("203.0.113.5", 4)).await;
        assert!(matches!(text.next().await, Err(End::Bare | End::Reset)));
        clients.clear();
    }
}

/// Chat for browsers behind a proxy that adds X-Forwarded-For.
async fn forwarded(cores: usize, settings: &[(&str, &str)]) -> Server {
    let listeners = [
        "websocket://127.0.0.1:0=chat",
        "text://127.0.0.1:0=push-backend",
    ];
    Server::on(cores, settings, &listeners).await
}

async fn a_trusted_proxy_tells_whom_it_forwards(cores: usize) {
    let server = forwarded(cores, &[("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")]).await;
    for (lines, ip) in [
        ("X-Forwarded-For: 203.0.113.5\r\n", "203.0.113.5"),
        // What the client invented stands before what the proxies have seen.
        (
            "X-Forwarded-For: 10.0.0.1, 198.51.100.1, 203.0.113.5\r\n",
            "203.0.113.5",
        ),
        (
            "X-Forwarded-For: 198.51.100.1\r\nx-forwarded-for: 203.0.113.5, 10.0.0.9\r\n",
            "203.0.113.5",
        ),
        ("X-Forwarded-For: 2001:db8::5\r\n", "[2001:db8::5]"),
        ("X-Forwarded-For: 203.0.113.5,\r\n", "203.0.113.5"),
        (
            "X-Forwarded-For: 203.0.113.5\r\nX-Forwarded-For:\r\n",
            "203.0.113.5",
        ),
        ("", "127.0.0.1"),
    ] {
        let mut raw = open(&server, b"", lines).await;
        assert_eq!(raw.status().await, Some(101));
        // Two of one address have to differ, so the port is the proxy's.
        let port = raw.socket.local_addr().expect("an address").port();
        assert_eq!(
            addresses(&mut raw, "alone").await,
            [format!("{ip}:{port}")],
            "{lines}"
        );
        raw.frame(FIN | 8, &1000u16.to_be_bytes()).await;
        raw.drain().await;
    }
}

async fn what_a_stranger_says_of_itself_is_ignored(cores: usize) {
    for trusted in ["", "127.0.0.2, 10.0.0.0/8"] {
        let server = forwarded(cores, &[("TRUSTED_PROXIES", trusted)]).await;
        let address = opened_as(&server, b"", "X-Forwarded-For: 203.0.113.5\r\n").await;
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
}

/// A proxy's own address counts towards no limit, so nobody is taken for it whose address is not told.
async fn a_request_of_nobody_is_refused(cores: usize) {
    let listeners = [
        "websocket://127.0.0.1:0=push",
        "http://127.0.0.1:0=page",
        "text://127.0.0.1:0=push-backend",
    ];
    let settings = [
        ("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8"),
        ("CONNECTIONS_PER_ADDRESS_MAX", "1"),
    ];
    let server = Server::on(cores, &settings, &listeners).await;
    let http = server.address("http", "page");
    for value in [
        "nonsense",
        "unknown",
        "",
        ",",
        "203.0.113.5, unknown",
        "203.0.113.5, unknown, 10.0.0.7",
    ] {
        let line = format!("X-Forwarded-For: {value}\r\n");
        let mut raw = Raw::dial(server.address("ws", "push")).await;
        raw.write(request(&line).as_bytes()).await;
        assert_eq!(raw.status().await, Some(400), "{value}");
        for path in ["/healthz", "/v1/events?uid=a"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\n{line}\r\n");
            assert_eq!(exchange(http, &request).await.status, 400, "{value} {path}");
        }
    }
    server
        .wait_log(&["INFO", "X-Forwarded-For", "trusted_proxies"])
        .await;
    assert_eq!(server.closed("bad handshake").await, 6);
    assert_eq!(server.closed("address limit").await, 0);
}

async fn the_address_forwarded_is_the_one_that_is_limited(cores: usize) {
    let settings = [
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("CONNECTIONS_PER_ADDRESS_MAX", "2"),
    ];
    let server = forwarded(cores, &settings).await;
    let mut clients = Vec::new();
    for ip in ["203.0.113.5", "203.0.113.6"] {
        let lines = format!("X-Forwarded-For: {ip}\r\n");
        for status in [101, 101, 429] {
            let mut raw = open(&server, b"", &lines).await;
            assert_eq!(raw.status().await, Some(status), "{ip}");
            clients.push(raw);
        }
    }
    assert_eq!(server.closed("address limit").await, 2);
}

async fn both_ways_go_together(cores: usize) {
    let server =
        Server::from_file(cores, &file("trusted_proxies = \"127.0.0.1, 10.0.0.0/8\"")).await;
    let lines = "X-Forwarded-For: 203.0.113.5\r\n";
    // A balancer tells of a proxy of ours, which tells of the client.
    let address = opened_as(&server, &line("10.0.0.7", 4_660), lines).await;
    assert_eq!(address, "203.0.113.5:4660");
    // One that it tells of and that is none may say what it likes.
    let address = opened_as(&server, &line("198.51.100.1", 4_660), lines).await;
    assert_eq!(address, "198.51.100.1:4660");
}

/// Fields of a request whose body is still to come: the server says when it has taken them.
const HALF: &str = "Content-Length: 1\r\nExpect: 100-continue\r\n";

/// A proxy carries the requests of many over its connections; one of a client counts until it is answered.
async fn http_requests_that_a_proxy_forwards_are_limited_by_their_clients(cores: usize) {
    let server = Server::from_file(
        cores,
        "trusted_proxies = \"127.0.0.0/8\"
        [[listen]]
        url = \"http://127.0.0.1:0\"
        app = \"page\"
        connections_per_address_max = 2",
    )
    .await;
    let address = server.address("http", "page");
    let request = |ip: &str, more: &str| {
        format!(
            "POST /healthz HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: 198.51.100.1, {ip}\r\n{more}\r\n"
        )
    };
    for _ in 0..2 {
        for ip in ["203.0.113.5", "203.0.113.6", "2001:db8::5"] {
            let mut half = Vec::new();
            for _ in 0..2 {
                let mut http = Http::dial(address).await;
                http.write(request(ip, HALF).as_bytes()).await;
                let invited = http.head_response().await.expect("an invitation");
                assert_eq!(invited.status, 100);
                half.push(http);
            }
            let mut third = Http::dial(address).await;
            third.write(request(ip, "").as_bytes()).await;
            assert_eq!(third.response().await.expect("an answer").status, 429);
            assert!(third.ends().await);
            for http in &mut half {
                http.write(b"x").await;
                assert_eq!(http.response().await.expect("an answer").status, 405);
            }
            // Their connections stay, and count no more: of the proxy there may be any number.
            for http in &mut half {
                for ip in [ip, "203.0.113.7", ip] {
                    http.write(request(ip, "").as_bytes()).await;
                    assert_eq!(http.response().await.expect("an answer").status, 405);
                }
            }
        }
    }
    // What a stranger says of itself is ignored.
    let server = Server::from_file(
        cores,
        "trusted_proxies = \"127.0.0.2\"
        [[listen]]
        url = \"http://127.0.0.1:0\"
        app = \"page\"
        connections_per_address_max = 2",
    )
    .await;
    let address = server.address("http", "page");
    let request = |ip: &str, more: &str| {
        format!("POST /healthz HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: {ip}\r\n{more}\r\n")
    };
    // It cannot use up another's, nor is it another each time.
    let mut held = Vec::new();
    for (ip, more, status) in [
        ("203.0.113.5", HALF, 100),
        ("203.0.113.5", HALF, 100),
        ("203.0.113.6", "", 429),
    ] {
        let mut raw = Raw::dial_from([127, 0, 0, 3], address).await;
        raw.write_if_open(request(ip, more).as_bytes()).await;
        assert_eq!(raw.status().await, Some(status));
        held.push(raw);
    }
    for status in [405, 405] {
        let mut raw = Raw::dial_from([127, 0, 0, 2], address).await;
        raw.write(request("203.0.113.5", "").as_bytes()).await;
        assert_eq!(raw.status().await, Some(status));
        held.push(raw);
    }
}
