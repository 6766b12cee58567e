//! The frame codec's frames, against a plain reader of the whole stream; sent again they are the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::CloseReason;
use ringpost::protocol::{Codec, stranger};
use ringpost_fuzz::{Input, Outcome, Seen, Terms, encode};

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    let terms = Terms::plain(Codec::Frame, input.bytes_max());
    let outcome = terms.decode_each_way(&input);
    assert_eq!(
        outcome,
        plain(terms.bytes_max, input.stream),
        "the plain reader"
    );
    let messages = outcome.0.iter().filter_map(Seen::message);
    let again: Vec<u8> = messages
        .flat_map(|message| encode(Codec::Frame, message))
        .collect();
    assert!(input.stream.starts_with(&again), "frames sent again");
});

fn plain(bytes_max: usize, mut stream: &[u8]) -> Outcome {
    let mut seen = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<4>() {
        let Some(len) = u32::from_be_bytes(*header).checked_sub(4) else {
            return (seen, Some(CloseReason::Protocol));
        };
        if len as usize > bytes_max {
            let strange = stranger::is_tls(*header) || stranger::is_method(*header);
            return (
                seen.clone(),
                Some(match strange && seen.is_empty() {
                    true => CloseReason::Protocol,
                    false => CloseReason::TooBig,
                }),
            );
        }
        let Some((body, rest)) = rest.split_at_checked(len as usize) else {
            break;
        };
        stream = rest;
        seen.push(match str::from_utf8(body) {
            Ok(text) => Seen::Text(text.to_owned()),
            Err(_) => Seen::Binary(body.to_vec()),
        });
    }
    (seen, None)
}
