//! The moves of one core's connections that are home already: who is to go and to come, and what is kept for those who
//! come: [`Crossings`]. How such a move goes is told in `app/crossing.rs`.
//!
//! Bound: what is kept is shared, and as long as such moves take; past [`KEPT_BYTES_MAX`] the connections that it is kept
//! for are closed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::bulk::{Bulk, ToAll, ToGroup};
use super::transfer::{Crossing, Departure};
use crate::bus::Endpoint;
use crate::ident::{ConnId, CoreId, NamespaceId};

/// What is kept for connections on their way, in bytes of messages and what each costs besides.
const KEPT_BYTES_MAX: usize = 16 << 20;
const KEPT_COST: usize = 128;
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
pub struct Expected {
    /// What is kept for it begins with this one.
    from: u64,
    /// What it is in.
    pub groups: Box<[(NamespaceId, Box<str>)]>,
    /// More than may be kept has come meanwhile.
    pub is_lost: bool,
}

/// What is for it up to these numbers passes by a connection.
struct Ahead {
    connection: ConnId,
    seen: Box<[u64]>,
    /// When all of that has come for sure: a core sends a message to all in one go.
    until: Instant,
}

/// What is kept of messages for many.
pub enum KeptMessage {
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
    pub fn mailed_here<B>(&mut self, bus: &Endpoint<B>) {
        self.mailed = bus.mark();
    }

    /// Whether a connection that is to go has all that this core has sent out.
    pub fn may_go<B>(&self, connection: ConnId, bus: &Endpoint<B>) -> bool {
        self.going.is_empty()
            || bus.has_passed(self.mailed)
            || !self.going.contains_key(&connection)
    }

