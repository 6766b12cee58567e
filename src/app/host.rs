//! The apps of one core, and the one way into them: [`Host`].
//!
//! The transport tells it what arrives; the turn hands it the envelopes of its mailbox. It knows no
//! sockets, so a simulation can drive several hosts on one thread.

pub use super::envelope::Handled;
pub use super::transfer::Arrival;
pub(crate) use super::transfer::Departure;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use tracing::info;

use super::effect::{Effect, JoinOutcome};
use super::envelope::Body;
use super::hosted::Hosted;
use super::local::Local;
use super::namespaces::Registry;
use super::outcome::{BindError, ending};
use super::pending::PendingCalls;
use super::round::{Round, WorkSource};
use crate::auth::Verifier;
use crate::bus::{Endpoint, Writing};
use crate::close::{CloseReason, Flaw};
use crate::config::Config;
use crate::events::Reporter;
use crate::ident::{ConnId, CoreId};
use crate::log_limiter::LogLimiter;
use crate::payload::Message;
use crate::protocol::Codec;
use crate::protocol::opening::OpeningRequest;
use crate::shard::{Ended, Exchange, ListenerSpec, Phase, Shard, TICK, Tick};
use crate::stats::Hold;

/// What the transport may do with a connection next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Read on.
    Go,
    /// Leave the input where it is until [`Host::flow`] says otherwise.
    Pause,
    /// It has asked, and is read on when it is answered.
    Wait,
    /// It moves: stop at once, and hand it over by [`Host::depart`].
    Leave,
    /// It is closing: what arrives is looked at for the peer's close only.
    End,
    /// It is gone.
    Gone,
}

/// A core that wakes later than this after it meant to stood still.
const STALL: Duration = Duration::from_secs(1);
/// Timers that run out in one round.
const TIMERS_PER_ROUND: usize = 64;
/// A core that has connections looks at the time at least so often, whatever is due: one that looked only
/// when something is would not know how it had stood still until then.
const PULSE: Duration = Duration::from_secs(1);

/// The tick at which a core begins, 30 days: what has come from another process may have been silent for long.
const BEGINNING: Tick = 30 * 24 * 60 * 60 * 10;

pub struct Host {
    pub(super) apps: Vec<Box<dyn Hosted>>,
    pub(super) listeners: Rc<[ListenerSpec]>,
    pub(super) local: Local,
    /// Checks who connections are, where they have to prove it.
    pub(super) verifier: Option<Verifier>,
    /// When the ticks began, stalls left out.
    started: Instant,
    /// For how long the core has just stood still, until somebody asks.
    stall: Option<Duration>,
    /// What is left of the present round.
    round: Round,
    /// Of binds that an app has refused.
    refusals: LogLimiter,
    /// Of binds that were refused here, by the reason.
    pub(super) reasons: HashMap<String, LogLimiter>,
    /// The connection whose reason has been seen to last.
    pub(super) reasoned: Option<ConnId>,
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
        local.shard.clock.set_now(BEGINNING);
        // Nothing is due yet; the wheel is there, too, from now on.
        local.shard.expire();
        Host {
            apps,
            local,
            listeners,
            verifier: None,
            started: now,
            stall: None,
            round: Round::new(now),
            refusals: LogLimiter::default(),
            reasons: HashMap::new(),
            reasoned: None,
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
        &mut self.local.bus
    }

    pub fn core(&self) -> CoreId {
        self.local.core()
    }

    #[cfg(test)]
    pub(super) fn local(&self) -> &Local {
        &self.local
    }

    /// Sets the time that everything from here on happens at.
    pub fn set_now(&mut self, now: Instant) {
        self.forgive_stall(now);
        self.local.set_now(now);
        let ticks = now.duration_since(self.started).as_millis() / TICK.as_millis();
        self.local.shard.clock.set_now(BEGINNING + ticks as Tick);
        self.read_wall();
    }

    /// A round of a turn begins at this time.
    pub fn begin_round(&mut self, now: Instant) {
        self.set_now(now);
        self.local.streams.advance(now);
        self.round.begin(self.work(), now);
    }

    /// The same without a look at the time that deadlines go by.
    #[cfg(test)]
    pub fn begin_round_at_once(&mut self) {
        self.round.begin(self.work(), Instant::now());
    }

    /// What follows comes from this source, until another is entered.
    pub fn enter(&mut self, source: WorkSource) {
        let units = self.work();
        self.round.enter(source, units);
    }

    /// Whether the round has room for one more item.
    #[inline]
    pub fn goes_on(&mut self) -> bool {
        let units = self.work();
        self.round.goes_on(units)
    }

