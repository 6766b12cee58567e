//! The clients of one core that are still to be closed while the server drains: [`Farewell`].
//!
//! Listed once when clients are let in no longer; who comes from another core after that is added. Who goes by
//! himself meanwhile stays on the list and is passed over. Bound: eight bytes a client.

use std::collections::VecDeque;

use crate::app::host::Host;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::transport::Transport;
use crate::shard::Phase;

#[derive(Default)]
pub struct Farewell {
    waiting: VecDeque<ConnId>,
}

impl Farewell {
    /// Lists all that are there now.
    pub fn begin(&mut self, host: &mut Host, transport: &Transport) {
        self.waiting = transport.clients(host).into();
    }

    /// One more has come.
    pub fn add(&mut self, id: ConnId) {
        self.waiting.push_back(id);
    }

    /// Closes so many, each behind what waits for it.
    pub fn close(&mut self, host: &mut Host, mut count: usize) {
        while count > 0
            && let Some(id) = self.waiting.pop_front()
        {
            // One that is on its way to another core gets its turn there.
            if matches!(host.shard().phase(id), Phase::Free | Phase::Closing) {
                continue;
            }
            host.close(id, CloseReason::Stopping);
            count -= 1;
        }
    }

    /// At most so many are left.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
