//! Delivering: into one outbox, or into those of a uid, a group or everybody, each message encoded once a codec
//! and compressed once.

use std::rc::Rc;

use super::outbox::SHARED_COST;
use super::slot::{Dirty, Phase};
use super::{ConnId, Shard};
use crate::close::CloseReason;
use crate::config::OUTBOX_MESSAGE_COST;
use crate::ident::Reach;
use crate::payload::Message;
use crate::protocol::Codec;
use crate::protocol::websocket::deflate::Compressor;
use crate::protocol::websocket::extension::Window;

/// Up to this size a message for a uid's only connection is encoded into its outbox, where it joins
/// what waits there; a larger one, and any for several, is encoded once and shared.
const COPY_BYTES_MAX: usize = 4 << 10;

/// Of so many connections written, one is one that only a broadcast made dirty.
const BULK_SHARE: u32 = 4;

const CODECS: usize = Codec::Frame as usize + 1;

/// A message on its way to many: its encodings, made when a receiver first needs one.
struct Fanout<'m> {
    message: Message<'m>,
    /// Of which group it is a refresh, if it is one.
    refresh: Option<u64>,
    encoded: [Option<Rc<[u8]>>; CODECS],
    /// For those who have agreed on compression; an inner `None` if it is not worth while.
    compressed: Option<Option<Rc<[u8]>>>,
}

