//! The limit on a message may change while one is half there, as by a reload: nothing comes out above the limit of that
//! moment, and what fits every limit comes out whole.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Seen, client_frame};
use crate::close::CloseReason;
use crate::payload::Message;
use crate::protocol::http::{BodyReader, Framing, Part};
use crate::protocol::websocket::deflate::{Compressor, Inflater};
use crate::protocol::websocket::extension::Offer;
use crate::protocol::{Codec, Decoded, Decoder};

/// What a client sends, as one of the ways to lay out messages.
#[derive(Clone, Copy, Debug)]
enum Layout {
    WebSocket,
    Fragments,
    Compressed,
    Text,
    Frame,
}

const LAYOUTS: [Layout; 5] = [
    Layout::WebSocket,
    Layout::Fragments,
    Layout::Compressed,
    Layout::Text,
    Layout::Frame,
];

/// A compressed message as a client's frame or, for what gets no smaller, as it is.
fn compressed(body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let window = Offer::first(b"permessage-deflate")
        .expect("an offer")
        .window();
    if !Compressor::new(1).encode(Message::Text(body), window, &mut out) {
        return client_frame(0x81, [1, 2, 3, 4], body.as_bytes());
    }
    // A server's frame of some hundred bytes at most: two or four bytes of header, and no mask.
    let payload = match out[1] {
        126 => &out[4..],
        _ => &out[2..],
    };
    client_frame(out[0], [1, 2, 3, 4], payload)
}

/// The bytes of one message; fragments are of `cut` bytes.
fn laid_out(layout: Layout, body: &str, cut: usize) -> Vec<u8> {
    let bytes = body.as_bytes();
    match layout {
        Layout::WebSocket => client_frame(0x81, [1, 2, 3, 4], bytes),
        Layout::Compressed => compressed(body),
        Layout::Text => [bytes, b"\r\n"].concat(),
        Layout::Frame => [&(bytes.len() as u32 + 4).to_be_bytes(), bytes].concat(),
        Layout::Fragments => {
            let mut out = Vec::new();
            let mut pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            // The last may be empty, which says all the same that the message is whole.
            pieces.push(&[]);
            for (n, piece) in pieces.iter().enumerate() {
                let opcode = u8::from(n == 0);
                let fin = if n + 1 == pieces.len() { 0x80 } else { 0 };
                out.extend(client_frame(fin | opcode, [1, 2, 3, 4], piece));
            }
            out
        }
    }
}

fn decoder(layout: Layout, bytes_max: usize) -> Decoder {
    match layout {
        Layout::WebSocket | Layout::Fragments => Decoder::new(Codec::WebSocket, bytes_max),
        Layout::Compressed => Decoder::deflate(bytes_max),
        Layout::Text => Decoder::new(Codec::Text, bytes_max),
        Layout::Frame => Decoder::new(Codec::Frame, bytes_max),
    }
}

