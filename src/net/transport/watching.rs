//! What the wire tells, and what it is to watch: a round's readiness, and each connection's watch.

use std::io;
use std::time::Instant;

use tracing::warn;

use super::Transport;
use crate::app::host::Host;
use crate::app::round::WorkSource;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::connection::Link;
use crate::net::wire::{READY_PER_TURN, Ready, Watch};

impl Transport {
    /// Takes what the wire has, and reads on where a turn was cut short.
    pub fn take_ready(&mut self, host: &mut Host) {
        // Taken without rates, too: one that begins later has nothing to forgive.
        if let Some(time) = host.take_stall()
            && let Some(rates) = &mut self.rates
        {
            rates.stood_still(time, host.now());
        }
        if self.stage.is_handed_over {
            return self.put_aside();
        }
        self.read_fresh(host);
        self.read_handshakes(host);
        self.read_again(host, WorkSource::Again);
    }

    /// What the wire tells meanwhile may be another process' to take.
    fn put_aside(&mut self) {
        let mut ready = Vec::new();
        if let Err(error) = self.wire.take(&mut ready) {
            warn!(%error, "the wire failed");
        }
        self.aside.append(&mut ready);
    }

    /// Nothing is put aside from now on, and what was is taken.
    pub(super) fn take_aside(&mut self, host: &mut Host) {
        self.stage.is_handed_over = false;
        for one in std::mem::take(&mut self.aside) {
            self.be_ready(host, one);
        }
    }

    /// Those that have had nothing read lately, before the others' second helping.
    fn read_fresh(&mut self, host: &mut Host) {
        host.enter(WorkSource::Fresh);
        while self.queues.has_fresh() && host.goes_on() {
            if let Some(id) = self.queues.next_fresh() {
                self.read_queued(host, id);
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        if let Err(error) = self.wire.take(&mut ready) {
            warn!(%error, "the wire failed");
        }
        let is_full = ready.len() >= READY_PER_TURN;
        for one in ready.drain(..) {
            self.be_ready(host, one);
        }
        self.ready = ready;
        self.queues.took_ready(is_full, host.now());
    }

    /// Those that a helping was not enough for, each once at most.
    fn read_again(&mut self, host: &mut Host, source: WorkSource) {
        host.enter(source);
        for _ in 0..self.queues.again_count() {
            if !host.goes_on() {
                return;
            }
            if let Some(id) = self.queues.next_again() {
                self.read_queued(host, id);
            }
        }
        self.queues.trim_again();
    }

    /// Goes on with what is left to be read, as far as the round has room for it.
    pub fn read_rest(&mut self, host: &mut Host) {
        if self.queues.again_count() > 0 {
            self.read_again(host, WorkSource::Rest);
        }
    }

    pub(super) fn read_queued(&mut self, host: &mut Host, id: ConnId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.queued = false;
        self.read(host, id);
        self.watch_rest(host, id);
    }

    /// Whether what has arrived so far has been looked at, so that silence can be judged: or else we
    /// have been behind for so long that it must be.
    pub fn has_caught_up(&self, now: Instant) -> bool {
        self.queues.has_caught_up(now)
    }

    pub(super) fn be_ready(&mut self, host: &mut Host, ready: Ready) {
        let id = ready.connection();
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if ready.recalled {
            if link.watch == Watch::Recalled {
                self.watch_again(host, id);
            }
            return;
        }
        link.progress.ending |= ready.ending;
        link.progress.broken |= ready.broken;
        // What the peer sent before it broke off is read first; then the read finds the error.
        link.progress.readable |= ready.readable || ready.broken;
        let reads = link.progress.readable && !link.queued;
        match link.watch {
            Watch::Once if ready.unwatched => link.watch = Watch::Over,
            _ if ready.unwatched => self.watch_again(host, id),
            _ => {}
        }
        if ready.writable {
            host.shard().set_blocked(id, false);
            if self.tls.is_on {
                self.send_rest(host, id);
            }
        }
        if !reads {
            self.watch_rest(host, id);
        } else if host.shard().outboxes.backlog.is_owed_by(id) {
            // What it has caused is still to be written: who has little waiting is served before.
            self.read_later(id);
        } else if host.goes_on() {
            self.read(host, id);
            self.watch_rest(host, id);
        } else if let Some(link) = self.links.get_mut(id) {
            self.queues.push_fresh(link);
        }
    }

    /// Has the wire watch one that it does not, after what it had to say has been taken, unless it has gone by that or is
    /// read on first. A newcomer's next message is mostly the one that has it move.
    pub(super) fn watch_rest(&mut self, host: &mut Host, id: ConnId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let watched = match link.watch {
            // After its turn.
            _ if link.queued => return,
            Watch::Not => self.wire.watch_once(id, &link.stream),
            Watch::Over => self.wire.watch(id, &link.stream).map(|()| Watch::Always),
            watch => Ok(watch),
        };
        match watched {
            Ok(watch) => link.watch = watch,
            Err(error) => self.drop_unwatched(host, id, &error),
        }
    }

    fn drop_unwatched(&mut self, host: &mut Host, id: ConnId, error: &io::Error) {
        warn!(%error, "a connection could not be watched and is dropped");
        host.close(id, CloseReason::Internal);
        self.end(host, id);
    }

    /// The wire has stopped watching one that is still there.
    fn watch_again(&mut self, host: &mut Host, id: ConnId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        match self.wire.watch(id, &link.stream) {
            Ok(()) => link.watch = Watch::Always,
            Err(error) => {
                warn!(%error, "a connection can be watched no longer");
                self.break_off(host, id);
            }
        }
    }

    /// One takes no more for now. That it does again is told only of those that are watched for good.
    pub(super) fn watch_for_room(&mut self, id: ConnId) {
        if let Some(link) = self.links.get_mut(id)
            && link.watch == Watch::Once
        {
            link.watch = Watch::Recalled;
            self.wire.recall(id);
        }
    }

    pub(super) fn install(&mut self, mut link: Link) -> io::Result<()> {
        link.queued = false;
        link.watch = self.wire.watch_once(link.id, &link.stream)?;
        self.links.place(link);
        Ok(())
    }
}
