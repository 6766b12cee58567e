//! A bind that waits for other nodes of a cluster: [`AskedBind`].

use crate::ident::{ConnId, NamespaceId};

/// A bind for which other nodes are asked.
pub struct AskedBind {
    pub connection: ConnId,
    pub namespace: NamespaceId,
    pub uid: Box<str>,
}
