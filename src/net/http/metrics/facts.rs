//! [`Facts`]: what the metrics say that no core counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

use super::cluster::ClusterFigures;
use crate::tls::TlsListeners;

/// What stands for an HTTP listener's app.
pub const SITE: &str = "http";

/// What the metrics say that no core counts.
pub struct Facts {
    /// App and URL of every listener, by its number.
    pub(super) listeners: Vec<(&'static str, String)>,
    pub(super) started: Instant,
    /// The time of day then.
    pub(super) started_at: SystemTime,
    /// Of the listeners that speak it.
    pub(super) tls: Option<Arc<TlsListeners>>,
    /// Of going on in another process.
    pub upgrades: Arc<UpgradeFigures>,
    /// Of the other nodes, where there are any.
    pub cluster: Arc<ClusterFigures>,
}

/// What is counted of upgrades, by whoever makes them.
#[derive(Default)]
pub struct UpgradeFigures {
    /// Processes that have gone on in another's place, this one the last of them.
    pub done: AtomicU64,
    /// Upgrades of this process that have failed.
    pub failed: AtomicU64,
    /// For how long nothing was read at the last one, in microseconds.
    pub pause: AtomicU64,
}

impl Facts {
    /// App and URL of a listener of apps.
    pub fn app_listener(&self, number: u16) -> Option<(&str, &str)> {
        let (app, url) = self.listeners.get(usize::from(number))?;
        (*app != SITE).then_some((*app, url))
    }

    /// Whether there is one of this number.
    pub fn has_listener(&self, number: u16) -> bool {
        usize::from(number) < self.listeners.len()
    }

    /// Those of a server that starts now.
    pub fn new(listeners: Vec<(&'static str, String)>, tls: Option<Arc<TlsListeners>>) -> Facts {
        Facts {
            listeners,
            started: Instant::now(),
            started_at: SystemTime::now(),
            tls,
            upgrades: Arc::default(),
            cluster: Arc::default(),
        }
    }
}
