//! The cores of a server on one thread, and between them and the clients what the transport does with sockets.
//!
//! [`Cores::rest`] has each core take turns, as `src/server/turn.rs` does: mail, then what clients have sent, then
//! writes. In their order, or where there is a seed in one that this draws, with small helpings of each, so that
//! messages are cut anywhere and what is under way at once meets in any order.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use fastrand::Rng;

use super::client::{Connection, Place};
use crate::app::host::{Arrival, Flow, Handled, Host};
use crate::app::namespaces::Registry;
use crate::bus::{Route, connect_by};
use crate::close::CloseReason;
use crate::ident::{ConnId, CoreId};
use crate::migration::{Counted, Input, Progress, Socket, TransportPart};
use crate::protocol::{Codec, Decoded};
use crate::server::Parts;
use crate::shard::ListenerSpec;

/// The seed of every table, and of uid -> core: each run does the same.
const SEED: u64 = 0x7269_6e67_706f_7374;
/// More turns than any test needs between two of its steps.
const TURNS_MAX: usize = 1_000_000;

pub struct Cores {
    pub hosts: Vec<Host>,
    pub connections: Vec<Connection>,
    pub now: Instant,
    pub rng: Option<Rng>,
}

impl Cores {
    pub fn start(parts: &Parts, cores: usize) -> std::io::Result<Cores> {
        let now = Instant::now();
        let specs: Rc<[ListenerSpec]> = parts.specs.iter().cloned().collect();
        let registry = Registry::new(parts.namespaces);
        let mut hosts = Vec::new();
        for bus in connect_by(Route::with_seed(cores, SEED)?)? {
            let (specs, registry) = (Rc::clone(&specs), Arc::clone(&registry));
            let mut host = Host::new(&parts.config, bus, specs, registry, parts.make_apps(), now);
            host.hash_by(&RandomState::with_seeds(SEED, !SEED, 1, 2));
            if let Some(verifier) = parts.verifier() {
                host.set_verifier(verifier);
            }
            hosts.push(host);
        }
        for host in &mut hosts {
            host.start();
        }
        Ok(Cores {
            hosts,
            connections: Vec::new(),
            now,
            rng: None,
        })
    }

    /// Panics of apps, on all cores.
    pub fn panics(&mut self) -> u64 {
        let hosts = self.hosts.iter_mut();
        hosts.map(|host| host.shard().stats.panics).sum()
    }

    /// Has the cores take turns until nothing is under way.
    pub fn rest(&mut self) {
        let mut idle = 0;
        for _ in 0..TURNS_MAX {
            let mut worked = false;
            for core in self.order(self.hosts.len()) {
                worked |= self.turn(core);
            }
            // What one core has given back at its turn's end, another sees in its next.
            idle = if worked { 0 } else { idle + 1 };
            if idle == 2 {
                return;
            }
        }
        panic!("the server does not come to rest: something always causes something else");
    }

    /// Time goes on to this moment, and all happens that is due on the way, each when it is.
    pub fn advance(&mut self, until: Instant) {
        loop {
            self.expire();
            let due = self.hosts.iter().filter_map(Host::next_due).min();
            match due {
                Some(due) if due < until => self.now = due.max(self.now + Duration::from_millis(1)),
                _ if self.now == until => return,
                _ => self.now = until,
            }
            self.now = self.now.min(until);
        }
    }

    fn expire(&mut self) {
        for core in self.order(self.hosts.len()) {
            let host = &mut self.hosts[core];
            host.set_now(self.now);
            host.expire();
            while self.hosts[core].has_due() {
                self.hosts[core].expire();
            }
        }
        self.rest();
    }

