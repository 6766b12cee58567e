//! Connections that leave for their home core and have not gone yet: [`Departures`].
//!
//! Bound: as many as the shard has; they leave in the round that has them go, unless the socket's way is full.

use std::time::Instant;

use crate::app::host::Departure;
use crate::migration::Spent;
use crate::net::connection::Link;
use crate::net::handover::Handover;

/// A connection that leaves for its home.
pub struct PendingDeparture {
    pub departure: Departure,
    pub link: Link,
    pub spent: Option<Spent>,
    pub left_at: Instant,
}

/// See the module.
pub struct Departures {
    /// How sockets reach other cores, where each has a descriptor table of its own.
    pub(super) handover: Option<Handover>,
    /// Connections that move, whose sockets are still here.
    pub(super) pending: Vec<PendingDeparture>,
}

impl Departures {
    pub fn new(handover: Option<Handover>) -> Departures {
        Departures {
            handover,
            pending: Vec::new(),
        }
    }

    /// Whether some have not gone yet.
    pub fn has_some(&self) -> bool {
        !self.pending.is_empty()
    }

    /// By which sockets come here, too.
    pub fn handover(&mut self) -> Option<&mut Handover> {
        self.handover.as_mut()
    }
}
