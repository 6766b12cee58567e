//! One core's thread: its monoio runtime, and the tasks in it.
//!
//! A handful of tasks a core, none a connection: one for the wire, one for the doorbell, one for time, one
//! a listener.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use monoio::task::JoinHandle;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use tracing::{error, warn};

use super::binding::{Bound, CoreListener};
use super::driver::{RING_ENTRIES, RuntimeKind, patiently, ring_builder};
use super::plan::Plan;
use super::turn::Turn;
use super::upgrade::CoreSeat;

use crate::app::envelope::Body;
use crate::app::host::Host;
use crate::bus::Endpoint;
use crate::log_limiter::SharedLogLimiter;
use crate::net::accept_shares::{GRACE, MOST};
use crate::net::async_fd::AsyncFd;
use crate::net::http::{Access, Api, PendingRequests, Port};
use crate::net::input_buffers::InputBuffers;
use crate::net::listener::Listener;
use crate::net::origin::Origins;
use crate::net::transport::Transport;
use crate::net::wire::WireKind;
use crate::stats::DriverNames;

/// Connections accepted before what they have sent is looked at.
const ACCEPTS_PER_TURN: usize = 64;
/// Time without accepting after descriptors or memory ran out: one log line and one try a second.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Runs one core to its end. Reports once whether it has started.
pub fn run(
    plan: &Plan,
    bus: Endpoint<Body>,
    bound: Bound,
    seat: Option<CoreSeat>,
    report: &Sender<io::Result<()>>,
) -> io::Result<()> {
    let uring = match plan.driver.runtime {
        RuntimeKind::Epoll => None,
        kind => Some(patiently(|| {
            RuntimeBuilder::<IoUringDriver>::new()
                .uring_builder(ring_builder(kind))
                .with_entries(RING_ENTRIES)
                .enable_timer()
                .build()
        })),
    };
    let fallen_back = match uring {
        Some(Ok(mut runtime)) => {
            return runtime.block_on(serve(plan, plan.driver.wire, bus, bound, seat, report));
        }
        Some(Err(cause)) => plan.driver.runtime_refused(&cause),
        None => Ok(()),
    };
    let epoll = || RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
    match fallen_back.and_then(|()| epoll()) {
        Ok(mut runtime) => runtime.block_on(serve(plan, WireKind::Epoll, bus, bound, seat, report)),
        Err(error) => {
            let text = format!("a core's runtime could not be built: {error}");
            let _ = report.send(Err(io::Error::new(error.kind(), text)));
            Err(error)
        }
    }
}

async fn serve(
    plan: &Plan,
    wire: WireKind,
    bus: Endpoint<Body>,
    bound: Bound,
    seat: Option<CoreSeat>,
    report: &Sender<io::Result<()>>,
) -> io::Result<()> {
    let (core, tasks) = match Tasks::start(plan, wire, bus, bound) {
        Ok(started) => {
            let _ = report.send(Ok(()));
            started
        }
        Err(error) => {
            let _ = report.send(Err(io::Error::new(error.kind(), error.to_string())));
            return Err(error);
        }
    };
    if let Some(seat) = seat {
        core.begin(seat);
    }
    core.turn();
    core.finished().await;
    // The runtime would keep a task that waits, and all that it holds, for ever.
    for task in tasks {
        task.await;
    }
    core.pending_requests.drop_all();
    Ok(())
}

/// The tasks of one core, and the turn they share. A turn never waits, so none begins inside another. They end
/// with the core.
pub struct Tasks {
    turn: RefCell<Turn>,
    host: Rc<RefCell<Host>>,
    pending_requests: Rc<PendingRequests>,
    /// When there is to be a turn even if nothing happens.
    armed: Cell<Option<Instant>>,
    /// The task that sees to it.
    timekeeper: RefCell<Option<Waker>>,
    /// All that wait for the core's end.
    until_end: RefCell<Vec<Waker>>,
    /// All that wait for it to let connections in again.
    until_thaw: RefCell<Vec<Waker>>,
    /// What keeps connections from being accepted.
    exhausted: Arc<SharedLogLimiter>,
}

