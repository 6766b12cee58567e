//! What stands for webhooks in a build without the feature `webhooks`: nothing can be configured, so nothing is delivered.
//! Has what `webhooks/mod.rs` has for others.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::config::Webhooks;
use crate::events::{Tally, UidEvent};

#[path = "inheritance.rs"]
mod inheritance;

pub use inheritance::Inheritance;

/// A listener as it is named to those outside.
pub struct ListenerName {
    #[expect(dead_code, reason = "nobody is told")]
    pub app: Box<str>,
    #[expect(dead_code, reason = "nobody is told")]
    pub url: String,
}

/// There is none.
pub struct WebhookTarget(Infallible);

impl WebhookTarget {
    /// An error if there are to be webhooks.
    pub fn open(config: &Webhooks) -> io::Result<Option<WebhookTarget>> {
        check_webhooks(config).map(|()| None)
    }
}

/// What would keep a server from starting with these: that they have a URL.
pub fn check_webhooks(config: &Webhooks) -> io::Result<()> {
    match config.url {
        None => Ok(()),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "webhooks.url: this build has no webhooks; build it with the feature `webhooks`",
        )),
    }
}

/// There is none.
pub struct DeliveryThread(Infallible);

impl DeliveryThread {
    /// Is never called: there is no [`WebhookTarget`].
    pub fn start(
        _: &Webhooks,
        target: WebhookTarget,
        _: (Option<String>, Vec<ListenerName>),
        _: Receiver<UidEvent>,
        _: (Arc<[Tally]>, Arc<AtomicUsize>),
    ) -> io::Result<DeliveryThread> {
        match target.0 {}
    }

    /// Is never called: there is none.
    pub fn hold(&self, _: Duration) -> bool {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn pack(&self) -> Option<Inheritance> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn go_on(&self) {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn take_over(&self, _: Inheritance) {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn give_up(self) {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn finish(self, _: Instant) {
        match self.0 {}
    }
}
