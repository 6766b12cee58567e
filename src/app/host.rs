//! The apps of one core, and the one way into them: [`Host`].
//!
//! The transport tells it what arrives; the turn hands it the envelopes of its mailbox. It knows no
//! sockets, so a simulation can drive several hosts on one thread.

pub use super::envelope::Handled;
pub use super::flow::Flow;
pub use super::transfer::Arrival;
pub(crate) use super::transfer::Departure;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;

use super::bind_refusals::BindRefusals;
use super::envelope::Body;
use super::hosted::Hosted;
use super::local::Local;
use super::namespaces::Registry;
use super::pending::PendingCalls;
use super::round::Round;
use super::ticks::{BEGINNING, Ticks};
use crate::auth::Verifier;
use crate::bus::{Endpoint, Writing};
use crate::close::{CloseReason, Flaw};
use crate::config::Config;
use crate::events::Reporter;
use crate::ident::{ConnId, ConnName, CoreId};
use crate::payload::Message;
use crate::protocol::Codec;
use crate::protocol::http::opening::OpeningRequest;
use crate::shard::{ListenerSpec, Shard};

pub struct Host {
    pub(super) apps: Vec<Box<dyn Hosted>>,
    pub(super) listeners: Rc<[ListenerSpec]>,
    pub(super) local: Local,
    /// Checks who connections are, where they have to prove it.
    pub(super) verifier: Option<Verifier>,
    pub(super) ticks: Ticks,
    /// What is left of the present round.
    pub(super) round: Round,
    /// Of binds.
    pub(super) refusals: BindRefusals,
}

impl Host {
    pub fn new(
        config: &Config,
        bus: Endpoint<Body>,
        listeners: Rc<[ListenerSpec]>,
        registry: Arc<Registry>,
        apps: Vec<Box<dyn Hosted>>,
        now: Instant,
    ) -> Host {
        let mut local = Local::new(config, Rc::clone(&listeners), bus, registry, now);
        local.shard.connections.set_core(local.core());
        local.shard.clock.set_now(BEGINNING);
        // Nothing is due yet; the wheel is there, too, from now on.
        local.shard.expire();
        Host {
            apps,
            local,
            listeners,
            verifier: None,
            ticks: Ticks::new(now),
            round: Round::new(now),
            refusals: BindRefusals::default(),
        }
    }

    /// Goes on with other limits; see [`Shard::renew`].
    pub fn set_limits(&mut self, config: &Config, listeners: Rc<[ListenerSpec]>) -> bool {
        self.listeners = Rc::clone(&listeners);
        self.local.renew(config, listeners)
    }

    /// Has every table of the core hash alike in every run, in place of a seed of its own. Before it
    /// is started; for counts that can be compared.
    pub fn hash_by(&mut self, hasher: &RandomState) {
        self.local.shard.hash_by(hasher);
        self.local.pending = PendingCalls::with_hasher(hasher.clone());
    }

    /// Has those outside told who comes and goes. Before it is started.
    pub fn report_to(&mut self, reporter: Reporter) {
        self.local.shard.report_to(reporter);
    }

    /// Tells the apps that the core runs.
    pub fn start(&mut self) {
        for app in &mut self.apps {
            app.start(&mut self.local);
        }
        self.settle();
    }

    pub fn shard(&mut self) -> &mut Shard {
        &mut self.local.shard
    }

    pub fn bus(&mut self) -> &mut Endpoint<Body> {
        self.local.outgoing.bus_mut()
    }

    /// What a connection is called, for whoever is told of it here.
    pub fn tell_name(&mut self, id: ConnId) -> ConnName {
        self.local.shard.connections.tell_name(id)
    }

    /// Envelopes posted since the start.
    pub fn envelopes(&self) -> u64 {
        self.local.outgoing.envelopes()
    }

    pub fn core(&self) -> CoreId {
        self.local.core()
    }

    #[cfg(test)]
    pub(super) fn local(&self) -> &Local {
        &self.local
    }

    /// A connection has been accepted; its handshake is to follow.
    pub fn connect(&mut self, listener: u16, peer: SocketAddr) -> ConnId {
        match self.listeners[usize::from(listener)].codec {
            Codec::Http => self.local.shard.insert_http(listener, peer),
            _ => self.local.shard.insert(listener, peer),
        }
    }

