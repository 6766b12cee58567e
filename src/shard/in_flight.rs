//! Messages of a uid's queue on their way to its connections: [`InFlight`], beside the slots.
//!
//! A plain wire (websocket, text, frame) tells no positions, so what a peer has got is what its kernel has acknowledged: all
//! bytes written but those that SIOCOUTQ (tcp(7)) still counts. Each connection of a uid with a queue has the messages that
//! it was sent since, each with the byte at which it ends. What is not acknowledged when the connection leaves its uid goes
//! back to the queue; see `app/queueing`. Bound: when more than [`LOOK_AT`] are not known to be acknowledged, the transport
//! is asked what is, so they are about as many as outbox and kernel hold.
//!
//! In a cluster others want to know how far a uid's messages have come: there the transport is asked [`ASK_EVERY`] so long
//! as some are not known to have, ever more seldom of a peer that acknowledges nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use super::limits::LIST_KEPT;
use crate::ident::ConnId;
use crate::ident::NamespaceId;

/// See the module.
const LOOK_AT: usize = 64;
/// See the module.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Most times that one is passed over.
const PASSED_OVER_MAX: u8 = 64;

/// What a connection was sent of its uid's queue, as it takes it along to another process.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedInFlight {
    first: u64,
    sent: u64,
    written: u64,
    unacknowledged: Vec<(u64, u64)>,
}

impl SavedInFlight {
    /// What was written down may be anything.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        const MOST: u64 = u64::MAX / 4;
        let counts = [self.first, self.sent, self.written];
        let mut messages = self.unacknowledged.iter();
        match counts.iter().all(|count| *count <= MOST)
            && messages.all(|(offset, end)| (1..=MOST).contains(offset) && *end <= MOST)
        {
            true => Ok(()),
            false => Err("messages in flight that are none"),
        }
    }
}

/// What one connection was sent of its uid's queue.
pub struct InFlight {
    pub namespace: NamespaceId,
    pub uid: Box<str>,
    /// It is sent everything that follows this offset.
    pub first: u64,
    /// The last that it was sent.
    sent: u64,
    /// Bytes that the kernel has taken meanwhile.
    written: u64,
    /// Those not known to be acknowledged: each offset, and how many bytes there are up to its end.
    unacknowledged: VecDeque<(u64, u64)>,
    /// How many make it worth to ask.
    look_at: usize,
    /// By this it is among those to be asked for again and again.
    unsure: Option<ConnId>,
    /// How often it is passed over then, and how often it is to be yet.
    passed_over: (u8, u8),
}

impl InFlight {
    /// One that is sent what follows this offset.
    pub fn new(namespace: NamespaceId, uid: Box<str>, first: u64) -> InFlight {
        InFlight {
            namespace,
            uid,
            first,
            sent: first,
            written: 0,
            unacknowledged: VecDeque::new(),
            look_at: LOOK_AT,
            unsure: None,
            passed_over: (0, 0),
        }
    }

    /// As it takes it along.
    pub(super) fn saved(self) -> SavedInFlight {
        SavedInFlight {
            first: self.first,
            sent: self.sent,
            written: self.written,
            unacknowledged: self.unacknowledged.into(),
        }
    }

    /// Of one that has come with that.
    pub(super) fn of_saved(
        namespace: NamespaceId,
        uid: Box<str>,
        saved: SavedInFlight,
    ) -> InFlight {
        let unacknowledged = VecDeque::from(saved.unacknowledged);
        InFlight {
            namespace,
            uid,
            first: saved.first,
            sent: saved.sent,
            written: saved.written,
            look_at: LOOK_AT.max(2 * unacknowledged.len()),
            unacknowledged,
            unsure: None,
            passed_over: (0, 0),
        }
    }

    /// It is sent what follows this offset, also what it was sent before.
    pub fn begin_again(&mut self, after: u64) {
        self.first = after;
        self.sent = after;
    }

