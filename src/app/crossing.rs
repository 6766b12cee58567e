//! Moves of connections that are home already, in groups and among everybody: whatever is sent to these reaches one once,
//! whichever core it is on by then.
//!
//! What is for many has a number on the core that sends it out, and each core takes such messages of one core in their
//! order. A connection crosses like this:
//!
//! 1. Its old core announces it to the new one, which from now on keeps what it delivers to many, tells the homes of the
//!    connection's groups that it wants their messages, and asks each core for a fence.
//! 2. Each core sends the fence to the old core, behind all that it has sent there, with the number of its last message.
//! 3. When the old core has all fences, it has delivered whatever the new one has not kept. It lets the connection go,
//!    with the number of the last message of each core up to which the connection has all that was for it.
//! 4. The new core delivers what it has kept and is newer than that. What is not, and comes yet, passes by the connection.
//!
//! Meanwhile the connection is not read. Bound: what is kept is shared, and as long as such moves take; past
//! [`KEPT_BYTES_MAX`] the connections that it is kept for are closed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::bulk::{Bulk, ToAll, ToGroup, marked_for_all};
use super::envelope::Body;
use super::local::Local;
use super::transfer::{Crossing, Departure};
use crate::bus::Endpoint;
use crate::ident::{ConnId, CoreId, Reach, Space};
use crate::payload::{Message, Payload};
use crate::shard::{Shard, Tops};
use crate::streams::Address;

/// What is kept for connections on their way, in bytes of messages and what each costs besides.
const KEPT_BYTES_MAX: usize = 16 << 20;
const KEPT_COST: usize = 128;
/// Of a fence that one asks for who has nobody to let go.
const OWN_FENCE: u64 = 0;
/// How long it is looked at whether what comes has been delivered elsewhere.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// A connection that is to cross.
struct Going {
    number: u64,
    departure: Departure,
    fences_left: usize,
    /// By core, the number of the last message before its fence.
    fenced: Box<[u64]>,
}

/// One that is to come.
struct Expected {
    /// What is kept for it begins with this one.
    from: u64,
    groups: Box<[(Space, Box<str>)]>,
    is_lost: bool,
}

/// What is for it up to these numbers passes by a connection.
struct Ahead {
    connection: ConnId,
    seen: Box<[u64]>,
    /// When all of that has come for sure: a core sends a message to all in one go.
    until: Instant,
}

enum KeptMessage {
    Everybody(Arc<ToAll>),
    Group(Arc<ToGroup>),
}

impl KeptMessage {
    fn bytes(&self) -> usize {
        let payload = match self {
            KeptMessage::Everybody(to_all) => &to_all.payload,
            KeptMessage::Group(to_group) => &to_group.payload,
        };
        KEPT_COST + payload.message().len()
    }
}

/// The moves of one core.
pub struct Crossings {
    /// The number of the last message for many that this core has sent out.
    sent: u64,
    /// By core, that of the last one that it has delivered.
    seen: Box<[u64]>,
    /// Up to where in this core's own mailbox there may be messages for many that it has sent out and not delivered.
    mailed: u64,
    announced: u64,
    going: AHashMap<ConnId, Going>,
    /// By the number under which they are announced.
    numbers: AHashMap<u64, ConnId>,
    /// Those that have all their fences.
    ready: VecDeque<Departure>,
    expected: AHashMap<(CoreId, u64), Expected>,
    /// Where what is kept for them begins, and for how many of them there: none of those for which too much was.
    wanted: BTreeMap<u64, usize>,
    /// What has been delivered since the first of them was announced.
    kept: VecDeque<(Bulk, KeptMessage)>,
    kept_bytes: usize,
    /// How many have been kept before these.
    kept_before: u64,
    /// Those who have come and were sent more than this core has, on the core where they were.
    ahead: Vec<Ahead>,
    /// The cores that have been asked how much they have sent here, for their sake.
    asked: Box<[bool]>,
}

impl Crossings {
    pub fn new(cores: usize) -> Crossings {
        Crossings {
            sent: 0,
            seen: vec![0; cores].into(),
            mailed: 0,
            announced: 0,
            going: AHashMap::new(),
            numbers: AHashMap::new(),
            ready: VecDeque::new(),
            expected: AHashMap::new(),
            wanted: BTreeMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            kept_before: 0,
            ahead: Vec::new(),
            asked: vec![false; cores].into(),
        }
    }

