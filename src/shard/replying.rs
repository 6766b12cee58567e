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
        let Some(codec) = self.connections.listener(id).map(|listener| listener.codec) else {
            return;
        };
        let enveloped;
        let message = match codec {
            Codec::V1 => {
                enveloped = MessagePlace::CONNECTION.envelope(message);
                Message::Text(&enveloped)
            }
            _ => message,
        };
        // The message takes over what its place has counted. An answer of HTTP is as long as it is, and not counted.
        let is_http = self.connections.phase(id) == Phase::Http;
        if !self.connections.has_open_replies(id)
            || !is_http && !self.admit(id, codec.encoded_len(message), OUTBOX_MESSAGE_COST)
        {
            return;
        }
        let Some(mut replies) = self
            .connections
            .get_mut(id)
            .and_then(|slot| slot.replies.take())
        else {
            return;
        };
        if replies.pass(reply.number) {
            self.append(id, codec.encoded_len(message), |out| {
                codec.encode(message, out)
            });
            self.stats.messages_out += u64::from(!is_http);
            while let Some(encoded) = replies.next_filled() {
                if self.admit(id, encoded.len(), 0) {
                    self.append(id, encoded.len(), |out| out.extend_from_slice(&encoded));
                    self.stats.messages_out += 1;
                }
            }
        } else {
            let mut encoded = Vec::with_capacity(codec.encoded_len(message));
            codec.encode(message, &mut encoded);
            replies.keep(reply.number, encoded);
        }
        if let Some(slot) = self.connections.get_mut(id) {
            slot.replies = Some(replies);
        }
    }
}
