//! What the callbacks of one core act on: its shard, its end of the bus, its questions and timers.
//!
//! Whoever sends computes the home core here: its own is delivered to directly, another gets one
//! envelope. Callbacks that are due wait as [`Effect`]s.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::effect::Effect;
use super::envelope::{Addressed, Body};
use super::question::Questions;
use super::repeats::Repeats;
use super::{AnyNote, BindError, To};
use crate::auth::ProofError;
use crate::bus::{Endpoint, RECEIVER_COST};
use crate::config::Config;
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach, check_uid};
use crate::payload::{Message, Payload};
use crate::shard::{ListenerSpec, Reading, Shard};
use crate::stats::Hold;

/// A connection that is to move: where to, and the uid to bind there.
pub struct Leaving {
    pub connection: ConnId,
    pub home: CoreId,
    pub uid: Box<str>,
}

/// No timer is shorter.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// A timer by its time, its app and the app's token.
type Timer = Reverse<(Instant, u8, u64)>;

pub struct Local {
    pub shard: Shard,
    pub bus: Endpoint<Body>,
    pub questions: Questions,
    /// Requests that have come with an id of their own.
    pub repeats: Repeats,
    pub effects: VecDeque<Effect>,
    pub leaving: VecDeque<Leaving>,
    timers: BinaryHeap<Timer>,
    now: Instant,
    transit_bytes: usize,
    transit_bytes_core: usize,
    /// How often credit has come back.
    pub returned: u64,
}

/// Places that an emptied queue keeps: after a burst it would be as long as that for good.
pub const QUEUE_KEPT: usize = 256;
/// What a connection may always have on the way, however much others have.
const TRANSIT_BYTES_FREE: usize = 64 << 10;

