//! What is sent: a borrowed [`Message`] while it is looked at, an owned [`Payload`] when it goes to
//! other cores.

use std::sync::Arc;

/// One whole message, borrowed from where its bytes lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// UTF-8 text: a websocket text message, a text line, or a frame body that is UTF-8.
    Text(&'a str),
    /// Any bytes: a websocket binary message, or a frame body that is not UTF-8.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The bytes, whichever kind.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is text.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.bytes().len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.bytes().is_empty()
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

/// A message owned by no core in particular: what a broadcast's envelopes share. One atomic count a
/// core, none a connection.
#[derive(Clone, Debug)]
pub struct Payload {
    bytes: Arc<[u8]>,
    text: bool,
}

impl Payload {
    /// Copies the message once.
    pub fn new(message: Message<'_>) -> Payload {
        Payload {
            bytes: Arc::from(message.bytes()),
            text: matches!(message, Message::Text(_)),
        }
    }

    /// The message again.
    pub fn message(&self) -> Message<'_> {
        if self.text {
            // SAFETY: `text` is set only from `Message::Text`, whose bytes are UTF-8, and the bytes
            // never change.
            Message::Text(unsafe { std::str::from_utf8_unchecked(&self.bytes) })
        } else {
            Message::Binary(&self.bytes)
        }
    }
}
