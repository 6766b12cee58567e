//! Connections asking for a uid: whether they may, and the [`Effect`] that follows.

use super::bulk::ReplyTo;
use super::effect::Effect;
use super::envelope::found;
use super::local::Local;
use super::outcome::BindError;
use super::query::ConnectionAnswer;
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

/// Binds that back ends ask for.
impl Local {
    /// Asks for a uid on behalf of a back end, which is told what comes of it; or at once, that nothing does. What its client
    /// has proved plays no part: the back end knows who it is.
    pub(super) fn bind_for(
        &mut self,
        here: Option<ConnId>,
        uid: Box<str>,
        asked: ReplyTo,
    ) -> Option<ConnectionAnswer> {
        let Some(connection) = here else {
            return Some(ConnectionAnswer::None);
        };
        let connections = &mut self.shard.connections;
        let binds = connections.listener(connection).is_some_and(|it| it.binds);
        if !binds || !connections.ask_to_bind(connection) {
            return Some(ConnectionAnswer::Busy);
        }
        self.bind_answers.put(connection, asked);
        self.effects.push(Effect::Bind { connection, uid });
        None
    }

    /// Tells who has asked for a connection's bind, if somebody has.
    #[inline]
    pub(super) fn answer_bind(
        &mut self,
        connection: ConnId,
        answer: impl FnOnce() -> ConnectionAnswer,
    ) {
        if !self.bind_answers.is_empty() {
            self.answer_bind_asked(connection, answer());
        }
    }

    #[cold]
    fn answer_bind_asked(&mut self, connection: ConnId, answer: ConnectionAnswer) {
        if let Some(asked) = self.bind_answers.take(connection) {
            self.answer_part(asked, found(answer));
        }
    }
}
