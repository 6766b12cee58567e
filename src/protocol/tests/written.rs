//! What is half there in writing: read back it goes on as if nothing had been, and what is damaged is refused or harmless.
//! The decoders of messages go through their written form in every test that moves them, too.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::http::{self, Request};
use super::super::proxy::ProxyHeader;
use super::super::websocket::handshake::{Declined, Handshake};
use super::super::{Codec, Decoder};
use super::{client_frame, stream};
use crate::config::REQUEST_HEAD_BYTES_LIMIT;

/// A value, written down and read back.
pub(in crate::protocol) fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let bytes = postcard::to_allocvec(value).expect("it is written");
    postcard::from_bytes(&bytes).expect("it is read back")
}

fn pieces<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), stream);
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap_or(&1)));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

const REQUESTS: [&str; 7] = [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\r\nGET /a?b=%20c HTTP/1.0\r\nX-Forwarded-For: a\r\nx-forwarded-for: b\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nVia: p\r\nContent-Length: 4\r\n\r\nbody\r\n",
    "POST http://h.i?q HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nX: é\r\n\r\nbo",
    "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: y\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\n.",
    "GET /v1/events?access_token=a.b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nCookie: a\r\n\r\n12345",
];

/// All that a request says, in words.
fn words(request: &Request) -> String {
    let fields = ["x", "via", "cookie", "host"].map(|name| request.field(name));
    let shown = (
        (request.method(), request.path(), request.query()),
        (&request.host, &request.authorization, &request.token),
        (request.health, request.is_old, request.is_forwarded),
        (
            request.keep_alive,
            request.framing,
            request.expects_continue,
        ),
        (request.forwarded(), fields, &request.body),
    );
    format!("{shown:?}")
}

/// The requests in these pieces, and what ends them.
fn ask(pieces: &[&[u8]], moves: bool) -> Vec<String> {
    let (mut decoder, mut seen) = (http::RequestDecoder::default(), Vec::new());
    for piece in pieces {
        let mut at = 0;
        loop {
            let step = ask_once(&mut decoder, piece, &mut at);
            // Whoever has sent what is none is not read any more.
            if moves && step.is_ok() {
                decoder = again(&decoder);
            }
            match step {
                Ok(Some(words)) => seen.push(words),
                Ok(None) => break,
                Err(error) => {
                    seen.push(error.to_string());
                    return seen;
                }
            }
        }
    }
    seen
}

fn ask_once(
    decoder: &mut http::RequestDecoder,
    piece: &[u8],
    at: &mut usize,
) -> Result<Option<String>, http::HttpError> {
    if !decoder.is_in_body() {
        let Some(head) = decoder.head(piece, at, 300)? else {
            return Ok(None);
        };
        let mut request = Request::new(&head)?;
        // As the transport says it of those that come by a proxy.
        request.is_forwarded |= head.path == "/a";
        let body = request.body_reader(40)?;
        decoder.expect_body(request, body);
    }
    let request = decoder.body(piece, at)?;
    Ok(request.map(|request| words(&request)))
}

/// How a handshake comes out, and the proxy's header before it.
fn open(pieces: &[&[u8]], moves: bool) -> Vec<String> {
    let mut proxy = Some(ProxyHeader::default());
    let mut handshake = Handshake::new()
        .behind_proxy(true)
        .with_compression(true)
        .with_token(true)
        .with_head_bytes_max(600);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        if let Some(header) = &mut proxy {
            match header.advance(rest) {
                Ok(None) => {
                    if moves {
                        *header = again(header);
                    }
                    continue;
                }
                Ok(Some((source, taken))) => {
                    seen.push(format!("{source:?}"));
                    rest = &rest[taken..];
                    proxy = None;
                }
                Err(wrong) => return vec![wrong.to_owned()],
            }
        }
        match handshake.advance(rest) {
            Ok(None) if moves => handshake = again(&handshake),
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let window = accepted.window.map(|window| again(&window));
                assert_eq!(window, accepted.window);
                let shown = (&accepted.request, &accepted.forwarded, &accepted.token);
                seen.push(format!("{shown:?} {:?}", accepted.response));
                return seen;
            }
            Err(Declined::Refused(refused)) => {
                seen.push(refused.text.to_owned());
                return seen;
            }
            Err(Declined::Health(health)) => {
                seen.push(format!("{health:?}"));
                return seen;
            }
        }
    }
    seen
}

