//! A websocket client's frames, put together to messages (RFC 6455, sections 5 to 8).
//!
//! A message that lies complete in the input, as nearly all do, is unmasked in place and costs no
//! allocation. Any other is gathered, unmasked, in a [`PartialMessage`] that exists only as long as
//! something is incomplete. Bound: `message_bytes_max`, checked when a header announces it and, since it may
//! change, with every piece; a control frame's 125 bytes. A compressed message goes out as it came, for the core to
//! [inflate](super::deflate::Inflater).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::header::{HEADER_BYTES_MAX, Header, Opcode};
use super::mask;
use crate::close::CloseReason;
use crate::payload::Message;
use crate::protocol::{Decoded, incomplete};

/// What a decoder is told with each call, so that it need not remember it.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Terms {
    pub bytes_max: usize,
    /// Whether compression is agreed on.
    pub deflate: bool,
}

/// Cuts a client's stream into messages and control frames.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct WebSocketDecoder {
    partial: Option<Box<PartialMessage>>,
}

/// What is incomplete: a header, a frame's payload, a message between its fragments, or several.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PartialMessage {
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload is still coming.
    frame: Option<Frame>,
    /// Text or Binary, compressed or not: the message whose last fragment has not been seen.
    message: Option<Opcode>,
    message_bytes: Vec<u8>,
    /// How much of `message_bytes` is known to be UTF-8, if it is text.
    utf8_len: usize,
    control_bytes: Vec<u8>,
    /// Fragments that have not been asked for.
    fragments: u32,
    /// What went out with the last item and is freed by the next call.
    spent: Option<SpentItem>,
    /// A close frame came: whatever follows is dropped.
    ended: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    /// As the next byte of the payload meets it.
    mask: [u8; 4],
    left: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum SpentItem {
    Message,
    Control,
}

/// An item that does not borrow yet: a whole message (its kind as the opcode), or a control frame.
struct Step {
    opcode: Opcode,
    place: FramePlace,
}

/// Where an item's bytes lie.
enum FramePlace {
    Input(Range<usize>),
    Partial,
}

