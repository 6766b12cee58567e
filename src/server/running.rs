//! A server that runs: [`Running`], by which it is stopped, reloaded, and asked where it listens.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::certificates::{CertificateWatch, LOOK_INTERVAL};
use super::cores::CoreThreads;
use super::drain::Draining;
use super::listen::{Listen, Listening};
use super::plan::Plan;
use super::reload::{Current, Reload};
use super::upgrade::{
    ClusterOffer, Inventory, ListenerOffer, NodeParts, Predecessor, ProcessParts, Program,
    ServerLane, Takeover, UpgradeDesk, Upgrader, meet_fault,
};
use super::webhooks::WebhookDelivery;
use crate::app::envelope::{Body, UpgradeStep};
use crate::auth::Keyring;
use crate::bus::Remote;
use crate::net::cluster::ClusterThread;
use crate::net::http::{Readiness, UpgradeFigures};
use crate::net::listen_address::ListenAddress;
use crate::net::unix_socket::ClaimedPath;

/// For joins and leaves between cores to be taken, before connections of another process are read.
const SETTLING_TIME_MAX: Duration = Duration::from_secs(5);

/// Those that were to go on in another process's place, which goes on itself.
static NEVER_BEGUN: Mutex<Vec<Running>> = Mutex::new(Vec::new());

/// A server that runs.
#[must_use = "the server runs until it is stopped, and cannot be stopped without this"]
pub struct Running {
    pub(super) listening: Vec<Listening>,
    pub(super) cores: CoreThreads,
    pub(super) draining: Draining,
    /// Its descriptors, closed here when no core needs them: one that a core closes last stays open in this
    /// thread's table if that is another.
    pub(super) bus: Remote<Body>,
    pub(super) reload: Reload,
    /// Webhooks, and what else is no core's.
    pub(super) process_parts: Arc<ProcessParts>,
    /// Speaks with the other nodes, where it is one of a cluster.
    pub(super) cluster_thread: Option<ClusterThread>,
    /// Looks at the certificates' files, if there are any.
    pub(super) certificate_watch: Option<CertificateWatch>,
    /// Files of Unix sockets, which go with it.
    pub(super) claimed: Vec<ClaimedPath>,
    pub(super) upgrade: UpgradeParts,
}

/// What another process is to be told, that goes on in this one's place.
pub struct UpgradeParts {
    pub desk: Arc<UpgradeDesk>,
    pub inventory: Arc<Inventory>,
    /// The URLs of those that are bound, as they were asked for.
    pub asked: Vec<String>,
    /// To each core, where each has a descriptor table of its own.
    pub lanes: Arc<Vec<ServerLane>>,
    pub figures: Arc<UpgradeFigures>,
}

impl Running {
    /// One whose cores are still to be started.
    pub(super) fn new(
        plan: &Plan,
        listening: Vec<Listening>,
        bus: Remote<Body>,
        current: Arc<Current>,
        webhook_delivery: WebhookDelivery,
        upgrade: UpgradeParts,
    ) -> io::Result<Running> {
        let certificate_watch = plan.tls.clone();
        let certificate_watch = certificate_watch
            .map(|tls| CertificateWatch::start(tls, LOOK_INTERVAL))
            .transpose()?;
        Ok(Running {
            listening,
            cores: CoreThreads::new(),
            draining: Draining::new(
                bus.clone(),
                Arc::clone(&plan.progress),
                Arc::clone(&current),
                Arc::clone(&plan.readiness),
            ),
            reload: Reload {
                remote: bus.clone(),
                current,
                keyring: plan.keyring.clone(),
                backend_tokens: plan.backend_tokens.clone(),
                layout: Arc::clone(&plan.layout),
                epoch: plan.started,
                tls: plan.tls.clone(),
            },
            bus,
            process_parts: Arc::new(ProcessParts::new(plan.tls.clone(), webhook_delivery)),
            cluster_thread: None,
            certificate_watch,
            claimed: Vec::new(),
            upgrade,
        })
    }

