//! What this node says of itself, and of its Redis: [`OwnFacts`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::admission::{ConnectionCounters, Pool};
use crate::protocol::cluster::NodeFacts;

/// See the module.
pub struct OwnFacts {
    name: Box<str>,
    started: Instant,
    counters: Arc<ConnectionCounters>,
    /// In which what it publishes comes back.
    echo: Duration,
    /// Where the Redis is, as it calls itself, and why it is away, if it is.
    pub redis: (Box<str>, Box<str>, Option<Box<str>>),
}

impl OwnFacts {
    /// Of a node that starts, and has not joined.
    pub fn new(name: &str, redis: &str, counters: Arc<ConnectionCounters>) -> OwnFacts {
        let away = Some(Box::from("it has not answered yet"));
        OwnFacts {
            name: Box::from(name),
            started: Instant::now(),
            counters,
            echo: Duration::ZERO,
            redis: (Box::from(redis), Box::default(), away),
        }
    }

    /// What it publishes has come back in this time.
    pub fn echoed(&mut self, within: Duration) {
        self.echo = within;
    }

    /// It has joined, by a Redis that calls itself so.
    pub fn joined(&mut self, version: &str) {
        self.redis.1 = Box::from(version);
        self.redis.2 = None;
    }

    /// Redis is away.
    pub fn lost(&mut self, why: &str) {
        self.redis.2 = Some(Box::from(why));
        self.echo = Duration::ZERO;
    }

    pub fn facts(&self) -> NodeFacts {
        NodeFacts {
            name: self.name.clone(),
            version: Box::from(env!("CARGO_PKG_VERSION")),
            seconds: self.started.elapsed().as_secs(),
            connections: self.counters.count(Pool::Clients) as u64,
            echo_micros: self.echo.as_micros() as u64,
        }
    }
}
