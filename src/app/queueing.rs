//! A uid's queue: what comes while it has no connection waits in its stream, and is sent to the next one on a plain wire, in
//! order and before what is newer.
//!
//! The stream knows up to where messages are delivered: acknowledged, or on their way to a connection that is there. When
//! one leaves its uid, what its peer's kernel has not acknowledged ([`InFlight`](crate::shard::InFlight)) goes to another of
//! the uid's connections, if it was not sent that, or back to the queue. So each message arrives at least once, or its end
//! is counted and told; one whose acknowledgement was lost comes twice.
//!
//! In a cluster each node counts so for itself, and Redis has up to where all is acknowledged: a client that comes to another
//! node has what follows that.

use super::abroad_streams::StreamOrder;
use super::follow_step::FollowedStream;
use super::following::PIECE;
use super::host::Host;
use super::local::Local;
use super::mirrors::Waiting;
use crate::ident::{ConnId, NamespaceId};
use crate::payload::Payload;
use crate::shard::{Following, InFlight};
use crate::streams::{Address, Kind, Position, Store};

impl Local {
    /// A connection on a plain wire is bound: it is sent what has waited.
    pub(super) fn begin_queue(&mut self, connection: ConnId) {
        let namespace = self.shard.connections.namespace_of(connection);
        let Some(uid) = self.shard.connections.uid(connection) else {
            return;
        };
        if self.streams.rules.is_empty() || !self.streams.queues(namespace, uid) {
            return;
        }
        if self.has_engine() {
            let of = FollowedStream {
                namespace,
                kind: Kind::Uid,
                name: Box::from(uid),
            };
            if self
                .when_mirrored(&of, Waiting::Queue(connection))
                .is_none()
            {
                return;
            }
        }
        self.begin_queue_here(connection);
    }

    /// What has waited is here.
    pub(super) fn begin_queue_here(&mut self, connection: ConnId) {
        let namespace = self.shard.connections.namespace_of(connection);
        let Some(uid) = self.shard.connections.uid(connection) else {
            return;
        };
        let (of, now) = (Address::uid(namespace, uid), self.now);
        let top = self.streams.store.top(now, of);
        let after = self.streams.store.delivered(of);
        let waits = after < top.offset || self.shard.in_flight.may_come_back(namespace, uid);
        // In a cluster it may have been sent some already, which came while the stream was read.
        if self.shard.in_flight.get(connection.slot).is_none() {
            self.shard.take_from_queue(connection, after);
        }
        if waits {
            let from = Position {
                offset: after,
                ..top
            };
            self.shard.follow(connection, Following::of_queue(from));
            self.readers.push(connection);
        }
    }

    /// Sends a piece of what has waited.
    pub(super) fn read_queue(&mut self, connection: ConnId, after: Position) {
        let namespace = self.shard.connections.namespace_of(connection);
        let Some(uid) = self.shard.connections.uid(connection).map(Box::<str>::from) else {
            return;
        };
        let (of, now) = (Address::uid(namespace, &uid), self.now);
        let store = &mut self.streams.store;
        let piece = store.ask(of, |store| {
            let piece = store.read_what_is_there(now, of, after.offset, PIECE);
            let top = piece.top();
            let messages: Vec<(Position, Payload)> = piece
                .map(|(position, payload)| (position, payload.clone()))
                .collect();
            let last = messages.last().map_or(top.offset, |(last, _)| last.offset);
            // First, for a connection that has too much by this puts it back.
            store.set_delivered(of, last);
            (messages, last >= top.offset)
        });
        let (messages, is_last) = piece.unwrap_or((Vec::new(), true));
        let store = &mut self.streams.store;
        let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
        self.shard
            .catch_up(connection, 0, &messages, is_last, &mut tops);
        if !is_last {
            self.readers.push(connection);
        }
    }

