//! Input costs what its length is, however it is cut: nothing is looked at again with every byte that comes.

use std::hint::black_box;
use std::time::Duration;

use super::http::{BodyReader, Framing, HeadScan, Part, check_head};
use super::proxy::ProxyHeader;
use super::websocket::handshake::Handshake;
use super::{Codec, Decoder};
use crate::config::REQUEST_HEAD_BYTES_DEFAULT;

/// This thread's own time on a CPU.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call, which fills it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The least time of some runs: what others do on the machine only adds to it.
fn least(work: &mut dyn FnMut()) -> Duration {
    let once = |_| {
        let start = cpu_time();
        work();
        cpu_time() - start
    };
    (0..20).map(once).min().unwrap_or_default()
}

/// Eight times as much input takes some eight times as long; if each byte had all before it looked at
/// again, it would be sixty-four.
fn expect_linear(name: &str, short: usize, mut take: impl FnMut(usize)) {
    let (one, eight) = (least(&mut || take(short)), least(&mut || take(8 * short)));
    assert!(
        eight < 24 * one,
        "{name}: {one:?} for {short} bytes, {eight:?} for eight times as many"
    );
}

/// Feeds a decoder byte by byte.
fn decode(codec: Codec, bytes: &[u8]) {
    let mut decoder = Decoder::new(codec, 1 << 20);
    for &byte in bytes {
        let (mut input, mut at) = ([byte], 0);
        let _ = black_box(decoder.next(&mut input, &mut at));
    }
}

fn masked(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 126];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

#[test]
fn messages_byte_by_byte() {
    let long = "a\u{df}\u{6c34}\u{1f30d}".repeat(10_000);
    expect_linear("a line", 10_000, |length| {
        decode(Codec::Text, &long.as_bytes()[..length]);
    });
    expect_linear("a frame", 10_000, |length| {
        let header = (length as u32 + 4).to_be_bytes();
        decode(
            Codec::Frame,
            &[&header, &long.as_bytes()[..length]].concat(),
        );
    });
    for first in [0x81, 0x82] {
        expect_linear("a websocket's frame", 8_000, |length| {
            decode(Codec::WebSocket, &masked(first, &long.as_bytes()[..length]));
        });
    }
    for first in [1, 2] {
        expect_linear("fragments of one byte", 10_000, |length| {
            let mut bytes = vec![first, 0x80, 0, 0, 0, 0];
            for byte in &long.as_bytes()[..length] {
                bytes.extend([0, 0x81, 0, 0, 0, 0, *byte]);
            }
            decode(Codec::WebSocket, &bytes);
        });
    }
}

#[test]
fn requests_byte_by_byte() {
    let request = |length: usize, line: &str| {
        let lines = line.repeat(length / line.len());
        format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}").into_bytes()
    };
    for line in ["X: y\r\n", "Xyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"] {
        expect_linear("a handshake", 1_000, |length| {
            let mut handshake = Handshake::new();
            for byte in request(length, line) {
                let _ = black_box(handshake.advance(&[byte]));
            }
        });
        expect_linear("a head", 1_900, |length| {
            let bytes = request(length, line);
            let mut scan = HeadScan::new(REQUEST_HEAD_BYTES_DEFAULT);
            for end in 1..=bytes.len() {
                let _ = black_box(check_head(&mut scan, &bytes[..end]));
            }
        });
    }
    expect_linear("a body in chunks", 10_000, |length| {
        let mut body = BodyReader::new(Framing::Chunked, 1 << 20).expect("within the limit");
        for byte in b"1;x\r\ny\r\n".repeat(length / 8) {
            let mut at = 0;
            while let Ok(Some(Part::Bytes(bytes))) = body.next(&[byte], &mut at) {
                black_box(bytes);
            }
        }
    });
    expect_linear("a proxy's header", 500, |length| {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\0".to_vec();
        bytes.extend((length as u16).to_be_bytes());
        bytes.resize(16 + length, 0);
        let mut header = ProxyHeader::default();
        for byte in bytes {
            let _ = black_box(header.advance(&[byte]));
        }
    });
}
