//! The counters of one core, and of all, as `stats` answers them.

use serde::Serialize;

use crate::close::CloseReason;

/// What one core has counted since its start, and what it holds now.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct CoreStats {
    /// The core's number.
    pub core: u16,
    /// Open connections, those still logging in included.
    pub connections: u64,
    /// Connections whose opening handshake is under way.
    pub opening: u64,
    /// Connections bound to a uid.
    pub bound: u64,
    /// Uids with at least one connection.
    pub uids: u64,
    /// Groups with at least one member.
    pub groups: u64,
    /// Messages received from clients.
    pub messages_in: u64,
    /// Messages queued for clients, each receiver counted.
    pub messages_out: u64,
    /// Messages received compressed.
    pub messages_inflated: u64,
    /// Messages compressed for clients; one for many counts once a core.
    pub messages_compressed: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Envelopes posted to other cores.
    pub envelopes_out: u64,
    /// Joins ignored because the connection was in `groups_per_connection_max` groups.
    pub joins_refused: u64,
    /// Connections that came from another core.
    pub moved_in: u64,
    /// Panics in an app's callback or in a codec. Each was logged, and closed its connection with 1011 if
    /// it was about one.
    pub panics: u64,
    /// Events that a webhook's receiver has taken.
    pub webhooks_sent: u64,
    /// Events that it has refused, or not taken in time.
    pub webhooks_failed: u64,
    /// Events that found no room to wait.
    pub webhooks_dropped: u64,
    /// Bytes waiting in outboxes.
    pub outbox_bytes: u64,
    /// Ended connections by reason, in the order of [`CloseReason::ALL`].
    #[serde(serialize_with = "by_name")]
    pub closed: Vec<u64>,
}

/// The counters of every core.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Stats {
    /// One entry a core, in order.
    pub cores: Vec<CoreStats>,
}

impl Stats {
    /// A figure summed over the cores.
    pub fn sum(&self, figure: impl Fn(&CoreStats) -> u64) -> u64 {
        self.cores.iter().map(figure).sum()
    }
}

fn by_name<S: serde::Serializer>(closed: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        CloseReason::ALL
            .iter()
            .zip(closed)
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| (reason.text(), count)),
    )
}
