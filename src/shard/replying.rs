//! Replies of connections in their order: places reserved and filled.

use super::Shard;
use super::place::MessagePlace;
use super::refusals::Excess;
use super::slot::Phase;
use crate::close::CloseReason;
use crate::config::OUTBOX_MESSAGE_COST;
use crate::ident::{ConnId, Reply};
use crate::payload::Message;
use crate::protocol::Codec;

impl Shard {
    /// Takes the next place in the connection's order of replies.
    pub fn reserve(&mut self, id: ConnId) -> Reply {
        let number = self
            .connections
            .get_mut(id)
            .map_or(0, |slot| slot.replies.get_or_insert_default().reserve());
        if let Some(slot) = self.connections.get(id) {
            let spec = &self.connections.listeners[usize::from(slot.listener)];
            let held = slot.refused_bytes() + slot.replies_bytes();
            let excess = Excess {
                wanted: held,
                own: slot.own_bytes(),
                most: spec.outbox_bytes_max,
            };
            if held > excess.most
                && !spec.pauses
                && !self.outboxes.allow(id, excess, self.clock.now())
            {
                self.close(id, CloseReason::SlowConsumer);
            }
        }
        Reply {
            connection: id,
            number,
        }
    }

    /// Fills a reserved place; what can leave in order is queued.
    pub fn fill(&mut self, reply: Reply, message: Message<'_>) {
        let id = reply.connection;
        let connections = &mut self.connections;
        let Some(slot) = connections.slots.get(id.slot) else {
            return;
        };
        let has_open = slot
            .replies
            .as_ref()
            .is_some_and(|replies| !replies.is_empty());
        if slot.generation != id.generation || !has_open {
            return;
        }
        let codec = connections.listeners[usize::from(slot.listener)].codec;
        let is_http = slot.phase == Phase::Http;
        let enveloped;
        let message = match codec {
            Codec::V1 => {
                enveloped = MessagePlace::CONNECTION.envelope(message);
                Message::Text(&enveloped)
            }
            _ => message,
        };
        let length = codec.encoded_len(message);
        // The message takes over what its place has counted. An answer of HTTP is as long as it is, and not counted.
        if !is_http && !self.admit(id, length, OUTBOX_MESSAGE_COST) {
            return;
        }
        let slot = &mut self.connections.slots[id.slot];
        let Some(replies) = &mut slot.replies else {
            return;
        };
        if !replies.pass(reply.number) {
            let mut encoded = Vec::with_capacity(length);
            codec.encode(message, &mut encoded);
            return replies.keep(reply.number, encoded);
        }
        let has_filled = replies.has_filled();
        let cost = slot
            .outbox
            .push_own(length, |out| codec.encode(message, out));
        self.outboxes.queued_own(id, slot, cost);
        self.stats.messages_out += u64::from(!is_http);
        self.shed();
        if has_filled {
            self.fill_on(id);
        }
    }

    /// Queues what was kept and may leave now.
    fn fill_on(&mut self, id: ConnId) {
        let slot = self.connections.get_mut(id);
        let Some(mut replies) = slot.and_then(|slot| slot.replies.take()) else {
            return;
        };
        while let Some(encoded) = replies.next_filled() {
            if self.admit(id, encoded.len(), 0) {
                self.append(id, encoded.len(), |out| out.extend_from_slice(&encoded));
                self.stats.messages_out += 1;
            }
        }
        if let Some(slot) = self.connections.get_mut(id) {
            slot.replies = Some(replies);
        }
    }
}
