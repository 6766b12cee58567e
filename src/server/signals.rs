//! A server run by a process of its own, which signals end and a service manager watches: SIGINT or SIGTERM
//! drains, a second one, after a second, leaves at once; SIGHUP has read anew what can be.
//!
//! One thread takes the signals, another waits for the cores, the caller's own drains. That is [`Server::run`].

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use super::builder::{OnReload, Server};
use super::reload::Reload;
use super::running::Running;
use super::start_error::named;
use super::supervisor::Supervisor;
use super::upgrade::Upgrader;
use super::watchdog::Watchdog;
use crate::auth::Keyring;
use crate::config::Auth;

/// A further signal that comes so soon is the same one: whoever ends a whole group of processes reaches one twice.
const SAME_SIGNAL: Duration = Duration::from_secs(1);
/// For the log's last lines where the process leaves at once.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_millis(200);

impl Server {
    /// Binds the listeners, starts the cores, and serves until SIGINT or SIGTERM; then drains. A second
    /// signal, a second or more after the first, ends the process at once, with status 1. A service manager that names
    /// itself by `NOTIFY_SOCKET` is told of all that, and by its watchdog's time that every core makes turns
    /// (sd_notify(3)).
    ///
    /// What there is to say, where it listens first, it says by [`tracing`]: without a subscriber, such as
    /// `tracing_subscriber::fmt::init()`, nothing is printed.
    pub fn run(self) -> io::Result<()> {
        self.run_with(|running| {
            for one in running.listening() {
                info!(app = one.namespace, url = one.url, "listening");
            }
        })
    }

    /// Runs it as [`run`](Server::run) does, calling `ready` when every listener is bound, to say so. A signal that comes from then on drains.
    pub fn run_with(self, ready: impl FnOnce(&Running)) -> io::Result<()> {
        run(self, ready)
    }
}

/// Starts a server, calls `ready`, and serves until a signal has drained it.
fn run(mut server: Server, ready: impl FnOnce(&Running)) -> io::Result<()> {
    let supervisor = Supervisor::from_environment().map(Arc::new);
    let mut wanted = vec![SIGINT, SIGTERM, SIGUSR2];
    let on_reload = server.on_reload.take();
    if on_reload.is_some() || supervisor.is_some() || server.config.auth != Auth::None {
        // Without any of them it means that the terminal is gone, and ends the process.
        wanted.push(SIGHUP);
    }
    let signals = Signals::new(wanted).map_err(|error| named("signals cannot be taken", &error))?;
    let running = server.start()?;
    let on_reload = on_reload.unwrap_or_else(|| Box::new(read_keys));
    ready(&running);
    if let Some(supervisor) = &supervisor {
        supervisor.ready(&status(&running));
    }
    wait(running, signals, supervisor, on_reload)
}

/// Why a server ends.
enum Ending {
    /// It was told to.
    Asked,
    /// A core has ended by itself.
    Mistake,
    /// Another process goes on in its place.
    Upgraded,
}

/// In one line, for the service manager.
fn status(running: &Running) -> String {
    format!(
        "cores: {}, listeners: {}",
        running.draining.remote().cores(),
        running.listening.len()
    )
}

