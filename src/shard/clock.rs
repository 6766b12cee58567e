//! When a core looks at its connections: the time of the turn, the wheel, and what has come up on it: [`TurnClock`].

use super::wheel::{Tick, Wheel};
use crate::ident::ConnId;

/// See the module.
#[derive(Default)]
pub struct TurnClock {
    wheel: Wheel,
    /// What has come up on the wheel and is still to be looked at, of one tick.
    expiring: (Tick, Vec<ConnId>),
    now: Tick,
}

impl TurnClock {
    /// The time that everything in this turn happens at.
    #[inline]
    pub fn now(&self) -> Tick {
        self.now
    }

    /// Sets it. It never goes back.
    pub fn set_now(&mut self, now: Tick) {
        self.now = now.max(self.now);
    }

    /// Enters a connection on the wheel, for when something is due. The tick at which it comes up.
    pub fn enter(&mut self, id: ConnId, due: Tick) -> Tick {
        self.wheel.insert(id, due)
    }

    /// The next entry that has come up, with its tick.
    pub fn next_come(&mut self) -> Option<(Tick, ConnId)> {
        while self.expiring.1.is_empty() {
            self.expiring = self.wheel.pop_due(self.now)?;
        }
        let tick = self.expiring.0;
        Some((tick, self.expiring.1.pop()?))
    }

    /// Whether more has come up than was looked at.
    pub fn is_expiring(&self) -> bool {
        !self.expiring.1.is_empty() || self.wheel.next_due().is_some_and(|due| due <= self.now)
    }

    /// The next tick at which an entry comes up.
    pub fn next_due(&self) -> Option<Tick> {
        self.wheel.next_due()
    }

    /// Forgets all entries: there is no connection any more.
    pub fn clear(&mut self) {
        self.wheel.clear();
        self.expiring.1 = Vec::new();
    }
}
