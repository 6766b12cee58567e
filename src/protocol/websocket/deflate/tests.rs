//! RFC 7692 by its own examples, compression against another implementation of deflate, and what a hostile
//! sender can fold into a few bytes.

use std::io::{Read, Write};

use flate2::write::DeflateEncoder;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::tests::{Outcome, Seen, body, client_frame, decode_by};
use crate::protocol::websocket::extension::Offer;
use crate::protocol::{Codec, Decoder};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const BYTES_MAX: usize = 70_000;

/// What a client's stream comes to where compression is agreed on, however it is cut.
fn run(stream: &[u8]) -> Outcome {
    let run = |cut| {
        decode_by(
            Decoder::deflate(BYTES_MAX),
            BYTES_MAX,
            stream,
            &[cut],
            false,
        )
    };
    let whole = run(usize::MAX);
    assert_eq!(run(1), whole);
    whole
}

fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    let frames = frames.iter();
    frames
        .flat_map(|(first, payload)| client_frame(*first, MASK, payload))
        .collect()
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn window(bits: u8) -> Window {
    let line = format!("permessage-deflate; server_max_window_bits={bits}");
    Offer::first(line.as_bytes()).expect("an offer").window()
}

/// A message as a client compresses it, by the other implementation.
fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.flush().expect("memory takes it");
    let all = encoder.get_ref();
    let payload = all.strip_suffix(&FLUSH_END).expect("a flush's end");
    payload.to_vec()
}

/// The payload of the frame that ours makes of a message, if it does.
fn compress(compressor: &mut Compressor, bytes: &[u8], window: Window) -> Option<Vec<u8>> {
    let mut frame = b"before".to_vec();
    if !compressor.encode(Message::Binary(bytes), window, &mut frame) {
        assert_eq!(frame, b"before");
        return None;
    }
    let frame = frame.strip_prefix(b"before\xc2").expect("one frame");
    let (len, payload) = match frame[0] {
        126 => (
            usize::from(frame[1]) << 8 | usize::from(frame[2]),
            &frame[3..],
        ),
        127 => (frame.len() - 9, &frame[9..]),
        len => (usize::from(len), &frame[1..]),
    };
    assert_eq!(payload.len(), len);
    assert!(len < bytes.len());
    Some(payload.to_vec())
}

/// What a client makes of a payload, by the other implementation.
fn inflate(payload: &[u8]) -> Vec<u8> {
    let stream = [payload, &FLUSH_END].concat();
    let mut bytes = Vec::new();
    // It has no end of its own, and its reader misses that when all is out.
    let _ = flate2::read::DeflateDecoder::new(&stream[..]).read_to_end(&mut bytes);
    bytes
}

fn noise(len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..))
        .take(len)
        .collect()
}

fn json(len: usize) -> String {
    let line = |n: usize| format!("{{\"uid\":\"user-{n}\",\"percent\":\"{}%\"}},", n * 7 % 100);
    let mut text: String = (0..len / 20 + 1).map(line).collect();
    text.truncate(len);
    text
}

/// Section 7.2.3.
#[test]
fn examples_of_the_rfc() {
    let hello = (vec![text("Hello")], None);
    let payloads: [&[u8]; 4] = [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        // A block that is not compressed.
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        // A last block, and an empty one after it.
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        // Two blocks.
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ];
    for payload in payloads {
        assert_eq!(run(&frames(&[(0xc1, payload)])), hello, "{payload:x?}");
    }
    let fragments = [
        (0x41, &payloads[0][..3]),
        (0x89, b"!"),
        (0x80, &payloads[0][3..]),
    ];
    let seen = run(&frames(&fragments));
    let expected = (vec![Seen::Ping(b"!".to_vec()), text("Hello")], None);
    assert_eq!(seen, expected);
    // A message that refers to the one before it: nobody may send that here.
    let second = frames(&[(0xc1, payloads[0]), (0xc1, b"\xf2\x00\x11\x00\x00")]);
    assert_eq!(run(&second), (hello.0, Some(CloseReason::Protocol)));
}