    /// The message at this offset waits for it, as the last of so many bytes. Whether the kernel is to be asked.
    fn note(&mut self, offset: u64, waiting: u64) -> bool {
        self.sent = self.sent.max(offset);
        let end = self.written + waiting;
        self.unacknowledged.push_back((offset, end));
        self.unacknowledged.len() == self.look_at
    }

    /// The kernel has so many bytes that its peer has not acknowledged. Returns up to where everything is.
    pub fn acknowledge(&mut self, outstanding: usize) -> u64 {
        let acknowledged = self.written.saturating_sub(outstanding as u64);
        while let Some((_, end)) = self.unacknowledged.front()
            && *end <= acknowledged
        {
            self.unacknowledged.pop_front();
        }
        self.look_at = LOOK_AT.max(2 * self.unacknowledged.len());
        if self.unacknowledged.is_empty() {
            self.unacknowledged.shrink_to(LOOK_AT);
        }
        self.acknowledged().unwrap_or(self.sent)
    }

    /// Up to where everything is known to be acknowledged, if that is not all that it was sent.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        let offsets = self.unacknowledged.iter().map(|(offset, _)| *offset);
        offsets.min().map(|offset| offset - 1)
    }

    /// The last that it was sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether it is its turn to be asked for.
    fn is_its_turn(&mut self) -> bool {
        let (_, left) = &mut self.passed_over;
        let is_its_turn = *left == 0;
        *left = left.saturating_sub(1);
        is_its_turn
    }

    /// It was asked for: whether something of it is known now that was not.
    fn note_asked(&mut self, outstanding: usize) -> bool {
        let before = self.unacknowledged.len();
        self.acknowledge(outstanding);
        let has_come = self.unacknowledged.len() < before;
        let times = match has_come {
            true => 0,
            false => (2 * self.passed_over.0 + 1).min(PASSED_OVER_MAX),
        };
        self.passed_over = (times, times);
        has_come
    }

    #[cfg(test)]
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }
}

/// Those of one core.
#[derive(Default)]
pub struct InFlightTable {
    of: AHashMap<u32, Box<InFlight>>,
    /// Those of whom it is worth to ask what is acknowledged.
    long: Vec<ConnId>,
    /// Those that have left their uid, and of whom it is not known yet.
    left: Vec<(ConnId, Box<InFlight>)>,
    /// Others want to know what has come.
    is_told: bool,
    /// Of whom, then, that is not known of all.
    unsure: Vec<ConnId>,
    /// When these were asked for last.
    asked: Option<Instant>,
}

