//! The text codec: a message is the bytes up to `\n`, without a `\r` before it, and is UTF-8.
//!
//! Bound: a line of `message_bytes_max` bytes; one more is [`CloseReason::TooBig`] as soon as it is
//! certain, without waiting for the line's end. Where that is to be told and not to end the connection
//! ([`super::Decoder::telling`]), such a line is skipped to its end, `SKIPPED_BYTES_MAX` at most, of which
//! only its two edges are kept. Called through [`super::Decoder`] and [`super::Codec`].

use std::ops::Range;

use memchr::{memchr, memchr_iter};
use serde::{Deserialize, Serialize};

use super::{Decoded, incomplete};
use crate::close::CloseReason;
use crate::payload::Message;

/// Most bytes of a line that is skipped.
pub(super) const SKIPPED_BYTES_MAX: usize = 16 << 20;
/// So much is kept of its beginning, and so much of its end: what tells a request of another protocol.
const EDGE_BYTES: usize = 64;

/// Cuts a stream into lines.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LineDecoder {
    partial: Option<Box<PartialLine>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct PartialLine {
    /// What has come of a line, or the two edges of one that is skipped.
    line: Vec<u8>,
    /// How much has come of one that is skipped; 0 of any other.
    skipped: usize,
    /// The line went out with the last item.
    spent: bool,
}

/// Where a line's bytes lie.
enum LinePlace {
    Input(Range<usize>),
    Partial,
}

impl LineDecoder {
    /// The next line. With `tells`, one that is none is an item, too.
    pub(super) fn next<'a>(
        &'a mut self,
        bytes_max: usize,
        tells: bool,
        input: &'a mut [u8],
        at: &mut usize,
    ) -> Result<Option<Decoded<'a>>, CloseReason> {
        self.release();
        if *at == input.len() {
            return Ok(None);
        }
        if self.skips() {
            return self.skip(input, at);
        }
        let place = match self.advance(bytes_max, input, at) {
            Err(CloseReason::TooBig) if tells => {
                self.begin_skip();
                return self.skip(input, at);
            }
            Err(reason) => return Err(reason),
            Ok(None) => return Ok(None),
            Ok(Some(place)) => place,
        };
        let line = match place {
            LinePlace::Input(range) => &input[range],
            LinePlace::Partial => self.line(),
        };
        match simdutf8::basic::from_utf8(line) {
            Ok(text) => Ok(Some(Decoded::Message(Message::Text(text)))),
            Err(_) if tells => Ok(Some(Decoded::NotUtf8(line))),
            Err(_) => Err(CloseReason::NotUtf8),
        }
    }

    /// Frees what went out with the last item.
    pub(super) fn release(&mut self) {
        if self.partial.as_ref().is_some_and(|partial| partial.spent) {
            self.partial = None;
        }
    }

    /// Goes on with what was written down, if a decoder can have written it.
    pub(super) fn resume_written(&mut self) -> Result<(), &'static str> {
        self.release();
        let Some(partial) = &self.partial else {
            return Ok(());
        };
        let (length, skipped) = (partial.line.len(), partial.skipped);
        if memchr(b'\n', &partial.line).is_some() {
            return Err("half a line with its end");
        } else if skipped > 0 && (length > 2 * EDGE_BYTES || skipped > SKIPPED_BYTES_MAX) {
            return Err("a skipped line that is too long");
        }
        Ok(())
    }

    /// Goes to the line's end, or keeps what there is of it. Takes nothing if the line is too long.
    fn advance(
        &mut self,
        bytes_max: usize,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<LinePlace>, CloseReason> {
        let rest = &input[*at..];
        let Some(end) = memchr(b'\n', rest) else {
            self.keep(bytes_max, rest)?;
            *at = input.len();
            return Ok(None);
        };
        let piece = &rest[..end];
        let (held, last) = match self.partial.as_deref() {
            Some(partial) => (partial.line.len(), partial.line.last()),
            None => (0, None),
        };
        let has_return = piece.last().or(last) == Some(&b'\r');
        let len = held + piece.len() - usize::from(has_return);
        if len > bytes_max {
            return Err(CloseReason::TooBig);
        }
        let start = *at;
        *at += end + 1;
        Ok(Some(match self.partial.as_deref_mut() {
            None => LinePlace::Input(start..start + len),
            Some(partial) => {
                incomplete::append(&mut partial.line, piece, bytes_max + 1);
                partial.line.truncate(len);
                partial.spent = true;
                LinePlace::Partial
            }
        }))
    }

    /// Keeps a line's bytes until its end comes.
    fn keep(&mut self, bytes_max: usize, piece: &[u8]) -> Result<(), CloseReason> {
        let held = self.line().len();
        // One byte more than the limit is no error yet if it may belong to the line's end.
        let len = held + piece.len();
        if len > bytes_max + 1 || (len > bytes_max && piece.last() != Some(&b'\r')) {
            return Err(CloseReason::TooBig);
        }
        let partial = self.partial.get_or_insert_default();
        incomplete::append(&mut partial.line, piece, bytes_max + 1);
        Ok(())
    }

    fn line(&self) -> &[u8] {
        self.partial.as_ref().map_or(&[], |partial| &partial.line)
    }

    fn skips(&self) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|partial| partial.skipped > 0)
    }

    /// What is kept is the beginning of a line that is too long.
    fn begin_skip(&mut self) {
        let line = self.partial.take().map_or(Vec::new(), |it| it.line);
        let mut partial = Box::<PartialLine>::default();
        partial.add(&line);
        self.partial = Some(partial);
    }

    /// Goes on to the end of a line that is skipped.
    fn skip<'a>(
        &'a mut self,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Decoded<'a>>, CloseReason> {
        let rest = &input[*at..];
        let end = memchr(b'\n', rest);
        let piece = &rest[..end.unwrap_or(rest.len())];
        let partial = self.partial.get_or_insert_default();
        partial.add(piece);
        if partial.skipped > SKIPPED_BYTES_MAX {
            return Err(CloseReason::TooBig);
        }
        *at += piece.len();
        if end.is_none() {
            return Ok(None);
        }
        *at += 1;
        partial.spent = true;
        let line = partial.line.strip_suffix(b"\r").unwrap_or(&partial.line);
        Ok(Some(Decoded::TooLong(line)))
    }

    /// The stream has ended: a line whose end has not come, and now does not.
    pub(super) fn finish(&mut self) -> Option<Decoded<'_>> {
        let partial = self.partial.as_deref_mut().filter(|it| !it.spent)?;
        partial.spent = true;
        let line = partial.line.strip_suffix(b"\r").unwrap_or(&partial.line);
        Some(match partial.skipped {
            0 => Decoded::Unended(line),
            _ => Decoded::TooLong(line),
        })
    }

    /// What is kept of a line whose end has not come.
    pub(super) fn held(&self) -> &[u8] {
        match &self.partial {
            Some(partial) if !partial.spent => &partial.line,
            _ => &[],
        }
    }

    pub(super) fn bytes_held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<PartialLine>() + partial.line.capacity()
        })
    }
}

impl PartialLine {
    /// Takes some more of a line that is skipped: between its edges it is dropped.
    fn add(&mut self, bytes: &[u8]) {
        self.skipped += bytes.len();
        let room = EDGE_BYTES.saturating_sub(self.line.len());
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.line.extend_from_slice(first);
        self.line
            .extend_from_slice(&rest[rest.len().saturating_sub(EDGE_BYTES)..]);
        let excess = self.line.len().saturating_sub(2 * EDGE_BYTES);
        if excess > 0 {
            self.line.drain(EDGE_BYTES..EDGE_BYTES + excess);
        }
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
