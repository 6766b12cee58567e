//! The opening handshake: a request's head, then a 101 or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::config::REQUEST_HEAD_BYTES_DEFAULT;
use ringpost::protocol::http::Health;
use ringpost::protocol::websocket::accepting::Accepted;
use ringpost::protocol::websocket::handshake::{Declined, Handshake};
use ringpost_fuzz::{Input, check_head_bytes, status};

/// What an app wants to see.
const WANTED: &[&str] = &["Cookie", "origin"];

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    let begin = || {
        let [compress, behind_proxy] = input.switches();
        Handshake::new()
            .with_compression(compress)
            .behind_proxy(behind_proxy)
    };
    let whole = run(begin(), std::iter::once((0, input.stream)));
    assert_eq!(run(begin(), input.pieces()), whole, "cuts change nothing");
    match whole {
        Ok(Some(accepted)) => check_accepted(&input, &accepted),
        Ok(None) => assert!(
            input.stream.len() < REQUEST_HEAD_BYTES_DEFAULT,
            "a head without an end"
        ),
        Err(Declined::Health(health)) => {
            // HEAD's answer tells a length that it has not.
            let whole = Health {
                head_only: false,
                ..health
            };
            assert_eq!(status(&whole.response((200, "ready\n"))), 200);
        }
        Err(Declined::Refused(refused)) => {
            assert_eq!(status(&refused.response), refused.status);
            assert!(matches!(
                refused.status,
                400 | 405 | 411 | 414 | 417 | 426 | 431 | 501 | 505
            ));
        }
    }
});

/// The outcome, with the bytes taken of all the stream.
fn run<'a>(
    mut handshake: Handshake,
    pieces: impl Iterator<Item = (usize, &'a [u8])>,
) -> Result<Option<Accepted>, Declined> {
    // Each piece in memory of its own, so that the sanitizer sees its end.
    for (before, piece) in pieces {
        let piece = piece.to_vec();
        let outcome = handshake.advance_for(&piece, WANTED)?;
        assert!(
            handshake.bytes_held() <= 2 * REQUEST_HEAD_BYTES_DEFAULT,
            "more is held than a head"
        );
        if let Some(mut accepted) = outcome {
            assert!(accepted.consumed <= piece.len());
            accepted.consumed += before;
            return Ok(Some(accepted));
        }
    }
    Ok(None)
}

fn check_accepted(input: &Input<'_>, accepted: &Accepted) {
    let [compress, behind_proxy] = input.switches();
    let head = &input.stream[..accepted.consumed];
    assert!(head.len() <= REQUEST_HEAD_BYTES_DEFAULT);
    check_head_bytes(head);
    assert!(head.trim_ascii_start().starts_with(b"GET "));
    assert_eq!(status(&accepted.response), 101);
    let path = accepted.request.path();
    assert!(path.starts_with('/') && !path.contains(['?', ' ', '#']));
    for (name, value) in accepted.request.headers() {
        assert!(WANTED.contains(&name) && !value.contains(&b'\n'));
    }
    for (name, value) in accepted.request.cookies() {
        assert!(!name.is_empty() && !name.contains([';', '=']) && !value.contains(';'));
    }
    assert!(!accepted.host.is_empty());
    assert!(
        compress || accepted.window.is_none(),
        "compression that nobody asked for"
    );
    assert!(behind_proxy || accepted.forwarded.is_none());
    let agreed = accepted
        .response
        .windows(18)
        .any(|part| part == b"permessage-deflate");
    assert_eq!(
        agreed,
        accepted.window.is_some(),
        "the answer says what is agreed on"
    );
}
