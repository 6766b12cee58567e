//! [`Upgrader`]: the old one's part in an upgrade, on a thread of its own.
//!
//! Until the last word everything that has been done is undone when something fails: the cores get back what they have
//! sent, and read on.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::asker::tell_asker;
use super::channel::Channel;
use super::desk::{Show, UpgradeDesk};
use super::inventory::Inventory;
use super::lane::ServerLane;
use super::messages::{OfferedSocket, SuccessorPlaces, UpgradeOffer};
use super::parting::{Parting, PartingReport};
use super::process_parts::ProcessParts;
use super::program::Program;
use super::successor::Successor;
use crate::app::envelope::{Body, UpgradeStep};
use crate::ident::CoreId;
use crate::net::http::UpgradeFigures;
use crate::net::listen_address::ListenAddress;
use crate::net::unix_socket::ClaimedPath;
use crate::server::drain::Draining;
use crate::server::reload::Current;

/// For the cores to be as before, after something has failed: nothing is under way but what they put back.
const UNDO_TIME_MAX: Duration = Duration::from_secs(10);

/// For connections that could not go, to end.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(10);

/// Another process has all.
#[derive(Clone, Copy, Debug)]
pub struct Upgraded {
    pub pid: u32,
    pub connections: u64,
    pub pause: Duration,
}

impl Upgraded {
    /// Has it drain.
    pub fn end(self) {
        // SAFETY: it touches no memory.
        unsafe { libc::kill(self.pid as libc::pid_t, libc::SIGTERM) };
    }
}

/// What one is asked for by, and where it is bound, by a listener's number.
pub struct ListenerOffer {
    pub asked: String,
    pub address: ListenAddress,
    /// The name by which it was passed to the process, if it was.
    pub passed: Option<String>,
}

/// See the module.
pub struct Upgrader {
    pub program: Program,
    pub desk: Arc<UpgradeDesk>,
    pub inventory: Arc<Inventory>,
    pub draining: Draining,
    pub current: Arc<Current>,
    /// What is no core's.
    pub process_parts: Arc<ProcessParts>,
    /// To each core, where each has a descriptor table of its own.
    pub lanes: Arc<Vec<UnixStream>>,
    /// Of those that are bound.
    pub listeners: Vec<ListenerOffer>,
    pub figures: Arc<UpgradeFigures>,
    /// Held while one is under way, or all is read anew.
    pub whose: Mutex<Whose>,
}

/// Whose the connections are.
#[derive(Default)]
pub enum Whose {
    #[default]
    Ours,
    /// This process ends, and hands nothing over any more.
    Ending,
    /// Nothing is to be done with what has gone.
    Theirs(Upgraded),
}

impl Upgrader {
    /// This process ends: nothing is handed over from now on. One under way is finished first, whichever way it goes.
    /// The process that all has gone to, if it has.
    pub fn end(&self) -> Option<Upgraded> {
        let mut whose = self.whose.lock().unwrap_or_else(PoisonError::into_inner);
        if let Whose::Theirs(upgraded) = *whose {
            return Some(upgraded);
        }
        *whose = Whose::Ending;
        None
    }

