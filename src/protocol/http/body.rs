//! A request's body, taken out of the bytes after its head: none, so many bytes, or chunks
//! (RFC 9112, section 7.1).
//!
//! Bounds: the body's bytes, given at the start; `OVERHEAD_BYTES_MAX` for all that surrounds
//! chunks. The reader keeps no bytes at all.

use serde::{Deserialize, Serialize};

use super::framing::Framing;
use super::response::HttpError;

/// Most bytes of chunk extensions and trailers in one body. Both are read over and dropped.
const OVERHEAD_BYTES_MAX: u32 = 8 << 10;

const MALFORMED: HttpError = HttpError::new(400, "malformed chunks");
const TOO_LARGE: HttpError = HttpError::new(413, "the request's body is too large");

/// Reads one body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BodyReader {
    state: BodyState,
    /// What chunks may still bring.
    room: u64,
    overhead: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum BodyState {
    /// So many bytes are left of a body with a length.
    Length(u64),
    /// In a chunk's size; how many digits were seen.
    Size {
        size: u64,
        digits: u8,
    },
    /// In a chunk's extension, or in the white space before its semicolon.
    Extension {
        size: u64,
        begun: bool,
    },
    /// After the `\r` of a size line.
    SizeEnd {
        size: u64,
    },
    /// So many bytes are left of a chunk.
    Chunk {
        left: u64,
    },
    /// Before the `\r`, then the `\n`, that follow a chunk.
    ChunkEnd {
        after_cr: bool,
    },
    /// In a trailer line; whether it has a byte, and whether its colon was seen.
    Trailer {
        empty: bool,
        colon: bool,
    },
    /// After the `\r` of a trailer line.
    TrailerEnd {
        empty: bool,
    },
    Done,
}

/// What a body reader found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part<'a> {
    /// Some of the body.
    Bytes(&'a [u8]),
    /// The body is complete; what follows in the input is the next request.
    End,
}

impl BodyReader {
    /// A reader for a body of at most `bytes_max`. A longer one that says so is refused here, before
    /// `100 Continue` would invite it.
    pub fn new(framing: Framing, bytes_max: usize) -> Result<BodyReader, HttpError> {
        let room = bytes_max as u64;
        let state = match framing {
            Framing::None => BodyState::Done,
            Framing::Length(len) if len > room => return Err(TOO_LARGE),
            Framing::Length(len) => BodyState::Length(len),
            Framing::Chunked => BodyState::Size { size: 0, digits: 0 },
        };
        Ok(BodyReader {
            state,
            room,
            overhead: 0,
        })
    }

    /// Whether it can be where a body of this framing is when so much of it has come. What was written down may be
    /// anything.
    pub(super) fn may_follow(&self, framing: Framing, taken: usize) -> bool {
        let is_between = self.overhead <= OVERHEAD_BYTES_MAX;
        is_between
            && match (framing, self.state) {
                (Framing::Length(length), BodyState::Length(left)) => {
                    (taken as u64).checked_add(left) == Some(length)
                }
                (Framing::None, _) | (Framing::Length(_), _) => false,
                (Framing::Chunked, BodyState::Length(_) | BodyState::Done) => false,
                (Framing::Chunked, BodyState::Size { digits, .. }) => digits <= 16,
                (Framing::Chunked, _) => true,
            }
    }

    /// Takes bytes from `input[*at..]`, advances `at`, and returns the next part, or `None` when all
    /// of the input is taken and there is more to come. After the end it returns the end again.
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
        at: &mut usize,
    ) -> Result<Option<Part<'a>>, HttpError> {
        loop {
            match self.state {
                BodyState::Done | BodyState::Length(0) => return Ok(Some(Part::End)),
                BodyState::Chunk { left: 0 } => {
                    self.state = BodyState::ChunkEnd { after_cr: false }
                }
                _ => {}
            }
            let rest = &input[*at..];
            let Some(&byte) = rest.first() else {
                return Ok(None);
            };
            if let BodyState::Length(left) | BodyState::Chunk { left } = &mut self.state {
                let len = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= len as u64;
                *at += len;
                return Ok(Some(Part::Bytes(&rest[..len])));
            }
            self.state = self.step(byte)?;
            *at += 1;
        }
    }

    /// The state after one byte around the chunks.
    fn step(&mut self, byte: u8) -> Result<BodyState, HttpError> {
        Ok(match (self.state, byte) {
            (BodyState::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                // Sixteen digits fill the number; more could only be zeros in front.
                if digits == 16 {
                    return Err(MALFORMED);
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                BodyState::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (BodyState::Size { digits: 0, .. }, _) => return Err(MALFORMED),
            (BodyState::Size { size, .. } | BodyState::Extension { size, begun: true }, b'\r') => {
                BodyState::SizeEnd { size }
            }
            (BodyState::Size { size, .. } | BodyState::Extension { size, .. }, b';') => {
                self.count_overhead()?;
                BodyState::Extension { size, begun: true }
            }
            (BodyState::Size { size, .. }, b' ' | b'\t') => {
                self.count_overhead()?;
                BodyState::Extension { size, begun: false }
            }
            (BodyState::Extension { size, begun }, b'\t' | b' '..=b'~' | 0x80..)
                if begun || byte == b' ' || byte == b'\t' =>
            {
                self.count_overhead()?;
                BodyState::Extension { size, begun }
            }
            (BodyState::SizeEnd { size: 0 }, b'\n') => BodyState::Trailer {
                empty: true,
                colon: false,
            },
            (BodyState::SizeEnd { size }, b'\n') => {
                self.room = self.room.checked_sub(size).ok_or(TOO_LARGE)?;
                BodyState::Chunk { left: size }
            }
            (BodyState::ChunkEnd { after_cr: false }, b'\r') => {
                BodyState::ChunkEnd { after_cr: true }
            }
            (BodyState::ChunkEnd { after_cr: true }, b'\n') => {
                BodyState::Size { size: 0, digits: 0 }
            }
            (BodyState::Trailer { empty, colon }, b'\r') if empty || colon => {
                BodyState::TrailerEnd { empty }
            }
            (BodyState::Trailer { empty, colon }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_overhead()?;
                // A field's name: no white space, and at least one character before the colon.
                if !colon && (byte <= b' ' || byte >= 0x80 || (empty && byte == b':')) {
                    return Err(MALFORMED);
                }
                BodyState::Trailer {
                    empty: false,
                    colon: colon || byte == b':',
                }
            }
            (BodyState::TrailerEnd { empty: true }, b'\n') => BodyState::Done,
            (BodyState::TrailerEnd { empty: false }, b'\n') => BodyState::Trailer {
                empty: true,
                colon: false,
            },
            _ => return Err(MALFORMED),
        })
    }

    fn count_overhead(&mut self) -> Result<(), HttpError> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_BYTES_MAX {
            return Err(HttpError::new(400, "too much around the chunks"));
        }
        Ok(())
    }
}