impl WebSocketDecoder {
    #[inline]
    pub(in crate::protocol) fn bytes_held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<PartialMessage>()
                + partial.message_bytes.capacity()
                + partial.control_bytes.capacity()
        })
    }

    /// How many fragments have come since this was last asked that did not end their message. To be asked
    /// before the next item.
    pub(in crate::protocol) fn take_fragments(&mut self) -> u32 {
        let partial = self.partial.as_mut();
        partial.map_or(0, |partial| std::mem::take(&mut partial.fragments))
    }

    pub(in crate::protocol) fn next<'a>(
        &'a mut self,
        terms: Terms,
        input: &'a mut [u8],
        at: &mut usize,
    ) -> Result<Option<Decoded<'a>>, CloseReason> {
        if self.partial.is_none() && *at == input.len() {
            return Ok(None);
        }
        self.release();
        if self.partial.as_ref().is_some_and(|partial| partial.ended) {
            *at = input.len();
            return Ok(None);
        }
        let Some(step) = self.advance(terms, input, at)? else {
            self.release();
            return Ok(None);
        };
        if step.opcode == Opcode::Close {
            let code = close_code(self.payload(&step, input))?;
            self.partial = Some(Box::new(PartialMessage {
                ended: true,
                ..PartialMessage::default()
            }));
            return Ok(Some(Decoded::Close { code }));
        }
        let payload = self.payload(&step, input);
        Ok(Some(match (step.opcode, step.place) {
            (Opcode::Text, FramePlace::Input(_)) => match simdutf8::basic::from_utf8(payload) {
                Ok(text) => Decoded::Message(Message::Text(text)),
                Err(_) => return Err(CloseReason::NotUtf8),
            },
            // SAFETY: the bytes are `PartialMessage::message_bytes` of a text that is not compressed, and
            // `take_piece` checks every byte of one as it is gathered and refuses a last fragment that
            // ends inside a character.
            (Opcode::Text, FramePlace::Partial) => Decoded::Message(Message::Text(unsafe {
                std::str::from_utf8_unchecked(payload)
            })),
            (Opcode::Ping, _) => Decoded::Ping(payload),
            (Opcode::Pong, _) => Decoded::Pong,
            (Opcode::CompressedText, _) => Decoded::CompressedText(payload),
            (Opcode::CompressedBinary, _) => Decoded::CompressedBinary(payload),
            _ => Decoded::Message(Message::Binary(payload)),
        }))
    }

    /// Goes on with what was written down, if a decoder can have written it. What else it says is looked at with the
    /// bytes that follow.
    pub(in crate::protocol) fn resume_written(
        &mut self,
        deflate: bool,
    ) -> Result<(), &'static str> {
        match &mut self.partial {
            Some(partial) => partial.resume_written(deflate),
            None => Ok(()),
        }
    }

    /// The unmasked payload of an item.
    fn payload<'a>(&'a self, step: &Step, input: &'a [u8]) -> &'a [u8] {
        match (&step.place, &self.partial) {
            (FramePlace::Input(range), _) => &input[range.clone()],
            (FramePlace::Partial, Some(partial)) if step.opcode.is_control() => {
                &partial.control_bytes
            }
            (FramePlace::Partial, Some(partial)) => &partial.message_bytes,
            (FramePlace::Partial, None) => &[],
        }
    }

    /// Frees what the last item borrowed, and the whole [`PartialMessage`] when nothing is incomplete.
    pub(in crate::protocol) fn release(&mut self) {
        let Some(partial) = self.partial.as_deref_mut() else {
            return;
        };
        match partial.spent.take() {
            Some(SpentItem::Message) => partial.message = None,
            Some(SpentItem::Control) => partial.control_bytes = Vec::new(),
            None => {}
        }
        // A message that went out was the last that had come: this frees its bytes as well.
        let incomplete =
            partial.header_len > 0 || partial.frame.is_some() || partial.message.is_some();
        if !incomplete && !partial.ended {
            self.partial = None;
        }
    }

    /// Goes through the input until there is an item, or nothing is left.
    fn advance(
        &mut self,
        terms: Terms,
        input: &mut [u8],
        at: &mut usize,
    ) -> Result<Option<Step>, CloseReason> {
        loop {
            let resumed = self
                .partial
                .as_mut()
                .and_then(|partial| partial.frame.take());
            let frame = match resumed {
                Some(frame) => frame,
                None => match self.header(terms.deflate, input, at)? {
                    Some(header) => self.begin(terms, header)?,
                    None => return Ok(None),
                },
            };
            let whole = resumed.is_none() && frame.left as usize <= input.len() - *at;
            let gathering = self.partial.as_ref().and_then(|partial| partial.message);
            if whole && (frame.opcode.is_control() || (frame.fin && gathering.is_none())) {
                let range = *at..*at + frame.left as usize;
                mask::apply(frame.mask, &mut input[range.clone()]);
                *at = range.end;
                return Ok(Some(Step {
                    opcode: frame.opcode,
                    place: FramePlace::Input(range),
                }));
            }
            let partial = self.partial.get_or_insert_default();
            let step = partial.take_piece(frame, input, at, terms)?;
            if step.is_some() || partial.frame.is_some() {
                return Ok(step);
            }
        }
    }

    /// The next frame's header, or `None` (its bytes kept) if the input ends within it.
    fn header(
        &mut self,
        deflate: bool,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Header>, CloseReason> {
        let held = self
            .partial
            .as_ref()
            .map_or(0, |partial| partial.header_len);
        let rest = &input[*at..];
        if held == 0
            && let Some(header) = Header::parse(rest, deflate)?
        {
            *at += header.len;
            return Ok(Some(header));
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let partial = self.partial.get_or_insert_default();
        for &byte in rest {
            let len = usize::from(partial.header_len);
            partial.header[len] = byte;
            partial.header_len += 1;
            *at += 1;
            if let Some(header) = Header::parse(&partial.header[..=len], deflate)? {
                partial.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Checks a header against the frames before it and against the limit.
    fn begin(&mut self, terms: Terms, header: Header) -> Result<Frame, CloseReason> {
        if !header.opcode.is_control() {
            let (gathering, opcode, gathered) = match self.partial.as_deref() {
                Some(PartialMessage {
                    message: Some(opcode),
                    message_bytes,
                    ..
                }) => (true, *opcode, message_bytes.len()),
                _ => (false, header.opcode, 0),
            };
            if gathering != (header.opcode == Opcode::Continuation) {
                return Err(CloseReason::Protocol);
            }
            // Added up, not taken off: the limit may have become less than what is gathered.
            let len = header.payload_len.saturating_add(gathered as u64);
            if len > terms.room(opcode) as u64 {
                return Err(CloseReason::TooBig);
            }
        }
        Ok(Frame {
            fin: header.fin,
            opcode: header.opcode,
            mask: header.mask,
            // A control frame has at most 125 bytes, any other at most `Terms::room`.
            left: header.payload_len as u32,
        })
    }
}

impl Terms {
    /// The most bytes of a message as it comes. What cannot be compressed grows a little by it.
    fn room(self, opcode: Opcode) -> usize {
        match opcode.is_compressed() {
            true => (self.bytes_max + self.bytes_max / 8 + 64).min(u32::MAX as usize),
            false => self.bytes_max,
        }
    }
}

impl PartialMessage {
    /// See [`WebSocketDecoder::resume_written`].
    fn resume_written(&mut self, deflate: bool) -> Result<(), &'static str> {
        match self.spent.take() {
            Some(SpentItem::Message) => (self.message, self.message_bytes) = (None, Vec::new()),
            Some(SpentItem::Control) => self.control_bytes = Vec::new(),
            None => {}
        }
        let header = self.header.get(..usize::from(self.header_len));
        let is_half = |header| matches!(Header::parse(header, deflate), Ok(None));
        if !header.is_some_and(is_half) || self.header_len > 0 && self.frame.is_some() {
            return Err("half a header that is none");
        }
        let frame = self.frame.filter(|frame| !frame.opcode.is_control());
        let control = self.frame.filter(|frame| frame.opcode.is_control());
        let control_len = self.control_bytes.len() + control.map_or(0, |frame| frame.left as usize);
        let is_control = control.is_some_and(|frame| frame.fin);
        if control_len > super::CONTROL_BYTES_MAX
            || control.is_some() != is_control
            || control.is_none() && control_len > 0
        {
            return Err("half a control frame that is none");
        }
        let is_message = |opcode: Opcode| {
            let is_data = matches!(opcode, Opcode::Text | Opcode::Binary);
            is_data || deflate && opcode.is_compressed()
        };
        let fits = match (self.message, frame.map(|frame| frame.opcode)) {
            (None, None) => self.message_bytes.is_empty(),
            (None, Some(opcode)) => is_message(opcode) && self.message_bytes.is_empty(),
            (Some(message), None | Some(Opcode::Continuation)) => is_message(message),
            (Some(message), Some(opcode)) => is_message(message) && message == opcode,
        };
        if !fits {
            return Err("half a message that is none");
        }
        // What is called UTF-8 is not looked at again.
        self.utf8_len = 0;
        match self.message {
            Some(Opcode::Text) => self.check_utf8().map_err(|_| "half a text that is none"),
            _ => Ok(()),
        }
    }

    /// Gathers what the input has of a frame's payload. Keeps the frame if there is more to come.
    fn take_piece(
        &mut self,
        mut frame: Frame,
        input: &mut [u8],
        at: &mut usize,
        terms: Terms,
    ) -> Result<Option<Step>, CloseReason> {
        let len = (frame.left as usize).min(input.len() - *at);
        let piece = &mut input[*at..*at + len];
        mask::apply(frame.mask, piece);
        frame.mask = mask::rotate(frame.mask, len);
        frame.left -= len as u32;
        *at += len;
        if frame.opcode.is_control() {
            incomplete::append(&mut self.control_bytes, piece, super::CONTROL_BYTES_MAX);
        } else {
            // Only the first fragment finds no message here, and it says what the message is.
            let opcode = *self.message.get_or_insert(frame.opcode);
            // Asked again with every piece, for the limit may have changed since the header came.
            let room = terms.room(opcode);
            let known_len = self.message_bytes.len() + len + frame.left as usize;
            if known_len > room {
                return Err(CloseReason::TooBig);
            }
            // The last fragment tells how long the message gets.
            let bytes_max = if frame.fin { known_len } else { room };
            incomplete::append(&mut self.message_bytes, piece, bytes_max);
            if opcode == Opcode::Text {
                self.check_utf8()?;
            }
        }
        if frame.left > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        if frame.opcode.is_control() {
            self.spent = Some(SpentItem::Control);
            return Ok(Some(Step {
                opcode: frame.opcode,
                place: FramePlace::Partial,
            }));
        }
        match self.message {
            Some(opcode) if frame.fin => {
                if opcode == Opcode::Text && self.utf8_len < self.message_bytes.len() {
                    return Err(CloseReason::NotUtf8);
                }
                self.spent = Some(SpentItem::Message);
                Ok(Some(Step {
                    opcode,
                    place: FramePlace::Partial,
                }))
            }
            _ => {
                self.fragments = self.fragments.saturating_add(1);
                Ok(None)
            }
        }
    }

    /// Checks what was gathered since the last check; a character cut at the end may still be
    /// completed. Fails at the first byte that cannot be right, however much is to come.
    fn check_utf8(&mut self) -> Result<(), CloseReason> {
        match simdutf8::compat::from_utf8(&self.message_bytes[self.utf8_len..]) {
            Ok(_) => self.utf8_len = self.message_bytes.len(),
            Err(error) if error.error_len().is_none() => self.utf8_len += error.valid_up_to(),
            Err(_) => return Err(CloseReason::NotUtf8),
        }
        Ok(())
    }
}

/// The code in a close frame's payload (section 7.4; 1012–1014 were registered later). Those that
/// must not be sent are errors, as is a reason that is not UTF-8.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseReason> {
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return Ok(None);
    };
    let code = u16::from_be_bytes(code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseReason::Protocol);
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(CloseReason::NotUtf8);
    }
    Ok(Some(code))
}
