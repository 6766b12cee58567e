//! Connections of one core that are to end: whose app is to be told, and whom the transport is to cut off: [`Endings`].

use super::limits::LIST_KEPT;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::queue::Queue;

/// A connection's end, as its app is to be told of it.
pub struct Ended {
    pub connection: ConnId,
    pub app: u8,
    pub session: u32,
    pub reason: CloseReason,
}

/// See the module.
#[derive(Default)]
pub struct Endings {
    /// Connections marked to end whose app has not been told.
    ended: Queue<Ended, LIST_KEPT>,
    /// Connections to be cut off without another word.
    overdue: Vec<ConnId>,
    /// Those of them that lost what waited for them.
    #[cfg(test)]
    pub abandoned: std::collections::HashSet<ConnId>,
}

impl Endings {
    pub(super) fn tell(&mut self, ended: Ended) {
        self.ended.push(ended);
    }

    #[inline]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The next connection whose app is to be told of its end. Its slot may be another's by now.
    pub fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop()
    }

    pub(super) fn cut_off(&mut self, id: ConnId) {
        self.overdue.push(id);
    }

    /// Connections to be cut off by the transport: their close was not answered, or not even taken.
    pub fn take_overdue(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.overdue)
    }
}
