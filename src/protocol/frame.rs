//! The frame codec: a four-byte big-endian length that counts itself, then the body. A body that is
//! UTF-8 is text, another is binary.
//!
//! Bound: a body of `message_bytes_max` bytes, checked when the length has arrived and, since the limit may change,
//! with every piece. Called through [`super::Decoder`] and [`super::Codec`].

use serde::{Deserialize, Serialize};

use super::{Decoded, incomplete};
use crate::close::CloseReason;
use crate::payload::Message;

const HEADER_BYTES: usize = 4;

/// Cuts a stream into frames.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FrameDecoder {
    partial: Option<Box<PartialFrame>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct PartialFrame {
    header: [u8; HEADER_BYTES],
    header_len: u8,
    /// The body's length, once the header is complete.
    body_len: Option<u32>,
    body: Vec<u8>,
    /// The body went out with the last item.
    spent: bool,
}

impl FrameDecoder {
    pub(super) fn next<'a>(
        &'a mut self,
        bytes_max: usize,
        input: &'a mut [u8],
        at: &mut usize,
    ) -> Result<Option<Decoded<'a>>, CloseReason> {
        self.release();
        let mut rest = &input[*at..];
        if rest.is_empty() {
            return Ok(None);
        }
        if self.partial.is_none()
            && let Some((&header, tail)) = rest.split_first_chunk()
        {
            let body_len = body_len(bytes_max, header)?;
            if let Some(body) = tail.get(..body_len as usize) {
                *at += HEADER_BYTES + body.len();
                return Ok(Some(item(body)));
            }
            self.partial.get_or_insert_default().body_len = Some(body_len);
            *at += HEADER_BYTES;
            rest = tail;
        }
        self.resume(bytes_max, rest, at)
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
        let fits = match partial.body_len {
            Some(body_len) => partial.body.len() <= body_len as usize,
            None => usize::from(partial.header_len) < HEADER_BYTES && partial.body.is_empty(),
        };
        match fits {
            true => Ok(()),
            false => Err("half a frame that is more than one"),
        }
    }

    /// Goes on with a frame that did not come in one piece.
    fn resume<'a>(
        &'a mut self,
        bytes_max: usize,
        mut rest: &[u8],
        at: &mut usize,
    ) -> Result<Option<Decoded<'a>>, CloseReason> {
        let mut partial = self.partial.take().unwrap_or_default();
        while partial.body_len.is_none() {
            let Some((&byte, tail)) = rest.split_first() else {
                self.partial = Some(partial);
                return Ok(None);
            };
            partial.header[usize::from(partial.header_len)] = byte;
            partial.header_len += 1;
            *at += 1;
            rest = tail;
            if usize::from(partial.header_len) == HEADER_BYTES {
                partial.body_len = Some(body_len(bytes_max, partial.header)?);
            }
        }
        let body_len = partial.body_len.unwrap_or(0) as usize;
        // The limit may have changed since the header came.
        if body_len > bytes_max {
            return Err(CloseReason::TooBig);
        }
        let piece = &rest[..rest.len().min(body_len - partial.body.len())];
        incomplete::append(&mut partial.body, piece, body_len);
        *at += piece.len();
        partial.spent = partial.body.len() == body_len;
        let partial = self.partial.insert(partial);
        Ok(partial.spent.then(|| item(&partial.body)))
    }

    /// What is kept of a header whose last byte has not come.
    pub(super) fn held(&self) -> &[u8] {
        match &self.partial {
            Some(partial) if partial.body_len.is_none() => {
                &partial.header[..usize::from(partial.header_len)]
            }
            _ => &[],
        }
    }

    pub(super) fn bytes_held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<PartialFrame>() + partial.body.capacity()
        })
    }
}

/// The body's length in a header.
fn body_len(bytes_max: usize, header: [u8; HEADER_BYTES]) -> Result<u32, CloseReason> {
    let body_len = u32::from_be_bytes(header)
        .checked_sub(HEADER_BYTES as u32)
        .ok_or(CloseReason::Protocol)?;
    if body_len as usize > bytes_max {
        return Err(CloseReason::TooBig);
    }
    Ok(body_len)
}

fn item(body: &[u8]) -> Decoded<'_> {
    Decoded::Message(match simdutf8::basic::from_utf8(body) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(body),
    })
}

/// Appends the message with its length.
///
/// Panics on a message that no length can express. None gets here: what is received is shorter, and
/// an outbox does not take it.
pub(super) fn encode(message: Message<'_>, out: &mut Vec<u8>) {
    let len = u32::try_from(encoded_len(message)).expect("a frame's length fits four bytes");
    // At once: an outbox often begins with this frame.
    out.reserve(len as usize);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(message.bytes());
}

pub(super) fn encoded_len(message: Message<'_>) -> usize {
    HEADER_BYTES + message.len()
}