impl<'m> Fanout<'m> {
    fn new(message: Message<'m>) -> Fanout<'m> {
        Fanout {
            message,
            refresh: None,
            encoded: [const { None }; CODECS],
            compressed: None,
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

    /// For one who has agreed on compression with this window.
    fn compressed(&mut self, window: Window, compressor: &mut Compressor) -> Option<Rc<[u8]>> {
        if !window.holds(self.message.len()) {
            return None;
        }
        let message = self.message;
        let compressed = self.compressed.get_or_insert_with(|| {
            let mut bytes = Vec::new();
            let done = compressor.encode(message, window, &mut bytes);
            done.then(|| Rc::from(bytes))
        });
        compressed.clone()
    }

    /// The bytes of the encodings that wait in some outbox.
    fn bytes_held(&self) -> usize {
        let held = self
            .encoded
            .iter()
            .chain(self.compressed.as_slice())
            .flatten();
        held.filter(|encoded| Rc::strong_count(encoded) > 1)
            .map(|encoded| encoded.len())
            .sum()
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
        if let Some(window) = self.window(id)
            && let Some(sent) = self.send_compressed(id, window, message)
        {
            return sent;
        }
        if !self.admit(id, codec.encoded_len(message), 0) {
            return false;
        }
        self.stats.messages_out += 1;
        self.append(id, |out| codec.encode(message, out))
    }

    fn window(&self, id: ConnId) -> Option<Window> {
        self.slots[id.slot as usize].window
    }

    /// The same for one that has agreed on compression; `None` if this message had better go as it is.
    fn send_compressed(
        &mut self,
        id: ConnId,
        window: Window,
        message: Message<'_>,
    ) -> Option<bool> {
        let mut frame = Vec::new();
        if !self.compressor.encode(message, window, &mut frame) {
            return None;
        }
        let admitted = self.admit(id, frame.len(), 0);
        self.stats.messages_out += u64::from(admitted);
        Some(admitted && self.append(id, |out| out.extend_from_slice(&frame)))
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
                    reached +=
                        self.fan_out(&mut receivers, &mut Fanout::new(message), Dirty::Urgent);
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
    /// earlier one of the same group that still waits.
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
            fanout.refresh = found.filter(|_| refresh);
            reached += self.fan_out(&mut receivers, &mut fanout, Dirty::Bulk);
        }
        self.receivers = receivers;
        reached
    }

    /// Empties `receivers` into their outboxes. It is a copy of the table's list, because a receiver
    /// that overflows leaves the tables meanwhile.
    fn fan_out(&mut self, receivers: &mut Vec<ConnId>, fanout: &mut Fanout<'_>, how: Dirty) -> u32 {
        // The fan-out's own hold on the encodings keeps them from being freed, and counted as such, below.
        let before = fanout.bytes_held();
        receivers.retain(|&id| self.share(id, fanout, how));
        self.stats.messages_out += receivers.len() as u64;
        let after = fanout.bytes_held();
        self.outbox_bytes += after - before;
        if self.shed() {
            receivers.retain(|&id| self.is_live(id));
            self.outbox_bytes -= after - fanout.bytes_held();
        }
        let reached = receivers.len() as u32;
        receivers.clear();
        reached
    }

    fn share(&mut self, id: ConnId, fanout: &mut Fanout<'_>, how: Dirty) -> bool {
        let Some(listener) = self.listener(id) else {
            return false;
        };
        let codec = listener.codec;
        let encoded = self
            .window(id)
            .and_then(|window| fanout.compressed(window, &mut self.compressor))
            .unwrap_or_else(|| fanout.encoded(codec));
        let outbox = &self.slots[id.slot as usize].outbox;
        let replaced = fanout.refresh.map_or(0, |of| outbox.replaceable_bytes(of));
        if !self.admit(id, encoded.len(), replaced) {
            return false;
        }
        let slot = &mut self.slots[id.slot as usize];
        let freed = slot.outbox.push_shared(encoded, fanout.refresh);
        self.outbox_bytes = self.outbox_bytes + SHARED_COST - freed;
        self.mark_dirty(id, how);
        true
    }

    fn is_live(&self, id: ConnId) -> bool {
        matches!(self.phase(id), Phase::Open | Phase::Home)
    }

    /// Whether a message of this encoded size, in place of some bytes that wait, may be queued; if not
    /// for its size, the connection is closed as a slow consumer.
    pub(super) fn admit(
        &mut self,
        id: ConnId,
        encoded_bytes: usize,
        replaced_bytes: usize,
    ) -> bool {
        let Some(slot) = self.get(id) else {
            return false;
        };
        if !matches!(slot.phase, Phase::Open | Phase::Home) {
            return false;
        }
        let spec = &self.listeners[usize::from(slot.listener)];
        let waiting = slot.outbox.bytes() + slot.replies_bytes() - replaced_bytes;
        let fits = waiting + encoded_bytes + OUTBOX_MESSAGE_COST <= spec.outbox_bytes_max;
        if !fits && !spec.pauses {
            self.close(id, CloseReason::SlowConsumer);
            return false;
        }
        true
    }

    /// Queues what has been admitted. False if the core's sum has cost the connection its outbox.
    pub(super) fn append(&mut self, id: ConnId, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let cost = self.slots[id.slot as usize].outbox.push_own(encode);
        self.outbox_bytes += cost;
        self.mark_dirty(id, Dirty::Urgent);
        !self.shed() || self.is_live(id)
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

    /// Keeps the core's sum under its limit: the fullest go first, down to seven eighths of it, so
    /// that the search is not repeated for each message. Whether any had to.
    fn shed(&mut self) -> bool {
        let most = self.limits.outbox_bytes_core;
        if self.outbox_bytes <= most {
            return false;
        }
        let mut waiting: Vec<(usize, ConnId)> = self
            .ids()
            .into_iter()
            .filter(|id| self.phase(*id) != Phase::Opening)
            .map(|id| (self.slots[id.slot as usize].outbox.bytes(), id))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        waiting.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, id) in waiting {
            if self.outbox_bytes <= most - most / 8 {
                break;
            }
            self.close(id, CloseReason::SlowConsumer);
            // One that was closing already, or of which the kernel has a piece of something large, still
            // holds most of it. Others must not go in its place.
            if self.slots[id.slot as usize].outbox.bytes() > bytes / 2 {
                self.abandon(id);
            }
        }
        true
    }

    /// Drops all that waits for a closing connection, which can then be cut off only.
    fn abandon(&mut self, id: ConnId) {
        let freed = self.slots[id.slot as usize].outbox.clear();
        self.outbox_bytes -= freed;
        self.overdue.push(id);
        #[cfg(test)]
        self.abandoned.insert(id);
    }

    /// The next connection to be written, those with messages of their own first; `bulk` says whether
    /// those that only a broadcast made dirty may come, too. One place in [`BULK_SHARE`] is theirs: where
    /// others talk without a pause, who only listens would never be written, and be closed for it.
    pub fn next_dirty(&mut self, bulk: bool) -> Option<ConnId> {
        loop {
            self.picks = self.picks.wrapping_add(1);
            let turn_of_bulk = bulk && self.picks.is_multiple_of(BULK_SHARE);
            let first = turn_of_bulk.then(|| self.bulk.pop_front()).flatten();
            let (id, level) = match first {
                Some(id) => (id, Dirty::Bulk),
                None => match self.urgent.pop_front() {
                    Some(id) => (id, Dirty::Urgent),
                    None if bulk => (self.bulk.pop_front()?, Dirty::Bulk),
                    None => return None,
                },
            };
            let Some(slot) = self.get_mut(id) else {
                continue;
            };
            slot.in_bulk &= level != Dirty::Bulk;
            // An entry of the bulk list is stale once a message of its own has made it urgent.
            if slot.dirty == level {
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

    /// What waits for the connection, in pieces.
    pub fn pieces(&self, id: ConnId) -> impl Iterator<Item = &[u8]> {
        self.get(id)
            .into_iter()
            .flat_map(|slot| slot.outbox.pieces())
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
            // Where nothing waits any more, a closing one is still to be ended.
            if !blocked && (!slot.outbox.is_empty() || slot.phase == Phase::Closing) {
                self.mark_dirty(id, Dirty::Urgent);
            }
        }
    }
}
