//! Which connections are read, and why others are not.

use super::flow::Flow;
use super::host::Host;
use super::local::Local;
use crate::ident::ConnId;
use crate::shard::{Exchange, Phase, Reading};
use crate::stats::Hold;

impl Host {
    /// What the transport may do with the connection now.
    pub fn flow(&self, id: ConnId) -> Flow {
        let Some(reading) = self.local.shard.connections.reading(id) else {
            return Flow::Gone;
        };
        match reading.phase {
            Phase::Free => Flow::Gone,
            Phase::Closing => Flow::End,
            Phase::Open | Phase::Home if reading.leaving => Flow::Leave,
            Phase::Http if self.awaits_answer(id) => Flow::Wait,
            // What its requests cause is held against them one by one, and some cause nothing.
            Phase::Http if !reading.full => Flow::Go,
            _ if self.local.holds(id, &reading).is_none() => Flow::Go,
            _ => Flow::Pause,
        }
    }

    fn awaits_answer(&self, id: ConnId) -> bool {
        let exchange = self.local.shard.connections.exchange(id);
        exchange.is_some_and(Exchange::is_under_way)
    }

    /// Whether its answer has no end.
    pub fn is_telling(&self, id: ConnId) -> bool {
        self.local.shard.connections.exchange(id) == Some(Exchange::Telling)
    }

    /// Whether what no connection pays for may add to what is on the way to other cores, and to what waits here.
    pub fn has_room_to_send(&self) -> bool {
        self.local.has_transit_room() && !self.local.shard.is_short_of_memory()
    }

    /// Why the connection is not to be read, if it is for us to wait.
    pub fn hold(&self, id: ConnId) -> Option<Hold> {
        self.local
            .holds(id, &self.local.shard.connections.reading(id)?)
    }

    /// Whether it waits for its uid: other cores, or other nodes, have to say something first.
    pub fn is_binding(&self, id: ConnId) -> bool {
        let reading = self.local.shard.connections.reading(id);
        reading.is_some_and(|reading| reading.crossing)
    }

    /// Changes with whatever lets a connection go on that was not to be read.
    pub fn relief(&self) -> [u64; 5] {
        let shard = &self.local.shard;
        [
            self.local.outgoing.returned(),
            shard.outboxes.backlog.progress(),
            shard.stats.bytes_out,
            shard.stats.closed.iter().sum(),
            shard.message_reliefs,
        ]
    }
}

impl Local {
    /// What is on the way to other cores, and what calls under way may bring back.
    #[inline]
    fn on_the_way(&self) -> usize {
        self.outgoing.bus().in_transit_bytes() + self.pending.bytes()
    }

    /// Whether the core has less on the way than it may.
    pub fn has_transit_room(&self) -> bool {
        self.on_the_way() <= self.transit.core
    }

    /// Why a connection is not to be read, if it is to wait.
    #[inline]
    pub fn holds(&self, id: ConnId, reading: &Reading) -> Option<Hold> {
        if self.transit.is_little(reading.transit, self.on_the_way())
            && !reading.full
            && !reading.crossing
            && !self.shard.outboxes.backlog.is_much()
            && !self.shard.awaits_message_room()
        {
            return None;
        }
        self.find_hold(id, reading)
    }

    fn find_hold(&self, id: ConnId, reading: &Reading) -> Option<Hold> {
        if reading.crossing {
            Some(Hold::Transit)
        } else if reading.full {
            Some(Hold::Answers)
        } else if !self.transit.has_credit(reading.transit, self.on_the_way()) {
            Some(Hold::Transit)
        } else if self.shard.waits_for_message_room(id) {
            Some(Hold::Webhook)
        } else if self.shard.is_short_of_memory() {
            Some(Hold::Memory)
        } else if !self.shard.outboxes.backlog.lets_connection_on(id) {
            Some(Hold::Backlog)
        } else {
            None
        }
    }
}