impl InFlightTable {
    /// What the connection of a slot was sent.
    pub fn get(&self, slot: u32) -> Option<&InFlight> {
        self.of.get(&slot).map(|one| &**one)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut InFlight> {
        self.of.get_mut(&slot).map(|one| &mut **one)
    }

    /// It takes from its uid's queue, and was maybe sent some of it already.
    pub fn insert(&mut self, id: ConnId, mut in_flight: InFlight) {
        in_flight.unsure = None;
        self.of.insert(id.slot, Box::new(in_flight));
        self.be_unsure(id);
    }

    /// Of what it was sent something may not have come: others are told when it has.
    fn be_unsure(&mut self, id: ConnId) {
        if self.is_told
            && let Some(one) = self.of.get_mut(&id.slot)
            && one.unsure != Some(id)
            && !one.unacknowledged.is_empty()
        {
            one.unsure = Some(id);
            one.passed_over = (0, 0);
            self.unsure.push(id);
        }
    }

    /// From now on others are told what has come.
    pub fn tell_others(&mut self) {
        self.is_told = true;
    }

    /// When it is to be asked again what has come, for others.
    #[inline]
    pub fn ask_again_at(&self, now: Instant) -> Option<Instant> {
        let is_any = !self.unsure.is_empty();
        is_any.then(|| self.asked.map_or(now, |at| at + ASK_EVERY))
    }

    /// Asks of all whose turn it is: those of whom something is known now that was not.
    pub fn ask_for_others(
        &mut self,
        now: Instant,
        mut outstanding: impl FnMut(ConnId) -> Option<usize>,
    ) -> Vec<(NamespaceId, Box<str>)> {
        let mut news = Vec::new();
        if self.unsure.is_empty() || self.asked.is_some_and(|at| now < at + ASK_EVERY) {
            return news;
        }
        self.asked = Some(now);
        let of = &mut self.of;
        self.unsure.retain(|id| {
            let Some(one) = of.get_mut(&id.slot).filter(|one| one.unsure == Some(*id)) else {
                return false;
            };
            if one.is_its_turn()
                && let Some(outstanding) = outstanding(*id)
                && one.note_asked(outstanding)
            {
                news.push((one.namespace, one.uid.clone()));
            }
            one.unsure = one.unsure.filter(|_| !one.unacknowledged.is_empty());
            one.unsure.is_some()
        });
        if self.unsure.is_empty() {
            self.unsure.shrink_to(LIST_KEPT);
        }
        news
    }

    /// Up to where all is that those were sent who have left a uid, and of whom that is not known yet.
    pub(super) fn least_of_left(&self, namespace: NamespaceId, uid: &str) -> Option<u64> {
        let left = self.left.iter().map(|(_, one)| one);
        let of_it = left.filter(|one| one.namespace == namespace && *one.uid == *uid);
        of_it.filter_map(|one| one.acknowledged()).min()
    }

    /// The message at this offset waits for a connection, as the last of so many bytes.
    pub fn note(&mut self, id: ConnId, offset: u64, waiting: u64) {
        let Some(one) = self.of.get_mut(&id.slot) else {
            return;
        };
        if one.note(offset, waiting) {
            self.long.push(id);
        }
        self.be_unsure(id);
    }

    /// The kernel has taken so much of a slot's connection.
    #[inline]
    pub fn note_written(&mut self, slot: u32, bytes: usize) {
        if !self.of.is_empty()
            && let Some(one) = self.of.get_mut(&slot)
        {
            one.written += bytes as u64;
        }
    }

    /// A connection is none of its uid any more.
    #[inline]
    pub fn leave(&mut self, id: ConnId) {
        if !self.of.is_empty()
            && let Some(one) = self.of.remove(&id.slot)
        {
            self.left.push((id, one));
            if self.of.is_empty() {
                self.of.shrink_to(LIST_KEPT);
            }
        }
    }

    /// A connection goes elsewhere with its uid, and takes along what it was sent.
    pub(super) fn take(&mut self, slot: u32) -> Option<InFlight> {
        match self.of.is_empty() {
            true => None,
            false => self.of.remove(&slot).map(|one| *one),
        }
    }

    /// Whether the kernel is to be asked what is acknowledged.
    #[inline]
    pub fn has_to_ask(&self) -> bool {
        !self.long.is_empty() || !self.left.is_empty()
    }

    /// Those to ask for that go on.
    pub fn take_long(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.long)
    }

    /// One to ask for that has left, and what it was sent. The others count until they are taken, too.
    pub fn next_left(&mut self) -> Option<(ConnId, Box<InFlight>)> {
        let next = self.left.pop();
        if self.left.is_empty() {
            self.left.shrink_to(LIST_KEPT);
        }
        next
    }

    /// What one of these was sent, the first time that it is asked for.
    pub fn take_left(&mut self, id: ConnId) -> Option<Box<InFlight>> {
        // It has mostly left just now.
        let at = self.left.iter().rposition(|(of, _)| *of == id)?;
        Some(self.left.swap_remove(at).1)
    }

    /// Another life of a uid's queue has begun: the offsets of what its connections were sent are none of that.
    pub fn forget(&mut self, namespace: NamespaceId, uid: &str) {
        let is_other = |one: &InFlight| one.namespace != namespace || *one.uid != *uid;
        self.of.retain(|_, one| is_other(one));
        self.left.retain(|(_, one)| is_other(one));
    }

    /// Whether something may come back to a uid's queue.
    pub fn may_come_back(&self, namespace: NamespaceId, uid: &str) -> bool {
        let mut left = self.left.iter();
        left.any(|(_, one)| one.namespace == namespace && *one.uid == *uid)
    }
}
