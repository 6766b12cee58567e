//! From outboxes to the wire: one round's writes.
//!
//! Bound: [`WRITES_PER_ROUND`] connections and about [`BYTES_PER_ROUND`] a round. A long broadcast is cut here, so that
//! what arrives meanwhile is served in between.

use super::Transport;
use crate::app::host::{Flow, Host};
use crate::ident::ConnId;
use crate::net::wire::{Batch, WRITE_BYTES_MAX, Written};
use crate::shard::{Phase, Shard};

/// Some 1.3 ms of small writes.
const WRITES_PER_ROUND: usize = 256;
/// Some 2 ms of large ones.
const BYTES_PER_ROUND: usize = 8 << 20;

impl Transport {
    /// Writes what waits, as much as one round may. Returns whether some is left.
    pub fn flush(&mut self, host: &mut Host) -> bool {
        let mut bytes = 0;
        while self.writes.connections.len() < WRITES_PER_ROUND
            && bytes < BYTES_PER_ROUND
            && let Some(id) = host.shard().next_dirty(true)
        {
            bytes += host
                .shard()
                .connections
                .bytes_waiting(id)
                .min(WRITE_BYTES_MAX);
            self.writes.connections.push(id);
        }
        let mut bytes = 0;
        while !self.writes.connections.is_empty() {
            if bytes >= BYTES_PER_ROUND {
                for id in self.writes.connections.drain(..) {
                    host.shard().write_later(id);
                }
                break;
            }
            self.write(host.shard());
            let mut written = std::mem::take(&mut self.writes.results);
            for (id, result) in written.drain(..) {
                if let Written::Bytes(taken) = result {
                    bytes += taken;
                }
                self.wrote(host, id, result);
            }
            self.writes.results = written;
        }
        host.shard()
            .outboxes
            .backlog
            .share_out(self.paused.debtors());
        host.shard().has_dirty()
    }

    /// Writes to the connections listed, which empties the list.
    fn write(&mut self, shard: &Shard) {
        if self.tls.is_on {
            self.seal(shard);
        }
        let mut batch = Batch::new(std::mem::take(&mut self.writes.memory));
        let mut sealed = self.writes.sealed_writes.iter().peekable();
        for id in self.writes.connections.drain(..) {
            if let Some(link) = self.links.get(id) {
                // Nothing of these leaves as it is.
                if link.progress.tls.is_some() {
                    if let Some(one) = sealed.next_if(|one| one.id == id) {
                        let bytes = &self.writes.sealed[one.from..one.to];
                        batch.push(id, &link.stream, std::iter::once(bytes));
                        if one.is_last {
                            batch.ends_stream();
                        }
                    }
                    continue;
                }
                batch.push(id, &link.stream, shard.connections.pieces(id));
                // Then `finish` follows.
                if shard.connections.phase(id) == Phase::Closing
                    && shard.connections.bytes_waiting(id) <= WRITE_BYTES_MAX
                    && !link.awaits_close()
                {
                    batch.ends_stream();
                }
            }
        }
        self.wire.write(&mut batch);
        self.writes.memory = batch.finish(&mut self.writes.results);
        if self.tls.is_on {
            self.keep_unsent();
        }
    }

    /// Whether nothing waits to be written to one.
    pub(super) fn has_sent_all(&self, host: &mut Host, id: ConnId) -> bool {
        let is_empty = host.shard().connections.outbox_is_empty(id);
        is_empty && !(self.tls.is_on && self.has_unsent(id))
    }

    /// One connection's write has come to this.
    fn wrote(&mut self, host: &mut Host, id: ConnId, result: Written) {
        match result {
            Written::Bytes(bytes) => {
                if !host.shard().connections.outbox_is_empty(id) {
                    host.shard().written(id, bytes);
                }
                if !self.has_sent_all(host, id) {
                    self.writes.connections.push(id);
                } else if host.flow(id) == Flow::End {
                    self.finish(host, id);
                }
            }
            Written::Blocked => {
                host.shard().set_blocked(id, true);
                self.watch_for_room(id);
            }
            Written::Broken => {
                // It takes nothing more, but may have sent something before it broke off: a back
                // end that reads no answers and goes. The read ends it.
                if let Some(link) = self.links.get_mut(id) {
                    link.progress.broken = true;
                    link.progress.readable = true;
                    self.read_later(id);
                }
                host.shard().set_blocked(id, true);
            }
        }
    }
}
