//! What this node says of itself, and of its Redis: [`OwnFacts`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::net::admission::{ConnectionCounters, Pool};
use crate::net::http::ClusterFigures;
use crate::protocol::cluster::{NodeFacts, NodeId};

/// See the module.
pub struct OwnFacts {
    name: Box<str>,
    started: Instant,
    counters: Arc<ConnectionCounters>,
    pub figures: Arc<ClusterFigures>,
    /// In which what it publishes comes back.
    echo: Duration,
    /// Where the Redis is, as it calls itself, and why it is away, if it is.
    pub redis: (Box<str>, Box<str>, Option<Box<str>>),
}

impl OwnFacts {
    /// Of a node that starts, and has not joined.
    pub fn new(
        name: &str,
        redis: &str,
        counters: Arc<ConnectionCounters>,
        figures: Arc<ClusterFigures>,
    ) -> OwnFacts {
        let away = Some(Box::from("it has not answered yet"));
        OwnFacts {
            name: Box::from(name),
            started: Instant::now(),
            counters,
            figures,
            echo: Duration::ZERO,
            redis: (Box::from(redis), Box::default(), away),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it publishes has come back in this time.
    pub fn echoed(&mut self, within: Duration) {
        self.echo = within;
        let micros = within.as_micros() as u64;
        self.figures.echo_micros.store(micros, Ordering::Relaxed);
    }

    /// It has joined, by a Redis that calls itself so.
    pub fn joined(&mut self, version: &str) {
        self.redis.1 = Box::from(version);
        self.redis.2 = None;
        self.figures.up.store(true, Ordering::Relaxed);
        ClusterFigures::add(&self.figures.joins, 1);
    }

    /// Redis is away.
    pub fn lost(&mut self, why: &str) {
        self.redis.2 = Some(Box::from(why));
        self.echo = Duration::ZERO;
        self.figures.up.store(false, Ordering::Relaxed);
        self.figures.echo_micros.store(0, Ordering::Relaxed);
    }

    pub fn facts(&self, node: NodeId) -> NodeFacts {
        NodeFacts {
            node,
            name: self.name.clone(),
            version: Box::from(env!("CARGO_PKG_VERSION")),
            seconds: self.started.elapsed().as_secs(),
            connections: self.counters.count(Pool::Clients) as u64,
            echo_micros: self.echo.as_micros() as u64,
        }
    }
}