    /// A message at this offset has reached a connection of its uid, there or in another namespace.
    pub(super) fn take_as_delivered(&mut self, namespace: NamespaceId, uid: &str, offset: u64) {
        let of = Address::uid(namespace, uid);
        // What was there before and waits is read first, and this with it.
        if self.streams.store.delivered(of) + 1 == offset
            && !self.shard.is_any_behind(namespace, uid)
        {
            let set = |store: &mut Store| store.set_delivered(of, offset);
            self.streams.store.ask(of, set);
            // What is on its way is told of when it has come.
            if self.has_engine() && self.shard.least_acknowledged(namespace, uid).is_none() {
                self.tell_delivered(of);
            }
        }
    }

    /// A connection has left its uid, and its peer has everything up to this offset.
    fn put_back(&mut self, namespace: NamespaceId, uid: &str, after: u64) {
        let (of, now) = (Address::uid(namespace, uid), self.now);
        match self.shard.lowest_in_flight(namespace, uid) {
            None => {
                self.streams
                    .store
                    .ask(of, |store| store.put_back(of, after));
            }
            Some((other, first)) if after < first => {
                let top = self.streams.store.top(now, of);
                let from = Position {
                    offset: after,
                    ..top
                };
                self.shard.take_from_queue_again(other, from);
                self.readers.push(other);
            }
            // It has been sent that, or will be.
            Some(_) => {}
        }
        self.tell_delivered(of);
    }

    /// Tells Redis, where that keeps it, up to where a uid's messages have come for certain: what is on its way to a
    /// connection here is had by another node's, if this node is no more or does not notice that it has broken.
    pub(super) fn tell_delivered(&mut self, of: Address<'_>) {
        if self.has_engine() {
            let (now, delivered) = (self.now, self.streams.store.delivered(of));
            let least = self.shard.least_acknowledged(of.namespace, of.name);
            let upto = Position {
                offset: least.map_or(delivered, |least| least.min(delivered)),
                ..self.streams.store.top(now, of)
            };
            let of = FollowedStream {
                namespace: of.namespace,
                kind: of.kind,
                name: Box::from(of.name),
            };
            self.order_of_streams(StreamOrder::Delivered { of, upto });
        }
    }

    fn tell_expired(&mut self) {
        for undelivered in self.streams.store.unguarded().take_undelivered() {
            let (uid, messages) = (&undelivered.uid, undelivered.messages);
            self.shard.report_expired(uid, messages);
        }
    }
}

impl Host {
    /// So many bytes are not acknowledged of a connection that has left its uid; asked for where that is of any use.
    pub fn acknowledged(&mut self, id: ConnId, outstanding: impl FnOnce() -> usize) {
        if !self.local.shard.in_flight.has_to_ask() {
            return;
        }
        if let Some(in_flight) = self.local.shard.in_flight.take_left(id) {
            self.put_back(*in_flight, outstanding());
        }
    }

    /// Asks, from time to time, what has come of what is on its way, and tells the other nodes of a cluster.
    pub fn tell_acknowledged(&mut self, outstanding: impl FnMut(ConnId) -> Option<usize>) {
        let now = self.local.now;
        let in_flight = &mut self.local.shard.in_flight;
        for (namespace, uid) in in_flight.ask_for_others(now, outstanding) {
            self.local.tell_delivered(Address::uid(namespace, &uid));
        }
    }

    /// What a connection was sent that has left its uid, but for so many bytes at the end.
    pub fn put_back(&mut self, mut in_flight: InFlight, outstanding: usize) {
        let after = in_flight.acknowledge(outstanding);
        self.local
            .put_back(in_flight.namespace, &in_flight.uid, after);
    }

    /// Messages that the core's streams keep.
    pub fn kept_messages(&self) -> u64 {
        self.local.streams.store.counters().messages
    }

    /// Tells of those whose messages went before they came.
    pub fn tell_expired(&mut self) {
        if self.local.streams.store.unguarded().has_undelivered() {
            self.local.tell_expired();
        }
    }
}