    /// Nobody is on his way here or from here.
    pub fn is_empty(&self) -> bool {
        self.going.is_empty()
            && self.ready.is_empty()
            && self.expected.is_empty()
            && self.kept.is_empty()
    }

    #[cfg(all(test, not(loom)))]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    #[cfg(all(test, not(loom)))]
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// What this core has sent out is for it, too, and in its mailbox.
    pub fn mailed_here(&mut self, bus: &Endpoint<Body>) {
        self.mailed = bus.mark();
    }

    /// Whether a connection that is to go has all that this core has sent out.
    pub fn may_go(&self, connection: ConnId, bus: &Endpoint<Body>) -> bool {
        self.going.is_empty()
            || bus.has_passed(self.mailed)
            || !self.going.contains_key(&connection)
    }

    /// The next that has all its fences, and what this core has sent out.
    pub fn next_ready(&mut self, bus: &Endpoint<Body>) -> Option<Departure> {
        let departure = self.ready.front()?;
        if !self.may_go(departure.connection, bus) {
            return None;
        }
        let departure = self.ready.pop_front();
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        departure
    }

    /// Whether what comes is kept for somebody.
    fn keeps(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// One that was to go does so, or ends.
    fn let_go(&mut self, connection: ConnId) -> Option<Going> {
        let going = self.going.remove(&connection)?;
        self.numbers.remove(&going.number);
        Some(going)
    }

    /// One that was to come does so, or ends.
    fn no_more(&mut self, from: CoreId, number: u64) -> Option<Expected> {
        let expected = self.expected.remove(&(from, number))?;
        if !expected.is_lost
            && let Some(count) = self.wanted.get_mut(&expected.from)
        {
            *count -= 1;
            if *count == 0 {
                self.wanted.remove(&expected.from);
            }
        }
        Some(expected)
    }

    fn keep(&mut self, bulk: Bulk, kept: KeptMessage) {
        self.kept_bytes += kept.bytes();
        self.kept.push_back((bulk, kept));
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.expected
                .values_mut()
                .for_each(|one| one.is_lost = true);
            self.wanted.clear();
            self.trim();
        }
    }

    /// Lets go of what is kept for nobody any more.
    fn trim(&mut self) {
        let from = self.wanted.keys().next().copied();
        let end = self.kept_before + self.kept.len() as u64;
        while self.kept_before < from.unwrap_or(end)
            && let Some((_, kept)) = self.kept.pop_front()
        {
            self.kept_bytes -= kept.bytes();
            self.kept_before += 1;
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }
}

/// Messages for many, as they are delivered.
impl Local {
    /// A message for many that this core sends out.
    pub fn next_bulk(&mut self) -> Bulk {
        self.crossings.sent += 1;
        Bulk::new(self.core(), self.crossings.sent)
    }

    /// To everybody here, from this core.
    pub fn deliver_own(&mut self, bulk: Bulk, reach: Reach, message: Message<'_>) -> u32 {
        if self.crossings.keeps() {
            let to_all = Arc::new(ToAll {
                bulk,
                reach,
                mark: None,
                payload: Payload::new(message),
            });
            self.crossings.keep(bulk, KeptMessage::Everybody(to_all));
        }
        self.pass_by(bulk);
        let reached = match self.shard.any_behind() {
            true => self.deliver_marked_to_all(reach, None, &Payload::new(message)),
            false => self.shard.send_to_everybody(reach, message),
        };
        self.delivered(bulk);
        reached
    }

    /// The same from any core.
    pub fn deliver_to_everybody(&mut self, to_all: &Arc<ToAll>) -> u32 {
        let bulk = to_all.bulk;
        if self.crossings.keeps() {
            self.crossings
                .keep(bulk, KeptMessage::Everybody(Arc::clone(to_all)));
        }
        self.pass_by(bulk);
        let ToAll {
            reach,
            mark,
            payload,
            ..
        } = &**to_all;
        let reached = match mark.is_some() || self.shard.any_behind() {
            true => self.deliver_marked_to_all(*reach, *mark, payload),
            false => self.shard.send_to_everybody(*reach, payload.message()),
        };
        self.delivered(bulk);
        reached
    }

