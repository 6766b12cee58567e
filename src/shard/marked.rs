//! Delivering what has a place in a stream: to those that tell positions one by one, since each has its own, and to all
//! others as ever.

use smallvec::SmallVec;

use super::fanout::Fanout;
use super::followers::{Marked, Tops};
use super::slot::Dirty;
use super::{ConnId, Shard};
use crate::ident::NamespaceId;
use crate::protocol::Codec;

impl Shard {
    /// Queues a message that has a place in a stream for every connection of its uid in a namespace.
    pub fn send_marked_to_uid(
        &mut self,
        namespace: NamespaceId,
        marked: Marked<'_>,
        tops: Tops<'_>,
    ) -> u32 {
        let mut receivers = self.receivers.take();
        receivers.extend(
            self.uids
                .get(&self.connections.slots, namespace, marked.name),
        );
        let queued = marked.mark.filter(|mark| mark.queued);
        let to: SmallVec<[ConnId; 4]> = match queued {
            Some(_) => receivers.iter().copied().collect(),
            None => SmallVec::new(),
        };
        let reached = match receivers[..] {
            [] => 0,
            [only] if self.is_sent_plainly(only) => {
                receivers.clear();
                u32::from(self.send_at(only, &marked.place(), marked.payload.message()))
            }
            _ => {
                let fanout = Fanout::new(marked.place(), marked.payload.message());
                self.fan_out_marked(&mut receivers, fanout, Dirty::Urgent, marked, tops)
            }
        };
        self.receivers.put_back(receivers);
        if let Some(mark) = queued {
            for id in to {
                if !self.followers.is_behind(id.slot) {
                    self.note_in_flight(id, mark.position.offset);
                }
            }
        }
        reached
    }

    /// Whether a connection gets what has a place in a stream as it gets all else.
    fn is_sent_plainly(&self, id: ConnId) -> bool {
        !self.connections.is_told_all_positions(id)
            && !self.followers.is_behind(id.slot)
            && !self.receivers.passes_by(id)
    }

    /// Queues one for everybody in a namespace.
    pub fn send_marked_to_everybody(
        &mut self,
        namespace: NamespaceId,
        marked: Marked<'_>,
        tops: Tops<'_>,
    ) -> u32 {
        if let Some(mark) = marked.mark.filter(|mark| mark.kept) {
            self.followers.see_all(namespace, mark.position);
        }
        let mut receivers = self.receivers.take();
        receivers.extend_from_slice(self.everybody.of(namespace));
        let fanout = Fanout::new(marked.place(), marked.payload.message());
        let reached = self.fan_out_marked(&mut receivers, fanout, Dirty::Bulk, marked, tops);
        self.receivers.put_back(receivers);
        reached
    }

    /// Queues one for the members of its group in a namespace.
    pub fn send_marked_to_group(
        &mut self,
        namespace: NamespaceId,
        marked: Marked<'_>,
        refresh: bool,
        tops: Tops<'_>,
    ) -> u32 {
        let mut receivers = self.receivers.take();
        let mut fanout = Fanout::new(marked.place(), marked.payload.message());
        let found = self.groups.members(namespace, marked.name, &mut receivers);
        fanout.refresh = found.filter(|_| refresh);
        let reached = self.fan_out_marked(&mut receivers, fanout, Dirty::Bulk, marked, tops);
        self.receivers.put_back(receivers);
        if let Some(mark) = marked.mark.filter(|mark| mark.kept) {
            self.groups.see_next(namespace, marked.name, mark.position);
        }
        reached
    }

    /// Queues one for a connection alone, which comes from where it has not got it.
    pub fn send_marked(&mut self, id: ConnId, marked: Marked<'_>, tops: Tops<'_>) -> bool {
        // The others who are in its group may not have it.
        self.unfold(id);
        match self.connections.is_told_all_positions(id) || self.followers.is_behind(id.slot) {
            true => self.send_followed(id, marked, tops),
            false => self.send_at(id, &marked.place(), marked.payload.message()),
        }
    }

    /// Queues for those that tell positions one by one, since each has its own, and for the others as always.
    fn fan_out_marked(
        &mut self,
        receivers: &mut Vec<ConnId>,
        mut fanout: Fanout<'_>,
        how: Dirty,
        marked: Marked<'_>,
        tops: Tops<'_>,
    ) -> u32 {
        let passing = &self.receivers;
        let mut followers = Vec::new();
        let (slots, listeners) = (&self.connections.slots, &self.connections.listeners);
        let behind = &self.followers;
        let is_kept_refresh = fanout.refresh.is_some() && marked.mark.is_some_and(|mark| mark.kept);
        receivers.retain(|id| {
            let listener = slots[id.slot].listener;
            let follows = match listeners[usize::from(listener)].codec {
                Codec::Sse => true,
                // A later refresh would take the place of what it is to have had.
                Codec::V1 if is_kept_refresh => true,
                _ => behind.is_behind(id.slot),
            };
            if follows && !passing.passes_by(*id) {
                followers.push(*id);
            }
            !follows
        });
        let reached = self.fan_out(receivers, &mut fanout, how);
        // What it holds would not be taken off the account if an outbox gives it up below.
        drop(fanout);
        self.work.delivered(followers.len());
        followers.retain(|id| self.send_marked(*id, marked, tops));
        reached + followers.len() as u32
    }
}
