//! The programs that come with the server: [`relay`], [`push`], its back-end side [`backend`],
//! [`chat`] and [`echo`]. What their messages mean is in `docs/protocols.md`.
//!
//! They are part of the binary, so they can use the library's public API only. In each, what a
//! message says is read by pure functions that know no `Context`, for tests and fuzzing.

pub mod backend;
pub mod chat;
pub mod echo;
pub mod page;
pub mod push;
pub mod relay;

use ringpost::payload::Message;

/// The text of a message that ought to be text. A binary message passes if it is UTF-8, for
/// not every client library lets its user choose the kind.
fn text_of(message: Message<'_>) -> Option<&str> {
    match message {
        Message::Text(text) => Some(text),
        Message::Binary(bytes) => simdutf8::basic::from_utf8(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_text_if_it_is_utf8() {
        assert_eq!(text_of(Message::Text("a")), Some("a"));
        assert_eq!(text_of(Message::Binary("é".as_bytes())), Some("é"));
        assert_eq!(text_of(Message::Binary(b"\xff")), None);
        assert_eq!(text_of(Message::Binary(b"")), Some(""));
    }
}
