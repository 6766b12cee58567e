//! RFC 6455 by its own examples, and the mistakes that a client can make one by one.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::close::CloseReason;
use crate::payload::Message;
use crate::protocol::tests::{Outcome, Seen, client_frame, decode, decode_whole};
use crate::protocol::{Codec, Decoder};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn run(stream: &[u8]) -> Outcome {
    let whole = decode_whole(Codec::WebSocket, 70_000, stream);
    assert_eq!(decode(Codec::WebSocket, 70_000, stream, &[1], false), whole);
    whole
}

fn error(stream: &[u8]) -> Option<CloseReason> {
    run(stream).1
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    let frames = frames.iter();
    frames
        .flat_map(|(first, payload)| client_frame(*first, MASK, payload))
        .collect()
}

/// Section 5.7. The examples that are not masked are what a server sends.
#[test]
fn examples_of_the_rfc() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(run(hello), (vec![text("Hello")], None));
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(run(pong), (vec![Seen::Pong], None));
    let fragments = frames(&[(0x01, b"Hel"), (0x80, b"lo")]);
    assert_eq!(run(&fragments), (vec![text("Hello")], None));

    let encoded = |message: Message<'_>| {
        let mut out = Vec::new();
        Codec::WebSocket.encode(message, &mut out);
        out
    };
    assert_eq!(
        encoded(Message::Text("Hello")),
        b"\x81\x05\x48\x65\x6c\x6c\x6f"
    );
    let bytes = vec![7; 65_536];
    assert_eq!(
        encoded(Message::Binary(&bytes[..256]))[..4],
        *b"\x82\x7e\x01\x00"
    );
    let head = encoded(Message::Binary(&bytes))[..10].to_vec();
    assert_eq!(head, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
    let mut out = Vec::new();
    Codec::WebSocket.encode_pong(b"Hello", &mut out);
    assert_eq!(out, b"\x8a\x05\x48\x65\x6c\x6c\x6f");
}

#[test]
fn endings_to_send() {
    let encoded = |encode: &dyn Fn(Codec, &mut Vec<u8>)| {
        [Codec::WebSocket, Codec::Text, Codec::Frame].map(|codec| {
            let mut out = Vec::new();
            encode(codec, &mut out);
            out
        })
    };
    let nothing = Vec::new;
    let close = b"\x88\x0b\x03\xefnot UTF-8".to_vec();
    let [websocket, others @ ..] = encoded(&|codec, out| {
        codec.encode_close(CloseReason::NotUtf8, out);
        codec.encode_close(CloseReason::ByPeer, out);
    });
    assert_eq!(websocket, close);
    assert_eq!(others, [nothing(), nothing()]);
    let echoes = encoded(&|codec, out| {
        codec.encode_close_echo(Some(1000), out);
        codec.encode_close_echo(None, out);
    });
    assert_eq!(
        echoes,
        [b"\x88\x02\x03\xe8\x88\x00".to_vec(), nothing(), nothing()]
    );
    let pings = encoded(&|codec, out| codec.encode_ping(out));
    assert_eq!(pings, [b"\x89\x00".to_vec(), nothing(), nothing()]);
    for reason in CloseReason::ALL {
        assert!(reason.text().len() <= 123, "fits a close frame");
    }
}

#[test]
fn control_frames_between_fragments() {
    let stream = frames(&[
        (0x01, "a李".as_bytes()),
        (0x89, b"ping"),
        (0x00, b""),
        (0x8a, b""),
        (0x80, b"b"),
        (0x82, b"\xff"),
    ]);
    let expected = vec![
        Seen::Ping(b"ping".to_vec()),
        Seen::Pong,
        text("a李b"),
        Seen::Binary(vec![0xff]),
    ];
    assert_eq!(run(&stream), (expected, None));
}

#[test]
fn headers_that_are_wrong() {
    let wrong: &[&[u8]] = &[
        b"\x81\x05Hello", // not masked
        b"\xc1\x80",      // RSV1
        b"\xa1\x80",      // RSV2
        b"\x91\x80",      // RSV3
        b"\x83\x80",      // reserved opcodes
        b"\x87\x80",
        b"\x8b\x80",
        b"\x8f\x80",
        b"\x09\x80", // control frames in fragments
        b"\x08\x80",
        b"\x89\xfe\x00\x7e", // a control frame too long
        b"\x88\x81",         // a close of one byte
        b"\x82\xfe\x00\x7d", // lengths longer than need be
        b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x82\xff\x80\x00\x00\x00\x00\x01\x00\x00", // the top bit
        b"\x80\x80\x00\x00\x00\x00",                 // nothing to continue
        b"\x01\x80\x00\x00\x00\x00\x81\x80\x00\x00\x00\x00", // a message within another
    ];
    for stream in wrong {
        assert_eq!(error(stream), Some(CloseReason::Protocol), "{stream:x?}");
    }
}

#[test]
fn lengths_at_the_edges() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let stream = client_frame(0x82, MASK, &payload);
        assert_eq!(run(&stream), (vec![Seen::Binary(payload)], None));
    }
    let ping = client_frame(0x89, MASK, &[b'x'; 125]);
    assert_eq!(run(&ping), (vec![Seen::Ping(vec![b'x'; 125])], None));
}

