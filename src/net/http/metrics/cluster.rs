//! What a node of a cluster counts of the others and of their Redis: [`ClusterFigures`], and of each Redis [`RedisFigures`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use prometheus::proto::MetricType;

use super::page::{MetricsPage, label, sample};

/// Counted by the cluster's thread alone; a scrape reads it.
#[derive(Default)]
pub struct ClusterFigures {
    /// Whether this server is one of a cluster.
    pub is_on: AtomicBool,
    /// Each of the cluster's partitions, set when its thread starts.
    pub redis: OnceLock<Box<[RedisFigures]>>,
    pub resubscriptions: AtomicU64,
    pub batches: AtomicU64,
    pub published: AtomicU64,
    pub received: AtomicU64,
    pub unknown: AtomicU64,
    pub dropped: AtomicU64,
}

/// How it stands with one Redis of a cluster, or with one partition of a Redis Cluster.
#[derive(Default)]
pub struct RedisFigures {
    /// Where it is, without its password.
    pub address: Box<str>,
    pub up: AtomicBool,
    /// In which what the node says comes back to it, in microseconds.
    pub echo_micros: AtomicU64,
    /// Joined there, this one with them, as far as it knows.
    pub nodes: AtomicU64,
    /// Nodes that may have users of whom this Redis does not know.
    pub incomplete: AtomicU64,
    pub channels: AtomicU64,
    /// How often the node has joined there.
    pub joins: AtomicU64,
    pub silent: AtomicU64,
    /// What it calls itself, and why it is away, if it is.
    pub told: Mutex<(Box<str>, Option<Box<str>>)>,
}

impl RedisFigures {
    /// Of one that has not been joined.
    #[cfg(feature = "cluster")]
    pub fn new(address: &str) -> RedisFigures {
        let away = Some(Box::from("it has not answered yet"));
        RedisFigures {
            address: Box::from(address),
            told: Mutex::new((Box::default(), away)),
            ..RedisFigures::default()
        }
    }
}

impl ClusterFigures {
    /// Each of its Redis.
    pub fn redis(&self) -> &[RedisFigures] {
        self.redis.get().map_or(&[], |each| each)
    }

    /// Of all its Redis.
    fn of_each(&self, figure: impl Fn(&RedisFigures) -> &AtomicU64) -> impl Iterator<Item = u64> {
        let each = self.redis().iter();
        each.map(move |redis| figure(redis).load(Ordering::Relaxed))
    }

    /// In which what the node says to all comes back by the slowest Redis, in microseconds; 0 if none has.
    pub fn echo_micros(&self) -> u64 {
        self.of_each(|redis| &redis.echo_micros).max().unwrap_or(0)
    }

    /// Counts: there is one writer.
    #[cfg(feature = "cluster")]
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// Nothing where there is no cluster.
pub(super) fn add(page: &mut MetricsPage, figures: &ClusterFigures) {
    if !figures.is_on.load(Ordering::Relaxed) {
        return;
    }
    let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed) as f64;
    let is_up = |redis: &RedisFigures| redis.up.load(Ordering::Relaxed);
    let up = figures.redis().iter().all(is_up);
    page.single(
        "ringpost_cluster_up",
        "1 if this node is joined to its cluster's Redis, to all of them if there are several, else 0.",
        f64::from(u8::from(up)),
    );
    page.single(
        "ringpost_cluster_echo_seconds",
        "Time in which the last word that the node said to all came back to it; 0 if none has.",
        figures.echo_micros() as f64 / 1e6,
    );
    let each = figures.redis().iter();
    let (ups, echoes): (Vec<_>, Vec<_>) = each
        .map(|redis| {
            let at = || vec![label("redis", &redis.address)];
            let up = f64::from(u8::from(is_up(redis)));
            let echo = read(&redis.echo_micros) / 1e6;
            let gauge = |value| sample(MetricType::GAUGE, at(), value);
            (gauge(up), gauge(echo))
        })
        .unzip();
    for (name, help, samples) in [
        (
            "ringpost_cluster_redis_up",
            "1 if this node is joined to this Redis of its cluster, else 0.",
            ups,
        ),
        (
            "ringpost_cluster_redis_echo_seconds",
            "Time in which the last word that the node said to all by this Redis came back; 0 if none has.",
            echoes,
        ),
    ] {
        page.family(name, help, MetricType::GAUGE, samples);
    }
    let nodes = figures.of_each(|redis| &redis.nodes).max().unwrap_or(0);
    let incomplete = figures.of_each(|redis| &redis.incomplete).max();
    let channels = figures.of_each(|redis| &redis.channels).sum::<u64>();
    for (name, help, figure) in [
        (
            "ringpost_cluster_nodes",
            "Nodes that are joined, as this one has heard, itself with them.",
            nodes,
        ),
        (
            "ringpost_cluster_incomplete_nodes",
            "Nodes that may have users of whom Redis does not know, so that verdicts are unknown.",
            incomplete.unwrap_or(0),
        ),
        (
            "ringpost_cluster_channels",
            "Uids and groups that this node is subscribed to, or about to be.",
            channels,
        ),
    ] {
        page.single(name, help, figure as f64);
    }
    add_counts(page, figures);
}

/// What it has counted since its start.
fn add_counts(page: &mut MetricsPage, figures: &ClusterFigures) {
    let sum =
        |figure: fn(&RedisFigures) -> &AtomicU64| AtomicU64::new(figures.of_each(figure).sum());
    let (joins, silent) = (sum(|redis| &redis.joins), sum(|redis| &redis.silent));
    for (name, help, figure) in [
        (
            "ringpost_cluster_joins_total",
            "Times that the node has joined; all but the first are after it had lost Redis.",
            &joins,
        ),
        (
            "ringpost_cluster_resubscriptions_total",
            "Uids and groups subscribed anew because Redis had been lost.",
            &figures.resubscriptions,
        ),
        (
            "ringpost_cluster_batches_total",
            "Batches of commands that were sent to Redis.",
            &figures.batches,
        ),
        (
            "ringpost_cluster_published_total",
            "Commands of these batches.",
            &figures.published,
        ),
        (
            "ringpost_cluster_received_total",
            "Messages that came by Redis, those of this node itself with them.",
            &figures.received,
        ),
        (
            "ringpost_cluster_unknown_total",
            "What was asked of other nodes and is not, or not wholly, known.",
            &figures.unknown,
        ),
        (
            "ringpost_cluster_dropped_total",
            "What other nodes asked and was dropped, since the cores were late.",
            &figures.dropped,
        ),
        (
            "ringpost_cluster_silent_total",
            "Times that a node was held to be gone for its silence.",
            &silent,
        ),
    ] {
        let count = figure.load(Ordering::Relaxed) as f64;
        let sample = sample(MetricType::COUNTER, vec![], count);
        page.family(name, help, MetricType::COUNTER, vec![sample]);
    }
}
