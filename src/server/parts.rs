//! What a server put together is made of, for whoever runs its cores without sockets ([`crate::testing`]).

use std::io;
use std::sync::Arc;

use super::builder::Server;
use super::layout::Layout;
use super::plan::{MakeApp, make_apps};
use crate::app::hosted::Hosted;
use crate::auth::{Keyring, Verifier};
use crate::config::Config;
use crate::ident::Reach;
use crate::shard::ListenerSpec;

/// The apps, their listeners, and what holds for all of them.
pub(crate) struct Parts {
    pub config: Config,
    /// Everything that is listened on, by its number.
    pub specs: Vec<ListenerSpec>,
    /// As they were asked for, of all but the clients' that listen by sites.
    pub urls: Vec<String>,
    /// How many namespaces the apps have.
    pub namespaces: usize,
    apps: Vec<(MakeApp, Reach)>,
    keyring: Option<Arc<Keyring>>,
}

impl Server {
    /// Takes it apart. The first mistake in what was asked for is an error, as at its start.
    pub(crate) fn into_parts(mut self) -> io::Result<Parts> {
        self.check()?;
        self.namespaces.check(self.config.namespaces_max)?;
        let keyring = Keyring::open(&self.config)?;
        let Layout { specs, urls, .. } = self.listeners.layout(&self.tls)?;
        Ok(Parts {
            specs,
            urls,
            keyring,
            namespaces: self.namespaces.count(),
            apps: self.apps,
            config: self.config,
        })
    }
}

impl Parts {
    /// The apps of one core.
    pub fn make_apps(&self) -> Vec<Box<dyn Hosted>> {
        make_apps(&self.apps)
    }

    /// What checks who a core's clients are, where they have to prove it.
    pub fn verifier(&self) -> Option<Verifier> {
        self.keyring.clone().map(Verifier::new)
    }
}
