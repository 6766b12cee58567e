//! Lines and length-prefixed frames that nobody means well with, above all on the back end's port: each is
//! answered with what is wrong or ends its connection, in bounded time and memory.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::client::{Client, End, Got, PATIENCE, frame};
use crate::on_cores;
use crate::raw::Raw;
use crate::seed;
use crate::server::Server;

on_cores! {
    each_bad_line_is_answered_with_what_is_wrong,
    what_is_odd_and_right_is_pushed_unchanged,
    two_hundred_thousand_levels_are_no_stack_overflow,
    ten_megabytes_without_a_line_end_are_not_kept,
    a_browser_gets_nothing_done_at_the_back_ends_port,
    a_tls_hello_on_a_plain_port_ends_in_time,
    lengths_of_no_frame_close_at_once,
    a_length_announced_and_not_sent_is_not_kept,
    control_characters_are_no_uid_in_any_app,
}

/// Lines to the back end's port for this uid, and how the reason begins that they get.
fn bad_lines(uid: &str) -> Vec<(String, &'static str)> {
    let mut lines = Vec::new();
    let mut bad = |line: String, reason| lines.push((line, reason));
    // No JSON.
    for line in [
        format!("{{\"uid\":\"{uid}\""),
        format!("{{\"uid\":\"{uid}\"}}x"),
        format!("{{\"uid\":\"{uid}\"}}{{}}"),
        format!("{{\"uid\":\"{uid}\",}}"),
        format!("{{\"uid\" \"{uid}\"}}"),
        format!("{{uid:\"{uid}\"}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":NaN}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":Infinity}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":01}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":1.}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":+1}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":1e}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":tru}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":\"\\x\"}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":[1,2}}"),
        format!("{{\"uid\":\"{uid}\"}} // why"),
        format!("{{\"uid\":\"{uid}\",\"uid\":}}"),
        format!("{{\u{a0}\"uid\":\"{uid}\"}}"),
        // Characters that JSON wants escaped, NUL first.
        format!("{{\"uid\":\"{uid}\0\"}}"),
        format!("{{\"uid\":\"{uid}\",\"a\":\"\0\"}}"),
        format!("{{\"uid\":\"{uid}\"\0}}"),
        format!("{{\"uid\":\"{uid}\"}}\0"),
        format!("{{\"uid\":\"{uid}\",\"a\":\"\x1f\"}}"),
        "{\"uid\":1e}".into(),
        "{\"uid\":-}".into(),
        "{\"uid\":0x1}".into(),
    ] {
        bad(line, "fail: not JSON: ");
    }
    // Half of a pair of surrogates, in the uid.
    for half in [
        "\\ud800",
        "\\udfff",
        "\\udc00\\ud800",
        "\\ud800\\ud800",
        "\\ud800x",
        "\\ud8",
    ] {
        bad(format!("{{\"uid\":\"{uid}{half}\"}}"), "fail: not JSON: ");
    }
    bad(
        format!("{{\"uid\":\"{uid}\",\"\\ud800\":1}}"),
        "fail: not JSON: ",
    );
    // No uid, or one of another kind.
    for line in [
        "{}",
        "{\"UID\":\"x\"}",
        "{\"uid \":\"x\"}",
        // The mark before it is skipped.
        "\u{feff}{}",
        "{\"a\":{\"uid\":\"x\"}}",
    ] {
        bad(line.into(), "fail: the object has no uid");
    }
    for other in [
        "null",
        "true",
        "false",
        "1.5",
        "1.0",
        "-0.5",
        "1e3",
        "1E+2",
        "1e999",
        "-1e999",
        "[]",
        "{}",
        "[\"x\"]",
        "{\"uid\":\"x\"}",
    ] {
        let reason = "fail: uid must be a string or an integer";
        bad(format!("{{\"uid\":{other}}}"), reason);
        bad(format!("{{\"uid\":\"{uid}\",\"uid\":{other}}}"), reason);
    }
    // No uid that anybody could have.
    bad("{\"uid\":\"\"}".into(), "fail: a uid needs ");
    for control in ["\\u0000", "\\n", "\\u007f", "\\u0085", "\u{7f}"] {
        bad(
            format!("{{\"uid\":\"{uid}{control}\"}}"),
            "fail: a uid has no control ",
        );
    }
    let long = "x".repeat(129);
    bad(
        format!("{{\"uid\":\"{long}\"}}"),
        "fail: a uid has at most 128 bytes",
    );
    bad(
        format!("{{\"uid\":{}}}", "1".repeat(129)),
        "fail: a uid has at most 128 bytes",
    );
    bad(
        format!("{{\"uid\":\"{}\"}}", "\\u00e9".repeat(65)),
        "fail: a uid has at most 128 bytes",
    );
    // Neither an object nor a command.
    for line in [
        "",
        " ",
        "[]",
        "[{\"uid\":\"x\"}]",
        "null",
        "42",
        "\"uid\"",
        "\u{feff}\u{feff}stats",
        "\0",
        "ping",
        "kick",
        "KICK x",
        "stats now",
        "online",
        "\u{202e}stats",
    ] {
        bad(line.into(), "fail: expected ");
    }
    // A byte-order mark is passed over.
    bad("\u{feff}{}".into(), "fail: the object has no uid");
    bad("\u{feff}online nobody".into(), "fail");
    bad("kick all".into(), "fail: \"all\" is reserved");
    bad("online a\0b".into(), "fail: a uid has no control ");
    bad(format!("kick {long}"), "fail: a uid has at most 128 bytes");
    lines
}

