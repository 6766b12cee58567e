//! How a server starts: what is asked for is checked, the listeners are bound, and each core gets its thread.
//!
//! Called once by [`Server::run`], or by whoever starts it himself. An error leaves nothing running.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use core_affinity::CoreId as Cpu;
use tracing::{info, warn};

use super::binding::{self, Bound, Together};
use super::builder::Server;
use super::cluster;
use super::cores::CoreThreads;
use super::cpus::{self, cores_for};
use super::drain::DrainProgress;
use super::driver::Drivers;
use super::layout::Layout;
use super::plan::Plan;
use super::reload::Current;
use super::running::{Running, UpgradeParts};
use super::runtime;
use super::start_error::named;
use super::tables::{self, DescriptorNeed, ListenerSource};
use super::upgrade::{CoreSeat, InheritedSockets, Inventory, Predecessor, ServerLane, Takeover};
use super::webhooks::WebhookDelivery;
use crate::app::envelope::Body;
use crate::app::namespaces::Registry;
use crate::auth::Keyring;
use crate::bus::Endpoint;
use crate::config::{CORES_MAX, Config, REQUEST_HEAD_BYTES_LIMIT};
use crate::guard::watch_panics;
use crate::log_limiter::SharedLogLimiter;
use crate::net::admission::{ConnectionCounters, DescriptorRoom};
use crate::net::cluster::ClusterTarget;
use crate::net::http::Readiness;
use crate::net::webhooks::WebhookTarget;
use crate::tls::TlsListeners;

impl Server {
    /// Binds the listeners and starts the cores. Every listener is bound when this returns. A process that another server
    /// has started to go on in its place (`ringpost upgrade`) takes over what that one has.
    pub fn start(self) -> io::Result<Running> {
        let Some((mut predecessor, sockets)) = Predecessor::find()? else {
            return self.start_with(None, InheritedSockets::default());
        };
        let started = self.start_with(Some(&mut predecessor), sockets);
        if let Err(error) = &started {
            predecessor.refuse(&error.to_string());
        }
        started
    }

    fn start_with(
        mut self,
        mut predecessor: Option<&mut Predecessor>,
        mut inherited: InheritedSockets,
    ) -> io::Result<Running> {
        self.check()?;
        check_head(&self.config)?;
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        let cores = core_count(&self.config, cpus.len())?;
        let descriptors = Descriptors::find(&self, cores)?;
        self.namespaces.check(self.config.namespaces_max)?;
        let keyring = Keyring::open(&self.config)?;
        let layout = Arc::new(self.listeners.layout(&self.tls)?);
        let tls = open_tls(&layout)?;
        let target = WebhookTarget::open(&self.webhooks)?;
        let cluster_target = cluster::target(&self.cluster, predecessor.as_deref_mut())?;
        let driver = Arc::new(Drivers::choose(self.config.driver)?);
        let (bound, together) = self.bind(cores, &mut inherited)?;
        drop(inherited);
        let Together {
            listening,
            claimed,
            to_claim,
        } = together;
        let ends = cluster::connect(cores, cluster_target.is_some())?;
        let remote = ends.cores[0].remote();
        let (sources, lanes, originals) = tables::for_cores(bound, descriptors.own_tables)?;
        let asked = self.listeners.asked();
        let config = Arc::new(self.config);
        let current = Arc::new(Current::new(Arc::clone(&config)));
        let (webhook_delivery, reporting) = WebhookDelivery::start(
            &self.webhooks,
            target,
            cluster_target.as_ref().and_then(ClusterTarget::node),
            &listening,
            cores,
            Arc::clone(&current),
        )?;
        let tokens = !self.backend_tokens.is_empty();
        let registry = Registry::new(self.namespaces.count());
        let inventory = Arc::new(Inventory::new(
            &layout,
            &listening,
            &self.namespaces,
            Arc::clone(&registry),
        ));
        let names_max = config.namespaces_max;
        let (seats, takeover) = seats(predecessor.as_deref(), &inventory, cores, names_max)?;
        let plan = Arc::new(Plan {
            config,
            current: Arc::clone(&current),
            driver,
            listeners_json: binding::to_json(&listening, &layout, tokens),
            layout,
            counters: Arc::new(ConnectionCounters::new(descriptors.room)),
            exhausted: Arc::new(SharedLogLimiter::new()),
            started: Instant::now(),
            node: cluster_target.as_ref().map_or(0, |target| target.id.0),
            registry,
            apps: self.apps,
            backend_tokens: self.backend_tokens,
            keyring,
            reporting,
            facts: binding::facts(&listening, tls.clone()),
            progress: (0..cores).map(|_| DrainProgress::default()).collect(),
            readiness: Arc::new(Readiness::default()),
            tls,
            desk: Arc::default(),
        });
        watch_panics();
        let upgrade = UpgradeParts {
            desk: Arc::clone(&plan.desk),
            inventory,
            asked,
            lanes: Arc::new(lanes.into_iter().map(ServerLane::new).collect()),
            figures: Arc::clone(&plan.facts.upgrades),
        };
        let running = Running::new(&plan, listening, remote, current, webhook_delivery, upgrade);
        let mut running = running?;
        running.claimed = claimed;
        running.cluster_thread =
            cluster::start(cluster_target, ends.engine, self.namespaces.names(), &plan)?;
        let seats = ends.cores.into_iter().zip(sources).zip(seats);
        let pinned = match start_cores(&mut running.cores, &plan, &cpus, seats) {
            Ok(pinned) => pinned,
            Err(error) => {
                // Those that have started hold the ports.
                running.draining.abandon();
                return Err(error);
            }
        };
        if let Some((predecessor, takeover)) = predecessor.zip(takeover) {
            running = running.inherit(predecessor, takeover, &to_claim, &plan.readiness)?;
        }
        plan.readiness.ready();
        // Each core has its copies.
        drop(originals);
        descriptors.tell(&plan, pinned == cores);
        Ok(running)
    }

