//! [`Decoder`]: cuts one connection's bytes into items, by its codec. Called by the transport with what it has read.
//!
//! Bound: at most one incomplete message of `message_bytes_max`, and nothing at all between messages.

use serde::{Deserialize, Serialize};

use super::stranger::{self, Opening, Stranger};
use super::websocket::{self, Terms};
use super::{Codec, Decoded, frame, sse, text};
use crate::close::CloseReason;
use crate::payload::Message;

/// Cuts one connection's bytes into items. It is `Send` and takes half a message along, also in writing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Of")]
pub struct Decoder(Of);

/// Each codec's own decoder, and the most bytes of a message. The limit stands here, where it shares
/// a word with the tag: every idle connection carries a decoder.
#[derive(Debug, Serialize, Deserialize)]
enum Of {
    /// With whether compression is agreed on.
    WebSocket(websocket::WebSocketDecoder, u32, bool),
    /// With how the connection has begun, and whether lines that are none are told.
    Text(text::LineDecoder, u32, Opening, bool),
    Frame(frame::FrameDecoder, u32, Opening),
    /// With how much has been ignored.
    Sse(u32),
}

const _: () = assert!(size_of::<Decoder>() == 16);

/// Four bytes less than all, so that whatever was received can be sent as a frame.
#[inline]
fn bounded(message_bytes_max: usize) -> u32 {
    u32::try_from(message_bytes_max)
        .unwrap_or(u32::MAX)
        .min(u32::MAX - 4)
}

/// What was written down may be anything.
impl TryFrom<Of> for Decoder {
    type Error = &'static str;

    fn try_from(mut of: Of) -> Result<Decoder, &'static str> {
        match &mut of {
            Of::WebSocket(decoder, bytes_max, deflate) => {
                *bytes_max = bounded(*bytes_max as usize);
                decoder.resume_written(*deflate)?;
            }
            Of::Text(decoder, bytes_max, ..) => {
                *bytes_max = bounded(*bytes_max as usize);
                decoder.resume_written()?;
            }
            Of::Frame(decoder, bytes_max, _) => {
                *bytes_max = bounded(*bytes_max as usize);
                decoder.resume_written()?;
            }
            Of::Sse(_) => {}
        }
        Ok(Decoder(of))
    }
}

impl Decoder {
    /// The codec whose messages it cuts out.
    pub fn codec(&self) -> Codec {
        match &self.0 {
            Of::WebSocket(..) => Codec::WebSocket,
            Of::Text(..) => Codec::Text,
            Of::Frame(..) => Codec::Frame,
            Of::Sse(_) => Codec::Sse,
        }
    }

    /// A decoder at the start of a stream. A message longer than `message_bytes_max` is an error.
    #[inline]
    pub fn new(codec: Codec, message_bytes_max: usize) -> Decoder {
        let bytes_max = bounded(message_bytes_max);
        Decoder(match codec {
            Codec::WebSocket | Codec::V1 => {
                Of::WebSocket(websocket::WebSocketDecoder::default(), bytes_max, false)
            }
            Codec::Text => Of::Text(
                text::LineDecoder::default(),
                bytes_max,
                Opening::Unheard,
                false,
            ),
            Codec::Frame => Of::Frame(frame::FrameDecoder::default(), bytes_max, Opening::Unheard),
            // A decoder of its own has taken what comes before; what would come here says nothing.
            Codec::Sse | Codec::Http => Of::Sse(0),
        })
    }

    /// Goes on with another limit. It holds for the message that is half there, too: whatever comes out is within
    /// the limit of that moment.
    pub fn set_message_bytes_max(&mut self, message_bytes_max: usize) {
        match &mut self.0 {
            Of::WebSocket(_, bytes_max, _)
            | Of::Text(_, bytes_max, ..)
            | Of::Frame(_, bytes_max, _) => *bytes_max = bounded(message_bytes_max),
            Of::Sse(_) => {}
        }
    }

    /// This decoder, which tells of text lines that are none ([`Decoded::flawed`]) and goes on behind them, in place of an
    /// error. Other codecs stay as they are.
    pub fn telling(mut self) -> Decoder {
        if let Of::Text(_, _, _, tells) = &mut self.0 {
            *tells = true;
        }
        self
    }

    /// A decoder of a websocket that has agreed on compression.
    pub fn deflate(message_bytes_max: usize) -> Decoder {
        let mut decoder = Decoder::new(Codec::WebSocket, message_bytes_max);
        if let Of::WebSocket(_, _, deflate) = &mut decoder.0 {
            *deflate = true;
        }
        decoder
    }

