//! [`FIGURES`]: the counters and gauges that each core has, by name.

use prometheus::proto::MetricType;

use crate::stats::CoreStats;

/// A figure that each core has, with the core as its label.
pub struct Figure {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricType,
    pub of: fn(&CoreStats) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&CoreStats) -> u64) -> Figure {
    let kind = MetricType::GAUGE;
    Figure {
        name,
        help,
        kind,
        of,
    }
}

const fn counter(name: &'static str, help: &'static str, of: fn(&CoreStats) -> u64) -> Figure {
    let kind = MetricType::COUNTER;
    Figure {
        name,
        help,
        kind,
        of,
    }
}

/// Every one of them, in the order in which they are told.
pub const FIGURES: &[Figure] = &[
    gauge(
        "ringpost_opening_connections",
        "Connections whose opening handshake is under way.",
        |core| core.opening,
    ),
    gauge(
        "ringpost_bound_connections",
        "Connections bound to a uid.",
        |core| core.bound,
    ),
    gauge(
        "ringpost_uids",
        "Uids with at least one connection.",
        |core| core.uids,
    ),
    gauge(
        "ringpost_groups",
        "Groups with at least one member on the core.",
        |core| core.groups,
    ),
    gauge(
        "ringpost_outbox_bytes",
        "Bytes waiting in outboxes, a message shared by many counting once.",
        |core| core.outbox_bytes,
    ),
    gauge(
        "ringpost_sticky_members",
        "Memberships of uids that are in groups with a connection or without.",
        |core| core.sticky_members,
    ),
    gauge(
        "ringpost_sticky_bytes",
        "What these take, as it counts towards sticky_bytes_core_max.",
        |core| core.sticky_bytes,
    ),
    gauge(
        "ringpost_unwritten_bytes",
        "What waits because the core has not come to write it, each receiver of a message counted.",
        |core| core.unwritten_bytes,
    ),
    gauge(
        "ringpost_round_work_max",
        "The most that one round has done: messages put into outboxes, and other work measured by that.",
        |core| core.round_units_max,
    ),
    gauge(
        "ringpost_history_bytes",
        "Bytes of what is kept, as they count towards history_bytes_core_max.",
        |core| core.history_bytes,
    ),
    gauge(
        "ringpost_history_streams",
        "Streams that are remembered.",
        |core| core.history_streams,
    ),
    gauge(
        "ringpost_history_messages",
        "Messages that are kept.",
        |core| core.history_messages,
    ),
    counter(
        "ringpost_history_appended_total",
        "Messages that were kept.",
        |core| core.history_appended,
    ),
    counter(
        "ringpost_history_undelivered_total",
        "Messages that waited for their uid's login and went before.",
        |core| core.history_undelivered,
    ),
    counter(
        "ringpost_history_gaps_total",
        "Gaps that clients were told of: something that they had missed was gone.",
        |core| core.history_gaps,
    ),
    counter(
        "ringpost_pauses_total",
        "Times that a connection was not read for a while.",
        |core| core.pauses,
    ),
    counter(
        "ringpost_binds_total",
        "Connections that have been bound to a uid.",
        |core| core.binds,
    ),
    counter(
        "ringpost_received_messages_total",
        "Messages received from clients and back ends.",
        |core| core.messages_in,
    ),
    counter(
        "ringpost_sent_messages_total",
        "Messages queued for clients and back ends, each receiver counted.",
        |core| core.messages_out,
    ),
    counter(
        "ringpost_received_bytes_total",
        "Bytes read from clients and back ends, HTTP left out.",
        |core| core.bytes_in,
    ),
    counter(
        "ringpost_sent_bytes_total",
        "Bytes written to clients and back ends, HTTP left out.",
        |core| core.bytes_out,
    ),
    counter(
        "ringpost_inflated_messages_total",
        "Messages received compressed.",
        |core| core.messages_inflated,
    ),
    counter(
        "ringpost_compressed_messages_total",
        "Messages compressed for clients, one for many counting once a core.",
        |core| core.messages_compressed,
    ),
    counter(
        "ringpost_posted_envelopes_total",
        "Envelopes that the core has posted to other cores.",
        |core| core.envelopes_out,
    ),
    counter(
        "ringpost_doorbells_total",
        "Times that the core's doorbell was rung, by another core or, for a further turn, by itself.",
        |core| core.doorbells,
    ),
    counter(
        "ringpost_moved_connections_total",
        "Connections that came to the core from another one, being bound to a uid of its.",
        |core| core.moved_in,
    ),
    counter(
        "ringpost_webhook_messages_total",
        "Messages of clients that webhooks are told of.",
        |core| core.webhook_messages,
    ),
    counter(
        "ringpost_webhook_messages_refused_total",
        "Messages of clients for webhooks that were refused, because too many waited.",
        |core| core.webhook_messages_refused,
    ),
    counter(
        "ringpost_refused_joins_total",
        "Joins ignored because the connection was in groups_per_connection_max groups.",
        |core| core.joins_refused,
    ),
    counter(
        "ringpost_panics_total",
        "Panics in an app's callback, a codec or an HTTP request.",
        |core| core.panics,
    ),
];
