//! What this node says of itself, and of its Redis: [`OwnFacts`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::app::query::{QueryResult, RedisFacts};
use crate::log_limiter::SharedLogLimiter;
use crate::net::admission::{ConnectionCounters, Pool};
use crate::net::http::{ClusterFigures, Facts, RedisFigures};
use crate::protocol::cluster::{LookAnswer, NodeFacts, NodeId};
use crate::protocol::connection_facts::{ConnectionsAsked, ConnectionsTold};
use crate::shard::ConnectionInfo;

/// See the module.
pub struct OwnFacts {
    name: Box<str>,
    started: Instant,
    counters: Arc<ConnectionCounters>,
    pub figures: Arc<ClusterFigures>,
    server: Arc<Facts>,
    /// Which of the cluster's Redis this is about.
    nth: usize,
}

/// How often it is said, by all parts of the node together, that another one has the same name.
static NAMESAKES: LazyLock<SharedLogLimiter> =
    LazyLock::new(|| SharedLogLimiter::every(Duration::from_secs(600)));

impl OwnFacts {
    /// Of a node that starts, and has not joined.
    pub fn new(
        name: &str,
        nth: usize,
        counters: Arc<ConnectionCounters>,
        server: Arc<Facts>,
    ) -> OwnFacts {
        OwnFacts {
            name: Box::from(name),
            started: Instant::now(),
            counters,
            figures: Arc::clone(&server.cluster),
            server,
            nth,
        }
    }

    /// Of its Redis; none where that is a model.
    pub fn redis(&self) -> Option<&RedisFigures> {
        self.figures.redis().get(self.nth)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another node is called as this one is. Nothing goes by names, but whoever looks cannot tell the two apart.
    pub fn has_namesake(&self) {
        if NAMESAKES.may_log(Instant::now()).is_some() {
            warn!(
                name = self.name,
                "cluster: another node has the same name; give each its own in cluster.node, or none"
            );
        }
    }

    /// What it publishes has come back in this time.
    pub fn echoed(&self, within: Duration) {
        if let Some(redis) = self.redis() {
            let micros = within.as_micros() as u64;
            redis.echo_micros.store(micros, Ordering::Relaxed);
        }
    }

    /// It has joined, by a Redis that calls itself so.
    pub fn joined(&self, version: &str) {
        if let Some(redis) = self.redis() {
            ClusterFigures::add(&redis.joins, 1);
            redis.up.store(true, Ordering::Relaxed);
            if let Ok(mut told) = redis.told.lock() {
                *told = (Box::from(version), None);
            }
        }
    }

    /// Redis is away.
    pub fn lost(&self, why: &str) {
        if let Some(redis) = self.redis() {
            redis.echo_micros.store(0, Ordering::Relaxed);
            redis.up.store(false, Ordering::Relaxed);
            // Whoever is told knows where it is.
            let address = format!("Redis at {}: ", redis.address);
            let why = why.strip_prefix(&address).unwrap_or(why);
            if let Ok(mut told) = redis.told.lock() {
                told.1 = Some(Box::from(why));
            }
        }
    }

    /// How it stands with each Redis of the cluster.
    pub fn all_redis(&self) -> Vec<RedisFacts> {
        let state = |redis: &RedisFigures| {
            let told = redis.told.lock().map(|told| told.clone());
            let (version, away) = told.unwrap_or_default();
            RedisFacts {
                address: redis.address.clone(),
                version,
                away,
            }
        };
        self.figures.redis().iter().map(state).collect()
    }

    /// What a node's cores, so many, have found for another node; `None` if that is nothing.
    pub fn look_answer(&self, found: QueryResult, cores: usize) -> Option<LookAnswer> {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let told = |list: Vec<ConnectionInfo>, count: usize, next: Option<u32>| {
            let list = list.into_iter().map(|info| self.server.connection(info));
            LookAnswer::Connections(ConnectionsTold {
                list: list.collect(),
                count: narrow(count),
                next,
                cores: u16::try_from(cores).unwrap_or(u16::MAX),
            })
        };
        match found {
            QueryResult::Looked(answers, _) => answers.into_iter().next(),
            QueryResult::Connections(page) => Some(told(page.list, 0, page.next)),
            QueryResult::Uid(info) => Some(told(info.listed, info.connections, None)),
            QueryResult::Connection(answer) => {
                Some(LookAnswer::Connection(self.server.outcome(answer)))
            }
            _ => None,
        }
    }

    /// Which listeners of this node are asked for.
    pub fn name_listeners(&self, asked: &mut ConnectionsAsked) {
        let url = asked.listener.as_deref();
        asked.listeners = url.map(|url| self.server.listeners_at(url));
    }

    pub fn facts(&self, node: NodeId) -> NodeFacts {
        NodeFacts {
            node,
            name: self.name.clone(),
            version: Box::from(env!("CARGO_PKG_VERSION")),
            seconds: self.started.elapsed().as_secs(),
            connections: self.counters.count(Pool::Clients) as u64,
            echo_micros: self.figures.echo_micros(),
        }
    }
}
