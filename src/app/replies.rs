//! Replies of connections, filled wherever these are by now: here, or on the core that they have moved to ([`Forwards`]).
//!
//! [`Forwards`]: super::forwards::Forwards

use super::envelope::Body;
use super::local::Local;
use crate::ident::{ConnId, CoreId, Reply};
use crate::payload::{Message, Payload};

impl Local {
    /// Fills a reserved place, wherever its connection is.
    pub fn fill(&mut self, reply: Reply, message: Message<'_>) {
        match self.forwards.fill_gone(reply.connection) {
            None => self.shard.fill(reply, message),
            Some(to) => {
                let payload = Payload::new(message);
                self.outgoing.post_free(to, Body::Fill { reply, payload });
            }
        }
    }

    /// Fills a place of a connection that was on that core when it was reserved, by its id there.
    pub fn fill_for(&mut self, from: CoreId, reply: Reply, message: Message<'_>) {
        if let Some(connection) = self.forwards.fill_come(from, reply.connection) {
            let number = reply.number;
            self.fill(Reply { connection, number }, message);
        }
    }

    /// A connection goes there. Its id here, if replies are open.
    pub fn forward(&mut self, connection: ConnId, to: CoreId) -> Option<ConnId> {
        let open = self.shard.connections.open_replies(connection);
        (open > 0).then(|| {
            self.forwards.go(connection, to, open);
            connection
        })
    }

    /// One has come from there, where it had this id.
    pub fn expect_replies(&mut self, from: CoreId, was: ConnId, connection: ConnId) {
        let open = self.shard.connections.open_replies(connection);
        self.forwards.come((from, was), connection, open);
    }

    /// A connection has ended, here or where it has gone: nothing fills its replies any more, wherever they were reserved.
    pub fn forget_replies(&mut self, connection: ConnId) {
        if let Some((from, connection)) = self.forwards.forget(connection) {
            self.outgoing.post_free(from, Body::Unfilled { connection });
        }
    }
}