impl Tasks {
    fn start(
        plan: &Plan,
        wire: WireKind,
        mut bus: Endpoint<Body>,
        bound: Bound,
    ) -> io::Result<(Rc<Tasks>, Vec<JoinHandle<()>>)> {
        let specs = plan.specs();
        let origins = Origins::new(&plan.config.origins);
        let wire = plan.driver.wire(wire)?;
        let driver = DriverNames {
            runtime: runtime_kind().name(),
            connections: wire.kind().name(),
        };
        let mut transport = Transport::new(
            wire,
            Rc::clone(&specs),
            origins,
            plan.admission(),
            plan.rates(),
            InputBuffers::new(plan.config.inbox_bytes_core_max),
            bound.handover,
        );
        transport.show(Arc::clone(&plan.readiness));
        if let Some(acceptor) = plan.tls() {
            transport.speak_tls(acceptor);
        }
        let wire = AsyncFd::new(transport.descriptor())?;
        let bell = AsyncFd::new(bus.descriptor())?;
        let core_number = bus.core();
        let _ = bus.arm();
        let mut host = Host::new(
            &plan.config,
            bus,
            specs,
            Arc::clone(&plan.registry),
            plan.make_apps(),
            Instant::now(),
        );
        host.shard().stats.driver = driver;
        host.shard().connections.set_node(plan.node);
        host.shard().connections.begin_behind(fastrand::u32(..));
        if let Some(verifier) = plan.verifier() {
            host.set_verifier(verifier);
        }
        if let Some(reporter) = plan.reporter(core_number) {
            host.report_to(reporter);
        }
        let host = Rc::new(RefCell::new(host));
        let pending_requests = Rc::new(PendingRequests::default());
        let ports = make_ports(plan, &host, &pending_requests);
        let pending = Rc::clone(&pending_requests);
        transport.serve(ports, pending, plan.config.http_body_bytes_max);
        let listeners: Rc<[CoreListener]> = bound.listeners.into();
        let tasks = Rc::new(Tasks {
            turn: RefCell::new(Turn::new(
                transport,
                Rc::clone(&listeners),
                plan.progress.clone(),
                Arc::clone(&plan.current),
                Arc::clone(&plan.desk),
                bound.lane,
                core_number,
            )),
            host: Rc::clone(&host),
            pending_requests,
            armed: Cell::new(None),
            timekeeper: RefCell::new(None),
            until_end: RefCell::default(),
            until_thaw: RefCell::default(),
            exhausted: Arc::clone(&plan.exhausted),
        });
        host.borrow_mut().start();
        let spawned = tasks.spawn_all(wire, bell, &listeners)?;
        Ok((tasks, spawned))
    }

    /// Starts the tasks that wait: for events, for mail, for time, for connections.
    fn spawn_all(
        self: &Rc<Self>,
        wire: AsyncFd,
        bell: AsyncFd,
        listeners: &Rc<[CoreListener]>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let tasks = Rc::clone(self);
        let on_events = watch(wire, move || tasks.turn());
        let tasks = Rc::clone(self);
        let on_mail = watch(bell, move || {
            tasks.host.borrow_mut().bus().drain();
            tasks.turn();
        });
        let mut spawned = vec![
            self.spawn(on_events),
            self.spawn(on_mail),
            self.spawn(Rc::clone(self).keep_time()),
        ];
        for number in 0..listeners.len() {
            let ready = AsyncFd::new(listeners[number].socket.descriptor())?;
            let accepting = Rc::clone(self).accept(Rc::clone(listeners), number, ready);
            spawned.push(self.spawn(accepting));
        }
        Ok(spawned)
    }

