//! All connections of one core on their wire: lets them in, reads what arrives into the host, writes what its outboxes
//! hold, sees each end through, and takes connections from and to other cores.
//!
//! Bound: one read buffer a core; what a connection keeps is half a message (`message_bytes_max`) and, while
//! it is not read, at most one buffer of input.

mod accepting;
mod ending;
mod moving;
mod reading;
mod renewing;
mod subscribing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;

use tracing::warn;

use super::admission::Admission;
use super::connection::Link;
use super::halves::Halves;
use super::handover::Handover;
use super::http::Standing;
use super::origin::Origins;
use super::rates::Rates;
use super::wire::{Batch, BatchMemory, EVENTS_PER_TURN, Ready, Wire, Written};
use crate::app::host::{Flow, Host};
use crate::ident::ConnId;
use crate::pages::Pages;
use crate::protocol::websocket::deflate::Inflater;
use crate::shard::{ListenerSpec, Shard};
use moving::Boarding;
pub use subscribing::{Claim, Subscriber};

/// One read takes at most this much, so that one fast sender does not keep the core to itself.
const READ_BYTES: usize = 64 << 10;
/// After this many turns with a full wire (half a million events) deadlines are looked at even so.
const TURNS_BEHIND_MAX: usize = 1024;
/// Once so much has been inflated of one read, what is left of it waits for a later turn: a few bytes can
/// hold a large message.
const INFLATED_BYTES: usize = 4 * READ_BYTES;
/// Connections written in one turn (some 1.3 ms): a long broadcast is cut here, so that what else
/// arrives is served in between.
const WRITES_PER_TURN: usize = 256;

pub struct Transport {
    wire: Wire,
    listeners: Rc<[ListenerSpec]>,
    origins: Origins,
    admission: Admission,
    /// What a load balancer is told that asks after health on a websocket's port.
    standing: Arc<Standing>,
    /// How fast connections may send, where some listener has a limit to that.
    rates: Option<Rates>,
    /// What connections keep of what they have sent.
    halves: Halves,
    links: Pages<Option<Link>>,
    /// Connections whose handshake is under way, as they came; some of them are further by now.
    opening: VecDeque<ConnId>,
    buffer: Vec<u8>,
    inflater: Inflater,
    ready: Vec<Ready>,
    /// Connections being written in this turn, and what became of it.
    writing: Vec<ConnId>,
    written: Vec<(ConnId, Written)>,
    batch: BatchMemory,
    /// Connections with more to read, in a later turn; each once (`Link::queued`).
    again: VecDeque<ConnId>,
    /// Connections not read for now.
    paused: Vec<ConnId>,
    /// Connections whose peer sends no more, but still gets the answers it has asked for.
    half_closed: Vec<ConnId>,
    /// Turns in a row in which the wire had more events than one turn takes.
    behind: usize,
    /// How sockets reach other cores, where each has a descriptor table of its own.
    handover: Option<Handover>,
    /// Connections that move, whose sockets are still here.
    boarding: Vec<Boarding>,
    /// The server stops: nothing is read.
    quiet: bool,
}

/// The link in the slot of this id, if it is the id's own.
fn link_of(links: &mut Pages<Option<Link>>, id: ConnId) -> Option<&mut Link> {
    links
        .get_mut(id.slot)?
        .as_mut()
        .filter(|link| link.id == id)
}

impl Transport {
    pub fn new(
        wire: Wire,
        listeners: Rc<[ListenerSpec]>,
        origins: Origins,
        admission: Admission,
        rates: Option<Rates>,
        halves: Halves,
        handover: Option<Handover>,
    ) -> Transport {
        Transport {
            wire,
            listeners,
            origins,
            admission,
            standing: Arc::default(),
            rates,
            halves,
            links: Pages::default(),
            opening: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            inflater: Inflater::default(),
            ready: Vec::new(),
            writing: Vec::new(),
            written: Vec::new(),
            batch: BatchMemory::default(),
            again: VecDeque::new(),
            paused: Vec::new(),
            half_closed: Vec::new(),
            behind: 0,
            handover,
            boarding: Vec::new(),
            quiet: false,
        }
    }

    /// Has it tell this of the server's health.
    pub fn show(&mut self, standing: Arc<Standing>) {
        self.standing = standing;
    }

