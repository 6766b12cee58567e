//! How much a core has done: [`Work`], counted so that a round of it can end in time, whatever the round is made of.
//!
//! One unit is a message put into one outbox, some 0.2 µs; the others are measured by it. Counted where the work is
//! done; `server/turn.rs` and the transport look.

/// An app's call: decoding, the callback, the look-up of a uid.
const CALL: u64 = 4;
/// Bytes that are unmasked, checked, copied or encoded for one unit.
const BYTES_COPIED: u64 = 512;
/// Bytes that are compressed for one unit.
const BYTES_COMPRESSED: u64 = 16;
/// Bytes around what a TLS record holds: header, type and tag.
const RECORD_BYTES_AROUND: u64 = 22;
/// Bytes that come out of inflating for one unit.
const BYTES_INFLATED: u64 = 64;

/// Units done since the core's start.
#[derive(Clone, Copy, Default, Debug)]
pub struct Work(u64);

impl Work {
    #[inline]
    pub fn units(self) -> u64 {
        self.0
    }

    /// A message was put into so many outboxes.
    #[inline]
    pub fn delivered(&mut self, receivers: usize) {
        self.0 += receivers as u64;
    }

    /// An app was called, or an envelope taken.
    #[inline]
    pub fn called(&mut self) {
        self.0 += CALL;
    }

    #[inline]
    pub fn copied(&mut self, bytes: usize) {
        self.0 += bytes as u64 / BYTES_COPIED;
    }

    pub fn compressed(&mut self, bytes: usize) {
        self.0 += bytes as u64 / BYTES_COMPRESSED;
    }

    /// So many bytes were opened of TLS records, which have so many around them: three units a record, however short it is.
    pub fn opened(&mut self, bytes: usize, around: usize) {
        self.0 += (2 * bytes) as u64 / BYTES_COPIED + around as u64 / RECORD_BYTES_AROUND * 3;
    }

    pub fn inflated(&mut self, bytes: usize) {
        self.0 += bytes as u64 / BYTES_INFLATED;
    }
}
