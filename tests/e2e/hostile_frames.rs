//! Websocket frames that nobody means well with: each connection ends with the right code, in bounded time and
//! memory, and nobody else notices.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::client::PATIENCE;
use crate::on_cores;
use crate::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Raw, TEXT, head_of, masked};
use crate::seed;
use crate::server::Server;

on_cores! {
    each_frame_against_the_rules_gets_its_code,
    byte_by_byte_it_gets_the_same,
    text_with_a_bad_byte_anywhere_is_refused,
    text_cut_anywhere_passes,
    a_length_out_of_bounds_is_refused_at_the_header,
    fragments_without_end_are_refused_at_the_limit,
    two_hundred_thousand_empty_fragments_are_one_message,
    half_messages_of_many_are_bounded_together,
    a_flood_of_pings_that_is_read_is_answered_whole,
    a_flood_of_pings_that_is_not_read_ends_as_a_slow_consumer,
}

/// What is wrong, the bytes, and the code that they get.
type Case = (String, Vec<u8>, u16);

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |name: String, bytes: Vec<u8>, code| cases.push((name, bytes, code));
    let then = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();

    for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
        case(
            format!("opcode {opcode} unmasked"),
            vec![FIN | opcode, 0],
            1002,
        );
        for bits in 1..8u8 {
            let bits = bits << 4;
            let name = format!("opcode {opcode} with reserved bits {bits:#x}");
            case(name, masked(FIN | bits | opcode, b""), 1002);
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        case(format!("opcode {opcode}"), masked(FIN | opcode, b""), 1002);
        case(
            format!("opcode {opcode} in parts"),
            masked(opcode, b"x"),
            1002,
        );
    }
    for opcode in [CLOSE, PING, PONG] {
        case(
            format!("control {opcode} in parts"),
            masked(opcode, b""),
            1002,
        );
        for length in [126, 127, 65_535, 65_536, 1 << 40] {
            let name = format!("control {opcode} of {length}");
            case(name, then(head_of(FIN | opcode, length), vec![0; 4]), 1002);
        }
    }
    // A short length in a long form, and the bit that no length has.
    for (name, length) in [
        ("125 in two bytes", &b"\xfe\x00\x7d"[..]),
        ("0 in two bytes", b"\xfe\x00\x00"),
        (
            "125 in eight bytes",
            b"\xff\x00\x00\x00\x00\x00\x00\x00\x7d",
        ),
        (
            "65,535 in eight bytes",
            b"\xff\x00\x00\x00\x00\x00\x00\xff\xff",
        ),
        ("2^63", b"\xff\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("2^63 and 2", b"\xff\x80\x00\x00\x00\x00\x00\x00\x02"),
        ("2^64 - 1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    ] {
        let head = [&[FIN | BINARY], length, &[0; 4]].concat();
        case(format!("a length of {name}"), head, 1002);
    }

    for last in [0, FIN] {
        let stray = masked(last | CONTINUATION, b"x");
        case(
            format!("a stray continuation {last:#x}"),
            stray.clone(),
            1002,
        );
        let whole = masked(FIN | BINARY, b"whole");
        case(
            format!("one {last:#x} after a message"),
            then(whole, stray.clone()),
            1002,
        );
        let pong = masked(FIN | PONG, b"pong");
        case(
            format!("one {last:#x} after a pong"),
            then(pong, stray),
            1002,
        );
        for (first, second) in [
            (TEXT, TEXT),
            (TEXT, BINARY),
            (BINARY, TEXT),
            (BINARY, BINARY),
        ] {
            let name = format!("opcode {second} {last:#x} within a message of opcode {first}");
            case(
                name,
                then(masked(first, b"x"), masked(last | second, b"x")),
                1002,
            );
        }
    }

    case(
        "a close of one byte".into(),
        masked(FIN | CLOSE, &[3]),
        1002,
    );
    let forbidden = (0..1000)
        .step_by(111)
        .chain([
            999, 1004, 1005, 1006, 1015, 1016, 1017, 1100, 1999, 2000, 2999,
        ])
        .chain([5000, 5001, 9999, 0x7fff, 0x8000, 0xffff]);
    for code in forbidden {
        case(format!("a close with {code}"), close(code, b""), 1002);
        case(
            format!("a close with {code} and a reason"),
            close(code, b"why"),
            1002,
        );
    }
    for reason in [&b"\xff"[..], b"why \xc3", b"\xed\xa0\x80", b"\xc0\xaf why"] {
        case(
            format!("a close for the reason {reason:x?}"),
            close(1000, reason),
            1007,
        );
    }
    case(
        "a close of 126 bytes".into(),
        close(1000, &[b'x'; 124]),
        1002,
    );
    cases
}

pub async fn each_frame_against_the_rules_gets_its_code(cores: usize) {
    let server = Server::start(cores).await;
    let before = server.holdings().await;
    let cases = cases();
    assert!(cases.len() > 150);
    let (mut protocol, mut utf8) = (0, 0);
    let hostile = async {
        for (name, bytes, code) in &cases {
            println!("{name}");
            // It answers nothing to what is right.
            let mut raw = Raw::open(server.address("ws", "push")).await;
            raw.write(bytes).await;
            raw.expect_close(&[*code]).await;
            *(if *code == 1002 {
                &mut protocol
            } else {
                &mut utf8
            }) += 1;
        }
    };
    server.served_meanwhile(hostile).await;
    assert_eq!(server.closed("protocol error").await, protocol);
    assert_eq!(server.closed("not UTF-8").await, utf8);
    server.wait_holdings(before).await;
}

async fn byte_by_byte_it_gets_the_same(cores: usize) {
    let server = Server::start(cores).await;
    for (name, bytes, code) in cases() {
        println!("{name}");
        let mut raw = Raw::open(server.address("ws", "push")).await;
        for byte in bytes {
            raw.write_if_open(&[byte]).await;
        }
        raw.expect_close(&[code]).await;
    }
}

async fn text_with_a_bad_byte_anywhere_is_refused(cores: usize) {
    let server = Server::start(cores).await;
    // Longer than what is looked at at once.
    let good = "sixty-seven bytes of text that are plain and good until one is not..".as_bytes();
    for at in 0..good.len() {
        for bad in [0x80, 0xc0, 0xf0, 0xff] {
            let mut text = good.to_vec();
            text[at] = bad;
            let (head, tail) = text.split_at(at);
            let whole = masked(FIN | TEXT, &text);
            let mut parts = masked(TEXT, head);
            parts.extend(masked(FIN | CONTINUATION, tail));
            // Refused before the rest is there, as soon as nothing can make it right.
            let begun = masked(TEXT, &text);
            for (name, bytes) in [("whole", whole), ("in two parts", parts), ("begun", begun)] {
                if name == "begun" && at + 1 == text.len() && bad == 0xf0 {
                    continue;
                }
                println!("{bad:#x} at {at}, {name}");
                let mut raw = Raw::open(server.address("ws", "relay")).await;
                raw.write(&bytes).await;
                raw.expect_close(&[1007]).await;
            }
        }
    }
}

async fn text_cut_anywhere_passes(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    let text = "aß水🌍 and on for more than what is looked at at once: ß水🌍ß水🌍!".as_bytes();
    for cut in 0..=text.len() {
        let (head, tail) = text.split_at(cut);
        raw.frame(TEXT, head).await;
        raw.frame(FIN | PING, b"between").await;
        raw.frame(FIN | CONTINUATION, tail).await;
        raw.expect(FIN | PONG, b"between").await;
        raw.expect(FIN | TEXT, text).await;
    }
}

async fn a_length_out_of_bounds_is_refused_at_the_header(cores: usize) {
    let server = Server::start(cores).await;
    let memory = server.memory();
    for (app, most) in [("relay", 64 << 10), ("echo", 16 << 20)] {
        for length in [most + 1, 1 << 30, 1 << 32, (1 << 63) - 1] {
            for first in [FIN | TEXT, FIN | BINARY, TEXT] {
                println!("{length} for {app} in {first:#x}");
                let mut raw = Raw::open(server.address("ws", app)).await;
                // Not one byte of it comes.
                raw.write(&head_of(first, length)).await;
                raw.write(&[0; 4]).await;
                raw.expect_close(&[1009]).await;
            }
        }
        // Nor is anything kept for what a message within the bounds announces.
        let mut announced = Vec::new();
        for _ in 0..50 {
            let mut raw = Raw::open(server.address("ws", app)).await;
            raw.write(&head_of(FIN | BINARY, most)).await;
            raw.write(&[0; 5]).await;
            announced.push(raw);
        }
        server.expect_memory(memory, 1 << 20);
    }
    server.wait_closed("message too big", 24).await;
}

/// Sends fragments until the server closes for it.
async fn send_fragments(server: &Server, app: &str, size: usize, most: usize) {
    let mut raw = Raw::open(server.address("ws", app)).await;
    raw.frame(BINARY, b"").await;
    let fragment = masked(CONTINUATION, &vec![7; size]);
    let enough = most / size + 1;
    for _ in 0..enough {
        raw.write_if_open(&fragment).await;
    }
    raw.expect_close(&[1009]).await;
}

async fn fragments_without_end_are_refused_at_the_limit(cores: usize) {
    let server = Server::start(cores).await;
    let memory = server.memory();
    server
        .served_meanwhile(async {
            for size in [1, 100, 1_000, 60_000] {
                send_fragments(&server, "relay", size, 64 << 10).await;
            }
            server.expect_memory(memory, 1 << 20);
            send_fragments(&server, "echo", 16_000, 16 << 20).await;
        })
        .await;
    // What grows by doubling is copied each time.
    server.expect_memory(memory, 56 << 20);
    server.wait_closed("message too big", 5).await;
}

async fn two_hundred_thousand_empty_fragments_are_one_message(cores: usize) {
    let server = Server::start(cores).await;
    let memory = server.memory();
    for (first, app) in [(TEXT, "echo"), (BINARY, "echo")] {
        let mut raw = Raw::open(server.address("ws", app)).await;
        let mut bytes = masked(first, b"");
        let empty = masked(CONTINUATION, b"").repeat(100_000);
        bytes.extend_from_slice(&empty);
        bytes.extend(masked(FIN | PING, b"halfway"));
        bytes.extend_from_slice(&empty);
        bytes.extend(masked(FIN | CONTINUATION, b"at last"));
        server
            .served_meanwhile(async {
                raw.write(&bytes).await;
                raw.expect(FIN | PONG, b"halfway").await;
                raw.expect(FIN | first, b"at last").await;
            })
            .await;
    }
    server.expect_memory(memory, 1 << 20);
}

/// A core keeps so much, whoever sends it: those that keep the most go.
pub async fn half_messages_of_many_are_bounded_together(cores: usize) {
    let server = Server::with(
        cores,
        &[("INBOX_BYTES_CORE_MAX", "2 MiB"), ("LOGIN_TIMEOUT", "60s")],
    )
    .await;
    let (before, memory) = (server.holdings().await, server.memory());
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut small = Raw::open(server.address("ws", "relay")).await;
    small.frame(FIN | TEXT, uids[0].as_bytes()).await;
    small.next().await.expect("a login answer");
    let message = masked(FIN | TEXT, format!("{}:whole at last", uids[0]).as_bytes());
    small.write(&message[..message.len() - 1]).await;
    // No core has its fill with these.
    let half = [head_of(FIN | BINARY, 60_001), vec![0; 60_004]].concat();
    let framed = [&60_010_u32.to_be_bytes()[..], &[b'x'; 60_000]].concat();
    let mut halves = Vec::new();
    let send = async |halves: &mut Vec<Raw>, count: usize| {
        for n in 0..count {
            let (scheme, app) = [("ws", "push"), ("text", "push"), ("frame", "push")][n % 3];
            let mut raw = match scheme {
                "ws" => Raw::open(server.address(scheme, app)).await,
                _ => Raw::dial(server.address(scheme, app)).await,
            };
            raw.write_if_open(match scheme {
                "ws" => &half,
                "text" => &[b'x'; 60_000],
                _ => &framed,
            })
            .await;
            halves.push(raw);
        }
    };
    send(&mut halves, 15).await;
    assert_eq!(server.closed("policy").await, 0);
    let many = send(&mut halves, 120 * cores);
    server.served_meanwhile(many).await;
    let most = (2 << 20) / 60_000 * cores as u64;
    let start = Instant::now();
    let connected = loop {
        let now = server.holdings().await;
        let connected = now.connections_beyond(&before);
        if connected <= most + 2 {
            break connected;
        }
        let late = start.elapsed() > PATIENCE;
        assert!(!late, "{connected} are kept, not {most}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(connected > 10, "nobody is left");
    server.expect_memory(memory, (2 << 20) * cores + (2 << 20));
    // Who keeps little stays.
    small.write(&message[message.len() - 1..]).await;
    small.expect(FIN | TEXT, b"whole at last").await;
    drop((halves, small));
    server.wait_holdings(before).await;
}

async fn a_flood_of_pings_that_is_read_is_answered_whole(cores: usize) {
    let server = Server::start(cores).await;
    let mut raw = Raw::open(server.address("ws", "echo")).await;
    let pings: Vec<u8> = (0..20_000u32)
        .flat_map(|n| masked(FIN | PING, &n.to_be_bytes()))
        .collect();
    server
        .served_meanwhile(async {
            for pings in pings.chunks(50_000) {
                raw.write(pings).await;
            }
            for n in 0..20_000u32 {
                raw.expect(FIN | PONG, &n.to_be_bytes()).await;
            }
        })
        .await;
}

async fn a_flood_of_pings_that_is_not_read_ends_as_a_slow_consumer(cores: usize) {
    for driver in ["auto", "epoll"] {
        let server = Server::with(cores, &[("DRIVER", driver)]).await;
        let (before, memory) = (server.holdings().await, server.memory());
        let uid = seed::uid(&mut seed::rng());
        let mut raw = Raw::relay_narrow(server.address("ws", "relay"), &uid).await;
        let pings = masked(FIN | PING, &[7; 125]).repeat(500);
        let flood = async {
            let start = Instant::now();
            // Until it is cut off.
            while let Ok(Ok(())) = timeout(PATIENCE, raw.socket.write_all(&pings)).await {
                let late = start.elapsed() > Duration::from_secs(20);
                assert!(!late, "{driver}: its pongs pile up");
            }
        };
        server.served_meanwhile(flood).await;
        server.wait_closed("slow consumer", 1).await;
        // The kernel's own buffers do not count here.
        server.expect_memory(memory, 3 << 20);
        server.wait_offline(&uid).await;
        server.wait_holdings(before).await;
    }
}