async fn each_bad_line_is_answered_with_what_is_wrong(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let lines = bad_lines(&uid);
    // One after the other, and all at once.
    let mut backend = server.backend().await;
    for (line, reason) in &lines {
        let answer = backend.ask(line).await;
        assert!(
            answer.starts_with(reason),
            "{line:?} was answered {answer:?}"
        );
    }
    let all: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    backend.send_bytes(all.as_bytes()).await;
    for (line, reason) in &lines {
        let answer = backend.text().await;
        assert!(
            answer.starts_with(reason),
            "{line:?} was answered {answer:?}"
        );
    }
    assert_eq!(backend.ask(&format!("online {uid}")).await, "ok");
    client.expect_silence().await;
}

async fn what_is_odd_and_right_is_pushed_unchanged(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let mut backend = server.backend().await;
    for rest in [
        "\"n\":1e999",
        "\"n\":-1e-999",
        "\"n\":123456789012345678901234567890.5e+7",
        // Halves of pairs elsewhere are the receiver's affair.
        "\"a\":\"\\ud800\"",
        "\"a\":\"\\udfff\\u0000\"",
        "\"uid\":null,\"uid\":\"UID\"",
        "\"\":{\"\":{\"\":[]}}",
        "\"a\":\"</script>\u{2028}\u{202e}\u{feff}\"",
        "\"all\":\"all\"",
    ] {
        let rest = rest.replace("UID", &uid);
        let line = format!("{{\"uid\":\"{uid}\",{rest}}}");
        assert_eq!(backend.ask(&line).await, "ok", "{line}");
        client.expect(&line).await;
    }
}

async fn two_hundred_thousand_levels_are_no_stack_overflow(cores: usize) {
    let settings = [
        ("MESSAGE_BYTES_MAX", "3 MiB"),
        ("OUTBOX_BYTES_MAX", "8 MiB"),
    ];
    let server = Server::with(cores, &settings).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    let mut backend = server.backend().await;
    let deep = |open: &str, close: &str, inner: &str| {
        format!("{}{inner}{}", open.repeat(200_000), close.repeat(200_000))
    };
    let (arrays, objects) = (deep("[", "]", ""), deep("{\"a\":", "}", "1"));
    let hostile = async {
        for line in [
            format!("{{\"uid\":\"{uid}\",\"deep\":{arrays}}}"),
            format!("{{\"uid\":\"{uid}\",\"deep\":{objects}}}"),
            format!("{{\"deep\":{arrays},\"uid\":\"{uid}\"}}"),
            format!("{{\"uid\":{arrays}}}"),
            format!("{{\"uid\":{objects}}}"),
            format!("{{\"uid\":\"{uid}\",\"deep\":{}", "[".repeat(1_000_000)),
            format!(
                "{{\"uid\":\"{uid}\",\"deep\":{}",
                "{\"a\":[".repeat(200_000)
            ),
            objects.clone(),
        ] {
            let answer = backend.ask(&line).await;
            assert_eq!(answer, "fail: nested too deeply");
        }
    };
    server.served_meanwhile(hostile).await;
    client.expect_silence().await;
    assert_eq!(backend.ask(&format!("online {uid}")).await, "ok");
}

