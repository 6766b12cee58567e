//! Opening requests that nobody means well with: each gets the status that fits, or a named end, in bounded
//! time and memory, and nobody else notices.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::{PATIENCE, short};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, masked, request};
use crate::server::Server;

on_cores! {
    each_bad_request_gets_its_status,
    byte_by_byte_it_gets_the_same,
    other_protocols_are_told_at_once,
    one_that_goes_on_sending_after_its_refusal_is_cut_off,
    half_a_request_costs_no_more_than_its_bytes,
    hostile_header_values_cost_linear_time,
    frames_behind_the_request_are_served_wherever_it_is_cut,
}

/// A bad request: what is bad about it, its bytes, the status it gets, and a header line of the answer.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    status: u16,
    line: &'static str,
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, bytes: Vec<u8>, status| {
        cases.push(Case {
            name,
            bytes,
            status,
            line: match status {
                405 => "\r\nallow: get\r\n",
                426 => "\r\nsec-websocket-version: 13\r\n",
                _ => "\r\nconnection: close",
            },
        });
    };
    let good = request("");
    let mut changed = |name, from: &str, to: &str, status| {
        assert!(good.contains(from), "{name}: nothing is changed");
        case(name, good.replacen(from, to, 1).into_bytes(), status);
    };

    changed("no key", KEY, "", 400);
    changed("an empty key", KEY, "Sec-WebSocket-Key:\r\n", 400);
    changed("a short key", "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400);
    changed(
        "a long key",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZWFh",
        400,
    );
    changed(
        "a key that is no base64",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25*ZQ==",
        400,
    );
    changed(
        "a key with loose bits",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZR==",
        400,
    );
    changed("the key twice", KEY, &KEY.repeat(2), 400);
    changed("no version", VERSION, "", 426);
    changed(
        "an old version",
        VERSION,
        "Sec-WebSocket-Version: 8\r\n",
        426,
    );
    changed(
        "a list of versions",
        VERSION,
        "Sec-WebSocket-Version: 13, 8\r\n",
        426,
    );
    changed(
        "no number for a version",
        VERSION,
        "Sec-WebSocket-Version: 013\r\n",
        426,
    );
    changed("the version twice", VERSION, &VERSION.repeat(2), 400);
    changed("POST", "GET", "POST", 405);
    changed("a method in lower case", "GET", "get", 405);
    changed("HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 505);
    changed("HTTP/2.0", "HTTP/1.1", "HTTP/2.0", 505);
    changed("no version of HTTP", " HTTP/1.1", "", 400);
    changed("no such version of HTTP", "HTTP/1.1", "HTTP/1.11", 400);
    changed("no Host", "Host: 127.0.0.1\r\n", "", 400);
    changed("two Hosts", "Host:", "Host: 127.0.0.1\r\nHost:", 400);
    changed("an empty Host", "Host: 127.0.0.1", "Host:", 400);
    changed(
        "a Host with a path",
        "Host: 127.0.0.1",
        "Host: 127.0.0.1/x",
        400,
    );
    changed(
        "a Host with a user",
        "Host: 127.0.0.1",
        "Host: me@127.0.0.1",
        400,
    );
    changed(
        "two Origins",
        "Host:",
        "Origin: null\r\nOrigin: null\r\nHost:",
        400,
    );
    changed(
        "a folded header",
        "Upgrade: websocket",
        "Upgrade:\r\n websocket",
        400,
    );
    changed(
        "one folded by a tab",
        "Upgrade: websocket",
        "Upgrade: x,\r\n\twebsocket",
        400,
    );
    changed("a fold before the first header", "Host:", " Host:", 400);
    changed("space before the colon", "Upgrade:", "Upgrade :", 400);
    changed("a tab before the colon", "Upgrade:", "Upgrade\t:", 400);
    changed("space in a name", "Upgrade:", "Up grade:", 400);
    changed(
        "a header without a name",
        "Upgrade:",
        ": x\r\nUpgrade:",
        400,
    );
    changed("a header without a colon", "Upgrade:", "x\r\nUpgrade:", 400);
    changed("NUL in a value", "websocket", "web\0socket", 400);
    changed("NUL in a name", "Upgrade", "Up\0grade", 400);
    changed("NUL in the target", "/chat", "/ch\0at", 400);
    changed("DEL in a value", "websocket", "websocket\x7f", 400);
    changed("an escape character", "websocket", "websocket\x1b[2J", 400);
    changed(
        "a bare carriage return",
        "websocket\r\n",
        "websocket\r",
        400,
    );
    changed(
        "carriage returns in a value",
        "websocket",
        "web\rsocket",
        400,
    );
    changed("a bare line feed", "websocket\r\n", "websocket\n", 400);
    changed(
        "a bare line feed after the first line",
        "HTTP/1.1\r\n",
        "HTTP/1.1\n",
        400,
    );
    changed("an empty line first", "GET", "\r\nGET", 400);
    changed("a second space", "GET ", "GET  ", 400);
    changed("a fragment", "/chat", "/chat#x", 400);
    changed("a target of no path", "/chat", "chat", 400);
    changed("a character to be escaped", "/chat", "/ch\u{e9}t", 400);
    changed(
        "a length and chunks",
        "Host:",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost:",
        400,
    );
    changed(
        "two lengths",
        "Host:",
        "Content-Length: 0\r\nContent-Length: 0\r\nHost:",
        400,
    );
    changed("no length", "Host:", "Content-Length: +0\r\nHost:", 400);
    changed("a body", "Host:", "Content-Length: 5\r\nHost:", 400);
    changed(
        "a body in chunks",
        "Host:",
        "Transfer-Encoding: chunked\r\nHost:",
        400,
    );
    changed(
        "a body in another coding",
        "Host:",
        "Transfer-Encoding: gzip\r\nHost:",
        501,
    );
    changed("an expectation", "Host:", "Expect: a miracle\r\nHost:", 417);
    changed("no Upgrade", "Upgrade: websocket\r\n", "", 426);
    changed(
        "another Upgrade",
        "Upgrade: websocket",
        "Upgrade: websockets",
        426,
    );
    changed(
        "h2c",
        "Upgrade: websocket",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        426,
    );
    changed("no Connection", "Connection: Upgrade\r\n", "", 400);
    changed(
        "another Connection",
        "Connection: Upgrade",
        "Connection: keep-alive",
        400,
    );

    let long = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    let many: String = (0..10_000)
        .map(|n| format!("X-{n}: {n}\r\nHost:"))
        .collect();
    let path = format!("/{}", "x".repeat(64 << 10));
    let value = format!("X: {}\r\nHost:", "x".repeat(1 << 20));
    let name = format!("{}: x\r\nHost:", "x".repeat(64 << 10));
    case(
        "65 headers",
        long("Host:", &("X: 1\r\n".repeat(60) + "Host:")),
        431,
    );
    case(
        "10,000 headers",
        long(
            "Host:",
            &many
                .replace("\r\nHost:", "\r\n")
                .replace("9999: 9999\r\n", "9999: 9999\r\nHost:"),
        ),
        431,
    );
    case("a path of 64 KB", long("/chat", &path), 414);
    case("a header of 1 MB", long("Host:", &value), 431);
    case("a name of 64 KB", long("Host:", &name), 431);
    case("a method of 64 KB", long("GET", &"G".repeat(64 << 10)), 400);
    case(
        "a head without end",
        long("\r\n\r\n", &format!("\r\n{}", "X: 1\r\n".repeat(4_000))),
        431,
    );
    case(
        "bytes that are no text",
        good.replace("Host:", "X: ")
            .into_bytes()
            .iter()
            .map(|byte| byte | 0x80)
            .collect(),
        400,
    );
    cases
}

/// Reads the answer to the end of the connection, and holds it against what the case expects.
async fn expect_answer(raw: &mut Raw, case: &Case) {
    let start = Instant::now();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, raw.socket.read_to_end(&mut answer)).await;
    let Case {
        name, status, line, ..
    } = case;
    assert!(read.is_ok(), "{name}: the connection is left open");
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let begins = format!("http/1.1 {status} ");
    assert!(answer.starts_with(&begins), "{name}: {}", short(&answer));
    assert!(
        answer.contains(line),
        "{name}: no {line:?} in {}",
        short(&answer)
    );
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{name}: it took {took:?}");
}

