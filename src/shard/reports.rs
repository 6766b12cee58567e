//! What a shard tells of its uids to whoever wants to know outside: who has bound one, whose connection has ended, who
//! was kicked. By webhooks ([`crate::events`]), and to those who look ([`super::taps`]). Called where that is decided;
//! where nobody wants to know it is a look at a `None`.

use std::sync::Arc;

use ahash::AHashSet;

use super::Shard;
use super::taps::{
    Shown, TapBatch, TapFilter, TapId, TapKind, TapNews, TapPlace, TapPush, TapSubject,
};
use super::uid_news::{Elsewhere, HoldWish};
use crate::auth::wall_time;
use crate::close::CloseReason;
use crate::config::{MessagesFull, UidPolicy};
use crate::events::{ClientMessage, KickedBy, MessageTold, Origin, Reporter, Said, UidEventKind};
use crate::ident::{ConnId, Reach};
use crate::stats::CoreStats;

impl Shard {
    /// Has events told from now on.
    pub fn report_to(&mut self, reporter: Reporter) {
        self.reports.get_or_insert_default().reporter = Some(reporter);
    }

    /// So many events have been told, if any are.
    pub fn events_told(&self) -> Option<u64> {
        let reporter = self.reports.as_ref()?.reporter.as_ref()?;
        Some(reporter.told())
    }

    /// Events to come are numbered behind this one, which another process has told. False if none are told.
    pub fn tell_events_behind(&mut self, number: u64) -> bool {
        let reporter = self.reporter();
        reporter.map(|it| it.tell_behind(number)).is_some()
    }

