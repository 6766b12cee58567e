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

/// Until when an envelope is on the account of who pays for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// Until it is taken: what is for one cannot outrun the writing.
    Taken,
    /// Until what it has caused there is written, being for many.
    Written,
    /// Until that core has caused it elsewhere, too, and it is paid back there: that core only passes it on.
    Relayed,
}

/// One thing that crosses from a core to another.
#[derive(Debug)]
pub struct Envelope<B> {
    /// The core that posted it, or [`OUTSIDE`].
    pub from: CoreId,
    /// Whether somebody of the sender pays for it.
    pub credited: bool,
    /// Until when.
    pub until: Until,
    /// What it carries.
    pub body: B,
}