/// Others are served, and nothing is kept of those that were refused.
async fn expect_sound(server: &Server, refused: usize) {
    server.wait_closed("bad handshake", refused as u64).await;
    assert_eq!(server.closed("bad handshake").await, refused as u64);
    let mut echo = server.connect("ws", "echo").await;
    assert_eq!(echo.ask("hello").await, "hello");
}

async fn each_bad_request_gets_its_status(cores: usize) {
    let server = Server::start(cores).await;
    let (before, memory) = (server.holdings().await, server.memory());
    let cases = cases();
    for case in &cases {
        let mut raw = Raw::dial(server.address("ws", "relay")).await;
        raw.write_if_open(&case.bytes).await;
        expect_answer(&mut raw, case).await;
    }
    expect_sound(&server, cases.len()).await;
    server.wait_holdings(before).await;
    server.expect_memory(memory, 8 << 20);
}

async fn byte_by_byte_it_gets_the_same(cores: usize) {
    let server = Server::start(cores).await;
    let mut cases = cases();
    cases.retain(|case| case.bytes.len() < 500);
    assert!(cases.len() > 50);
    for case in &cases {
        let mut raw = Raw::dial(server.address("ws", "relay")).await;
        for byte in &case.bytes {
            // It may have been refused by now.
            if raw.socket.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        expect_answer(&mut raw, case).await;
    }
    expect_sound(&server, cases.len()).await;
}

/// Nothing waits for a request that cannot come any more.
async fn other_protocols_are_told_at_once(cores: usize) {
    let server = Server::with(cores, &[("HANDSHAKE_TIMEOUT", "60s")]).await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let protocols: [(&str, &[u8], u16); 9] = [
        ("a TLS hello", hello, 400),
        (
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            505,
        ),
        ("a PROXY header", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", 400),
        ("a binary PROXY header", b"\r\n\r\n\0\r\nQUIT\n", 400),
        ("a line of the back end", b"{\"uid\":\"x\"}\n", 400),
        (
            "a frame",
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            400,
        ),
        ("mail", b"EHLO example\r\n", 400),
        ("a remote shell", b"SSH-2.0-OpenSSH_9.6\r\n", 400),
        ("redis", b"*1\r\n$4\r\nPING\r\n", 400),
    ];
    for (name, bytes, status) in protocols {
        let case = Case {
            name,
            bytes: bytes.to_vec(),
            status,
            line: "\r\nconnection: close",
        };
        let mut raw = Raw::dial(server.address("ws", "relay")).await;
        raw.write(&case.bytes).await;
        expect_answer(&mut raw, &case).await;
    }
    expect_sound(&server, protocols.len()).await;
}

async fn one_that_goes_on_sending_after_its_refusal_is_cut_off(cores: usize) {
    let server = Server::start(cores).await;
    let (before, memory) = (server.holdings().await, server.memory());
    let mut raw = Raw::dial(server.address("ws", "relay")).await;
    raw.write_if_open(b"GET / HTTP/1.1\r\nX: ").await;
    let start = Instant::now();
    let chunk = [b'x'; 64 << 10];
    loop {
        match timeout(PATIENCE, raw.socket.write_all(&chunk)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) => panic!("it is neither read nor cut off"),
        }
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "it is read without end"
        );
    }
    server.wait_closed("bad handshake", 1).await;
    server.wait_holdings(before).await;
    server.expect_memory(memory, 4 << 20);
}

