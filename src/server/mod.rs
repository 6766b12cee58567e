//! Starts and pins the cores, owns each core's turn, drains, stops.

mod client_drain;
mod cores;
mod cpus;
mod drain;
mod driver;
mod http_listeners;
mod listen;
mod namespaces;
mod parts;
mod reload;
mod runtime;
mod signals;
mod starting;
mod supervisor;
mod sweep;
mod tables;
mod turn;
mod watchdog;
mod webhooks;

pub use cpus::{control_groups, cores_for, cpu_percent};
pub use driver::{RingTrial, try_rings};
pub use listen::{Listen, Listening, Listens};
pub(crate) use parts::Parts;
pub use reload::Reload;
pub use tables::DescriptorNeed;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use tracing::{info, warn};

use crate::app::envelope::Body;
use crate::app::hosted::{Hosted, Hosting};
use crate::app::namespaces::Registry;
use crate::app::{App, Login, Peers, WhenFlawed, WhenFull};
use crate::auth::backend_tokens::BackendTokens;
use crate::auth::{Keyring, Verifier};
use crate::bus::{self, Remote};
use crate::config::{self, Auth, CORES_MAX, Config, OUTBOX_MESSAGE_COST, Webhooks};
use crate::events::Reporting;
use crate::guard::watch_panics;
use crate::ident::Reach;
use crate::log_limiter::SharedLogLimiter;
use crate::net::admission::{
    Admission, CLIENTS_TOGETHER, ConnectionCounters, EntryRules, HTTP_TOGETHER, Pool,
};
use crate::net::handover::Handover;
use crate::net::http::{Facts, Readiness, Site};
use crate::net::listener::Listener;
use crate::net::rates::{Rate, Rates};
use crate::net::webhooks::WebhookTarget;
use crate::protocol::Codec;
use crate::protocol::opening::check_names;
use crate::shard::ListenerSpec;
use cores::CoreThreads;
use drain::{DrainProgress, Draining};
use driver::Drivers;
use http_listeners::{HttpListenerPlan, Layout, Mount};
use reload::{Current, Outline};
use starting::named;
use tables::ListenerSource;
use webhooks::WebhookDelivery;

/// Largest head of a unit around a message, in any codec (RFC 6455, section 5.2: 10 bytes unmasked).
const UNIT_HEAD_BYTES: usize = 10;

/// Makes an app's value on each core, given its number and its reach.
type MakeApp = Arc<dyn Fn(u8, Reach) -> Box<dyn Hosted> + Send + Sync>;

/// Called for SIGHUP.
type OnReload = Box<dyn FnMut(&Reload) + Send>;

/// A server being put together: configuration, listeners and the apps on them.
///
/// ```no_run
/// # use ringpost::app::{App, Context}; use ringpost::{Config, Message, Server};
/// # struct Shout;
/// # impl App for Shout {
/// #     type Session = (); type Note = (); const SPACE: &'static str = "shout";
/// #     fn on_connect(&mut self, _: &mut Context<'_, Self>) {}
/// #     fn on_message(&mut self, _: &mut Context<'_, Self>, _: &mut (), _: Message<'_>) {}
/// # }
/// Server::new(Config::default())
///     .listen("websocket://127.0.0.1:1234", || Shout)
///     .run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a server serves when it is run or started"]
pub struct Server {
    config: Config,
    spaces: Vec<&'static str>,
    apps: Vec<(MakeApp, Reach)>,
    listeners: Vec<(Listen, ListenerSpec)>,
    /// How fast their connections may send, in the same order.
    rates: Vec<Rate>,
    /// What their connections count towards, in the same order.
    doors: Vec<EntryRules>,
    sites: Vec<(Listen, Site, Reach)>,
    /// Apps' listeners at paths of them.
    mounts: Vec<Mount>,
    /// The same of theirs.
    site_gates: Vec<(EntryRules, Rate)>,
    /// Who may push by a site.
    backend_tokens: BackendTokens,
    /// What SIGHUP does.
    on_reload: Option<OnReload>,
    /// The app's part of clients that listen by sites.
    events: Option<ListenerSpec>,
    webhooks: Webhooks,
    /// The first mistake in what was asked for; `start` returns it.
    mistake: Option<io::Error>,
}

impl Server {
    /// A server with this configuration and no listeners yet.
    pub fn new(config: Config) -> Server {
        Server {
            config,
            spaces: Vec::new(),
            apps: Vec::new(),
            listeners: Vec::new(),
            rates: Vec::new(),
            doors: Vec::new(),
            sites: Vec::new(),
            mounts: Vec::new(),
            site_gates: Vec::new(),
            backend_tokens: BackendTokens::default(),
            on_reload: None,
            events: None,
            webhooks: Webhooks::default(),
            mistake: None,
        }
    }

