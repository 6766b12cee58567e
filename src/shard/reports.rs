//! What a shard tells of its uids to whoever wants to know outside ([`crate::events`]): who has bound one, whose
//! connection has ended, who was kicked. Called where that is decided; without a reporter it is a look at a `None`.

use super::Shard;
use crate::close::CloseReason;
use crate::events::{KickedBy, NotQueued, Origin, Reporter, Said, UidEventKind};
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

    /// A client of a bound connection has something to say to the back end.
    pub fn report_message(
        &mut self,
        id: ConnId,
        request: Option<&str>,
        said: Said,
    ) -> Result<(), NotQueued> {
        if self.reporter.is_none() {
            return Err(NotQueued::Unwanted);
        }
        let of = self.origin(id);
        let slot = &self.connections.slots[id.slot];
        match (&mut self.reporter, &slot.uid) {
            (Some(reporter), Some(uid)) => reporter.tell_message(uid, of, request, said),
            _ => Err(NotQueued::Unwanted),
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
