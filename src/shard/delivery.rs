//! Delivering: into one outbox, or into those of a uid, a group or everybody, each message encoded once a codec
//! and compressed once.

use std::rc::Rc;

use super::limits::LIST_KEPT;
use super::listener_spec::ListenerSpec;
use super::outbox::SHARED_COST;
use super::refusals::Excess;
use super::slot::{Dirty, Phase, Slot};
use super::work::Work;
use super::{ConnId, Shard};
use crate::close::CloseReason;
use crate::config::OUTBOX_MESSAGE_COST;
use crate::ident::Reach;
use crate::pages::Pages;
use crate::payload::Message;
use crate::protocol::websocket::deflate::Compressor;
use crate::protocol::websocket::extension::Window;
use crate::protocol::{CODECS, Codec};

/// Up to this size a message for several uids is encoded for each that has one connection, where it joins what waits
/// there; a larger one is encoded once and shared.
const COPY_BYTES_MAX: usize = 4 << 10;

/// A message on its way to many: its encodings, made when a receiver first needs one.
pub(super) struct Fanout<'m> {
    message: Message<'m>,
    /// Of which group it is a refresh, if it is one.
    pub(super) refresh: Option<u64>,
    encoded: [Option<Rc<[u8]>>; CODECS],
    /// For those who have agreed on compression; an inner `None` if it is not worth while.
    compressed: Option<Option<Rc<[u8]>>>,
    /// Encodings made, and whether it was compressed, that have not been counted as work.
    made: usize,
    pressed: bool,
    /// What has been queued where it is for us to write, and what that has replaced; not counted yet.
    queued: usize,
    replaced: usize,
}