    /// One that comes without a request is there: the app gets to know it.
    pub fn open(&mut self, id: ConnId) {
        self.open_by(id, None);
    }

    /// As [`Host::open_by`], of one that has shown a certificate with these names.
    pub fn open_named(
        &mut self,
        id: ConnId,
        names: Vec<Box<str>>,
        request: Option<&OpeningRequest>,
    ) {
        self.local.certificate_names = names;
        self.open_by(id, request);
        self.local.certificate_names.clear();
    }

    /// Its handshake is done, or what came in place of one: the app gets to know it, and its request.
    pub fn open_by(&mut self, id: ConnId, request: Option<&OpeningRequest>) {
        let Some(app) = self.app_of(id) else { return };
        if !self.local.shard.opened(id) {
            return;
        }
        if let Some(session) = self.apps[app].connect(&mut self.local, id, request)
            && !self.local.shard.connections.set_session(id, session)
        {
            // It was closed before there was a session, so its end is told here.
            let reason = self
                .local
                .shard
                .connections
                .reason(id)
                .unwrap_or(CloseReason::Normal);
            self.apps[app].close(&mut self.local, id, session, reason);
        }
        self.settle();
    }

    pub fn message(&mut self, id: ConnId, message: Message<'_>) {
        let Some((app, session, is_told_places)) = self.local.shard.connections.speaker(id) else {
            return;
        };
        let shard = &mut self.local.shard;
        shard.stats.messages_in += 1;
        shard.work.called();
        shard.work.copied(message.len());
        let caused = shard.outboxes.backlog.caused();
        if is_told_places {
            self.take_frame(id, message);
        } else if self.verifier.is_some() && self.take_credential(id, message) {
            return self.settle();
        } else {
            self.apps[usize::from(app)].message(&mut self.local, id, session, message);
        }
        self.settle();
        let backlog = &mut self.local.shard.outboxes.backlog;
        backlog.charge_connection(id, backlog.caused() - caused);
    }

    /// What has come is no message, and the app is to say so.
    pub fn flawed(&mut self, id: ConnId, flaw: Flaw, line: &[u8]) {
        self.local.shard.work.called();
        self.local.shard.work.copied(line.len());
        if let Some((app, session)) = self.session_of(id) {
            self.apps[app].flawed(&mut self.local, id, session, flaw, line);
            self.settle();
        }
    }

    /// The transport says that the connection is to end.
    pub fn close(&mut self, id: ConnId, reason: CloseReason) {
        self.local.shard.close(id, reason);
        self.settle();
    }

    /// Tells other cores how far this one is with what they have sent. At the end of a round, when that is dealt with.
    pub fn publish_taken(&mut self) {
        self.local.post_ended_names();
        self.local.post_uid_interests();
        let backlog = &self.local.shard.outboxes.backlog;
        let done = backlog.done();
        self.local.outgoing.bus_mut().publish_taken(Writing {
            done,
            due: done + backlog.bytes() as u64,
            slack: backlog.slack() as u64,
        });
    }

    /// Gives back the credit for what other cores have taken since the last turn.
    pub fn settle_credits(&mut self) {
        self.local
            .outgoing
            .settle_credits(&mut self.local.shard.connections);
    }

    /// Reads on for those who have missed something.
    pub fn read_on(&mut self) {
        if self.local.has_readers() {
            self.local.read_on();
            self.settle();
        }
    }

    /// Whether somebody is to be read on for.
    pub fn has_readers(&self) -> bool {
        self.local.has_readers()
    }

    /// Whether calls of this core are open.
    pub fn has_pending_calls(&self) -> bool {
        !self.local.pending.is_empty()
    }

    pub(super) fn app_of(&self, id: ConnId) -> Option<usize> {
        self.local
            .shard
            .connections
            .listener(id)
            .map(|spec| usize::from(spec.app))
    }

    /// The app and session of a connection that is open and not closing.
    pub(super) fn session_of(&self, id: ConnId) -> Option<(usize, u32)> {
        let (app, session) = self.local.shard.connections.session(id)?;
        Some((usize::from(app), session))
    }
}