async fn ten_megabytes_without_a_line_end_are_not_kept(cores: usize) {
    let server = Server::start(cores).await;
    let (before, memory) = (server.holdings().await, server.memory());
    let chunk = [b'x'; 10_000];
    for app in ["relay", "push", "chat"] {
        let mut raw = Raw::dial(server.address("text", app)).await;
        let start = Instant::now();
        for _ in 0..1_000 {
            raw.write_if_open(&chunk).await;
        }
        let end = raw.next().await;
        assert!(matches!(end, Err(End::Bare | End::Reset)), "{app}: {end:?}");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(8), "{app}: it took {took:?}");
    }
    server.wait_closed("message too big", 3).await;
    server.expect_memory(memory, 1 << 20);
    server.wait_holdings(before).await;
}

/// What comes until the connection ends.
async fn answers(mut client: Client) -> Vec<Got> {
    let mut answers = Vec::new();
    loop {
        match client.next().await {
            Got::End(_) => return answers,
            got => answers.push(got),
        }
    }
}

async fn a_browser_gets_nothing_done_at_the_back_ends_port(cores: usize) {
    let listeners = [
        "text://127.0.0.1:0=push-backend",
        "frame://127.0.0.1:0=push-backend",
        "websocket://127.0.0.1:0=push",
        "websocket://127.0.0.1:0=echo",
    ];
    let server = Server::on(cores, &[], &listeners).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.connect("ws", "push").await;
    client.send(&uid).await;
    server.wait_online(&uid).await;
    let push = format!("{{\"uid\":\"{uid}\"}}\nkick {uid}\n");
    let long = "x".repeat(70_000);
    let mut requests: Vec<String> = [
        "GET / HTTP/1.1",
        "POST / HTTP/1.1",
        "POST /?{\"uid\":\"x\"} HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT 127.0.0.1:5678 HTTP/1.1",
        "GET / HTTP/1.0",
        "PRI * HTTP/2.0",
        // A page may make up its method, and what follows.
        "stats / HTTP/1.1",
        "kick /x HTTP/1.1",
        "{} / HTTP/1.1",
    ]
    .map(|first| format!("{first}\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n{push}"))
    .into();
    requests.push(format!("GET /{long} HTTP/1.1\r\n\r\n{push}"));
    let mut requests: Vec<Vec<u8>> = requests.into_iter().map(String::into_bytes).collect();
    // What a page's server can put into a TLS hello (a session to be resumed) follows 32 random bytes.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\
        \n\x93\x1fA\xc4\x07\x88\xe9k\n\xa1\xf0B2\xcc\x10\x9e\xd7\x05\xb6u\xee\x83J\xfa\x96\x21\xd2\xbb\x64\xa7\x18\x20\n";
    requests.push([&hello[..], push.as_bytes()].concat());
    for request in &requests {
        let first = request
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        let first = String::from_utf8_lossy(&first[..first.len().min(60)]).into_owned();
        for scheme in ["text", "frame"] {
            for pieces in [1, 40] {
                let mut browser = Raw::dial(server.address(scheme, "push-backend")).await;
                for piece in request.chunks(request.len().div_ceil(pieces)) {
                    browser.write_if_open(piece).await;
                }
                let answers = answers(Client::over(scheme, browser.socket).await).await;
                let refusals = answers.iter().all(|answer| match answer {
                    Got::Text(answer) => answer.starts_with("fail: expected "),
                    _ => false,
                });
                assert!(refusals, "{first:?} over {scheme}: {answers:?}");
            }
        }
    }
    assert_eq!(
        server.backend().await.ask(&format!("online {uid}")).await,
        "ok"
    );
}

