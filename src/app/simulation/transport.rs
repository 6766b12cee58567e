//! The transport's part of the world: what it does with sockets, here between hosts and simulated clients.

use super::client::Place;
use super::world::World;
use crate::app::host::{Arrival, Flow, Handled};
use crate::bus::{ENVELOPE_COST, RECEIVER_COST};
use crate::close::CloseReason;
use crate::ident::{ConnId, CoreId};
use crate::migration::{Counted, Input, Progress, Socket, TransportPart};
use crate::payload::Message;
use crate::protocol::Codec;

impl World {
    /// Something else than the doorbell has woken the core.
    pub fn wake(&mut self, core: usize) {
        if std::mem::take(&mut self.asleep[core]) {
            self.hosts[core].bus().disarm();
        }
    }

    /// Sleeps, if it is a moment at which a turn would end so.
    pub fn sleep(&mut self, core: usize) {
        self.depart_all(core);
        let paused = self.paused_on(core).next().is_some();
        let host = &mut self.hosts[core];
        let is_busy = host.has_readers() || host.shard().has_dirty();
        if is_busy || self.can_resume(core) {
            return;
        }
        let bus = self.hosts[core].bus();
        bus.want_credit(paused);
        self.asleep[core] = bus.arm();
        if self.asleep[core] {
            assert!(self.hosts[core].take().is_none(), "a core sleeps over mail");
            self.hosts[core].settle_credits();
            assert!(!self.can_resume(core), "a core sleeps over credit");
        }
        *self.tally.entry("slept").or_default() += usize::from(self.asleep[core]);
    }

    pub fn can_resume(&self, core: usize) -> bool {
        self.paused_on(core).any(|client| {
            let place = self.clients[client].core();
            place.is_some_and(|(core, id)| self.hosts[core].flow(id) != Flow::Pause)
        })
    }

    pub fn paused_on(&self, core: usize) -> impl Iterator<Item = usize> {
        let clients = self.clients.iter().enumerate();
        clients
            .filter(move |(_, one)| one.paused && one.core().is_some_and(|(on, _)| on == core))
            .map(|(client, _)| client)
    }

    pub fn deliver(&mut self, core: usize, count: usize) {
        if self.asleep[core] && !self.hosts[core].bus().drain() {
            return;
        }
        self.wake(core);
        for _ in 0..count {
            self.model().step();
            let Some(envelope) = self.hosts[core].take() else {
                self.model().emptied(core as u16);
                break;
            };
            match self.hosts[core].receive(envelope) {
                Handled::Done => {}
                Handled::Arrived(arrival) => self.adopt(core, arrival),
                Handled::Drain(_) | Handled::Upgrade(_) | Handled::Renew => {
                    panic!("nobody has stopped the server")
                }
            }
            if self.rng.bool() {
                self.depart_all(core);
            }
        }
        self.depart_all(core);
        if self.rng.u8(..) < 200 {
            self.hosts[core].publish_taken();
        }
    }

    fn adopt(&mut self, core: usize, arrival: Arrival) {
        let Socket::Sent { number, .. } = arrival.socket else {
            panic!("a client has no descriptor");
        };
        let client = number as usize;
        let one = &mut self.clients[client];
        assert_eq!(one.place, Place::Travelling);
        one.place = Place::On(core, arrival.connection);
        let unread = String::from_utf8(arrival.transport_part.progress.unread);
        one.held = unread.expect("text").lines().map(str::to_owned).collect();
        *self.tally.entry("moved").or_default() += 1;
        self.links[core].insert(arrival.connection, client);
        let count = self.rng.usize(0..3);
        self.read(client, count);
    }

    pub fn depart_all(&mut self, core: usize) {
        while let Some(departure) = self.hosts[core].next_departure() {
            let id = departure.connection;
            if self.hosts[core].flow(id) != Flow::Leave {
                continue;
            }
            let client = self.links[core].remove(&id).expect("a live connection");
            let one = &mut self.clients[client];
            // Some of what it said had been read already.
            let read = self.rng.usize(0..=one.unread.len());
            let mut held = std::mem::take(&mut one.held);
            held.extend(one.unread.drain(..read));
            one.place = Place::Travelling;
            one.paused = false;
            one.blocked = false;
            let mut progress = Progress::new(Input::Ignored, Counted::Connection);
            let lines = held.iter().flat_map(|line| [line, "\n"]);
            progress.unread = lines.collect::<String>().into_bytes();
            let socket = Socket::Sent {
                from: CoreId(core as u16),
                number: client as u64,
            };
            let transport_part = TransportPart::new(progress, self.now);
            self.hosts[core].depart(departure, transport_part, socket);
        }
    }

    /// Lets the host have so many of a client's messages, as far as it will.
    pub fn read(&mut self, client: usize, count: usize) {
        if let Place::Opening(core, id) = self.clients[client].place {
            self.wake(core);
            if self.hosts[core].flow(id) == Flow::End {
                return self.remove(core, id);
            }
            self.clients[client].place = Place::On(core, id);
            match self.clients[client].life {
                Some(life) => self.begin_life(client, life),
                None => self.hosts[core].open(id),
            }
        }
        let Some((core, id)) = self.clients[client].core() else {
            return;
        };
        self.wake(core);
        for _ in 0..count {
            self.model().step();
            let host = &mut self.hosts[core];
            let one = &mut self.clients[client];
            match host.flow(id) {
                Flow::Go => {
                    host.shard().set_paused(id, false);
                    one.paused = false;
                }
                Flow::Pause => {
                    host.shard().set_paused(id, true);
                    one.paused = true;
                    *self.tally.entry("paused").or_default() += 1;
                    let hold = host.hold(id).expect("it waits for something");
                    *self.tally.entry(hold.name()).or_default() += 1;
                    break;
                }
                Flow::Leave | Flow::Wait | Flow::End => break,
                Flow::Gone => panic!("the host let go of a client that is there"),
            }
            if one.dead {
                return self.broken(core, id);
            }
            let Some(text) = one.held.pop_front().or_else(|| one.unread.pop_front()) else {
                if one.hung_up {
                    host.close(id, CloseReason::ByPeer);
                }
                break;
            };
            one.fed += 1;
            self.feed(core, id, client, &text);
        }
        if self.rng.u8(..) < 200 {
            self.depart_all(core);
        }
    }