    /// Binds the listeners for so many cores, and tells what they turned out to be.
    fn bind(
        &self,
        cores: usize,
        inherited: &mut InheritedSockets,
    ) -> io::Result<(Vec<Bound>, Together)> {
        let listeners = &self.listeners;
        let (bound, mut together) =
            binding::bind_all(listeners, &self.namespaces, cores, &self.config, inherited)?;
        if self.backend_tokens.is_empty() {
            let of_sites = &together.listening[listeners.apps.len()..];
            binding::keep_sites_to_loopback(of_sites, &listeners.sites)?;
        }
        listeners.add_mounts(&self.namespaces, &mut together.listening);
        Ok((bound, together))
    }
}

/// Where each of so many cores gets what another process has had, if one has.
fn seats(
    predecessor: Option<&Predecessor>,
    inventory: &Inventory,
    cores: usize,
    namespaces_max: usize,
) -> io::Result<(Vec<Option<CoreSeat>>, Option<Takeover>)> {
    let Some(predecessor) = predecessor else {
        let seats = (0..cores).map(|_| None);
        return Ok((seats.collect(), None));
    };
    let seats = predecessor.seats(inventory, cores, namespaces_max);
    let (seats, takeover) = seats.map_err(io::Error::other)?;
    Ok((seats.into_iter().map(Some).collect(), Some(takeover)))
}

/// The certificates of the listeners that show some, if there are any.
fn open_tls(layout: &Layout) -> io::Result<Option<Arc<TlsListeners>>> {
    let (tls, warnings) = TlsListeners::open(layout.tls.clone())?;
    for warning in warnings {
        warn!("TLS: {warning}");
    }
    Ok(tls)
}

