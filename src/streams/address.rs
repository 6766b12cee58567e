//! [`Address`]: which stream, borrowed from whoever asks.

pub use crate::config::StreamKind as Kind;
use crate::ident::{EVERYBODY, NamespaceId};

/// A stream by its namespace, kind and name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Address<'a> {
    /// Whose uids and groups are meant.
    pub namespace: NamespaceId,
    /// A uid's, a group's, or everybody's.
    pub kind: Kind,
    /// The uid or group; of everybody `all`.
    pub name: &'a str,
}

impl<'a> Address<'a> {
    /// A uid's stream.
    pub fn uid(namespace: NamespaceId, name: &'a str) -> Address<'a> {
        let kind = Kind::Uid;
        Address {
            namespace,
            kind,
            name,
        }
    }

    /// A group's stream.
    pub fn group(namespace: NamespaceId, name: &'a str) -> Address<'a> {
        let kind = Kind::Group;
        Address {
            namespace,
            kind,
            name,
        }
    }

    /// The stream of everybody in a namespace.
    pub fn all(namespace: NamespaceId) -> Address<'a> {
        let (kind, name) = (Kind::All, EVERYBODY);
        Address {
            namespace,
            kind,
            name,
        }
    }
}
