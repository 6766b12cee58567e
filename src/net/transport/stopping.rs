//! What connections get of the server's end, step by step: no more clients, nothing read, every connection closed.

use super::Transport;
use crate::app::host::{Flow, Host};
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::shard::Phase;

impl Transport {
    /// The server drains: lets no clients in from now on.
    pub fn be_shut(&mut self) {
        self.stage.is_shut = true;
    }

    /// The server stops: reads nothing from now on.
    pub fn be_quiet(&mut self, host: &mut Host) {
        self.stage.is_shut = true;
        self.stage.is_quiet = true;
        self.dismiss(host);
    }

    /// Reads nothing for now: all may go to another process.
    pub fn freeze(&mut self) {
        self.stage.is_quiet = true;
    }

    /// Reads on: what has been told of meanwhile, too.
    pub fn thaw(&mut self, host: &mut Host) {
        self.stage.is_quiet = false;
        for id in host.shard().connections.ids() {
            if !self.waits_for_wire(host, id) {
                self.read_later(id);
            }
        }
    }

    /// Whether there is nothing to do with one before the wire tells of it.
    pub(super) fn waits_for_wire(&self, host: &mut Host, id: ConnId) -> bool {
        self.links.get(id).is_some_and(|link| {
            let progress = &link.progress;
            let ends = progress.ending || progress.broken || progress.at_end;
            let has_input = progress.readable || ends || progress.bytes_held() > 0;
            !has_input && progress.tls.is_none() && host.flow(id) == Flow::Go
        })
    }

    /// All that could has gone to another process. What is left asks no more, and is closed next.
    pub fn begin_to_leave(&mut self, host: &mut Host) {
        self.stage.is_shut = true;
        self.dismiss(host);
        self.begin_to_close();
    }

    /// Those that are closed first when the server stops: all but back ends, which may still push to them.
    pub fn clients(&self, host: &mut Host) -> Vec<ConnId> {
        let mut ids = host.shard().connections.ids();
        ids.retain(|id| {
            let listener = host.shard().connections.listener_number(*id);
            let is_client =
                listener.is_some_and(|listener| self.admission.is_for_clients(listener));
            is_client && host.shard().connections.phase(*id) != Phase::Closing
        });
        ids
    }

    /// Whether a listener's connections are among them.
    pub fn is_for_clients(&self, listener: u16) -> bool {
        self.admission.is_for_clients(listener)
    }

    /// Every connection is about to be closed, and its end to be read.
    pub fn begin_to_close(&mut self) {
        self.stage.is_quiet = false;
    }

    /// Closes one because the server stops. What waits for it is written first.
    pub fn close(&mut self, host: &mut Host, id: ConnId) {
        if host.shard().connections.phase(id) != Phase::Closing {
            host.close(id, CloseReason::Stopping);
        }
        host.shard().hasten(id);
        // What had arrived while nothing was read may be the peer's close.
        self.read_later(id);
    }

    /// The server stops: connections that ask nothing end, the others after their answer.
    fn dismiss(&mut self, host: &mut Host) {
        self.stage.is_stopping = true;
        self.http.pending_requests.end();
        if host.shard().connections.http_connections() == 0 {
            return;
        }
        for id in host.shard().connections.ids() {
            let exchange = host.shard().connections.exchange(id);
            if exchange.is_some_and(|exchange| !exchange.is_under_way()) {
                host.close(id, CloseReason::Stopping);
            }
        }
    }
}