    /// Units of work that this core has done.
    #[inline]
    pub fn work(&self) -> u64 {
        self.local.shard.work.units()
    }

    /// Does what has come due: the apps' timers, and deadlines of connections. Of both, as many as one round may;
    /// [`Host::has_due`] tells of more.
    pub fn expire(&mut self) {
        self.local.shard.expire();
        self.run_timers();
    }

    /// Calls the apps whose timers are due, whatever else waits.
    pub fn run_timers(&mut self) {
        for _ in 0..TIMERS_PER_ROUND {
            let Some((app, token)) = self.local.pop_timer() else {
                break;
            };
            self.local.shard.work.called();
            self.apps[usize::from(app)].timer(&mut self.local, token);
        }
        self.settle();
    }

    /// Whether more is due than one round has done.
    pub fn has_due(&self) -> bool {
        let timer = self.local.next_timer();
        timer.is_some_and(|due| due <= self.now()) || self.local.shard.clock.is_expiring()
    }

    /// Time in which this core stood still (its machine did, or its process was stopped) is nobody's
    /// silence: what was sent meanwhile waits unread. So all deadlines move by that time, to a tick from
    /// now, when it will have been read.
    fn forgive_stall(&mut self, now: Instant) {
        let Some(awaited) = self.next_look() else {
            return;
        };
        let late = now.saturating_duration_since(awaited);
        if late > STALL {
            self.started += late + TICK;
            self.stall = Some(late);
        }
    }

    /// For how long the core has stood still since this was last asked, if it has.
    pub fn take_stall(&mut self) -> Option<Duration> {
        self.stall.take()
    }

    /// The time that everything happens at.
    pub fn now(&self) -> Instant {
        self.local.now()
    }

    /// When connections are to be looked at next: at a deadline, and before long even so.
    #[inline]
    fn next_look(&self) -> Option<Instant> {
        let shard = &self.local.shard;
        let keeps = !self.local.streams.store.is_empty();
        let pulse =
            (shard.stats.connections > 0 || shard.connections.http_connections() > 0 || keeps)
                .then(|| self.local.now() + PULSE);
        let time = |tick: Tick| TICK * tick.saturating_sub(BEGINNING);
        let deadline = shard.clock.next_due().map(|tick| self.started + time(tick));
        pulse.into_iter().chain(deadline).min()
    }

