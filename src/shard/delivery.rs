//! Delivering: into one outbox, or into those of a uid, a group or everybody, each message encoded once a codec
//! and compressed once.

use super::fanout::Fanout;
use super::listener_spec::ListenerSpec;
use super::outbox::SHARED_COST;
use super::place::MessagePlace;
use super::refusals::Excess;
use super::slot::{Dirty, Phase, Slot};
use super::{ConnId, Shard};
use crate::close::CloseReason;
use crate::config::OUTBOX_MESSAGE_COST;
use crate::ident::{ConnName, Reach};
use crate::pages::Pages;
use crate::payload::Message;
use crate::protocol::Codec;

/// Up to this size a message for several uids is encoded for each that has one connection, where it joins what waits
/// there; a larger one is encoded once and shared.
pub const COPY_BYTES_MAX: usize = 4 << 10;

/// A connection that messages can be queued for, with its listener's part.
#[inline]
fn receiver<'a>(
    slots: &'a mut Pages<Slot>,
    listeners: &'a [ListenerSpec],
    id: ConnId,
) -> Option<(&'a mut Slot, &'a ListenerSpec)> {
    let slot = slots.get_mut(id.slot)?;
    let takes = slot.generation == id.generation && matches!(slot.phase, Phase::Open | Phase::Home);
    takes.then_some(())?;
    let spec = &listeners[usize::from(slot.listener)];
    Some((slot, spec))
}

impl Slot {
    /// Whether a message of this encoded size, in place of some bytes that wait, may be queued; `own` is what of it
    /// no other outbox holds. `beyond` is asked whether more than `outbox_bytes_max` may wait.
    ///
    /// What its kernel has refused, and what is held back for replies in order, is the receiver's. All else waits
    /// because we have not come to write it, and is the senders' to be slowed for ([`super::backlog`]).
    #[inline]
    fn has_room(
        &self,
        spec: &ListenerSpec,
        encoded_bytes: usize,
        own: usize,
        replaced_bytes: usize,
        beyond: impl FnOnce(Excess) -> bool,
    ) -> bool {
        let waiting = self.refused_bytes() + self.replies_bytes();
        if waiting == 0 {
            // It has refused nothing, whatever a codec makes of the largest message (3 bytes of one, or 7).
            return true;
        }
        let wanted = waiting.saturating_sub(replaced_bytes) + encoded_bytes + OUTBOX_MESSAGE_COST;
        wanted <= spec.outbox_bytes_max
            || spec.pauses
            || self.blocked
                && beyond(Excess {
                    wanted,
                    own: self.own_bytes() + own + OUTBOX_MESSAGE_COST,
                    most: spec.outbox_bytes_max,
                })
    }
}

impl Shard {
    /// Queues a message for one connection. False if it takes no more: it is closing, or this message did
    /// not fit and closes it.
    pub fn send(&mut self, id: ConnId, message: Message<'_>) -> bool {
        self.send_at(id, &MessagePlace::CONNECTION, message)
    }

    /// As [`Shard::send`], of a message that is there.
    #[inline]
    pub(super) fn send_at(
        &mut self,
        id: ConnId,
        place: &MessagePlace<'_>,
        message: Message<'_>,
    ) -> bool {
        self.queue_one(id, Some(place), message)
    }

    /// Queues a message for one connection that is what is in its codec's frame.
    pub fn send_as_told(&mut self, id: ConnId, message: Message<'_>) -> bool {
        self.queue_one(id, None, message)
    }

    #[cold]
    fn send_enveloped(
        &mut self,
        id: ConnId,
        place: &MessagePlace<'_>,
        message: Message<'_>,
    ) -> bool {
        self.queue_one(id, None, Message::Text(&place.envelope(message)))
    }

    /// Queues a message for one connection; for one that is told places, with this.
    fn queue_one(
        &mut self,
        id: ConnId,
        place: Option<&MessagePlace<'_>>,
        message: Message<'_>,
    ) -> bool {
        let Some((slot, spec)) =
            receiver(&mut self.connections.slots, &self.connections.listeners, id)
        else {
            return false;
        };
        if let Some(place) = place.filter(|_| spec.codec == Codec::V1) {
            return self.send_enveloped(id, place, message);
        }
        let mut frame = Vec::new();
        let compressed = slot
            .window
            .is_some_and(|window| self.compressor.encode(message, window, &mut frame));
        let length = match compressed {
            true => frame.len(),
            false => spec.codec.encoded_len(message),
        };
        let beyond = |excess| self.outboxes.allow(id, excess, self.clock.now());
        if !slot.has_room(spec, length, length, 0, beyond) {
            self.close(id, CloseReason::SlowConsumer);
            return false;
        }
        let cost = slot.outbox.push_own(length, |out| match compressed {
            true => out.extend_from_slice(&frame),
            false => spec.codec.encode(message, out),
        });
        self.outboxes.queued_own(id, slot, cost);
        // One message to one is part of what a call counts as, but for its bytes.
        match compressed {
            true => self.work.compressed(message.len()),
            false => self.work.copied(length),
        }
        self.stats.messages_out += 1;
        !self.shed() || self.connections.is_live(id)
    }

