//! Lines that are no messages, where they are told and skipped in place of ending the connection.

use proptest::collection::vec;
use proptest::prelude::*;

use super::Seen;
use crate::close::{CloseReason, Flaw};
use crate::protocol::text::SKIPPED_BYTES_MAX;
use crate::protocol::websocket::deflate::Inflater;
use crate::protocol::{Codec, Decoded, Decoder};

/// What comes of a stream in pieces of these lengths, its end included.
fn told(bytes_max: usize, stream: &[u8], cuts: &[usize]) -> Vec<Seen> {
    let mut decoder = Decoder::new(Codec::Text, bytes_max).telling();
    let mut seen = Vec::new();
    let mut cuts = cuts.iter().cycle();
    let mut rest = stream;
    let owned = |item: Decoded<'_>| {
        let item = Seen::new(item, bytes_max, &mut Inflater::default());
        item.expect("nothing is compressed")
    };
    while !rest.is_empty() {
        let len = cuts.next().copied().unwrap_or(usize::MAX);
        let (piece, tail) = rest.split_at(len.clamp(1, rest.len()));
        rest = tail;
        let (mut input, mut at) = (piece.to_vec(), 0);
        while let Some(item) = decoder.next(&mut input, &mut at).expect("no line ends it") {
            seen.push(owned(item));
        }
        assert_eq!(at, input.len());
        assert!(decoder.bytes_held() <= 2 * bytes_max + 512);
    }
    seen.extend(decoder.finish().map(owned));
    assert!(decoder.finish().is_none(), "the end comes once");
    seen
}

/// What a decoder is to find, line by line.
fn plain(bytes_max: usize, stream: &[u8]) -> Vec<Seen> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let last = lines.pop().expect("split gives one at least");
    let strip = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).to_vec();
    let edges = |line: &[u8]| match line.len() {
        0..=128 => line.to_vec(),
        len => [&line[..64], &line[len - 64..]].concat(),
    };
    let whole = lines.into_iter().map(|line| {
        let own = strip(line);
        match String::from_utf8(own.clone()) {
            _ if own.len() > bytes_max => Seen::Flawed(Flaw::TooBig, strip(&edges(line))),
            Ok(text) => Seen::Text(text),
            Err(_) => Seen::Flawed(Flaw::NotUtf8, own),
        }
    });
    let mut seen: Vec<Seen> = whole.collect();
    // Of a line without its end, one byte more may be the beginning of that.
    let fits = last.len() <= bytes_max || last.len() == bytes_max + 1 && last.ends_with(b"\r");
    match last {
        b"" => {}
        _ if fits => seen.push(Seen::Flawed(Flaw::Unended, strip(last))),
        _ => seen.push(Seen::Flawed(Flaw::TooBig, strip(&edges(last)))),
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn each_line_is_told_in_its_order(
        lines in vec((
            prop_oneof![
                6 => "[aé\r]{0,40}".prop_map(String::into_bytes),
                1 => "[abc]{100,300}".prop_map(String::into_bytes),
                1 => vec(any::<u8>(), 0..50),
            ],
            prop::sample::select(vec!["\n", "\r\n", ""]),
        ), 0..8),
        cuts in vec(1..60usize, 1..6),
        bytes_max in prop_oneof![0..60usize, Just(1_000)],
    ) {
        let stream: Vec<u8> = lines
            .iter()
            .flat_map(|(line, end)| [line.as_slice(), end.as_bytes()].concat())
            .collect();
        // Who begins as TLS does is told so, and ended.
        prop_assume!(!stream.starts_with(&[0x16, 3]));
        let expected = plain(bytes_max, &stream);
        prop_assert_eq!(&told(bytes_max, &stream, &cuts), &expected);
        prop_assert_eq!(&told(bytes_max, &stream, &[1]), &expected);
        prop_assert_eq!(&told(bytes_max, &stream, &[usize::MAX]), &expected);
    }
}

#[test]
fn what_is_skipped_has_a_bound() {
    let mut decoder = Decoder::new(Codec::Text, 10).telling();
    let mut left = SKIPPED_BYTES_MAX;
    while left > 0 {
        let mut piece = vec![b'x'; left.min(1 << 16)];
        assert_eq!(decoder.next(&mut piece, &mut 0), Ok(None));
        left -= piece.len();
        assert!(decoder.bytes_held() < 512);
    }
    let mut last = [b'x'];
    let outcome = decoder.next(&mut last, &mut 0);
    assert_eq!(outcome, Err(CloseReason::TooBig));
}

/// The edges tell a request of another protocol, whatever is between.
#[test]
fn a_long_request_line_is_no_first_line() {
    for line in [
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(1_000)),
        format!("made-up /{} HTTP/1.1\r\n", "x".repeat(1_000)),
    ] {
        for cut in [1, 7, usize::MAX] {
            let mut decoder = Decoder::new(Codec::Text, 100).telling();
            let outcome = line.as_bytes().chunks(cut).find_map(|piece| {
                let mut piece = piece.to_vec();
                match decoder.next(&mut piece, &mut 0) {
                    Ok(None) => None,
                    outcome => Some(outcome.map(|_| ())),
                }
            });
            assert_eq!(outcome, Some(Err(CloseReason::Protocol)), "{cut}");
            assert!(decoder.stranger().is_some());
        }
    }
}
