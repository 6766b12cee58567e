//! How fast one connection may send: N pass, one more closes it with 1008; of HTTP, it gets 429.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::{End, Got};
use crate::http::Http;
use crate::on_cores;
use crate::raw::{CONTINUATION, FIN, PING, PONG, Raw, TEXT, masked};
use crate::seed;
use crate::server::Server;

on_cores! {
    messages_up_to_what_is_saved_up_pass_and_one_more_closes,
    pings_and_pongs_are_counted_beside_messages,
    fragments_are_no_messages_and_are_counted,
    an_answer_to_our_ping_takes_no_message,
    bytes_up_to_what_is_saved_up_pass_and_one_more_closes,
    every_codec_has_its_rate,
    who_sends_no_faster_than_the_rate_stays,
    back_ends_and_echo_have_rates_of_their_own_alone,
    http_requests_up_to_the_rate_pass_and_one_more_gets_429,
    http_bytes_up_to_the_rate_pass_and_one_more_gets_429,
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

async fn pings_and_pongs_are_counted_beside_messages(cores: usize) {
    let server = Server::with(cores, &TEN).await;
    for first in [FIN | PING, FIN | PONG] {
        for count in [9, 10, 11] {
            let mut raw = Raw::open(server.address("ws", "push")).await;
            // As many messages do not matter to them; the first is the login.
            let uid = seed::uid(&mut seed::rng());
            let mut bytes = masked(FIN | TEXT, uid.as_bytes());
            bytes.extend(masked(FIN | TEXT, b"x").repeat(9));
            bytes.extend(masked(first, b"p").repeat(count));
            raw.write(&bytes).await;
            if first == FIN | PING {
                for _ in 0..count.min(10) {
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

/// Sixteen count as one ping, however small they are.
async fn fragments_are_no_messages_and_are_counted(cores: usize) {
    let server = Server::with(cores, &TEN).await;
    for (count, ends) in [(159, false), (160, false), (161, true), (2_000, true)] {
        for body in [&b""[..], b"x"] {
            for last in [false, true] {
                let name = format!("{count} of {} bytes, {last}", body.len());
                // One more is saved up every 63 ms that a busy machine takes to read them: then they are sent again.
                let mut tries = 0;
                while !fragments_end(&server, (count, body, last), ends, &name).await && ends {
                    tries += 1;
                    assert!(tries < 20, "{name} pass");
                }
            }
        }
    }
}

/// Whether so many fragments end the connection; if they do it is for the right reason.
async fn fragments_end(
    server: &Server,
    (count, body, last): (usize, &[u8], bool),
    ends: bool,
    name: &str,
) -> bool {
    let mut raw = Raw::open(server.address("ws", "push")).await;
    let mut bytes = masked(TEXT, body);
    bytes.extend(masked(CONTINUATION, body).repeat(count - 1));
    if last {
        bytes.extend(masked(FIN | CONTINUATION, b"x"));
        // They are looked at with what follows: the first byte of a ping.
        bytes.push(FIN | PING);
    }
    raw.write_if_open(&bytes).await;
    match raw.next_within(Duration::from_millis(300)).await {
        None => false,
        Some(Ok(close)) => {
            // A uid of so many bytes is refused for itself.
            let expected: &[&[u8]] = match (ends, last && body.len() * count > 127) {
                (true, true) => &[b"\x03\xf0rate limit", b"\x0f\xa6bad login"],
                (true, false) => &[b"\x03\xf0rate limit"],
                _ => &[b"\x0f\xa6bad login"],
            };
            let fits = expected.contains(&&close.body[..]);
            assert!(fits, "{name}: {close:?}");
            true
        }
        Some(Err(end)) => panic!("{name}: {end:?}"),
    }
}

/// Or a client that sends just as fast as it may would be closed for our own question.
async fn an_answer_to_our_ping_takes_no_message(cores: usize) {
    let settings = [
        ("MESSAGES_PER_SECOND_MAX", "1"),
        ("RATE_BURST", "1s"),
        ("PING_INTERVAL", "2s"),
    ];
    let server = Server::with(cores, &settings).await;
    let mut raw = Raw::open(server.address("ws", "push")).await;
    raw.frame(FIN | TEXT, seed::uid(&mut seed::rng()).as_bytes())
        .await;
    for _ in 0..3 {
        let ping = raw.next_within(Duration::from_secs(5)).await;
        let ping = ping.expect("a ping").expect("an open connection");
        assert_eq!(ping.first, FIN | PING);
        raw.frame(FIN | PONG, &ping.body).await;
        raw.frame(FIN | TEXT, b"x").await;
    }
    assert_eq!(server.closed("rate limit").await, 0);
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

/// A page with a rate of its own.
async fn page(cores: usize, rate: &str) -> Server {
    Server::from_file(
        cores,
        &format!(
            "http_body_bytes_max = 1000
            rate_burst = \"20000s\"
            [[listen]]
            url = \"http://127.0.0.1:0\"
            app = \"page\"
            {rate}
            [[listen]]
            url = \"text://127.0.0.1:0\"
            app = \"push-backend\""
        ),
    )
    .await
}

async fn http_requests_up_to_the_rate_pass_and_one_more_gets_429(cores: usize) {
    let server = page(cores, "messages_per_second_max = 0").await;
    let address = server.address("http", "page");
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut http = Http::dial(address).await;
    http.write(request.repeat(2_000).as_bytes()).await;
    for _ in 0..2_000 {
        assert_eq!(http.response().await.expect("an answer").status, 200);
    }
    let server = Server::from_file(
        cores,
        "rate_burst = \"10s\"
        [[listen]]
        url = \"http://127.0.0.1:0\"
        app = \"page\"
        messages_per_second_max = 1
        [[listen]]
        url = \"text://127.0.0.1:0\"
        app = \"push-backend\"",
    )
    .await;
    let address = server.address("http", "page");
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    for count in [9, 10, 11] {
        let mut http = Http::dial(address).await;
        http.write(request.repeat(count).as_bytes()).await;
        for n in 1..=count {
            let response = http.response().await.expect("an answer");
            assert_eq!(response.status, if n > 10 { 429 } else { 200 }, "{n}");
        }
        if count > 10 {
            assert!(http.ends().await);
        } else {
            // It goes on as fast as the rate.
            sleep(Duration::from_millis(1_200)).await;
            http.write(request.as_bytes()).await;
            assert_eq!(http.response().await.expect("an answer").status, 200);
        }
    }
    assert_eq!(server.closed("rate limit").await, 1);
}

async fn http_bytes_up_to_the_rate_pass_and_one_more_gets_429(cores: usize) {
    // So many are saved up: more than one largest request has.
    const BYTES: usize = 20_000;
    let server = page(cores, "bytes_per_second_max = 1").await;
    let address = server.address("http", "page");
    let head =
        format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    let request = |length: usize| {
        let empty =
            format!("{head}Content-Length: 000\r\n\r\n{{\"uid\":\"x\",\"text\":\"\"}}").len();
        let text = "x".repeat(length - empty);
        let body = format!("{{\"uid\":\"x\",\"text\":\"{text}\"}}");
        format!("{head}Content-Length: {:03}\r\n\r\n{body}", body.len())
    };
    for bytes in [BYTES - 1, BYTES, BYTES + 1] {
        let mut http = Http::dial(address).await;
        let mut sent = 0;
        while sent < bytes {
            // Each is answered before the next, so it is known which of them is too much.
            let length = if bytes - sent < 1_000 {
                bytes - sent
            } else {
                500
            };
            http.write(request(length).as_bytes()).await;
            sent += length;
            let status = http.response().await.expect("an answer").status;
            assert_eq!(
                status,
                if sent > BYTES { 429 } else { 200 },
                "{sent} of {bytes}"
            );
        }
    }
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