    /// To the members of a group on this core, where the home has sent it.
    pub fn deliver_to_members(&mut self, bulk: Bulk, to_group: &Arc<ToGroup>) -> u32 {
        if self.crossings.keeps() {
            self.crossings
                .keep(bulk, KeptMessage::Group(Arc::clone(to_group)));
        }
        self.pass_by(bulk);
        let ToGroup {
            reach,
            refresh,
            group,
            payload,
            mark,
            ..
        } = &**to_group;
        let shard = &mut self.shard;
        let reached = match mark.is_some() || shard.any_behind() {
            true => self.deliver_marked_to_group(to_group),
            false => shard.send_to_group(*reach, group, payload.message(), *refresh),
        };
        self.delivered(bulk);
        reached
    }

    /// Has it pass by those who have got it where they were.
    fn pass_by(&mut self, bulk: Bulk) {
        for ahead in &self.crossings.ahead {
            if ahead.seen[bulk.by()] >= bulk.number() {
                self.shard.pass_by(ahead.connection);
            }
        }
    }

    fn delivered(&mut self, bulk: Bulk) {
        let now = self.now();
        let crossings = &mut self.crossings;
        let seen = &mut crossings.seen[bulk.by()];
        let is_own = bulk.by() == self.bus.core().index();
        debug_assert!(
            *seen < bulk.number() || is_own,
            "one core's messages come in order"
        );
        *seen = bulk.number().max(*seen);
        if !crossings.ahead.is_empty() {
            self.shard.pass_by_nobody();
            self.look_ahead(now);
        }
    }

    /// Forgets those that are ahead of this core no more, or gone.
    fn look_ahead(&mut self, now: Instant) {
        let crossings = &mut self.crossings;
        let seen = &crossings.seen;
        let shard = &self.shard;
        let waits = !self.bus.has_passed(crossings.mailed);
        crossings.ahead.retain(|ahead| {
            let is_ahead = waits || is_ahead(&ahead.seen, seen);
            is_ahead && now < ahead.until && shard.is_here(ahead.connection)
        });
    }

    /// Asks the cores that somebody is ahead with, each once at a time, how much they have sent here: the last of it may have
    /// been for other cores alone.
    fn ask_ahead(&mut self) {
        let own = self.core();
        for core in 0..self.bus.cores() {
            let crossings = &mut self.crossings;
            let seen = crossings.seen[core];
            let mut ahead = crossings.ahead.iter();
            if core != own.index()
                && !crossings.asked[core]
                && ahead.any(|one| one.seen[core] > seen)
            {
                crossings.asked[core] = true;
                let body = Body::Fence {
                    to: own,
                    number: OWN_FENCE,
                };
                self.post_free(CoreId(core as u16), body);
            }
        }
    }

    /// This is behind all that a core has sent here.
    fn fenced_in(&mut self, from: CoreId, sent: u64) {
        self.crossings.asked[from.index()] = false;
        let seen = &mut self.crossings.seen[from.index()];
        *seen = sent.max(*seen);
        self.look_ahead(self.now());
        self.ask_ahead();
    }
}

fn is_ahead(theirs: &[u64], ours: &[u64]) -> bool {
    theirs.iter().zip(ours).any(|(theirs, ours)| theirs > ours)
}

/// The steps.
impl Local {
    /// A connection that is home is to cross to another core, to be bound there.
    pub fn announce(&mut self, departure: Departure) {
        let (connection, home) = (departure.connection, departure.home);
        let crossings = &mut self.crossings;
        crossings.announced += 1;
        let number = crossings.announced;
        let fences_left = self.bus.cores() - 1;
        let going = Going {
            number,
            departure,
            fences_left,
            fenced: vec![0; self.bus.cores()].into(),
        };
        crossings.going.insert(connection, going);
        crossings.numbers.insert(number, connection);
        self.shard.set_crossing(connection);
        let space = self.shard.space_of(connection);
        let join_requests = self.shard.memberships(connection);
        let groups = join_requests
            .into_iter()
            .map(|wish| (space, wish.group))
            .collect();
        // Behind all that it has sent, so that what this has caused is at the old core before the fences.
        self.post(home, Some(connection), 0, Body::Announce { number, groups });
    }

    /// One is to come from there.
    pub fn expect(&mut self, from: CoreId, number: u64, groups: Box<[(Space, Box<str>)]>) {
        for (space, group) in &groups {
            self.shard.pin(*space, group);
        }
        self.post_interests();
        let crossings = &mut self.crossings;
        let expected = Expected {
            from: crossings.kept_before + crossings.kept.len() as u64,
            groups,
            is_lost: false,
        };
        *crossings.wanted.entry(expected.from).or_default() += 1;
        crossings.expected.insert((from, number), expected);
        for core in self.other_cores() {
            if core != from {
                self.post_free(core, Body::Fence { to: from, number });
            }
        }
        self.fence(from, number);
    }

