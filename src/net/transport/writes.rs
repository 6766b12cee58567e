//! [`Writes`]: connections being written in a round, and what became of it. Empty between two rounds.

use crate::ident::ConnId;
use crate::net::wire::{BatchMemory, Written};

/// See the module.
#[derive(Default)]
pub struct Writes {
    pub(super) connections: Vec<ConnId>,
    pub(super) results: Vec<(ConnId, Written)>,
    pub(super) memory: BatchMemory,
    /// What leaves those that speak TLS, in their order.
    pub(super) sealed: Vec<u8>,
    pub(super) sealed_writes: Vec<SealedWrite>,
}

/// One of these.
pub struct SealedWrite {
    pub id: ConnId,
    /// Where it begins and ends in what was sealed.
    pub from: usize,
    pub to: usize,
    /// How many bytes of the outbox it is.
    pub plain: usize,
    /// Nothing follows.
    pub is_last: bool,
    /// The keys may seal no more, and nothing is written.
    pub is_worn_out: bool,
    /// What waits is to be sealed when the handshake is done.
    pub waits: bool,
}
