//! All connections of one core on their wire: lets them in, reads what arrives into the host, writes what its outboxes
//! hold, sees each end through, and takes connections from and to other cores.
//!
//! Bound: one read buffer a core; what a connection keeps is half a message (`message_bytes_max`) and, while
//! it is not read, at most one buffer of input.

mod accepting;
mod answering;
mod copies;
mod copying;
mod departing;
mod departures;
mod ending;
mod handshakes;
mod http_connections;
mod lingering;
mod link_table;
mod migration;
mod opening;
mod paused;
mod pausing;
mod permits;
mod permitting;
mod read_memory;
mod read_queues;
mod reading;
mod renewing;
mod requests;
mod sealing;
mod stop_stage;
mod stopping;
mod subscribing;
#[cfg(test)]
mod tests;
mod tls;
mod tls_part;
mod watching;
mod writes;
mod writing;

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::admission::Admission;
use super::handover::Handover;
use super::http::Readiness;
use super::input_buffers::InputBuffers;
use super::origin::Origins;
use super::rates::Rates;
use super::wire::{Ready, Wire};
use crate::shard::ListenerSpec;
pub use copies::{Copied, CopyDigest, CopyPlace};
use departures::Departures;
use handshakes::Handshakes;
use http_connections::HttpConnections;
use link_table::LinkTable;
use paused::Paused;
use read_memory::ReadMemory;
use read_queues::ReadQueues;
pub use renewing::Touch;
use stop_stage::StopStage;
use tls_part::TlsPart;
use writes::Writes;

/// See the module.
pub struct Transport {
    wire: Wire,
    /// What the wire has told, in the round that takes it.
    ready: Vec<Ready>,
    /// What it has told since all was handed over to another process.
    aside: Vec<Ready>,
    links: LinkTable,
    queues: ReadQueues,
    read_memory: ReadMemory,
    writes: Writes,
    /// Connections not read for now.
    paused: Paused,
    /// Connections whose handshake is under way.
    handshakes: Handshakes,
    /// Connections that move, whose sockets are still here.
    departures: Departures,
    /// Connections that ask by HTTP.
    http: HttpConnections,
    listeners: Rc<[ListenerSpec]>,
    origins: Origins,
    admission: Admission,
    /// What a load balancer is told that asks after health on a websocket's port.
    readiness: Arc<Readiness>,
    /// How fast connections may send, where some listener has a limit to that.
    rates: Option<Rates>,
    /// What connections that speak TLS share.
    tls: TlsPart,
    stage: StopStage,
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
            ready: Vec::new(),
            aside: Vec::new(),
            links: LinkTable::new(input_buffers),
            queues: ReadQueues::default(),
            read_memory: ReadMemory::default(),
            writes: Writes::default(),
            paused: Paused::default(),
            handshakes: Handshakes::default(),
            departures: Departures::new(handover),
            http: HttpConnections::default(),
            listeners,
            origins,
            admission,
            readiness: Arc::default(),
            rates,
            tls: TlsPart::default(),
            stage: StopStage::default(),
        }
    }

    /// Has it tell this of the server's health.
    pub fn show(&mut self, readiness: Arc<Readiness>) {
        self.readiness = readiness;
    }

    /// Readable when the wire has something ready.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wire.descriptor()
    }

    /// Sees the round's endings and moves through on the wire.
    pub fn settle(&mut self) {
        self.wire.settle();
    }

    /// Whether the wire has had something new since it was last asked, as far as it knows by itself.
    pub fn has_ready(&mut self) -> bool {
        !self.stage.is_handed_over && self.wire.has_ready()
    }

    /// Whether there is input that the wire will not report, or a move that has not begun.
    pub fn has_input_left(&self) -> bool {
        let is_left = !self.queues.is_empty() || self.departures.has_some();
        self.wire.has_stash() || is_left && !self.stage.is_handed_over
    }
}
