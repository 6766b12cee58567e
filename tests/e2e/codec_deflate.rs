//! permessage-deflate (RFC 7692): agreed on where it is on and offered, then used both ways.

use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::on_cores;
use crate::raw::{BINARY, CONTINUATION, FIN, Frame, PING, PONG, Raw, TEXT, masked};
use crate::seed;
use crate::server::Server;

on_cores! {
    it_is_agreed_on_where_it_is_on_and_offered,
    the_first_good_offer_is_taken_up,
    bad_offers_are_not_taken_up,
    hostile_offers_take_no_time,
    compressed_messages_come_back,
    what_is_small_is_sent_as_it_is,
    a_client_with_a_small_window_gets_what_fits_it,
    fragments_make_one_compressed_message,
    a_bomb_closes_with_1009,
    the_bit_in_the_wrong_place_closes_with_1002,
    what_cannot_be_inflated_closes_with_1002,
    what_is_cut_short_closes_with_1002,
    compressed_text_that_is_not_utf8_closes_with_1007,
    a_connection_that_moves_goes_on_compressing,
    a_broadcast_is_compressed_once_a_core,
}

/// The bit of a compressed message's first frame.
const RSV1: u8 = 0x40;
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const TAKEN_UP: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What each flush ends with, and is not sent.
const FLUSH_END: &[u8] = b"\x00\x00\xff\xff";

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.flush().expect("memory takes it");
    let all = encoder.get_ref();
    all.strip_suffix(FLUSH_END).expect("a flush").to_vec()
}

pub fn inflate(payload: &[u8]) -> Vec<u8> {
    let stream = [payload, FLUSH_END].concat();
    let mut bytes = Vec::new();
    // The stream has no end of its own, and the reader complains of that when all is out.
    let _ = DeflateDecoder::new(&stream[..]).read_to_end(&mut bytes);
    bytes
}

/// Connects with a header line, and says which extension was agreed on.
async fn offer(server: &Server, app: &str, lines: &str) -> (Raw, Option<String>) {
    let mut raw = Raw::dial(server.address("ws", app)).await;
    let head = raw.shake_hands_with(lines).await;
    let line = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-extensions")
            .then(|| value.to_owned())
    });
    (raw, line)
}

/// A connection to echo that has agreed on compression.
async fn open(server: &Server) -> Raw {
    let (raw, line) = offer(server, "echo", OFFER).await;
    assert_eq!(line.as_deref(), Some(TAKEN_UP));
    raw
}

/// The next frame, which must be a whole message: whether it came compressed, and what it says.
async fn message(raw: &mut Raw) -> (bool, Vec<u8>) {
    let frame = raw.next().await.expect("a frame");
    let Frame { first, body } = frame;
    assert!(first & FIN != 0 && matches!(first & 0xf, TEXT | BINARY));
    match first & RSV1 {
        0 => (false, body),
        _ => (true, inflate(&body)),
    }
}

fn json(uid: &str, len: usize) -> String {
    let mut text = format!("{{\"uid\":\"{uid}\",\"items\":[");
    while text.len() < len {
        text.push_str("{\"name\":\"something\",\"price\":12.5},");
    }
    text.push_str("0]}");
    text
}

async fn it_is_agreed_on_where_it_is_on_and_offered(cores: usize) {
    let server = Server::start(cores).await;
    for (app, lines, agreed) in [
        ("echo", OFFER, Some(TAKEN_UP)),
        ("echo", "", None),
        ("relay", OFFER, None),
        ("push", OFFER, None),
    ] {
        let (mut raw, line) = offer(&server, app, lines).await;
        assert_eq!(line.as_deref(), agreed, "{app}");
        raw.frame(FIN | PING, b"").await;
        raw.expect(FIN | PONG, b"").await;
    }
    let server = Server::with(cores, &[("COMPRESS", "true")]).await;
    for app in ["relay", "push", "chat", "echo"] {
        assert_eq!(
            offer(&server, app, OFFER).await.1.as_deref(),
            Some(TAKEN_UP)
        );
        assert_eq!(offer(&server, app, "").await.1, None);
    }
}