    /// When there is to be a turn even if nothing happens.
    pub fn next_due(&self) -> Option<Instant> {
        let timer = self.local.next_timer();
        self.next_look().into_iter().chain(timer).min()
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
        let Some((app, session)) = self.session_of(id) else {
            return;
        };
        let shard = &mut self.local.shard;
        shard.stats.messages_in += 1;
        shard.work.called();
        shard.work.copied(message.len());
        let caused = shard.backlog.caused();
        if self.verifier.is_some() && self.take_credential(id, message) {
            return self.settle();
        }
        self.apps[app].message(&mut self.local, id, session, message);
        self.settle();
        let backlog = &mut self.local.shard.backlog;
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

    /// What the transport may do with the connection now.
    pub fn flow(&self, id: ConnId) -> Flow {
        let Some(reading) = self.local.shard.connections.reading(id) else {
            return Flow::Gone;
        };
        match reading.phase {
            Phase::Free => Flow::Gone,
            Phase::Closing => Flow::End,
            Phase::Open | Phase::Home if reading.leaving => Flow::Leave,
            Phase::Http if self.awaits_answer(id) => Flow::Wait,
            // What its requests cause is held against them one by one, and some cause nothing.
            Phase::Http if !reading.full => Flow::Go,
            _ if self.local.holds(id, &reading).is_none() => Flow::Go,
            _ => Flow::Pause,
        }
    }

    fn awaits_answer(&self, id: ConnId) -> bool {
        self.local.shard.connections.exchange(id) == Some(Exchange::Answering)
    }

    /// Whether what no connection pays for may add to what is on the way to other cores, and to what waits here.
    pub fn has_room_to_send(&self) -> bool {
        self.local.has_transit_room() && !self.local.shard.is_short_of_memory()
    }

    /// Why the connection is not to be read, if it is for us to wait.
    pub fn hold(&self, id: ConnId) -> Option<Hold> {
        self.local
            .holds(id, &self.local.shard.connections.reading(id)?)
    }

    /// Changes with whatever lets a connection go on that was not to be read.
    pub fn relief(&self) -> [u64; 4] {
        let shard = &self.local.shard;
        [
            self.local.returned,
            shard.backlog.progress(),
            shard.stats.bytes_out,
            shard.stats.closed.iter().sum(),
        ]
    }

    /// Binds at home and tells the app; one that is kept out is closed.
    pub(super) fn bind(&mut self, id: ConnId, uid: &str) {
        if self.local.shard.bind(id, uid) {
            self.local.settle_joins(id);
            self.local.begin_to_follow(id);
            if let Some((app, session)) = self.session_of(id) {
                self.apps[app].bound(&mut self.local, id, session, Ok(()));
            }
        } else {
            self.refuse(id, BindError::InUse);
        }
    }

    pub(super) fn refuse(&mut self, id: ConnId, error: BindError) {
        if let Some((app, session)) = self.session_of(id) {
            self.apps[app].bound(&mut self.local, id, session, Err(error));
        }
        let reason = match error {
            BindError::InUse => CloseReason::UidInUse,
            BindError::Uid(_) => CloseReason::BadLogin,
            BindError::Unproved(error) => ending(error),
            // It has a uid; asking again is the app's mistake and changes nothing.
            BindError::Twice => return,
        };
        self.tell_refusal(id, &error);
        self.local.shard.close(id, reason);
    }

    /// Makes the callbacks that the last one has caused, until none is due.
    pub fn settle(&mut self) {
        loop {
            if let Some(effect) = self.local.effects.pop() {
                self.apply(effect);
            } else if let Some(ended) = self.local.shard.endings.next_ended() {
                self.local.withdraw(ended.connection);
                self.local.forget_replies(ended.connection);
                let Ended {
                    connection,
                    app,
                    session,
                    reason,
                } = ended;
                if matches!(reason, CloseReason::BadLogin | CloseReason::UidInUse)
                    && self.reasoned != Some(connection)
                    && let Some(peer) = self.local.shard.connections.peer(connection)
                    && let Some(more) = self.refusals.may_log(Instant::now())
                {
                    info!(%peer, %reason, more, "a bind was refused");
                }
                self.apps[usize::from(app)].close(&mut self.local, connection, session, reason);
            } else {
                self.local.post_interests();
                return;
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Bind { connection, uid } => self.go_home(connection, uid),
            Effect::Refuse { connection, error } => self.refuse(connection, error),
            Effect::Answer {
                app,
                asked_by,
                ticket,
                answer,
            } => self.apps[usize::from(app)].answer(&mut self.local, asked_by, ticket, answer),
            Effect::Offline { connection, uid } => {
                if let Some((app, session)) = self.session_of(connection) {
                    self.apps[app].offline(&mut self.local, connection, session, &uid);
                }
            }
            Effect::Joined { connection, joined } => {
                let JoinOutcome { group, result } = *joined;
                let is_true = result.is_err() || self.local.shard.is_in(connection, &group);
                if is_true && let Some((app, session)) = self.session_of(connection) {
                    let app = &mut self.apps[app];
                    app.joined(&mut self.local, connection, session, &group, result);
                }
            }
            Effect::Note { app, from, note } => {
                self.apps[usize::from(app)].note(&mut self.local, from, note);
            }
        }
    }

    /// Binds a connection here, or has it move to its uid's home.
    fn go_home(&mut self, connection: ConnId, uid: Box<str>) {
        let home = self.local.bus.home(&uid);
        let departure = Departure {
            connection,
            home,
            uid,
        };
        match self.local.shard.connections.phase(connection) {
            Phase::Open if home == self.core() => self.bind(connection, &departure.uid),
            Phase::Open => {
                self.local.shard.connections.set_leaving(connection);
                self.local.departures.push(departure);
            }
            Phase::Home => {
                let shard = &mut self.local.shard;
                if shard.connections.uid(connection) != Some(&*departure.uid) {
                    shard.follow_another_uid(connection);
                    shard.unbind(connection);
                }
                match home == self.core() {
                    true => self.bind(connection, &departure.uid),
                    false => self.local.announce(departure),
                }
            }
            _ => {}
        }
    }

    /// Tells other cores how far this one is with what they have sent. At the end of a round, when that is dealt with.
    pub fn publish_taken(&mut self) {
        let backlog = &self.local.shard.backlog;
        let done = backlog.done();
        self.local.bus.publish_taken(Writing {
            done,
            due: done + backlog.bytes() as u64,
            slack: backlog.slack() as u64,
        });
    }

    /// Gives back the credit for what other cores have taken since the last turn.
    pub fn settle_credits(&mut self) {
        self.local.settle_credits();
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

    fn app_of(&self, id: ConnId) -> Option<usize> {
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
