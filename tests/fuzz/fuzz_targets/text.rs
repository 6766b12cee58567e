//! The text codec's lines, against a plain reader of the whole stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::protocol::{Codec, stranger};
use ringpost::{CloseReason, Message};
use ringpost_fuzz::{Input, Outcome, Seen, Terms, encode};

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    // TLS is known by two bytes, which a limit below that would refuse before.
    let terms = Terms::plain(Codec::Text, input.bytes_max().max(2));
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
    // What begins a connection is not any line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = encode(Codec::Text, message);
    if plain(line.len(), &line).1 == Some(CloseReason::Protocol) {
        return;
    }
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
    if stranger::is_tls(stranger::head_of(&[], stream)) {
        return (seen, Some(CloseReason::Protocol));
    }
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let begun = lines.pop().unwrap_or_default();
    for (number, line) in lines.into_iter().enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > bytes_max {
            return (seen, Some(CloseReason::TooBig));
        }
        match str::from_utf8(line) {
            Ok(text) if number == 0 => {
                let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                if stranger::is_request_line(text.as_bytes()) {
                    return (seen, Some(CloseReason::Protocol));
                }
                seen.push(Seen::Text(text.to_owned()));
            }
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