#[test]
fn messages_may_come_as_they_are() {
    let stream = frames(&[
        (0x81, b"plain"),
        (0xc1, &deflate(b"small")),
        (0x82, b"\xff"),
        (0xc2, &[0]),
    ]);
    let expected = vec![
        text("plain"),
        text("small"),
        Seen::Binary(vec![0xff]),
        Seen::Binary(vec![]),
    ];
    assert_eq!(run(&stream), (expected, None));
    let bad = frames(&[(0x81, b"\xff")]);
    assert_eq!(run(&bad), (vec![], Some(CloseReason::NotUtf8)));
}

#[test]
fn the_bit_stands_where_a_message_begins_and_nowhere_else() {
    let wrong =
        |stream: &[u8]| assert_eq!(run(stream).1, Some(CloseReason::Protocol), "{stream:x?}");
    // Not on control frames, nor on continuations, and no other reserved bit.
    for first in [0xc8, 0xc9, 0xca, 0xa1, 0x91, 0xe1, 0xd1, 0xc0, 0xc3] {
        wrong(&[first]);
    }
    wrong(&[&frames(&[(0x41, b"\xf2")])[..], &[0xc0]].concat());
    wrong(&[&frames(&[(0x01, b"a")])[..], &[0x40]].concat());
    // Nowhere at all where nothing is agreed on.
    for first in [0xc1, 0xc2, 0x41] {
        let decoder = Decoder::new(Codec::WebSocket, BYTES_MAX);
        let outcome = decode_by(decoder, BYTES_MAX, &[first], &[1], false);
        assert_eq!(outcome, (vec![], Some(CloseReason::Protocol)));
    }
}

#[test]
fn what_is_inflated_is_checked() {
    for (payload, reason) in [
        (deflate(b"caf\xe9"), CloseReason::NotUtf8),
        (deflate(b"\xf0\x9f\x8c"), CloseReason::NotUtf8),
        // A block of a kind that is none, and a reference to what never was.
        (vec![0x06], CloseReason::Protocol),
        (vec![0x02, 0x11, 0x00], CloseReason::Protocol),
    ] {
        assert_eq!(
            run(&frames(&[(0xc1, &payload)])),
            (vec![], Some(reason)),
            "{payload:x?}"
        );
    }
}

#[test]
fn the_limit_holds_for_what_is_inflated() {
    let mut inflater = Inflater::default();
    let payload = deflate(&[7; 5_000]);
    assert!(payload.len() < 100);
    for (bytes_max, fits) in [(4_999, false), (5_000, true), (5_001, true), (0, false)] {
        let got = inflater.inflate(&payload, false, bytes_max);
        let expected = match fits {
            true => Ok(Message::Binary(&[7; 5_000])),
            false => Err(CloseReason::TooBig),
        };
        assert_eq!(got, expected, "{bytes_max}");
    }
    // Nor is it an error that what cannot be compressed gets longer by it: only beyond any reason.
    let noise = noise(BYTES_MAX);
    let payload = deflate(&noise);
    assert!(payload.len() > BYTES_MAX);
    let seen = run(&frames(&[(0xc2, &payload)]));
    assert_eq!(seen, (vec![Seen::Binary(noise)], None));
    let longer = [payload, b"\x00\x00\x00\xff\xff".repeat(2_000)].concat();
    let refused = (vec![], Some(CloseReason::TooBig));
    assert_eq!(run(&frames(&[(0xc2, &longer)])), refused);
    assert_eq!(
        run(&frames(&[
            (0x42, &longer[..60_000]),
            (0x80, &longer[60_000..])
        ])),
        refused
    );
}

/// 100 MB of zeros in 100 KB.
#[test]
fn a_bomb_takes_no_more_than_the_limit() {
    let payload = deflate(&vec![0; 100 << 20]);
    assert!(payload.len() < 200_000, "{}", payload.len());
    let mut inflater = Inflater::default();
    for bytes_max in [100, 64 << 10, 1 << 20] {
        let got = inflater.inflate(&payload, false, bytes_max);
        assert_eq!(got, Err(CloseReason::TooBig));
        let made = inflater
            .stream
            .as_ref()
            .map_or(0, |stream| stream.total_out());
        assert!(made <= bytes_max as u64 + 1, "{made} bytes were made");
        assert!(inflater.buffer.len() <= BUFFER_BYTES.max(bytes_max + 1));
    }
    inflater.trim();
    assert_eq!(inflater.buffer.len(), 0, "what it took is kept");
}