    /// Puts an app on one or more listeners: a URL (`websocket://`, `text://` or `frame://`), a
    /// [`Listen`] ([`Listen::events`], too), or several of them. `make` is called once on each core.
    pub fn listen<A: App>(
        mut self,
        listens: impl Listens,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Server {
        let number = self.apps.len();
        let space = self.space(A::SPACE);
        let reach = match self.reach(A::REACH) {
            Ok(reach) => reach,
            Err(error) => return self.mistaken(&error),
        };
        if let Err(error) = check_names(A::HEADERS) {
            return self.mistaken(&error);
        }
        if number > usize::from(u8::MAX) {
            return self.mistaken("a server has at most 256 apps");
        }
        let make: MakeApp =
            Arc::new(move |number, reach| Box::new(Hosting::new(make(), number, reach)));
        self.apps.push((make, reach));
        for listen in listens.listens() {
            let codec = match listen.codec() {
                Ok(Some(codec)) => codec,
                Ok(None) => {
                    return self.mistaken("an app's listener is websocket://, text:// or frame://");
                }
                Err(error) => return self.mistaken(&error),
            };
            let message_bytes_max = listen
                .limits
                .message_bytes_max
                .unwrap_or(self.config.message_bytes_max);
            let outbox_bytes_max = listen
                .limits
                .outbox_bytes_max
                .unwrap_or(self.config.outbox_bytes_max);
            if outbox_bytes_max < message_bytes_max + UNIT_HEAD_BYTES + OUTBOX_MESSAGE_COST {
                let url = &listen.url;
                return self.mistaken(&format!(
                    "{url}: outbox_bytes_max {outbox_bytes_max} cannot hold one message of message_bytes_max \
                     {message_bytes_max}; it needs at least {}",
                    message_bytes_max + UNIT_HEAD_BYTES + OUTBOX_MESSAGE_COST
                ));
            }
            let spec = ListenerSpec {
                app: number as u8,
                codec,
                space,
                binds: A::LOGIN != Login::Never,
                optional: A::LOGIN == Login::Optional,
                proves: A::LOGIN == Login::Required && self.config.auth != Auth::None,
                pauses: A::WHEN_FULL == WhenFull::Pause,
                tells: A::WHEN_FLAWED == WhenFlawed::Tell,
                message_bytes_max,
                outbox_bytes_max,
                compress: listen.limits.compress.unwrap_or(self.config.compress),
                shown: self.listeners.len() as u16,
                url: Arc::from(&*listen.url),
                headers: A::HEADERS,
            };
            if codec == Codec::Events {
                self = self.take_events(spec);
                continue;
            }
            if listen.path().is_some() && codec != Codec::WebSocket {
                let url = &listen.url;
                return self.mistaken(&format!(
                    "{url}: of apps' listeners only websocket:// has a path"
                ));
            }
            let limits = &listen.limits;
            // Unless a listener says otherwise only users' connections, as with their deadlines.
            let unless_own = |rate: usize| if spec.binds { rate } else { 0 };
            let rate = Rate {
                messages_per_second: limits
                    .messages_per_second_max
                    .unwrap_or(unless_own(self.config.messages_per_second_max)),
                bytes_per_second: limits
                    .bytes_per_second_max
                    .unwrap_or(unless_own(self.config.bytes_per_second_max)),
                message_bytes_max,
            };
            let pool = match A::PEERS {
                Peers::Clients => Pool::Clients,
                Peers::BackEnds => Pool::BackEnds,
            };
            let door = self.door(&listen, pool);
            if listen.path().is_some() {
                self.mounts.push(Mount {
                    listen,
                    spec,
                    rate,
                    door,
                });
                continue;
            }
            self.rates.push(rate);
            self.doors.push(door);
            self.listeners.push((listen, spec));
        }
        self
    }

    /// What a running server ([`Server::run`]) does when it gets SIGHUP: reads its configuration anew, say, and has
    /// what can change taken over by [`Reload::apply`]. Without this SIGHUP reads the keys of clients' proofs anew,
    /// if there are any or a service manager watches; else it ends the process.
    pub fn on_reload(mut self, reload: impl FnMut(&Reload) + Send + 'static) -> Server {
        self.on_reload = Some(Box::new(reload));
        self
    }

    /// What the connections of the next listener count towards.
    fn door(&self, listen: &Listen, pool: Pool) -> EntryRules {
        let number = self.doors.len() + self.site_gates.len() + self.mounts.len();
        let own = listen.limits.connections_per_address_max;
        let general = self.config.connections_per_address_max;
        let (general, together) = match pool {
            Pool::Clients => (general, CLIENTS_TOGETHER),
            Pool::HttpClients | Pool::Http => (general, HTTP_TOGETHER),
            Pool::BackEnds => (0, CLIENTS_TOGETHER),
        };
        EntryRules {
            pool,
            proxied: listen.proxy_protocol,
            per_address_max: own.unwrap_or(general),
            counted_with: own.map_or(together, |_| 1 + number as u16),
            on_loopback: listen.is_on_loopback(),
        }
    }

    fn mistaken(mut self, text: &str) -> Server {
        if self.mistake.is_none() {
            self.mistake = Some(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self
    }

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
                info!(app = one.space, url = one.url, "listening");
            }
        })
    }

    /// The same, calling `ready` when every listener is bound, to say so. A signal that comes from then on drains.
    pub fn run_with(self, ready: impl FnOnce(&Running)) -> io::Result<()> {
        signals::run(self, ready)
    }

    /// Binds the listeners and starts the cores. Every listener is bound when this returns.
    pub fn start(mut self) -> io::Result<Running> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        if self.config.request_head_bytes_max > config::REQUEST_HEAD_BYTES_LIMIT {
            let text = format!(
                "request_head_bytes_max: at most {}",
                config::REQUEST_HEAD_BYTES_LIMIT
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        let cores = self.cores(cpus.len())?;
        let need = DescriptorNeed {
            max_connections: self.config.max_connections,
            cores,
            listeners: self.listeners.len() + self.sites.len(),
        };
        let descriptors_max = tables::raise_limit();
        need.check(descriptors_max)?;
        self.check_namespaces()?;
        let keyring = Keyring::open(&self.config)?;
        let Layout {
            sites,
            specs,
            rates,
            doors,
            urls,
        } = self.layout()?;
        let outline = Outline {
            urls,
            specs: specs.clone(),
            doors: doors.clone(),
        };
        let target = WebhookTarget::open(&self.webhooks)?;
        let config = Arc::new(self.config.clone());
        let driver = Arc::new(Drivers::choose(config.driver)?);
        let (bound, mut listening) =
            listen::bind_all(&self.listeners, &self.sites, &self.spaces, cores, &config)?;
        if self.backend_tokens.is_empty() {
            let of_sites = &listening[self.listeners.len()..];
            listen::keep_sites_to_loopback(of_sites, &self.sites)?;
        }
        self.tell_mounts(&mut listening);
        let endpoints =
            bus::connect(cores).map_err(|error| named("no doorbells for the cores", &error))?;
        let remote = endpoints[0].remote();
        let own_tables = need.has_own_tables(config.descriptor_tables, descriptors_max);
        let room = need.room(&config, descriptors_max);
        let (claims, originals) = if own_tables {
            tables::split(bound).map_err(|error| named("no descriptor tables", &error))?
        } else {
            (bound.into_iter().map(ListenerSource::Bound).collect(), None)
        };
        let current = Arc::new(Current::new(Arc::clone(&config)));
        let (webhook_delivery, reporting) = WebhookDelivery::start(
            &self.webhooks,
            target,
            &listening,
            cores,
            Arc::clone(&current),
        )?;
        let progress: Arc<[DrainProgress]> = (0..cores).map(|_| DrainProgress::default()).collect();
        let (backend_tokens, started) = (self.backend_tokens, Instant::now());
        let readiness = Arc::new(Readiness::default());
        let listeners_json =
            listen::to_json(&listening, &specs, &doors, !backend_tokens.is_empty());
        let plan = Arc::new(Plan {
            config: Arc::clone(&config),
            driver: Arc::clone(&driver),
            doors,
            counters: Arc::new(ConnectionCounters::new(room)),
            exhausted: Arc::new(SharedLogLimiter::new()),
            specs,
            rates,
            started,
            registry: Registry::new(self.spaces.len()),
            apps: self.apps,
            sites,
            backend_tokens: backend_tokens.clone(),
            keyring: keyring.clone(),
            reporting,
            listeners_json,
            facts: listen::facts(&listening),
            progress: Arc::clone(&progress),
            readiness: Arc::clone(&readiness),
        });
        watch_panics();
        let (report, reports) = mpsc::channel();
        let pinned = Arc::new(AtomicUsize::new(0));
        let mut running = Running {
            listening,
            cores: CoreThreads::new(),
            draining: Draining::new(
                remote.clone(),
                progress,
                Arc::clone(&current),
                Arc::clone(&readiness),
            ),
            reload: Reload {
                remote: remote.clone(),
                current,
                keyring,
                backend_tokens,
                outline: Arc::new(outline),
                epoch: started,
            },
            bus: remote,
            webhook_delivery,
        };
        for (number, (endpoint, claim)) in endpoints.into_iter().zip(claims).enumerate() {
            let (plan, report) = (Arc::clone(&plan), report.clone());
            let pinned = Arc::clone(&pinned);
            let cpu = config
                .pin
                .then(|| cpus.get(number % cpus.len().max(1)).copied())
                .flatten();
            let spawned = running.cores.spawn(number, move || {
                match cpu.map(|cpu| (cpu, core_affinity::set_for_current(cpu))) {
                    None => {}
                    Some((_, true)) => {
                        pinned.fetch_add(1, Ordering::Relaxed);
                    }
                    Some((cpu, false)) => {
                        warn!(core = number, cpu = cpu.id, "the core could not be pinned");
                    }
                }
                match claim.redeem() {
                    Ok(bound) => runtime::run(&plan, endpoint, bound, &report),
                    Err(error) => {
                        let text = format!("a core cannot have its own descriptor table: {error}");
                        let _ = report.send(Err(io::Error::new(error.kind(), text)));
                        Err(error)
                    }
                }
            });
            if let Err(error) = spawned {
                running.draining.abandon();
                return Err(named(&format!("no thread for core {number}"), &error));
            }
        }
        drop(report);
        for _ in 0..cores {
            let started = reports
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("a core ended while it was starting")));
            if let Err(error) = started {
                // Those that have started hold the ports.
                running.draining.abandon();
                return Err(named("a core cannot start", &error));
            }
        }
        readiness.ready();
        // Each core has its copies.
        drop(originals);
        let descriptors = format_args!(
            "{descriptors_max}{}",
            if own_tables { " a core" } else { "" }
        );
        let pinned = pinned.load(Ordering::Relaxed) == cores;
        info!(cores, driver = %driver, pinned, %descriptors, "started");
        if let Some(room) = room.filter(|_| config.max_connections == 0) {
            info!(
                "max_connections = 0: as many as descriptors hold, {} clients; {} are kept for back ends and HTTP",
                room.clients,
                need.kept(config.backend_connections_max, descriptors_max)
                    + need.kept(config.http_connections_max, descriptors_max)
            );
        }
        Ok(running)
    }

    /// As many as are configured, or by the CPUs that the process has and the time that it may use of them.
    fn cores(&self, cpus: usize) -> io::Result<usize> {
        match self.config.cores {
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
}

/// What every core needs to know at its start.
struct Plan {
    config: Arc<Config>,
    driver: Arc<Drivers>,
    /// Of the apps' listeners, the sites, the apps' at paths of sites, and the clients' of sites that listen.
    specs: Vec<ListenerSpec>,
    rates: Vec<Rate>,
    /// In the same order.
    doors: Vec<EntryRules>,
    counters: Arc<ConnectionCounters>,
    /// Of descriptors, or memory, that have run out.
    exhausted: Arc<SharedLogLimiter>,
    /// The same on every core.
    started: Instant,
    /// Of namespaces; the apps' spaces are the first.
    registry: Arc<Registry>,
    apps: Vec<(MakeApp, Reach)>,
    sites: Vec<HttpListenerPlan>,
    backend_tokens: BackendTokens,
    keyring: Option<Arc<Keyring>>,
    /// How cores tell of events, if anybody wants to know.
    reporting: Option<Reporting>,
    listeners_json: String,
    facts: Arc<Facts>,
    progress: Arc<[DrainProgress]>,
    readiness: Arc<Readiness>,
}

impl Plan {
    fn make_apps(&self) -> Vec<Box<dyn Hosted>> {
        parts::make_apps(&self.apps)
    }

    fn specs(&self) -> Rc<[ListenerSpec]> {
        self.specs.iter().cloned().collect()
    }

    fn verifier(&self) -> Option<Verifier> {
        self.keyring.clone().map(Verifier::new)
    }

    fn admission(&self) -> Admission {
        Admission::new(&self.config, Arc::clone(&self.counters), &self.doors)
    }

    fn rates(&self) -> Option<Rates> {
        Rates::new(&self.rates, self.config.rate_burst, self.started)
    }
}

/// One core's listening sockets.
struct Bound {
    /// In the order of the specs: the apps', then the sites'.
    listeners: Vec<Listener>,
    /// How connections move, where each core has a descriptor table of its own.
    handover: Option<Handover>,
}

/// A server that runs.
#[must_use = "the server runs until it is stopped, and cannot be stopped without this"]
pub struct Running {
    listening: Vec<Listening>,
    cores: CoreThreads,
    draining: Draining,
    /// Its descriptors, closed here when no core needs them: one that a core closes last stays open in this
    /// thread's table if that is another.
    bus: Remote<Body>,
    reload: Reload,
    webhook_delivery: WebhookDelivery,
}

impl Running {
    /// What it listens on, in the order asked for: apps' listeners, then sites, then apps' listeners at paths of these.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The keys that clients' proofs are checked with, which can be read anew; `None` where clients prove nothing.
    pub fn keyring(&self) -> Option<Arc<Keyring>> {
        self.reload.keyring.clone()
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
        self.webhook_delivery.finish(began);
        result
    }
}