impl<'m> Fanout<'m> {
    pub(super) fn new(message: Message<'m>) -> Fanout<'m> {
        Fanout {
            message,
            refresh: None,
            encoded: [const { None }; CODECS],
            compressed: None,
            made: 0,
            pressed: false,
            queued: 0,
            replaced: 0,
        }
    }

    fn encoded(&mut self, codec: Codec) -> Rc<[u8]> {
        let message = self.message;
        let made = &mut self.made;
        let encoded = self.encoded[codec as usize].get_or_insert_with(|| {
            *made += 1;
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
        let pressed = &mut self.pressed;
        let compressed = self.compressed.get_or_insert_with(|| {
            *pressed = true;
            let mut bytes = Vec::new();
            let done = compressor.encode(message, window, &mut bytes);
            done.then(|| Rc::from(bytes))
        });
        compressed.clone()
    }

    /// What it has taken to make them, since this was last asked.
    fn count_work(&mut self, work: &mut Work) {
        work.copied(std::mem::take(&mut self.made) * self.message.len());
        if std::mem::take(&mut self.pressed) {
            work.compressed(self.message.len());
        }
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
        let Some((slot, spec)) =
            receiver(&mut self.connections.slots, &self.connections.listeners, id)
        else {
            return false;
        };
        let mut frame = Vec::new();
        let compressed = slot
            .window
            .is_some_and(|window| self.compressor.encode(message, window, &mut frame));
        let length = match compressed {
            true => frame.len(),
            false => spec.codec.encoded_len(message),
        };
        let beyond = |excess| {
            self.refusals
                .allow(id, excess, self.outbox_bytes, self.clock.now())
        };
        if !slot.has_room(spec, length, length, 0, beyond) {
            self.close(id, CloseReason::SlowConsumer);
            return false;
        }
        let cost = slot.outbox.push_own(length, |out| match compressed {
            true => out.extend_from_slice(&frame),
            false => spec.codec.encode(message, out),
        });
        self.outbox_bytes += cost;
        if !slot.blocked {
            self.backlog.queued(cost);
        }
        // One message to one is part of what a call counts as, but for its bytes.
        match compressed {
            true => self.work.compressed(message.len()),
            false => self.work.copied(length),
        }
        self.dirty.mark(id, slot, Dirty::Urgent);
        self.stats.messages_out += 1;
        !self.shed() || self.connections.is_live(id)
    }

    /// Queues for every connection of the uid within reach, and says for how many.
    pub fn send_to_uid(&mut self, reach: Reach, uid: &str, message: Message<'_>) -> u32 {
        let mut reached = 0;
        for space in reach.spaces() {
            let mut receivers = std::mem::take(&mut self.receivers);
            receivers.extend(self.uids.get(&self.connections.slots, space, uid));
            reached += match receivers[..] {
                [] => 0,
                [only] => {
                    receivers.clear();
                    u32::from(self.send(only, message))
                }
                _ => self.fan_out(&mut receivers, &mut Fanout::new(message), Dirty::Urgent),
            };
            self.receivers = receivers;
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
        let mut fanout = Fanout::new(message);
        let mut receivers = std::mem::take(&mut self.receivers);
        let each = uids.iter().map(|uid| {
            for space in reach.spaces() {
                receivers.extend(self.uids.get(&self.connections.slots, space, uid));
            }
            self.fan_out(&mut receivers, &mut fanout, Dirty::Urgent)
        });
        let reached = each.collect();
        self.receivers = receivers;
        reached
    }

    /// How many of them are in a group.
    pub fn count_group(&self, reach: Reach, group: &str) -> usize {
        let groups = reach.spaces();
        groups
            .filter_map(|space| self.groups.look(space, group))
            .map(|(count, _)| count)
            .sum()
    }

    /// Queues for everybody within reach, and says for how many.
    pub fn send_to_everybody(&mut self, reach: Reach, message: Message<'_>) -> u32 {
        let mut receivers = std::mem::take(&mut self.receivers);
        for space in reach.spaces() {
            receivers.extend_from_slice(self.everybody.of(space));
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
    pub(super) fn fan_out(
        &mut self,
        receivers: &mut Vec<ConnId>,
        fanout: &mut Fanout<'_>,
        how: Dirty,
    ) -> u32 {
        if !self.passed_by.is_empty() {
            let passed_by = &self.passed_by;
            receivers.retain(|id| !passed_by.contains(id));
        }
        // The fan-out's own hold on the encodings keeps them from being freed, and counted as such, below.
        let before = fanout.bytes_held();
        self.work.delivered(receivers.len());
        receivers.retain(|&id| self.share(id, fanout, how));
        self.stats.messages_out += receivers.len() as u64;
        fanout.count_work(&mut self.work);
        self.backlog.queued(std::mem::take(&mut fanout.queued));
        self.backlog.settled(std::mem::take(&mut fanout.replaced));
        let after = fanout.bytes_held();
        self.outbox_bytes += after - before;
        if self.shed() {
            receivers.retain(|&id| self.connections.is_live(id));
            self.outbox_bytes -= after - fanout.bytes_held();
        }
        let reached = receivers.len() as u32;
        receivers.clear();
        receivers.shrink_to(LIST_KEPT);
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
            .and_then(|window| fanout.compressed(window, &mut self.compressor))
            .unwrap_or_else(|| fanout.encoded(spec.codec));
        let replaced = fanout
            .refresh
            .map_or(0, |of| slot.outbox.replaceable_bytes(of));
        let beyond = |excess| {
            self.refusals
                .allow(id, excess, self.outbox_bytes, self.clock.now())
        };
        if !slot.has_room(spec, encoded.len(), 0, replaced, beyond) {
            self.close(id, CloseReason::SlowConsumer);
            return false;
        }
        if !slot.blocked {
            fanout.queued += encoded.len() + OUTBOX_MESSAGE_COST;
            fanout.replaced += replaced;
        }
        let freed = slot.outbox.push_shared(encoded, fanout.refresh);
        self.outbox_bytes = self.outbox_bytes + SHARED_COST - freed;
        self.dirty.mark(id, slot, how);
        true
    }

    /// Has what is sent to many from now on pass by a connection: it has got it on the core where it was.
    pub fn pass_by(&mut self, id: ConnId) {
        self.passed_by.insert(id);
    }

    /// And now by nobody any more.
    pub fn pass_by_nobody(&mut self) {
        self.passed_by.clear();
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
        let beyond = |excess| {
            self.refusals
                .allow(id, excess, self.outbox_bytes, self.clock.now())
        };
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
        self.outbox_bytes += cost;
        if !slot.blocked {
            self.backlog.queued(cost);
        }
        self.dirty.mark(id, slot, Dirty::Urgent);
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
        if excess.wanted > excess.most
            && !self
                .refusals
                .allow(id, excess, self.outbox_bytes, self.clock.now())
        {
            self.close(id, CloseReason::SlowConsumer);
            return;
        }
        self.append(id, 0, |out| encode(codec, out));
    }

    /// Keeps the core's sum under its limit: those whose kernel has refused bytes go first, the fullest before the
    /// others, down to seven eighths of it, so that the search is not repeated for each message. What is left is what
    /// we have not come to write: an app has queued more than it had room for. Whether any had to go.
    fn shed(&mut self) -> bool {
        let most = self.limits.outbox_bytes_core;
        if self.outbox_bytes <= most {
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
            if self.outbox_bytes <= most - most / 8 {
                break;
            }
            let reason = match blocked {
                true => CloseReason::SlowConsumer,
                false => CloseReason::Overloaded,
            };
            self.begin_end(id, reason, true);
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
            self.backlog.settled(slot.outbox.bytes());
        }
        let freed = slot.outbox.clear();
        self.outbox_bytes -= freed;
        self.endings.cut_off(id);
        #[cfg(test)]
        self.endings.abandoned.insert(id);
    }

    /// The next connection to be written; `bulk` says whether those that only a broadcast made dirty may
    /// come, too.
    pub fn next_dirty(&mut self, bulk: bool) -> Option<ConnId> {
        self.dirty.next(&mut self.connections.slots, bulk)
    }

    /// Whether something is left to be written by a later turn.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// It has had its part of this round's writing, and is written on in a later one.
    pub fn write_later(&mut self, id: ConnId) {
        self.mark_dirty(id, Dirty::Bulk);
    }

    /// The kernel has taken this much.
    #[inline]
    pub fn written(&mut self, id: ConnId, bytes: usize) {
        let now = self.clock.now();
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        // HTTP is left out of what is told.
        let told = if slot.is_http() { 0 } else { bytes as u64 };
        let waited = slot.outbox.bytes();
        let freed = slot.outbox.advance(bytes);
        let left = waited - slot.outbox.bytes();
        if slot.phase == Phase::Closing {
            // A peer that still takes its last messages is not cut off.
            slot.since = now;
        }
        if !slot.blocked {
            self.backlog.settled(left);
        }
        self.outbox_bytes -= freed;
        self.refusals.took(id, waited == left, now);
        if waited == left {
            self.followers.note_drained(id);
        }
        self.stats.bytes_out += told;
        self.in_flight.note_written(id.slot, bytes);
    }

    /// The kernel takes no more until the connection is writable again.
    pub fn set_blocked(&mut self, id: ConnId, blocked: bool) {
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        let was = std::mem::replace(&mut slot.blocked, blocked);
        let (waiting, listener) = (slot.outbox.bytes(), usize::from(slot.listener));
        // Where nothing waits any more, a closing one is still to be ended.
        if !blocked && (waiting > 0 || slot.phase == Phase::Closing) {
            // Those who have much waiting would be as many as read a flood, and each of them has had his part.
            let how = match waiting > COPY_BYTES_MAX {
                true => Dirty::Bulk,
                false => Dirty::Urgent,
            };
            self.mark_dirty(id, how);
        }
        match (was, blocked) {
            (false, true) => {
                self.backlog.settled(waiting);
                let most = self.connections.listeners[listener].outbox_bytes_max;
                self.refusals.refused(id, waiting, most, self.clock.now());
            }
            (true, false) => self.backlog.taken_back(waiting),
            _ => {}
        }
    }
}
