//! The counters of one core, and of all, as `stats` answers them.

use std::time::Duration;

use serde::Serialize;

use crate::close::CloseReason;

/// Reasons for which TLS fails.
pub const TLS_FAILURES: usize = 9;

/// What one core has counted since its start, and what it holds now.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CoreStats {
    /// The core's number.
    pub core: u16,
    /// Open connections, those still logging in included.
    pub connections: u64,
    /// Connections whose opening handshake is under way.
    pub opening: u64,
    /// Connections by listener: the apps' in their order, then the HTTP ports', whose connections the sum does not
    /// hold.
    #[serde(skip)]
    pub by_listener: Vec<u64>,
    /// Connections bound to a uid.
    pub bound: u64,
    /// Connections that have been bound.
    pub binds: u64,
    /// Uids with at least one connection.
    pub uids: u64,
    /// Groups with at least one member.
    pub groups: u64,
    /// Memberships of uids that are in groups with a connection or without.
    pub sticky_members: u64,
    /// What these take, as it counts towards `sticky_bytes_core_max`.
    pub sticky_bytes: u64,
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
    /// Clients' messages that the webhook is told of.
    pub webhook_messages: u64,
    /// Those that were refused because too many waited.
    pub webhook_messages_refused: u64,
    /// Events that it has refused, or not taken in time.
    pub webhooks_failed: u64,
    /// Events that found no room to wait.
    pub webhooks_dropped: u64,
    /// Pushes asked for here that reached at least one connection, on whichever core.
    pub pushes_delivered: u64,
    /// Pushes asked for here that reached none, and are kept for those that come.
    pub pushes_kept: u64,
    /// Pushes asked for here that reached none, and are not kept.
    pub pushes_offline: u64,
    /// Pushes asked for here that reached none, as far as the nodes of the cluster have said.
    pub pushes_unknown: u64,
    /// Times that its doorbell was rung, by another core or, for a further turn, by itself.
    pub doorbells: u64,
    /// How long its turns took.
    #[serde(skip)]
    pub turns: TurnTimes,
    /// The most units of work (`shard::Work`) that one round of a turn has done.
    #[serde(skip)]
    pub round_units_max: u64,
    /// How often a connection was not read for a while.
    #[serde(skip)]
    pub pauses: u64,
    /// For how long connections were not read, all of them added up: by listener, and then in the order of
    /// [`Hold::ALL`].
    #[serde(skip)]
    pub paused: Vec<[Duration; Hold::ALL.len()]>,
    /// What it waits with.
    #[serde(skip)]
    pub driver: DriverNames,
    /// Bytes waiting in outboxes.
    pub outbox_bytes: u64,
    /// Bytes of what is kept, as they count towards `history_bytes_core_max`.
    pub history_bytes: u64,
    /// Streams that are remembered.
    pub history_streams: u64,
    /// Messages that are kept.
    pub history_messages: u64,
    /// Messages that were kept since the start.
    pub history_appended: u64,
    /// Of these, what is gone: for want of room, for their stream's size, for their time.
    #[serde(skip)]
    pub history_evicted: [u64; 3],
    /// Messages that waited for their uid's login and went before.
    pub history_undelivered: u64,
    /// Gaps that clients were told of.
    pub history_gaps: u64,
    /// TLS handshakes that were done: new and resumed ones of TLS 1.3, then of TLS 1.2.
    #[serde(skip)]
    pub tls_handshakes: [u64; 4],
    /// TLS that failed, by what it failed for.
    #[serde(skip)]
    pub tls_failures: [u64; TLS_FAILURES],
    /// What waits because the core has not come to write it, each receiver of a message counted.
    #[serde(skip)]
    pub unwritten_bytes: u64,
    /// Ended connections that asked by HTTP, in the same order as those below.
    #[serde(skip)]
    pub http_closed: Vec<u64>,
    /// Ended connections by reason, in the order of [`CloseReason::ALL`].
    #[serde(serialize_with = "by_name")]
    pub closed: Vec<u64>,
}

impl CoreStats {
    /// Each of the counters that only grow, by its name; of times nanoseconds. Pauses are not among them.
    pub(crate) fn each_counter(&mut self, each: &mut dyn FnMut(&str, &mut u64)) {
        each("binds", &mut self.binds);
        each("messages_in", &mut self.messages_in);
        each("messages_out", &mut self.messages_out);
        each("messages_inflated", &mut self.messages_inflated);
        each("messages_compressed", &mut self.messages_compressed);
        each("bytes_in", &mut self.bytes_in);
        each("bytes_out", &mut self.bytes_out);
        each("envelopes_out", &mut self.envelopes_out);
        each("joins_refused", &mut self.joins_refused);
        each("moved_in", &mut self.moved_in);
        each("panics", &mut self.panics);
        each("webhooks_sent", &mut self.webhooks_sent);
        each("webhook_messages", &mut self.webhook_messages);
        each(
            "webhook_messages_refused",
            &mut self.webhook_messages_refused,
        );
        each("webhooks_failed", &mut self.webhooks_failed);
        each("webhooks_dropped", &mut self.webhooks_dropped);
        each("pushes_delivered", &mut self.pushes_delivered);
        each("pushes_kept", &mut self.pushes_kept);
        each("pushes_offline", &mut self.pushes_offline);
        each("pushes_unknown", &mut self.pushes_unknown);
        each("doorbells", &mut self.doorbells);
        each("pauses", &mut self.pauses);
        each("history_appended", &mut self.history_appended);
        each("history_undelivered", &mut self.history_undelivered);
        each("history_gaps", &mut self.history_gaps);
        let mut list = |name: &str, counts: &mut [u64]| {
            for (nth, count) in counts.iter_mut().enumerate() {
                each(&format!("{name}.{nth}"), count);
            }
        };
        list("history_evicted", &mut self.history_evicted);
        list("tls_handshakes", &mut self.tls_handshakes);
        list("tls_failures", &mut self.tls_failures);
        list("turns", &mut self.turns.counts);
        let mut total = u64::try_from(self.turns.total.as_nanos()).unwrap_or(u64::MAX);
        each("turns", &mut total);
        self.turns.total = Duration::from_nanos(total);
        for (name, counts) in [
            ("closed", &mut self.closed),
            ("http_closed", &mut self.http_closed),
        ] {
            counts.resize(CloseReason::COUNT, 0);
            for (reason, count) in CloseReason::ALL.iter().zip(counts) {
                each(&format!("{name} {}", reason.text()), count);
            }
        }
    }

