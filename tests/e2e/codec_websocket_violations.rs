//! Websocket bytes that break RFC 6455: each ends its connection with the right code and no other.

use crate::on_cores;
use crate::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, Raw, TEXT, masked};
use crate::seed;
use crate::server::Server;

/// Sends the bytes to a fresh echo connection; it must close with one of the codes, and a bystander
/// must not notice.
async fn expect_refused(server: &Server, what: &str, bytes: &[u8], codes: &[u16]) {
    println!("{what}");
    let mut bystander = Raw::open(server.address("ws", "echo")).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    raw.write(bytes).await;
    raw.expect_close(codes).await;
    bystander.frame(FIN | TEXT, b"still here").await;
    bystander.expect(FIN | TEXT, b"still here").await;
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(reason);
    masked(FIN | CLOSE, &body)
}

on_cores! {
    an_unmasked_frame_closes_with_1002,
    reserved_bits_and_opcodes_close_with_1002,
    control_frames_that_are_long_or_in_parts_close_with_1002,
    fragments_out_of_order_close_with_1002,
    close_frames_that_are_malformed_close_with_1002,
    a_length_with_its_highest_bit_set_closes,
    text_that_is_not_utf8_closes_with_1007,
    utf8_is_checked_across_fragments,
    violations_are_counted_by_name,
    a_violation_after_login_unmaps_the_uid,
    random_bytes_never_harm_the_server,
}

async fn an_unmasked_frame_closes_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    expect_refused(&server, "text", b"\x81\x02hi", &[1002]).await;
    expect_refused(&server, "empty text", b"\x81\x00", &[1002]).await;
    expect_refused(&server, "ping", b"\x89\x00", &[1002]).await;
    expect_refused(&server, "close", b"\x88\x02\x03\xe8", &[1002]).await;
}

async fn reserved_bits_and_opcodes_close_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    for bit in [0x40, 0x20, 0x10] {
        let what = format!("reserved bit {bit:#x}");
        expect_refused(&server, &what, &masked(FIN | bit | TEXT, b"hi"), &[1002]).await;
        expect_refused(&server, &what, &masked(FIN | bit | PING, b"hi"), &[1002]).await;
    }
    for opcode in [0x3, 0x4, 0x7, 0xb, 0xc, 0xf] {
        let what = format!("reserved opcode {opcode:#x}");
        expect_refused(&server, &what, &masked(FIN | opcode, b""), &[1002]).await;
    }
}

async fn control_frames_that_are_long_or_in_parts_close_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    expect_refused(
        &server,
        "long ping",
        &masked(FIN | PING, &[0; 126]),
        &[1002],
    )
    .await;
    expect_refused(&server, "half a ping", &masked(PING, b"x"), &[1002]).await;
    expect_refused(&server, "long close", &close(1000, &[b'x'; 124]), &[1002]).await;
}

async fn fragments_out_of_order_close_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    let orphan = masked(FIN | CONTINUATION, b"x");
    expect_refused(&server, "no first fragment", &orphan, &[1002]).await;
    let orphan = masked(CONTINUATION, b"x");
    expect_refused(&server, "no first fragment, more to come", &orphan, &[1002]).await;
    let mut two = masked(TEXT, b"one");
    two.extend(masked(FIN | TEXT, b"two"));
    expect_refused(&server, "a message within another", &two, &[1002]).await;
    let mut two = masked(BINARY, b"one");
    two.extend(masked(BINARY, b"two"));
    expect_refused(&server, "a fragment within another", &two, &[1002]).await;
}

async fn close_frames_that_are_malformed_close_with_1002(cores: usize) {
    let server = Server::start(cores).await;
    expect_refused(&server, "one byte", &masked(FIN | CLOSE, &[3]), &[1002]).await;
    for code in [
        0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        expect_refused(&server, &format!("code {code}"), &close(code, b""), &[1002]).await;
    }
    expect_refused(&server, "reason", &close(1000, b"\xff"), &[1007, 1002]).await;
}

async fn a_length_with_its_highest_bit_set_closes(cores: usize) {
    let server = Server::start(cores).await;
    let bytes = b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01\x01\x02\x03\x04";
    expect_refused(&server, "length", bytes, &[1002, 1009]).await;
}

async fn text_that_is_not_utf8_closes_with_1007(cores: usize) {
    let server = Server::start(cores).await;
    let bad: [&[u8]; 8] = [
        b"\xff",
        b"ok \x80",
        b"\xc0\xaf",         // overlong
        b"\xed\xa0\x80",     // a surrogate
        b"\xf4\x90\x80\x80", // beyond the last code point
        b"\xf0\x9f\x8c",     // cut short
        b"\xf5\x80\x80\x80",
        b"long enough to be checked by blocks, and the last byte is bad \xfe",
    ];
    for body in bad {
        let what = format!("{body:x?}");
        expect_refused(&server, &what, &masked(FIN | TEXT, body), &[1007]).await;
    }
}

async fn utf8_is_checked_across_fragments(cores: usize) {
    let server = Server::start(cores).await;
    let mut cut_short = masked(TEXT, "🌍".as_bytes().split_at(2).0);
    cut_short.extend(masked(FIN | CONTINUATION, b""));
    expect_refused(&server, "a character cut short", &cut_short, &[1007]).await;
    let mut broken = masked(TEXT, b"\xf0\x9f");
    broken.extend(masked(CONTINUATION, b"\x8c"));
    broken.extend(masked(FIN | CONTINUATION, b"x"));
    expect_refused(&server, "a character broken", &broken, &[1007]).await;
    let mut late = masked(TEXT, b"good");
    late.extend(masked(CONTINUATION, b"good"));
    late.extend(masked(FIN | CONTINUATION, b"\xff"));
    expect_refused(&server, "bad at the end", &late, &[1007]).await;
}

async fn violations_are_counted_by_name(cores: usize) {
    let server = Server::start(cores).await;
    expect_refused(&server, "protocol", b"\x81\x00", &[1002]).await;
    expect_refused(&server, "utf-8", &masked(FIN | TEXT, b"\xff"), &[1007]).await;
    server.wait_closed("protocol error", 1).await;
    server.wait_closed("not UTF-8", 1).await;
}

async fn a_violation_after_login_unmaps_the_uid(cores: usize) {
    let server = Server::start(cores).await;
    for uid in seed::uids(&mut seed::rng(), 8) {
        let mut raw = Raw::open(server.address("ws", "relay")).await;
        raw.frame(FIN | TEXT, uid.as_bytes()).await;
        raw.next().await.expect("a login answer");
        raw.write(b"\x81\x02hi").await;
        raw.expect_close(&[1002]).await;
        server.wait_offline(&uid).await;
    }
}

async fn random_bytes_never_harm_the_server(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    for round in 0..150 {
        let app = ["echo", "relay", "push", "chat"][round % 4];
        let mut raw = Raw::open(server.address("ws", app)).await;
        let mut bytes = vec![0; rng.usize(1..400)];
        rng.fill(&mut bytes);
        raw.write_if_open(&bytes).await;
    }
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    raw.frame(FIN | TEXT, b"still here").await;
    raw.expect(FIN | TEXT, b"still here").await;
}
