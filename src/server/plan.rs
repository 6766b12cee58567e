//! What every core needs to know at its start: [`Plan`]. Made once, at the server's start; nothing in it changes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::drain::DrainProgress;
use super::driver::Drivers;
use super::layout::Layout;
use super::reload::Current;
use super::upgrade::UpgradeDesk;
use crate::app::hosted::Hosted;
use crate::app::namespaces::Registry;
use crate::auth::backend_tokens::BackendTokens;
use crate::auth::{Keyring, Verifier};
use crate::config::Config;
use crate::events::{Reporter, Reporting};
use crate::ident::{CoreId, Reach};
use crate::log_limiter::SharedLogLimiter;
use crate::net::admission::{Admission, ConnectionCounters};
use crate::net::http::{Facts, Readiness};
use crate::net::rates::Rates;
use crate::shard::ListenerSpec;
use crate::tls::{TlsAcceptor, TlsListeners};

/// Makes an app's value on each core, given its number and its reach.
pub type MakeApp = Arc<dyn Fn(u8, Reach) -> Box<dyn Hosted> + Send + Sync>;

/// What every core needs to know at its start.
pub struct Plan {
    pub config: Arc<Config>,
    /// What holds of it, if that changes.
    pub current: Arc<Current>,
    pub driver: Arc<Drivers>,
    /// Everything that is listened on, by number.
    pub layout: Arc<Layout>,
    pub counters: Arc<ConnectionCounters>,
    /// Of descriptors, or memory, that have run out.
    pub exhausted: Arc<SharedLogLimiter>,
    /// When what rates count in began, on every core.
    pub started: Instant,
    /// The number of this node of a cluster, or 0.
    pub node: u64,
    /// Of namespaces; the apps' namespaces are the first.
    pub registry: Arc<Registry>,
    pub apps: Vec<(MakeApp, Reach)>,
    pub backend_tokens: BackendTokens,
    pub keyring: Option<Arc<Keyring>>,
    /// How cores tell of events, if anybody wants to know.
    pub reporting: Option<Reporting>,
    pub listeners_json: String,
    pub facts: Arc<Facts>,
    pub progress: Arc<[DrainProgress]>,
    pub readiness: Arc<Readiness>,
    /// Of the listeners that speak it, if there are any.
    pub tls: Option<Arc<TlsListeners>>,
    /// For the steps of an upgrade.
    pub desk: Arc<UpgradeDesk>,
}

impl Plan {
    /// The apps of one core.
    pub fn make_apps(&self) -> Vec<Box<dyn Hosted>> {
        make_apps(&self.apps)
    }

    /// Everything that is listened on, by number, for one core.
    pub fn specs(&self) -> Rc<[ListenerSpec]> {
        self.layout.specs.iter().cloned().collect()
    }

    /// What checks who a core's clients are, where they have to prove it.
    pub fn verifier(&self) -> Option<Verifier> {
        self.keyring.clone().map(Verifier::new)
    }

    /// One core's part in who may come in.
    pub fn admission(&self) -> Admission {
        Admission::new(&self.config, Arc::clone(&self.counters), &self.layout.doors)
    }

    /// How fast a core's connections may send, where some listener has a limit to that.
    pub fn rates(&self) -> Option<Rates> {
        Rates::new(&self.layout.rates, self.config.rate_burst, self.started)
    }

    /// One core's view of the listeners' TLS, if one speaks it.
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.clone().map(TlsAcceptor::new)
    }

    /// One core's way to tell of events, if anybody wants to know.
    pub fn reporter(&self, core: CoreId) -> Option<Reporter> {
        self.reporting.as_ref().map(|all| all.reporter(core))
    }
}

/// Makes each app's value of one core, in the order of their numbers.
pub fn make_apps(apps: &[(MakeApp, Reach)]) -> Vec<Box<dyn Hosted>> {
    let numbered = apps.iter().enumerate();
    numbered
        .map(|(number, (make, reach))| make(number as u8, *reach))
        .collect()
}
