//! Delivering: into one outbox, or into those of a uid, a group or everybody, each message encoded once a codec.

use std::io::IoSlice;
use std::rc::Rc;

use super::slot::{Dirty, Phase};
use super::{ConnId, Shard};
use crate::close::CloseReason;
use crate::config::OUTBOX_MESSAGE_COST;
use crate::ident::{Reach, Reply};
use crate::payload::Message;
use crate::protocol::Codec;

/// Up to this size a message for one uid's few connections is copied into each outbox, where it joins
/// what waits there; a larger one, and any for many, is encoded once and shared.
const COPY_BYTES_MAX: usize = 4 << 10;

const CODECS: usize = Codec::Frame as usize + 1;

/// A message on its way to many: its encodings, made when a receiver first needs one.
struct Fanout<'m> {
    message: Message<'m>,
    /// The group that it refreshes.
    refreshes: Option<u64>,
    encoded: [Option<Rc<[u8]>>; CODECS],
}

impl<'m> Fanout<'m> {
    fn new(message: Message<'m>) -> Fanout<'m> {
        Fanout {
            message,
            refreshes: None,
            encoded: [const { None }; CODECS],
        }
    }

    fn encoded(&mut self, codec: Codec) -> Rc<[u8]> {
        let message = self.message;
        let encoded = self.encoded[codec as usize].get_or_insert_with(|| {
            let mut bytes = Vec::with_capacity(codec.encoded_len(message));
            codec.encode(message, &mut bytes);
            Rc::from(bytes)
        });
        Rc::clone(encoded)
    }
}

impl Shard {
    /// Queues a message for one connection. False if it takes no more: it is closing, or this message did
    /// not fit and closes it.
    pub fn send(&mut self, id: ConnId, message: Message<'_>) -> bool {
        let Some(listener) = self.listener(id) else {
            return false;
        };
        let codec = listener.codec;
        if !self.admit(id, codec.encoded_len(message)) {
            return false;
        }
        self.append(id, |out| codec.encode(message, out));
        self.stats.messages_out += 1;
        true
    }

    /// Queues for every connection of the uid within reach, and says for how many.
    pub fn send_to_uid(&mut self, reach: Reach, uid: &str, message: Message<'_>) -> u32 {
        let mut reached = 0;
        for space in reach.spaces() {
            match self.uids.get(space, uid) {
                [] => {}
                &[only] if message.len() <= COPY_BYTES_MAX => {
                    reached += u32::from(self.send(only, message));
                }
                many => {
                    let mut receivers = std::mem::take(&mut self.receivers);
                    receivers.extend_from_slice(many);
                    let mut fanout = Fanout::new(message);
                    reached += self.fan_out(&mut receivers, &mut fanout, Dirty::Urgent);
                    self.receivers = receivers;
                }
            }
        }
        reached
    }

    /// Queues for everybody within reach, and says for how many.
    pub fn send_to_everybody(&mut self, reach: Reach, message: Message<'_>) -> u32 {
        let mut receivers = std::mem::take(&mut self.receivers);
        for space in reach.spaces() {
            receivers.extend_from_slice(&self.everybody[usize::from(space.0)]);
        }
        let reached = self.fan_out(&mut receivers, &mut Fanout::new(message), Dirty::Bulk);
        self.receivers = receivers;
        reached
    }

    /// Queues for every connection of the group within reach. A `refresh` takes the place of an
    /// earlier one of this group that still waits.
    pub fn send_to_group(
        &mut self,
        reach: Reach,
        group: &str,
        message: Message<'_>,
        refresh: bool,
    ) -> u32 {
        let mut receivers = std::mem::take(&mut self.receivers);
        let mut fanout = Fanout::new(message);
        let mut reached = 0;
        for space in reach.spaces() {
            let found = self.groups.members(space, group, &mut receivers);
            fanout.refreshes = found.filter(|_| refresh);
            reached += self.fan_out(&mut receivers, &mut fanout, Dirty::Bulk);
        }
        self.receivers = receivers;
        reached
    }

    /// Empties `receivers` into their outboxes. It is a copy of the table's list, because a receiver
    /// that overflows leaves the tables meanwhile.
    fn fan_out(&mut self, receivers: &mut Vec<ConnId>, fanout: &mut Fanout<'_>, how: Dirty) -> u32 {
        let mut reached = 0;
        for id in receivers.drain(..) {
            let Some(listener) = self.listener(id) else {
                continue;
            };
            let encoded = fanout.encoded(listener.codec);
            if !self.admit(id, encoded.len()) {
                continue;
            }
            let slot = &mut self.slots[id.slot as usize];
            let (cost, freed) = slot.outbox.push_shared(encoded, fanout.refreshes);
            self.outbox_bytes = self.outbox_bytes + cost - freed;
            self.mark_dirty(id, how);
            reached += 1;
        }
        self.stats.messages_out += u64::from(reached);
        self.shed();
        reached
    }

