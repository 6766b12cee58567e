//! Which streams of Redis this core mirrors, and how far each mirror is: [`Mirrors`], at the streams' homes in a cluster.
//!
//! The messages are in the core's store, as those of its own streams would be. A mirror has all that Redis has as long as
//! its node gets what is published of the stream. It is read from Redis when somebody comes who follows the stream, and
//! again whenever something may have been lost on the way. Bound: an entry for each stream whose uid or group is here, and
//! what comes while one is read ([`EARLY_MAX`]); who waits for that has a connection, or a request.

use std::collections::VecDeque;

use ahash::AHashMap;

use super::abroad_streams::PlacedMessage;
use super::follow_step::{FollowStep, FollowedStream};
use super::query::HistoryQuery;
use crate::ident::{ConnId, CoreId};
use crate::protocol::partitions::{Partition, Topic};

/// Messages that are held while a stream is read. What comes beyond them is read once more.
const EARLY_MAX: usize = 256;
/// Streams that are compared at a time.
const COMPARED_MAX: usize = 2_048;
/// Each stream is compared once in so many times.
const COMPARED_IN: usize = 10;

/// Who waits until a stream is here.
pub(super) enum Waiting {
    /// A connection that follows it.
    Step(CoreId, Box<FollowStep>),
    /// One that is sent what has waited.
    Queue(ConnId),
    /// A request that reads it.
    History(CoreId, u64, Box<HistoryQuery>),
}

/// A stream is being read.
#[derive(Default)]
pub(super) struct MirrorReading {
    /// Those who follow it have what is here: they get what is read.
    pub is_followed: bool,
    /// Nothing published of it comes, so that it is none when it is read.
    pub is_passing: bool,
    pub waiting: Vec<Waiting>,
    pub early: VecDeque<PlacedMessage>,
    /// Some came that were not held.
    pub missed: bool,
}

/// How far a mirror is.
pub(super) enum MirrorState {
    /// It has what Redis has.
    Whole,
    Reading(Box<MirrorReading>),
    /// Redis is away: it has what it had.
    Alone,
}

struct Mirror {
    state: MirrorState,
    /// By which its place in the order of comparing is known.
    serial: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mirrors {
    of: AHashMap<FollowedStream, Mirror>,
    /// Whether the Redis of each partition is there, where that was heard.
    joined: Vec<Option<bool>>,
    order: VecDeque<(u64, FollowedStream)>,
    serials: u64,
}

impl MirrorReading {
    /// Whether a connection waits for it that is sent what has waited.
    pub fn has_queue_waiting(&self) -> bool {
        let is_queue = |one: &Waiting| matches!(one, Waiting::Queue(_));
        self.waiting.iter().any(is_queue)
    }

    pub fn hold(&mut self, placed: PlacedMessage) {
        match self.early.len() < EARLY_MAX {
            true => self.early.push_back(placed),
            false => self.missed = true,
        }
    }
}

impl Mirrors {
    /// Whether the Redis is there that keeps such a stream.
    pub fn is_joined(&self, topic: Topic<'_>) -> bool {
        self.joined_in(topic) == Some(true)
    }

    /// Whether it is known to be away. When a core begins it is not known yet.
    pub fn is_away(&self, topic: Topic<'_>) -> bool {
        self.joined_in(topic) == Some(false)
    }

    fn joined_in(&self, topic: Topic<'_>) -> Option<bool> {
        let place = self.partition(topic).index();
        self.joined.get(place).copied().flatten()
    }

    /// In which it is.
    pub fn partition(&self, topic: Topic<'_>) -> Partition {
        Partition::holding(topic, self.joined.len() as u16)
    }

    /// The Redis of a partition is there, or it is not.
    pub fn note_joined(&mut self, partition: Partition, is_joined: bool) {
        self.joined.resize(usize::from(partition.of), None);
        if let Some(place) = self.joined.get_mut(partition.index()) {
            *place = Some(is_joined);
        }
    }

    pub fn get(&mut self, of: &FollowedStream) -> Option<&mut MirrorState> {
        self.of.get_mut(of).map(|mirror| &mut mirror.state)
    }

    pub fn set(&mut self, of: &FollowedStream, state: MirrorState) {
        if let Some(mirror) = self.of.get_mut(of) {
            mirror.state = state;
            return;
        }
        self.serials += 1;
        let serial = self.serials;
        self.order.push_back((serial, of.clone()));
        self.of.insert(of.clone(), Mirror { state, serial });
    }

    /// Nobody is here any more who follows it.
    pub fn remove(&mut self, of: &FollowedStream) {
        match self.get(of) {
            Some(MirrorState::Reading(reading)) => reading.is_passing = true,
            Some(_) => drop(self.of.remove(of)),
            None => {}
        }
        // Their places in the order go when they come up, or now.
        if self.order.len() > 2 * self.of.len() + COMPARED_MAX {
            let of = &self.of;
            self.order
                .retain(|(serial, one)| of.get(one).is_some_and(|it| it.serial == *serial));
        }
    }

    /// It has been read, and is one no more.
    pub fn forget(&mut self, of: &FollowedStream) {
        self.of.remove(of);
    }

    /// All that are in a partition.
    pub fn all_in(&self, partition: Partition) -> Vec<FollowedStream> {
        let each = self.of.keys();
        let each = each.filter(|of| partition.has(of.topic()));
        each.cloned().collect()
    }

    /// Those that are to be compared now.
    pub fn next_to_compare(&mut self) -> Vec<FollowedStream> {
        let count = self.order.len().div_ceil(COMPARED_IN).min(COMPARED_MAX);
        let mut next = Vec::with_capacity(count);
        for _ in 0..count {
            let Some((serial, of)) = self.order.pop_front() else {
                break;
            };
            let Some(mirror) = self.of.get(&of).filter(|it| it.serial == serial) else {
                continue;
            };
            if matches!(mirror.state, MirrorState::Whole) {
                next.push(of.clone());
            }
            self.order.push_back((serial, of));
        }
        next
    }
}