impl Local {
    pub fn new(config: &Config, shard: Shard, bus: Endpoint<Body>, now: Instant) -> Local {
        Local {
            shard,
            bus,
            questions: Questions::default(),
            repeats: Repeats::new(config.idempotency_window, config.idempotency_ids_max),
            effects: VecDeque::new(),
            leaving: VecDeque::new(),
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
        self.repeats
            .renew(config.idempotency_window, config.idempotency_ids_max);
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

    /// Posts on a connection's account, if there is one.
    pub fn post(&mut self, to: CoreId, payer: Option<ConnId>, bytes: usize, body: Body) {
        self.shard.stats.envelopes_out += 1;
        let payer = payer.map(|payer| (payer, bytes));
        let charge = self.bus.post(to, payer, body);
        if let Some((payer, _)) = payer {
            self.shard.add_transit(payer, charge);
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
        self.shard.stats.envelopes_out += 1;
        let payer = payer.unwrap_or(ConnId::NOBODY);
        let bytes = bytes + receivers * RECEIVER_COST;
        let charge = self.bus.post_bulk(to, Some((payer, bytes)), body);
        self.shard.add_transit(payer, charge);
    }

    /// Whether the core has less on the way than it may.
    pub fn has_transit_room(&self) -> bool {
        self.bus.in_transit_bytes() + self.questions.bytes() <= self.transit_bytes_core
    }

    /// Posts what answers or follows something that was paid for already.
    pub fn post_free(&mut self, to: CoreId, body: Body) {
        self.post(to, None, 0, body);
    }

    /// Gives back the credit for what other cores have taken since.
    pub fn settle_credits(&mut self) {
        let (shard, returned) = (&mut self.shard, &mut self.returned);
        self.bus.settle_credits(|payer, bytes| {
            *returned += 1;
            shard.sub_transit(payer, bytes);
        });
    }

    /// Whether a connection with this much on the way may be read: it has its share, as long as that is there. Who
    /// has little on the way is not held up by those who have much, but past twice the core's sum nobody is read.
    fn has_credit(&self, transit: usize) -> bool {
        let most = self.transit_bytes_core;
        let all = self.bus.in_transit_bytes() + self.questions.bytes();
        let free = TRANSIT_BYTES_FREE.min(most / 8);
        transit <= self.transit_bytes
            && transit <= most.saturating_sub(all).max(free)
            && all <= most.saturating_mul(2)
    }

    /// Why a connection is not to be read, if it is to wait.
    #[inline]
    pub fn holds(&self, id: ConnId, reading: &Reading) -> Option<Hold> {
        let all = self.bus.in_transit_bytes() + self.questions.bytes();
        let is_little = reading.transit + all <= self.transit_bytes_core
            && reading.transit <= self.transit_bytes;
        if is_little && !reading.full && !self.shard.backlog.is_much() {
            return None;
        }
        self.find_hold(id, reading)
    }

    fn find_hold(&self, id: ConnId, reading: &Reading) -> Option<Hold> {
        if reading.full {
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
        if home != self.core() {
            let body = Body::ToUid {
                reach,
                addressed: Addressed::new(uid, message),
                tell,
            };
            self.post(home, payer, uid.len() + message.len(), body);
        } else if self.shard.send_to_uid(reach, uid, message) == 0
            && let Some(connection) = tell
        {
            self.tell_offline(connection, uid);
        }
    }

    pub fn tell_offline(&mut self, connection: ConnId, uid: &str) {
        self.effects.push_back(Effect::Offline {
            connection,
            uid: Box::from(uid),
        });
    }

    pub fn broadcast(&mut self, reach: Reach, payer: Option<ConnId>, message: Message<'_>) {
        // It is copied for other cores only.
        if self.bus.cores() > 1 {
            let payload = Payload::new(message);
            let receivers = self.shard.count_everybody(reach);
            for core in self.other_cores() {
                let payload = payload.clone();
                let body = Body::ToEverybody { reach, payload };
                self.post_bulk(core, payer, message.len(), receivers, body);
            }
        }
        self.shard.send_to_everybody(reach, message);
    }

    pub fn send_to_group(
        &mut self,
        reach: Reach,
        payer: Option<ConnId>,
        group: &str,
        message: Message<'_>,
        refresh: bool,
    ) {
        let receivers = self.shard.send_to_group(reach, group, message, refresh) as usize;
        if self.bus.cores() > 1 {
            let payload = Payload::new(message);
            for core in self.other_cores() {
                let body = Body::ToGroup {
                    reach,
                    refresh,
                    group: Box::from(group),
                    payload: payload.clone(),
                };
                self.post_bulk(core, payer, group.len() + message.len(), receivers, body);
            }
        }
    }

    /// Sends a note to the app's value on one core or all.
    pub fn tell(&mut self, app: u8, payer: Option<ConnId>, to: To, make: impl Fn() -> AnyNote) {
        let cores = match to {
            To::Core(core) => usize::from(core.0)..usize::from(core.0) + 1,
            To::All => 0..self.bus.cores(),
        };
        let cores = cores.start..cores.end.min(self.bus.cores());
        for core in cores {
            let core = CoreId(core as u16);
            let note = make();
            if core == self.core() {
                let from = core;
                self.effects.push_back(Effect::Note { app, from, note });
            } else {
                self.post(core, payer, 0, Body::Note { app, note });
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
                    self.timers.shrink_to(QUEUE_KEPT);
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
            Some(_) => Some(ProofError::OtherUid),
            None => Some(ProofError::Missing),
        };
        self.ask_to_bind(connection, uid, unproved);
    }

    /// The same for its peer's address.
    pub fn bind_address(&mut self, connection: ConnId) {
        let Some(peer) = self.shard.peer(connection) else {
            return;
        };
        let unproved = match self.shard.proved(connection) {
            Some(_) => None,
            None => Some(ProofError::Missing),
        };
        self.ask_to_bind(connection, &peer.to_string(), unproved);
    }

    fn ask_to_bind(&mut self, connection: ConnId, uid: &str, unproved: Option<ProofError>) {
        let spec = self.shard.listener(connection);
        let unproved = unproved.filter(|_| spec.is_some_and(|spec| spec.proves));
        let refused = if let Err(error) = check_uid(uid) {
            Some(BindError::Uid(error))
        } else if let Some(error) = unproved {
            Some(BindError::Unproved(error))
        } else if !self.shard.ask_to_bind(connection) {
            Some(BindError::Twice)
        } else {
            None
        };
        self.effects.push_back(match refused {
            Some(error) => Effect::Refuse { connection, error },
            None => Effect::Bind {
                connection,
                uid: Box::from(uid),
            },
        });
    }
}
