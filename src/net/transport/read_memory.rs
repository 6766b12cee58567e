//! What the connections of a core are read into, one after the other: [`ReadMemory`]. Two buffers, and what is done with
//! what is decoded of them.

use crate::app::host::{Flow, Host};
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::rates::{Rates, Unit};
use crate::protocol::Decoded;
use crate::protocol::websocket::deflate::Inflater;

/// One read takes at most this much. What it holds beyond a helping ([`UNITS_PER_HELPING`](crate::app::round::UNITS_PER_HELPING)) waits for the others' turn.
pub const READ_BYTES: usize = 64 << 10;

/// What is read into, and what compressed messages are inflated into. One a core.
pub struct ReadMemory {
    pub(super) buffer: Vec<u8>,
    pub(super) inflater: Inflater,
}

impl Default for ReadMemory {
    fn default() -> ReadMemory {
        ReadMemory {
            buffer: vec![0; READ_BYTES],
            inflater: Inflater::default(),
        }
    }
}

impl ReadMemory {
    /// Does what the peer asks for, which does not end the connection. Those of one that is closing are looked at alone.
    pub fn take(
        &mut self,
        host: &mut Host,
        id: ConnId,
        flow: Flow,
        decoded: Decoded<'_>,
        rates: Option<&mut Rates>,
    ) -> Result<(), CloseReason> {
        let goes_on = flow == Flow::Go;
        match decoded {
            Decoded::Message(message) => {
                if goes_on {
                    host.message(id, message);
                }
            }
            Decoded::CompressedText(bytes) | Decoded::CompressedBinary(bytes) => {
                if goes_on {
                    let text = matches!(decoded, Decoded::CompressedText(_));
                    return take_compressed(&mut self.inflater, rates, host, id, bytes, text);
                }
            }
            Decoded::Ping(payload) => {
                host.shard().work.called();
                if goes_on {
                    host.shard()
                        .send_raw(id, |codec, out| codec.encode_pong(payload, out));
                }
            }
            Decoded::TooLong(_) | Decoded::NotUtf8(_) | Decoded::Unended(_) => {
                if goes_on && let Some((flaw, line)) = decoded.flawed() {
                    host.flawed(id, flaw, line);
                }
            }
            Decoded::Pong | Decoded::Close { .. } => host.shard().work.called(),
        }
        Ok(())
    }
}

/// Has the app take a message that has come compressed.
fn take_compressed(
    inflater: &mut Inflater,
    rates: Option<&mut Rates>,
    host: &mut Host,
    id: ConnId,
    bytes: &[u8],
    text: bool,
) -> Result<(), CloseReason> {
    let bytes_max = message_bytes_max(host, id);
    let inflated = inflater.inflate(bytes, text, bytes_max);
    if let Ok(message) = &inflated {
        host.shard().work.inflated(message.len());
    }
    let taken = inflated.and_then(|message| {
        host.shard().stats.messages_inflated += 1;
        // It is worth what it comes to: to the app, and to those whom it is sent on to.
        let more = message.len().saturating_sub(bytes.len());
        if let Some(rates) = rates
            && !rates.spend(id, more, Unit::Nothing, host.now())
        {
            return Err(CloseReason::RateLimit);
        }
        host.message(id, message);
        Ok(())
    });
    inflater.trim();
    taken
}

/// The largest message that its listener takes.
pub fn message_bytes_max(host: &mut Host, id: ConnId) -> usize {
    let listener = host.shard().connections.listener(id);
    listener.map_or(0, |spec| spec.message_bytes_max)
}
