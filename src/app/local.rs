//! What the callbacks of one core act on: its shard, its end of the bus, its calls and timers.
//!
//! Whoever sends computes the home core here: its own is delivered to directly, another gets one
//! envelope. Callbacks that are due wait as [`Effect`]s.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;

use super::acknowledged::Acknowledged;
use super::bind_answers::BindAnswers;
use super::claims_abroad::ClaimsAbroad;
use super::client_requests::ClientRequests;
use super::crossings::Crossings;
use super::effect::Effect;
use super::envelope::Body;
use super::forwards::Forwards;
use super::homes::Homes;
use super::idempotency::IdempotencyTable;
use super::inherited::Inherited;
use super::kept_streams::KeptStreams;
use super::mirrors::Mirrors;
use super::namespaces::{Namespaces, Registry};
use super::outgoing::Outgoing;
use super::pending::PendingCalls;
use super::timers::Timers;
use super::transfer::Departure;
use super::transit::TransitLimits;
use super::watch::MembersWatch;
use super::whereabouts::Whereabouts;
use crate::bus::Endpoint;
use crate::config::Config;
use crate::ident::{ConnId, CoreId};
use crate::log_limiter::LogLimiter;
use crate::protocol::partitions::Partition;
use crate::queue::Queue;
use crate::shard::{ListenerSpec, Shard};
use crate::streams::Store;

pub struct Local {
    pub shard: Shard,
    /// What leaves for other cores.
    pub outgoing: Outgoing,
    pub pending: PendingCalls,
    /// Requests that have come with an id of their own.
    pub idempotency: IdempotencyTable,
    /// Those made while the server runs.
    pub namespaces: Namespaces,
    pub effects: Queue<Effect>,
    pub departures: Queue<Departure>,
    /// Which cores have members of the groups that are at home here.
    pub homes: Homes,
    /// Moves of connections that are home already.
    pub crossings: Crossings,
    /// Where replies of connections go that have moved.
    pub forwards: Forwards,
    /// Where connections are that have moved since their names were told.
    pub whereabouts: Whereabouts,
    /// Who has asked for binds under way.
    pub bind_answers: BindAnswers,
    /// What is kept of messages.
    pub streams: KeptStreams,
    /// Which of that Redis keeps, and is mirrored here.
    pub(super) mirrors: Mirrors,
    /// Requests with an id whose claim Redis has been asked for.
    pub(super) claims: ClaimsAbroad,
    /// How far clients have handled that.
    pub(super) acknowledged: Acknowledged,
    /// What they have asked of other cores.
    pub(super) requests: ClientRequests,
    /// What processes before have left.
    pub(super) inherited: Inherited,
    /// Who is read on for.
    pub(super) readers: Queue<ConnId>,
    /// What the connection is called that is being opened.
    pub(super) certificate_names: Vec<Box<str>>,
    pub timers: Timers,
    /// Where Redis has groups of uids that need no connection.
    pub(super) sticky_partitions: Vec<Partition>,
    /// How often it is said that a uid has too many.
    pub(super) sticky_beyond: LogLimiter,
    /// Which apps are told who is in groups on other nodes.
    pub(super) watches: Vec<MembersWatch>,
    pub(super) now: Instant,
    pub(super) transit: TransitLimits,
}

impl Local {
    pub fn new(
        config: &Config,
        listeners: Rc<[ListenerSpec]>,
        bus: Endpoint<Body>,
        registry: Arc<Registry>,
        now: Instant,
    ) -> Local {
        let crossings = Crossings::new(bus.cores());
        let has_engine = bus.engine().is_some();
        let store = Store::new(config, now, RandomState::new());
        let mut streams = KeptStreams::new(store, config, &listeners);
        let mut shard = Shard::new(config, listeners, registry.apps());
        if has_engine {
            shard.note_uids();
            shard.in_flight.tell_others();
            streams.mirror();
        }
        Local {
            shard,
            outgoing: Outgoing::new(bus),
            pending: PendingCalls::default(),
            idempotency: IdempotencyTable::new(
                config.idempotency_window,
                config.idempotency_ids_max,
            ),
            namespaces: Namespaces::new(registry, config.namespaces_max),
            effects: Queue::default(),
            departures: Queue::default(),
            homes: Homes::default(),
            crossings,
            forwards: Forwards::default(),
            whereabouts: Whereabouts::default(),
            bind_answers: BindAnswers::default(),
            streams,
            mirrors: Mirrors::default(),
            claims: ClaimsAbroad::default(),
            acknowledged: Acknowledged::default(),
            requests: ClientRequests::default(),
            inherited: Inherited::default(),
            readers: Queue::default(),
            certificate_names: Vec::new(),
            timers: Timers::default(),
            sticky_partitions: Vec::new(),
            sticky_beyond: LogLimiter::default(),
            watches: Vec::new(),
            now,
            transit: TransitLimits::new(config),
        }
    }

    /// Goes on with other limits.
    pub fn renew(&mut self, config: &Config, listeners: Rc<[ListenerSpec]>) -> bool {
        self.transit = TransitLimits::new(config);
        self.namespaces.set_most(config.namespaces_max);
        self.idempotency
            .renew(config.idempotency_window, config.idempotency_ids_max);
        self.streams.renew(config, &listeners);
        self.shard.renew(config, listeners)
    }

    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn core(&self) -> CoreId {
        self.outgoing.core()
    }

    pub fn other_cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        let own = self.core();
        (0..self.outgoing.cores() as u16)
            .map(CoreId)
            .filter(move |core| *core != own)
    }
}
