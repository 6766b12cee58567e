//! What a shard tells of its uids to whoever wants to know outside ([`crate::events`]): who has bound one, whose
//! connection has ended, who was kicked. Called where that is decided; without a reporter it is a look at a `None`.

use ahash::AHashSet;

use super::Shard;
use crate::close::CloseReason;
use crate::config::MessagesFull;
use crate::events::{ClientMessage, KickedBy, MessageTold, Origin, Reporter, Said, UidEventKind};
use crate::ident::ConnId;
use crate::stats::CoreStats;

impl Shard {
    /// Has events told from now on.
    pub fn report_to(&mut self, reporter: Reporter) {
        self.reporter = Some(reporter);
    }

    /// A connection is bound; whether its uid had none in its namespace.
    pub(super) fn report_connect(&mut self, id: ConnId, first: bool) {
        if self.reporter.is_some() {
            self.report(id, |of| UidEventKind::Connect { of, first });
        }
    }

    /// A connection is out of every table.
    pub(super) fn report_disconnect(&mut self, id: ConnId, reason: CloseReason) {
        if self.reporter.is_none() {
            return;
        }
        let namespace = self.connections.namespace_of(id);
        let Some(uid) = self.connections.uid(id) else {
            return;
        };
        let last = self.uids.count(&self.connections.slots, namespace, uid) == 0;
        self.report(id, |of| UidEventKind::Disconnect { of, reason, last });
    }

    /// The uid's connections are to be closed.
    pub(super) fn report_kick(&mut self, uid: &str, connections: u32, by: KickedBy) {
        if let Some(reporter) = &mut self.reporter
            && connections > 0
        {
            reporter.tell(uid, UidEventKind::Kick { connections, by });
        }
    }

    /// So many messages that waited for a uid's login are gone.
    pub fn report_expired(&mut self, uid: &str, messages: u32) {
        if let Some(reporter) = &mut self.reporter {
            reporter.tell(uid, UidEventKind::Expired { messages });
        }
    }

    /// A connection has said something for the back end.
    pub fn tell_message(
        &mut self,
        id: ConnId,
        request: Option<&str>,
        said: Said,
        when_full: MessagesFull,
    ) -> MessageTold {
        let wants = |reporter: &Reporter| reporter.wants_messages();
        if !self.reporter.as_ref().is_some_and(wants) || self.connections.uid(id).is_none() {
            return MessageTold::Unwanted;
        }
        let pauses = when_full == MessagesFull::Pause;
        let of = self.origin(id);
        let slot = &self.connections.slots[id.slot];
        let (Some(reporter), Some(uid)) = (&mut self.reporter, &slot.uid) else {
            return MessageTold::Unwanted;
        };
        let message = ClientMessage {
            of,
            request: request.map(Box::from),
            said,
        };
        let told = reporter.tell_message(uid, message, pauses);
        if pauses && !reporter.has_message_room(false) {
            self.await_message_room.insert(id);
        }
        match told {
            MessageTold::Taken => self.stats.webhook_messages += 1,
            MessageTold::Full => self.stats.webhook_messages_refused += 1,
            MessageTold::Unwanted => {}
        }
        told
    }

    /// Whether somebody is not read because too many of its messages wait for the back end.
    #[inline]
    pub fn awaits_message_room(&self) -> bool {
        !self.await_message_room.is_empty()
    }

    /// Whether this one is not.
    pub fn waits_for_message_room(&self, id: ConnId) -> bool {
        self.await_message_room.contains(&id)
    }

    /// Lets them be read again, if there is room.
    pub fn look_for_message_room(&mut self) {
        let reporter = self.reporter.as_ref();
        if self.awaits_message_room() && reporter.is_none_or(|one| one.has_message_room(true)) {
            self.await_message_room = AHashSet::new();
            self.message_reliefs += 1;
        }
    }

    fn report(&mut self, id: ConnId, what: impl FnOnce(Origin) -> UidEventKind) {
        let of = self.origin(id);
        let slot = &self.connections.slots[id.slot];
        if let (Some(reporter), Some(uid)) = (&mut self.reporter, &slot.uid) {
            reporter.tell(uid, what(of));
        }
    }

    /// A connection that is here, as those outside are told of it.
    fn origin(&mut self, id: ConnId) -> Origin {
        let connection = self.connections.tell_name(id);
        Origin {
            connection,
            peer: self.connections.slots[id.slot].peer.address(),
            listener: self.connections.spec(id).shown,
            attributes: self.attributes.get(id.slot).map(|it| Box::from(it.text())),
        }
    }

    /// Fills in what has become of the core's events.
    pub(super) fn count_reports(&self, stats: &mut CoreStats) {
        use std::sync::atomic::Ordering::Relaxed;
        if let Some(reporter) = &self.reporter {
            let tally = reporter.tally();
            stats.webhooks_sent = tally.sent.load(Relaxed);
            stats.webhooks_failed = tally.failed.load(Relaxed);
            stats.webhooks_dropped = tally.dropped.load(Relaxed);
        }
    }
}
