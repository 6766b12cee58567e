//! The order of one connection's replies: places are reserved in the order of the questions, and leave in
//! that order whenever their contents become known.
//!
//! Bound: with what its outbox holds, `outbox_bytes_max`. Past it a connection is not read, or is closed,
//! as its listener's app has it.

use std::collections::VecDeque;

use super::Shard;
use super::slot::Slot;
use crate::close::CloseReason;
use crate::config::OUTBOX_MESSAGE_COST;
use crate::ident::{ConnId, Reply};
use crate::payload::Message;

#[derive(Default)]
pub struct Replies {
    /// The number of the first place still here.
    first: u32,
    places: VecDeque<Option<Vec<u8>>>,
    /// Encoded bytes held in filled places.
    bytes: usize,
}

impl Replies {
    /// Takes the next place.
    pub fn reserve(&mut self) -> u32 {
        let number = self.first.wrapping_add(self.places.len() as u32);
        self.places.push_back(None);
        number
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes held back, each reserved place counting as a message.
    pub fn bytes(&self) -> usize {
        self.bytes + self.places.len() * OUTBOX_MESSAGE_COST
    }

    /// Fills a place; what can leave now is handed to `leave` in order. A place that is not open (filled
    /// before) is ignored.
    pub fn fill(&mut self, number: u32, encoded: Vec<u8>, mut leave: impl FnMut(Vec<u8>)) {
        let at = number.wrapping_sub(self.first) as usize;
        match self.places.get_mut(at) {
            Some(place @ None) => {
                self.bytes += encoded.len();
                *place = Some(encoded);
            }
            _ => return,
        }
        while let Some(Some(_)) = self.places.front() {
            if let Some(Some(encoded)) = self.places.pop_front() {
                self.first = self.first.wrapping_add(1);
                self.bytes -= encoded.len();
                leave(encoded);
            }
        }
        if self.places.is_empty() {
            self.places = VecDeque::new();
        }
    }
}

impl Slot {
    /// What open replies count against the outbox's limit.
    pub fn replies_bytes(&self) -> usize {
        self.replies.as_ref().map_or(0, |replies| replies.bytes())
    }
}

impl Shard {
    /// Takes the next place in the connection's order of replies.
    pub fn reserve(&mut self, id: ConnId) -> Reply {
        let number = self
            .get_mut(id)
            .map_or(0, |slot| slot.replies.get_or_insert_default().reserve());
        if let Some(slot) = self.get(id) {
            let spec = &self.listeners[usize::from(slot.listener)];
            let held = slot.outbox.bytes() + slot.replies_bytes();
            if held > spec.outbox_bytes_max && !spec.pauses {
                self.close(id, CloseReason::SlowConsumer);
            }
        }
        Reply {
            connection: id,
            number,
        }
    }

    /// Whether replies are open, which cannot move to another core.
    pub fn has_open_replies(&self, id: ConnId) -> bool {
        self.get(id)
            .and_then(|slot| slot.replies.as_ref())
            .is_some_and(|replies| !replies.is_empty())
    }

    /// Fills a reserved place; what can leave in order is queued.
    pub fn fill(&mut self, reply: Reply, message: Message<'_>) {
        let id = reply.connection;
        let Some(codec) = self.listener(id).map(|listener| listener.codec) else {
            return;
        };
        // The message takes over what its place has counted.
        if !self.has_open_replies(id)
            || !self.admit(id, codec.encoded_len(message), OUTBOX_MESSAGE_COST)
        {
            return;
        }
        let Some(mut replies) = self.get_mut(id).and_then(|slot| slot.replies.take()) else {
            return;
        };
        let mut encoded = Vec::with_capacity(codec.encoded_len(message));
        codec.encode(message, &mut encoded);
        replies.fill(reply.number, encoded, |encoded| {
            if self.admit(id, encoded.len(), 0) {
                self.append(id, |out| out.extend_from_slice(&encoded));
                self.stats.messages_out += 1;
            }
        });
        if let Some(slot) = self.get_mut(id)
            && !replies.is_empty()
        {
            slot.replies = Some(replies);
        }
    }

    /// Whether a connection that pauses when full is full: not to be read until half has left.
    pub fn is_full(&self, id: ConnId) -> bool {
        let Some(slot) = self.get(id) else {
            return false;
        };
        let spec = &self.listeners[usize::from(slot.listener)];
        if !spec.pauses {
            return false;
        }
        let most = if slot.paused {
            spec.outbox_bytes_max / 2
        } else {
            spec.outbox_bytes_max
        };
        slot.outbox.bytes() + slot.replies_bytes() >= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_in_the_order_reserved() {
        let mut replies = Replies::default();
        let numbers: Vec<u32> = (0..4).map(|_| replies.reserve()).collect();
        let mut left = Vec::new();
        for at in [2, 0, 3, 1] {
            replies.fill(numbers[at], vec![at as u8], |bytes| left.push(bytes[0]));
        }
        assert_eq!(left, [0, 1, 2, 3]);
        assert!(replies.is_empty());
        assert_eq!(replies.bytes(), 0);
    }

    #[test]
    fn a_place_is_filled_once() {
        let mut replies = Replies::default();
        let first = replies.reserve();
        let second = replies.reserve();
        let mut left = Vec::new();
        replies.fill(second, vec![1], |bytes| left.push(bytes));
        replies.fill(second, vec![2], |bytes| left.push(bytes));
        replies.fill(first, vec![0], |bytes| left.push(bytes));
        replies.fill(first, vec![9], |bytes| left.push(bytes));
        assert_eq!(left, [vec![0], vec![1]]);
    }
}