    pub fn feed(&mut self, core: usize, id: ConnId, client: usize, text: &str) {
        let size = |command: &str| {
            let last = command.rsplit([' ', ',']).next().unwrap_or_default();
            let receivers = self.clients.len() * RECEIVER_COST;
            last.parse().unwrap_or(0) + 2 * ENVELOPE_COST + 64 + receivers
        };
        let each = self.scene.namespaces() * self.scene.cores;
        let charge = each * text.split(';').map(size).sum::<usize>();
        self.charge = self.charge.max(charge);
        let speaks = self.clients[client].codec == Codec::V1;
        if speaks {
            self.note_request(client, text);
        }
        let host = &mut self.hosts[core];
        host.shard().heard(id, text.len());
        host.message(id, Message::Text(text));
        let on_the_way = host.shard().connections.transit(id);
        assert!(
            on_the_way <= self.scene.transit + charge + self.said_when_bound(),
            "{on_the_way} bytes on the way for one connection"
        );
        let now = self.now;
        let mut model = self.model();
        model.clients[client].heard = now;
        let executed = model.clients[client].executed;
        drop(model);
        assert!(
            speaks || executed == self.clients[client].fed,
            "the app got each message"
        );
    }

    /// What no credit has held back.
    fn said_when_bound(&self) -> usize {
        match self.scene.says_when_bound {
            true => self.scene.cores * (ENVELOPE_COST + 64),
            false => 0,
        }
    }

    /// The next dirty connection of a core gets a write, of which the kernel takes what it likes.
    pub fn write(&mut self, core: usize) {
        self.wake(core);
        let bulk = self.rng.u8(..) < 200;
        let Some(id) = self.hosts[core].shard().next_dirty(bulk) else {
            return;
        };
        let client = self.links[core][&id];
        let kind = self.rng.u8(0..3);
        self.write_to(core, id, client, kind);
        self.share_out(core);
    }

    /// As a round does at the end of its writing.
    pub fn share_out(&mut self, core: usize) {
        let debtors = self.paused_on(core).count();
        self.hosts[core].shard().outboxes.backlog.share_out(debtors);
    }

    /// Writes all that waits if `kind` is 0, else some of it.
    pub fn write_to(&mut self, core: usize, id: ConnId, client: usize, kind: u8) {
        loop {
            let width = self.rng.usize(1..=4);
            let shard = self.hosts[core].shard();
            let mut bytes: Vec<u8> = shard
                .connections
                .pieces(id)
                .take(width)
                .flatten()
                .copied()
                .collect();
            if bytes.is_empty() {
                return;
            }
            let one = &mut self.clients[client];
            if one.dead {
                return self.broken(core, id);
            }
            if kind > 0 {
                bytes.truncate(self.rng.usize(0..=bytes.len()));
            }
            if !one.deaf {
                one.received.extend_from_slice(&bytes);
            }
            shard.written(id, bytes.len());
            self.note_received(client);
            let (shard, one) = (self.hosts[core].shard(), &mut self.clients[client]);
            if kind > 0 && self.rng.bool() {
                shard.set_blocked(id, true);
                one.blocked = true;
                return;
            }
        }
    }

    pub fn unblock(&mut self, client: usize) {
        if let Some((core, id)) = self.clients[client].core() {
            self.wake(core);
            self.clients[client].blocked = false;
            self.hosts[core].shard().set_blocked(id, false);
        }
    }

    pub fn unblock_one(&mut self) {
        if let Some(client) = self.any_client()
            && self.clients[client].blocked
        {
            self.unblock(client);
        }
    }

    pub fn tick(&mut self, core: usize) {
        self.wake(core);
        self.model().now[core] = self.now;
        self.hosts[core].set_now(self.now);
        self.hosts[core].local.streams.advance(self.now);
        self.hosts[core].expire();
        for id in self.hosts[core].shard().endings.take_overdue() {
            if let Some(client) = self.links[core].get(&id).copied() {
                let unsent = !self.hosts[core].shard().connections.outbox_is_empty(id);
                self.model().clients[client].lossy |= unsent;
                self.remove(core, id);
            }
        }
    }

    /// Lets go of the connections whose close has been seen through.
    pub fn finish(&mut self, core: usize) {
        for id in self.hosts[core].shard().connections.ids() {
            let host = &mut self.hosts[core];
            if host.flow(id) == Flow::End && host.shard().connections.outbox_is_empty(id) {
                self.remove(core, id);
            }
        }
    }

    fn broken(&mut self, core: usize, id: ConnId) {
        let client = self.links[core][&id];
        self.hosts[core].close(id, CloseReason::Reset);
        self.model().clients[client].lossy = true;
        self.remove(core, id);
    }

    fn remove(&mut self, core: usize, id: ConnId) {
        let abandoned = self.hosts[core].shard().endings.abandoned.contains(&id);
        self.hosts[core].shard().remove(id);
        let client = self.links[core].remove(&id).expect("a live connection");
        self.model().clients[client].lossy |= abandoned;
        self.clients[client].place = Place::Gone;
    }
}
