//! Where connections are that have moved since their names were told: [`Whereabouts`], one core's part of that. How a message
//! finds them is told in `app/addressing.rs`.
//!
//! Bound: an entry for each such connection at its name's keeper, and one for each of its moves until the keeper knows of
//! it; what is held meanwhile is what comes in the time that an envelope takes there and back.

use ahash::AHashMap;

use super::to_connection::ToConnection;
use crate::ident::{ConnName, CoreId};
use crate::queue::KEPT;

/// Where a connection is, as its name's keeper knows it.
pub struct KnownPlace {
    pub core: CoreId,
    /// How often it had moved when it came there.
    pub moves: u32,
    /// It has moved so often, as far as has been heard; or, with the largest, it has ended.
    pub heard: u32,
    /// While it is looked for: what has come for it since.
    pub held: Option<Vec<ToConnection>>,
}

/// It has ended.
pub const ENDED: u32 = u32::MAX;

/// See the module.
#[derive(Default)]
pub struct Whereabouts {
    /// Of the names that this core keeps.
    known: AHashMap<ConnName, KnownPlace>,
    /// Where those have gone from here that had moved so often until then.
    gone: AHashMap<(ConnName, u32), CoreId>,
}

impl Whereabouts {
    #[cfg(all(test, not(loom)))]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.gone.is_empty()
    }

    pub fn known(&mut self, name: ConnName) -> Option<&mut KnownPlace> {
        match self.known.is_empty() {
            true => None,
            false => self.known.get_mut(&name),
        }
    }

    /// It is there, having moved so often.
    pub fn know(&mut self, name: ConnName, core: CoreId, moves: u32) {
        let known = KnownPlace {
            core,
            moves,
            heard: moves,
            held: None,
        };
        self.known.insert(name, known);
    }

    pub fn know_no_more(&mut self, name: ConnName) {
        self.known.remove(&name);
        if self.known.is_empty() {
            self.known.shrink_to(KEPT);
        }
    }

    /// One that had moved so often when it came here goes there.
    pub fn go(&mut self, name: ConnName, moves: u32, to: CoreId) {
        self.gone.insert((name, moves), to);
    }

    /// Where it has gone from here.
    pub fn gone(&self, name: ConnName, moves: u32) -> Option<CoreId> {
        self.gone.get(&(name, moves)).copied()
    }

    /// Where it has gone from here, for the last who asks.
    pub fn forget_gone(&mut self, name: ConnName, moves: u32) -> Option<CoreId> {
        let to = self.gone.remove(&(name, moves));
        if self.gone.is_empty() {
            self.gone.shrink_to(KEPT);
        }
        to
    }
}
