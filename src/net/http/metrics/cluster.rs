//! What a node of a cluster counts of the others and of their Redis: [`ClusterFigures`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus::proto::MetricType;

use super::page::{MetricsPage, sample};

/// Counted by the cluster's thread alone; a scrape reads it.
#[derive(Default)]
pub struct ClusterFigures {
    /// Whether this server is one of a cluster.
    pub is_on: AtomicBool,
    pub up: AtomicBool,
    /// In which what it says comes back to it, in microseconds.
    pub echo_micros: AtomicU64,
    /// Joined, this one with them, as far as it knows.
    pub nodes: AtomicU64,
    /// Nodes that may have users of whom Redis does not know.
    pub incomplete: AtomicU64,
    pub channels: AtomicU64,
    pub joins: AtomicU64,
    pub resubscriptions: AtomicU64,
    pub batches: AtomicU64,
    pub published: AtomicU64,
    pub received: AtomicU64,
    pub unknown: AtomicU64,
    pub dropped: AtomicU64,
    pub silent: AtomicU64,
}

#[cfg(feature = "cluster")]
impl ClusterFigures {
    /// Counts: there is one writer.
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
    page.single(
        "ringpost_cluster_up",
        "1 if this node is joined to its cluster's Redis, else 0.",
        f64::from(u8::from(figures.up.load(Ordering::Relaxed))),
    );
    page.single(
        "ringpost_cluster_echo_seconds",
        "Time in which the last word that the node said to all came back to it; 0 if none has.",
        read(&figures.echo_micros) / 1e6,
    );
    for (name, help, figure) in [
        (
            "ringpost_cluster_nodes",
            "Nodes that are joined, as this one has heard, itself with them.",
            &figures.nodes,
        ),
        (
            "ringpost_cluster_incomplete_nodes",
            "Nodes that may have users of whom Redis does not know, so that verdicts are unknown.",
            &figures.incomplete,
        ),
        (
            "ringpost_cluster_channels",
            "Uids and groups that this node is subscribed to, or about to be.",
            &figures.channels,
        ),
    ] {
        page.single(name, help, read(figure));
    }
    for (name, help, figure) in [
        (
            "ringpost_cluster_joins_total",
            "Times that the node has joined; all but the first are after it had lost Redis.",
            &figures.joins,
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
            &figures.silent,
        ),
    ] {
        let sample = sample(MetricType::COUNTER, vec![], read(figure));
        page.family(name, help, MetricType::COUNTER, vec![sample]);
    }
}
