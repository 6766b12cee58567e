//! Connections asking for a uid: whether they may, and the [`Effect`] that follows.

use super::effect::Effect;
use super::local::Local;
use super::outcome::BindError;
use crate::auth::CredentialError;
use crate::ident::{ConnId, check_uid};

impl Local {
    /// Asks for a uid on behalf of a connection; the outcome comes after the present callback.
    #[inline]
    pub fn bind_uid(&mut self, connection: ConnId, uid: &str) {
        let unproved = match self.shard.proved(connection) {
            Some(proved) if proved == uid => None,
            Some(_) => Some(CredentialError::OtherUid),
            None => Some(CredentialError::Missing),
        };
        self.ask_to_bind(connection, uid, unproved);
    }

    /// Asks for its peer's address as its uid.
    pub fn bind_address(&mut self, connection: ConnId) {
        let Some(peer) = self.shard.connections.peer(connection) else {
            return;
        };
        let unproved = match self.shard.proved(connection) {
            Some(_) => None,
            None => Some(CredentialError::Missing),
        };
        self.ask_to_bind(connection, &peer.to_string(), unproved);
    }

    fn ask_to_bind(&mut self, connection: ConnId, uid: &str, unproved: Option<CredentialError>) {
        let spec = self.shard.connections.listener(connection);
        let unproved = unproved.filter(|_| spec.is_some_and(|spec| spec.proves));
        let refused = if let Err(error) = check_uid(uid) {
            Some(BindError::Uid(error))
        } else if let Some(error) = unproved {
            Some(BindError::Unproved(error))
        } else if !self.shard.connections.ask_to_bind(connection) {
            Some(BindError::Twice)
        } else {
            None
        };
        self.effects.push(match refused {
            Some(error) => Effect::Refuse { connection, error },
            None => Effect::Bind {
                connection,
                uid: Box::from(uid),
            },
        });
    }
}
