//! A turn: one round of a core's loop.
//!
//! Time is read once; then the mailbox is delivered, the wire's events are read into the apps, what has its
//! answers or its credit goes on, and at last each connection that something was queued for is written once.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::binding::CoreListener;
use super::client_drain::ClientDrain;
use super::drain::DrainProgress;
use super::reload::Current;
use super::sweep::{SweepTask, Sweeps};
use super::upgrade::{CopyPass, KeptConnections, Lane, Parting, Show, UpgradeDesk, give_way};
use crate::app::envelope::{Body, DrainStep, UpgradeStep};
use crate::app::host::{Arrival, Handled, Host};
use crate::app::round::WorkSource;
use crate::bus::Envelope;
use crate::ident::CoreId;
use crate::net::http::PendingRequests;
use crate::net::listener::ask_after_silence;
use crate::net::rates::Rates;
use crate::net::transport::Transport;
use crate::shard::ListenerSpec;

/// Rounds of one turn, as long as each ends with new events on the wire: the way through the runtime costs
/// more than a small round. Then, and after so much time, the listeners, the timers and HTTP get their share.
const ROUNDS_PER_TURN: usize = 8;
const ROUNDS_TIME: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum TurnPhase {
    Serving,
    /// No clients are let in, and those that are there are closed by and by; all else is served.
    Shut,
    /// Nothing is accepted or read; what is under way is delivered.
    Quiet,
    /// As quiet, until all has gone to another process or come back.
    Frozen,
    /// Every connection is closing; the core ends when none is left, or at this time.
    Finishing(Instant),
    Finished,
}

pub struct Turn {
    transport: Transport,
    /// Requests whose answers are not known.
    pending_requests: Rc<PendingRequests>,
    listeners: Rc<[CoreListener]>,
    progress: Arc<[DrainProgress]>,
    /// What holds, if that changes.
    current: Arc<Current>,
    core: CoreId,
    phase: TurnPhase,
    /// Whom to close in [`TurnPhase::Shut`].
    client_drain: ClientDrain,
    /// What is being done to everybody.
    sweeps: Sweeps,
    /// What is to be done in an upgrade,
    desk: Arc<UpgradeDesk>,
    /// the connections that are being copied, and what went wrong with that,
    copy_pass: Option<CopyPass>,
    copy_problem: Option<String>,
    /// those that have been sent,
    kept: KeptConnections,
    /// what other nodes want when its state is sent: whoever goes on does it,
    holds_orders: bool,
    held: Vec<Envelope<Body>>,
    /// whether another one does,
    has_left: bool,
    /// whether newcomers wait, so that handshakes under way can end,
    holds_newcomers: bool,
    /// and how descriptors go where each core has a table of its own.
    lane: Option<Lane>,
}

impl Turn {
    pub fn new(
        transport: Transport,
        listeners: Rc<[CoreListener]>,
        progress: Arc<[DrainProgress]>,
        current: Arc<Current>,
        desk: Arc<UpgradeDesk>,
        lane: Option<UnixStream>,
        core: CoreId,
    ) -> Turn {
        Turn {
            pending_requests: transport.pending_requests(),
            transport,
            listeners,
            progress,
            current,
            core,
            phase: TurnPhase::Serving,
            client_drain: ClientDrain::default(),
            sweeps: Sweeps::default(),
            desk,
            copy_pass: None,
            copy_problem: None,
            kept: KeptConnections::default(),
            holds_orders: false,
            held: Vec::new(),
            has_left: false,
            holds_newcomers: false,
            lane: lane.map(Lane::new),
        }
    }

    /// Whether a listener still lets connections in.
    pub fn accepts(&self, listener: u16) -> bool {
        match self.phase {
            TurnPhase::Serving => !self.holds_newcomers,
            TurnPhase::Shut => !self.transport.is_for_clients(listener),
            _ => false,
        }
    }