async fn the_first_good_offer_is_taken_up(cores: usize) {
    let server = Server::start(cores).await;
    let line = |value: &str| format!("Sec-WebSocket-Extensions: {value}\r\n");
    let small = format!("{TAKEN_UP}; server_max_window_bits=9");
    let told = format!("{TAKEN_UP}; server_max_window_bits=12");
    for (lines, agreed) in [
        (
            line("permessage-deflate; server_max_window_bits=9"),
            &*small,
        ),
        (line("permessage-deflate; server_max_window_bits=15"), &told),
        (
            line("permessage-deflate; server_max_window_bits=7, permessage-deflate"),
            TAKEN_UP,
        ),
        (line("x-unknown") + &line("permessage-deflate"), TAKEN_UP),
        (line("malformed =") + &line("permessage-deflate"), TAKEN_UP),
    ] {
        let (_, got) = offer(&server, "echo", &lines).await;
        assert_eq!(got.as_deref(), Some(agreed), "{lines}");
    }
}

async fn bad_offers_are_not_taken_up(cores: usize) {
    let server = Server::start(cores).await;
    for value in [
        "",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=1",
        "permessage-deflate; unknown",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=true",
        "permessage-deflate;",
        "x-webkit-deflate-frame",
        "malformed =, permessage-deflate",
        "\"",
    ] {
        let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
        let (mut raw, got) = offer(&server, "echo", &lines).await;
        assert_eq!(got, None, "{value:?}");
        raw.frame(FIN | TEXT, b"as it is").await;
        raw.expect(FIN | TEXT, b"as it is").await;
        // Nothing is agreed on, so the bit is wrong.
        raw.frame(FIN | RSV1 | TEXT, &deflate(b"hi")).await;
        raw.expect_close(&[1002]).await;
    }
}

async fn hostile_offers_take_no_time(cores: usize) {
    let server = Server::start(cores).await;
    let before = server.cpu_time();
    for unit in [
        ",",
        ";",
        "\"",
        "a",
        "a,",
        "a;",
        "a;b=",
        "permessage-deflate;x,",
        "a;b=\"",
        "\t",
    ] {
        for _ in 0..20 {
            let value = unit.repeat(7_500 / unit.len());
            let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
            assert_eq!(offer(&server, "echo", &lines).await.1, None);
        }
    }
    let spent = server.cpu_time() - before;
    assert!(spent < Duration::from_secs(5), "{spent:?}");
}

pub async fn compressed_messages_come_back(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let mut raw = open(&server).await;
    let repeated = "grüße 🌍 ".repeat(20_000).into_bytes();
    for length in [1_024, 5_000, 70_000, 250_000] {
        raw.frame(FIN | RSV1 | TEXT, &deflate(json("u", length).as_bytes()))
            .await;
        assert_eq!(
            message(&mut raw).await,
            (true, json("u", length).into_bytes())
        );
        raw.frame(FIN | TEXT, json("u", length).as_bytes()).await;
        assert_eq!(
            message(&mut raw).await,
            (true, json("u", length).into_bytes())
        );
    }
    raw.frame(FIN | RSV1 | BINARY, &deflate(&repeated)).await;
    assert_eq!(message(&mut raw).await, (true, repeated));
    // What does not get smaller comes back as it is.
    let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..))
        .take(100_000)
        .collect();
    raw.frame(FIN | RSV1 | BINARY, &deflate(&noise)).await;
    assert_eq!(message(&mut raw).await, (false, noise));
    assert_eq!(server.count("messages_inflated").await, 6);
    assert_eq!(server.count("messages_compressed").await, 9);
}

async fn what_is_small_is_sent_as_it_is(cores: usize) {
    for (bytes_min, settings) in [(1_024, &[][..]), (50, &[("COMPRESS_BYTES_MIN", "50")])] {
        let server = Server::with(cores, settings).await;
        let mut raw = open(&server).await;
        for (length, compressed) in [(1, false), (bytes_min - 1, false), (bytes_min, true)] {
            let text = vec![b'x'; length];
            raw.frame(FIN | RSV1 | TEXT, &deflate(&text)).await;
            assert_eq!(message(&mut raw).await, (compressed, text));
        }
        raw.frame(FIN | RSV1 | TEXT, b"\x00").await;
        assert_eq!(message(&mut raw).await, (false, vec![]));
    }
}

