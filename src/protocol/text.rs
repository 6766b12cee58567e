//! The text codec: a message is the bytes up to `\n`, without a `\r` before it, and is UTF-8.
//!
//! Bound: a line of `message_bytes_max` bytes; one more is [`CloseReason::TooBig`] as soon as it is
//! certain, without waiting for the line's end. Called through [`super::Decoder`] and
//! [`super::Codec`].

use memchr::{memchr, memchr_iter};

use super::{Event, gather};
use crate::close::CloseReason;
use crate::payload::Message;

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    line: Vec<u8>,
    /// The line went out with the last event.
    spent: bool,
}

impl Decoder {
    pub(super) fn next<'a>(
        &'a mut self,
        bytes_max: usize,
        input: &'a mut [u8],
        at: &mut usize,
    ) -> Result<Option<Event<'a>>, CloseReason> {
        if self.partial.as_ref().is_some_and(|partial| partial.spent) {
            self.partial = None;
        }
        let rest = &input[*at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(end) = memchr(b'\n', rest) else {
            self.keep(bytes_max, rest)?;
            *at = input.len();
            return Ok(None);
        };
        *at += end + 1;
        let piece = &rest[..end];
        let line = match self.partial.as_deref_mut() {
            None => piece,
            Some(partial) => {
                if partial.line.len() + piece.len() > bytes_max + 1 {
                    return Err(CloseReason::TooBig);
                }
                gather(&mut partial.line, piece, bytes_max + 1);
                partial.spent = true;
                &partial.line
            }
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > bytes_max {
            return Err(CloseReason::TooBig);
        }
        match simdutf8::basic::from_utf8(line) {
            Ok(text) => Ok(Some(Event::Message(Message::Text(text)))),
            Err(_) => Err(CloseReason::NotUtf8),
        }
    }

    /// Keeps a line's bytes until its end comes.
    fn keep(&mut self, bytes_max: usize, piece: &[u8]) -> Result<(), CloseReason> {
        let held = self
            .partial
            .as_ref()
            .map_or(0, |partial| partial.line.len());
        // One byte more than the limit is no error yet if it may belong to the line's end.
        let len = held + piece.len();
        if len > bytes_max + 1 || (len > bytes_max && piece.last() != Some(&b'\r')) {
            return Err(CloseReason::TooBig);
        }
        let partial = self.partial.get_or_insert_default();
        gather(&mut partial.line, piece, bytes_max + 1);
        Ok(())
    }

    /// What is kept of a line whose end has not come.
    pub(super) fn held(&self) -> &[u8] {
        match &self.partial {
            Some(partial) if !partial.spent => &partial.line,
            _ => &[],
        }
    }

    pub(super) fn bytes_held(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| size_of::<Partial>() + partial.line.capacity())
    }
}

/// Appends the message as one line. A `\n` inside it becomes a space, or it would be two messages.
///
/// A binary message that is UTF-8 is sent as it is. Of one that is not, every malformed sequence
/// becomes U+FFFD: a line client may count on UTF-8, and would break on raw bytes.
pub(super) fn encode(message: Message<'_>, out: &mut Vec<u8>) {
    match message {
        Message::Text(text) => push(text, out),
        Message::Binary(bytes) => match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => push(text, out),
            Err(_) => {
                for chunk in bytes.utf8_chunks() {
                    push(chunk.valid(), out);
                    if !chunk.invalid().is_empty() {
                        out.extend_from_slice("\u{FFFD}".as_bytes());
                    }
                }
            }
        },
    }
    out.push(b'\n');
}

fn push(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    // With the line's end, so that it does not double what was just allocated.
    out.reserve(text.len() + 1);
    out.extend_from_slice(text.as_bytes());
    for newline in memchr_iter(b'\n', text.as_bytes()) {
        out[start + newline] = b' ';
    }
}

pub(super) fn encoded_len(message: Message<'_>) -> usize {
    let bytes = message.bytes();
    let text = matches!(message, Message::Text(_)) || simdutf8::basic::from_utf8(bytes).is_ok();
    if text {
        return bytes.len() + 1;
    }
    let replaced = |chunk: std::str::Utf8Chunk<'_>| {
        let mark = if chunk.invalid().is_empty() { 0 } else { 3 };
        chunk.valid().len() + mark
    };
    bytes.utf8_chunks().map(replaced).sum::<usize>() + 1
}