    /// A connection's handshake is done.
    #[inline]
    pub(super) fn report_open(&mut self, id: ConnId) {
        if self.reports.is_some() {
            self.tell_open(id);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_open(&mut self, id: ConnId) {
        self.tap(id, TapKind::Open, |of, _| TapNews::Open { of });
    }

    /// A connection is bound; whether its uid had none in its namespace, and whether its client takes its own place.
    #[inline]
    pub(super) fn report_connect(&mut self, id: ConnId, first: bool, comes_back: bool) {
        if self.reports.is_some() {
            self.tell_connect(id, first, comes_back);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_connect(&mut self, id: ConnId, first: bool, comes_back: bool) {
        let wish = match self.limits.uid_policy {
            UidPolicy::Multi => Some(HoldWish::Shares),
            UidPolicy::Replace => Some(HoldWish::Takes),
            // Otherwise the other nodes were asked before.
            UidPolicy::Reject => comes_back.then_some(HoldWish::Takes),
        };
        let event = self.report_bound(id, first);
        self.note_bound(id, first, wish, event);
        self.tap(id, TapKind::Connect, |of, uid| {
            let uid = Box::from(uid.unwrap_or_default());
            TapNews::Connect { of, uid }
        });
    }

    /// One that had a uid is out of every table, or has lost it.
    pub(super) fn report_disconnect(&mut self, id: ConnId, reason: CloseReason) {
        if self.reports.is_none() {
            return;
        }
        let namespace = self.connections.namespace_of(id);
        let Some(uid) = self.connections.uid(id) else {
            return;
        };
        let last = self.uids.count(&self.connections.slots, namespace, uid) == 0;
        let unknown = 0;
        let told = |of| UidEventKind::Disconnect {
            of,
            reason,
            last,
            unknown,
        };
        let event = match last && self.has_uid_news() {
            true => self.report_later(id, told),
            false => {
                self.report(id, told);
                None
            }
        };
        self.note_unbound(id, last, event);
    }

    /// Tells of a bind; or, if other nodes may have the uid, when they have said so.
    fn report_bound(&mut self, id: ConnId, first: bool) -> Option<u64> {
        let known = self.reports.as_mut().and_then(|it| it.elsewhere.take());
        let Elsewhere { is_held, unknown } = known.unwrap_or_default();
        let told = |of| UidEventKind::Connect {
            of,
            first: first && !is_held,
            unknown,
        };
        if first && known.is_none() && self.has_uid_news() {
            return self.report_later(id, told);
        }
        self.report(id, told);
        None
    }

    /// Other nodes have said this of the uid that is bound next.
    pub fn bind_knowing(&mut self, elsewhere: Option<Elsewhere>) {
        if let Some(reports) = &mut self.reports {
            reports.elsewhere = elsewhere;
        }
    }

    /// Other nodes have said what an event of a uid waits for.
    pub fn settle_event(&mut self, uid: &str, event: u64, elsewhere: Elsewhere) {
        let Elsewhere { is_held, unknown } = elsewhere;
        if let Some(reporter) = self.reporter() {
            reporter.settle(uid, event, is_held, unknown);
        }
    }

    /// Whether events wait for other nodes.
    pub fn has_held_events(&self) -> bool {
        let reporter = self.reports.as_ref().and_then(|it| it.reporter.as_ref());
        reporter.is_some_and(Reporter::has_held)
    }

    /// They wait no more.
    pub fn tell_held_events(&mut self) {
        if let Some(reporter) = self.reporter() {
            reporter.tell_held();
        }
    }

    /// A connection that was open has ended, or, without a reason, lost its uid.
    #[inline]
    pub(super) fn tap_end(&mut self, id: ConnId, reason: Option<CloseReason>) {
        if self.reports.is_some() {
            self.tell_end(id, reason);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_end(&mut self, id: ConnId, reason: Option<CloseReason>) {
        let accepted = self.connections.accepted(id);
        let seconds = ((wall_time() / 1000) as u32).saturating_sub(accepted);
        self.tap(id, TapKind::Disconnect, |of, uid| TapNews::Disconnect {
            of,
            uid: uid.map(Box::from),
            reason,
            seconds,
        });
    }

    /// The uid's connections are to be closed.
    pub(super) fn report_kick(&mut self, reach: Reach, uid: &str, connections: u32, by: KickedBy) {
        if self.reports.is_none() || connections == 0 {
            return;
        }
        if let Some(reporter) = self.reporter() {
            reporter.tell(uid, UidEventKind::Kick { connections, by });
        }
        let subject = TapSubject {
            reach,
            kind: TapKind::Kick,
            uid: Some(uid),
            group: None,
            listener: None,
        };
        self.tell_taps(subject, |_| TapNews::Kick {
            uid: Box::from(uid),
            connections,
        });
    }

    /// So many messages that waited for a uid's login are gone.
    pub fn report_expired(&mut self, uid: &str, messages: u32) {
        if let Some(reporter) = self.reporter() {
            reporter.tell(uid, UidEventKind::Expired { messages });
        }
    }

    /// Whether somebody looks at what happens here.
    #[inline]
    pub fn is_tapped(&self) -> bool {
        self.reports.as_ref().is_some_and(|it| !it.taps.is_empty())
    }

    /// Whether somebody wants to see this.
    pub fn wants_tapped(&self, subject: TapSubject<'_>) -> bool {
        self.reports
            .as_ref()
            .is_some_and(|it| it.taps.want(subject))
    }

    /// Shows a push to those who look.
    pub fn tap_push(&mut self, subject: TapSubject<'_>, push: impl Fn(bool) -> TapPush) {
        self.tell_taps(subject, |with_data| TapNews::Push(push(with_data)));
    }

    /// What has happened for one who looks since it was asked last; `None` if there are as many as there may be.
    pub fn ask_tap(&mut self, id: TapId, filter: &Arc<TapFilter>) -> Option<TapBatch> {
        let now = self.clock.now();
        self.reports
            .get_or_insert_default()
            .taps
            .ask(now, id, filter)
    }

    /// One looks no more.
    pub fn end_tap(&mut self, id: TapId) {
        if let Some(reports) = &mut self.reports {
            reports.taps.end(id);
            if reports.taps.is_empty() && reports.is_for_nobody() {
                self.reports = None;
            }
        }
    }

    fn reporter(&mut self) -> Option<&mut Reporter> {
        self.reports.as_mut()?.reporter.as_mut()
    }

    fn tell_taps(&mut self, subject: TapSubject<'_>, news: impl Fn(bool) -> TapNews) {
        let now = self.clock.now();
        if let Some(reports) = &mut self.reports {
            reports.taps.tell(now, subject, news);
        }
    }

    /// Shows what happens with a connection that is here.
    fn tap(&mut self, id: ConnId, kind: TapKind, news: impl Fn(TapPlace, Option<&str>) -> TapNews) {
        self.tap_with_data(id, kind, |of, uid, _| news(of, uid));
    }

    fn tap_with_data(
        &mut self,
        id: ConnId,
        kind: TapKind,
        news: impl Fn(TapPlace, Option<&str>, bool) -> TapNews,
    ) {
        let uid: Option<Box<str>> = self.connections.uid(id).map(Box::from);
        let subject = TapSubject {
            reach: Reach::of(self.connections.namespace_of(id)),
            kind,
            uid: uid.as_deref(),
            group: None,
            listener: Some(self.connections.spec(id).shown),
        };
        if !self.wants_tapped(subject) {
            return;
        }
        let place = TapPlace {
            connection: self.connections.tell_name(id),
            peer: self.connections.slots[id.slot].peer.address(),
            listener: self.connections.spec(id).shown,
        };
        self.tell_taps(subject, |with_data| {
            news(place.clone(), uid.as_deref(), with_data)
        });
    }

    /// A connection has said something for the back end.
    pub fn tell_message(
        &mut self,
        id: ConnId,
        request: Option<&str>,
        said: Said,
        when_full: MessagesFull,
    ) -> MessageTold {
        if self.reports.is_none() {
            return MessageTold::Unwanted;
        }
        let shown = self.is_tapped().then(|| Shown::new(said.bytes(), true));
        let told = self.pass_message_on(id, request, said, when_full);
        if let Some(shown) = shown {
            self.tap_with_data(id, TapKind::Message, |of, uid, with_data| {
                let beginning = shown.beginning.clone().filter(|_| with_data);
                TapNews::Message {
                    of,
                    uid: Box::from(uid.unwrap_or_default()),
                    told,
                    shown: Shown { beginning, ..shown },
                }
            });
        }
        told
    }

    fn pass_message_on(
        &mut self,
        id: ConnId,
        request: Option<&str>,
        said: Said,
        when_full: MessagesFull,
    ) -> MessageTold {
        let is_wanted = self.reporter().is_some_and(|it| it.wants_messages());
        if !is_wanted || self.connections.uid(id).is_none() {
            return MessageTold::Unwanted;
        }
        let pauses = when_full == MessagesFull::Pause;
        let of = self.origin(id);
        let slot = &self.connections.slots[id.slot];
        let reporter = self.reports.as_mut().and_then(|it| it.reporter.as_mut());
        let (Some(reporter), Some(uid)) = (reporter, &slot.uid) else {
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
        if self.awaits_message_room()
            && self.reporter().is_none_or(|one| one.has_message_room(true))
        {
            self.await_message_room = AHashSet::new();
            self.message_reliefs += 1;
        }
    }

    fn report(&mut self, id: ConnId, what: impl FnOnce(Origin) -> UidEventKind) {
        self.report_by(id, what, Reporter::tell);
    }

    /// As [`Shard::report`], when it is settled: by which number.
    fn report_later(
        &mut self,
        id: ConnId,
        what: impl FnOnce(Origin) -> UidEventKind,
    ) -> Option<u64> {
        self.report_by(id, what, Reporter::tell_later).flatten()
    }

    fn report_by<T>(
        &mut self,
        id: ConnId,
        what: impl FnOnce(Origin) -> UidEventKind,
        tell: impl FnOnce(&mut Reporter, &str, UidEventKind) -> T,
    ) -> Option<T> {
        self.reporter()?;
        let of = self.origin(id);
        let slot = &self.connections.slots[id.slot];
        let reporter = self.reports.as_mut()?.reporter.as_mut()?;
        let uid = slot.uid.as_ref()?;
        Some(tell(reporter, uid, what(of)))
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
        let reporter = self.reports.as_ref().and_then(|it| it.reporter.as_ref());
        if let Some(reporter) = reporter {
            let tally = reporter.tally();
            stats.webhooks_sent = tally.sent.load(Relaxed);
            stats.webhooks_failed = tally.failed.load(Relaxed);
            stats.webhooks_dropped = tally.dropped.load(Relaxed);
        }
    }
}
