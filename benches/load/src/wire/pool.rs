//! [`Pool`]: the connections of one generator, and the loop's turn: wait, read, tell the [`Client`],
//! write. What a turn sends to one connection leaves in one write.
//!
//! Bounded by its slots, and by what the workload lets be on the way.

use std::io::{self, ErrorKind};

use super::codec::Piece;
use super::connection::{Connection, Ending, Stage};
use super::epoll::{Epoll, Event, Events, Wake};
use super::source::Sources;
use super::target::Target;
use super::tls::TlsClient;
use super::upgrade;
use crate::random::Random;

/// The token of the wake-up.
const WAKE: u64 = u64::MAX;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Time to connect and to upgrade.
const OPEN_NANOS_MAX: u64 = 20_000_000_000;
/// Time for the server to end a connection that we have left.
const LEAVE_NANOS_MAX: u64 = 5_000_000_000;

/// Who is told of the connections: a workload.
pub trait Client {
    /// A connection is open, and upgraded where that is needed.
    fn opened(&mut self, pool: &mut Pool, slot: usize, now: u64);
    /// A whole message has come.
    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64);
    /// A connection has ended; its slot may be opened again at once.
    fn ended(&mut self, pool: &mut Pool, slot: usize, ending: Ending, now: u64);
}

/// A way to the server: where to, and from where.
pub struct Door {
    pub target: Target,
    pub sources: Sources,
}

/// The connections of one generator.
pub struct Pool {
    epoll: Epoll,
    doors: Vec<Door>,
    connections: Vec<Connection>,
    /// Slots with something to send.
    dirty: Vec<usize>,
    random: Random,
}

/// What one generator's loop reuses every turn.
pub struct Scratch {
    events: Events,
    buffer: Vec<u8>,
    /// What came by TLS, opened.
    opened: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            events: Events::default(),
            buffer: vec![0; READ_BYTES],
            opened: Vec::new(),
        }
    }
}

impl Pool {
    pub fn new(slots: usize, doors: Vec<Door>, wake: &Wake, random: Random) -> io::Result<Pool> {
        let epoll = Epoll::new()?;
        epoll.add(wake, WAKE, false)?;
        let mut connections = Vec::new();
        connections.resize_with(slots, Connection::default);
        Ok(Pool {
            epoll,
            doors,
            connections,
            dirty: Vec::new(),
            random,
        })
    }

    /// Begins to connect an empty slot through a door.
    pub fn open(&mut self, slot: usize, door: usize, now: u64) -> io::Result<()> {
        let Door { target, sources } = &mut self.doors[door];
        let socket = sources.connect(&target.address)?;
        let connection = &mut self.connections[slot];
        connection.reset();
        self.epoll
            .add(&socket, token(slot, connection.generation), true)?;
        connection.socket = Some(socket);
        connection.stage = Stage::Connecting;
        connection.awaits_room = true;
        connection.door = door;
        connection.since = now;
        Ok(())
    }

    /// Whether a message can be sent.
    pub fn is_open(&self, slot: usize) -> bool {
        self.connections[slot].stage == Stage::Open
    }

    /// Whether the slot is empty.
    pub fn is_closed(&self, slot: usize) -> bool {
        self.connections[slot].stage == Stage::Closed
    }

    /// Bytes that the kernel has not taken yet.
    pub fn backlog(&self, slot: usize) -> usize {
        self.connections[slot].backlog()
    }

    /// The client's own address of a connection, as the server sees it where nothing is between.
    pub fn address(&self, slot: usize) -> Option<std::net::SocketAddr> {
        let socket = self.connections[slot].socket.as_ref()?;
        socket2::SockRef::from(socket)
            .local_addr()
            .ok()?
            .as_socket()
    }

    /// Sends a message at the end of the turn, if the connection is open.
    pub fn send(&mut self, slot: usize, message: &[u8]) {
        if self.is_open(slot) {
            let connection = &mut self.connections[slot];
            let codec = self.doors[connection.door].target.codec;
            let mask = self.random.next() as u32;
            codec.write(message, mask, connection.out());
            self.soil(slot);
        }
    }

    /// Ends a connection as its codec does, in order behind what is to be sent. `ended` follows.
    pub fn leave(&mut self, slot: usize, now: u64) {
        if !self.is_open(slot) {
            return;
        }
        let mask = self.random.next() as u32;
        let connection = &mut self.connections[slot];
        let codec = self.doors[connection.door].target.codec;
        if codec.has_handshake() {
            codec.write_close(mask, connection.out());
        }
        connection.stage = Stage::Leaving;
        connection.since = now;
        self.soil(slot);
    }

