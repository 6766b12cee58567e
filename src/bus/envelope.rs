//! What a mailbox holds: a body of whatever type the layers above agree on, and who sent it.

use crate::ident::CoreId;

/// What an envelope costs its payer beyond the bytes it carries: about its place in the mailbox, its
/// entry in the sender's book, and the allocation that its body hangs on. Without it a flood of
/// empty messages would be free.
pub const ENVELOPE_COST: usize = 128;

/// The sender of envelopes that no core sent: a thread that has only a [`Remote`](super::Remote).
pub const OUTSIDE: CoreId = CoreId(u16::MAX);

/// One thing that crosses from a core to another.
#[derive(Debug)]
pub struct Envelope<B> {
    /// The core that posted it, or [`OUTSIDE`].
    pub from: CoreId,
    /// Whether a connection of the sender pays for it until it is taken.
    pub credited: bool,
    /// What it carries.
    pub body: B,
}
