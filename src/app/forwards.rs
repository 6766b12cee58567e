//! Connections that have moved between cores with replies open: [`Forwards`]. What fills a place there comes from where it
//! was reserved.
//!
//! A core remembers where such a connection has gone, the next one who it was, until all of them are filled. When it ends
//! where it is by then, the cores behind it are told.
//! Bound: an entry for each connection that has moved with replies open.

use ahash::AHashMap;

use crate::ident::{ConnId, CoreId};

/// See the module.
#[derive(Default)]
pub struct Forwards {
    /// Connections that have gone, with how many of their places are open.
    gone: AHashMap<ConnId, (CoreId, usize)>,
    /// Who those that have come were where they come from.
    come: AHashMap<(CoreId, ConnId), (ConnId, usize)>,
    /// Where they come from and who they were there, by who they are here.
    from: AHashMap<ConnId, (CoreId, ConnId)>,
}

impl Forwards {
    #[cfg(all(test, not(loom)))]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty() && self.from.is_empty()
    }

    /// A place of a connection is filled: where that has gone, if it has. One fewer is open there.
    #[inline]
    pub fn fill_gone(&mut self, connection: ConnId) -> Option<CoreId> {
        if self.gone.is_empty() {
            return None;
        }
        let (to, open) = self.gone.get_mut(&connection)?;
        let to = *to;
        *open -= 1;
        if *open == 0 {
            self.gone.remove(&connection);
        }
        Some(to)
    }

    /// A place is filled from a core where its connection was before: who that is here. One fewer is open.
    pub fn fill_come(&mut self, from: CoreId, was: ConnId) -> Option<ConnId> {
        let was = (from, was);
        let (connection, open) = self.come.get_mut(&was)?;
        let connection = *connection;
        *open -= 1;
        if *open == 0 {
            self.come.remove(&was);
            self.from.remove(&connection);
        }
        Some(connection)
    }

    /// A connection goes there with so many places open.
    pub fn go(&mut self, connection: ConnId, to: CoreId, open: usize) {
        self.gone.insert(connection, (to, open));
    }

    /// One has come from there, where it had that id, with so many open.
    pub fn come(&mut self, (from, was): (CoreId, ConnId), connection: ConnId, open: usize) {
        self.come.insert((from, was), (connection, open));
        self.from.insert(connection, (from, was));
    }

    /// A connection has ended, here or where it has gone: who it was on the core that it came from, which is to know.
    pub fn forget(&mut self, connection: ConnId) -> Option<(CoreId, ConnId)> {
        if self.from.is_empty() && self.gone.is_empty() {
            return None;
        }
        self.gone.remove(&connection);
        let was = self.from.remove(&connection)?;
        self.come.remove(&was);
        Some(was)
    }
}
