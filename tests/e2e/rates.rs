//! How fast one connection may send: N pass, one more closes it with 1008.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::{End, Got};
use crate::on_cores;
use crate::raw::{FIN, PING, PONG, Raw, TEXT, masked};
use crate::seed;
use crate::server::Server;

on_cores! {
    messages_up_to_what_is_saved_up_pass_and_one_more_closes,
    pings_and_pongs_are_messages,
    bytes_up_to_what_is_saved_up_pass_and_one_more_closes,
    every_codec_has_its_rate,
    who_sends_no_faster_than_the_rate_stays,
    back_ends_and_echo_have_rates_of_their_own_alone,
    by_default_there_is_no_rate,
}

/// Ten messages, and one more each second.
const TEN: [(&str, &str); 2] = [("MESSAGES_PER_SECOND_MAX", "1"), ("RATE_BURST", "10s")];

async fn messages_up_to_what_is_saved_up_pass_and_one_more_closes(cores: usize) {
    let server = Server::with(cores, &TEN).await;
    let mut rng = seed::rng();
    for messages in [9, 10, 11] {
        // The login is the first of them: what it has cost moves along to the uid's core.
        let uid = seed::uid(&mut rng);
        let mut raw = Raw::open(server.address("ws", "relay")).await;
        let mut bytes = masked(FIN | TEXT, uid.as_bytes());
        for _ in 1..messages {
            bytes.extend(masked(FIN | TEXT, format!("{uid}:x").as_bytes()));
        }
        raw.write(&bytes).await;
        raw.next().await.expect("a login answer");
        for _ in 1..messages.min(10) {
            raw.expect(FIN | TEXT, b"x").await;
        }
        if messages > 10 {
            let close = raw.next().await.expect("a close frame");
            assert_eq!(close.body, b"\x03\xf0rate limit");
        } else {
            // It goes on as fast as the rate.
            sleep(Duration::from_millis(1_200)).await;
            raw.frame(FIN | TEXT, format!("{uid}:y").as_bytes()).await;
            raw.expect(FIN | TEXT, b"y").await;
        }
    }
    assert_eq!(server.closed("rate limit").await, 1);
}

async fn pings_and_pongs_are_messages(cores: usize) {
    let server = Server::with(cores, &TEN).await;
    for first in [FIN | PING, FIN | PONG] {
        for count in [10, 11] {
            let mut raw = Raw::open(server.address("ws", "push")).await;
            raw.write(&masked(first, b"p").repeat(count)).await;
            if first == FIN | PING {
                for _ in 0..10 {
                    raw.expect(FIN | PONG, b"p").await;
                }
            }
            if count > 10 {
                raw.expect_close(&[1008]).await;
            } else {
                let next = raw.next_within(Duration::from_millis(300)).await;
                assert!(next.is_none(), "{next:?}");
            }
        }
    }
    assert_eq!(server.closed("rate limit").await, 2);
}

async fn bytes_up_to_what_is_saved_up_pass_and_one_more_closes(cores: usize) {
    let settings = [
        ("BYTES_PER_SECOND_MAX", "1"),
        ("RATE_BURST", "1000s"),
        ("MESSAGE_BYTES_MAX", "500"),
    ];
    let server = Server::with(cores, &settings).await;
    let mut rng = seed::rng();
    for bytes in [999, 1_000, 1_001] {
        let uid = seed::uid(&mut rng);
        let mut client = server.connect("text", "push").await;
        let mut lines = format!("{uid}\n");
        while lines.len() < bytes {
            let line = (bytes - lines.len() - 1).min(99);
            lines.push_str(&"x".repeat(line));
            lines.push('\n');
        }
        client.send_bytes(lines.as_bytes()).await;
        if bytes > 1_000 {
            client.expect_end(1008).await;
            server.wait_offline(&uid).await;
        } else {
            server.wait_online(&uid).await;
            client.expect_silence().await;
        }
    }
    assert_eq!(server.closed("rate limit").await, 1);
}

async fn every_codec_has_its_rate(cores: usize) {
    let server = Server::with(cores, &TEN).await;
    let mut rng = seed::rng();
    for (n, scheme) in ["ws", "text", "frame"].into_iter().enumerate() {
        let mut calm = server.relay(scheme, &seed::uid(&mut rng)).await;
        let uid = seed::uid(&mut rng);
        let mut client = server.relay(scheme, &uid).await;
        for _ in 0..10 {
            if client.try_send(&format!("{uid}:x")).await.is_err() {
                break;
            }
        }
        let words = client.drain_to_end(1008).await;
        assert_eq!(words, ["x"; 9]);
        assert_eq!(server.closed("rate limit").await, n as u64 + 1);
        calm.expect_silence().await;
    }
}

async fn who_sends_no_faster_than_the_rate_stays(cores: usize) {
    let settings = [("MESSAGES_PER_SECOND_MAX", "20"), ("RATE_BURST", "1s")];
    let server = Server::with(cores, &settings).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    for n in 0..100 {
        client.send(&format!("{uid}:{n}")).await;
        client.expect(&n.to_string()).await;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn back_ends_and_echo_have_rates_of_their_own_alone(cores: usize) {
    let server = Server::from_file(
        cores,
        "messages_per_second_max = 1
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"push-backend\"
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"echo\"
        [[listen]]
        url = \"frame://127.0.0.1:0\"
        app = \"echo\"
        messages_per_second_max = 2
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"relay\"
        messages_per_second_max = 0",
    )
    .await;
    let mut backend = server.backend().await;
    let mut echo = server.connect("text", "echo").await;
    let mut relay = server.relay("text", &seed::uid(&mut seed::rng())).await;
    for _ in 0..50 {
        assert_eq!(backend.ask("online nobody").await, "fail");
        assert_eq!(echo.ask("hello").await, "hello");
        relay.ask("to nobody").await;
    }
    let mut limited = server.connect("frame", "echo").await;
    let three = crate::client::frame(b"x").repeat(3);
    limited.send_bytes(&three).await;
    for _ in 0..2 {
        limited.expect("x").await;
    }
    assert!(matches!(
        limited.next().await,
        Got::End(End::Bare | End::Reset)
    ));
    assert_eq!(server.closed("rate limit").await, 1);
}

async fn by_default_there_is_no_rate(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut raw = Raw::open(server.address("ws", "relay")).await;
    raw.frame(FIN | TEXT, uid.as_bytes()).await;
    raw.next().await.expect("a login answer");
    let message = masked(FIN | TEXT, format!("{uid}:x").as_bytes());
    raw.write(&message.repeat(5_000)).await;
    for _ in 0..5_000 {
        raw.expect(FIN | TEXT, b"x").await;
    }
}
