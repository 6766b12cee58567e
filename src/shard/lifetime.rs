//! The life of a connection in its shard: it comes, its handshake is done, it is marked to end, and it is gone.

use std::net::SocketAddr;

use super::Shard;
use super::endings::Ended;
use super::exchange::is_counted;
use super::slot::{Dirty, Peer, Phase};
use crate::auth::wall_time;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::payload::Message;
use crate::protocol::{Codec, sse};

impl Shard {
    /// A new connection; its handshake (if its codec has one) is under way.
    pub fn insert(&mut self, listener: u16, peer: SocketAddr) -> ConnId {
        let id = self.take(listener, peer);
        self.stats.opening += 1;
        self.schedule(id);
        id
    }

    /// A slot for one that is accepted now.
    pub(super) fn take(&mut self, listener: u16, peer: SocketAddr) -> ConnId {
        let accepted = (wall_time() / 1000) as u32;
        self.take_slot(listener, Peer::new(peer), accepted)
    }

    pub(super) fn take_slot(&mut self, listener: u16, peer: Peer, accepted: u32) -> ConnId {
        let now = self.clock.now();
        let id = self.connections.take(listener, peer, accepted, now);
        self.stats.connections += 1;
        *self.at_listener(listener) += 1;
        id
    }

    /// The count of the connections that are told and counted as this listener's.
    pub(super) fn at_listener(&mut self, listener: u16) -> &mut u64 {
        let shown = self.connections.listeners[usize::from(listener)].shown;
        &mut self.stats.by_listener[usize::from(shown)]
    }

    /// Its handshake is done: the app gets to know it, and may send to it from its first callback on.
    /// False if it has ended meanwhile.
    pub fn opened(&mut self, id: ConnId) -> bool {
        let now = self.clock.now();
        let Some(slot) = self
            .connections
            .get_mut(id)
            .filter(|slot| slot.phase == Phase::Opening)
        else {
            return false;
        };
        slot.phase = Phase::Open;
        slot.since = now;
        slot.heard = now;
        self.stats.opening -= 1;
        self.report_open(id);
        let spec = self.connections.spec(id);
        if !spec.binds || spec.optional {
            self.settle(id);
        }
        self.schedule(id);
        true
    }

    /// Marks a connection to end. It leaves every table at once; what was sent to it before leaves first, for as long
    /// as `close_timeout` lets it: who is slow may yet take what he was said to get.
    pub fn close(&mut self, id: ConnId, reason: CloseReason) {
        let drops = reason == CloseReason::Reset;
        self.begin_end(id, reason, reason.text(), drops);
    }

    /// Marks a connection to end, with a last message, if there is one, and with words of its own in the close frame.
    pub fn close_saying(
        &mut self,
        id: ConnId,
        reason: CloseReason,
        message: Option<Message<'_>>,
        text: Option<&str>,
    ) {
        if let Some(message) = message {
            self.send(id, message);
        }
        self.begin_end(id, reason, text.unwrap_or(reason.text()), false);
    }

    /// Marks a connection to end; if it `drops`, nothing leaves but what has begun to. The text is what its client is told.
    pub(super) fn begin_end(&mut self, id: ConnId, reason: CloseReason, text: &str, drops: bool) {
        let now = self.clock.now();
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        if slot.phase == Phase::Closing {
            return;
        }
        let was = slot.phase;
        if self.forget(id) {
            self.report_disconnect(id, reason);
        }
        if matches!(was, Phase::Open | Phase::Home) {
            self.tap_end(id, Some(reason));
        }
        // What it is behind with is not read on for it: nothing follows its end.
        self.followers.unfollow(id.slot);
        let codec = self.connections.spec(id).codec;
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        slot.phase = Phase::Closing;
        slot.reason = reason;
        slot.since = now;
        slot.heard = now;
        self.queue_end(id, was, (reason, text), drops);
        if codec == Codec::Http {
            self.stats.http_closed[reason.index()] += 1;
        }
        if codec != Codec::Http || is_counted(reason) {
            self.stats.closed[reason.index()] += 1;
        }
        self.mark_dirty(id, Dirty::Urgent);
        self.schedule(id);
        if matches!(was, Phase::Opening | Phase::Http) {
            self.stats.opening -= u64::from(was == Phase::Opening);
            // The app has never heard of it.
            return;
        }
        let slot = &self.connections.slots[id.slot];
        self.endings.tell(Ended {
            connection: id,
            app: self.connections.spec(id).app,
            session: slot.session,
            reason,
        });
    }

    /// Queues the last words of a connection that ends; if it `drops`, in place of what waits.
    fn queue_end(
        &mut self,
        id: ConnId,
        was: Phase,
        (reason, text): (CloseReason, &str),
        drops: bool,
    ) {
        let codec = self.connections.spec(id).codec;
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        let mut cost = 0;
        let mut freed = 0;
        let waited = slot.outbox.bytes();
        // Looked at before anything is dropped. Who is home has been let in: what it was sent leaves behind the head.
        let awaits_head = codec == Codec::Sse
            && (was == Phase::Open || reason == CloseReason::SlowConsumer)
            && slot.outbox.pieces().next().is_some_and(sse::awaits_head);
        if drops {
            freed = slot.outbox.truncate();
        }
        if codec == Codec::Http {
            cost = slot.push_timeout(was == Phase::Http, reason);
        } else if was != Phase::Opening && reason.code().is_some() && codec.pings() {
            if awaits_head {
                freed += slot.outbox.clear();
                let answer = sse::refusal(reason);
                cost = slot
                    .outbox
                    .push_own(answer.len(), |out| out.extend_from_slice(&answer));
            } else {
                cost = slot
                    .outbox
                    .push_own(0, |out| codec.encode_close_saying(reason, text, out));
            }
        }
        if !slot.blocked {
            let waits = slot.outbox.bytes();
            self.outboxes.backlog.settled(waited);
            self.outboxes.backlog.queued(waits);
        }
        self.outboxes.hold(cost);
        self.outboxes.free(freed);
    }

    /// The transport is gone: the slot becomes free, and every id of it stale.
    ///
    /// A connection that is not marked yet must be closed first, so that its app is told.
    pub fn remove(&mut self, id: ConnId) {
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        assert!(
            matches!(slot.phase, Phase::Closing | Phase::Opening | Phase::Http),
            "a connection is closed before it is removed"
        );
        let (was, listener) = (slot.phase, slot.listener);
        let late = match slot.blocked {
            true => 0,
            false => slot.outbox.bytes(),
        };
        let freed = slot.outbox.clear();
        self.outboxes.backlog.settled(late);
        self.outboxes.free(freed);
        self.stats.opening -= u64::from(was == Phase::Opening);
        self.release(id, listener);
    }

    /// Its slot becomes free, and whatever is kept beside it.
    pub(super) fn release(&mut self, id: ConnId, listener: u16) {
        self.credentials.take(id.slot);
        self.followers.unfollow(id.slot);
        self.outboxes.forget(id);
        *self.at_listener(listener) -= 1;
        let slot = &self.connections.slots[id.slot];
        let asked = slot.is_http();
        if slot.marks.are_rare() {
            self.drop_rare(id);
        }
        self.connections.free(id);
        if self.connections.slots.is_empty() {
            // All that the wheel holds is of connections gone.
            self.clock.clear();
        }
        match asked {
            true => self.connections.http -= 1,
            false => self.stats.connections -= 1,
        }
    }
}
