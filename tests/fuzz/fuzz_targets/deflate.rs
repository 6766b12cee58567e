//! Inflating what a client has compressed, against another inflater and within a bound; and compressing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use ringpost::protocol::websocket::deflate::{Compressor, Inflater};
use ringpost::protocol::websocket::extension::Offer;
use ringpost::{CloseReason, Message};
use ringpost_fuzz::Input;

/// Longer than what a few bytes can be inflated to, mostly.
const BYTES_MAX: usize = 100_000;
/// A message may consist of so many streams.
const STREAMS_MAX: usize = 16;
/// What a flush ends with, which is not sent, and an empty last block.
const MESSAGE_END: [u8; 6] = [0, 0, 0xff, 0xff, 3, 0];

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    let mut inflater = Inflater::default();
    // Whatever one message was, and wherever it broke off, the next does not feel it.
    for (_, piece) in input.pieces().take(3) {
        let _ = inflater.inflate(piece, false, input.bytes_max());
    }
    inflate(&mut inflater, input.stream);
    let bits = 8 + input.choice % 8;
    compress(&mut inflater, input.stream, bits);
});

fn inflate(inflater: &mut Inflater, payload: &[u8]) {
    let whole = within(inflater, payload, false, BYTES_MAX);
    match &whole {
        Ok(bytes) => {
            assert!(bytes.len() <= BYTES_MAX);
            match plain(payload) {
                Some(other) => assert!(*bytes == other, "the other inflater"),
                // Ours sees what is wrong with a block's codes when it needs the first of them.
                None => {
                    let more = [payload, &MESSAGE_END, &[0; 64]].concat();
                    let later = inflater.inflate(&more, false, BYTES_MAX);
                    assert_eq!(
                        later,
                        Err(CloseReason::Protocol),
                        "the other inflater refuses"
                    );
                }
            }
            assert_eq!(
                within(inflater, payload, false, bytes.len()).as_ref(),
                Ok(bytes),
                "exactly enough room"
            );
            if let Some(less) = bytes.len().checked_sub(1) {
                assert_eq!(
                    within(inflater, payload, false, less),
                    Err(CloseReason::TooBig)
                );
            }
            let text = match str::from_utf8(bytes) {
                Ok(_) => whole.clone(),
                Err(_) => Err(CloseReason::NotUtf8),
            };
            assert_eq!(within(inflater, payload, true, BYTES_MAX), text);
        }
        Err(CloseReason::TooBig) => {
            let less = within(inflater, payload, true, 0);
            assert_eq!(less, Err(CloseReason::TooBig));
        }
        Err(reason) => {
            assert_eq!(*reason, CloseReason::Protocol);
            assert!(plain(payload).is_none(), "the other inflater takes it");
        }
    }
}

fn within(
    inflater: &mut Inflater,
    payload: &[u8],
    text: bool,
    bytes_max: usize,
) -> Result<Vec<u8>, CloseReason> {
    let inflated = inflater.inflate(payload, text, bytes_max);
    inflated.map(|message| message.bytes().to_vec())
}

/// What another implementation makes of a message, if it is whole. Each stream in it begins a buffer of its own, so
/// that nothing before it can be referred to.
fn plain(payload: &[u8]) -> Option<Vec<u8>> {
    let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut buffer = vec![0; BYTES_MAX + 1];
    let (mut taken, mut begun, mut len) = (0, 0, 0);
    if payload.is_empty() {
        return Some(Vec::new());
    }
    for _ in 0..STREAMS_MAX {
        let mut inflater = DecompressorOxide::new();
        let out = &mut buffer[begun..];
        let (status, read, made) = decompress(&mut inflater, &payload[taken..], out, 0, flags);
        taken += read;
        len += made;
        let whole = match status {
            TINFLStatus::Done if taken == payload.len() => true,
            TINFLStatus::Done => {
                begun = len;
                continue;
            }
            TINFLStatus::NeedsMoreInput => {
                let (status, read, made) =
                    decompress(&mut inflater, &MESSAGE_END, out, len - begun, flags);
                status == TINFLStatus::Done && read == MESSAGE_END.len() && made == 0
            }
            _ => false,
        };
        buffer.truncate(len);
        return whole.then_some(buffer);
    }
    None
}

/// What is compressed is the message again, inflated.
fn compress(inflater: &mut Inflater, bytes: &[u8], bits: u8) {
    let line = format!("permessage-deflate; server_max_window_bits={bits}");
    let window = Offer::first(line.as_bytes()).expect("an offer").window();
    let mut compressor = Compressor::new(1);
    let mut frame = Vec::new();
    let is_compressed = compressor.encode(Message::Binary(bytes), window, &mut frame);
    assert_eq!(is_compressed, !frame.is_empty());
    if is_compressed {
        let head = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        assert_eq!(frame[0], 0xc2);
        assert!(
            frame.len() - head < bytes.len(),
            "it has not become smaller"
        );
        let again = inflater.inflate(&frame[head..], false, bytes.len());
        assert_eq!(again, Ok(Message::Binary(bytes)));
    }
}
