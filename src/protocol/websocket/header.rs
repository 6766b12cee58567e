//! A frame's header (RFC 6455, section 5.2), checked as far as it can be by itself. The decoder
//! checks what depends on the frames before.

use serde::{Deserialize, Serialize};

use crate::close::CloseReason;

/// The bit that says that a frame is its message's last.
pub const FIN: u8 = 0x80;
/// A control frame's largest payload (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Two bytes, a length of eight and the mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// The bit of a message's first frame that says that it is compressed (RFC 7692, section 6).
pub(super) const COMPRESSED: u8 = 0x40;

/// What a frame is: its opcode, and that bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
    CompressedText = 1 | COMPRESSED,
    CompressedBinary = 2 | COMPRESSED,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            0x41 => Opcode::CompressedText,
            0x42 => Opcode::CompressedBinary,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }

    pub(super) fn is_compressed(self) -> bool {
        self as u8 & COMPRESSED != 0
    }
}

/// A client's frame header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    pub(super) payload_len: u64,
    /// How many bytes the header itself took.
    pub(super) len: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` if more bytes are needed. A wrong bit is
    /// an error as soon as it is there. `deflate` says whether compression is agreed on.
    // As a call it would cost each message some 50 instructions.
    #[inline(always)]
    pub(super) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<Header>, CloseReason> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        // The reserved bits belong to extensions, and there is one that may have been agreed on.
        let reserved = match deflate {
            true => 0x70 & !COMPRESSED,
            false => 0x70,
        };
        if first & reserved != 0 {
            return Err(CloseReason::Protocol);
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::from_bits(first & 0x7f).ok_or(CloseReason::Protocol)?;
        if opcode.is_control() && !fin {
            return Err(CloseReason::Protocol);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let short = second & 0x7f;
        let masked = second & 0x80 != 0;
        let control_too_long = opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX;
        if !masked || control_too_long || (opcode == Opcode::Close && short == 1) {
            return Err(CloseReason::Protocol);
        }
        let Some((payload_len, mask_at)) = payload_len(short, &bytes[2..])? else {
            return Ok(None);
        };
        let Some(&mask) = bytes[mask_at..].first_chunk() else {
            return Ok(None);
        };
        Ok(Some(Header {
            fin,
            opcode,
            mask,
            payload_len,
            len: mask_at + 4,
        }))
    }
}

/// The payload's length and where the mask begins. The shortest of the three forms must be used.
fn payload_len(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, CloseReason> {
    let (len, mask_at, minimal) = match short {
        126 => match bytes.first_chunk() {
            Some(&len) => (u64::from(u16::from_be_bytes(len)), 4, 126..=0xffff),
            None => return Ok(None),
        },
        127 => match bytes.first_chunk() {
            // The top bit must be zero.
            Some(&len) => (u64::from_be_bytes(len), 10, 0x1_0000..=u64::MAX >> 1),
            None => return Ok(None),
        },
        _ => (u64::from(short), 2, 0..=125),
    };
    if !minimal.contains(&len) {
        return Err(CloseReason::Protocol);
    }
    Ok(Some((len, mask_at)))
}
