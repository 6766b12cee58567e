//! A [`Store`] in writing, for another process: [`StreamRecord`]s, in pieces of which each is small, and the stores made of
//! them again. The process may have another number of cores, so each stream goes by itself, to the home of its name.
//!
//! Times are durations from the moment of packing: what is left of them, or how long ago something was. A message's time
//! is over in whole seconds of a store, so it may be a second later there. Which message is the oldest of all is known of those of
//! one core; those of several are put together by how many have come since. Bound: a piece has [`PIECE_BYTES`], or one
//! message. Counters are not in it.

use std::time::{Duration, Instant};

use ahash::AHashMap;
use serde::{Deserialize, Serialize};

use super::address::{Address, Kind};
use super::counters::Undelivered;
use super::engine::Id;
use super::list::{List, NONE};
use super::nursery::KnownTurns;
use super::position::Epoch;
use super::store::{Store, second_after, second_of};
use super::stream::Stream;
use super::unpacking::Unpacking;
use super::window::{Kept, Second};
use crate::config::StreamKind;
use crate::ident::{EVERYBODY, NamespaceId, check_name};
use crate::payload::Payload;

/// Messages of a piece, in bytes with what each costs.
const PIECE_BYTES: usize = 128 << 10;
/// What a place costs in writing, at most, beside its message.
const PLACE_BYTES: usize = 24;

/// One thing that a store holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StreamRecord {
    /// For every core: when streams of a core were born.
    Turns(KnownTurns),
    /// A stream, with its first messages or more of them.
    Stream(WrittenStream),
    /// Requests whose ids are known, each a message of the stream.
    Ids(WrittenStreamName, Vec<WrittenId>),
    /// Messages of a uid that went undelivered: nobody has been told yet.
    Undelivered(WrittenStreamName, u32),
}

/// Which stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenStreamName {
    pub namespace: NamespaceId,
    pub kind: Kind,
    pub name: Box<str>,
}

/// A piece of a stream: the first one makes it, each other one goes on where that before it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenStream {
    pub of: WrittenStreamName,
    epoch: Epoch,
    /// The position that was told of it before it was born, where that is good.
    born: Option<Epoch>,
    floor: u64,
    delivered: u64,
    queues: bool,
    /// For so long it has had no message.
    empty: Option<Duration>,
    /// What it has had before these.
    before: u64,
    places: Vec<Option<WrittenMessage>>,
}

/// A kept message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct WrittenMessage {
    payload: Payload,
    /// Its time is over in so many milliseconds.
    left: u64,
    /// So many messages have come since, to all streams of its core.
    behind: u64,
}

/// A request's id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenId {
    id: Id,
    epoch: Epoch,
    offset: u64,
    /// Seconds ago.
    ago: Second,
}

impl WrittenStreamName {
    fn new(of: Address<'_>) -> WrittenStreamName {
        WrittenStreamName {
            namespace: of.namespace,
            kind: of.kind,
            name: Box::from(of.name),
        }
    }

    fn address(&self) -> Address<'_> {
        Address {
            namespace: self.namespace,
            kind: self.kind,
            name: &self.name,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let is_one = match self.kind {
            StreamKind::All => *self.name == *EVERYBODY,
            StreamKind::Uid | StreamKind::Group => check_name(&self.name).is_ok(),
        };
        is_one.then_some(()).ok_or("a name that no stream has")
    }
}

impl StreamRecord {
    /// The stream that it is about; of none it is for every core.
    pub fn of(&self) -> Option<&WrittenStreamName> {
        match self {
            StreamRecord::Turns(_) => None,
            StreamRecord::Stream(WrittenStream { of, .. })
            | StreamRecord::Ids(of, _)
            | StreamRecord::Undelivered(of, _) => Some(of),
        }
    }

    /// Whether a store can have given it out. What was written down may be anything.
    pub fn check(&self) -> Result<(), &'static str> {
        self.of().map_or(Ok(()), WrittenStreamName::check)
    }

    /// The namespace that it is about.
    pub fn namespace(&mut self) -> Option<&mut NamespaceId> {
        match self {
            StreamRecord::Turns(_) => None,
            StreamRecord::Stream(WrittenStream { of, .. })
            | StreamRecord::Ids(of, _)
            | StreamRecord::Undelivered(of, _) => Some(&mut of.namespace),
        }
    }
}