#[test]
fn too_big_is_told_by_the_header() {
    let limit = |stream: &[u8]| decode_whole(Codec::WebSocket, 10, stream);
    assert_eq!(limit(&frames(&[(0x81, &[b'x'; 10])])).1, None);
    let frame = frames(&[(0x81, &[b'x'; 11])]);
    assert_eq!(limit(&frame[..6]).1, Some(CloseReason::TooBig));
    assert_eq!(limit(&frame[..5]).1, None);
    // Across fragments, too; a control frame does not count.
    let first = frames(&[(0x01, b"12345"), (0x89, &[b'x'; 125])]);
    let fits = [first.clone(), frames(&[(0x80, b"67890")])].concat();
    assert_eq!(limit(&fits).1, None);
    let last = frames(&[(0x80, b"678901")]);
    assert_eq!(
        limit(&[&first, &last[..6]].concat()).1,
        Some(CloseReason::TooBig)
    );
    let huge = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00";
    assert_eq!(limit(huge).1, Some(CloseReason::TooBig));
}

#[test]
fn text_must_be_utf8_at_once() {
    assert_eq!(
        error(&frames(&[(0x81, b"a\xff")])),
        Some(CloseReason::NotUtf8)
    );
    // A character may be cut by fragments, but not by the message's end.
    let cut = frames(&[(0x01, b"\xf0\x9d"), (0x00, b""), (0x80, b"\x84\x9e")]);
    assert_eq!(run(&cut), (vec![text("𝄞")], None));
    let open = frames(&[(0x01, b"ab"), (0x80, b"\xf0\x9d")]);
    assert_eq!(error(&open), Some(CloseReason::NotUtf8));
    // Told before the message is complete: in the first fragment, in the middle of a frame, and at
    // a byte that no continuation can mend (a surrogate, beyond Unicode, too long a form).
    let bad: [&[u8]; 4] = [b"\xff", b"\xed\xa0", b"\xf4\x90", b"\xc0"];
    for bad in bad {
        assert_eq!(
            error(&frames(&[(0x01, bad)])),
            Some(CloseReason::NotUtf8),
            "{bad:x?}"
        );
        let whole = client_frame(0x81, MASK, &[b"abcdef", bad, b"ghi"].concat());
        let part = &whole[..6 + 6 + bad.len()];
        assert_eq!(error(part), Some(CloseReason::NotUtf8), "{bad:x?}");
    }
    // Binary messages are not looked into.
    assert_eq!(error(&frames(&[(0x02, b"\xff"), (0x80, b"\xff")])), None);
}

#[test]
fn close_frames() {
    let close = |code: u16, reason: &[u8]| {
        let payload = [&code.to_be_bytes(), reason].concat();
        run(&client_frame(0x88, MASK, &payload))
    };
    for code in [
        1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999,
    ] {
        assert_eq!(close(code, b"why"), (vec![Seen::Close(Some(code))], None));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        assert_eq!(
            close(code, b""),
            (vec![], Some(CloseReason::Protocol)),
            "{code}"
        );
    }
    assert_eq!(close(1000, b"\xce"), (vec![], Some(CloseReason::NotUtf8)));
    assert_eq!(
        run(&frames(&[(0x88, b"")])),
        (vec![Seen::Close(None)], None)
    );
    // Nothing is reported after it, not even what is wrong.
    let after = frames(&[(0x01, b"a"), (0x88, b""), (0x81, b"late"), (0xff, b"")]);
    assert_eq!(run(&after), (vec![Seen::Close(None)], None));
}

#[test]
fn empty_fragments_without_end_hold_nothing() {
    let mut decoder = Decoder::new(Codec::WebSocket, 1_000);
    let first = client_frame(0x01, MASK, b"");
    assert_eq!(decoder.next(&mut first.clone(), &mut 0), Ok(None));
    let held = decoder.bytes_held();
    for _ in 0..10_000 {
        let mut fragment = client_frame(0x00, MASK, b"");
        assert_eq!(decoder.next(&mut fragment, &mut 0), Ok(None));
    }
    assert_eq!(decoder.bytes_held(), held);
}

proptest! {
    /// Messages split into fragments at random, with pings between them, come out as they were.
    #[test]
    fn fragments_make_the_message(
        messages in vec(("[aé李𝄞]{0,60}", vec(0..30usize, 0..5), any::<[u8; 4]>(), any::<bool>()), 1..5),
        cuts in vec(1..40usize, 1..6),
    ) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for (message, fragments, mask, binary) in messages {
            let mut rest = message.as_bytes();
            let mut opcode = if binary { 2 } else { 1 };
            for len in fragments {
                let (fragment, tail) = rest.split_at(len.min(rest.len()));
                rest = tail;
                stream.extend(client_frame(opcode, mask, fragment));
                stream.extend(client_frame(0x89, mask, fragment));
                expected.push(Seen::Ping(fragment.to_vec()));
                opcode = 0;
            }
            stream.extend(client_frame(0x80 | opcode, mask, rest));
            expected.push(match binary {
                true => Seen::Binary(message.into_bytes()),
                false => Seen::Text(message),
            });
        }
        let outcome = decode(Codec::WebSocket, 1_000, &stream, &cuts, false);
        prop_assert_eq!(outcome, (expected, None));
    }
}
