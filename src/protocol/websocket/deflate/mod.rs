//! Compressed messages, RFC 7692: a core's [`Compressor`] and its [`Inflater`].
//!
//! No message refers to an earlier one, so a core needs one of each whatever the number of connections, and
//! what is compressed once can go to many. Both are made when first needed, some 330 and 110 KB with
//! their buffers. Bound: what is inflated never passes the connection's `message_bytes_max`, however much its
//! sender has folded into it. The shard compresses as it delivers, the transport inflates as it reads.

#[cfg(test)]
mod tests;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use super::extension::{WINDOW_BITS, Window};
use super::header::COMPRESSED;
use crate::close::CloseReason;
use crate::payload::Message;

/// The fastest. A message of 1 KiB takes 2 to 6 µs, about what the kernel takes to send one; higher levels
/// take three to four times that for 5 to 30 % fewer bytes.
const LEVEL: i32 = 1;
/// A larger message is left alone: it would hold up its core for milliseconds.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What a flush ends with, and is not sent (section 7.2.1).
const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];
/// What a flush ends with, and an empty last block: a message that is all there ends with it, and one that is cut short does
/// not.
const MESSAGE_END: [u8; 6] = [0, 0, 0xff, 0xff, 3, 0];
/// The largest window that a client can use.
const INFLATE_WINDOW_BITS: u8 = 15;
/// What a buffer begins with; one that a large message has made larger than twice that is given back.
const BUFFER_BYTES: usize = 64 << 10;
/// A message may consist of so many streams. One is usual; whoever cannot flush has to end them.
const STREAMS_MAX: usize = 16;

/// Compresses what is sent by one core.
pub struct Compressor {
    stream: Option<Box<Deflate>>,
    buffer: Vec<u8>,
    /// A smaller message is left alone.
    bytes_min: usize,
    /// Messages compressed.
    count: u64,
}

impl Compressor {
    /// One that leaves messages of less than `bytes_min` alone.
    pub fn new(bytes_min: usize) -> Compressor {
        Compressor {
            stream: None,
            buffer: Vec::new(),
            bytes_min: bytes_min.max(1),
            count: 0,
        }
    }

    /// From now on it leaves messages of less than this alone.
    pub fn set_bytes_min(&mut self, bytes_min: usize) {
        self.bytes_min = bytes_min.max(1);
    }

    /// How many messages it has compressed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Compresses a message and appends it as one frame, if that is worth while: it is neither small nor very
    /// large, its receivers' window holds it, and it does get smaller.
    pub fn encode(&mut self, message: Message<'_>, window: Window, out: &mut Vec<u8>) -> bool {
        let bytes = message.bytes();
        let fits = (self.bytes_min..=MESSAGE_BYTES_MAX).contains(&bytes.len());
        if !fits || !window.holds(bytes.len()) {
            return false;
        }
        let smaller = self.deflate(bytes).filter(|len| *len < bytes.len());
        if let Some(len) = smaller {
            let first = super::FIN | COMPRESSED | super::opcode(message) as u8;
            super::push_frame(first, &self.buffer[..len], out);
            self.count += 1;
        }
        trim(&mut self.buffer);
        smaller.is_some()
    }

    /// Compresses into the buffer, and says how much that is. The stream is put back only if it has given out
    /// all that it made: zlib-rs 0.6.8 keeps count of what is left across a reset, until it panics.
    fn deflate(&mut self, bytes: &[u8]) -> Option<usize> {
        // No literal takes more than nine bits.
        let room = bytes.len() + bytes.len() / 8 + 64;
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let mut stream = self
            .stream
            .take()
            .unwrap_or_else(|| Box::new(Deflate::new(LEVEL, false, WINDOW_BITS.get())));
        stream.reset();
        let status = stream.compress(bytes, &mut self.buffer, DeflateFlush::SyncFlush);
        let len = stream.total_out() as usize;
        if status.is_err() || stream.total_in() < bytes.len() as u64 || len == self.buffer.len() {
            debug_assert!(false, "there is room for whatever comes of it");
            return None;
        }
        self.stream = Some(stream);
        let payload = self.buffer[..len].strip_suffix(&FLUSH_END)?;
        Some(payload.len())
    }
}

