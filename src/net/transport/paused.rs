//! Connections that are not read for now: [`Paused`].
//!
//! Bound: each is in the list once (`Slot::paused`).

use std::collections::VecDeque;
use std::time::Instant;

use crate::app::host::Host;
use crate::ident::ConnId;
use crate::stats::Hold;

/// One of them.
pub struct Pause {
    pub id: ConnId,
    pub hold: Hold,
    /// Up to when it has been counted.
    pub counted: Instant,
}

/// See the module.
#[derive(Default)]
pub struct Paused {
    pub(super) list: VecDeque<Pause>,
    /// How many of them wait for what they have caused to be written.
    debtors: usize,
    /// What [`Host::relief`] was when all were last looked at, and how many are still to be looked at since.
    relief: [u64; 5],
    pub(super) unseen: usize,
    /// Connections whose peer sends no more, but still gets the answers it has asked for.
    pub(super) half_closed: Vec<ConnId>,
}

impl Paused {
    /// How many of them wait for what they have caused to be written.
    pub fn debtors(&self) -> usize {
        self.debtors
    }

    pub fn push(&mut self, pause: Pause) {
        self.debtors += usize::from(pause.hold == Hold::Backlog);
        self.list.push_back(pause);
    }

    pub fn pop(&mut self) -> Option<Pause> {
        let pause = self.list.pop_front()?;
        self.debtors -= usize::from(pause.hold == Hold::Backlog);
        Some(pause)
    }

    /// Whether one of them may have been let go on since it was looked at.
    pub fn wants_look(&mut self, host: &Host) -> bool {
        if self.list.is_empty() {
            self.unseen = 0;
            return false;
        }
        let relief = host.relief();
        if relief != self.relief {
            self.relief = relief;
            self.unseen = self.list.len();
        }
        self.unseen > 0
    }
}