    /// Queues for every connection of the uid within reach, and says for how many.
    pub fn send_to_uid(&mut self, reach: Reach, uid: &str, message: Message<'_>) -> u32 {
        let mut reached = 0;
        for namespace in reach.namespaces() {
            let mut receivers = self.receivers.take();
            receivers.extend(self.uids.get(&self.connections.slots, namespace, uid));
            reached += match receivers[..] {
                [] => 0,
                [only] => {
                    receivers.clear();
                    u32::from(self.send_at(only, &MessagePlace::UID, message))
                }
                _ => {
                    let mut fanout = Fanout::new(MessagePlace::UID, message);
                    self.fan_out(&mut receivers, &mut fanout, Dirty::Urgent)
                }
            };
            self.receivers.put_back(receivers);
        }
        reached
    }

    /// Queues for every connection of each of these uids within reach, and says for how many of each. A message that
    /// is not small is encoded once for all of them.
    pub fn send_to_uids(
        &mut self,
        reach: Reach,
        uids: &[Box<str>],
        message: Message<'_>,
    ) -> Vec<u32> {
        if message.len() <= COPY_BYTES_MAX || uids.len() == 1 {
            let each = uids.iter();
            return each
                .map(|uid| self.send_to_uid(reach, uid, message))
                .collect();
        }
        let mut fanout = Fanout::new(MessagePlace::UID, message);
        let mut receivers = self.receivers.take();
        let each = uids.iter().map(|uid| {
            for namespace in reach.namespaces() {
                receivers.extend(self.uids.get(&self.connections.slots, namespace, uid));
            }
            self.fan_out(&mut receivers, &mut fanout, Dirty::Urgent)
        });
        let reached = each.collect();
        self.receivers.put_back(receivers);
        reached
    }

    /// How many of them are in a group.
    pub fn count_group(&self, reach: Reach, group: &str) -> usize {
        let groups = reach.namespaces();
        groups
            .filter_map(|namespace| self.groups.look(namespace, group))
            .map(|(count, _)| count)
            .sum()
    }

    /// Queues for everybody within reach, and says for how many.
    pub fn send_to_everybody(&mut self, reach: Reach, message: Message<'_>) -> u32 {
        let mut receivers = self.receivers.take();
        for namespace in reach.namespaces() {
            receivers.extend_from_slice(self.everybody.of(namespace));
        }
        let mut fanout = Fanout::new(MessagePlace::ALL, message);
        let reached = self.fan_out(&mut receivers, &mut fanout, Dirty::Bulk);
        self.receivers.put_back(receivers);
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
        let mut receivers = self.receivers.take();
        let mut fanout = Fanout::new(MessagePlace::group(group), message);
        let mut reached = 0;
        for namespace in reach.namespaces() {
            let found = self.groups.members(namespace, group, &mut receivers);
            fanout.refresh = found.filter(|_| refresh);
            reached += self.fan_out(&mut receivers, &mut fanout, Dirty::Bulk);
        }
        self.receivers.put_back(receivers);
        reached
    }

    /// Empties `receivers` into their outboxes. It is a copy of the table's list, because a receiver
    /// that overflows leaves the tables meanwhile.
    pub(super) fn fan_out(
        &mut self,
        receivers: &mut Vec<ConnId>,
        fanout: &mut Fanout<'_>,
        how: Dirty,
    ) -> u32 {
        self.receivers.leave_out(receivers);
        // The fan-out's own hold on the encodings keeps them from being freed, and counted as such, below.
        let before = fanout.bytes_held();
        self.work.delivered(receivers.len());
        receivers.retain(|&id| self.share(id, fanout, how));
        self.stats.messages_out += receivers.len() as u64;
        fanout.count_work(&mut self.work);
        self.outboxes
            .backlog
            .queued(std::mem::take(&mut fanout.queued));
        self.outboxes
            .backlog
            .settled(std::mem::take(&mut fanout.replaced));
        let after = fanout.bytes_held();
        self.outboxes.hold(after - before);
        if self.shed() {
            receivers.retain(|&id| self.connections.is_live(id));
            self.outboxes.free(after - fanout.bytes_held());
        }
        let reached = receivers.len() as u32;
        receivers.clear();
        reached
    }

    fn share(&mut self, id: ConnId, fanout: &mut Fanout<'_>, how: Dirty) -> bool {
        let Some((slot, spec)) =
            receiver(&mut self.connections.slots, &self.connections.listeners, id)
        else {
            return false;
        };
        let encoded = slot
            .window
            .and_then(|window| fanout.compressed(spec.codec, window, &mut self.compressor))
            .unwrap_or_else(|| fanout.encoded(spec.codec));
        let replaced = fanout
            .refresh
            .map_or(0, |of| slot.outbox.replaceable_bytes(of));
        let beyond = |excess| self.outboxes.allow(id, excess, self.clock.now());
        if !slot.has_room(spec, encoded.len(), 0, replaced, beyond) {
            self.close(id, CloseReason::SlowConsumer);
            return false;
        }
        if !slot.blocked {
            fanout.queued += encoded.len() + OUTBOX_MESSAGE_COST;
            fanout.replaced += replaced;
        }
        let freed = slot.outbox.push_shared(encoded, fanout.refresh);
        self.outboxes.hold(SHARED_COST);
        self.outboxes.free(freed);
        self.outboxes.mark(id, slot, how);
        true
    }

