//! A server that runs: [`Running`], by which it is stopped, reloaded, and asked where it listens.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::certificates::{CertificateWatch, LOOK_INTERVAL};
use super::cores::CoreThreads;
use super::drain::Draining;
use super::listen::Listening;
use super::plan::Plan;
use super::reload::{Current, Reload};
use super::webhooks::WebhookDelivery;
use crate::app::envelope::Body;
use crate::auth::Keyring;
use crate::bus::Remote;
use crate::net::unix_socket::ClaimedPath;

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
    pub(super) webhook_delivery: WebhookDelivery,
    /// Looks at the certificates' files, if there are any.
    pub(super) certificate_watch: Option<CertificateWatch>,
    /// Files of Unix sockets, which go with it.
    pub(super) claimed: Vec<ClaimedPath>,
}

impl Running {
    /// One whose cores are still to be started.
    pub(super) fn new(
        plan: &Plan,
        listening: Vec<Listening>,
        bus: Remote<Body>,
        current: Arc<Current>,
        webhook_delivery: WebhookDelivery,
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
            webhook_delivery,
            certificate_watch,
            claimed: Vec::new(),
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
        self.webhook_delivery.finish(began);
        result
    }
}
