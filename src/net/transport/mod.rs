//! All connections of one core on their wire: lets them in, reads what arrives into the host, writes what its outboxes
//! hold, sees each end through, and takes connections from and to other cores.
//!
//! Bound: one read buffer a core; what a connection keeps is half a message (`message_bytes_max`) and, while
//! it is not read, at most one buffer of input.

mod accepting;
mod ending;
mod migration;
mod pausing;
mod permits;
mod reading;
mod renewing;
mod requests;
mod subscribing;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::admission::Admission;
use super::connection::Link;
use super::handover::Handover;
use super::http::Readiness;
use super::input_buffers::InputBuffers;
use super::origin::Origins;
use super::rates::Rates;
use super::wire::{BatchMemory, EVENTS_PER_TURN, Ready, Watch, Wire, Written};
use crate::app::host::Host;
use crate::app::round::WorkSource;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::pages::Pages;
use crate::protocol::websocket::deflate::Inflater;
use crate::shard::ListenerSpec;
use migration::PendingDeparture;
use pausing::Paused;
use permits::HttpPermits;
pub use renewing::Touch;
use requests::HttpListeners;

/// One read takes at most this much. What it holds beyond a helping
/// ([`UNITS_PER_HELPING`](crate::app::round::UNITS_PER_HELPING)) waits for the others' turn.
const READ_BYTES: usize = 64 << 10;
/// When the wire has had more events than were read for so long, deadlines are looked at even so.
const BEHIND_MAX: Duration = Duration::from_millis(100);