    /// Whether it lets none in for now, and may do so again.
    pub fn has_newcomers_wait(&self) -> bool {
        self.is_frozen() || self.phase == TurnPhase::Serving && self.holds_newcomers
    }

    fn is_frozen(&self) -> bool {
        self.phase == TurnPhase::Frozen
    }

    pub fn is_finished(&self) -> bool {
        self.phase == TurnPhase::Finished
    }

    /// When there is to be a turn even if nothing happens: when something is due, or the core ends even if connections are
    /// left.
    pub fn next_due(&self, host: &Host) -> Option<Instant> {
        let until = match self.phase {
            TurnPhase::Finishing(until) => Some(until),
            _ => None,
        };
        let pending_requests = self.pending_requests.next_due();
        let host_due = host.next_due().filter(|_| !self.is_frozen());
        [host_due, pending_requests, until]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn accept(&mut self, host: &mut Host, listener: u16, stream: TcpStream, peer: SocketAddr) {
        if self.accepts(listener) {
            // The last turn may be long past, and its time with it.
            host.set_now(Instant::now());
            self.transport.accept(host, listener, stream, peer);
        }
    }

    /// Makes a turn. The host is borrowed within it, but not while a request goes on, which borrows it itself.
    pub fn run(&mut self, host: &RefCell<Host>) {
        host.borrow_mut().bus().disarm();
        let began = Instant::now();
        let mut left = self.round(host, began);
        for _ in 1..ROUNDS_PER_TURN {
            if !self.transport.has_ready() {
                break;
            }
            let now = Instant::now();
            if now - began > ROUNDS_TIME {
                break;
            }
            left = self.round(host, now);
        }
        let host = &mut *host.borrow_mut();
        let copying = self.go_on_copying(host);
        let unfinished = left
            || copying
            || self.pending_requests.are_left()
            || self.transport.has_input_left()
            || self.transport.can_resume(host)
            || host.has_readers();
        // Unfinished work rings our own bell: the loop parks once, and whatever else has arrived in the
        // meantime gets its turn, too. A task that woke itself would starve the others.
        if unfinished || !host.bus().arm() {
            host.bus().ring_self();
        }
        if self.phase != TurnPhase::Serving {
            self.report(host, unfinished);
        }
        // The one other look at the clock of a turn, however much was done in it.
        host.shard().stats.turns.add(began.elapsed());
    }

    /// Takes what there is and writes what it causes, each as much as one round may. Returns whether mail
    /// or writes are left.
    fn round(&mut self, shared: &RefCell<Host>, now: Instant) -> bool {
        let mut borrowed = shared.borrow_mut();
        let host = &mut *borrowed;
        host.begin_round(now);
        let begun = host.work();
        let mut mail_left = self.deliver(host, WorkSource::Mail);
        host.settle_credits();
        self.transport.take_ready(host);
        if !mail_left {
            self.transport.read_rest(host);
        } else if !self.transport.has_input_left() {
            mail_left = self.deliver(host, WorkSource::Rest);
        }
        drop(borrowed);
        self.poll_requests(shared, now);
        let host = &mut *shared.borrow_mut();
        self.sweeps.go_on(host, &mut self.transport);
        self.client_drain.go_on(host);
        // After what is ready: what had arrived before a deadline counts, even if we were late to look. And after
        // everybody has been told of other deadlines.
        match self.transport.has_caught_up(now) && !self.sweeps.is_under_way() {
            // What is not read is nobody's silence, and what is due may be another process' to do.
            _ if self.is_frozen() => {}
            true => host.expire(),
            false => host.run_timers(),
        }
        let units = host.work() - begun;
        let most = &mut host.shard().stats.round_units_max;
        *most = units.max(*most);
        self.transport.resume(host);
        self.transport.cut_off_overdue(host);
        self.transport.ask_for_acknowledged(host);
        host.tell_expired();
        host.read_on();
        host.bus().ring_posted();
        let writes_left = self.transport.flush(host);
        self.transport.depart_all(host);
        self.transport.settle();
        host.publish_taken();
        host.bus().ring_posted();
        let swept = !self.sweeps.is_under_way() && !self.client_drain.is_behind();
        mail_left || writes_left || !swept || !self.is_frozen() && host.has_due()
    }

    /// Goes on with requests that are not answered: those that are new or have what they waited for, then one helping each
    /// of those that have had one. At least one of either: however much else there is, they get on.
    fn poll_requests(&mut self, host: &RefCell<Host>, now: Instant) {
        self.pending_requests.wake_due(now);
        let resting = self.pending_requests.resting();
        if !self.pending_requests.are_left() {
            return self.transport.settle_left();
        }
        host.borrow_mut().enter(WorkSource::Fresh);
        while let Some(key) = self.pending_requests.next_woken() {
            self.poll_request(host, key);
            if !host.borrow_mut().goes_on() {
                break;
            }
        }
        host.borrow_mut().enter(WorkSource::Again);
        for _ in 0..resting {
            let Some(key) = self.pending_requests.next_resting() else {
                break;
            };
            self.poll_request(host, key);
            if !host.borrow_mut().goes_on() {
                break;
            }
        }
        self.transport.settle_left();
    }

    fn poll_request(&mut self, host: &RefCell<Host>, key: usize) {
        if let Some(done) = self.pending_requests.poll(key) {
            self.transport.answer(&mut host.borrow_mut(), done);
        }
    }

    /// Delivers what the mailbox holds. Returns whether there is more than the round has room for.
    fn deliver(&mut self, host: &mut Host, source: WorkSource) -> bool {
        host.enter(source);
        while host.goes_on() {
            let Some(envelope) = host.take() else {
                return false;
            };
            if self.holds_orders && matches!(envelope.body, Body::FromEngine(_)) {
                self.hold(envelope);
                continue;
            }
            match host.receive(envelope) {
                Handled::Done => {}
                Handled::Arrived(arrival) => {
                    let id = arrival.connection;
                    self.transport.adopt(host, arrival);
                    match self.phase {
                        TurnPhase::Shut => self.client_drain.add(id),
                        TurnPhase::Finishing(_) => self.transport.close(host, id),
                        _ => {}
                    }
                }
                Handled::Drain(stage) => self.advance(host, stage),
                Handled::Upgrade(step) => self.upgrade(host, step),
                Handled::Renew => self.renew(host),
            }
        }
        true
    }

    /// What another node wants while it is not decided who goes on. Whoever has left does not say that nobody is here: then it
    /// is unknown there.
    fn hold(&mut self, envelope: Envelope<Body>) {
        if !self.has_left {
            self.held.push(envelope);
        }
    }

    /// Goes on with other limits.
    fn renew(&mut self, host: &mut Host) {
        let Some(renewal) = self.current.renewal() else {
            return debug_assert!(false, "there is a renewal before a core is told");
        };
        let (config, doors) = (&*renewal.config, &*renewal.doors);
        let specs: Rc<[ListenerSpec]> = renewal.specs.iter().cloned().collect();
        let watched = host.shard().watches_silence();
        let since_now = host.set_limits(config, Rc::clone(&specs));
        let rates = Rates::new(&renewal.rates, config.rate_burst, renewal.epoch);
        let mut touch = self.transport.renew(specs, config, doors, rates);
        if watched && !host.shard().watches_silence() {
            for listener in &*self.listeners {
                if let Err(error) = ask_after_silence(&listener.socket.descriptor()) {
                    warn!(%error, "the kernel does not ask after newcomers' silence");
                }
            }
            touch.ask_after_silence = true;
        }
        let what = SweepTask::Renew { since_now, touch };
        self.sweeps.begin(host, &mut self.transport, what);
    }

    fn advance(&mut self, host: &mut Host, stage: DrainStep) {
        match stage {
            DrainStep::Shut => {
                self.phase = TurnPhase::Shut;
                self.transport.be_shut();
                for listener in &*self.listeners {
                    if self.transport.is_for_clients(listener.number) {
                        listener.socket.stop();
                    }
                }
                self.client_drain.begin(host, &self.transport);
            }
            DrainStep::Close { count } => self.client_drain.close(host, count),
            DrainStep::Quiet => {
                self.phase = TurnPhase::Quiet;
                for listener in &*self.listeners {
                    listener.socket.stop();
                }
                self.transport.be_quiet(host);
            }
            DrainStep::Finish { until } => {
                self.phase = TurnPhase::Finishing(until);
                self.transport.begin_to_close();
                self.sweeps
                    .begin(host, &mut self.transport, SweepTask::Close);
            }
        }
    }

    /// A step of handing all over to another process.
    fn upgrade(&mut self, host: &mut Host, step: UpgradeStep) {
        match step {
            UpgradeStep::Show => {
                let listeners = self.shown_listeners();
                self.desk.show(match &mut self.lane {
                    Some(lane) => lane.show(self.desk.number(), self.core, listeners),
                    None => Show::Here(self.core, listeners),
                });
            }
            UpgradeStep::Freeze => {
                self.phase = TurnPhase::Frozen;
                self.transport.freeze();
            }
            UpgradeStep::Connect
            | UpgradeStep::Copy
            | UpgradeStep::HoldNewcomers
            | UpgradeStep::SendState
            | UpgradeStep::HandOver => {
                let Some(parting) = self.desk.parting() else {
                    return debug_assert!(false, "it is laid down before a core is told");
                };
                if step == UpgradeStep::Copy {
                    self.copy_pass = Some(CopyPass::new(host, &mut self.transport, &parting));
                } else {
                    let sent = self.send(host, step, &parting);
                    let moment = self.transport.copies().map(|copies| copies.moment.tick);
                    let ahead = moment.map_or(0, |moment| host.shard().ticks_until(moment));
                    parting.report(self.core, sent, ahead);
                }
            }
            UpgradeStep::TakeBack => {
                (self.copy_pass, self.copy_problem) = (None, None);
                self.transport.end_copies(host);
                self.holds_newcomers = false;
                self.kept.put_back(host, &mut self.transport);
            }
            UpgradeStep::GoOn => {
                if self.is_frozen() {
                    self.phase = TurnPhase::Serving;
                    self.transport.thaw(host);
                }
                self.holds_orders = false;
                for envelope in std::mem::take(&mut self.held) {
                    host.receive(envelope);
                }
            }
            UpgradeStep::Leave { until } => self.leave(host, until),
        }
    }

    /// Does what the step says. How many connections that were.
    fn send(
        &mut self,
        host: &mut Host,
        step: UpgradeStep,
        parting: &Parting,
    ) -> Result<u64, String> {
        if let Some(lane) = &mut self.lane
            && step == UpgradeStep::Connect
        {
            lane.take_channels(self.desk.number(), parting.until())?;
        }
        let ours = self.lane.as_mut().map_or(&mut [][..], Lane::channels);
        match step {
            UpgradeStep::HandOver => {
                self.copy_problem.take().map_or(Ok(()), Err)?;
                let transport = &mut self.transport;
                let handed = self.kept.hand_over(host, transport, parting, ours);
                self.transport.be_handed_over();
                handed
            }
            UpgradeStep::SendState => {
                self.holds_orders = true;
                host.hold_interests();
                parting.send_state(host, ours).map(|()| 0)
            }
            UpgradeStep::HoldNewcomers => {
                self.holds_newcomers = true;
                Ok(self.transport.tls_handshakes(host))
            }
            _ => Ok(0),
        }
    }

    /// Goes on with copying connections to another process, and tells it which of them are gone. Whether there is more to
    /// do.
    fn go_on_copying(&mut self, host: &mut Host) -> bool {
        if self.copy_pass.is_none() && !self.transport.copies().is_some_and(|it| it.has_lost()) {
            return false;
        }
        let Some(parting) = self.desk.parting() else {
            return false;
        };
        let ours = self.lane.as_mut().map_or(&mut [][..], Lane::channels);
        let transport = &mut self.transport;
        let told = match &self.copy_problem {
            None => parting.tell_lost(transport, ours),
            Some(problem) => Err(problem.clone()),
        };
        let copied = match &mut self.copy_pass {
            Some(pass) => told.and_then(|()| pass.go_on(host, transport, &parting, ours)),
            None => told.map(|()| None),
        };
        match copied {
            Ok(None) => self.copy_pass.is_some(),
            Ok(Some(sent)) => {
                self.copy_pass = None;
                parting.report(self.core, Ok(sent), 0);
                false
            }
            Err(problem) => {
                if self.copy_pass.take().is_some() {
                    parting.report(self.core, Err(problem.clone()), 0);
                }
                self.copy_problem = Some(problem);
                false
            }
        }
    }

    /// How descriptors come to this core, where each has a table of its own.
    pub fn lane(&mut self) -> Option<&mut Lane> {
        self.lane.as_mut()
    }

    /// Copies of the listening sockets. If there is no room for one, it is not shown, and the other process does without.
    fn shown_listeners(&self) -> Vec<(u16, OwnedFd)> {
        let copy = |listener: &CoreListener| {
            let copy = listener.socket.descriptor().try_clone_to_owned();
            Some((listener.number, copy.ok()?))
        };
        self.listeners.iter().filter_map(copy).collect()
    }

    /// What was sent is another process'. What is left is closed, and its listeners are.
    fn leave(&mut self, host: &mut Host, until: Instant) {
        let parting = self.desk.parting();
        for listener in &*self.listeners {
            let has_gone = parting
                .as_ref()
                .is_some_and(|it| it.has_listener(listener.number));
            if !has_gone {
                listener.socket.stop();
            }
        }
        give_way();
        self.has_left = true;
        self.held = Vec::new();
        self.kept.let_go();
        self.transport.leave_copied(host);
        self.lane = None;
        self.phase = TurnPhase::Finishing(until);
        self.transport.begin_to_leave(host);
        self.sweeps
            .begin(host, &mut self.transport, SweepTask::Close);
    }

    /// Begins with connections that another process has had. They are read when all cores have theirs.
    pub fn begin_with(&mut self, host: &RefCell<Host>, arrivals: Vec<Arrival>) {
        let host = &mut *host.borrow_mut();
        self.phase = TurnPhase::Frozen;
        self.transport.freeze();
        for listener in &*self.listeners {
            listener.socket.own();
        }
        for arrival in arrivals {
            self.transport.adopt_foreign(host, arrival);
        }
    }

    /// Tells the thread that drains how far this core is.
    fn report(&mut self, host: &mut Host, unfinished: bool) {
        let connections = host.shard().stats.connections;
        if self.phase == TurnPhase::Shut {
            let clients = self.client_drain.len() as u64;
            return self.progress[self.core.index()].publish_shut(connections, clients);
        }
        let requests = match self.phase {
            TurnPhase::Frozen => self.pending_requests.finite(),
            _ => self.pending_requests.len(),
        };
        let working = unfinished
            || requests > 0
            || host.has_pending_calls()
            || self.is_frozen() && host.has_request_under_way();
        let kept = host.kept_messages();
        self.progress[self.core.index()].publish_quiet(working, connections, kept);
        let http_connections = host.shard().connections.http_connections();
        if let TurnPhase::Finishing(until) = self.phase
            && (connections == 0 && http_connections == 0 && !host.shard().has_held_events()
                || Instant::now() >= until)
        {
            host.shard().tell_held_events();
            self.phase = TurnPhase::Finished;
        }
    }
}
