//! Replies of connections that have moved to another core: what fills a place there comes from where it was reserved.
//!
//! A core remembers where a connection with open replies has gone, the next one who it was, until all of them are filled.
//! When it ends where it is by then, the cores behind it are told.
//! Bound: an entry for each connection that has moved with replies open.

use ahash::AHashMap;

use super::envelope::Body;
use super::local::Local;
use crate::ident::{ConnId, CoreId, Reply};
use crate::payload::{Message, Payload};

/// See the module.
#[derive(Default)]
pub struct Forwards {
    /// Connections that have gone, with how many of their places are open.
    gone: AHashMap<ConnId, (CoreId, usize)>,
    /// Who those that have come were where they come from.
    come: AHashMap<(CoreId, ConnId), (ConnId, usize)>,
    /// The same by who they are here.
    from: AHashMap<ConnId, (CoreId, ConnId)>,
}

impl Forwards {
    #[cfg(all(test, not(loom)))]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty() && self.from.is_empty()
    }
}

impl Local {
    /// Fills a reserved place, wherever its connection is.
    pub fn fill(&mut self, reply: Reply, message: Message<'_>) {
        let is_here = self.forwards.gone.is_empty();
        let gone = match is_here {
            true => None,
            false => self.forwards.gone.get_mut(&reply.connection),
        };
        let Some((to, open)) = gone else {
            return self.shard.fill(reply, message);
        };
        let to = *to;
        *open -= 1;
        if *open == 0 {
            self.forwards.gone.remove(&reply.connection);
        }
        let payload = Payload::new(message);
        self.post_free(to, Body::Fill { reply, payload });
    }

    /// The same from a core where it was before.
    pub fn fill_for(&mut self, from: CoreId, reply: Reply, message: Message<'_>) {
        let was = (from, reply.connection);
        let Some((connection, open)) = self.forwards.come.get_mut(&was) else {
            return;
        };
        let connection = *connection;
        *open -= 1;
        if *open == 0 {
            self.forwards.come.remove(&was);
            self.forwards.from.remove(&connection);
        }
        let number = reply.number;
        self.fill(Reply { connection, number }, message);
    }

    /// A connection goes there. Its id here, if replies are open.
    pub fn forward(&mut self, connection: ConnId, to: CoreId) -> Option<ConnId> {
        let open = self.shard.open_replies(connection);
        (open > 0).then(|| {
            self.forwards.gone.insert(connection, (to, open));
            connection
        })
    }

    /// One has come from there, where it had this id.
    pub fn expect_replies(&mut self, from: CoreId, was: ConnId, connection: ConnId) {
        let open = self.shard.open_replies(connection);
        self.forwards.come.insert((from, was), (connection, open));
        self.forwards.from.insert(connection, (from, was));
    }

    /// A connection has ended, here or where it has gone: nothing fills its replies any more, wherever they were reserved.
    pub fn forget_replies(&mut self, connection: ConnId) {
        if self.forwards.from.is_empty() && self.forwards.gone.is_empty() {
            return;
        }
        self.forwards.gone.remove(&connection);
        if let Some(was) = self.forwards.from.remove(&connection) {
            self.forwards.come.remove(&was);
            let (from, connection) = was;
            self.post_free(from, Body::Unfilled { connection });
        }
    }
}