/// Inflates what one core receives.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Box<Inflate>>,
    /// All of it may be written to; a message is at its start.
    buffer: Vec<u8>,
}

impl Inflater {
    /// Makes a message again, of at most `bytes_max`, in a buffer that the next call uses anew.
    pub fn inflate(
        &mut self,
        compressed: &[u8],
        text: bool,
        bytes_max: usize,
    ) -> Result<Message<'_>, CloseReason> {
        let stream = self
            .stream
            .get_or_insert_with(|| Box::new(Inflate::new(false, INFLATE_WINDOW_BITS)));
        stream.reset(false);
        let mut run = Run {
            stream,
            buffer: &mut self.buffer,
            len: 0,
            bytes_max,
            streams: 1,
        };
        run.message(compressed)?;
        let len = run.len;
        let bytes = &self.buffer[..len];
        if !text {
            return Ok(Message::Binary(bytes));
        }
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Ok(Message::Text(text)),
            Err(_) => Err(CloseReason::NotUtf8),
        }
    }

    /// Gives back what a large message has taken, or what was refused as one.
    pub fn trim(&mut self) {
        trim(&mut self.buffer);
    }

    /// How much its buffer holds.
    #[cfg(test)]
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

fn trim(buffer: &mut Vec<u8>) {
    if buffer.len() > 2 * BUFFER_BYTES {
        *buffer = Vec::new();
    }
}

/// One message being inflated.
struct Run<'a> {
    stream: &'a mut Inflate,
    buffer: &'a mut Vec<u8>,
    /// How much of the buffer is the message so far.
    len: usize,
    bytes_max: usize,
    streams: usize,
}

impl Run<'_> {
    /// All of a message. What is cut short is refused, for what could be made of it is not what was sent.
    fn message(&mut self, compressed: &[u8]) -> Result<(), CloseReason> {
        // A sender that ends its streams should begin another, and one that has nothing to send should say
        // so in a byte (sections 7.2.3.4 and 7.2.3.6). Without it there is no doubt either.
        if compressed.is_empty() || self.take(compressed)? {
            return Ok(());
        }
        let len = self.len;
        match self.take(&MESSAGE_END)? && self.len == len {
            true => Ok(()),
            false => Err(CloseReason::Protocol),
        }
    }

    /// Makes all that can be made of the input. Whether a stream ends where the input does.
    fn take(&mut self, mut input: &[u8]) -> Result<bool, CloseReason> {
        loop {
            let before = (self.stream.total_in(), self.stream.total_out());
            let out = room(self.buffer, self.len, self.bytes_max);
            let room = out.len();
            let status = self.stream.decompress(input, out, InflateFlush::SyncFlush);
            let status = status.map_err(|_| CloseReason::Protocol)?;
            let taken = (self.stream.total_in() - before.0) as usize;
            let made = (self.stream.total_out() - before.1) as usize;
            input = &input[taken..];
            self.len += made;
            if self.len > self.bytes_max {
                return Err(CloseReason::TooBig);
            }
            if status == Status::StreamEnd {
                if input.is_empty() {
                    return Ok(true);
                }
                self.begin_another()?;
            } else if input.is_empty() && made < room {
                // With room left it has made all that it could.
                return Ok(false);
            } else if taken == 0 && made == 0 {
                return Err(CloseReason::Protocol);
            }
        }
    }

    /// Its stream has ended within the message: its sender could not flush, and has begun another.
    fn begin_another(&mut self) -> Result<(), CloseReason> {
        self.streams += 1;
        if self.streams > STREAMS_MAX {
            return Err(CloseReason::Protocol);
        }
        self.stream.reset(false);
        Ok(())
    }
}

/// Where a message that has so many bytes goes on; at least one byte, and one more than it may get.
fn room(buffer: &mut Vec<u8>, len: usize, bytes_max: usize) -> &mut [u8] {
    if len == buffer.len() {
        let larger = (2 * len).min(bytes_max + 1).max(BUFFER_BYTES);
        buffer.resize(larger, 0);
    }
    let end = buffer.len().min(bytes_max + 1);
    &mut buffer[len..end]
}
