//! [`Writes`]: connections being written in a round, and what became of it. Empty between two rounds.

use crate::ident::ConnId;
use crate::net::wire::{BatchMemory, Written};

/// See the module.
#[derive(Default)]
pub struct Writes {
    pub(super) connections: Vec<ConnId>,
    pub(super) results: Vec<(ConnId, Written)>,
    pub(super) memory: BatchMemory,
}
