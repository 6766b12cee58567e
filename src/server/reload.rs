//! What a running server takes over of a configuration that has changed: [`Reload`].
//!
//! The caller puts a server together as for a start, and hands it over here instead of starting it. Its limits,
//! times and origins are what holds now ([`Renewal`]), and an envelope tells every core so. Each changes between two
//! turns, and nothing on the data path asks whether they have. What a server is started with (its listeners and apps, its cores,
//! how clients prove who they are) stays as it is: whoever calls tells people what needs a restart.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::info;

use super::certificates;
use super::layout::Layout;
use crate::app::envelope::Body;
use crate::auth::Keyring;
use crate::auth::backend_tokens::BackendTokens;
use crate::bus::Remote;
use crate::config::Config;
use crate::ident::CoreId;
use crate::net::admission::EntryRules;
use crate::net::rates::Rate;
use crate::shard::ListenerSpec;
use crate::tls::TlsListeners;

/// Time for the cores to have taken it over.
const TAKING_TIME_MAX: Duration = Duration::from_secs(1);

/// The configuration that holds now.
pub struct Current(Mutex<(Arc<Config>, Option<Arc<Renewal>>)>);

impl Current {
    pub fn new(config: Arc<Config>) -> Current {
        Current(Mutex::new((config, None)))
    }

    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// What each core goes on with, if it has changed since the start.
    pub fn renewal(&self) -> Option<Arc<Renewal>> {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current.1.clone()
    }

    fn set(&self, renewal: Renewal) {
        let config = Arc::clone(&renewal.config);
        let current = (config, Some(Arc::new(renewal)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }
}

/// What each core goes on with.
pub struct Renewal {
    pub config: Arc<Config>,
    /// Of all that is listened on, by number.
    pub specs: Vec<ListenerSpec>,
    pub rates: Vec<Rate>,
    /// When what these count in began, on every core.
    pub epoch: Instant,
    pub doors: Vec<EntryRules>,
}

/// A running server's end of it. Clones are of the same server.
#[derive(Clone)]
pub struct Reload {
    pub(super) remote: Remote<Body>,
    pub(super) current: Arc<Current>,
    pub(super) keyring: Option<Arc<Keyring>>,
    pub(super) backend_tokens: BackendTokens,
    /// What it was started with.
    pub(super) layout: Arc<Layout>,
    pub(super) epoch: Instant,
    /// Of the listeners that speak it.
    pub(super) tls: Option<Arc<TlsListeners>>,
}

impl Reload {
    /// What of a server put together for it holds from now on: [`Reload::apply`].
    pub(super) fn take_over(
        &self,
        config: Config,
        layout: Layout,
        backend_tokens: &BackendTokens,
    ) -> io::Result<()> {
        if !self.layout.has_listeners_of(&layout) {
            return Err(refused("a running server keeps its listeners and apps"));
        }
        if backend_tokens.is_empty() != self.backend_tokens.is_empty() {
            return Err(refused(
                "whether tokens are asked for stays as it was at the start",
            ));
        }
        let tls = self.tls.as_ref();
        let fresh_tls = tls.map(|tls| tls.read(layout.tls)).transpose()?;
        if let Some(keyring) = &self.keyring {
            let keys = keyring.renew(&config)?;
            info!(keys, "the keys of clients' proofs have been read anew");
        }
        if let Some((tls, fresh)) = tls.zip(fresh_tls) {
            certificates::take_over(tls, fresh);
        }
        if self.backend_tokens.renew(backend_tokens) {
            info!("the tokens of back ends have changed");
        }
        let config = Arc::new(fixed(config, &self.current.config()));
        self.current.set(Renewal {
            config,
            specs: self.specs(layout.specs),
            rates: layout.rates,
            epoch: self.epoch,
            doors: self.doors(layout.doors),
        });
        for core in 0..self.remote.cores() {
            self.remote.post(CoreId(core as u16), Body::Renew);
        }
        self.wait_until_taken();
        Ok(())
    }

    /// Whoever is told that it is done may count on it; a core that is stuck is not waited for.
    fn wait_until_taken(&self) {
        let until = Instant::now() + TAKING_TIME_MAX;
        let waits = |core| self.remote.waits_at(CoreId(core as u16));
        while (0..self.remote.cores()).any(waits) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn specs(&self, mut specs: Vec<ListenerSpec>) -> Vec<ListenerSpec> {
        for (spec, own) in specs.iter_mut().zip(&self.layout.specs) {
            spec.proves = own.proves;
        }
        specs
    }

    /// Connections give back what they count towards, so that must stay the same.
    fn doors(&self, doors: Vec<EntryRules>) -> Vec<EntryRules> {
        let doors = doors.into_iter().zip(&self.layout.doors);
        doors
            .map(|(door, own)| EntryRules {
                per_address_max: door.per_address_max,
                ..*own
            })
            .collect()
    }
}

/// What a running server cannot take over is put back.
fn fixed(config: Config, running: &Config) -> Config {
    Config {
        cores: running.cores,
        pin: running.pin,
        driver: running.driver,
        descriptor_tables: running.descriptor_tables,
        send_buffer_bytes: running.send_buffer_bytes,
        auth: running.auth,
        ..config
    }
}

fn refused(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
