//! A group of which an app is told who is in it on other nodes of a cluster: [`MembersWatch`].

use crate::ident::NamespaceId;

/// What an app watches.
pub struct MembersWatch {
    pub app: u8,
    pub namespace: NamespaceId,
    pub group: Box<str>,
}