async fn half_a_request_costs_no_more_than_its_bytes(cores: usize) {
    let server = Server::start(cores).await;
    let before = server.holdings().await;
    let memory = server.memory();
    let mut half = request("").replace("\r\n\r\n", "\r\nX: ").into_bytes();
    half.resize((8 << 10) - 1, b'x');
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let mut raw = Raw::dial(server.address("ws", "relay")).await;
        raw.write(&half).await;
        waiting.push(raw);
    }
    let mut echo = server.connect("ws", "echo").await;
    assert_eq!(echo.ask("hello").await, "hello");
    server.expect_memory(memory, 400 * (24 << 10));
    drop((waiting, echo));
    server.wait_holdings(before).await;
}

/// What one handshake with these further header lines costs the server.
async fn cost(server: &Server, lines: &str) -> Duration {
    const TIMES: u32 = 60;
    let bytes = request(lines).into_bytes();
    let start = server.cpu_time();
    for _ in 0..TIMES {
        let mut raw = Raw::dial(server.address("ws", "echo")).await;
        raw.write(&bytes).await;
        let head = raw.head().await;
        // It may be taken, refused, or be no origin that is let in.
        assert!(
            [" 101 ", " 400 ", " 403 "].contains(&&head[8..13]),
            "{}: {head}",
            short(&lines)
        );
    }
    (server.cpu_time() - start) / TIMES
}

/// If the values below cost the square of their length, it would be tens of milliseconds each.
async fn hostile_header_values_cost_linear_time(cores: usize) {
    let server = Server::start(cores).await;
    let fill = |unit: &str| unit.repeat(7_000 / unit.len());
    let plain = cost(&server, "").await;
    for name in [
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "Connection",
        "Upgrade",
        "Origin",
        "X-Unknown",
    ] {
        for unit in [
            ",",
            ";",
            "a",
            "a,",
            " ",
            "\"",
            "\\\"",
            "=",
            "a=\"",
            "permessage-deflate,",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits; ",
            "permessage-deflate; server_max_window_bits=8,",
        ] {
            // It must begin with something, or the space around the value is not part of it.
            let taken = cost(&server, &format!("{name}: x{}x\r\n", fill(unit))).await;
            assert!(
                taken < 3 * plain + Duration::from_micros(500),
                "{name} of {unit:?}: {taken:?}, and {plain:?} without"
            );
        }
    }
    // In many small headers.
    let many =
        (0..50).map(|n| format!("Sec-WebSocket-Extensions: a{n}; b={}\r\n", "c,".repeat(50)));
    let taken = cost(&server, &many.collect::<String>()).await;
    assert!(
        taken < 3 * plain + Duration::from_micros(500),
        "{taken:?}, {plain:?}"
    );
}

async fn frames_behind_the_request_are_served_wherever_it_is_cut(cores: usize) {
    let server = Server::start(cores).await;
    let mut bytes = request("").into_bytes();
    let head = bytes.len();
    for body in ["one", "two", "three"] {
        bytes.extend(masked(FIN | TEXT, body.as_bytes()));
    }
    for cut in [1, head - 5, head - 1, head, head + 1, head + 7, bytes.len()] {
        let mut raw = Raw::dial(server.address("ws", "echo")).await;
        let (first, rest) = bytes.split_at(cut);
        raw.write(first).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        raw.write(rest).await;
        assert!(
            raw.head().await.starts_with("HTTP/1.1 101 "),
            "cut at {cut}"
        );
        for body in ["one", "two", "three"] {
            raw.expect(FIN | TEXT, body.as_bytes()).await;
        }
    }
}
