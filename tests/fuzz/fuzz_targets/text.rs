//! The text codec's lines, against a plain reader of the whole stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::protocol::Codec;
use ringpost::{CloseReason, Message};
use ringpost_fuzz::{Input, Outcome, Seen, Terms, encode};

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    let terms = Terms::plain(Codec::Text, input.bytes_max());
    let outcome = terms.decode_each_way(&input);
    assert_eq!(
        outcome,
        plain(terms.bytes_max, input.stream),
        "the plain reader"
    );
    for line in outcome.0.iter().filter_map(Seen::message) {
        send(line, line.text().expect("a line is text"));
    }
    // Whatever bytes there are, what another sends to a line client is one line.
    send(
        Message::Binary(input.stream),
        &String::from_utf8_lossy(input.stream),
    );
});

/// A message that is sent is received as this text, in one line.
fn send(message: Message<'_>, text: &str) {
    let line = encode(Codec::Text, message);
    let received = Terms::plain(Codec::Text, line.len()).decode(std::iter::once(&line[..]), false);
    let text = text.replace('\n', " ");
    // One at its end cannot be told from the line's.
    let text = text.strip_suffix('\r').unwrap_or(&text).to_owned();
    assert_eq!(
        received,
        (vec![Seen::Text(text)], None),
        "a line sent and received"
    );
}

fn plain(bytes_max: usize, stream: &[u8]) -> Outcome {
    let mut seen = Vec::new();
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let begun = lines.pop().unwrap_or_default();
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > bytes_max {
            return (seen, Some(CloseReason::TooBig));
        }
        match str::from_utf8(line) {
            Ok(text) => seen.push(Seen::Text(text.to_owned())),
            Err(_) => return (seen, Some(CloseReason::NotUtf8)),
        }
    }
    let begun = begun.strip_suffix(b"\r").unwrap_or(begun);
    (
        seen,
        (begun.len() > bytes_max).then_some(CloseReason::TooBig),
    )
}