    /// Nothing is handed over while this is held. `None` if that is done now, or is done.
    pub fn keep(&self) -> Option<MutexGuard<'_, Whose>> {
        let whose = self.whose.try_lock().ok()?;
        matches!(*whose, Whose::Ours).then_some(whose)
    }

    /// Does it, and tells the log and whoever has asked. Whether it is done; else all is as before.
    pub fn run_and_tell(&self) -> bool {
        info!("upgrade: a new process is started");
        let done = self.run();
        match &done {
            Ok(upgraded) => info!(
                pid = upgraded.pid,
                connections = upgraded.connections,
                pause = %humantime::format_duration(Duration::from_millis(upgraded.pause.as_millis() as u64)),
                "upgrade: the new process has taken all over; this one leaves"
            ),
            Err(error) => {
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
                error!(%error, "upgrade: it has failed, and this process goes on");
            }
        }
        tell_asker(&match &done {
            Ok(Upgraded {
                pid, connections, ..
            }) => format!("ok process {pid} goes on, with {connections} connections"),
            Err(error) => format!("fail {error}"),
        });
        done.is_ok()
    }

    /// Has the cores end with what is left; nothing that was sent is touched.
    pub fn leave(&self, claimed: Vec<ClaimedPath>) {
        let parting = self.desk.parting();
        let theirs = |address: &ListenAddress| {
            let at = self
                .listeners
                .iter()
                .position(|one| one.address == *address);
            at.is_some_and(|at| {
                parting
                    .as_ref()
                    .is_some_and(|it| it.has_listener(at as u16))
            })
        };
        for path in claimed {
            path.leave_to_others(theirs);
        }
        let until = Instant::now() + self.current.config().drain_timeout.min(LEAVING_TIME_MAX);
        self.draining
            .post(|| Body::Upgrade(UpgradeStep::Leave { until }));
    }

    /// Hands all over to a new process. An error says why not, and all is as before.
    pub fn run(&self) -> Result<Upgraded, String> {
        let mut whose = self.whose.lock().unwrap_or_else(PoisonError::into_inner);
        match *whose {
            Whose::Ours => {}
            Whose::Ending => return Err("this process drains".to_owned()),
            Whose::Theirs(_) => return Err("this process has handed all over already".to_owned()),
        }
        if std::process::id() == 1 {
            return Err(
                "this process is the first of its container, which ends with it; run it below an init (docker run \
                 --init)"
                    .to_owned(),
            );
        }
        let config = self.current.config();
        let until = Instant::now() + config.upgrade_timeout;
        let upgraded = self.hand_over(until)?;
        *whose = Whose::Theirs(upgraded);
        Ok(upgraded)
    }

    fn hand_over(&self, until: Instant) -> Result<Upgraded, String> {
        let (sockets, descriptors) = self.look(until)?;
        let mut successor = Successor::start(&self.program, until)?;
        info!(
            pid = successor.pid(),
            release = successor.release(),
            "the new process has read its configuration"
        );
        let (namespaces, app_namespaces) = self.inventory.namespaces();
        let offer = UpgradeOffer {
            upgrades: self.figures.done.load(Ordering::Relaxed),
            listeners: self.inventory.listeners.clone(),
            sockets,
            namespaces,
            app_namespaces,
            time: until.saturating_duration_since(Instant::now()).as_millis() as u64,
        };
        let (ready, channels) = successor.offer(&offer, &descriptors, until)?;
        drop(descriptors);
        // Before anybody has to wait for it.
        if !self.process_parts.hold() {
            return Err("a request of a webhook does not end".to_owned());
        }
        let frozen = Instant::now();
        let pid = successor.pid();
        let done = self.freeze_and_send(&mut successor, ready, channels, until);
        let done = done.and_then(|connections| {
            let pause = frozen.elapsed();
            successor.commit(pause)?;
            Ok(Upgraded {
                pid,
                connections,
                pause,
            })
        });
        if done.is_err() {
            // The new process is gone by now.
            self.undo();
        }
        done
    }

    /// Asks the cores what they have.
    fn look(&self, until: Instant) -> Result<(Vec<OfferedSocket>, Vec<OwnedFd>), String> {
        let shown = self.desk.ask();
        self.draining.post(|| Body::Upgrade(UpgradeStep::Show));
        let mut shows = Vec::new();
        while shows.len() < self.draining.cores() {
            let show = wait_for(&shown, until, "the cores to be looked at")?;
            shows.push(match show {
                Show::Here(core, listeners) => (core, listeners),
                Show::Sent(core, sent) => (core, sent.and_then(|()| self.take_shown(core))?),
            });
        }
        self.desk.clear();
        shows.sort_by_key(|(core, _)| core.0);
        let (mut sockets, mut descriptors) = (Vec::new(), Vec::new());
        for (_, listeners) in shows {
            // A core may have several sockets of one listener.
            let mut asked: HashMap<&str, Vec<u16>> = HashMap::new();
            for (number, descriptor) in listeners {
                let Some(listener) = self.listeners.get(usize::from(number)) else {
                    continue;
                };
                let numbers = asked.entry(&listener.asked).or_default();
                let known = numbers.iter().position(|one| *one == number);
                let nth = known.unwrap_or_else(|| {
                    numbers.push(number);
                    numbers.len() - 1
                });
                sockets.push(OfferedSocket {
                    asked: listener.asked.clone(),
                    nth: nth as u16,
                    passed: listener.passed.clone(),
                });
                descriptors.push(descriptor);
            }
        }
        Ok((sockets, descriptors))
    }

    fn take_shown(&self, core: CoreId) -> Result<Vec<(u16, OwnedFd)>, String> {
        let lane = self.lanes.get(core.index()).ok_or("it has no lane")?;
        let shown = ServerLane::new(lane).take_shown();
        shown.map_err(|error| format!("core {core} has not shown its sockets: {error}"))
    }

    /// Has the cores read no more, and send what they have when nothing is under way. How many connections that are.
    fn freeze_and_send(
        &self,
        successor: &mut Successor,
        ready: SuccessorPlaces,
        channels: Vec<Channel>,
        until: Instant,
    ) -> Result<u64, String> {
        self.draining.forget();
        self.draining.post(|| Body::Upgrade(UpgradeStep::Freeze));
        let left = until.saturating_duration_since(Instant::now());
        if !self.draining.settle(Instant::now() + left / 2) {
            return Err(
                "something was still under way when half of upgrade_timeout was over: a request without its answer, or \
                 messages between cores"
                    .to_owned(),
            );
        }
        let (reports, reported) = mpsc::channel();
        let ends = channels.iter().map(|channel| channel.socket().try_clone());
        let ends: Vec<UnixStream> = ends
            .collect::<io::Result<_>>()
            .map_err(|error| error.to_string())?;
        let parting = Arc::new(Parting::new(channels, ready.listeners, reports, until));
        self.desk.lay(Arc::clone(&parting));
        let sent = self.step(UpgradeStep::SendState, &ends, &reported, until);
        let sent = sent.and_then(|_| {
            let connections = self.step(UpgradeStep::HandOver, &[], &reported, until)?;
            parting.end()?;
            Ok(connections)
        });
        let connections = sent.map_err(|problem| successor.explain(problem))?;
        successor.confirm(connections, self.process_parts.pack()?)?;
        Ok(connections)
    }

    /// Has each core do this, and waits for all of them, whatever happens: what one still sends is not to cross what it is
    /// to take back. How many connections were sent.
    fn step(
        &self,
        step: UpgradeStep,
        ends: &[UnixStream],
        reported: &Receiver<PartingReport>,
        until: Instant,
    ) -> Result<u64, String> {
        self.draining.post(|| Body::Upgrade(step));
        if step == UpgradeStep::SendState {
            for lane in &*self.lanes {
                // A core that does not get them says so.
                let _ = ServerLane::new(lane).give(ends);
            }
        }
        let (mut connections, mut problem) = (0, None);
        for _ in 0..self.draining.cores() {
            let report = wait_for(reported, until + UNDO_TIME_MAX, "the cores to send all")?;
            match report.sent {
                Ok(sent) => connections += sent,
                Err(text) => {
                    problem.get_or_insert(format!("core {}: {text}", report.core));
                }
            }
        }
        problem.map_or(Ok(connections), Err)
    }

    /// Has the cores go on as if nothing had been.
    fn undo(&self) {
        self.draining.forget();
        self.draining.post(|| Body::Upgrade(UpgradeStep::TakeBack));
        self.draining.settle(Instant::now() + UNDO_TIME_MAX);
        self.draining.post(|| Body::Upgrade(UpgradeStep::GoOn));
        self.draining
            .wait_until_taken(Instant::now() + UNDO_TIME_MAX);
        self.process_parts.go_on();
        self.desk.clear();
    }
}

fn wait_for<T>(receiver: &Receiver<T>, until: Instant, what: &str) -> Result<T, String> {
    let left = until.saturating_duration_since(Instant::now());
    receiver.recv_timeout(left).map_err(|error| match error {
        RecvTimeoutError::Timeout => format!("upgrade_timeout was not enough for {what}"),
        RecvTimeoutError::Disconnected => format!("a core has ended before {what}"),
    })
}