pub struct Transport {
    wire: Wire,
    listeners: Rc<[ListenerSpec]>,
    origins: Origins,
    admission: Admission,
    /// What a load balancer is told that asks after health on a websocket's port.
    readiness: Arc<Readiness>,
    /// What HTTP listeners serve.
    http_listeners: HttpListeners,
    /// Who of those that ask by HTTP could go for a newcomer.
    permits: HttpPermits,
    /// Clients of proxies that are believed, each counted while its request is under way: by connection, the listener and
    /// its address.
    client_permits: HashMap<ConnId, (u16, SocketAddr)>,
    /// What was read of those that have had their last answer.
    lingering: HashMap<ConnId, usize>,
    /// How fast connections may send, where some listener has a limit to that.
    rates: Option<Rates>,
    /// What connections keep of what they have sent.
    input_buffers: InputBuffers,
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
    /// Newcomers, and connections that the wire has reported and that a round had no room for.
    fresh: VecDeque<ConnId>,
    /// Connections with more to read than their helping, in a later turn. Each is in one of the two, once
    /// (`Link::queued`).
    again: VecDeque<ConnId>,
    /// Connections not read for now.
    paused: Paused,
    /// Connections whose peer sends no more, but still gets the answers it has asked for.
    half_closed: Vec<ConnId>,
    /// Since when the wire has had more events than were read.
    behind_since: Option<Instant>,
    /// How sockets reach other cores, where each has a descriptor table of its own.
    handover: Option<Handover>,
    /// Connections that move, whose sockets are still here.
    departing: Vec<PendingDeparture>,
    /// The server drains: no clients are let in.
    shut: bool,
    /// The server stops: nothing is read,
    quiet: bool,
    /// and no further request is answered, whatever is read.
    stopping: bool,
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
        input_buffers: InputBuffers,
        handover: Option<Handover>,
    ) -> Transport {
        Transport {
            wire,
            listeners,
            origins,
            admission,
            readiness: Arc::default(),
            http_listeners: HttpListeners::default(),
            permits: HttpPermits::default(),
            client_permits: HashMap::new(),
            lingering: HashMap::new(),
            rates,
            input_buffers,
            links: Pages::default(),
            opening: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            inflater: Inflater::default(),
            ready: Vec::new(),
            writing: Vec::new(),
            written: Vec::new(),
            batch: BatchMemory::default(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            paused: Paused::default(),
            half_closed: Vec::new(),
            behind_since: None,
            handover,
            departing: Vec::new(),
            shut: false,
            quiet: false,
            stopping: false,
        }
    }

    /// Has it tell this of the server's health.
    pub fn show(&mut self, readiness: Arc<Readiness>) {
        self.readiness = readiness;
    }

    /// Readable when the wire has events.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wire.descriptor()
    }

    fn install(&mut self, mut link: Link) -> io::Result<()> {
        link.queued = false;
        link.watch = self.wire.watch_once(link.id, &link.stream)?;
        self.place(link);
        Ok(())
    }

    /// Gives a connection its place in the table.
    fn place(&mut self, link: Link) {
        self.input_buffers.enter(link.progress.bytes_held());
        let slot = link.id.slot;
        *self.links.claim(slot) = Some(link);
    }

    fn link(&mut self, id: ConnId) -> Option<&mut Link> {
        link_of(&mut self.links, id)
    }

    /// Takes a connection's part out of the table.
    fn take_link(&mut self, id: ConnId) -> Option<Link> {
        let link = self.links.get_mut(id.slot)?.take_if(|link| link.id == id)?;
        self.input_buffers.leave(id, link.progress.bytes_held());
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
        self.read_fresh(host);
        self.read_again(host, WorkSource::Again);
    }

    /// Those that have had nothing read lately, before the others' second helping.
    fn read_fresh(&mut self, host: &mut Host) {
        host.enter(WorkSource::Fresh);
        while !self.fresh.is_empty() && host.goes_on() {
            if let Some(id) = self.fresh.pop_front() {
                self.read_queued(host, id);
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        if let Err(error) = self.wire.take(&mut ready) {
            warn!(%error, "the wire failed");
        }
        let is_full = ready.len() >= EVENTS_PER_TURN;
        for event in ready.drain(..) {
            self.event(host, event);
        }
        self.ready = ready;
        match is_full || !self.fresh.is_empty() {
            true => drop(self.behind_since.get_or_insert(host.now())),
            false => self.behind_since = None,
        }
        self.fresh.shrink_to(EVENTS_PER_TURN);
    }

    /// Those that a helping was not enough for, each once at most.
    fn read_again(&mut self, host: &mut Host, source: WorkSource) {
        host.enter(source);
        for _ in 0..self.again.len() {
            if !host.goes_on() {
                return;
            }
            if let Some(id) = self.again.pop_front() {
                self.read_queued(host, id);
            }
        }
        self.again.shrink_to(EVENTS_PER_TURN);
    }

    /// Goes on with what is left to be read, as far as the round has room for it.
    pub fn read_rest(&mut self, host: &mut Host) {
        if !self.again.is_empty() {
            self.read_again(host, WorkSource::Rest);
        }
    }

    fn read_queued(&mut self, host: &mut Host, id: ConnId) {
        let Some(link) = self.link(id) else { return };
        link.queued = false;
        self.read(host, id);
        self.watch_rest(host, id);
    }

    /// Has the wire watch one that it does not, after what it had to say has been taken, unless it has gone by that or is
    /// read on first. A newcomer's next message is mostly the one that has it move.
    fn watch_rest(&mut self, host: &mut Host, id: ConnId) {
        let Some(link) = link_of(&mut self.links, id) else {
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

    /// Whether what has arrived so far has been looked at, so that silence can be judged: or else we
    /// have been behind for so long that it must be.
    pub fn has_caught_up(&self, now: Instant) -> bool {
        self.behind_since
            .is_none_or(|since| now.saturating_duration_since(since) > BEHIND_MAX)
    }

    fn event(&mut self, host: &mut Host, event: Ready) {
        let id = event.connection();
        let Some(link) = self.link(id) else { return };
        if event.recalled {
            if link.watch == Watch::Recalled {
                self.watch_again(host, id);
            }
            return;
        }
        link.progress.ending |= event.ending;
        link.progress.broken |= event.broken;
        // What the peer sent before it broke off is read first; then the read finds the error.
        link.progress.readable |= event.readable || event.broken;
        let reads = link.progress.readable && !link.queued;
        match link.watch {
            Watch::Once if event.unwatched => link.watch = Watch::Over,
            _ if event.unwatched => self.watch_again(host, id),
            _ => {}
        }
        if event.writable {
            host.shard().set_blocked(id, false);
        }
        if !reads {
            self.watch_rest(host, id);
        } else if host.shard().backlog.is_owed_by(id) {
            // What it has caused is still to be written: who has little waiting is served before.
            self.read_later(id);
        } else if host.goes_on() {
            self.read(host, id);
            self.watch_rest(host, id);
        } else if let Some(link) = self.link(id) {
            link.queued = true;
            self.fresh.push_back(id);
        }
    }

    /// The wire has stopped watching one that is still there.
    fn watch_again(&mut self, host: &mut Host, id: ConnId) {
        let Some(link) = link_of(&mut self.links, id) else {
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
    fn watch_for_room(&mut self, id: ConnId) {
        if let Some(link) = link_of(&mut self.links, id)
            && link.watch == Watch::Once
        {
            link.watch = Watch::Recalled;
            self.wire.recall(id);
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
        let queued = !self.fresh.is_empty() || !self.again.is_empty();
        queued || self.wire.has_stash() || !self.departing.is_empty()
    }
}
