//! Sending connections on a plain wire what has waited in their uids' queues, and what comes then; see [`InFlight`].

use super::in_flight::InFlight;
use super::{ConnId, Shard};
use crate::ident::NamespaceId;
use crate::streams::Position;

impl Shard {
    /// From now on a connection is sent what follows this offset of its uid's queue.
    pub fn take_from_queue(&mut self, id: ConnId, first: u64) {
        let namespace = self.connections.namespace_of(id);
        let Some(uid) = self.connections.uid(id).map(Box::from) else {
            return;
        };
        self.in_flight
            .insert(id, InFlight::new(namespace, uid, first));
    }

    /// The message at this offset has been queued for it.
    pub(super) fn note_in_flight(&mut self, id: ConnId, offset: u64) {
        if self.connections.get(id).is_none() || self.connections.tells_positions(id) {
            return;
        }
        if self.in_flight.get(id.slot).is_none() {
            // Its uid had no queue when it was bound.
            self.take_from_queue(id, offset - 1);
        }
        let pieces = self.connections.pieces(id);
        let waiting = pieces.map(<[u8]>::len).sum::<usize>() as u64;
        self.in_flight.note(id, offset, waiting);
    }

    /// A connection on a plain wire is to be unbound: what is not for its uid and was held for it leaves, and what still
    /// waits in the queue stays there.
    pub(super) fn leave_queue(&mut self, id: ConnId) {
        if self.followers.is_behind(id.slot) && self.connections.is_on_plain_wire(id) {
            self.release_held(id, 0, None);
            self.followers.unfollow(id.slot);
        }
        self.in_flight.leave(id);
    }

    /// So many bytes of one that goes on are not acknowledged.
    pub fn acknowledge(&mut self, id: ConnId, outstanding: usize) {
        if self.connections.get(id).is_some()
            && let Some(one) = self.in_flight.get_mut(id.slot)
        {
            one.acknowledge(outstanding);
        }
    }

    /// Up to where a uid's messages are, at the most, if some are still on their way here.
    pub fn least_acknowledged(&self, namespace: NamespaceId, uid: &str) -> Option<u64> {
        let each = self.connections_of(namespace, uid).into_iter();
        let each = each.filter_map(|id| {
            let one = self.in_flight.get(id.slot)?;
            // What waits is on its way, too, behind which it may have been sent some.
            let is_behind = self.followers.is_behind(id.slot);
            let behind = is_behind.then(|| one.sent());
            one.acknowledged().into_iter().chain(behind).min()
        });
        each.chain(self.in_flight.least_of_left(namespace, uid))
            .min()
    }

    /// One of a uid's connections on a plain wire, and the lowest offset that one of them is sent what follows of.
    pub fn lowest_in_flight(&self, namespace: NamespaceId, uid: &str) -> Option<(ConnId, u64)> {
        let connections = self.connections_of(namespace, uid).into_iter();
        let plain = connections.filter(|id| !self.connections.tells_positions(*id));
        let first = |id: ConnId| self.in_flight.get(id.slot).map(|one| (id, one.first));
        plain.filter_map(first).min_by_key(|(_, first)| *first)
    }

    /// It is sent what follows this, also what it was sent before.
    pub fn take_from_queue_again(&mut self, id: ConnId, after: Position) {
        if self.connections.get(id).is_none() {
            return;
        }
        if let Some(one) = self.in_flight.get_mut(id.slot) {
            one.begin_again(after.offset);
        }
        self.follow_from(id, after);
    }

    /// Whether one of a uid's connections on a plain wire is still sent what has waited.
    pub fn is_any_behind(&self, namespace: NamespaceId, uid: &str) -> bool {
        let mut connections = self.connections_of(namespace, uid).into_iter();
        let is_behind =
            |id: ConnId| !self.connections.tells_positions(id) && self.followers.is_behind(id.slot);
        self.followers.any_behind() && connections.any(is_behind)
    }
}
