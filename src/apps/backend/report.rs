//! The answer to `stats`: one line of JSON, what the server is first, the sums over all cores, then each core.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ringpost::close::CloseReason;
use ringpost::stats::{CoreStats, Stats};
use serde::{Serialize, Serializer};

/// What is told of the server beside its counters. Clones are of the same.
#[derive(Clone)]
pub struct ServerFacts {
    started: Instant,
    /// Known once they are bound.
    listeners: Arc<OnceLock<Vec<BoundListener>>>,
}

/// A listener, as it is really bound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BoundListener {
    pub app: String,
    pub url: String,
}

impl ServerFacts {
    /// Of a server that starts now.
    pub fn new() -> ServerFacts {
        ServerFacts {
            started: Instant::now(),
            listeners: Arc::default(),
        }
    }

    /// They are bound.
    pub fn listen(&self, listeners: Vec<BoundListener>) {
        // They stay what they are.
        let _ = self.listeners.set(listeners);
    }
}

/// `{"version":"…","uptime_seconds":…,"listeners":[…],"connections":…,…,"closed":{"idle":1,…},"cores":[{"core":0,…},…]}`. `closed` names only the
/// reasons that have occurred.
#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    listeners: &'a [BoundListener],
    connections: u64,
    bound: u64,
    binds: u64,
    uids: u64,
    groups: u64,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    envelopes_out: u64,
    joins_refused: u64,
    moved_in: u64,
    pushes_delivered: u64,
    pushes_kept: u64,
    pushes_offline: u64,
    pushes_unknown: u64,
    panics: u64,
    outbox_bytes: u64,
    #[serde(serialize_with = "closed")]
    closed: &'a Stats,
    cores: &'a [CoreStats],
}

/// The line, without its line end.
pub fn line(facts: &ServerFacts, stats: &Stats) -> String {
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: facts.started.elapsed().as_secs(),
        listeners: facts.listeners.get().map_or(&[], Vec::as_slice),
        connections: stats.sum(|core| core.connections),
        bound: stats.sum(|core| core.bound),
        binds: stats.sum(|core| core.binds),
        uids: stats.sum(|core| core.uids),
        groups: stats.sum(|core| core.groups),
        messages_in: stats.sum(|core| core.messages_in),
        messages_out: stats.sum(|core| core.messages_out),
        bytes_in: stats.sum(|core| core.bytes_in),
        bytes_out: stats.sum(|core| core.bytes_out),
        envelopes_out: stats.sum(|core| core.envelopes_out),
        joins_refused: stats.sum(|core| core.joins_refused),
        moved_in: stats.sum(|core| core.moved_in),
        pushes_delivered: stats.sum(|core| core.pushes_delivered),
        pushes_kept: stats.sum(|core| core.pushes_kept),
        pushes_offline: stats.sum(|core| core.pushes_offline),
        pushes_unknown: stats.sum(|core| core.pushes_unknown),
        panics: stats.sum(|core| core.panics),
        outbox_bytes: stats.sum(|core| core.outbox_bytes),
        closed: stats,
        cores: &stats.cores,
    };
    // Numbers under names, written to memory: nothing in it can fail.
    serde_json::to_string(&report).unwrap_or_else(|error| format!("fail: {error}"))
}

fn closed<S: Serializer>(stats: &&Stats, serializer: S) -> Result<S::Ok, S::Error> {
    let sum = |reason: CloseReason| {
        stats.sum(|core| core.closed.get(reason.index()).copied().unwrap_or(0))
    };
    let occurred = CloseReason::ALL
        .iter()
        .map(|&reason| (reason.text(), sum(reason)))
        .filter(|&(_, count)| count > 0);
    serializer.collect_map(occurred)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_before_cores() {
        let mut closed = vec![0; CloseReason::COUNT];
        closed[CloseReason::Idle.index()] = 2;
        let core = |core, connections| {
            let mut stats = CoreStats::default();
            stats.core = core;
            stats.connections = connections;
            stats.closed = closed.clone();
            stats
        };
        // A core that has counted no reason yet may have no table of them.
        let bare = CoreStats::default();
        let mut stats = Stats::default();
        stats.cores = vec![core(0, 3), core(1, 4), bare];

        let facts = ServerFacts::new();
        facts.listen(vec![BoundListener {
            app: "relay".to_owned(),
            url: "ws://127.0.0.1:1".to_owned(),
        }]);
        let line = line(&facts, &stats);
        assert!(!line.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["connections"], 7);
        assert_eq!(json["closed"], serde_json::json!({ "idle": 4 }));
        assert_eq!(json["cores"][1]["connections"], 4);
        assert_eq!(json["cores"][1]["closed"]["idle"], 2);
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["uptime_seconds"], 0);
        assert_eq!(json["listeners"][0]["url"], "ws://127.0.0.1:1");
        assert!(line.contains("],\"connections\":7,\"bound\":0"));
    }
}
