//! All that a connection brings, from its first byte on: what one reader leaves of a piece is the next one's, and
//! where the pieces end changes nothing.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::http::{BodyReader, HeadScan, HttpError, Part, check_head};
use super::super::proxy::ProxyHeader;
use super::super::websocket::handshake::{Declined, Handshake};
use super::super::{Codec, Decoder};
use super::{body, client_frame, websocket_unit};
use crate::config::REQUEST_HEAD_BYTES_DEFAULT;

const PROXY: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n";
const OPENING: &str = "GET /chat HTTP/1.1\r\nHost: a.b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const BODY_BYTES_MAX: usize = 60;

/// How far a websocket behind a proxy has come.
enum Stage {
    Proxy(ProxyHeader),
    Opening(Handshake),
    Open(Decoder),
}

/// What has happened on it, in words; a refusal or an error is the last of them.
fn converse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut stage = Stage::Proxy(ProxyHeader::default());
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = piece.to_vec();
        let mut at = 0;
        loop {
            let step = match &mut stage {
                Stage::Proxy(header) => match header.advance(&input[at..]) {
                    Ok(None) => break,
                    Ok(Some((source, taken))) => {
                        at += taken;
                        stage = Stage::Opening(Handshake::new());
                        Ok(format!("{source:?}"))
                    }
                    Err(wrong) => Err(wrong.to_owned()),
                },
                Stage::Opening(handshake) => match handshake.advance(&input[at..]) {
                    Ok(None) => break,
                    Ok(Some(accepted)) => {
                        at += accepted.consumed;
                        stage = Stage::Open(Decoder::new(Codec::WebSocket, 50));
                        Ok(format!(
                            "{} {:?}",
                            accepted.request.path(),
                            accepted.response
                        ))
                    }
                    Err(Declined::Refused(refused)) => Err(refused.text.to_owned()),
                    Err(Declined::Health(health)) => Err(format!("{health:?}")),
                },
                Stage::Open(decoder) => match decoder.next(&mut input, &mut at) {
                    Ok(None) => break,
                    Ok(Some(item)) => Ok(format!("{item:?}")),
                    Err(reason) => Err(format!("{reason:?}")),
                },
            };
            match step {
                Ok(words) => seen.push(words),
                Err(words) => {
                    seen.push(words);
                    return seen;
                }
            }
        }
    }
    seen
}

/// The requests on a connection of the HTTP port, in words; a refusal is the last of them.
fn ask<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut input = Vec::new();
    let mut seen = Vec::new();
    loop {
        match request(&mut input, &mut pieces) {
            Ok(Some(words)) => seen.push(words),
            Ok(None) => return seen,
            Err(error) => {
                seen.push(error.to_string());
                return seen;
            }
        }
    }
}

fn request<'a>(
    input: &mut Vec<u8>,
    pieces: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Option<String>, HttpError> {
    let mut scan = HeadScan::new(REQUEST_HEAD_BYTES_DEFAULT);
    let (words, framing, len) = loop {
        if let Some(head) = check_head(&mut scan, input)? {
            break (format!("{head:?}"), head.framing, head.len);
        }
        let Some(piece) = pieces.next() else {
            return Ok(None);
        };
        input.extend_from_slice(piece);
    };
    input.drain(..len);
    let mut reader = BodyReader::new(framing, BODY_BYTES_MAX)?;
    let (mut bytes, mut at) = (Vec::new(), 0);
    loop {
        match reader.next(input, &mut at)? {
            Some(Part::Bytes(part)) => bytes.extend_from_slice(part),
            Some(Part::End) => break,
            None => {
                *input = match pieces.next() {
                    Some(piece) => piece.to_vec(),
                    None => return Ok(None),
                };
                at = 0;
            }
        }
    }
    input.drain(..at);
    Ok(Some(format!("{words} {bytes:?}")))
}

/// A stream in pieces of these lengths, again and again.
fn pieces<'a>(mut stream: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut cuts = cuts.iter().cycle();
    std::iter::from_fn(move || {
        let len = cuts.next().copied().unwrap_or(1).min(stream.len());
        let (piece, rest) = stream.split_at(len);
        stream = rest;
        (len > 0).then_some(piece)
    })
}

/// A request with a body, usually right.
fn asked() -> impl Strategy<Value = Vec<u8>> {
    let head =
        |line: String| format!("POST /v1/push HTTP/1.1\r\nHost: a\r\n{line}\r\n").into_bytes();
    prop_oneof![
        1 => Just(head(String::new())),
        4 => body().prop_map(move |body| {
            [head(format!("Content-Length: {}\r\n", body.len())), body].concat()
        }),
        4 => vec(body(), 0..3).prop_map(move |chunks| {
            let mut bytes = head("Transfer-Encoding: chunked\r\n".to_owned());
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                bytes.extend(format!("{:x};a=b\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\nA: b\r\n\r\n");
            bytes
        }),
    ]
}

fn noise() -> impl Strategy<Value = Option<(prop::sample::Index, u8)>> {
    prop_oneof![2 => Just(None), 1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some)]
}

fn spoil(stream: &mut [u8], noise: Option<(prop::sample::Index, u8)>) {
    if let Some((at, byte)) = noise {
        stream[at.index(stream.len())] = byte;
    }
}

#[test]
fn all_of_it_in_one_piece() {
    let frames = [
        client_frame(0x81, [1, 2, 3, 4], b"tom"),
        client_frame(0x89, [0; 4], b"!"),
    ];
    let stream = [PROXY.as_bytes(), OPENING.as_bytes(), &frames.concat()].concat();
    let seen = converse(pieces(&stream, &[stream.len()]));
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen[2].contains("tom"), "{seen:?}");
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3).into_bytes();
    assert_eq!(ask(pieces(&head, &[head.len()])).len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn cuts_change_nothing_of_a_websocket(
        units in vec(websocket_unit(), 0..5),
        noise in noise(),
        cuts in vec(1..120usize, 1..6),
    ) {
        let mut stream = [PROXY.as_bytes(), OPENING.as_bytes(), &units.concat()].concat();
        spoil(&mut stream, noise);
        let whole = converse(pieces(&stream, &[stream.len()]));
        prop_assert_eq!(&converse(pieces(&stream, &cuts)), &whole);
        prop_assert_eq!(&converse(pieces(&stream, &[1])), &whole);
    }

    #[test]
    fn cuts_change_nothing_of_requests(
        requests in vec(asked(), 1..4),
        noise in noise(),
        cuts in vec(1..120usize, 1..6),
    ) {
        let mut stream = requests.concat();
        spoil(&mut stream, noise);
        let whole = ask(pieces(&stream, &[stream.len()]));
        prop_assert_eq!(&ask(pieces(&stream, &cuts)), &whole);
        prop_assert_eq!(&ask(pieces(&stream, &[1])), &whole);
    }
}