    /// Readable when the wire has events.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wire.descriptor()
    }

    fn install(&mut self, mut link: Link) -> io::Result<()> {
        let id = link.id;
        link.queued = false;
        self.wire.watch(id, &link.stream)?;
        self.halves.enter(link.bytes_held());
        *self.links.claim(id.slot) = Some(link);
        Ok(())
    }

    fn link(&mut self, id: ConnId) -> Option<&mut Link> {
        link_of(&mut self.links, id)
    }

    /// Takes a connection's part out of the table.
    fn take_link(&mut self, id: ConnId) -> Option<Link> {
        let link = self.links.get_mut(id.slot)?.take_if(|link| link.id == id)?;
        self.halves.leave(id, link.bytes_held());
        self.links.free(id.slot);
        Some(link)
    }

    /// Takes what the wire has, and reads on where a turn was cut short.
    pub fn take_events(&mut self, host: &mut Host) {
        // Taken without rates, too: one that begins later has nothing to forgive.
        if let Some(time) = host.take_stall()
            && let Some(rates) = &mut self.rates
        {
            rates.stood_still(time, host.now());
        }
        for _ in 0..self.again.len() {
            let Some(id) = self.again.pop_front() else {
                break;
            };
            if let Some(link) = self.link(id) {
                link.queued = false;
                self.read(host, id);
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        if let Err(error) = self.wire.take(&mut ready) {
            warn!(%error, "the wire failed");
        }
        self.behind = if ready.len() < EVENTS_PER_TURN {
            0
        } else {
            self.behind + 1
        };
        for event in ready.drain(..) {
            self.event(host, event);
        }
        self.ready = ready;
    }

    /// Whether what has arrived so far has been looked at, so that silence can be judged: or else we
    /// have been behind for so long that it must be.
    pub fn has_caught_up(&self) -> bool {
        self.behind == 0 || self.behind > TURNS_BEHIND_MAX
    }

    fn event(&mut self, host: &mut Host, event: Ready) {
        let id = event.connection();
        let Some(link) = self.link(id) else { return };
        link.ending |= event.ending;
        link.broken |= event.broken;
        // What the peer sent before it broke off is read first; then the read finds the error.
        link.readable |= event.readable || event.broken;
        let reads = link.readable && !link.queued;
        if event.unwatched {
            self.watch_again(host, id);
        }
        if event.writable {
            host.shard().set_blocked(id, false);
        }
        if reads {
            self.read(host, id);
        }
    }

    /// Reads on where it may again, and ends what has its answers.
    pub fn resume(&mut self, host: &mut Host) {
        if !self.paused.is_empty() && !self.quiet {
            let paused = std::mem::take(&mut self.paused);
            for id in paused {
                if matches!(host.flow(id), Flow::Pause) {
                    self.paused.push(id);
                } else {
                    host.shard().set_paused(id, false);
                    self.read(host, id);
                }
            }
        }
        host.bus().want_credit(!self.paused.is_empty());
        if !self.half_closed.is_empty() {
            let half_closed = std::mem::take(&mut self.half_closed);
            for id in half_closed {
                match host.flow(id) {
                    Flow::Gone | Flow::End => {}
                    _ => self.reached_end(host, id),
                }
            }
        }
    }

    /// Whether a connection that was paused could be read now.
    pub fn can_resume(&self, host: &Host) -> bool {
        !self.quiet && self.paused.iter().any(|id| host.flow(*id) != Flow::Pause)
    }

    /// The wire has stopped watching one that is still there.
    fn watch_again(&mut self, host: &mut Host, id: ConnId) {
        let place = self.links.get(id.slot);
        let Some(link) = place.and_then(Option::as_ref) else {
            return;
        };
        if let Err(error) = self.wire.watch(id, &link.stream) {
            warn!(%error, "a connection can be watched no longer");
            self.break_off(host, id);
        }
    }

    /// Sees the round's endings and moves through on the wire.
    pub fn settle(&mut self) {
        self.wire.settle();
    }

    /// Whether the wire has had something new since it was last asked, as far as it knows by itself.
    pub fn has_events(&mut self) -> bool {
        self.wire.has_events()
    }

    /// Whether there is input that the wire will not report, or a move that has not begun.
    pub fn has_input_left(&self) -> bool {
        !self.again.is_empty() || self.wire.has_stash() || !self.boarding.is_empty()
    }

    /// Writes what waits, as many connections as one turn may. Returns whether some are left.
    pub fn flush(&mut self, host: &mut Host) -> bool {
        while self.writing.len() < WRITES_PER_TURN
            && let Some(id) = host.shard().next_dirty(true)
        {
            self.writing.push(id);
        }
        while !self.writing.is_empty() {
            self.write(host.shard());
            let mut written = std::mem::take(&mut self.written);
            for (id, result) in written.drain(..) {
                self.wrote(host, id, result);
            }
            self.written = written;
        }
        host.shard().has_dirty()
    }

    /// Writes to the connections listed, which empties the list.
    fn write(&mut self, shard: &Shard) {
        let mut batch = Batch::new(std::mem::take(&mut self.batch));
        for id in self.writing.drain(..) {
            let place = self.links.get(id.slot);
            if let Some(link) = place.and_then(Option::as_ref)
                && link.id == id
            {
                batch.push(id, &link.stream, shard.pieces(id));
            }
        }
        self.wire.write(&mut batch);
        self.batch = batch.finish(&mut self.written);
    }

    /// One connection's write has come to this.
    fn wrote(&mut self, host: &mut Host, id: ConnId, result: Written) {
        match result {
            Written::Bytes(bytes) => {
                if !host.shard().outbox_is_empty(id) {
                    host.shard().written(id, bytes);
                }
                if !host.shard().outbox_is_empty(id) {
                    self.writing.push(id);
                } else if host.flow(id) == Flow::End {
                    self.finish(host, id);
                }
            }
            Written::Blocked => host.shard().set_blocked(id, true),
            Written::Broken => {
                // It takes nothing more, but may have sent something before it broke off: a back
                // end that reads no answers and goes. The read ends it.
                if let Some(link) = self.link(id) {
                    link.broken = true;
                    link.readable = true;
                    self.read_later(id);
                }
            }
        }
    }
}
