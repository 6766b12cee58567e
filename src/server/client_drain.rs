//! The clients of one core that are still to be closed while the server drains: [`ClientDrain`].
//!
//! Listed once when clients are let in no longer; who comes from another core after that is added. Who goes by
//! himself meanwhile stays on the list and is passed over. Bound: eight bytes a client.

use std::collections::VecDeque;

use crate::app::host::Host;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::transport::Transport;
use crate::shard::Phase;

/// Clients that are closed in one round.
const CLOSED_PER_ROUND: usize = 1_024;

#[derive(Default)]
pub struct ClientDrain {
    waiting: VecDeque<ConnId>,
    /// How many of them are to be closed by now.
    due: usize,
}

impl ClientDrain {
    /// Lists all that are there now.
    pub fn begin(&mut self, host: &mut Host, transport: &Transport) {
        self.waiting = transport.clients(host).into();
    }

    /// One more has come.
    pub fn add(&mut self, id: ConnId) {
        self.waiting.push_back(id);
    }

    /// So many more are to be closed, each behind what waits for it.
    pub fn close(&mut self, host: &mut Host, count: usize) {
        self.due = self.due.saturating_add(count);
        self.go_on(host);
    }

    /// Whether more are due than one round has closed.
    pub fn is_behind(&self) -> bool {
        self.due > 0 && !self.waiting.is_empty()
    }

    /// Closes as many of those as one round may.
    pub fn go_on(&mut self, host: &mut Host) {
        let mut count = self.due.min(CLOSED_PER_ROUND);
        while count > 0
            && let Some(id) = self.waiting.pop_front()
        {
            // One that is on its way to another core gets its turn there.
            if matches!(
                host.shard().connections.phase(id),
                Phase::Free | Phase::Closing
            ) {
                continue;
            }
            host.close(id, CloseReason::Stopping);
            count -= 1;
            self.due -= 1;
        }
        if self.waiting.is_empty() {
            self.due = 0;
        }
    }

    /// At most so many are left.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
