//! What holds for every codec: cutting the input anywhere changes nothing, a decoder touches only
//! what it takes, and what is encoded is what an independent reader finds.

mod cluster;
mod conversation;
mod limits;
mod lines;
mod written;

use proptest::collection::vec;
use proptest::prelude::*;

use super::websocket::deflate::Inflater;
use super::{Codec, Decoded, Decoder};
use crate::close::{CloseReason, Flaw};
use crate::payload::Message;

/// An item that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Flawed(Flaw, Vec<u8>),
}

impl From<Message<'_>> for Seen {
    fn from(message: Message<'_>) -> Seen {
        match message {
            Message::Text(text) => Seen::Text(text.to_owned()),
            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        }
    }
}

impl Seen {
    /// As the core sees it, which inflates what is compressed.
    fn new(
        item: Decoded<'_>,
        bytes_max: usize,
        inflater: &mut Inflater,
    ) -> Result<Seen, CloseReason> {
        Ok(match item {
            Decoded::Message(message) => message.into(),
            Decoded::CompressedText(bytes) => inflater.inflate(bytes, true, bytes_max)?.into(),
            Decoded::CompressedBinary(bytes) => inflater.inflate(bytes, false, bytes_max)?.into(),
            Decoded::Ping(payload) => Seen::Ping(payload.to_vec()),
            Decoded::Pong => Seen::Pong,
            Decoded::TooLong(line) => Seen::Flawed(Flaw::TooBig, line.to_vec()),
            Decoded::NotUtf8(line) => Seen::Flawed(Flaw::NotUtf8, line.to_vec()),
            Decoded::Unended(line) => Seen::Flawed(Flaw::Unended, line.to_vec()),
            Decoded::Close { code } => Seen::Close(code),
        })
    }
}

pub(super) type Outcome = (Vec<Seen>, Option<CloseReason>);

/// Decodes the stream in pieces of the given lengths (again and again), each piece in a buffer of
/// its own. With `moves`, what an item leaves unread goes on in a new buffer, as it does when the
/// connection moves to another core, and the decoder in one that is read from its written form.
pub(super) fn decode(
    codec: Codec,
    bytes_max: usize,
    stream: &[u8],
    cuts: &[usize],
    moves: bool,
) -> Outcome {
    let decoder = Decoder::new(codec, bytes_max);
    decode_by(decoder, bytes_max, stream, cuts, moves)
}

pub(super) fn decode_by(
    mut decoder: Decoder,
    bytes_max: usize,
    stream: &[u8],
    cuts: &[usize],
    moves: bool,
) -> Outcome {
    let mut inflater = Inflater::default();
    let mut seen = Vec::new();
    let mut cuts = cuts.iter().copied().cycle();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
        rest = tail;
        let mut input = piece.to_vec();
        let mut at = 0;
        loop {
            let untouched = input.clone();
            let before = at;
            match decoder.next(&mut input, &mut at) {
                Ok(Some(item)) => match Seen::new(item, bytes_max, &mut inflater) {
                    Ok(item) => seen.push(item),
                    Err(reason) => return (seen, Some(reason)),
                },
                Ok(None) => {
                    assert_eq!(at, input.len(), "None means that all was taken");
                    break;
                }
                Err(reason) => return (seen, Some(reason)),
            }
            assert!(before <= at && at <= input.len());
            assert_eq!(input[at..], untouched[at..], "bytes not taken were changed");
            if moves {
                input.drain(..at);
                at = 0;
                decoder = written::again(&decoder);
            }
        }
        if moves {
            decoder = written::again(&decoder);
        }
        // The last item's buffer is free by now: what is held belongs to one message.
        assert!(decoder.bytes_held() <= 2 * bytes_max + 1_024);
    }
    (seen, None)
}

pub(super) fn decode_whole(codec: Codec, bytes_max: usize, stream: &[u8]) -> Outcome {
    decode(codec, bytes_max, stream, &[usize::MAX], false)
}

/// A frame as a websocket client sends it.
pub(super) fn client_frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}

/// Bytes that are often UTF-8, sometimes nearly.
pub(super) fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-zé李𝄞\n\r]{0,40}".prop_map(String::into_bytes),
        1 => "[aé李𝄞]{30,70}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..20),
    ]
}

/// One unit of a client's websocket stream: usually right, sometimes wrong somewhere.
pub(super) fn websocket_unit() -> impl Strategy<Value = Vec<u8>> {
    let right = prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]);
    let first = prop_oneof![30 => right, 1 => Just(0x88), 1 => any::<u8>()];
    (first, any::<[u8; 4]>(), body())
        .prop_map(|(first, mask, body)| client_frame(first, mask, &body))
}