    fn soil(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Waits for at most so long, and does what has come. `true` if the wake-up rang.
    pub fn turn(
        &mut self,
        nanos: u64,
        scratch: &mut Scratch,
        client: &mut dyn Client,
    ) -> io::Result<bool> {
        self.epoll.wait(nanos, &mut scratch.events)?;
        let mut is_woken = false;
        for at in 0..scratch.events.len() {
            let event = scratch.events.get(at);
            match event.token {
                WAKE => is_woken = true,
                _ => self.drive(event, &mut scratch.buffer, &mut scratch.opened, client),
            }
        }
        Ok(is_woken)
    }

    /// Ends those that take too long to open or to go.
    pub fn expire(&mut self, now: u64, client: &mut dyn Client) {
        for slot in 0..self.connections.len() {
            let connection = &self.connections[slot];
            let age = now.saturating_sub(connection.since);
            match connection.stage {
                Stage::Connecting | Stage::Upgrading if age > OPEN_NANOS_MAX => {
                    let problem = "a connection did not open within 20 s".to_owned();
                    self.end(slot, Ending::Unopened(problem), client, now);
                }
                Stage::Leaving if age > LEAVE_NANOS_MAX => {
                    let problem = "the server did not answer our close within 5 s".to_owned();
                    self.end(slot, Ending::Broken(problem), client, now);
                }
                _ => {}
            }
        }
    }

    /// Writes what the turn has left to send.
    pub fn flush(&mut self, client: &mut dyn Client, now: u64) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            self.connections[slot].is_dirty = false;
            self.write(slot, client, now);
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    fn write(&mut self, slot: usize, client: &mut dyn Client, now: u64) {
        let connection = &mut self.connections[slot];
        let for_room = match connection.flush() {
            Ok(is_all) => !is_all,
            Err(error) => return self.end(slot, Ending::Broken(error.to_string()), client, now),
        };
        if connection.stage == Stage::Leaving && !for_room {
            let codec = self.doors[connection.door].target.codec;
            if !codec.has_handshake() {
                connection.end_stream();
            }
        }
        let Some(socket) = &connection.socket else {
            return;
        };
        if for_room != connection.awaits_room {
            connection.awaits_room = for_room;
            let token = token(slot, connection.generation);
            if let Err(error) = self.epoll.change(socket, token, for_room) {
                self.end(slot, Ending::Broken(error.to_string()), client, now);
            }
        }
    }

    fn drive(
        &mut self,
        event: Event,
        buffer: &mut [u8],
        opened: &mut Vec<u8>,
        client: &mut dyn Client,
    ) {
        let slot = (event.token & 0xffff_ffff) as usize;
        let generation = (event.token >> 32) as u32;
        if !self.is_current(slot, generation) {
            return;
        }
        let now = crate::clock::now();
        if self.connections[slot].stage == Stage::Connecting {
            if !event.writable {
                return;
            }
            return match self.connections[slot].connect_result() {
                Ok(()) => self.connected(slot, client, now),
                Err(error) => {
                    let problem = format!("a connection was not taken: {error}");
                    self.end(slot, Ending::Unopened(problem), client, now);
                }
            };
        }
        if event.readable {
            self.receive(slot, generation, buffer, opened, client, now);
        }
        if event.writable && self.is_current(slot, generation) {
            self.write(slot, client, now);
        }
    }

    fn connected(&mut self, slot: usize, client: &mut dyn Client, now: u64) {
        let connection = &mut self.connections[slot];
        let target = &self.doors[connection.door].target;
        if let Some(tickets) = target.tls {
            match TlsClient::new(&target.host, tickets) {
                Ok(tls) => connection.tls = Some(Box::new(tls)),
                Err(problem) => return self.end(slot, Ending::Unopened(problem), client, now),
            }
        }
        if connection.tls.is_some() && !target.codec.has_handshake() {
            // It is open when TLS is.
            connection.stage = Stage::Upgrading;
            return self.soil(slot);
        }
        if target.codec.has_handshake() {
            let request = upgrade::request(&target.host, &target.path);
            connection.out().extend_from_slice(request.as_bytes());
            connection.stage = Stage::Upgrading;
            self.soil(slot);
        } else {
            connection.stage = Stage::Open;
            // So that the set stops waiting for room, if nothing else does it.
            self.soil(slot);
            client.opened(self, slot, now);
        }
    }

    fn receive(
        &mut self,
        slot: usize,
        generation: u32,
        buffer: &mut [u8],
        opened: &mut Vec<u8>,
        client: &mut dyn Client,
        now: u64,
    ) {
        let connection = &mut self.connections[slot];
        let count = match connection.read(buffer) {
            Ok(0) => return self.end_of(slot, client, now),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(error) => {
                let ending = match (connection.stage, error.kind()) {
                    // A reset is an answer to our close, too.
                    (Stage::Leaving, ErrorKind::ConnectionReset) => Ending::Left,
                    (Stage::Upgrading, _) => Ending::Unopened(error.to_string()),
                    _ => Ending::Broken(error.to_string()),
                };
                return self.end(slot, ending, client, now);
            }
        };
        let mut bytes = &buffer[..count];
        let mut is_end = false;
        if let Some(tls) = &mut connection.tls {
            opened.clear();
            match tls.open(bytes, opened) {
                Ok(end) => is_end = end,
                Err(error) => {
                    let ending = match connection.stage {
                        Stage::Upgrading => Ending::Unopened(error.to_string()),
                        _ => Ending::Broken(error.to_string()),
                    };
                    return self.end(slot, ending, client, now);
                }
            }
            let is_ready = tls.is_ready();
            let has_more = tls.wants_write() || is_ready && connection.backlog() > 0;
            bytes = opened;
            if has_more {
                self.soil(slot);
            }
            self.open_by_tls(slot, is_ready, client, now);
        }
        self.receive_plain(slot, generation, bytes, client, now);
        if is_end && self.is_current(slot, generation) {
            self.end_of(slot, client, now);
        }
    }

    /// Where TLS is all that a connection waits for, it is open with that.
    fn open_by_tls(&mut self, slot: usize, is_ready: bool, client: &mut dyn Client, now: u64) {
        let connection = &mut self.connections[slot];
        let waits = connection.stage == Stage::Upgrading
            && !self.doors[connection.door].target.codec.has_handshake();
        if waits && is_ready {
            connection.stage = Stage::Open;
            client.opened(self, slot, now);
        }
    }

    fn receive_plain(
        &mut self,
        slot: usize,
        generation: u32,
        bytes: &[u8],
        client: &mut dyn Client,
        now: u64,
    ) {
        if !self.is_current(slot, generation) {
            return;
        }
        let mut held = std::mem::take(&mut self.connections[slot].held);
        if held.is_empty() {
            let taken = self.take(slot, generation, bytes, client, now);
            held.extend_from_slice(&bytes[taken..]);
        } else {
            held.extend_from_slice(bytes);
            let taken = self.take(slot, generation, &held, client, now);
            held.drain(..taken);
        }
        if !held.is_empty() && self.is_current(slot, generation) {
            self.connections[slot].held = held;
        }
    }

    /// Takes whole pieces from the front; how many bytes they were.
    fn take(
        &mut self,
        slot: usize,
        generation: u32,
        bytes: &[u8],
        client: &mut dyn Client,
        now: u64,
    ) -> usize {
        let mut at = 0;
        if self.connections[slot].stage == Stage::Upgrading {
            match upgrade::read(bytes) {
                Ok(None) => return 0,
                Ok(Some(taken)) => {
                    at = taken;
                    self.connections[slot].stage = Stage::Open;
                    client.opened(self, slot, now);
                }
                Err(problem) => {
                    self.end(slot, Ending::Unopened(problem), client, now);
                    return bytes.len();
                }
            }
        }
        while at < bytes.len() && self.is_current(slot, generation) {
            let codec = self.doors[self.connections[slot].door].target.codec;
            let rest = &bytes[at..];
            let (piece, taken) = codec.read(rest);
            match piece {
                Piece::Incomplete => break,
                Piece::Message(range) => client.message(self, slot, &rest[range], now),
                Piece::Ping(range) => {
                    let mask = self.random.next() as u32;
                    codec.write_pong(&rest[range], mask, self.connections[slot].out());
                    self.soil(slot);
                }
                Piece::Pong => {}
                // After our own close it is the answer, and the end of the stream follows.
                Piece::Close(_) if self.connections[slot].stage == Stage::Leaving => {}
                Piece::Close(code) => self.end(slot, Ending::Closed(Some(code)), client, now),
                Piece::Wrong(problem) => {
                    self.end(slot, Ending::Broken(problem.to_owned()), client, now);
                    return bytes.len();
                }
            }
            at += taken;
        }
        at
    }

    /// The server has ended the stream.
    fn end_of(&mut self, slot: usize, client: &mut dyn Client, now: u64) {
        let ending = match self.connections[slot].stage {
            Stage::Leaving => Ending::Left,
            Stage::Upgrading => Ending::Unopened("it closed without answering the upgrade".into()),
            _ => Ending::Closed(None),
        };
        self.end(slot, ending, client, now);
    }

    fn end(&mut self, slot: usize, ending: Ending, client: &mut dyn Client, now: u64) {
        self.connections[slot].reset();
        client.ended(self, slot, ending, now);
    }

    fn is_current(&self, slot: usize, generation: u32) -> bool {
        let connection = self.connections.get(slot);
        connection.is_some_and(|one| one.generation == generation && one.stage != Stage::Closed)
    }
}

fn token(slot: usize, generation: u32) -> u64 {
    // No slot has the number that would make it the wake-up's.
    u64::from(generation) << 32 | slot as u64
}