#[test]
fn a_message_has_not_streams_without_end() {
    let mut inflater = Inflater::default();
    // An empty last block, in ten bits.
    let mut streams = |count| {
        let payload = b"\x03\x00".repeat(count);
        inflater.inflate(&payload, false, 1).map(Message::len)
    };
    assert_eq!(streams(STREAMS_MAX), Ok(0));
    assert_eq!(streams(STREAMS_MAX + 1), Err(CloseReason::Protocol));
    assert_eq!(streams(50_000), Err(CloseReason::Protocol));
}

#[test]
fn what_is_not_worth_while_is_left_alone() {
    let mut compressor = Compressor::new(1_024);
    let mut is_compressed =
        |bytes: &[u8], bits| compress(&mut compressor, bytes, window(bits)).is_some();
    let json = json(MESSAGE_BYTES_MAX + 1).into_bytes();
    assert!(!is_compressed(&json[..1_023], 15));
    assert!(is_compressed(&json[..1_024], 15));
    assert!(is_compressed(&json[..MESSAGE_BYTES_MAX], 15));
    assert!(!is_compressed(&json, 15));
    // A window of 2 KiB.
    assert!(is_compressed(&json[..2_048], 11));
    assert!(!is_compressed(&json[..2_049], 11));
    assert!(!is_compressed(&noise(5_000), 15));
    assert_eq!(compressor.count(), 3);
}

/// Nor does what one message has left behind do any harm to the next.
#[test]
fn noise_without_end_is_left_alone() {
    let mut compressor = Compressor::new(1);
    let mut inflater = Inflater::default();
    let json = json(3_000).into_bytes();
    for round in 0..1_000 {
        assert_eq!(
            compress(&mut compressor, &noise(1 + 4 * round), window(15)),
            None
        );
        // What is no deflate at all, and what ends too early.
        let _ = inflater.inflate(&noise(round), false, 10_000);
        let payload = compress(&mut compressor, &json, window(15)).expect("it gets smaller");
        let _ = inflater.inflate(&payload[..round % payload.len()], false, 10_000);
        let again = inflater.inflate(&payload, false, 3_000);
        assert_eq!(again, Ok(Message::Binary(&json)), "round {round}");
    }
}

/// All of it in nine bits a byte, the most there is.
#[test]
fn there_is_room_for_the_worst() {
    let mut compressor = Compressor::new(1);
    let high = std::iter::repeat_with(|| fastrand::u8(144..));
    let high: Vec<u8> = high.take(MESSAGE_BYTES_MAX).collect();
    let edges = [65_535, 65_536, 131_071, 300_000, MESSAGE_BYTES_MAX];
    for len in (1..2_000).chain(edges) {
        assert_eq!(compress(&mut compressor, &high[..len], window(15)), None);
        assert!(
            compressor.stream.is_some(),
            "{len} bytes: it was to be made anew"
        );
    }
}

#[test]
fn what_a_large_message_has_taken_is_given_back() {
    let mut compressor = Compressor::new(1);
    let json = json(MESSAGE_BYTES_MAX).into_bytes();
    for (bytes, smaller) in [(json, true), (noise(MESSAGE_BYTES_MAX), false)] {
        let payload = compress(&mut compressor, &bytes, window(15));
        assert_eq!(payload.is_some(), smaller);
        assert_eq!(compressor.buffer.capacity(), 0);
    }
}