impl Store {
    /// Gives out all that it holds, at this time.
    pub fn pack(&self, now: Instant, out: &mut dyn FnMut(StreamRecord)) {
        out(StreamRecord::Turns(self.nursery.turns()));
        for number in self.names.numbers() {
            self.pack_stream(now, &self.streams[number], out);
        }
        self.pack_ids(now, out);
        for one in &self.undelivered {
            let of = WrittenStreamName::new(Address::uid(one.namespace, &one.uid));
            out(StreamRecord::Undelivered(of, one.messages));
        }
    }

    fn pack_stream(&self, now: Instant, stream: &Stream, out: &mut dyn FnMut(StreamRecord)) {
        let empty = (stream.window.messages() == 0).then(|| self.time_since(now, stream.second));
        let piece = |before, places| {
            StreamRecord::Stream(WrittenStream {
                of: WrittenStreamName::new(stream.address()),
                epoch: stream.epoch(),
                born: self.nursery.epoch_of_birth(stream.born),
                floor: stream.floor,
                delivered: stream.delivered,
                queues: stream.queues,
                empty,
                before,
                places,
            })
        };
        let mut before = stream.first() - 1;
        let (mut places, mut bytes) = (Vec::new(), 0);
        for kept in stream.window.from(0) {
            let cost = PLACE_BYTES + kept.payload.as_ref().map_or(0, |it| it.message().len());
            if bytes + cost > PIECE_BYTES && !places.is_empty() {
                let full: Vec<_> = std::mem::take(&mut places);
                let count = full.len() as u64;
                out(piece(before, full));
                (before, bytes) = (before + count, 0);
            }
            bytes += cost;
            places.push(self.written(now, kept));
        }
        out(piece(before, places));
    }

    fn written(&self, now: Instant, kept: &Kept) -> Option<WrittenMessage> {
        let due = self.start + Duration::from_secs(kept.due.into());
        let left = due.saturating_duration_since(now);
        Some(WrittenMessage {
            payload: kept.payload.clone()?,
            left: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            behind: self.ages.since(kept.age),
        })
    }

    fn time_since(&self, now: Instant, second: Second) -> Duration {
        let then = self.start + Duration::from_secs(second.into());
        now.saturating_duration_since(then)
    }

    fn pack_ids(&self, now: Instant, out: &mut dyn FnMut(StreamRecord)) {
        if self.ids.bytes() == 0 {
            return;
        }
        let numbers = self.names.numbers();
        let of_epochs: AHashMap<Epoch, u32> = numbers
            .map(|number| (self.streams[number].epoch(), number))
            .collect();
        // Of one that is forgotten nobody asks.
        let known = self.ids.each().filter_map(|(since, epoch, id, offset)| {
            let number = *of_epochs.get(&epoch)?;
            let ago = second_of(self.time_since(now, since));
            Some((
                number,
                WrittenId {
                    id,
                    epoch,
                    offset,
                    ago,
                },
            ))
        });
        let mut of_streams: AHashMap<u32, Vec<WrittenId>> = AHashMap::new();
        let mut pack = |number: u32, ids| {
            out(StreamRecord::Ids(
                WrittenStreamName::new(self.streams[number].address()),
                ids,
            ));
        };
        for (number, id) in known {
            let ids = of_streams.entry(number).or_default();
            ids.push(id);
            if ids.len() * size_of::<WrittenId>() >= PIECE_BYTES {
                pack(number, std::mem::take(ids));
            }
        }
        of_streams
            .into_iter()
            .for_each(|(number, ids)| pack(number, ids));
    }
}

