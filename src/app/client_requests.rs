//! What clients of `ringpost.v1` have asked of other cores: [`ClientRequests`] counts it, and [`AskedPage`] is what is to be known
//! for the answer.
//!
//! Bound: [`PENDING_MAX`] requests a connection.

use ahash::AHashMap;

use crate::ident::ConnId;
use crate::protocol::v1::RequestId;
use crate::streams::Kind;

/// Requests of one connection that may wait for another core.
pub const PENDING_MAX: u8 = 16;

/// Who has asked for a page, and of what.
pub struct AskedPage {
    pub connection: ConnId,
    pub asked: Option<RequestId>,
    /// Whose stream; without one it is a group's members.
    pub kind: Option<Kind>,
    pub name: Box<str>,
    /// It has not asked: its join has. So it does not count as a request.
    pub comes_with_join: bool,
}

/// How many requests of each connection are under way, of those that have any.
#[derive(Default)]
pub struct ClientRequests(AHashMap<ConnId, u8>);

impl ClientRequests {
    /// One more; false if it may not have that.
    pub fn add(&mut self, id: ConnId) -> bool {
        let count = self.0.entry(id).or_default();
        let may = *count < PENDING_MAX;
        *count += u8::from(may);
        may
    }

    /// One is answered.
    pub fn answered(&mut self, id: ConnId) {
        if let Some(count) = self.0.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_so_many() {
        let mut requests = ClientRequests::default();
        let id = |slot| ConnId {
            slot,
            generation: 1,
        };
        for _ in 0..PENDING_MAX {
            assert!(requests.add(id(1)));
        }
        assert!(!requests.add(id(1)) && requests.add(id(2)));
        requests.answered(id(1));
        assert!(requests.add(id(1)) && !requests.add(id(1)));
        for _ in 0..PENDING_MAX {
            requests.answered(id(1));
        }
        requests.answered(id(2));
        assert!(requests.0.is_empty());
    }
}