/// A block of fixed codes: some literals, then one reference by its codes of length and distance.
fn reference(literals: &[u8], length: u64, distance: u64) -> Vec<u8> {
    let (mut bits, mut at) = (0b010, 3);
    let mut put = |code: u64, len: u32| {
        bits |= code.reverse_bits() >> (64 - len) << at;
        at += len;
    };
    for literal in literals {
        put(0x30 + u64::from(*literal), 8);
    }
    put(length, 7);
    put(distance, 5);
    // The distance's extra bits, the block's end and the head of the empty one after it, all of them zero.
    at += (distance as u32 / 2).saturating_sub(1) + 7 + 3;
    bits.to_le_bytes()[..at.div_ceil(8) as usize].to_vec()
}

/// The whole core shares the inflater: what another client has sent must not be got at through it.
#[test]
fn nothing_refers_to_an_earlier_message() {
    let mut inflater = Inflater::default();
    let ours = inflater.inflate(&reference(b"ab", 1, 1), false, 100);
    assert_eq!(ours, Ok(Message::Binary(b"ababa")));
    let secret = deflate(&noise(100_000));
    for (length, distance) in (1..=8).flat_map(|length| (0..30).map(move |far| (length, far))) {
        for earlier in [&secret[..], &secret[..90_000]] {
            let _ = inflater.inflate(earlier, false, 100_000);
            let got = inflater.inflate(&reference(b"", length, distance), false, 100_000);
            assert_eq!(got, Err(CloseReason::Protocol), "{length}, {distance}");
        }
    }
}

/// Nor do those differ who do not end as they should, if all of the message is there.
#[test]
fn a_message_ends_where_its_sender_says() {
    let mut inflater = Inflater::default();
    let hello = b"\xf3\x48\xcd\xc9\xc9\x07\x00";
    for (payload, expected) in [
        (&b""[..], Ok(&b""[..])),
        (b"\x00", Ok(b"")),
        (hello, Ok(b"Hello")),
        (&[&hello[..], b"\x00"].concat(), Ok(b"Hello")),
        // Without its last bytes, of which the second ends the block.
        (&hello[..6], Err(CloseReason::Protocol)),
        (&hello[..5], Err(CloseReason::Protocol)),
        (b"\xf2\x48\xcd\xc9\xc9\x07", Err(CloseReason::Protocol)),
        // A block that is not compressed, with a byte too few, and with its length alone.
        (b"\x00\x02\x00\xfd\xffa", Err(CloseReason::Protocol)),
        (b"\x00\x02\x00", Err(CloseReason::Protocol)),
    ] {
        let got = inflater.inflate(payload, false, 100).map(Message::bytes);
        assert_eq!(got, expected, "{payload:x?}");
    }
}

/// What a client makes of a payload that remembers no more than a window of so many bits.
fn inflate_within(bits: u8, payload: &[u8]) -> Result<Vec<u8>, TINFLStatus> {
    let mut ring = vec![0; 1 << bits];
    let mut inflater = DecompressorOxide::new();
    let (mut bytes, mut taken) = (Vec::new(), 0);
    loop {
        let at = bytes.len() % ring.len();
        let rest = &payload[taken..];
        let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
        let (status, read, made) = decompress(&mut inflater, rest, &mut ring, at, flags);
        taken += read;
        bytes.extend_from_slice(&ring[at..at + made]);
        match status {
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::NeedsMoreInput => return Ok(bytes),
            status => return Err(status),
        }
    }
}

/// What the other implementation makes of a payload of one stream, if it is all there: with the end that is not
/// sent it comes to where a block begins, and nothing more comes out.
fn by_another(payload: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut inflater = DecompressorOxide::new();
    let mut bytes = vec![0; bytes_max + 1];
    let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (_, read, len) = decompress(&mut inflater, payload, &mut bytes, 0, flags);
    let (status, more, made) = decompress(&mut inflater, &MESSAGE_END, &mut bytes, len, flags);
    bytes.truncate(len);
    let whole = status == TINFLStatus::Done && made == 0 && read == payload.len();
    let whole = whole && more == MESSAGE_END.len();
    (whole || payload.is_empty()).then_some(bytes)
}