const OPENING: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\nGET /chat HTTP/1.1\r\nHost: a.b\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nX-Forwarded-For: 192.0.2.9\r\nAuthorization: Bearer a.b\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn requests_go_on(
        requests in vec(prop::sample::select(REQUESTS.to_vec()), 1..5),
        noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in vec(1..50usize, 1..6),
    ) {
        let mut stream = requests.concat().into_bytes();
        if let Some((at, byte)) = noise {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let pieces = pieces(&stream, &cuts);
        prop_assert_eq!(ask(&pieces, true), ask(&[&stream[..]], false));
    }

    #[test]
    fn handshakes_go_on(
        noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in vec(1..50usize, 1..6),
    ) {
        let mut stream = OPENING.as_bytes().to_vec();
        if let Some((at, byte)) = noise {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        prop_assert_eq!(open(&pieces(&stream, &cuts), true), open(&[&stream[..]], false));
    }

    /// Some bytes of a written decoder are others. What is read of that goes on with whatever comes: no panic, nothing
    /// called text that is none, and no more than the limit.
    #[test]
    fn what_is_damaged_is_refused_or_harmless(
        (codec, stream) in stream(),
        deflate: bool,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        more in vec(any::<u8>(), 0..100),
    ) {
        let mut decoder = match deflate && codec == Codec::WebSocket {
            true => Decoder::deflate(100),
            false => Decoder::new(codec, 100).telling(),
        };
        let (mut input, mut at) = (stream, 0);
        while let Ok(Some(_)) = decoder.next(&mut input, &mut at) {}
        let mut bytes = postcard::to_allocvec(&decoder).expect("it is written");
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut decoder) = postcard::from_bytes::<Decoder>(&bytes) {
            decoder.set_message_bytes_max(100);
            let follow = client_frame(0x80, [1, 2, 3, 4], "\u{e9}nd".as_bytes());
            let mut input = [&more[..], b"\n", &follow].concat();
            let mut at = 0;
            while let Ok(Some(item)) = decoder.next(&mut input, &mut at) {
                if let super::Decoded::Message(message) = item {
                    prop_assert!(message.len() <= 100);
                    if let super::Message::Text(text) = message {
                        prop_assert!(std::str::from_utf8(text.as_bytes()).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn noise_is_no_decoder(bytes in vec(any::<u8>(), 0..200)) {
        let _ = postcard::from_bytes::<Decoder>(&bytes);
        let _ = postcard::from_bytes::<http::RequestDecoder>(&bytes);
        let _ = postcard::from_bytes::<Handshake>(&bytes);
        let _ = postcard::from_bytes::<ProxyHeader>(&bytes);
    }
}

/// A length that is announced and does not come.
#[test]
fn nothing_is_allocated_for_what_has_not_come() {
    let announced = [0xff, 0xff, 0xff, 0xff, 0x0f];
    // A head's bytes, a text decoder's line: the form of each begins so.
    assert!(postcard::from_bytes::<Handshake>(&announced).is_err());
    assert!(postcard::from_bytes::<ProxyHeader>(&announced).is_err());
    let line = [&[1, 1][..], &announced].concat();
    assert!(postcard::from_bytes::<Decoder>(&line).is_err());
}

#[test]
fn a_head_may_not_be_longer_than_any() {
    let limit = |bytes_max: usize| {
        let handshake = Handshake::new().with_head_bytes_max(bytes_max);
        let bytes = postcard::to_allocvec(&handshake).expect("it is written");
        postcard::from_bytes::<Handshake>(&bytes).is_ok()
    };
    assert!(limit(REQUEST_HEAD_BYTES_LIMIT));
    assert!(!limit(REQUEST_HEAD_BYTES_LIMIT + 1));
}