/// Whether it goes on after its first bytes or says nothing more.
async fn a_tls_hello_on_a_plain_port_ends_in_time(cores: usize) {
    let server = Server::with(cores, &[("LOGIN_TIMEOUT", "1s")]).await;
    let before = server.holdings().await;
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 and what follows, random or not";
    let mut waiting = Vec::new();
    let start = Instant::now();
    for scheme in ["text", "frame"] {
        for app in ["relay", "push", "chat"] {
            if (scheme, app) == ("frame", "chat") {
                continue;
            }
            for length in [1, 3, 5, hello.len()] {
                let mut raw = Raw::dial(server.address(scheme, app)).await;
                raw.write(&hello[..length]).await;
                waiting.push((scheme, app, length, raw));
            }
        }
    }
    for (scheme, app, length, raw) in &mut waiting {
        let end = raw.next().await;
        // A relay says why, over text, in what is no frame.
        assert!(
            end.is_err() || *app == "relay",
            "{scheme} {app} {length}: {end:?}"
        );
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(6), "it took {took:?}");
    // It takes two bytes to know it on a text listener, and the whole length of a frame.
    server.wait_closed("login timeout", 3 + 4).await;
    assert_eq!(server.closed("protocol error").await, 9 + 4);
    server.wait_log(&["TLS", "127.0.0.1:"]).await;
    server.wait_holdings(before).await;
}

async fn lengths_of_no_frame_close_at_once(cores: usize) {
    let server = Server::start(cores).await;
    let before = server.holdings().await;
    let (mut broken, mut too_big) = (0, 0);
    for app in ["relay", "push", "echo"] {
        let most = if app == "echo" { 16 << 20 } else { 64 << 10 };
        for length in [
            0,
            1,
            2,
            3,
            most + 5,
            1 << 30,
            1 << 31,
            u32::MAX - 1,
            u32::MAX,
        ] {
            for pieces in [1, 4] {
                println!("{length} to {app}");
                let mut raw = Raw::dial(server.address("frame", app)).await;
                for piece in length.to_be_bytes().chunks(4 / pieces) {
                    raw.write(piece).await;
                }
                let end = raw.next().await;
                assert!(end.is_err(), "{length} to {app}: {end:?}");
                *(if length < 4 {
                    &mut broken
                } else {
                    &mut too_big
                }) += 1;
            }
        }
    }
    assert_eq!(server.closed("protocol error").await, broken);
    assert_eq!(server.closed("message too big").await, too_big);
    server.wait_holdings(before).await;
}

async fn a_length_announced_and_not_sent_is_not_kept(cores: usize) {
    let server = Server::start(cores).await;
    let (before, memory) = (server.holdings().await, server.memory());
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::dial(server.address("frame", "echo")).await;
        raw.write(&((16 << 20) + 4_u32).to_be_bytes()).await;
        raw.write(b"so much").await;
        waiting.push(raw);
    }
    let mut client = server.connect("frame", "echo").await;
    assert_eq!(client.ask("hello").await, "hello");
    server.expect_memory(memory, 1 << 20);
    drop((waiting, client));
    server.wait_holdings(before).await;
}

async fn control_characters_are_no_uid_in_any_app(cores: usize) {
    let server = Server::start(cores).await;
    let before = server.holdings().await;
    for uid in [
        "",
        "\0",
        "a\0b",
        "\u{7f}",
        "\u{85}",
        "a\rb",
        "\t",
        "all",
        &"x".repeat(129),
    ] {
        for (scheme, app) in [
            ("text", "relay"),
            ("frame", "relay"),
            ("text", "push"),
            ("ws", "push"),
        ] {
            let mut client = server.connect(scheme, app).await;
            client.send(uid).await;
            let said = timeout(PATIENCE, client.drain_to_end(4006)).await;
            let said = said.unwrap_or_else(|_| panic!("{uid:?} to {app} over {scheme} is let in"));
            assert!(said.len() <= 1, "{uid:?} to {app} over {scheme}: {said:?}");
        }
    }
    server.wait_holdings(before).await;
    // Bytes behind a refusal are nothing more.
    let uid = seed::uid(&mut seed::rng());
    let mut raw = Raw::dial(server.address("frame", "relay")).await;
    let bytes = [frame(b"all"), frame(uid.as_bytes()), frame(b"all:too late")].concat();
    raw.socket.write_all(&bytes).await.expect("it is taken");
    server.wait_offline(&uid).await;
    let stats: Value = server.stats().await;
    assert_eq!(stats["uids"], 0);
}
