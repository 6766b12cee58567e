//! What waits for other nodes of a cluster: a bind ([`AskedBind`]), or an event ([`AskedEvent`]).

use crate::ident::{ConnId, NamespaceId};

/// A bind for which other nodes are asked.
pub struct AskedBind {
    pub connection: ConnId,
    pub namespace: NamespaceId,
    pub uid: Box<str>,
}

/// An event that waits for other nodes.
pub struct AskedEvent {
    pub uid: Box<str>,
    pub event: u64,
}