fn check_head(config: &Config) -> io::Result<()> {
    if config.request_head_bytes_max > REQUEST_HEAD_BYTES_LIMIT {
        let text = format!("request_head_bytes_max: at most {REQUEST_HEAD_BYTES_LIMIT}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// As many cores as are configured, or by the CPUs that the process has and the time that it may use of them.
fn core_count(config: &Config, cpus: usize) -> io::Result<usize> {
    match config.cores {
        0 => {
            let percent = cpus::own_percent();
            let cores = cores_for(cpus, percent);
            if let Some(percent) = percent.filter(|_| cores < cpus) {
                info!(
                    cores,
                    cpus,
                    "the control group gives {}.{:02} CPUs' time, so there are as many cores; `cores` (--cores) \
                     sets another number",
                    percent / 100,
                    percent % 100
                );
            }
            Ok(cores)
        }
        cores if cores > CORES_MAX => {
            let text = format!("cores = {cores}: at most {CORES_MAX}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
        cores => Ok(cores),
    }
}

/// What a server's descriptors are needed for, and how many there may be.
struct Descriptors {
    need: DescriptorNeed,
    /// In one table (RLIMIT_NOFILE).
    most: usize,
    /// Whether each core has a table of its own.
    own_tables: bool,
    room: Option<DescriptorRoom>,
}

impl Descriptors {
    /// Raises the limit as far as it goes. An error if that is too low for the server.
    fn find(server: &Server, cores: usize) -> io::Result<Descriptors> {
        let config = &server.config;
        let need = DescriptorNeed {
            max_connections: config.max_connections,
            cores,
            listeners: server.listeners.apps.len() + server.listeners.sites.len(),
        };
        let most = tables::raise_limit();
        need.check(most)?;
        Ok(Descriptors {
            own_tables: need.has_own_tables(config.descriptor_tables, most),
            room: need.room(config, most),
            need,
            most,
        })
    }

    /// Tells the log that a server has started, and how many connections it has room for.
    fn tell(&self, plan: &Plan, pinned: bool) {
        let (config, driver) = (&plan.config, &plan.driver);
        let each = if self.own_tables { " a core" } else { "" };
        let descriptors = format_args!("{}{each}", self.most);
        info!(cores = self.need.cores, %driver, pinned, %descriptors, "started");
        if let Some(room) = self.room.filter(|_| config.max_connections == 0) {
            info!(
                "max_connections = 0: as many as descriptors hold, {} clients; {} are kept for back ends and HTTP",
                room.clients,
                self.need.kept(config.backend_connections_max, self.most)
                    + self.need.kept(config.http_connections_max, self.most)
            );
        }
    }
}

/// Starts the cores' threads, and returns when each has started, or one cannot. How many are pinned.
fn start_cores(
    cores: &mut CoreThreads,
    plan: &Arc<Plan>,
    cpus: &[Cpu],
    seats: impl Iterator<Item = ((Endpoint<Body>, ListenerSource), Option<CoreSeat>)>,
) -> io::Result<usize> {
    let (report, reports) = mpsc::channel();
    let pinned = Arc::new(AtomicUsize::new(0));
    let mut count = 0;
    for (number, ((endpoint, source), seat)) in seats.enumerate() {
        let (plan, report) = (Arc::clone(plan), report.clone());
        let pinned = Arc::clone(&pinned);
        let cpu = match plan.config.pin {
            true => cpus.get(number % cpus.len().max(1)).copied(),
            false => None,
        };
        let core = move || {
            if let Some(cpu) = cpu {
                pin(number, cpu, &pinned);
            }
            run_core(&plan, endpoint, source, seat, &report)
        };
        cores
            .spawn(number, core)
            .map_err(|error| named(&format!("no thread for core {number}"), &error))?;
        count += 1;
    }
    drop(report);
    for _ in 0..count {
        let started = reports
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a core ended while it was starting")));
        started.map_err(|error| named("a core cannot start", &error))?;
    }
    Ok(pinned.load(Ordering::Relaxed))
}

/// Pins this thread, and counts it if that was done.
fn pin(core: usize, cpu: Cpu, pinned: &AtomicUsize) {
    match core_affinity::set_for_current(cpu) {
        true => drop(pinned.fetch_add(1, Ordering::Relaxed)),
        false => warn!(core, cpu = cpu.id, "the core could not be pinned"),
    }
}

/// What a core's thread does, from its listeners to its end.
fn run_core(
    plan: &Plan,
    endpoint: Endpoint<Body>,
    source: ListenerSource,
    seat: Option<CoreSeat>,
    report: &Sender<io::Result<()>>,
) -> io::Result<()> {
    match source.redeem() {
        Ok(bound) => runtime::run(plan, endpoint, bound, seat, report),
        Err(error) => {
            let text = format!("a core cannot have its own descriptor table: {error}");
            let _ = report.send(Err(io::Error::new(error.kind(), text)));
            Err(error)
        }
    }
}
