//! What the callbacks of one core act on: its shard, its end of the bus, its calls and timers.
//!
//! Whoever sends computes the home core here: its own is delivered to directly, another gets one
//! envelope. Callbacks that are due wait as [`Effect`]s.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::addressed::Addressed;
use super::bulk::{Spread, ToAll};
use super::crossings::Crossings;
use super::effect::Effect;
use super::envelope::{Body, Passing};
use super::forwards::Forwards;
use super::homes::Homes;
use super::idempotency::IdempotencyTable;
use super::kept_streams::KeptStreams;
use super::namespaces::{Namespaces, Registry};
use super::note::{AnyNote, To};
use super::order::{NOTES, Path, Ways};
use super::outcome::BindError;
use super::pending::PendingCalls;
use super::transfer::Departure;
use crate::auth::CredentialError;
use crate::bus::{Endpoint, RECEIVER_COST, Until};
use crate::config::Config;
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach, check_uid};
use crate::payload::{Message, Payload};
use crate::queue;
use crate::queue::Queue;
use crate::shard::{ListenerSpec, Reading, Shard};
use crate::stats::Hold;
use crate::streams::{Store, Wish};

/// No timer is shorter.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// A timer by its time, its app and the app's token.
type Timer = Reverse<(Instant, u8, u64)>;

pub struct Local {
    pub shard: Shard,
    pub bus: Endpoint<Body>,
    pub pending: PendingCalls,
    /// Requests that have come with an id of their own.
    pub idempotency: IdempotencyTable,
    /// Those made while the server runs.
    pub namespaces: Namespaces,
    pub effects: Queue<Effect>,
    pub departures: Queue<Departure>,
    /// Which cores have members of the groups that are at home here.
    pub homes: Homes,
    /// What senders have at cores that pass it on.
    pub ways: Ways,
    /// Moves of connections that are home already.
    pub crossings: Crossings,
    /// Where replies of connections go that have moved.
    pub forwards: Forwards,
    /// What is kept of messages.
    pub streams: KeptStreams,
    /// Who is read on for.
    pub(super) readers: Queue<ConnId>,
    timers: BinaryHeap<Timer>,
    pub(super) now: Instant,
    transit_bytes: usize,
    transit_bytes_core: usize,
    /// How often credit has come back.
    pub returned: u64,
}

/// What a connection may always have on the way, however much others have.
const TRANSIT_BYTES_FREE: usize = 64 << 10;

impl Local {
    pub fn new(
        config: &Config,
        listeners: Rc<[ListenerSpec]>,
        bus: Endpoint<Body>,
        registry: Arc<Registry>,
        now: Instant,
    ) -> Local {
        let crossings = Crossings::new(bus.cores());
        let store = Store::new(config, now, RandomState::new());
        let streams = KeptStreams::new(store, config, &listeners);
        Local {
            shard: Shard::new(config, listeners, registry.apps()),
            bus,
            pending: PendingCalls::default(),
            idempotency: IdempotencyTable::new(
                config.idempotency_window,
                config.idempotency_ids_max,
            ),
            namespaces: Namespaces::new(registry, config.namespaces_max),
            effects: Queue::default(),
            departures: Queue::default(),
            homes: Homes::default(),
            ways: Ways::default(),
            crossings,
            forwards: Forwards::default(),
            streams,
            readers: Queue::default(),
            timers: BinaryHeap::new(),
            now,
            transit_bytes: config.transit_bytes_max,
            transit_bytes_core: config.transit_bytes_core_max,
            returned: 0,
        }
    }

    /// Goes on with other limits.
    pub fn renew(&mut self, config: &Config, listeners: Rc<[ListenerSpec]>) -> bool {
        self.transit_bytes = config.transit_bytes_max;
        self.transit_bytes_core = config.transit_bytes_core_max;
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
        self.bus.core()
    }

