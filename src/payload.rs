//! What is sent: a borrowed [`Message`] while it is looked at, an owned [`Payload`] when it goes to
//! other cores.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

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

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
}

/// What can be sent as it is: text (`&str`, `String`), bytes (`&[u8]`, `Vec<u8>`, arrays), a [`Message`], and borrowed
/// ones of these.
pub trait AsMessage {
    /// The message.
    fn as_message(&self) -> Message<'_>;
}

impl AsMessage for Message<'_> {
    fn as_message(&self) -> Message<'_> {
        *self
    }
}

impl AsMessage for str {
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }
}

impl AsMessage for String {
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }
}

impl AsMessage for [u8] {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl<const N: usize> AsMessage for [u8; N] {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl AsMessage for Vec<u8> {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl<T: AsMessage + ?Sized> AsMessage for &T {
    fn as_message(&self) -> Message<'_> {
        (*self).as_message()
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

/// A message owned by no core in particular: what a broadcast's envelopes share. One atomic count a
/// core, none a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "WrittenPayload", into = "WrittenPayload")]
pub struct Payload {
    bytes: Arc<[u8]>,
    text: bool,
}

/// A payload in writing. What is read may be anything.
#[derive(Serialize, Deserialize)]
struct WrittenPayload {
    text: bool,
    bytes: Box<[u8]>,
}

impl From<Payload> for WrittenPayload {
    fn from(payload: Payload) -> WrittenPayload {
        WrittenPayload {
            text: payload.text,
            bytes: Box::from(&*payload.bytes),
        }
    }
}

impl TryFrom<WrittenPayload> for Payload {
    type Error = &'static str;

    fn try_from(WrittenPayload { text, bytes }: WrittenPayload) -> Result<Payload, &'static str> {
        if text && simdutf8::basic::from_utf8(&bytes).is_err() {
            return Err("a text that is not UTF-8");
        }
        Ok(Payload {
            bytes: Arc::from(bytes),
            text,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(message: impl AsMessage) -> (bool, Vec<u8>) {
        let message = message.as_message();
        (message.text().is_some(), message.bytes().to_vec())
    }

    #[test]
    fn whatever_a_program_has_is_sent_as_it_is() {
        let (text, bytes) = ("héllo".to_owned(), vec![0xff, 1]);
        for told in [
            sent("héllo"),
            sent(&text),
            sent(text.clone()),
            sent(&text[..]),
        ] {
            assert_eq!(told, (true, text.as_bytes().to_vec()));
        }
        assert_eq!(sent(Message::Text(&text)), (true, text.into_bytes()));
        for told in [
            sent(&bytes),
            sent(bytes.clone()),
            sent(&bytes[..]),
            sent([0xff, 1]),
        ] {
            assert_eq!(told, (false, bytes.clone()));
        }
        assert_eq!(Message::from(&bytes), Message::Binary(&bytes));
    }
}