impl Store {
    /// Takes in what another process has packed at that time. To be followed by [`Store::unpacked`].
    pub fn unpack(&mut self, packed: Instant, record: StreamRecord) -> Result<(), &'static str> {
        record.check()?;
        match record {
            StreamRecord::Turns(turns) => self.unpacking().turns.push(turns),
            StreamRecord::Stream(piece) => self.unpack_stream(packed, piece)?,
            StreamRecord::Ids(_, ids) => {
                let ids = ids.into_iter().map(|one| {
                    let since = self.second_before(packed, Duration::from_secs(one.ago.into()));
                    (since, one.epoch, one.id, one.offset)
                });
                let ids: Vec<_> = ids.collect();
                self.unpacking().ids.extend(ids);
            }
            StreamRecord::Undelivered(of, messages) => self.undelivered.push(Undelivered {
                namespace: of.namespace,
                uid: of.name,
                messages,
            }),
        }
        Ok(())
    }

    fn unpacking(&mut self) -> &mut Unpacking {
        let first = self.ages.next();
        self.unpacking.get_or_insert_with(|| {
            Box::new(Unpacking {
                first,
                ..Unpacking::default()
            })
        })
    }

    fn second_before(&self, packed: Instant, ago: Duration) -> Second {
        let then = packed.checked_sub(ago).unwrap_or(self.start);
        second_of(then.saturating_duration_since(self.start))
    }

    fn unpack_stream(&mut self, packed: Instant, piece: WrittenStream) -> Result<(), &'static str> {
        let count = piece.places.len() as u64;
        let top = piece.before.checked_add(count);
        if top.is_none_or(|top| top > u64::MAX / 2) {
            return Err("offsets that no stream has");
        }
        let number = match self.find(piece.of.address()) {
            None => self.bear_again(packed, &piece),
            Some(number) => {
                let stream = &self.streams[number];
                if (stream.epoch(), stream.top) != (piece.epoch, piece.before) {
                    return Err("a piece of a stream that does not follow");
                }
                number
            }
        };
        for place in piece.places {
            self.streams[number].top += 1;
            let Some(message) = place else {
                let stream = &mut self.streams[number];
                let places = stream.window.bytes();
                stream.window.push_hole();
                self.bytes += stream.window.bytes() - places;
                continue;
            };
            let due = packed.checked_add(Duration::from_millis(message.left));
            let due = due.map_or(Second::MAX, |due| {
                second_after(due.saturating_duration_since(self.start))
            });
            self.unpacking().behind.push(message.behind);
            self.hold(number, message.payload, due);
        }
        Ok(())
    }

    /// Makes a stream that another process has had, without its messages.
    fn bear_again(&mut self, packed: Instant, piece: &WrittenStream) -> u32 {
        let number = self.streams.take();
        let mut stream = Stream::new(piece.of.address(), piece.epoch, 0);
        (stream.top, stream.floor) = (piece.before, piece.floor);
        (stream.delivered, stream.queues) = (piece.delivered, piece.queues);
        self.streams[number] = stream;
        self.enter(number);
        let empty = piece.empty.unwrap_or_default();
        self.streams[number].second = self.second_before(packed, empty);
        self.unpacking().births.push((number, piece.born));
        number
    }

    /// All has come: puts it in order. What is beyond the bounds here goes in helpings.
    pub fn unpacked(&mut self) {
        let Some(unpacking) = self.unpacking.take() else {
            return;
        };
        let Unpacking {
            turns,
            births,
            first,
            behind,
            mut ids,
        } = *unpacking;
        self.nursery.follow_on(&turns);
        for (number, epoch) in births {
            let born = self.nursery.birth_by(epoch);
            self.streams[number].born = born;
            // What it says may be anything.
            let stream = &mut self.streams[number];
            stream.floor = stream.floor.min(stream.top).max(stream.last_gone());
            stream.delivered = stream.delivered.min(stream.top);
        }
        self.put_in_order(first, &behind);
        self.put_empty_in_order();
        ids.sort_by_key(|(since, ..)| *since);
        for (since, epoch, id, offset) in ids {
            if self.ids.find(epoch, id).is_none() {
                self.ids.insert(since, epoch, id, offset);
            }
        }
        self.hold_for_now();
    }

    /// Gives messages their ages anew: those after which most have come are the oldest.
    fn put_in_order(&mut self, first: u64, behind: &[u64]) {
        let mut each: Vec<(u64, u32, u64)> = Vec::with_capacity(behind.len());
        for number in self.names.numbers() {
            let stream = &self.streams[number];
            for (place, kept) in stream.window.from(0).enumerate() {
                if kept.payload.is_some() {
                    let nth = kept.age.checked_sub(first);
                    let nth = nth.and_then(|nth| usize::try_from(nth).ok());
                    let since = nth.and_then(|nth| behind.get(nth));
                    let since = since.copied().unwrap_or_default();
                    each.push((u64::MAX - since, number, place as u64));
                }
            }
        }
        each.sort_unstable();
        self.ages.clear();
        for (_, number, place) in each {
            let age = self.ages.push_last(number);
            self.streams[number].window.set_age(place as usize, age);
        }
    }

    /// The streams without messages, that which has been so for longest first.
    fn put_empty_in_order(&mut self) {
        let mut empty = Vec::new();
        let mut next = self.empty.first;
        while next != NONE {
            empty.push((self.streams[next].second, next));
            next = self.streams[next].links.after;
        }
        empty.sort_unstable();
        self.empty = List::default();
        for (_, number) in empty {
            self.empty.push(&mut self.streams, number);
        }
    }
}