    pub fn other_cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        let own = self.core();
        (0..self.bus.cores() as u16)
            .map(CoreId)
            .filter(move |core| *core != own)
    }

    /// Posts on a connection's account, if there is one, behind all that it has sent.
    pub fn post(&mut self, to: CoreId, payer: Option<ConnId>, bytes: usize, body: Body) {
        let path = self.path_of(payer);
        if is_straight(&path, to) {
            self.post_until(to, payer, bytes, Until::Taken, body);
            self.follow_here(payer, to);
        } else {
            self.post_along(payer, path, to, (payer, bytes, false), body);
        }
    }

    /// The same for what is for many there, on the core's own account if no connection pays, about as many as it is for here: uids are spread evenly.
    pub fn post_bulk(
        &mut self,
        to: CoreId,
        payer: Option<ConnId>,
        bytes: usize,
        receivers: usize,
        body: Body,
    ) {
        let path = self.path_of(payer);
        let payer = payer.unwrap_or(ConnId::NOBODY);
        let bytes = bytes + receivers * RECEIVER_COST;
        if is_straight(&path, to) {
            self.post_until(to, Some(payer), bytes, Until::Written, body);
            self.follow_here(Some(payer), to);
        } else {
            self.post_along(Some(payer), path, to, (Some(payer), bytes, true), body);
        }
    }

    /// What goes to this core by its mailbox is followed by what comes after it.
    fn follow_here(&mut self, sender: Option<ConnId>, to: CoreId) {
        if to == self.core() {
            self.ways.went_here(sender, &self.bus);
        }
    }

    /// Posts on a connection's account, if there is one, by the straight way.
    pub fn post_until(
        &mut self,
        to: CoreId,
        payer: Option<ConnId>,
        bytes: usize,
        until: Until,
        body: Body,
    ) {
        self.shard.stats.envelopes_out += 1;
        let charge = self
            .bus
            .post(to, payer.map(|payer| (payer, bytes)), until, body);
        if let Some(payer) = payer {
            self.shard.connections.add_transit(payer, charge);
        }
    }

    /// Passes on what another core has sent, on its account.
    pub fn relay(&mut self, to: CoreId, until: Until, body: Body) {
        self.shard.stats.envelopes_out += 1;
        self.bus.relay(to, until, body);
    }

    /// Whether what this one sends to this core has to go by its mailbox, lest it overtakes what has been passed on to it.
    #[inline]
    pub fn goes_by_mail(&mut self, sender: Option<ConnId>) -> bool {
        !self.ways.are_free() && self.ways.go_by_mail(sender, &self.bus)
    }

    /// The cores that what this one sends has to pass, lest it overtakes what it has sent to a group.
    #[inline]
    pub fn path_of(&mut self, sender: Option<ConnId>) -> Path {
        match self.ways.are_free() {
            true => Path::new(),
            false => self.ways.path(sender, &self.bus),
        }
    }

    /// Posts by a path, of whose first core it is on the account, with who pays, the bytes, and whether it is for many.
    fn post_along(
        &mut self,
        sender: Option<ConnId>,
        path: Path,
        to: CoreId,
        (payer, bytes, is_bulk): (Option<ConnId>, usize, bool),
        body: Body,
    ) {
        let first = path[0];
        let mut left = Path::from_slice(&path[1..]);
        if path.last() != Some(&to) {
            left.push(to);
        }
        let passing = Box::new(Passing {
            origin: self.core(),
            path: left,
            is_bulk,
            body,
        });
        self.post_until(first, payer, bytes, Until::Relayed, Body::Pass(passing));
        self.ways.went_along(sender, &path, &self.bus);
    }

    /// Whether the core has less on the way than it may.
    pub fn has_transit_room(&self) -> bool {
        self.bus.in_transit_bytes() + self.pending.bytes() <= self.transit_bytes_core
    }

    /// Posts what answers or follows something that was paid for already.
    pub fn post_free(&mut self, to: CoreId, body: Body) {
        self.post_until(to, None, 0, Until::Taken, body);
    }

    /// Gives back the credit for what other cores have taken since.
    pub fn settle_credits(&mut self) {
        let (shard, returned) = (&mut self.shard, &mut self.returned);
        self.bus.settle_credits(|payer, bytes| {
            *returned += 1;
            shard.connections.sub_transit(payer, bytes);
        });
        if !self.ways.are_free() {
            self.ways.prune(&self.bus);
        }
    }

    /// Whether a connection with this much on the way may be read: it has its share, as long as that is there. Who
    /// has little on the way is not held up by those who have much, but past twice the core's sum nobody is read.
    fn has_credit(&self, transit: usize) -> bool {
        let most = self.transit_bytes_core;
        let all = self.bus.in_transit_bytes() + self.pending.bytes();
        let free = TRANSIT_BYTES_FREE.min(most / 8);
        transit <= self.transit_bytes
            && transit <= most.saturating_sub(all).max(free)
            && all <= most.saturating_mul(2)
    }

    /// Why a connection is not to be read, if it is to wait.
    #[inline]
    pub fn holds(&self, id: ConnId, reading: &Reading) -> Option<Hold> {
        let all = self.bus.in_transit_bytes() + self.pending.bytes();
        let is_little = reading.transit + all <= self.transit_bytes_core
            && reading.transit <= self.transit_bytes;
        if is_little && !reading.full && !reading.crossing && !self.shard.backlog.is_much() {
            return None;
        }
        self.find_hold(id, reading)
    }

    fn find_hold(&self, id: ConnId, reading: &Reading) -> Option<Hold> {
        if reading.crossing {
            Some(Hold::Transit)
        } else if reading.full {
            Some(Hold::Answers)
        } else if !self.has_credit(reading.transit) {
            Some(Hold::Transit)
        } else if self.shard.is_short_of_memory() {
            Some(Hold::Memory)
        } else if !self.shard.backlog.lets_connection_on(id) {
            Some(Hold::Backlog)
        } else {
            None
        }
    }

    pub fn send_to_uid(
        &mut self,
        reach: Reach,
        payer: Option<ConnId>,
        uid: &str,
        message: Message<'_>,
        tell: bool,
    ) {
        if uid == EVERYBODY {
            return self.broadcast(reach, payer, message);
        }
        if check_uid(uid).is_err() {
            if tell && let Some(connection) = payer {
                self.tell_offline(connection, uid);
            }
            return;
        }
        let tell = payer.filter(|_| tell);
        let home = self.bus.home(uid);
        if home != self.core() || self.goes_by_mail(payer) {
            let body = Body::ToUid {
                reach,
                addressed: Addressed::new(uid, message),
                tell: tell.unwrap_or(ConnId::NOBODY),
            };
            self.post(home, payer, uid.len() + message.len(), body);
        } else if self.send_to_own_uid(reach, uid, message) == 0
            && let Some(connection) = tell
        {
            self.tell_offline(connection, uid);
        }
    }

    /// Nobody was there for what another core's connection has sent; or this one's, which went by others.
    pub fn answer_offline(&mut self, from: CoreId, connection: ConnId, uid: &str) {
        if from == self.core() {
            return self.tell_offline(connection, uid);
        }
        let uid = Box::from(uid);
        self.post_free(from, Body::Offline { connection, uid });
    }

    pub fn tell_offline(&mut self, connection: ConnId, uid: &str) {
        self.effects.push(Effect::Offline {
            connection,
            uid: Box::from(uid),
        });
    }

    pub fn broadcast(&mut self, reach: Reach, payer: Option<ConnId>, message: Message<'_>) {
        let path = self.path_of(payer);
        if self.goes_by_home_of_all(Wish::AsRuled) {
            let payload = Payload::new(message);
            return self.spread_by_home(path, reach, payer, (payload, Wish::AsRuled), None);
        }
        if !path.is_empty() {
            let message = (Payload::new(message), Wish::AsRuled);
            return self.spread_along(path, reach, payer, message, None);
        }
        let bulk = self.next_bulk();
        // It is copied for other cores only.
        if self.bus.cores() > 1 {
            let to_all = Arc::new(ToAll {
                bulk,
                reach,
                mark: None,
                payload: Payload::new(message),
            });
            let receivers = self.shard.everybody.count(reach);
            let by_mail = self.goes_by_mail(payer).then(|| self.core());
            for core in self.other_cores().chain(by_mail) {
                let body = Body::ToEverybody(Arc::clone(&to_all));
                self.post_bulk(core, payer, message.len(), receivers, body);
            }
            if by_mail.is_some() {
                return self.crossings.mailed_here(&self.bus);
            }
        }
        self.deliver_own(bulk, reach, message);
    }

    /// Has the last core of a path send it to everybody, this core's own included.
    pub fn spread_along(
        &mut self,
        mut path: Path,
        reach: Reach,
        payer: Option<ConnId>,
        (payload, wish): (Payload, Wish),
        call: Option<u64>,
    ) {
        let payer = payer.unwrap_or(ConnId::NOBODY);
        let receivers = self.shard.everybody.count(reach) * self.bus.cores();
        let bytes = payload.message().len() + receivers * RECEIVER_COST;
        let asked = call.map(|call| (self.core(), call));
        let body = Body::Spread(Box::new(Spread {
            reach,
            wish,
            payload,
            asked,
        }));
        let Some(by) = path.pop() else { return };
        if path.is_empty() {
            self.post_until(by, Some(payer), bytes, Until::Relayed, body);
            self.ways.went(Some(payer), by, &self.bus);
        } else {
            let mut all = path.clone();
            all.push(by);
            let cost = (Some(payer), bytes, true);
            self.post_along(Some(payer), path, by, cost, body);
            self.ways.went_along(Some(payer), &all, &self.bus);
        }
    }

    /// Sends a note to the app's value on one core or all, behind all that this core has sent.
    pub fn tell(&mut self, app: u8, payer: Option<ConnId>, to: To, make: impl Fn() -> AnyNote) {
        let cores = match to {
            To::Core(core) => usize::from(core.0)..usize::from(core.0) + 1,
            To::All => 0..self.bus.cores(),
        };
        let cores = cores.start..cores.end.min(self.bus.cores());
        for core in cores {
            let core = CoreId(core as u16);
            let note = make();
            let path = self.ways.path_of_all(&self.bus);
            // All free: nothing is left in the mailbox either.
            if core == self.core() && self.ways.are_free() {
                let from = core;
                self.effects.push(Effect::Note { app, from, note });
                continue;
            }
            let body = Body::Note { app, note };
            if is_straight(&path, core) {
                self.post_until(core, payer, 0, Until::Taken, body);
                self.follow_here(Some(NOTES), core);
            } else {
                self.post_along(Some(NOTES), path, core, (payer, 0, false), body);
            }
        }
    }

    pub fn after(&mut self, app: u8, time: Duration, token: u64) {
        // A timer that is due at once would hold up the turn that sets it, again and again. One that is
        // due after the end of time is never due.
        if let Some(due) = self.now.checked_add(time.max(TIMER_MIN)) {
            self.timers.push(Reverse((due, app, token)));
        }
    }

    /// A timer that has run out, as its app and token.
    pub fn pop_timer(&mut self) -> Option<(u8, u64)> {
        match self.timers.peek() {
            Some(Reverse((due, ..))) if *due <= self.now => {
                let Reverse((_, app, token)) = self.timers.pop()?;
                if self.timers.is_empty() {
                    self.timers.shrink_to(queue::KEPT);
                }
                Some((app, token))
            }
            _ => None,
        }
    }

    #[cfg(test)]
    pub fn timers_capacity(&self) -> usize {
        self.timers.capacity()
    }

    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((due, ..))| *due)
    }

    /// Asks for a uid on behalf of a connection; the outcome comes after the present callback.
    #[inline]
    pub fn bind_uid(&mut self, connection: ConnId, uid: &str) {
        let unproved = match self.shard.proved(connection) {
            Some(proved) if proved == uid => None,
            Some(_) => Some(CredentialError::OtherUid),
            None => Some(CredentialError::Missing),
        };
        self.ask_to_bind(connection, uid, unproved);
    }

    /// The same for its peer's address.
    pub fn bind_address(&mut self, connection: ConnId) {
        let Some(peer) = self.shard.connections.peer(connection) else {
            return;
        };
        let unproved = match self.shard.proved(connection) {
            Some(_) => None,
            None => Some(CredentialError::Missing),
        };
        self.ask_to_bind(connection, &peer.to_string(), unproved);
    }

    fn ask_to_bind(&mut self, connection: ConnId, uid: &str, unproved: Option<CredentialError>) {
        let spec = self.shard.connections.listener(connection);
        let unproved = unproved.filter(|_| spec.is_some_and(|spec| spec.proves));
        let refused = if let Err(error) = check_uid(uid) {
            Some(BindError::Uid(error))
        } else if let Some(error) = unproved {
            Some(BindError::Unproved(error))
        } else if !self.shard.connections.ask_to_bind(connection) {
            Some(BindError::Twice)
        } else {
            None
        };
        self.effects.push(match refused {
            Some(error) => Effect::Refuse { connection, error },
            None => Effect::Bind {
                connection,
                uid: Box::from(uid),
            },
        });
    }
}

/// Whether a path that ends there is the straight way.
fn is_straight(path: &[CoreId], to: CoreId) -> bool {
    path.is_empty() || path == [to]
}