#[test]
fn nothing_refers_beyond_the_window() {
    let mut compressor = Compressor::new(1);
    for (bits, len) in [(8, 256), (9, 512), (11, 2_048), (12, 60_000), (15, 60_000)] {
        // Its second half repeats the first, much of which is found nowhere else.
        let half = [noise(len / 4), json(len / 4).into_bytes()].concat();
        let bytes = half.repeat(2);
        let payload = compress(&mut compressor, &bytes, window(bits));
        let payload = [&payload.expect("it gets smaller"), &FLUSH_END[..]].concat();
        let got = inflate_within(bits.min(WINDOW_BITS.get()), &payload);
        assert!(
            got.as_ref() == Ok(&bytes),
            "with {bits} bits: {:?}",
            got.map(|got| got.len())
        );
    }
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => body(),
        2 => (body(), 1..400usize).prop_map(|(body, times)| body.repeat(times)),
        1 => (1..5_000usize).prop_map(|len| json(len).into_bytes()),
        1 => vec(any::<u8>(), 0..3_000),
    ]
}

/// One unit of a stream: usually right, sometimes wrong somewhere.
fn unit() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![
        0x81, 0x82, 0xc1, 0xc2, 0x41, 0x42, 0x01, 0x00, 0x80, 0x89,
    ]);
    let first = prop_oneof![30 => first, 1 => any::<u8>()];
    let payload = prop_oneof![
        4 => message().prop_map(|bytes| deflate(&bytes)),
        1 => message(),
    ];
    let unit = (first, any::<[u8; 4]>(), payload);
    unit.prop_map(|(first, mask, payload)| client_frame(first, mask, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn cuts_change_nothing(
        units in vec(unit(), 1..6),
        cuts in vec(1..200usize, 1..6),
        moves: bool,
        bytes_max in prop_oneof![Just(10_000usize), 0..100usize],
    ) {
        let stream = units.concat();
        let run = |cuts: &[usize], moves| {
            decode_by(Decoder::deflate(bytes_max), bytes_max, &stream, cuts, moves)
        };
        let whole = run(&[usize::MAX], false);
        prop_assert_eq!(&run(&cuts, moves), &whole);
        prop_assert_eq!(&run(&[1], moves), &whole);
    }

    #[test]
    fn what_another_compresses_is_inflated(messages in vec(message(), 1..4)) {
        let mut inflater = Inflater::default();
        for message in &messages {
            let payload = deflate(message);
            let got = inflater.inflate(&payload, false, message.len());
            prop_assert_eq!(got, Ok(Message::Binary(message)));
        }
    }

    /// A cut may fall between two blocks, where nothing shows it.
    #[test]
    fn what_is_cut_short_is_refused_or_its_beginning(
        message in message(),
        cut: prop::sample::Index,
    ) {
        let mut inflater = Inflater::default();
        let payload = deflate(&message);
        let payload = &payload[..cut.index(payload.len() + 1)];
        let expected = by_another(payload, message.len());
        prop_assert!(expected.as_ref().is_none_or(|bytes| message.starts_with(bytes)));
        match inflater.inflate(payload, false, message.len()) {
            Ok(got) => prop_assert_eq!(Some(got.bytes()), expected.as_deref()),
            // By its end it may seem to get longer than it may.
            Err(reason) => {
                let fits = matches!(reason, CloseReason::Protocol | CloseReason::TooBig);
                prop_assert!(fits && expected.is_none(), "{:?}", reason);
            }
        }
    }

    #[test]
    fn what_is_compressed_another_inflates(messages in vec(message(), 1..4)) {
        let mut compressor = Compressor::new(1);
        for message in &messages {
            if let Some(payload) = compress(&mut compressor, message, window(15)) {
                prop_assert_eq!(&inflate(&payload), message);
            }
        }
    }

    #[test]
    fn noise_is_harmless(noise in vec(any::<u8>(), 0..300), flips in vec(any::<prop::sample::Index>(), 0..3), bytes in message()) {
        let mut inflater = Inflater::default();
        let mut payload = deflate(&bytes);
        for flip in flips {
            let at = flip.index(payload.len());
            payload[at] ^= 1 << (at % 8);
        }
        for payload in [noise, payload] {
            if let Ok(message) = inflater.inflate(&payload, false, 10_000) {
                prop_assert!(message.len() <= 10_000);
            }
        }
    }
}
