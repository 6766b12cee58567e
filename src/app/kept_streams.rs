//! The streams of one core, and the rules by which messages are kept in them: [`KeptStreams`].

use std::time::Instant;

use tracing::info;

use super::guarded_store::{GuardedStore, unknown};
use super::query::{HistoryPage, HistoryQuery};
use crate::config::Config;
use crate::escape::Escaped;
use crate::ident::{NamespaceId, Reach};
use crate::log_limiter::LogLimiter;
#[cfg(all(test, not(loom)))]
use crate::payload::Payload;
use crate::protocol::Codec;
use crate::shard::ListenerSpec;
use crate::stats::CoreStats;
#[cfg(all(test, not(loom)))]
use crate::streams::Position;
use crate::streams::{Address, Gap, Keep, Kind, Recovery, Rules, Store, Wish};

/// Messages that a round lets go because their time is over: more than a core is sent in one.
const DUE_PER_ROUND: usize = 1_024;

/// The streams of one core, and what is kept in them.
pub struct KeptStreams {
    pub store: GuardedStore,
    pub(super) rules: Rules,
    /// The namespaces whose clients can come back for what they have missed.
    readable: NamespaceSet,
    /// Those whose clients bind a uid on a wire without positions: what waits for them is delivered when they come.
    queued: NamespaceSet,
    /// Those whose clients bind a uid.
    binding: NamespaceSet,
    /// For each reason, lest one hides another.
    gaps: [LogLimiter; 4],
    /// They are Redis', and mirrored here.
    mirrors: bool,
    /// All that was ever kept, for the simulation.
    #[cfg(all(test, not(loom)))]
    pub journal: Vec<(NamespaceId, Kind, String, Position, Payload)>,
}

impl KeptStreams {
    pub fn new(store: Store, config: &Config, listeners: &[ListenerSpec]) -> KeptStreams {
        KeptStreams {
            store: GuardedStore::new(store),
            rules: Rules::new(&config.history),
            readable: readable(listeners),
            queued: queued(listeners),
            binding: NamespaceSet::of(listeners, |spec| spec.binds),
            gaps: Default::default(),
            mirrors: false,
            #[cfg(all(test, not(loom)))]
            journal: Vec::new(),
        }
    }

    /// Nothing is kept here but what mirrors what Redis keeps.
    pub fn mirror(&mut self) {
        self.mirrors = true;
    }

    /// Goes on by other rules and bounds.
    pub fn renew(&mut self, config: &Config, listeners: &[ListenerSpec]) {
        self.store.unguarded().renew(config);
        self.rules = Rules::new(&config.history);
        self.readable = readable(listeners);
        self.queued = queued(listeners);
        self.binding = NamespaceSet::of(listeners, |spec| spec.binds);
    }

    /// Says why a client cannot have all that it has missed, for whoever sets the bounds.
    pub fn log_gap(&mut self, now: Instant, of: Address<'_>, gap: &Gap) {
        let (reason, why) = match gap.asked {
            None => (0, "its position is none"),
            Some(asked) if asked.epoch != gap.top.epoch => (
                1,
                "its position is of another life of the stream, as of before a restart, or before it was forgotten: \
                 after a day without messages, or for want of room (history_bytes_core_max)",
            ),
            Some(asked) if asked.offset > gap.top.offset => (2, "its position is above the top"),
            Some(_) => (
                3,
                "some of it is gone: too old, or evicted (ttl, size, history_bytes_core_max)",
            ),
        };
        let Some(more) = self.gaps[reason].may_log(now) else {
            return;
        };
        let asked = gap.asked.map(tracing::field::display);
        info!(kind = %of.kind, name = %Escaped(of.name), asked, top = %gap.top, more, "a client is told of a gap: {why}");
    }

    /// Fills in what is kept, and what has become of it.
    pub fn count(&self, stats: &mut CoreStats) {
        let counters = self.store.counters();
        stats.panics += self.store.panics;
        stats.history_bytes = counters.bytes;
        stats.history_streams = counters.streams;
        stats.history_messages = counters.messages;
        stats.history_appended = counters.appended;
        stats.history_evicted = [
            counters.evicted_by_bytes,
            counters.evicted_by_size,
            counters.evicted_by_time,
        ];
        stats.history_undelivered = counters.undelivered;
        stats.history_gaps = counters.gaps;
    }