    /// What is sent to many from now on is not for these, as far as they are here.
    pub fn except(&mut self, reach: Reach, uids: &[Box<str>], names: &[ConnName]) {
        let named = names
            .iter()
            .filter_map(|name| self.connections.named(*name));
        self.receivers.except(named.map(|(id, _)| id));
        for uid in uids {
            for namespace in reach.namespaces() {
                let of_uid = self.uids.get(&self.connections.slots, namespace, uid);
                self.receivers.except(of_uid);
            }
        }
    }

    /// And now for everybody again.
    pub fn except_nobody(&mut self) {
        self.receivers.except_nobody();
    }

    /// Has what is sent to many from now on pass by a connection: it has got it on the core where it was.
    pub fn pass_by(&mut self, id: ConnId) {
        self.receivers.pass_by(id);
    }

    /// And now by nobody any more.
    pub fn pass_by_nobody(&mut self) {
        self.receivers.pass_by_nobody();
    }

    /// Whether a message of this encoded size, in place of some bytes that wait, may be queued; if not
    /// for its size, the connection is closed as a slow consumer.
    pub(super) fn admit(
        &mut self,
        id: ConnId,
        encoded_bytes: usize,
        replaced_bytes: usize,
    ) -> bool {
        let Some((slot, spec)) =
            receiver(&mut self.connections.slots, &self.connections.listeners, id)
        else {
            return false;
        };
        let beyond = |excess| self.outboxes.allow(id, excess, self.clock.now());
        let fits = slot.has_room(spec, encoded_bytes, encoded_bytes, replaced_bytes, beyond);
        if !fits {
            self.close(id, CloseReason::SlowConsumer);
        }
        fits
    }

    /// Queues what has been admitted.
    pub(super) fn append(&mut self, id: ConnId, length: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let slot = &mut self.connections.slots[id.slot];
        let cost = slot.outbox.push_own(length, encode);
        self.outboxes.queued_own(id, slot, cost);
        self.shed();
    }

    /// Queues bytes of the codec's own: a pong, the answer to a close, the end of a handshake.
    pub fn send_raw(&mut self, id: ConnId, encode: impl FnOnce(Codec, &mut Vec<u8>)) {
        let Some(slot) = self.connections.get(id) else {
            return;
        };
        let spec = &self.connections.listeners[usize::from(slot.listener)];
        let codec = spec.codec;
        // A peer that pings and does not read must not grow its outbox without end.
        let excess = Excess {
            wanted: slot.refused_bytes(),
            own: slot.own_bytes(),
            most: spec.outbox_bytes_max,
        };
        if excess.wanted > excess.most && !self.outboxes.allow(id, excess, self.clock.now()) {
            self.close(id, CloseReason::SlowConsumer);
            return;
        }
        self.append(id, 0, |out| encode(codec, out));
    }

    /// Keeps the core's sum under its limit: those whose kernel has refused bytes go first, the fullest before the
    /// others, down to seven eighths of it, so that the search is not repeated for each message. What is left is what
    /// we have not come to write: an app has queued more than it had room for. Whether any had to go.
    pub(super) fn shed(&mut self) -> bool {
        if !self.outboxes.are_over() {
            return false;
        }
        let mut waiting: Vec<(bool, usize, ConnId)> = self
            .connections
            .ids()
            .into_iter()
            .filter(|id| self.connections.phase(*id) != Phase::Opening)
            .map(|id| {
                let slot = &self.connections.slots[id.slot];
                (slot.blocked, slot.outbox.bytes(), id)
            })
            .filter(|(_, bytes, _)| *bytes > 0)
            .collect();
        waiting.sort_unstable_by_key(|(blocked, bytes, _)| std::cmp::Reverse((*blocked, *bytes)));
        for (blocked, bytes, id) in waiting {
            if self.outboxes.have_room_again() {
                break;
            }
            let reason = match blocked {
                true => CloseReason::SlowConsumer,
                false => CloseReason::Overloaded,
            };
            self.begin_end(id, reason, reason.text(), true);
            // One that was closing already, or of which the kernel has a piece of something large, still
            // holds most of it. Others must not go in its place.
            if self.connections.slots[id.slot].outbox.bytes() > bytes / 2 {
                self.abandon(id);
            }
        }
        true
    }

    /// Drops all that waits for a closing connection, which can then be cut off only.
    fn abandon(&mut self, id: ConnId) {
        let slot = &mut self.connections.slots[id.slot];
        if !slot.blocked {
            self.outboxes.backlog.settled(slot.outbox.bytes());
        }
        let freed = slot.outbox.clear();
        self.outboxes.free(freed);
        self.endings.cut_off(id);
        #[cfg(test)]
        self.endings.abandoned.insert(id);
    }
}
