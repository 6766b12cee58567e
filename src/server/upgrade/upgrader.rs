//! [`Upgrader`]: the old one's part in an upgrade, on a thread of its own.
//!
//! Until the last word everything that has been done is undone when something fails: the cores get back what they have
//! sent, and read on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, error, info};

use super::asker::tell_asker;
use super::desk::{Show, UpgradeDesk};
use super::fault;
use super::inventory::Inventory;
use super::lane::ServerLane;
use super::messages::{
    ClusterOffer, OUR_ABILITIES, OfferEnd, OfferRest, OfferedSocket, UpgradeOffer,
};
use super::parting::{Parting, PartingReport};
use super::priority::give_way;
use super::process_parts::ProcessParts;
use super::program::Program;
use super::successor::Successor;
use crate::app::envelope::{Body, UpgradeStep};
use crate::ident::CoreId;
use crate::net::cluster::ClusterControl;
use crate::net::http::UpgradeFigures;
use crate::net::listen_address::ListenAddress;
use crate::net::unix_socket::ClaimedPath;
use crate::server::drain::Draining;
use crate::server::reload::Current;

/// For the cores to be as before, after something has failed: nothing is under way but what they put back.
const UNDO_TIME_MAX: Duration = Duration::from_secs(10);

/// For what is under way when nothing is read any more: nobody is served meanwhile.
const SETTLING_TIME_MAX: Duration = Duration::from_secs(2);

/// How often connections are copied before the rest of it is done while nobody is served.
const PASSES_MAX: usize = 3;
/// So few take a moment.
const FEW: u64 = 2_000;

/// For handshakes of TLS under way. Nobody else waits, but newcomers.
const HANDSHAKES_TIME_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether there are any.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

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

/// A node of a cluster.
pub struct NodeParts {
    /// What it is called.
    pub name: String,
    /// By which another process goes on as it.
    pub offer: ClusterOffer,
    pub control: ClusterControl,
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
    pub lanes: Arc<Vec<ServerLane>>,
    /// Of those that are bound.
    pub listeners: Vec<ListenerOffer>,
    pub figures: Arc<UpgradeFigures>,
    /// This node, where it is one of a cluster.
    pub node: Option<NodeParts>,
    /// Held while one is under way, or all is read anew.
    pub whose: Mutex<Whose>,
}