    /// Lets go of what is over by now, so much as one round may.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        if !self.store.is_empty() {
            self.store.let_go(now, DUE_PER_ROUND);
        }
    }

    /// The first namespace within reach where messages to this name are kept: one whose clients can come back for them, or
    /// else one where they wait.
    pub fn first_namespace(&self, reach: Reach, kind: Kind, name: &str) -> Option<NamespaceId> {
        let readable = reach
            .namespaces()
            .find(|namespace| self.readable.contains(*namespace));
        let waits = |namespace: &NamespaceId| kind == Kind::Uid && self.queues(*namespace, name);
        readable.or_else(|| reach.namespaces().find(waits))
    }

    /// Whether and how a message is kept in this stream.
    pub fn what_to_keep(&self, of: Address<'_>, wish: Wish) -> Option<Keep> {
        let keep = self.rules.what_to_keep(of.kind, of.name, wish)?;
        self.keeps_in(of.namespace, keep)
    }

    /// How a message is kept in this namespace that the rules keep so: not at all where nobody can come back for it, or
    /// where Redis keeps it.
    #[inline]
    pub fn keeps_in(&self, namespace: NamespaceId, keep: Keep) -> Option<Keep> {
        match self.mirrors {
            true => None,
            false => self.is_kept_in(namespace, keep),
        }
    }

    /// How it is kept, here or by Redis.
    #[inline]
    pub fn is_kept_in(&self, namespace: NamespaceId, mut keep: Keep) -> Option<Keep> {
        keep.queue &= self.queued.contains(namespace);
        (keep.queue || self.readable.contains(namespace)).then_some(keep)
    }

    /// Whether clients of this namespace follow streams.
    #[inline]
    pub fn is_readable(&self, namespace: NamespaceId) -> bool {
        self.readable.contains(namespace)
    }

    /// Whether a listener is there for those in this namespace who have a uid.
    pub fn has_uids(&self, namespace: NamespaceId) -> bool {
        self.binding.contains(namespace)
    }

    /// Whether anything can be kept in this namespace.
    pub fn may_hold(&self, namespace: NamespaceId) -> bool {
        self.readable.contains(namespace) || self.queued.contains(namespace)
    }

    /// Whether what comes for a uid waits for its login.
    pub fn queues(&self, namespace: NamespaceId, uid: &str) -> bool {
        let keep = self.rules.what_to_keep(Kind::Uid, uid, Wish::AsRuled);
        keep.is_some_and(|keep| keep.queue) && self.queued.contains(namespace)
    }
}

fn readable(listeners: &[ListenerSpec]) -> NamespaceSet {
    NamespaceSet::of(listeners, |spec| spec.codec.tells_positions())
}

fn queued(listeners: &[ListenerSpec]) -> NamespaceSet {
    NamespaceSet::of(listeners, |spec| {
        spec.binds && !spec.codec.tells_positions() && spec.codec != Codec::Http
    })
}

/// Some of the namespaces: a bit for each that has one in a [`Reach`], and a list of the others.
#[derive(Default)]
struct NamespaceSet {
    bits: u64,
    others: Vec<NamespaceId>,
}

impl NamespaceSet {
    fn of(listeners: &[ListenerSpec], wanted: impl Fn(&ListenerSpec) -> bool) -> NamespaceSet {
        let mut set = NamespaceSet::default();
        for spec in listeners.iter().filter(|spec| wanted(spec)) {
            match spec.namespace.0 < u64::BITS {
                true => set.bits |= 1 << spec.namespace.0,
                false => set.others.push(spec.namespace),
            }
        }
        set
    }

    #[inline]
    fn contains(&self, namespace: NamespaceId) -> bool {
        match namespace.0 < u64::BITS {
            true => self.bits & 1 << namespace.0 != 0,
            false => self.others.contains(&namespace),
        }
    }
}

impl KeptStreams {
    /// A page of what a stream keeps.
    pub fn page(&mut self, now: Instant, of: Address<'_>, query: &HistoryQuery) -> HistoryPage {
        let page = self.store.ask(of, |store| page_of(store, now, of, query));
        page.unwrap_or_else(|| {
            let gap = unknown(query.since.flatten());
            HistoryPage {
                top: gap.top,
                messages: Vec::new(),
                gap: Some(gap),
            }
        })
    }
}

fn page_of(store: &mut Store, now: Instant, of: Address<'_>, query: &HistoryQuery) -> HistoryPage {
    let top = store.top(now, of);
    let mut gap = None;
    let after = match query.since {
        None => 0,
        Some(asked) => match store.recover(now, of, asked) {
            Recovery::Recovered { after, .. } => after.offset,
            Recovery::Gap(found) => {
                gap = Some(found);
                0
            }
        },
    };
    let piece = store.read_what_is_there(now, of, after, query.limit);
    let piece = match query.reverse {
        false => piece,
        true => piece.backwards(),
    };
    let messages = piece
        .map(|(position, payload)| (position, payload.clone()))
        .collect();
    HistoryPage { top, messages, gap }
}
