//! What a mailbox holds: a body of whatever type the layers above agree on, and who sent it.

use crate::ident::CoreId;

/// What an envelope costs its payer beyond the bytes it carries. It takes some 200 bytes (its place in the mailbox,
/// its entry in the sender's book, the allocation that its body hangs on) and, with what comes of it, about the time in
/// which a core copies two or three times as many: a mailbox is as long as its core is late, so it is time that counts.
pub const ENVELOPE_COST: usize = 512;

/// What each receiver costs it beyond that where it is for many: a place in an outbox and the time to fill it.
pub const RECEIVER_COST: usize = 64;

/// The sender of envelopes that no core sent: a thread that has only a [`Remote`](super::Remote).
pub const OUTSIDE: CoreId = CoreId(u16::MAX);

/// One thing that crosses from a core to another.
#[derive(Debug)]
pub struct Envelope<B> {
    /// The core that posted it, or [`OUTSIDE`].
    pub from: CoreId,
    /// Whether a connection of the sender pays for it until it is taken.
    pub credited: bool,
    /// Whether it is paid for until what it has caused is written, being for many.
    pub is_bulk: bool,
    /// What it carries.
    pub body: B,
}
