//! One bad line of a back end among good ones: it is answered with why, and the others are served.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::PATIENCE;
use crate::on_cores;
use crate::raw::Raw;
use crate::server::Server;

on_cores! {
    bad_lines_among_good_ones,
    a_line_is_skipped_to_its_end_within_bounds,
    a_last_line_without_its_end,
    half_a_command_is_not_carried_out,
    a_byte_order_mark_is_skipped,
    who_has_no_token_is_told_nothing_else,
    a_request_line_of_any_length_closes,
    clients_lines_close_as_before,
}

/// All that the server answers to these bytes before it ends the connection, as it does when we have ended our side.
async fn answers(server: &Server, bytes: &[u8]) -> Vec<String> {
    let mut socket = TcpStream::connect(server.address("text", "push-backend"))
        .await
        .expect("a connection");
    let mut text = String::new();
    let conversation = async {
        // It may have been cut off.
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let _ = socket.read_to_string(&mut text).await;
    };
    timeout(PATIENCE, conversation).await.expect("an end");
    text.lines().map(str::to_owned).collect()
}

fn begins(answers: &[String], expected: &[&str]) {
    assert_eq!(answers.len(), expected.len(), "{answers:?}");
    for (answer, expected) in answers.iter().zip(expected) {
        assert!(answer.starts_with(expected), "{answers:?}");
    }
}

async fn bad_lines_among_good_ones(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "tom").await;
    let push = |n: usize| format!("{{\"uid\":\"tom\",\"n\":{n}}}\n").into_bytes();
    let long = [vec![b'x'; 70_000], b"\n".to_vec()].concat();
    let long_object = format!("{{\"uid\":\"tom\",\"x\":\"{}\"}}\r\n", "x".repeat(70_000));
    let bytes = [
        push(0),
        long,
        push(1),
        b"{\"uid\":\"tom\",\"x\":\"\xff\"}\n".to_vec(),
        push(2),
        long_object.into_bytes(),
        b"nonsense\n".to_vec(),
        push(3),
        b"online tom\n".to_vec(),
    ]
    .concat();
    let answers = answers(&server, &bytes).await;
    let long = "fail: the line is longer than message_bytes_max";
    let not_text = "fail: not UTF-8";
    begins(
        &answers,
        &[
            "ok",
            long,
            "ok",
            not_text,
            "ok",
            long,
            "fail: expected",
            "ok",
            "ok",
        ],
    );
    for n in 0..4 {
        client
            .expect(&format!("{{\"uid\":\"tom\",\"n\":{n}}}"))
            .await;
    }
    client.expect_silence().await;
    assert_eq!(server.closed("message too big").await, 0);
    assert_eq!(server.closed("not UTF-8").await, 0);
}

async fn a_line_is_skipped_to_its_end_within_bounds(cores: usize) {
    let server = Server::start(cores).await;
    let (before, memory) = (server.holdings().await, server.memory());
    let long = |length| [vec![b'x'; length], b"\nstats\n".to_vec()].concat();
    begins(&answers(&server, &long(15 << 20)).await, &["fail: ", "{"]);
    assert!(answers(&server, &long(17 << 20)).await.is_empty());
    server.wait_closed("message too big", 1).await;
    // Of what is skipped nothing is kept.
    let mut half = Raw::dial(server.address("text", "push-backend")).await;
    for _ in 0..8 {
        half.write(&[b'x'; 1 << 20]).await;
    }
    server.expect_memory(memory, 4 << 20);
    drop(half);
    server.wait_holdings(before).await;
}

async fn a_last_line_without_its_end(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "tom").await;
    let whole = "{\"uid\":\"tom\",\"n\":1}";
    begins(&answers(&server, whole.as_bytes()).await, &["ok"]);
    client.expect(whole).await;
    let carriage = format!("{whole}\r");
    begins(&answers(&server, carriage.as_bytes()).await, &["ok"]);
    client.expect(whole).await;
    let after = format!("online tom\n{{\"uid\":\"nobody\"}}\n{whole}");
    begins(
        &answers(&server, after.as_bytes()).await,
        &["ok", "fail", "ok"],
    );
    client.expect(whole).await;
    for (bytes, expected) in [
        (&b"{\"uid\":\"tom\",\"n\":"[..], &["fail: not JSON"][..]),
        (b"{\"uid\":\"tom\"\xff", &["fail: not UTF-8"]),
        (b"stats", &["fail: the last line has no end"]),
        (b"stats\n", &["{"]),
        (b"", &[]),
    ] {
        begins(&answers(&server, bytes).await, expected);
    }
    let long = [b"{\"uid\":\"tom\"", &[b' '; 70_000][..]].concat();
    begins(
        &answers(&server, &long).await,
        &["fail: the line is longer"],
    );
    client.expect_silence().await;
}