async fn a_client_with_a_small_window_gets_what_fits_it(cores: usize) {
    let server = Server::with(cores, &[("COMPRESS_BYTES_MIN", "10")]).await;
    let lines = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n";
    let (mut raw, _) = offer(&server, "echo", lines).await;
    for (length, compressed) in [(256, true), (257, false), (10_000, false)] {
        let text = vec![b'x'; length];
        raw.frame(FIN | TEXT, &text).await;
        assert_eq!(message(&mut raw).await, (compressed, text));
    }
}

async fn fragments_make_one_compressed_message(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let mut raw = open(&server).await;
    let text = json("u", 30_000).into_bytes();
    let payload = deflate(&text);
    for _ in 0..10 {
        let (one, rest) = payload.split_at(rng.usize(0..=payload.len()));
        let (two, three) = rest.split_at(rng.usize(0..=rest.len()));
        raw.frame(RSV1 | TEXT, one).await;
        raw.frame(FIN | PING, b"between").await;
        raw.expect(FIN | PONG, b"between").await;
        raw.frame(CONTINUATION, two).await;
        raw.frame(FIN | CONTINUATION, three).await;
        assert_eq!(message(&mut raw).await, (true, text.clone()));
    }
    // Byte by byte, several in one stream.
    let stream = [
        masked(FIN | RSV1 | TEXT, &payload),
        masked(FIN | TEXT, b"x"),
    ]
    .concat();
    for byte in stream.repeat(2) {
        raw.write(&[byte]).await;
    }
    for _ in 0..2 {
        assert_eq!(message(&mut raw).await, (true, text.clone()));
        assert_eq!(message(&mut raw).await, (false, b"x".to_vec()));
    }
}

pub async fn a_bomb_closes_with_1009(cores: usize) {
    let server = Server::with(cores, &[("COMPRESS", "true")]).await;
    let bystander_uid = seed::uid(&mut seed::rng());
    let mut bystander = server.relay("ws", &bystander_uid).await;
    // 64 MB in 64 KB, and one byte more than is allowed in 82.
    for bytes in [64 << 20, (64 << 10) + 1] {
        let payload = deflate(&vec![b'0'; bytes]);
        assert!(payload.len() < 70_000);
        let (mut raw, line) = offer(&server, "relay", OFFER).await;
        assert_eq!(line.as_deref(), Some(TAKEN_UP));
        raw.write(&masked(FIN | RSV1 | TEXT, &payload)).await;
        raw.expect_close(&[1009]).await;
    }
    let (mut raw, _) = offer(&server, "relay", OFFER).await;
    let uid = seed::uid(&mut seed::rng());
    raw.frame(FIN | RSV1 | TEXT, &deflate(uid.as_bytes())).await;
    raw.next().await.expect("a login answer");
    let largest = format!("{uid}:{}", "0".repeat((64 << 10) - uid.len() - 1));
    raw.frame(FIN | RSV1 | TEXT, &deflate(largest.as_bytes()))
        .await;
    let (_, body) = message(&mut raw).await;
    assert_eq!(body.len(), (64 << 10) - uid.len() - 1);
    bystander.send(&format!("{bystander_uid}:still here")).await;
    bystander.expect("still here").await;
    assert_eq!(server.closed("message too big").await, 2);
}

async fn the_bit_in_the_wrong_place_closes_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    let payload = deflate(b"hello");
    let hello = masked(FIN | TEXT, b"hello");
    for (what, bytes) in [
        ("a ping", masked(FIN | RSV1 | PING, b"")),
        ("a close", masked(FIN | RSV1 | 0x8, b"")),
        (
            "a continuation",
            [
                masked(RSV1 | TEXT, &payload),
                masked(FIN | RSV1 | CONTINUATION, b""),
            ]
            .concat(),
        ),
        (
            "a continuation of what is not compressed",
            [
                masked(TEXT, b"he"),
                masked(FIN | RSV1 | CONTINUATION, b"llo"),
            ]
            .concat(),
        ),
        ("another bit", masked(FIN | RSV1 | 0x20 | TEXT, &payload)),
        ("another bit alone", masked(FIN | 0x10 | TEXT, &payload)),
    ] {
        println!("{what}");
        let mut raw = open(&server).await;
        raw.write(&[&hello[..], &bytes].concat()).await;
        raw.expect(FIN | TEXT, b"hello").await;
        raw.expect_close(&[1002]).await;
    }
}

