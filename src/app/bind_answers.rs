//! Binds that a back end has asked for, by a connection's name: who is told what comes of it ([`BindAnswers`]).
//!
//! The question comes along when the connection moves home for its uid, and is answered exactly once: it is bound, or kept
//! out, or has ended. Bound: an entry for each such bind under way.

use ahash::AHashMap;

use super::bulk::ReplyTo;
use crate::ident::ConnId;

/// By the connections that are to be bound, who has asked.
#[derive(Default)]
pub struct BindAnswers(AHashMap<ConnId, ReplyTo>);

impl BindAnswers {
    /// Whether no bind is under way that somebody has asked for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes who has asked for this one's.
    #[inline]
    pub fn take(&mut self, connection: ConnId) -> Option<ReplyTo> {
        match self.is_empty() {
            true => None,
            false => self.0.remove(&connection),
        }
    }

    pub fn put(&mut self, connection: ConnId, asked: ReplyTo) {
        self.0.insert(connection, asked);
    }
}