    /// Starts a task that is dropped at the core's end, wherever it waits: it waits for a descriptor or for
    /// time, so nothing is lost by it, and no memory is in the kernel's hands.
    fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
        let end = self.finished();
        monoio::spawn(async move {
            let (mut end, mut task) = (pin!(end), pin!(task));
            poll_fn(|waker| match end.as_mut().poll(waker) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => task.as_mut().poll(waker),
            })
            .await;
        })
    }

    /// Takes what another process has had: this waits for all of it.
    fn begin(self: &Rc<Self>, seat: CoreSeat) {
        let arrivals = {
            let mut turn = self.turn.borrow_mut();
            seat.take(&mut self.host.borrow_mut(), turn.lane())
        };
        let Some(arrivals) = arrivals else {
            // The other process goes on. This one ends, and tells nobody of connections that are not its own.
            loop {
                std::thread::park();
            }
        };
        self.turn.borrow_mut().begin_with(&self.host, arrivals);
    }

    /// One round of the core: everything that waits is taken, everything caused is written or posted.
    pub fn turn(self: &Rc<Self>) {
        let due = {
            let mut turn = self.turn.borrow_mut();
            turn.run(&self.host);
            turn.next_due(&self.host.borrow())
        };
        if let Some(due) = due {
            self.arm(due);
        }
        if self.turn.borrow().is_finished() {
            for waker in self.until_end.take() {
                waker.wake();
            }
        }
        if !self.until_thaw.borrow().is_empty() && !self.turn.borrow().has_newcomers_wait() {
            for waker in self.until_thaw.take() {
                waker.wake();
            }
        }
    }

    /// Sees to it that there is a turn at this time.
    fn arm(self: &Rc<Self>, due: Instant) {
        if self.armed.get().is_some_and(|armed| armed <= due) {
            return;
        }
        self.armed.set(Some(due));
        if let Some(waker) = self.timekeeper.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Makes a turn whenever the time that is armed has come. One timer for all, set anew: one for each
    /// time would stay until that time, however often an earlier one came between.
    async fn keep_time(self: Rc<Self>) {
        let mut sleep = pin!(monoio::time::sleep(Duration::ZERO));
        loop {
            poll_fn(|task| {
                *self.timekeeper.borrow_mut() = Some(task.waker().clone());
                let Some(due) = self.armed.get() else {
                    return Poll::Pending;
                };
                if sleep.deadline() != due.into() {
                    sleep.as_mut().reset(due.into());
                }
                sleep.as_mut().poll(task)
            })
            .await;
            self.armed.set(None);
            self.turn();
        }
    }

    fn finished(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let tasks = Rc::clone(self);
        let mut waits = false;
        poll_fn(move |task| {
            if tasks.turn.borrow().is_finished() {
                return Poll::Ready(());
            }
            // Once is enough: a task of this runtime has one waker for all its life.
            if !mem::replace(&mut waits, true) {
                tasks.until_end.borrow_mut().push(task.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Waits until the core lets connections in again, if it does not for now.
    fn thawed(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let tasks = Rc::clone(self);
        poll_fn(move |task| {
            if !tasks.turn.borrow().has_newcomers_wait() {
                return Poll::Ready(());
            }
            tasks.until_thaw.borrow_mut().push(task.waker().clone());
            Poll::Pending
        })
    }

    /// Whether a listener lets connections in, now or when that has been waited for.
    async fn accepts(self: &Rc<Self>, number: u16) -> bool {
        self.thawed().await;
        self.turn.borrow().accepts(number)
    }

    async fn accept(self: Rc<Self>, listeners: Rc<[CoreListener]>, at: usize, mut ready: AsyncFd) {
        let number = listeners[at].number;
        let shares = listeners[at].socket.kind().shares.clone();
        let core = self.host.borrow_mut().core().index();
        let mut most = 1;
        while ready.wait().await.is_ok() && self.accepts(number).await {
            let Some(shares) = &shares else {
                self.accept_some(&listeners[at], ACCEPTS_PER_TURN).await;
                continue;
            };
            let is_in_turn = !shares.is_ahead(core);
            if !is_in_turn {
                monoio::time::sleep(GRACE).await;
            }
            // It may have shut meanwhile.
            if !self.accepts(number).await {
                return;
            }
            let count = self.accept_some(&listeners[at], most).await;
            if !is_in_turn && count == most {
                most = (2 * most).min(MOST);
                continue;
            }
            most = 1;
            if is_in_turn && count > 0 {
                shares.count(core);
            }
        }
    }

    /// Accepts so many at most, and makes a turn for them. How many there were.
    async fn accept_some(self: &Rc<Self>, listener: &CoreListener, most: usize) -> usize {
        let (mut exhausted, mut taken) = (false, 0);
        while taken < most {
            match listener.socket.accept() {
                Ok((stream, peer)) => {
                    taken += 1;
                    let mut host = self.host.borrow_mut();
                    self.turn
                        .borrow_mut()
                        .accept(&mut host, listener.number, stream, peer);
                }
                Err(error) if is_of_one_connection(&error) => taken += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    exhausted = true;
                    complain(&self.exhausted, &listener.socket, &error);
                    break;
                }
            }
        }
        self.turn();
        if exhausted {
            monoio::time::sleep(ACCEPT_PAUSE).await;
        }
        taken
    }
}

/// What this thread's runtime waits with.
fn runtime_kind() -> WireKind {
    match monoio::utils::is_legacy() {
        true => WireKind::Epoll,
        false => WireKind::Uring,
    }
}

/// What each listener serves over HTTP, if that is what it speaks.
fn make_ports(
    plan: &Plan,
    host: &Rc<RefCell<Host>>,
    pending_requests: &Rc<PendingRequests>,
) -> Vec<Option<Rc<Port>>> {
    let mut ports = vec![None; plan.layout.specs.len()];
    for site in &plan.layout.sites {
        let api = Api::new(
            Rc::clone(host),
            Rc::clone(pending_requests),
            site.reach,
            Access::new(plan.backend_tokens.clone()),
            Arc::clone(&plan.facts),
        );
        ports[usize::from(site.number)] = Some(Rc::new(Port::new(
            site.served.clone(),
            api,
            Rc::from(plan.listeners_json.as_str()),
            Arc::clone(&plan.readiness),
        )));
    }
    ports
}

/// Calls `turn` whenever the descriptor can be read.
async fn watch(mut ready: AsyncFd, turn: impl Fn()) {
    loop {
        match ready.wait().await {
            Ok(()) => turn(),
            Err(error) => {
                // Without its wire or its doorbell a core is deaf; the process must not go on so.
                error!(%error, "a core cannot wait any more");
                std::process::abort();
            }
        }
    }
}

/// Says why nobody can come in: every listener of every core tries once a second, and one line a second is
/// enough of it.
fn complain(exhausted: &SharedLogLimiter, listener: &Listener, error: &io::Error) {
    let Some(more) = exhausted.may_log(Instant::now()) else {
        return;
    };
    let listener = listener.address().map(tracing::field::display).ok();
    let hint = match error.raw_os_error() {
        Some(libc::EMFILE) => {
            ": this process may have no more descriptors (ulimit -n, LimitNOFILE=)"
        }
        Some(libc::ENFILE) => ": this machine may have no more descriptors (fs.file-max)",
        _ => "",
    };
    warn!(%error, listener, more, "cannot accept, trying again in a second{hint}");
}

/// Errors of accept(2) that concern the connection accepted, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    ) || matches!(
        error.raw_os_error(),
        Some(
            libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}