    /// Has the cores take over what another process has had; they have started, and wait for it. Files of Unix sockets that
    /// were that one's are this one's then.
    pub(super) fn inherit(
        mut self,
        predecessor: &mut Predecessor,
        mut takeover: Takeover,
        to_claim: &[ListenAddress],
        readiness: &Readiness,
    ) -> io::Result<Running> {
        let upgrade = &self.upgrade;
        let taken = predecessor.take_over(&upgrade.inventory, &mut takeover, &upgrade.lanes);
        let (connections, pause) = match taken {
            Ok(taken) => taken,
            Err(text) => {
                // Its cores wait until the process ends, so nobody waits for them.
                NEVER_BEGUN
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(self);
                return Err(io::Error::other(text));
            }
        };
        let began = Instant::now();
        if let Some(cluster) = &self.cluster_thread {
            cluster.control.go_on();
        }
        takeover.begin(&self.process_parts);
        // Whoever is in a group is known at its home then.
        if !self.draining.settle(began + SETTLING_TIME_MAX) {
            warn!("something is under way still, and connections are read on");
        }
        let pause = pause + began.elapsed();
        let figures = &self.upgrade.figures;
        figures
            .done
            .store(predecessor.upgrades(), Ordering::Relaxed);
        figures
            .pause
            .store(pause.as_micros() as u64, Ordering::Relaxed);
        // Before anybody is answered: a balancer is not to take this for a server that starts.
        readiness.ready();
        self.draining.post(|| Body::Upgrade(UpgradeStep::GoOn));
        if let Some(cluster) = &self.cluster_thread {
            cluster.control.resume();
        }
        let _ = meet_fault("gone on");
        info!(
            connections,
            predecessor = predecessor.pid(),
            pause = %humantime::format_duration(Duration::from_millis(pause.as_millis() as u64)),
            "this process goes on in another's place"
        );
        let claimed = to_claim.iter().filter_map(ClaimedPath::take_on);
        self.claimed.extend(claimed);
        Ok(self)
    }

    /// How another process is started that goes on in this one's place.
    pub(super) fn upgrader(&self) -> io::Result<Upgrader> {
        let bound = self.upgrade.asked.iter().zip(&self.listening);
        let listeners = bound.map(|(asked, one)| ListenerOffer {
            asked: asked.clone(),
            passed: match Listen::new(asked).address() {
                Ok(ListenAddress::Passed(name)) => Some(name),
                _ => None,
            },
            address: one.address.clone(),
        });
        Ok(Upgrader {
            program: Program::of_process()?,
            desk: Arc::clone(&self.upgrade.desk),
            inventory: Arc::clone(&self.upgrade.inventory),
            draining: self.draining.clone(),
            current: Arc::clone(&self.reload.current),
            process_parts: Arc::clone(&self.process_parts),
            listeners: listeners.collect(),
            lanes: Arc::clone(&self.upgrade.lanes),
            figures: Arc::clone(&self.upgrade.figures),
            node: self.cluster_thread.as_ref().map(|it| NodeParts {
                name: it.name.clone(),
                offer: ClusterOffer {
                    node: it.id.0,
                    cluster: it.identity.clone(),
                },
                control: it.control.clone(),
            }),
            whose: Default::default(),
        })
    }

    /// What it listens on, in the order asked for: apps' listeners, then sites, then apps' listeners at paths of these.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The keys that clients' proofs are checked with, which can be read anew; `None` where clients prove nothing.
    pub fn keyring(&self) -> Option<Arc<Keyring>> {
        self.reload.keyring.clone()
    }

    /// By what a client knows the certificate that the server has made for itself ([`TlsFiles::self_signed`]): its SHA-256.
    ///
    /// [`TlsFiles::self_signed`]: crate::config::TlsFiles::self_signed
    pub fn certificate_fingerprint(&self) -> Option<String> {
        self.reload.tls.as_ref()?.fingerprint()
    }

    /// By which it takes over a configuration that has changed.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Drains and stops: what was accepted is delivered, every connection is closed with 1001. Returns
    /// when all cores have ended, after `drain_timeout` at the latest.
    pub fn stop(self) -> io::Result<()> {
        let began = Instant::now();
        self.draining.run(|_| ());
        let result = self.cores.wait();
        if let Some(thread) = self.cluster_thread {
            thread.finish();
        }
        if let Some(webhooks) = self.process_parts.take_webhooks() {
            webhooks.finish(began);
        }
        result
    }
}