    /// Whether a message of this encoded size may be queued; if not for its size, the connection is
    /// closed as a slow consumer.
    fn admit(&mut self, id: ConnId, encoded_bytes: usize) -> bool {
        let Some(slot) = self.get(id) else {
            return false;
        };
        if !matches!(slot.phase, Phase::Open | Phase::Home) {
            return false;
        }
        let spec = &self.listeners[usize::from(slot.listener)];
        let fits =
            slot.outbox.bytes() + encoded_bytes + OUTBOX_MESSAGE_COST <= spec.outbox_bytes_max;
        if !fits && !spec.pauses {
            self.close(id, CloseReason::SlowConsumer);
            return false;
        }
        true
    }

    fn append(&mut self, id: ConnId, encode: impl FnOnce(&mut Vec<u8>)) {
        let cost = self.slots[id.slot as usize].outbox.push_own(encode);
        self.outbox_bytes += cost;
        self.mark_dirty(id, Dirty::Urgent);
        self.shed();
    }

    /// Queues bytes of the codec's own: a pong, the answer to a close, the end of a handshake.
    pub fn send_raw(&mut self, id: ConnId, encode: impl FnOnce(Codec, &mut Vec<u8>)) {
        let Some(slot) = self.get(id) else { return };
        let spec = &self.listeners[usize::from(slot.listener)];
        let codec = spec.codec;
        // A peer that pings and does not read must not grow its outbox without end.
        if slot.outbox.bytes() > spec.outbox_bytes_max {
            self.close(id, CloseReason::SlowConsumer);
            return;
        }
        self.append(id, |out| encode(codec, out));
    }

    /// Takes the next place in the connection's order of replies.
    pub fn reserve(&mut self, id: ConnId) -> Reply {
        let number = self
            .get_mut(id)
            .map_or(0, |slot| slot.replies.get_or_insert_default().reserve());
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
        let Some(mut replies) = self.get_mut(id).and_then(|slot| slot.replies.take()) else {
            return;
        };
        let mut encoded = Vec::with_capacity(codec.encoded_len(message));
        codec.encode(message, &mut encoded);
        replies.fill(reply.number, encoded, |encoded| {
            if self.admit(id, encoded.len()) {
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
        let held = slot
            .replies
            .as_ref()
            .map_or(0, |replies| replies.bytes(OUTBOX_MESSAGE_COST));
        let most = if slot.paused {
            spec.outbox_bytes_max / 2
        } else {
            spec.outbox_bytes_max
        };
        slot.outbox.bytes() + held >= most
    }

    /// Keeps the core's sum under its limit: the fullest go first, down to seven eighths of it, so
    /// that the search is not repeated for each message.
    fn shed(&mut self) {
        let most = self.limits.outbox_bytes_core;
        if self.outbox_bytes <= most {
            return;
        }
        let mut waiting: Vec<(usize, ConnId)> = self
            .ids()
            .into_iter()
            .filter(|id| matches!(self.phase(*id), Phase::Open | Phase::Home))
            .map(|id| (self.slots[id.slot as usize].outbox.bytes(), id))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        waiting.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, id) in waiting {
            if self.outbox_bytes <= most - most / 8 {
                break;
            }
            self.close(id, CloseReason::SlowConsumer);
        }
    }

    /// The next connection to be written, those with messages of their own first; `bulk` says whether
    /// those that only a broadcast made dirty may come, too.
    pub fn next_dirty(&mut self, bulk: bool) -> Option<ConnId> {
        loop {
            let (id, level) = match self.urgent.pop_front() {
                Some(id) => (id, Dirty::Urgent),
                None if bulk => (self.bulk.pop_front()?, Dirty::Bulk),
                None => return None,
            };
            // An entry of the bulk list is stale once a message of its own has made it urgent.
            if let Some(slot) = self.get_mut(id)
                && slot.dirty == level
            {
                slot.dirty = Dirty::Clean;
                if !slot.blocked {
                    return Some(id);
                }
            }
        }
    }

    /// Whether something is left to be written by a later turn.
    pub fn has_dirty(&self) -> bool {
        !self.urgent.is_empty() || !self.bulk.is_empty()
    }

    /// Fills `slices` with what waits for the connection.
    pub fn gather<'a>(&'a self, id: ConnId, slices: &mut [IoSlice<'a>]) -> usize {
        self.get(id).map_or(0, |slot| slot.outbox.gather(slices))
    }

    pub fn outbox_is_empty(&self, id: ConnId) -> bool {
        self.get(id).is_none_or(|slot| slot.outbox.is_empty())
    }

    /// The kernel has taken this much.
    pub fn written(&mut self, id: ConnId, bytes: usize) {
        let now = self.now;
        self.stats.bytes_out += bytes as u64;
        let Some(slot) = self.get_mut(id) else { return };
        let freed = slot.outbox.advance(bytes);
        if slot.phase == Phase::Closing {
            // A peer that still takes its last messages is not cut off.
            slot.since = now;
        }
        self.outbox_bytes -= freed;
    }

    /// The kernel takes no more until the connection is writable again.
    pub fn set_blocked(&mut self, id: ConnId, blocked: bool) {
        if let Some(slot) = self.get_mut(id) {
            slot.blocked = blocked;
            if !blocked && !slot.outbox.is_empty() {
                self.mark_dirty(id, Dirty::Urgent);
            }
        }
    }
}
