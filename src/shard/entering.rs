//! Which namespaces connections are in that are not their listener's: those that their app has had them enter.
//!
//! Kept beside the slots, so that a connection in its listener's own namespace pays nothing. Bound: four bytes a connection,
//! in pages.

use std::fmt;

use super::slot::Phase;
use super::{ConnId, Shard};
use crate::ident::NamespaceId;

/// Why a connection cannot enter a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EnterError {
    /// The callback is about no connection, or one that is closing.
    NoConnection,
    /// The connection is bound, or, if it never binds, past its `on_connect`: it stays where it is.
    AtHome,
    /// The connection, which never binds, is in a group already. It enters before it joins.
    InGroup,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EnterError::NoConnection => "this callback is about no connection, or one that is closing",
            EnterError::AtHome => {
                "a connection enters a namespace before it is bound, or in on_connect if it never binds"
            }
            EnterError::InGroup => "a connection enters a namespace before it joins groups",
        })
    }
}

impl std::error::Error for EnterError {}

impl Shard {
    /// Puts a connection that is not where it stays yet into this namespace.
    pub fn enter(&mut self, id: ConnId, namespace: NamespaceId) -> Result<(), EnterError> {
        let slot = self.connections.get(id).ok_or(EnterError::NoConnection)?;
        match slot.phase {
            Phase::Open => self.connections.set_entered(id, Some(namespace)),
            // One that never binds is at home before its app has heard of it: until there is a session, that is.
            Phase::Home if slot.session == u32::MAX && slot.uid.is_none() => {
                let groups = slot.groups.as_ref();
                if groups.is_some_and(|groups| !groups.joined.is_empty()) {
                    return Err(EnterError::InGroup);
                }
                self.forget(id);
                self.connections.set_entered(id, Some(namespace));
                self.settle(id);
            }
            Phase::Home => return Err(EnterError::AtHome),
            _ => return Err(EnterError::NoConnection),
        }
        Ok(())
    }
}