    /// The next that has all its fences, and what this core has sent out.
    pub fn next_ready<B>(&mut self, bus: &Endpoint<B>) -> Option<Departure> {
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
    pub fn keeps(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// One that was to go does so, or ends.
    fn let_go(&mut self, connection: ConnId) -> Option<Going> {
        let going = self.going.remove(&connection)?;
        self.numbers.remove(&going.number);
        Some(going)
    }

    /// One that was to come does so, or ends.
    pub fn no_more(&mut self, from: CoreId, number: u64) -> Option<Expected> {
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

    /// Keeps a message for those who are to come.
    pub fn keep(&mut self, bulk: Bulk, kept: KeptMessage) {
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
    pub fn trim(&mut self) {
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

/// What is for many, as it is delivered.
impl Crossings {
    /// The number of the next message for many that this core sends out.
    pub fn next_number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// That of the last one.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether something that this core has sent out may be in its own mailbox still.
    pub fn waits_here<B>(&self, bus: &Endpoint<B>) -> bool {
        !bus.has_passed(self.mailed)
    }

    /// Those who have got this where they were.
    pub fn have_got(&self, bulk: Bulk) -> impl Iterator<Item = ConnId> + '_ {
        let past = move |ahead: &&Ahead| ahead.seen[bulk.by()] >= bulk.number();
        let ahead = self.ahead.iter().filter(past);
        ahead.map(|ahead| ahead.connection)
    }

    /// It is delivered here. Whether somebody is ahead of this core.
    pub fn delivered(&mut self, bulk: Bulk, own: CoreId) -> bool {
        let seen = &mut self.seen[bulk.by()];
        let is_own = bulk.by() == own.index();
        debug_assert!(
            *seen < bulk.number() || is_own,
            "one core's messages come in order"
        );
        *seen = bulk.number().max(*seen);
        !self.ahead.is_empty()
    }

    /// Forgets those that are ahead of this core no more, or gone.
    pub fn look_ahead(&mut self, waits: bool, now: Instant, is_here: impl Fn(ConnId) -> bool) {
        let seen = &self.seen;
        self.ahead.retain(|ahead| {
            let is_ahead = waits || is_ahead(&ahead.seen, seen);
            is_ahead && now < ahead.until && is_here(ahead.connection)
        });
    }

    /// A core that somebody is ahead with and that is not asked already: it is now.
    pub fn next_to_ask(&mut self, own: CoreId) -> Option<CoreId> {
        let core = (0..self.seen.len()).find(|&core| {
            let mut ahead = self.ahead.iter();
            core != own.index()
                && !self.asked[core]
                && ahead.any(|one| one.seen[core] > self.seen[core])
        })?;
        self.asked[core] = true;
        Some(CoreId(core as u16))
    }

    /// One that was asked has sent so many messages for many, and all of them are here.
    pub fn answered(&mut self, from: CoreId, sent: u64) {
        self.asked[from.index()] = false;
        let seen = &mut self.seen[from.index()];
        *seen = sent.max(*seen);
    }
}

/// Who is to go, and who is to come.
impl Crossings {
    /// One is to go. The number by which it is announced.
    pub fn announce(&mut self, departure: Departure) -> u64 {
        let connection = departure.connection;
        let cores = self.seen.len();
        self.announced += 1;
        let going = Going {
            number: self.announced,
            departure,
            fences_left: cores - 1,
            fenced: vec![0; cores].into(),
        };
        self.going.insert(connection, going);
        self.numbers.insert(self.announced, connection);
        self.announced
    }

    /// A core has sent all that it had sent to many when that one was announced. The connection, if it may go now.
    pub fn fenced(&mut self, from: CoreId, number: u64, sent: u64) -> Option<ConnId> {
        let connection = self.numbers.get(&number)?;
        let going = self.going.get_mut(connection)?;
        going.fenced[from.index()] = sent;
        going.fences_left -= 1;
        if going.fences_left > 0 {
            return None;
        }
        let Departure {
            connection,
            home,
            ref uid,
        } = going.departure;
        let uid = uid.clone();
        self.ready.push_back(Departure {
            connection,
            home,
            uid,
        });
        Some(connection)
    }

    /// A connection goes now, if it was to: what it takes along.
    pub fn cross(&mut self, connection: ConnId, own: CoreId) -> Option<Box<Crossing>> {
        if self.going.is_empty() {
            return None;
        }
        let going = self.let_go(connection)?;
        let mut seen = self.seen.clone();
        for (seen, fenced) in seen.iter_mut().zip(&going.fenced) {
            *seen = (*seen).max(*fenced);
        }
        seen[own.index()] = self.sent;
        Some(Box::new(Crossing {
            number: going.number,
            seen,
        }))
    }

    /// One that was to go has ended: where to, and by which number it was announced there.
    pub fn withdraw(&mut self, connection: ConnId) -> Option<(CoreId, u64)> {
        if self.going.is_empty() {
            return None;
        }
        let going = self.let_go(connection)?;
        Some((going.departure.home, going.number))
    }

    /// One is to come from there: what is for many is kept from now on.
    pub fn expect(&mut self, from: CoreId, number: u64, groups: Box<[(NamespaceId, Box<str>)]>) {
        let expected = Expected {
            from: self.kept_before + self.kept.len() as u64,
            groups,
            is_lost: false,
        };
        *self.wanted.entry(expected.from).or_default() += 1;
        self.expected.insert((from, number), expected);
    }

    /// What was kept for one that has come, and it has not got.
    pub fn missed<'c>(
        &'c self,
        expected: &Expected,
        crossing: &'c Crossing,
    ) -> impl Iterator<Item = &'c KeptMessage> {
        let first = expected.from.saturating_sub(self.kept_before) as usize;
        let kept = match expected.is_lost {
            true => None,
            false => Some(self.kept.iter().skip(first)),
        };
        let missed = |(bulk, _): &&(Bulk, KeptMessage)| bulk.number() > crossing.seen[bulk.by()];
        kept.into_iter()
            .flatten()
            .filter(missed)
            .map(|(_, kept)| kept)
    }

    /// One has come. If it has got more than this core has, or may have (`waits`), that is to pass by it.
    pub fn come(&mut self, connection: ConnId, crossing: &Crossing, waits: bool, now: Instant) {
        if is_ahead(&crossing.seen, &self.seen) || waits {
            self.ahead.push(Ahead {
                connection,
                seen: crossing.seen.clone(),
                until: now + AHEAD_MAX,
            });
        }
    }
}

fn is_ahead(theirs: &[u64], ours: &[u64]) -> bool {
    theirs.iter().zip(ours).any(|(theirs, ours)| theirs > ours)
}