/// How they are handed over, once the successor is ready.
struct Handing {
    parting: Arc<Parting>,
    reported: Receiver<PartingReport>,
    /// When nothing is waited for any longer.
    until: Instant,
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
        give_way();
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
        fault::meet("old looked")?;
        let mut successor = Successor::start(&self.program, until)?;
        fault::meet("old heard")?;
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
        let rest = OfferRest {
            abilities: OUR_ABILITIES,
            node: self.node.as_ref().map(|node| node.name.clone()),
        };
        let end = OfferEnd {
            cluster: self.node.as_ref().map(|node| node.offer.clone()),
        };
        let offer = (offer, rest, end);
        let ready = successor.offer(&offer, &descriptors, until)?;
        drop(descriptors);
        if let Some(cluster) = self.cluster() {
            cluster.begin(ready.to_cluster);
        }
        let (reports, reported) = mpsc::channel();
        let parting = Parting::new(ready.channels, ready.places.listeners, reports, until);
        let handing = Handing {
            parting: Arc::new(parting),
            reported,
            until,
        };
        self.desk.lay(Arc::clone(&handing.parting));
        let _ = fault::meet("old ready");
        let copied = self.copy(&mut successor, &handing);
        let shadowed = copied.and_then(|()| match self.cluster() {
            Some(cluster) => cluster.be_shadowed(until).map(drop),
            None => Ok(()),
        });
        if let Err(problem) = shadowed {
            // It holds copies of sockets.
            drop(successor);
            self.undo_copies();
            return Err(problem);
        }
        // Before anybody has to wait for it.
        if !self.process_parts.hold() {
            drop(successor);
            self.undo_copies();
            return Err("a request of a webhook does not end".to_owned());
        }
        let _ = fault::meet("old held");
        let frozen = Instant::now();
        let pid = successor.pid();
        let done = self.freeze_and_send(&mut successor, &handing);
        let done = done.and_then(|connections| {
            let pause = frozen.elapsed();
            successor.commit(pause)?;
            if let Some(cluster) = self.cluster() {
                cluster.be_gone();
            }
            let _ = fault::meet("old committed");
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

    /// Has the cores copy their connections, while they serve them.
    fn copy(&self, successor: &mut Successor, handing: &Handing) -> Result<(), String> {
        let ends = handing.parting.ends()?;
        self.step(UpgradeStep::Connect, &ends, handing)?;
        drop(ends);
        fault::meet("old connected")?;
        if successor.takes_copies() {
            self.copy_in_passes(successor, handing)?;
        }
        fault::meet("old copied")?;
        self.have_handshakes_end(handing)
    }

    fn copy_in_passes(&self, successor: &mut Successor, handing: &Handing) -> Result<(), String> {
        for pass in 1..=PASSES_MAX {
            let began = Instant::now();
            let copied = self.step(UpgradeStep::Copy, &[], handing);
            let (copied, _) = copied.map_err(|problem| successor.explain(problem))?;
            let took = humantime::format_duration(Duration::from_millis(
                began.elapsed().as_millis() as u64,
            ));
            info!(pass, copied, %took, "upgrade: connections are copied while they are served");
            if copied <= FEW {
                break;
            }
        }
        Ok(())
    }

    /// Has handshakes of TLS end that are under way, while newcomers wait. Those that dawdle are closed.
    fn have_handshakes_end(&self, handing: &Handing) -> Result<(), String> {
        let until = handing.until.min(Instant::now() + HANDSHAKES_TIME_MAX);
        loop {
            let (handshakes, _) = self.step(UpgradeStep::HoldNewcomers, &[], handing)?;
            if handshakes == 0 || Instant::now() >= until {
                return Ok(());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
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
        let shown = lane.take_shown(self.desk.number());
        shown.map_err(|error| format!("core {core} has not shown its sockets: {error}"))
    }

    /// Has the cores read no more, and send what they have when nothing is under way. How many connections that are.
    fn freeze_and_send(&self, successor: &mut Successor, handing: &Handing) -> Result<u64, String> {
        let began = Instant::now();
        handing.parting.freeze();
        self.come_to_rest(handing)?;
        let settled = Instant::now();
        fault::meet("old frozen")?;
        let sent = self.step(UpgradeStep::SendState, &[], handing);
        let state_sent = Instant::now();
        fault::meet("old kept sent")?;
        let sent = sent.and_then(|_| {
            let (connections, aheads) = self.step(UpgradeStep::HandOver, &[], handing)?;
            let aheads = successor.takes_copies().then_some(aheads);
            handing.parting.end(aheads)?;
            Ok(connections)
        });
        let connections = sent.map_err(|problem| successor.explain(problem))?;
        let all_sent = Instant::now();
        fault::meet("old all sent")?;
        successor.confirm(connections, self.process_parts.pack()?)?;
        fault::meet("old confirmed")?;
        debug!(
            settling = ?(settled - began),
            state = ?(state_sent - settled),
            connections = ?(all_sent - state_sent),
            taking = ?all_sent.elapsed(),
            "what the pause was spent on"
        );
        Ok(connections)
    }

    /// Has the cores read no more, and waits until nothing is under way.
    fn come_to_rest(&self, handing: &Handing) -> Result<(), String> {
        let began = Instant::now();
        let left = handing.until.saturating_duration_since(began);
        let time_max = SETTLING_TIME_MAX.min(left / 2);
        let settle = || match self.draining.settle(began + time_max) {
            true => Ok(()),
            false => Err(format!(
                "something was still under way {time_max:?} after nothing was read any more: a request without its \
                 answer, or messages between cores"
            )),
        };
        self.draining.forget();
        let cluster = self.cluster();
        if let Some(cluster) = cluster {
            cluster.rest();
        }
        self.draining.post(|| Body::Upgrade(UpgradeStep::Freeze));
        settle()?;
        if let Some(cluster) = cluster {
            let is_unseen = cluster.part(began + time_max)?;
            debug!(is_unseen, "parted what is whose of the cluster's");
            // What came before that.
            self.draining.forget();
            self.draining.post(|| Body::Upgrade(UpgradeStep::Freeze));
            settle()?;
        }
        Ok(())
    }

    fn cluster(&self) -> Option<&ClusterControl> {
        self.node.as_ref().map(|node| &node.control)
    }

    /// Has each core do this, and waits for all of them, whatever happens: what one still sends is not to cross what it is
    /// to take back. How many connections were sent, and by core, for how many ticks the times of its copies run ahead.
    fn step(
        &self,
        step: UpgradeStep,
        ends: &[UnixStream],
        handing: &Handing,
    ) -> Result<(u64, Vec<u32>), String> {
        self.draining.post(|| Body::Upgrade(step));
        if step == UpgradeStep::Connect {
            for lane in &*self.lanes {
                // A core that does not get them says so.
                let _ = lane.give(self.desk.number(), ends);
            }
        }
        let cores = self.draining.cores();
        let (mut connections, mut aheads, mut problem) = (0, vec![0; cores], None);
        for _ in 0..cores {
            let until = handing.until + UNDO_TIME_MAX;
            let report = wait_for(&handing.reported, until, "the cores to send all")?;
            if let Some(ahead) = aheads.get_mut(report.core.index()) {
                *ahead = report.ahead;
            }
            match report.sent {
                Ok(sent) => connections += sent,
                Err(text) => {
                    problem.get_or_insert(format!("core {}: {text}", report.core));
                }
            }
        }
        problem.map_or(Ok((connections, aheads)), Err)
    }

    /// Has the cores forget what they have copied. They have served all the while.
    fn undo_copies(&self) {
        self.draining.post(|| Body::Upgrade(UpgradeStep::TakeBack));
        self.draining
            .wait_until_taken(Instant::now() + UNDO_TIME_MAX);
        self.process_parts.go_on();
        if let Some(cluster) = self.cluster() {
            cluster.resume();
        }
        self.desk.clear();
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
        if let Some(cluster) = self.cluster() {
            cluster.resume();
        }
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
