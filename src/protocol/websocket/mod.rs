//! The websocket codec, RFC 6455: [frames in](WebSocketDecoder), frames out (here), and the opening
//! [handshake]; and its one [extension], by which messages are [compressed](deflate), RFC 7692.
//!
//! Called through [`super::Decoder`] and [`super::Codec`].

pub mod accepting;
mod decoder;
pub mod deflate;
pub mod extension;
pub mod handshake;
mod header;
pub mod mask;
#[cfg(test)]
mod tests;

pub(in crate::protocol) use decoder::Terms;
pub use decoder::WebSocketDecoder;

use crate::payload::Message;
use header::{CONTROL_BYTES_MAX, FIN, Opcode};

/// Appends the message as one unmasked, unfragmented frame.
pub(super) fn encode(message: Message<'_>, out: &mut Vec<u8>) {
    push(opcode(message), message.bytes(), out);
}

fn opcode(message: Message<'_>) -> Opcode {
    match message {
        Message::Text(_) => Opcode::Text,
        Message::Binary(_) => Opcode::Binary,
    }
}

pub(super) fn encoded_len(message: Message<'_>) -> usize {
    frame_len(message.len())
}

/// A frame's length with its header.
fn frame_len(payload_len: usize) -> usize {
    let header_len = match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    header_len + payload_len
}

/// Appends a close frame with its code and reason.
pub(super) fn encode_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    push(Opcode::Close, &payload, out);
}

/// Appends the answer to a peer's close frame.
pub(super) fn encode_close_echo(code: Option<u16>, out: &mut Vec<u8>) {
    match code {
        Some(code) => push(Opcode::Close, &code.to_be_bytes(), out),
        None => push(Opcode::Close, &[], out),
    }
}

pub(super) fn encode_ping(out: &mut Vec<u8>) {
    push(Opcode::Ping, &[], out);
}

pub(super) fn encode_pong(payload: &[u8], out: &mut Vec<u8>) {
    push(Opcode::Pong, payload, out);
}

fn push(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    assert!(!opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX);
    push_frame(FIN | opcode as u8, payload, out);
}

fn push_frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    // At once: an outbox often begins with this frame.
    out.reserve(frame_len(payload.len()));
    match payload.len() {
        len @ 0..=125 => out.extend_from_slice(&[first, len as u8]),
        len @ 126..=0xffff => {
            out.extend_from_slice(&[first, 126]);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
