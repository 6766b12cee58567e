//! [`Address`]: which stream, borrowed from whoever asks.

pub use crate::config::StreamKind as Kind;
use crate::ident::{EVERYBODY, Space};

/// A stream by its name space, kind and name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Address<'a> {
    /// Whose uids and groups are meant.
    pub space: Space,
    /// A uid's, a group's, or everybody's.
    pub kind: Kind,
    /// The uid or group; of everybody `all`.
    pub name: &'a str,
}

impl<'a> Address<'a> {
    /// A uid's stream.
    pub fn uid(space: Space, name: &'a str) -> Address<'a> {
        let kind = Kind::Uid;
        Address { space, kind, name }
    }

    /// A group's stream.
    pub fn group(space: Space, name: &'a str) -> Address<'a> {
        let kind = Kind::Group;
        Address { space, kind, name }
    }

    /// The stream of everybody in a space.
    pub fn all(space: Space) -> Address<'a> {
        let (kind, name) = (Kind::All, EVERYBODY);
        Address { space, kind, name }
    }
}