async fn what_cannot_be_inflated_closes_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    for payload in [
        &b"\x06\x00"[..],
        b"\x02\x11\x00",
        b"\xff\xff\xff\xff\xff\xff",
    ] {
        let mut raw = open(&server).await;
        // A message of a sender that keeps its window would refer to this one.
        raw.frame(FIN | RSV1 | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00")
            .await;
        raw.expect(FIN | TEXT, b"Hello").await;
        raw.frame(FIN | RSV1 | BINARY, payload).await;
        raw.expect_close(&[1002]).await;
    }
}

async fn what_is_cut_short_closes_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    let text = json("u", 5_000).into_bytes();
    let payload = deflate(&text);
    for cut in [payload.len() - 1, payload.len() / 2, 10] {
        let mut raw = open(&server).await;
        raw.frame(FIN | RSV1 | TEXT, &payload).await;
        assert_eq!(message(&mut raw).await, (true, text.clone()));
        raw.frame(FIN | RSV1 | TEXT, &payload[..cut]).await;
        raw.expect_close(&[1002]).await;
    }
}

async fn compressed_text_that_is_not_utf8_closes_with_1007(cores: usize) {
    let server = Server::start(cores).await;
    for text in [&b"caf\xe9"[..], b"\xf0\x9f\x8c", b"\xed\xa0\x80"] {
        let mut raw = open(&server).await;
        raw.frame(FIN | RSV1 | BINARY, &deflate(text)).await;
        raw.expect(FIN | BINARY, text).await;
        raw.frame(FIN | RSV1 | TEXT, &deflate(text)).await;
        raw.expect_close(&[1007]).await;
    }
}

pub async fn a_connection_that_moves_goes_on_compressing(cores: usize) {
    let server = Server::with(cores, &[("COMPRESS", "true")]).await;
    let mut backend = server.backend().await;
    let mut rng = seed::rng();
    for uid in seed::uids(&mut rng, 12) {
        let (mut raw, _) = offer(&server, "relay", OFFER).await;
        let large = json(&uid, 3_000);
        let to_myself = format!("{uid}:{large}");
        // The second is on its way, or half of it, while the connection moves.
        let login = masked(FIN | RSV1 | TEXT, &deflate(uid.as_bytes()));
        let second = masked(FIN | RSV1 | TEXT, &deflate(to_myself.as_bytes()));
        let cut = login.len() + rng.usize(..=second.len());
        let bytes = [login, second].concat();
        raw.write(&bytes[..cut]).await;
        let welcome = format!("login success, your uid is {uid}").into_bytes();
        assert_eq!(message(&mut raw).await, (false, welcome));
        raw.write(&bytes[cut..]).await;
        assert_eq!(message(&mut raw).await, (true, large.clone().into_bytes()));
        assert_eq!(backend.ask(&large).await, "ok");
        assert_eq!(message(&mut raw).await, (true, large.into_bytes()));
    }
}

async fn a_broadcast_is_compressed_once_a_core(cores: usize) {
    let server = Server::with(cores, &[("COMPRESS", "true")]).await;
    let mut receivers = Vec::new();
    // So many that each core has some.
    for uid in seed::uids(&mut seed::rng(), 60) {
        let (mut raw, _) = offer(&server, "relay", OFFER).await;
        raw.frame(FIN | TEXT, uid.as_bytes()).await;
        raw.next().await.expect("a login answer");
        receivers.push(raw);
    }
    let mut plain = server.relay("ws", "plain").await;
    let mut line = server.relay("text", "line").await;
    let news = json("all", 20_000);
    assert_eq!(server.backend().await.ask(&news).await, "ok");
    for raw in &mut receivers {
        assert_eq!(message(raw).await, (true, news.clone().into_bytes()));
    }
    plain.expect(&news).await;
    line.expect(&news).await;
    assert_eq!(server.count("messages_compressed").await, cores as u64);
}
