//! The largest websocket message: N bytes pass, N + 1 close with 1009, never a truncation.

use crate::client::Got;
use crate::on_cores;
use crate::raw::{CONTINUATION, FIN, Raw, TEXT, head_of};
use crate::seed;
use crate::server::Server;

/// The default of clients, and that of `echo`.
const CLIENT_MAX: usize = 64 << 10;
const ECHO_MAX: usize = 16 << 20;

on_cores! {
    a_message_of_the_largest_size_passes,
    one_byte_more_closes,
    the_sum_of_fragments_counts,
    an_announced_length_is_enough_to_close,
    echo_takes_sixteen_mebibytes_and_not_a_byte_more,
    the_limit_is_a_setting,
}

async fn a_message_of_the_largest_size_passes(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uid = seed::uid(&mut rng);
    let mut client = server.relay("ws", &uid).await;
    let body = seed::text(&mut rng, CLIENT_MAX - uid.len() - 1);
    client.send(&format!("{uid}:{body}")).await;
    client.expect(&body).await;
}

async fn one_byte_more_closes(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uid = seed::uid(&mut rng);
    let mut client = server.relay("ws", &uid).await;
    let body = seed::text(&mut rng, CLIENT_MAX - uid.len());
    client.send(&format!("{uid}:{body}")).await;
    client.expect_end(1009).await;
    server.wait_closed("message too big", 1).await;
    server.wait_offline(&uid).await;
}

async fn the_sum_of_fragments_counts(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uid = seed::uid(&mut rng);
    for more in [0, 1] {
        let mut raw = Raw::open(server.address("ws", "relay")).await;
        raw.frame(FIN | TEXT, uid.as_bytes()).await;
        raw.next().await.expect("a login answer");
        let first = format!("{uid}:");
        let rest = CLIENT_MAX - first.len() + more;
        raw.frame(TEXT, first.as_bytes()).await;
        raw.frame(CONTINUATION, &vec![b'x'; rest - 1]).await;
        raw.frame(FIN | CONTINUATION, b"x").await;
        if more == 0 {
            raw.expect(FIN | TEXT, &vec![b'x'; rest]).await;
        } else {
            raw.expect_close(&[1009]).await;
        }
    }
}

async fn an_announced_length_is_enough_to_close(cores: usize) {
    let server = Server::start(cores).await;
    for length in [CLIENT_MAX as u64 + 1, 1 << 40, i64::MAX as u64] {
        let mut raw = Raw::open(server.address("ws", "relay")).await;
        // Not one byte of the body.
        raw.write(&head_of(FIN | TEXT, length)).await;
        raw.write(&[1, 2, 3, 4]).await;
        raw.expect_close(&[1009]).await;
    }
}

async fn echo_takes_sixteen_mebibytes_and_not_a_byte_more(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("ws", "echo").await;
    let mut body = vec![0x5a; ECHO_MAX];
    body[ECHO_MAX - 1] = 0xff;
    client.send_binary(&body).await;
    assert!(
        client.next().await == Got::Binary(body),
        "the largest message came back changed"
    );
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    raw.write(&head_of(FIN | TEXT, ECHO_MAX as u64 + 1)).await;
    raw.write(&[1, 2, 3, 4]).await;
    raw.expect_close(&[1009]).await;
}

async fn the_limit_is_a_setting(cores: usize) {
    let server = Server::with(cores, &[("MESSAGE_BYTES_MAX", "1000")]).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    let body = "x".repeat(1000 - uid.len() - 1);
    client.send(&format!("{uid}:{body}")).await;
    client.expect(&body).await;
    client.send(&format!("{uid}:{body}x")).await;
    client.expect_end(1009).await;
}