    /// In which order so many have their turn.
    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        if let Some(rng) = &mut self.rng {
            rng.shuffle(&mut order);
        }
        order
    }

    /// How many of what may be many are done in one turn.
    fn helping(&mut self) -> usize {
        match &mut self.rng {
            Some(rng) => rng.usize(1..=16),
            None => usize::MAX,
        }
    }

    /// One turn of a core. Returns whether anything was done in it.
    fn turn(&mut self, core: usize) -> bool {
        let mut worked = self.deliver(core);
        self.hosts[core].settle_credits();
        for client in self.order(self.connections.len()) {
            if self.is_on(client, core) {
                worked |= self.read(client);
            }
        }
        let host = &mut self.hosts[core];
        while let Some((_, in_flight)) = host.shard().in_flight.next_left() {
            // Whoever is here has all that was written to it.
            host.put_back(*in_flight, 0);
        }
        host.tell_expired();
        worked |= host.has_readers();
        host.read_on();
        worked |= self.write(core);
        for client in 0..self.connections.len() {
            worked |= self.finish(client, core);
        }
        for id in self.hosts[core].shard().endings.take_overdue() {
            self.remove(core, id);
            worked = true;
        }
        self.hosts[core].publish_taken();
        worked
    }

    fn is_on(&self, client: usize, core: usize) -> bool {
        matches!(self.connections[client].place, Place::On(on, _) if on == core)
    }

    fn client_at(&self, core: usize, id: ConnId) -> Option<usize> {
        let place = Place::On(core, id);
        self.connections.iter().position(|one| one.place == place)
    }

    fn deliver(&mut self, core: usize) -> bool {
        let mut worked = false;
        for _ in 0..self.helping() {
            let Some(envelope) = self.hosts[core].take() else {
                break;
            };
            worked = true;
            match self.hosts[core].receive(envelope) {
                Handled::Done => {}
                Handled::Arrived(arrival) => self.adopt(core, arrival),
                Handled::Drain(_) | Handled::Upgrade(_) | Handled::Renew => {
                    unreachable!("nobody stops or reloads")
                }
            }
            self.depart_all(core);
        }
        worked
    }

    /// A connection has come from another core.
    fn adopt(&mut self, core: usize, arrival: Arrival) {
        let Socket::Sent { number, .. } = arrival.socket else {
            unreachable!("a client has no descriptor");
        };
        let connection = &mut self.connections[number as usize];
        connection.place = Place::On(core, arrival.connection);
        if let Input::Messages(decoder) = arrival.transport_part.progress.input {
            connection.decoder = Some(decoder);
        }
    }

    /// Sends each connection of a core on its way that is to move.
    pub fn depart_all(&mut self, core: usize) {
        while let Some(departure) = self.hosts[core].next_departure() {
            let id = departure.connection;
            if self.hosts[core].flow(id) != Flow::Leave {
                continue;
            }
            let Some(client) = self.client_at(core, id) else {
                continue;
            };
            let connection = &mut self.connections[client];
            connection.place = Place::Travelling;
            let input = connection.decoder.take();
            let input = input.map_or(Input::Ignored, Input::Messages);
            let transport_part =
                TransportPart::new(Progress::new(input, Counted::Connection), self.now);
            let socket = Socket::Sent {
                from: CoreId(core as u16),
                number: client as u64,
            };
            self.hosts[core].depart(departure, transport_part, socket);
        }
    }

    /// Reads what a client has sent, as much as it may now. Returns whether that is anything.
    fn read(&mut self, client: usize) -> bool {
        let Place::On(core, id) = self.connections[client].place else {
            return false;
        };
        let host = &mut self.hosts[core];
        match host.flow(id) {
            Flow::Go => drop(host.shard().set_paused(id, false)),
            Flow::Pause => {
                host.shard().set_paused(id, true);
                return false;
            }
            Flow::End => self.connections[client].unread.clear(),
            Flow::Leave | Flow::Wait | Flow::Gone => return false,
        }
        let length = self.connections[client].unread.len().min(self.helping());
        if length == 0 {
            return self.read_end(client, core, id);
        }
        let mut input: Vec<u8> = self.connections[client].unread.drain(..length).collect();
        self.hosts[core].shard().heard(id, length);
        let taken = self.feed(client, core, id, &mut input);
        // What it caused may have come back by now, so what is left goes before it.
        self.connections[client]
            .unread
            .splice(..0, input.drain(taken..));
        self.depart_all(core);
        true
    }

    /// Makes messages of bytes. Returns how many it has taken: fewer than all where the connection leaves or waits.
    fn feed(&mut self, client: usize, core: usize, id: ConnId, input: &mut [u8]) -> usize {
        let all = input.len();
        let mut at = 0;
        loop {
            let host = &mut self.hosts[core];
            match host.flow(id) {
                Flow::Go => {}
                Flow::Pause | Flow::Leave | Flow::Wait => return at,
                Flow::End | Flow::Gone => return all,
            }
            let Some(decoder) = &mut self.connections[client].decoder else {
                return all;
            };
            match decoder.next(input, &mut at) {
                Ok(None) => return all,
                Ok(Some(Decoded::Message(message))) => host.message(id, message),
                Ok(Some(Decoded::Ping(payload))) => {
                    let shard = host.shard();
                    shard.send_raw(id, |codec, out| codec.encode_pong(payload, out));
                }
                Ok(Some(Decoded::Pong)) => {}
                Ok(Some(Decoded::Close { code })) => {
                    let shard = host.shard();
                    shard.send_raw(id, |codec, out| codec.encode_close_echo(code, out));
                    host.close(id, CloseReason::ByPeer);
                }
                Ok(Some(Decoded::CompressedText(_) | Decoded::CompressedBinary(_))) => {
                    unreachable!("compression is not agreed on")
                }
                Ok(Some(event)) => {
                    if let Some((flaw, line)) = event.flawed() {
                        host.flawed(id, flaw, line);
                    }
                }
                Err(reason) => host.close(id, reason),
            }
        }
    }

    /// All is read that a client has sent. If it is to send no more, that is seen now.
    fn read_end(&mut self, client: usize, core: usize, id: ConnId) -> bool {
        let (host, connection) = (&mut self.hosts[core], &mut self.connections[client]);
        if !connection.has_ended || host.flow(id) == Flow::End {
            return false;
        }
        if let Some(decoder) = &mut connection.decoder
            && let Some((flaw, line)) = decoder.finish().and_then(Decoded::flawed)
        {
            host.flawed(id, flaw, line);
            return true;
        }
        // It may still read: what it has asked for is answered first.
        if host.shard().connections.has_open_replies(id) {
            return false;
        }
        host.close(id, CloseReason::ByPeer);
        true
    }

    /// Writes what waits for the clients of a core. Returns whether that is anything.
    fn write(&mut self, core: usize) -> bool {
        let mut worked = false;
        while let Some(id) = self.hosts[core].shard().next_dirty(true) {
            let Some(client) = self.client_at(core, id) else {
                continue;
            };
            worked = true;
            let (shard, connection) = (self.hosts[core].shard(), &mut self.connections[client]);
            if connection.is_stalled {
                shard.set_blocked(id, true);
                continue;
            }
            while !shard.connections.outbox_is_empty(id) {
                let bytes: Vec<u8> = shard.connections.pieces(id).flatten().copied().collect();
                shard.written(id, bytes.len());
                connection.take(&bytes);
            }
        }
        let paused = |(client, one): &(usize, &Connection)| {
            !one.unread.is_empty() && self.is_on(*client, core)
        };
        let debtors = self.connections.iter().enumerate().filter(paused).count();
        self.hosts[core].shard().outboxes.backlog.share_out(debtors);
        worked
    }

    /// Lets go of a client whose close has left.
    fn finish(&mut self, client: usize, core: usize) -> bool {
        let Place::On(on, id) = self.connections[client].place else {
            return false;
        };
        let host = &mut self.hosts[core];
        let is_over = on == core
            && host.flow(id) == Flow::End
            && host.shard().connections.outbox_is_empty(id);
        if is_over {
            self.remove(core, id);
        }
        is_over
    }

    /// Ends a connection, whatever waits for it.
    pub fn remove(&mut self, core: usize, id: ConnId) {
        if let Some(client) = self.client_at(core, id) {
            let connection = &mut self.connections[client];
            connection.place = Place::Gone;
            connection.reason = self.hosts[core].shard().connections.reason(id);
        }
        self.hosts[core].shard().remove(id);
    }

    /// The decoder of a listener's connections.
    pub fn decoder(spec: &ListenerSpec) -> crate::protocol::Decoder {
        let decoder = crate::protocol::Decoder::new(spec.codec, spec.message_bytes_max);
        match spec.codec {
            Codec::Text if spec.tells => decoder.telling(),
            _ => decoder,
        }
    }
}
