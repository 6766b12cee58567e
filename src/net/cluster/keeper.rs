//! What is known of Redis' keeping, without a connection to anything: [`Keeper`], part of the [`Party`](super::party::Party).
//!
//! Bounds: as the party's; a read for each stream whose core waits for it, a claim for each request, and answers that Redis is
//! still to be told of, as many as `claims` lets it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::sticky_reads::StickyPurpose;
use crate::app::abroad_streams::{ClaimOutcome, HandledAt, StreamNews};
use crate::app::envelope::{AnswerPart, Body};
use crate::app::follow_step::FollowedStream;
use crate::app::idempotency::Digest;
use crate::app::outcome::{Abroad, Unknown};
use crate::app::query::QueryResult;
use crate::bus::{Endpoint, Until};
use crate::ident::{ConnId, CoreId, EVERYBODY};
use crate::streams::{Kind, Position};

/// A claim waits for what another node makes of it for so long.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

/// What a script is run for.
#[derive(Clone)]
pub enum Purpose {
    /// A message is to be kept, which was asked by this number.
    Keep(u64),
    Read(WaitingRead),
    Compare(CoreId, FollowedStream, Position),
    /// By the number of what was asked.
    Forget(u64),
    Delivered,
    Claim(WaitingClaim),
    /// With the key, what has come of it and for how many milliseconds that is known.
    Settle(Box<(String, Vec<u8>, u128)>),
    /// A core is to be told where a client stands.
    Handled(CoreId, Box<HandledAt>),
    /// About members of groups that need no connection.
    Sticky(StickyPurpose),
}

/// A core wants a piece of a stream.
#[derive(Clone)]
pub struct WaitingRead {
    pub core: CoreId,
    pub of: FollowedStream,
    pub after: Option<Position>,
}

/// A push that is kept.
pub struct AskedKept {
    pub core: CoreId,
    pub call: u64,
    /// It waits for its uid's login.
    pub queue: bool,
    pub position: Option<Position>,
    /// How many nodes have it, once Redis has said so.
    pub nodes: Option<u32>,
    pub answered: u32,
    pub reached: u32,
    pub unknown: Unknown,
}

/// What is thrown away of several streams.
pub struct AskedForget {
    pub asked_by: (CoreId, u64),
    pub left: usize,
    pub count: u32,
    pub failed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Keeper {
    /// Which run of Redis it is. Of another one nobody knows what it has lost.
    pub run: String,
    pub asked: AHashMap<u64, AskedKept>,
    pub deadlines: VecDeque<(Instant, u64)>,
    pub forgets: AHashMap<u64, AskedForget>,
    /// Reads that wait until their channel is in force, and until when.
    pub reads: AHashMap<String, Vec<WaitingRead>>,
    pub read_deadlines: VecDeque<(Instant, String)>,
    /// Reads that Redis has refused.
    pub put_off: VecDeque<(Instant, WaitingRead)>,
    /// Up to where uids' messages were delivered, as far as Redis is to be told.
    pub delivered: AHashMap<FollowedStream, Position>,
    /// What clients have handled, by Redis' names for that, as far as it is to be told.
    pub handled: AHashMap<String, AHashMap<String, Position>>,
    pub claims: IdClaims,
}

/// A claim of a core, by the core's number for it.
#[derive(Clone)]
pub struct WaitingClaim {
    pub asked_by: (CoreId, u64),
    pub id: Digest,
    pub wanted: Digest,
    pub window: Duration,
    /// It waits for what another makes of it, until then.
    pub waits: bool,
    pub until: Instant,
    /// What it asks for can be done again, and is not done twice.
    pub again: bool,
    /// The claim of a node that is gone.
    pub in_place_of: Vec<u8>,
}

impl WaitingClaim {
    pub fn new(
        asked_by: (CoreId, u64),
        (id, wanted): (Digest, Digest),
        window: Duration,
        (waits, again): (bool, bool),
        now: Instant,
    ) -> WaitingClaim {
        WaitingClaim {
            again,
            in_place_of: Vec::new(),
            asked_by,
            id,
            wanted,
            window,
            waits,
            until: now + CLAIM_PATIENCE,
        }
    }

    pub fn answer(&self, bus: &mut Endpoint<Body>, outcome: ClaimOutcome) {
        let (core, token) = self.asked_by;
        tell(bus, core, 0, StreamNews::Claimed(token, outcome));
    }
}

/// Claims, and what has come of others.
#[derive(Default)]
pub struct IdClaims {
    /// Those that wait for what another node makes of them.
    pub waiting: VecDeque<(Instant, WaitingClaim)>,
    pub unsettled: VecDeque<(String, Vec<u8>, u128)>,
    /// One of those that wait wants to know whether the other nodes are there.
    pub looks: bool,
}

impl IdClaims {
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }
}

pub fn home_of(bus: &Endpoint<Body>, of: &FollowedStream) -> CoreId {
    bus.home(match of.kind {
        Kind::All => EVERYBODY,
        _ => &of.name,
    })
}

pub fn tell(bus: &mut Endpoint<Body>, core: CoreId, bytes: usize, news: StreamNews) {
    let payer = Some((ConnId::NOBODY, bytes));
    bus.post(core, payer, Until::Taken, Body::StreamNews(Box::new(news)));
}

pub fn tell_all(bus: &mut Endpoint<Body>, news: impl Fn() -> StreamNews) {
    for core in 0..bus.cores() {
        tell(bus, CoreId(core as u16), 0, news());
    }
}

/// The first that is due.
pub fn pop_due<T>(queue: &mut VecDeque<(Instant, T)>, now: Instant) -> Option<T> {
    match queue.front() {
        Some((at, _)) if *at <= now => queue.pop_front().map(|(_, due)| due),
        _ => None,
    }
}

/// Both parts of the answer to a push that is kept.
pub fn answer_kept(
    bus: &mut Endpoint<Body>,
    (core, call): (CoreId, u64),
    reached: u32,
    unknown: Unknown,
    position: Option<Position>,
    waits: bool,
) {
    let part = AnswerPart::Abroad(Abroad {
        reached,
        unknown,
        ..Abroad::default()
    });
    bus.post(core, None, Until::Taken, Body::Answer { call, part });
    let part = match position {
        Some(position) => AnswerPart::Kept {
            reached: 0,
            position,
            waits,
        },
        None => AnswerPart::Reached(0),
    };
    bus.post(core, None, Until::Taken, Body::Answer { call, part });
}

pub fn answer_forget(bus: &mut Endpoint<Body>, (core, call): (CoreId, u64), count: Option<u32>) {
    let found = count.map_or_else(QueryResult::away, QueryResult::Reached);
    let part = AnswerPart::Found(Box::new(found));
    bus.post(core, None, Until::Taken, Body::Answer { call, part });
}