fn wait(
    running: Running,
    signals: Signals,
    supervisor: Option<Arc<Supervisor>>,
    mut on_reload: OnReload,
) -> io::Result<()> {
    let handle = signals.handle();
    let (first, endings) = mpsc::channel();
    let core_ended = first.clone();
    let status = status(&running);
    let server = running.reload();
    let upgrader = Arc::new(running.upgrader()?);
    let taker = SignalTaker {
        endings: first,
        supervisor: supervisor.clone(),
        status,
        upgrader: Arc::clone(&upgrader),
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || taker.run(signals, || on_reload(&server)))
        .map_err(|error| named("no thread for signals", &error))?;
    let remote = running.draining.remote();
    // Goes on while the server drains, and ends with this function.
    let _watchdog = match &supervisor {
        Some(supervisor) => Watchdog::start(supervisor, remote)?,
        None => None,
    };
    let Running {
        cores,
        draining,
        bus,
        process_parts,
        cluster_thread,
        certificate_watch: _certificate_watch,
        claimed,
        ..
    } = running;
    // A core that ends by itself is our mistake: the others must not go on as if nothing were.
    let watch = move || {
        let result = cores.wait();
        drop(bus);
        let _ = core_ended.send(Ending::Mistake);
        result
    };
    let watch = thread::Builder::new().name("watch".into()).spawn(watch);
    let watch = watch.map_err(|error| named("no thread to watch the cores", &error))?;
    let asked = endings.recv().unwrap_or(Ending::Mistake);
    let began = Instant::now();
    let tell = |left| {
        if let Some(supervisor) = &supervisor {
            supervisor.stopping(left);
        }
    };
    let gone_to = upgrader.end();
    match (gone_to, asked) {
        (Some(upgraded), asked) => {
            if let Some(supervisor) = &supervisor {
                supervisor.succeeded_by(upgraded.pid);
            }
            upgrader.leave(claimed);
            if matches!(asked, Ending::Asked) {
                // It came meanwhile, and means the server.
                upgraded.end();
            }
        }
        (None, Ending::Asked) => draining.run(tell),
        (None, _) => tell(None),
    }
    let result = watch
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the watch over the cores panicked")));
    if let Some(thread) = cluster_thread {
        thread.finish();
    }
    if gone_to.is_none() {
        // The last events have some time, too.
        tell(None);
    }
    match (process_parts.take_webhooks(), gone_to) {
        // What waits is the other process' to deliver.
        (Some(webhooks), Some(_)) => webhooks.give_up(),
        (Some(webhooks), None) => webhooks.finish(began),
        (None, _) => {}
    }
    handle.close();
    result
}

/// Does what signals ask for.
struct SignalTaker {
    endings: mpsc::Sender<Ending>,
    supervisor: Option<Arc<Supervisor>>,
    /// For the service manager.
    status: String,
    upgrader: Arc<Upgrader>,
}

impl SignalTaker {
    /// Until the signals' handle is closed: the first that ends is passed on, the second ends the process, unless it comes
    /// with the first.
    fn run(&self, mut signals: Signals, mut reload: impl FnMut()) {
        let mut draining: Option<Instant> = None;
        for signal in signals.forever() {
            match (signal, draining) {
                (SIGHUP, None) => self.reload(&mut reload),
                (SIGHUP, Some(_)) => info!("SIGHUP while the server drains: nothing is read anew"),
                (SIGUSR2, None) => self.upgrade(),
                (SIGUSR2, Some(_)) => info!("SIGUSR2 while the server drains: nothing is upgraded"),
                (_, Some(since)) if since.elapsed() < SAME_SIGNAL => info!(
                    signal,
                    "a second signal within a second counts as the first"
                ),
                (_, Some(_)) => {
                    warn!(signal, "second signal: leaving at once");
                    crate::log::flush(LAST_WORDS_TIME_MAX);
                    std::process::exit(1);
                }
                (_, None) => {
                    draining = Some(Instant::now());
                    info!(signal, "draining; a second signal leaves at once");
                    if self.endings.send(Ending::Asked).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn reload(&self, reload: &mut impl FnMut()) {
        // What is handed over is not changed meanwhile, and the new process reads all anew.
        let Some(_kept) = self.upgrader.keep() else {
            return info!("SIGHUP while the server is upgraded: the new process reads all anew");
        };
        if let Some(supervisor) = &self.supervisor {
            supervisor.reloading();
        }
        reload();
        if let Some(supervisor) = &self.supervisor {
            supervisor.ready(&self.status);
        }
    }

    /// On a thread of its own: a signal that ends the process is taken meanwhile.
    fn upgrade(&self) {
        let (upgrader, endings) = (Arc::clone(&self.upgrader), self.endings.clone());
        let upgrade = move || {
            if upgrader.run_and_tell() {
                // Nobody may be waiting any more.
                let _ = endings.send(Ending::Upgraded);
            }
        };
        let started = thread::Builder::new().name("upgrade".into()).spawn(upgrade);
        if let Err(error) = started {
            error!(%error, "no thread for an upgrade");
        }
    }
}

/// All that SIGHUP does where nobody has said what it is to do.
fn read_keys(server: &Reload) {
    match server.keyring.as_deref().map(Keyring::reload) {
        Some(Ok(keys)) => info!(keys, "the keys of clients' proofs have been read anew"),
        Some(Err(error)) => error!(%error, "the keys stay what they were"),
        None => warn!(
            "SIGHUP: nothing is re-read while the server runs; restart it for a changed configuration"
        ),
    }
}