    /// Takes bytes from `input[*at..]`, advances `at`, and returns the next item, or `None` when
    /// all of the input is taken (what is incomplete is kept inside).
    ///
    /// The item borrows from `input` where the message lies complete in it (a websocket's is
    /// unmasked in place), else from the decoder's own buffer, which the next call frees. After an
    /// error the stream has lost its meaning: close it with that reason.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        at: &mut usize,
    ) -> Result<Option<Decoded<'a>>, CloseReason> {
        match &mut self.0 {
            Of::WebSocket(decoder, bytes_max, deflate) => {
                let terms = Terms {
                    bytes_max: *bytes_max as usize,
                    deflate: *deflate,
                };
                decoder.next(terms, input, at)
            }
            Of::Text(decoder, bytes_max, opening, tells) => {
                let bytes_max = *bytes_max as usize;
                match opening {
                    Opening::Unheard => first_line(decoder, bytes_max, *tells, opening, input, at),
                    _ => decoder.next(bytes_max, *tells, input, at),
                }
            }
            Of::Frame(decoder, bytes_max, opening) => {
                let bytes_max = *bytes_max as usize;
                match opening {
                    Opening::Unheard => first_frame(decoder, bytes_max, opening, input, at),
                    _ => decoder.next(bytes_max, input, at),
                }
            }
            Of::Sse(ignored) => sse::ignore(ignored, input, at).map(|()| None),
        }
    }

    /// The stream has ended. What there is of a line without its end, where that is told; once.
    pub fn finish(&mut self) -> Option<Decoded<'_>> {
        match &mut self.0 {
            Of::Text(decoder, _, _, true) => decoder.finish(),
            _ => None,
        }
    }

    /// Frees what went out with the last item, as the next call would.
    pub fn release(&mut self) {
        match &mut self.0 {
            Of::WebSocket(decoder, ..) => decoder.release(),
            Of::Text(decoder, ..) => decoder.release(),
            Of::Frame(decoder, ..) => decoder.release(),
            Of::Sse(_) => {}
        }
    }

    /// How many fragments have come since this was last asked that did not end their message; to be asked
    /// before the next item. No codec but websocket has any.
    pub fn take_fragments(&mut self) -> u32 {
        match &mut self.0 {
            Of::WebSocket(decoder, ..) => decoder.take_fragments(),
            Of::Text(..) | Of::Frame(..) | Of::Sse(_) => 0,
        }
    }

    /// Another protocol that the connection began with, and was refused for.
    pub fn stranger(&self) -> Option<Stranger> {
        match self.0 {
            Of::Text(_, _, Opening::Strange(stranger), _)
            | Of::Frame(_, _, Opening::Strange(stranger)) => Some(stranger),
            _ => None,
        }
    }

    /// Heap bytes kept for what is incomplete.
    #[inline]
    pub fn bytes_held(&self) -> usize {
        match &self.0 {
            Of::WebSocket(decoder, ..) => decoder.bytes_held(),
            Of::Text(decoder, ..) => decoder.bytes_held(),
            Of::Frame(decoder, ..) => decoder.bytes_held(),
            Of::Sse(_) => 0,
        }
    }
}

/// What may stand before a text, and says that it is UTF-8 (RFC 3629, section 6).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The next item of a text connection that has sent no line yet. One that begins with another protocol is refused
/// before anything of it is taken for a message.
fn first_line<'a>(
    decoder: &'a mut text::LineDecoder,
    bytes_max: usize,
    tells: bool,
    opening: &mut Opening,
    input: &'a mut [u8],
    at: &mut usize,
) -> Result<Option<Decoded<'a>>, CloseReason> {
    let strange = |opening: &mut Opening, stranger| {
        *opening = Opening::Strange(stranger);
        Err(CloseReason::Protocol)
    };
    if stranger::is_tls(stranger::head_of(decoder.held(), &input[*at..])) {
        return strange(opening, Stranger::Tls);
    }
    let item = decoder.next(bytes_max, tells, input, at)?;
    // Editors and libraries begin a file or stream with a mark that is no part of its text.
    let item = match item {
        Some(Decoded::Message(Message::Text(line))) => {
            let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            Some(Decoded::Message(Message::Text(line)))
        }
        item => item,
    };
    let line = match item {
        Some(Decoded::Message(line)) => line.bytes(),
        Some(item) => match item.flawed() {
            Some((_, line)) => line,
            None => return Ok(Some(item)),
        },
        None => return Ok(None),
    };
    if stranger::is_request_line(line) {
        return strange(opening, Stranger::Http);
    }
    *opening = Opening::Heard;
    Ok(item)
}

/// The next item of a frame connection that has sent no frame yet, where another protocol's first bytes are a length that is too long.
fn first_frame<'a>(
    decoder: &'a mut frame::FrameDecoder,
    bytes_max: usize,
    opening: &mut Opening,
    input: &'a mut [u8],
    at: &mut usize,
) -> Result<Option<Decoded<'a>>, CloseReason> {
    let head = stranger::head_of(decoder.held(), &input[*at..]);
    match decoder.next(bytes_max, input, at) {
        Ok(Some(item)) => {
            *opening = Opening::Heard;
            Ok(Some(item))
        }
        Ok(None) => Ok(None),
        Err(_) if stranger::is_tls(head) => {
            *opening = Opening::Strange(Stranger::Tls);
            Err(CloseReason::Protocol)
        }
        Err(_) if stranger::is_method(head) => {
            *opening = Opening::Strange(Stranger::Http);
            Err(CloseReason::Protocol)
        }
        Err(reason) => Err(reason),
    }
}