/// The messages that come out, each with the limit of that moment, and how it ended. Before each piece of input the
/// limit is the next of `limits`.
fn run(
    layout: Layout,
    stream: &[u8],
    cuts: &[usize],
    limits: &[usize],
) -> (Vec<(Seen, usize)>, Option<CloseReason>) {
    let mut decoder = decoder(layout, limits[0]);
    let mut inflater = Inflater::default();
    let mut seen = Vec::new();
    let (mut cuts, mut limits) = (cuts.iter().cycle(), limits.iter().cycle());
    let mut rest = stream;
    while !rest.is_empty() {
        let bytes_max = *limits.next().expect("one at least");
        decoder.set_message_bytes_max(bytes_max);
        let (piece, tail) = rest.split_at((*cuts.next().expect("one at least")).min(rest.len()));
        rest = tail;
        let (mut input, mut at) = (piece.to_vec(), 0);
        loop {
            match decoder.next(&mut input, &mut at) {
                Ok(None) => break,
                Ok(Some(item)) => match Seen::new(item, bytes_max, &mut inflater) {
                    Ok(item) => seen.push((item, bytes_max)),
                    Err(reason) => return (seen, Some(reason)),
                },
                Err(reason) => return (seen, Some(reason)),
            }
        }
    }
    (seen, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_limit_may_change_at_any_cut(
        layout in prop::sample::select(LAYOUTS.to_vec()),
        bodies in vec("[a-c]{0,120}", 1..4),
        fragment in 1..40usize,
        cuts in vec(1..40usize, 1..6),
        limits in vec(0..150usize, 1..6),
    ) {
        let stream: Vec<u8> = bodies
            .iter()
            .flat_map(|body| laid_out(layout, body, fragment))
            .collect();
        let (seen, end) = run(layout, &stream, &cuts, &limits);
        let least = limits.iter().min().expect("one at least");
        let largest = bodies.iter().map(String::len).max().expect("one at least");
        for ((item, bytes_max), body) in seen.iter().zip(&bodies) {
            prop_assert_eq!(item, &Seen::Text(body.clone()));
            prop_assert!(body.len() <= *bytes_max, "{} bytes for {bytes_max}", body.len());
        }
        match end {
            None => prop_assert_eq!(seen.len(), bodies.len()),
            Some(reason) => {
                prop_assert_eq!(reason, CloseReason::TooBig);
                prop_assert!(largest > *least, "everything fits");
            }
        }
    }

    /// A request's body has the limit of its beginning, however many chunks it comes in.
    #[test]
    fn a_body_never_passes_its_limit(
        chunks in vec(0..40usize, 0..6),
        cuts in vec(1..40usize, 1..6),
        bytes_max in 0..150usize,
    ) {
        let sum: usize = chunks.iter().sum();
        let mut stream: Vec<u8> = chunks
            .iter()
            .filter(|len| **len > 0)
            .flat_map(|len| format!("{len:x}\r\n{}\r\n", "a".repeat(*len)).into_bytes())
            .collect();
        stream.extend(b"0\r\n\r\n");
        let mut body = BodyReader::new(Framing::Chunked, bytes_max).expect("no length yet");
        let (mut taken, mut whole, mut refused) = (0, false, false);
        let mut rest = &stream[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() && !whole && !refused {
            let (piece, tail) = rest.split_at((*cuts.next().expect("one")).min(rest.len()));
            rest = tail;
            let mut at = 0;
            loop {
                match body.next(piece, &mut at) {
                    Ok(Some(Part::Bytes(bytes))) => taken += bytes.len(),
                    Ok(Some(Part::End)) => { whole = true; break }
                    Ok(None) => break,
                    Err(error) => { prop_assert_eq!(error.status, 413); refused = true; break }
                }
            }
        }
        prop_assert!(taken <= bytes_max);
        prop_assert_eq!((whole, refused), (sum <= bytes_max, sum > bytes_max));
    }
}

/// The limit falls below what has been gathered, and one more fragment comes: of no bytes, and of some.
#[test]
fn a_limit_below_what_is_gathered() {
    for last in [&b""[..], b"x"] {
        let mut decoder = Decoder::new(Codec::WebSocket, 1_000);
        let mut first = client_frame(0x01, [9, 8, 7, 6], &[b'x'; 600]);
        assert_eq!(decoder.next(&mut first, &mut 0), Ok(None));
        decoder.set_message_bytes_max(500);
        let mut more = client_frame(0x80, [9, 8, 7, 6], last);
        assert_eq!(decoder.next(&mut more, &mut 0), Err(CloseReason::TooBig));
    }
    // A frame of which half is there, and one that is text's other half.
    let mut decoder = Decoder::new(Codec::Frame, 1_000);
    let mut half = [&[0, 0, 2, 0][..], &[b'x'; 400]].concat();
    assert_eq!(decoder.next(&mut half, &mut 0), Ok(None));
    decoder.set_message_bytes_max(500);
    assert_eq!(
        decoder.next(&mut [b'x'; 200].to_vec(), &mut 0),
        Err(CloseReason::TooBig)
    );
    // And it may rise.
    let mut decoder = Decoder::new(Codec::WebSocket, 500);
    let mut first = client_frame(0x02, [9, 8, 7, 6], &[b'x'; 400]);
    assert_eq!(decoder.next(&mut first, &mut 0), Ok(None));
    decoder.set_message_bytes_max(1_000);
    let mut more = client_frame(0x80, [9, 8, 7, 6], &[b'x'; 600]);
    let item = decoder.next(&mut more, &mut 0).expect("it fits");
    assert_eq!(
        item,
        Some(Decoded::Message(Message::Binary(&[b'x'; 1_000])))
    );
}