    /// Sends a fence to a core that a connection leaves.
    pub fn fence(&mut self, to: CoreId, number: u64) {
        let sent = self.crossings.sent;
        self.post_free(to, Body::Fenced { number, sent });
    }

    /// A core has sent all that it had sent to many when a connection was announced. The last one opens the way.
    pub fn fenced(&mut self, from: CoreId, number: u64, sent: u64) {
        if number == OWN_FENCE {
            return self.fenced_in(from, sent);
        }
        let crossings = &mut self.crossings;
        let connection = crossings.numbers.get(&number);
        let Some(going) = connection.and_then(|connection| crossings.going.get_mut(connection))
        else {
            return;
        };
        going.fenced[from.index()] = sent;
        going.fences_left -= 1;
        if going.fences_left == 0 {
            let Departure {
                connection,
                home,
                ref uid,
            } = going.departure;
            let uid = uid.clone();
            self.shard.set_leaving(connection);
            self.crossings.ready.push_back(Departure {
                connection,
                home,
                uid,
            });
        }
    }

    /// A connection goes now: what it takes along.
    pub fn cross(&mut self, connection: ConnId) -> Option<Box<Crossing>> {
        if self.crossings.going.is_empty() {
            return None;
        }
        let going = self.crossings.let_go(connection)?;
        let mut seen = self.crossings.seen.clone();
        for (seen, fenced) in seen.iter_mut().zip(&going.fenced) {
            *seen = (*seen).max(*fenced);
        }
        seen[self.bus.core().index()] = self.crossings.sent;
        Some(Box::new(Crossing {
            number: going.number,
            seen,
        }))
    }

    /// One that was to cross has ended.
    pub fn withdraw(&mut self, connection: ConnId) {
        if self.crossings.going.is_empty() {
            return;
        }
        if let Some(going) = self.crossings.let_go(connection) {
            let body = Body::Withdrawn {
                number: going.number,
            };
            // By the way of what has announced it, and so behind that.
            self.post(going.departure.home, Some(connection), 0, body);
        }
    }

    /// One that was to come does not.
    pub fn expect_no_more(&mut self, from: CoreId, number: u64) {
        if let Some(expected) = self.crossings.no_more(from, number) {
            self.unpin(&expected);
            self.crossings.trim();
        }
    }

    fn unpin(&mut self, expected: &Expected) {
        for (space, group) in &expected.groups {
            self.shard.unpin(*space, group);
        }
    }

    /// It has come: it gets what it has not got. False if that was too much.
    pub fn catch_up(&mut self, connection: ConnId, from: CoreId, crossing: &Crossing) -> bool {
        let now = self.now();
        let crossings = &mut self.crossings;
        let Some(expected) = crossings.no_more(from, crossing.number) else {
            return false;
        };
        let first = expected.from.saturating_sub(crossings.kept_before) as usize;
        if !expected.is_lost {
            for (bulk, kept) in crossings.kept.iter().skip(first) {
                if bulk.number() > crossing.seen[bulk.by()] {
                    let (store, now) = (&mut self.streams.store, now);
                    let mut tops = |space, uid: &str| store.top(now, Address::uid(space, uid));
                    deliver(&mut self.shard, connection, kept, &mut tops);
                }
            }
        }
        if is_ahead(&crossing.seen, &crossings.seen) || !self.bus.has_passed(crossings.mailed) {
            crossings.ahead.push(Ahead {
                connection,
                seen: crossing.seen.clone(),
                until: now + AHEAD_MAX,
            });
        }
        self.ask_ahead();
        self.unpin(&expected);
        self.crossings.trim();
        !expected.is_lost
    }
}

fn deliver(shard: &mut Shard, connection: ConnId, kept: &KeptMessage, tops: Tops<'_>) {
    let space = shard.space_of(connection);
    let within = |reach: &Reach| reach.spaces().any(|one| one == space);
    match kept {
        KeptMessage::Everybody(to_all) if within(&to_all.reach) => {
            shard.send_marked(
                connection,
                marked_for_all(to_all.mark, &to_all.payload),
                tops,
            );
        }
        KeptMessage::Group(to_group)
            if within(&to_group.reach) && shard.is_in(connection, &to_group.group) =>
        {
            shard.send_marked(connection, to_group.marked(), tops);
        }
        _ => {}
    }
}