fn text_unit() -> impl Strategy<Value = Vec<u8>> {
    (
        body(),
        prop::sample::select(vec!["\n", "\r\n", "\r\r\n", "\r", ""]),
    )
        .prop_map(|(body, end)| [&body, end.as_bytes()].concat())
}

fn frame_unit() -> impl Strategy<Value = Vec<u8>> {
    let wrong = prop_oneof![30 => Just(0), 1 => -9..9i64];
    (body(), wrong).prop_map(|(body, wrong)| {
        let len = (body.len() as i64 + 4 + wrong) as u32;
        [&len.to_be_bytes()[..], &body].concat()
    })
}

fn stream() -> impl Strategy<Value = (Codec, Vec<u8>)> {
    let of = |codec, units: Vec<Vec<u8>>| (codec, units.concat());
    prop_oneof![
        2 => vec(websocket_unit(), 1..8).prop_map(move |units| of(Codec::WebSocket, units)),
        1 => vec(text_unit(), 1..8).prop_map(move |units| of(Codec::Text, units)),
        1 => vec(frame_unit(), 1..8).prop_map(move |units| of(Codec::Frame, units)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn cuts_change_nothing(
        (codec, stream) in stream(),
        cuts in vec(1..30usize, 1..6),
        moves: bool,
        bytes_max in prop_oneof![Just(1_000usize), 0..60usize],
    ) {
        let whole = decode_whole(codec, bytes_max, &stream);
        prop_assert_eq!(&decode(codec, bytes_max, &stream, &cuts, moves), &whole);
        prop_assert_eq!(&decode(codec, bytes_max, &stream, &[1], moves), &whole);
    }

    #[test]
    fn noise_is_harmless(codec in codec(), noise in vec(any::<u8>(), 0..200)) {
        let whole = decode_whole(codec, 64, &noise);
        prop_assert_eq!(decode(codec, 64, &noise, &[1], false), whole);
    }

    #[test]
    fn whatever_is_encoded_is_found_again(
        codec in codec(),
        bodies in vec(prop_oneof![10 => body(), 1 => vec(any::<u8>(), 120..130), 1 => vec(any::<u8>(), 65_530..65_540)], 0..6),
    ) {
        let messages: Vec<Message<'_>> = bodies
            .iter()
            .map(|body| match std::str::from_utf8(body) {
                Ok(text) => Message::Text(text),
                Err(_) => Message::Binary(body),
            })
            .collect();
        let mut out = Vec::new();
        for message in &messages {
            let before = out.len();
            codec.encode(*message, &mut out);
            prop_assert_eq!(out.len() - before, codec.encoded_len(*message));
        }
        let expected: Vec<Seen> = messages.iter().map(|message| expected(codec, *message)).collect();
        prop_assert_eq!(read_back(codec, &out), expected);
    }
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(vec![Codec::WebSocket, Codec::Text, Codec::Frame])
}

/// What a client gets of a message.
fn expected(codec: Codec, message: Message<'_>) -> Seen {
    match (codec, message) {
        (Codec::Text, message) => {
            Seen::Text(String::from_utf8_lossy(message.bytes()).replace('\n', " "))
        }
        (_, Message::Text(text)) => Seen::Text(text.to_owned()),
        (_, Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
    }
}

/// A client's reader, written without the code under test.
fn read_back(codec: Codec, mut bytes: &[u8]) -> Vec<Seen> {
    let mut take = |len: usize| {
        let (head, tail) = bytes.split_at(len);
        bytes = tail;
        (head.to_vec(), tail.is_empty())
    };
    let number = |bytes: Vec<u8>| {
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    };
    let mut seen = Vec::new();
    if take(0).1 {
        return seen;
    }
    loop {
        let (body, text, last) = match codec {
            Codec::Sse | Codec::Http => unreachable!("its client sends no messages"),
            Codec::WebSocket | Codec::V1 => {
                let first = take(1).0[0];
                let len = match take(1).0[0] {
                    126 => number(take(2).0),
                    127 => number(take(8).0),
                    len => usize::from(len),
                };
                let (body, last) = take(len);
                assert!(first == 0x81 || first == 0x82);
                (body, first == 0x81, last)
            }
            Codec::Text => {
                let mut line = Vec::new();
                loop {
                    let (byte, last) = take(1);
                    if byte[0] == b'\n' {
                        break (line, true, last);
                    }
                    line.extend(byte);
                }
            }
            Codec::Frame => {
                let len = number(take(4).0);
                let (body, last) = take(len - 4);
                let text = std::str::from_utf8(&body).is_ok();
                (body, text, last)
            }
        };
        seen.push(match text {
            true => Seen::Text(String::from_utf8(body).expect("text is UTF-8")),
            false => Seen::Binary(body),
        });
        if last {
            return seen;
        }
    }
}

#[test]
fn a_decoder_is_small_and_may_move() {
    fn is_send<T: Send>() {}
    is_send::<Decoder>();
    assert_eq!(size_of::<Decoder>(), 16);
}

#[test]
fn text_lines() {
    let lines = |bytes: &[u8]| decode_whole(Codec::Text, 5, bytes);
    let text = |text: &str| Seen::Text(text.to_owned());
    assert_eq!(
        lines(b"a\nb\r\n\n"),
        (vec![text("a"), text("b"), text("")], None)
    );
    assert_eq!(lines(b"a\rb\r\r\n"), (vec![text("a\rb\r")], None));
    // Five bytes pass with either ending, and six do not, whether or not their end has come.
    assert_eq!(lines(b"12345\n12345\r\n12345\r").0.len(), 2);
    assert_eq!(lines(b"12345\r").1, None);
    assert_eq!(lines(b"123456").1, Some(CloseReason::TooBig));
    assert_eq!(lines(b"12345\r1").1, Some(CloseReason::TooBig));
    assert_eq!(lines(b"123456\n").1, Some(CloseReason::TooBig));
    assert_eq!(lines(b"a\xff\n").1, Some(CloseReason::NotUtf8));
}

#[test]
fn text_to_send() {
    let line = |message: Message<'_>| {
        let mut out = Vec::new();
        Codec::Text.encode(message, &mut out);
        String::from_utf8(out).expect("a line is UTF-8")
    };
    assert_eq!(line(Message::Text("a\nb\r\n")), "a b\r \n");
    assert_eq!(line(Message::Binary("é\n".as_bytes())), "é \n");
    assert_eq!(
        line(Message::Binary(b"a\xff\n\xf0\x9f")),
        "a\u{FFFD} \u{FFFD}\n"
    );
}

#[test]
fn frames() {
    let frames = |bytes: &[u8]| decode_whole(Codec::Frame, 3, bytes);
    assert_eq!(
        frames(b"\0\0\0\x07abc\0\0\0\x04\0\0\0\x05\xff"),
        (
            vec![
                Seen::Text("abc".into()),
                Seen::Text(String::new()),
                Seen::Binary(vec![0xff])
            ],
            None
        )
    );
    for len in 0..4 {
        assert_eq!(frames(&[0, 0, 0, len]).1, Some(CloseReason::Protocol));
    }
    // Refused by the header alone.
    assert_eq!(frames(b"\0\0\0\x08").1, Some(CloseReason::TooBig));
    assert_eq!(frames(b"\xff\xff\xff\xff").1, Some(CloseReason::TooBig));
}

#[test]
fn nothing_is_held_for_what_is_only_announced() {
    let announcements: [(Codec, &[u8]); 2] = [
        (Codec::Frame, &[0, 0xff, 0xff, 0xff, 1]),
        (
            Codec::WebSocket,
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 1, 2, 3, 4, 1],
        ),
    ];
    for (codec, announcement) in announcements {
        let mut decoder = Decoder::new(codec, 16 << 20);
        let mut input = announcement.to_vec();
        assert_eq!(decoder.next(&mut input, &mut 0), Ok(None));
        assert!((1..512).contains(&decoder.bytes_held()), "{codec:?}");
    }
}

#[test]
fn a_message_in_pieces_is_freed_by_the_next_call() {
    let units = [
        (Codec::Text, b"hello\n".to_vec()),
        (Codec::Frame, b"\0\0\0\x09hello".to_vec()),
        (Codec::WebSocket, client_frame(0x81, [1, 2, 3, 4], b"hello")),
    ];
    for (codec, unit) in units {
        let mut decoder = Decoder::new(codec, 5);
        let (head, tail) = unit.split_at(unit.len() - 1);
        assert_eq!(decoder.next(&mut head.to_vec(), &mut 0), Ok(None));
        assert!(decoder.bytes_held() > 0);
        let mut tail = tail.to_vec();
        let mut at = 0;
        let item = decoder.next(&mut tail, &mut at).expect("valid");
        assert_eq!(item, Some(Decoded::Message(Message::Text("hello"))));
        assert_eq!(decoder.next(&mut tail, &mut at), Ok(None));
        assert_eq!(decoder.bytes_held(), 0, "{codec:?}");
    }
}
