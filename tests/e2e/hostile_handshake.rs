//! Opening requests that nobody means well with: each gets the status that fits, or a named end, in bounded
//! time and memory, and nobody else notices.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bad_handshakes::{Case, cases};
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

pub async fn each_bad_request_gets_its_status(cores: usize) {
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
    server.expect_memory(memory, 1 << 20);
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
        let case = Case::new(name, bytes.to_vec(), status);
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
    server.expect_memory(memory, 1 << 20);
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

/// If the values below cost the square of their length, it would be tens of milliseconds each. (What is built with a
/// sanitizer takes several times as long.)
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
                taken < 8 * plain + Duration::from_millis(1),
                "{name} of {unit:?}: {taken:?}, and {plain:?} without"
            );
        }
    }
    // In many small headers.
    let many =
        (0..50).map(|n| format!("Sec-WebSocket-Extensions: a{n}; b={}\r\n", "c,".repeat(50)));
    let taken = cost(&server, &many.collect::<String>()).await;
    assert!(
        taken < 8 * plain + Duration::from_millis(1),
        "{taken:?}, {plain:?}"
    );
}

pub async fn frames_behind_the_request_are_served_wherever_it_is_cut(cores: usize) {
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