    /// A connection of this listener was not read for so long.
    pub fn count_pause(&mut self, listener: u16, hold: Hold, time: Duration) {
        let at = usize::from(listener);
        if self.paused.len() <= at {
            self.paused.resize(at + 1, Default::default());
        }
        self.paused[at][hold as usize] += time;
    }
}

/// Why a connection is not read for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Hold {
    /// What it has sent is still to be written to those it is for, by this core.
    Backlog,
    /// The core's outboxes hold so much that nobody is read until some of it is written.
    Memory,
    /// What it has sent is on the way to other cores, or still to be written by them.
    Transit,
    /// It does not take the answers to what it has asked.
    Answers,
    /// Too much of what clients have said waits for the back end, and it has said some of that.
    Webhook,
}

impl Hold {
    /// Every one, in the order in which they are counted.
    pub const ALL: [Hold; 5] = [
        Hold::Backlog,
        Hold::Memory,
        Hold::Transit,
        Hold::Answers,
        Hold::Webhook,
    ];

    /// Its name in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Hold::Backlog => "backlog",
            Hold::Memory => "memory",
            Hold::Transit => "transit",
            Hold::Answers => "answers",
            Hold::Webhook => "webhook",
        }
    }
}

/// What a core waits with: `io_uring` or `epoll`, once for its runtime and once for its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DriverNames {
    /// The runtime's.
    pub runtime: &'static str,
    /// The connections'.
    pub connections: &'static str,
}

/// How often a core's turns took how long.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TurnTimes {
    /// Turns up to each of [`TurnTimes::BOUNDS`] and above the one before; the last count is of longer ones.
    pub counts: [u64; TurnTimes::BOUNDS.len() + 1],
    /// All of them together.
    pub total: Duration,
}

impl TurnTimes {
    /// A turn that finds nothing takes a few microseconds, a full one about a millisecond, and one that is a
    /// mistake longer.
    pub const BOUNDS: [Duration; 15] = [
        Duration::from_micros(5),
        Duration::from_micros(10),
        Duration::from_micros(25),
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(1_000),
    ];

    /// Counts one turn.
    pub fn add(&mut self, took: Duration) {
        let bounds = Self::BOUNDS.iter();
        self.counts[bounds.take_while(|bound| took > **bound).count()] += 1;
        self.total += took;
    }
}

/// The counters of every core.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[non_exhaustive]
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Whoever adds a counter adds it there; what is held now is none.
    #[test]
    fn each_counter_has_a_name_and_no_gauge_has() {
        let mut stats = CoreStats::default();
        let (mut names, mut next) = (HashMap::new(), 1);
        stats.each_counter(&mut |name, count| {
            *count = next;
            assert!(
                names.insert(name.to_owned(), next).is_none(),
                "{name} twice"
            );
            next += 1;
        });
        let shown = format!("{stats:?}");
        for gauge in [
            "connections",
            "opening",
            "bound",
            "uids",
            "groups",
            "sticky_members",
        ] {
            assert!(shown.contains(&format!(" {gauge}: 0,")), "{gauge}: {shown}");
        }
        let zeros = shown.matches(": 0,").count();
        // Of the fields that are numbers these are held now, or said of the core.
        let gauges = 14;
        assert_eq!(zeros, gauges, "{shown}");
        stats.each_counter(&mut |name, count| assert_eq!(*count, names[name]));
    }

    #[test]
    fn a_turn_is_counted_at_the_first_bound_that_holds_it() {
        let mut times = TurnTimes::default();
        let beyond = Duration::from_secs(2);
        for (at, bound) in TurnTimes::BOUNDS.into_iter().enumerate() {
            times.add(bound);
            times.add(bound + Duration::from_nanos(1));
            assert_eq!(times.counts[at], if at == 0 { 1 } else { 2 }, "{bound:?}");
        }
        times.add(beyond);
        assert_eq!(times.counts.last(), Some(&2));
        assert!(times.total > beyond + TurnTimes::BOUNDS.iter().sum::<Duration>());
    }
}