/// As when a back end dies in the middle of a name.
async fn half_a_command_is_not_carried_out(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "tom").await;
    begins(
        &answers(&server, b"online tom\nkick tom").await,
        &["ok", "fail: the last line has no end"],
    );
    client.expect_silence().await;
    assert_eq!(server.closed("kicked").await, 0);
}

/// Some libraries put one before a stream, others before each text.
async fn a_byte_order_mark_is_skipped(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "tom").await;
    let push = "{\"uid\":\"tom\",\"n\":1}";
    let bytes = format!("\u{feff}{push}\n\u{feff}{push}\n\u{feff}online tom\r\n\u{feff}{push}");
    begins(&answers(&server, bytes.as_bytes()).await, &["ok"; 4]);
    for _ in 0..3 {
        client.expect(push).await;
    }
    let request = "\u{feff}GET / HTTP/1.1\r\nonline tom\n";
    assert!(answers(&server, request.as_bytes()).await.is_empty());
    // A client's first line is its name.
    let mut raw = Raw::dial(server.address("text", "push")).await;
    raw.write("\u{feff}ann\n".as_bytes()).await;
    server.wait_online("ann").await;
}

async fn who_has_no_token_is_told_nothing_else(cores: usize) {
    let token = "a-token-of-forty-characters-or-so-1234567";
    let server = Server::with(cores, &[("BACKEND_TOKEN", token)]).await;
    let first = "fail: the first line must be";
    let long = [vec![b'x'; 70_000], b"\n".to_vec()].concat();
    begins(&answers(&server, &long).await, &[first]);
    begins(&answers(&server, b"\xff\n").await, &[first]);
    begins(&answers(&server, b"{\"uid\":\"all\"}").await, &[first]);
    let authorized = [format!("auth {token}\n").as_bytes(), &long, b"online x\n"].concat();
    begins(
        &answers(&server, &authorized).await,
        &["ok", "fail: the line is longer", "fail"],
    );
}

/// Whatever is in its path: what follows is a page's to write.
async fn a_request_line_of_any_length_closes(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.push("ws", "tom").await;
    let push = "{\"uid\":\"tom\",\"text\":\"smuggled\"}\n";
    for length in [10, 70_000] {
        let path = "x".repeat(length);
        for line in [
            format!("POST /{path} HTTP/1.1\r\n"),
            format!("MADE-UP /{path} HTTP/1.1\r\n"),
            format!("GET /{path}\r\n"),
        ] {
            let bytes = format!("{line}Host: 127.0.0.1\r\n\r\n{push}");
            assert!(
                answers(&server, bytes.as_bytes()).await.is_empty(),
                "{length}"
            );
            // It is none later either; what was asked before may be answered, or not any more.
            let later = answers(&server, format!("online tom\n{bytes}").as_bytes()).await;
            assert!(later.is_empty() || later == ["ok"], "{length} {later:?}");
        }
        let unended = format!("POST /{path} HTTP/1.1");
        assert!(answers(&server, unended.as_bytes()).await.is_empty());
    }
    client.expect_silence().await;
    // Another server, for one says one line a second of these.
    let server = Server::start(cores).await;
    let start = std::time::Instant::now();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut raw = Raw::dial(server.address("text", "push-backend")).await;
    raw.write(hello).await;
    raw.next().await.expect_err("its end");
    assert!(start.elapsed() < PATIENCE);
    server.wait_log(&["TLS", "127.0.0.1:"]).await;
}

async fn clients_lines_close_as_before(cores: usize) {
    let server = Server::start(cores).await;
    for (bytes, reason) in [
        (vec![b'x'; 70_000], "message too big"),
        (b"\xff\n".to_vec(), "not UTF-8"),
    ] {
        let mut raw = Raw::dial(server.address("text", "relay")).await;
        raw.write_if_open(&bytes).await;
        raw.next().await.expect_err("its end");
        server.wait_closed(reason, 1).await;
    }
}
