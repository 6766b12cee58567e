//! The streams of Redis, mirrored at their homes on this node ([`Mirrors`](super::mirrors)): read when somebody follows them,
//! then fed by what is published.
//!
//! What is published has its position. What is next is taken and delivered, what was there before is passed over, and a hole
//! is read from Redis before anything else of that stream is delivered. What cannot be had is a gap: whoever follows the
//! stream is put back to where it stood, reads on from there as ever, and is told.

use std::collections::{BTreeMap, VecDeque};

use super::abroad::ToEngine;
use super::abroad_streams::{PlacedMessage, StreamNews, StreamOrder, StreamPage};
use super::envelope::Body;
use super::follow_step::FollowedStream;
use super::local::Local;
use super::mirrors::{MirrorReading, MirrorState, Waiting};
use super::query::QueryResult;
use crate::ident::{EVERYBODY, NamespaceId, Reach};
use crate::protocol::partitions::{Partition, Topic};
use crate::streams::{Epoch, Kind, Mirrored, Position};

/// The namespaces of an app are few.
const NAMESPACES_MAX: u32 = 64;

impl Local {
    /// The engine has something about a stream, or an id, that is at home here.
    pub(super) fn take_stream_news(&mut self, news: StreamNews) {
        match news {
            StreamNews::Placed(placed) => self.take_placed(*placed),
            StreamNews::Forgotten { of, upto } => {
                let now = self.now;
                self.streams.store.ask(of.address(), |store| {
                    let known = store.known(now, of.address());
                    if known.is_some_and(|known| known.epoch == upto.epoch) {
                        store.discard_to(now, of.address(), upto.offset);
                    }
                });
            }
            StreamNews::Page(of, page) => self.take_page(&of, page),
            StreamNews::Compared(of, position) => self.compared(&of, position),
            StreamNews::Claimed(token, outcome) => self.claimed_abroad(token, outcome),
            StreamNews::Joined(partition, is_joined) => {
                self.redis_is_there(partition, is_joined);
            }
            StreamNews::HasStickies(partition, has) => self.note_stickies_in(partition, has),
            StreamNews::Look => self.compare_some(),
            StreamNews::Handled(at) => self.take_handled(*at),
        }
    }

    pub(super) fn order_of_streams(&mut self, order: StreamOrder) {
        self.tell_engine(ToEngine::Stream(order));
    }

    /// Whether a stream is here; if not, whoever waits is served when it is.
    pub(super) fn when_mirrored(
        &mut self,
        of: &FollowedStream,
        waiting: Waiting,
    ) -> Option<Waiting> {
        let is_passing = matches!(waiting, Waiting::History(..)) && !self.is_followed(of);
        let is_away = self.mirrors.is_away(of.topic());
        match self.mirrors.get(of) {
            Some(MirrorState::Whole | MirrorState::Alone) => return Some(waiting),
            Some(MirrorState::Reading(reading)) => {
                reading.is_passing &= is_passing;
                reading.waiting.push(waiting);
                return None;
            }
            None if is_away => {
                self.be_alone(of);
                if !is_passing {
                    self.mirrors.set(of, MirrorState::Alone);
                }
                return Some(waiting);
            }
            None => {}
        }
        let reading = MirrorReading {
            is_passing,
            waiting: vec![waiting],
            ..MirrorReading::default()
        };
        self.mirrors
            .set(of, MirrorState::Reading(Box::new(reading)));
        self.read_on_from_redis(of, is_passing);
        None
    }

    /// Redis is away: a stream that is not here begins in a life of its own, which is over when Redis is back.
    fn be_alone(&mut self, of: &FollowedStream) {
        let now = self.now;
        self.streams.store.ask(of.address(), |store| {
            if store.known(now, of.address()).is_none() {
                let epoch = Epoch::of(fastrand::u64(..));
                store.adopt(now, of.address(), Position { epoch, offset: 0 });
            }
        });
    }

    fn known(&mut self, of: &FollowedStream) -> Option<Position> {
        let (now, store) = (self.now, &mut self.streams.store);
        let known = store.ask(of.address(), |store| store.known(now, of.address()));
        known.flatten()
    }

    fn read_on_from_redis(&mut self, of: &FollowedStream, is_passing: bool) {
        let after = self.known(of);
        self.order_of_streams(StreamOrder::Read {
            of: of.clone(),
            after,
            subscribed: !is_passing,
        });
    }

    /// Whether its node gets what is published of it, for as long as that is so.
    fn is_followed(&self, of: &FollowedStream) -> bool {
        match of.kind {
            Kind::Uid => self.shard.online(Reach::of(of.namespace), &of.name) > 0,
            Kind::Group => self.homes.has(of.namespace, &of.name),
            Kind::All => true,
        }
    }

    /// Something is missing of a stream that is followed here: it is read.
    fn fill_in(&mut self, of: &FollowedStream, early: VecDeque<PlacedMessage>) {
        let reading = MirrorReading {
            is_followed: true,
            early,
            ..MirrorReading::default()
        };
        self.mirrors
            .set(of, MirrorState::Reading(Box::new(reading)));
        self.read_on_from_redis(of, false);
    }

    fn take_placed(&mut self, placed: PlacedMessage) {
        let Some(position) = placed.position else {
            // It is kept nowhere, and its sender is told that this is not known.
            return self.deliver_placed(placed, None);
        };
        let of = placed.of.clone();
        match self.mirrors.get(&of) {
            // Nobody here follows it.
            None => self.deliver_placed(placed, Some(position)),
            Some(MirrorState::Alone) => self.answer_placed(placed.number, 0),
            Some(MirrorState::Reading(reading)) if reading.is_followed => reading.hold(placed),
            // What has waited for whoever has come goes before it.
            Some(MirrorState::Reading(reading))
                if placed.message.queue && reading.has_queue_waiting() =>
            {
                reading.hold(placed);
            }
            // Who is here gets it. Who begins to follow reads it.
            Some(MirrorState::Reading(reading)) => {
                reading.hold(PlacedMessage {
                    of: of.clone(),
                    message: placed.message.clone(),
                    except: None,
                    number: 0,
                    ..placed
                });
                self.deliver_placed(placed, Some(position));
            }
            Some(MirrorState::Whole) => match self.append_placed(&of, position, &placed.message) {
                Some(true) => self.deliver_placed(placed, Some(position)),
                Some(false) => self.answer_placed(placed.number, 0),
                None => self.fill_in(&of, VecDeque::from([placed])),
            },
        }
    }

    /// Takes a message into the mirror: whether it is new, if it is the next; `None` if something is missing before it.
    fn append_placed(
        &mut self,
        of: &FollowedStream,
        position: Position,
        message: &Mirrored,
    ) -> Option<bool> {
        let now = self.now;
        let known = self.known(of)?;
        if known.has(position) {
            return Some(false);
        }
        let store = &mut self.streams.store;
        let appended = store.ask(of.address(), |store| {
            store.append_at(now, of.address(), position, message)
        });
        appended.unwrap_or(false).then_some(true)
    }

    /// A piece of a stream has come.
    fn take_page(&mut self, of: &FollowedStream, page: Option<Box<StreamPage>>) {
        let Some(MirrorState::Reading(reading)) = self.mirrors.get(of) else {
            return;
        };
        let (is_followed, is_passing) = (reading.is_followed, reading.is_passing);
        let Some(page) = page else {
            return self.give_up_reading(of);
        };
        let StreamPage {
            epoch,
            top,
            floor,
            delivered,
            born,
            messages,
        } = *page;
        let known = self.known(of);
        let first = messages.first().map(|(offset, _)| *offset);
        let begins = Position {
            epoch,
            offset: first.map_or(top, |first| first - 1),
        };
        let goes_on = known.is_some_and(|known| known == begins && known.offset <= top);
        if !goes_on {
            if is_followed && let Some(known) = known {
                self.put_back_followers(of, known);
            }
            let now = self.now;
            let store = &mut self.streams.store;
            store.ask(of.address(), |store| {
                store.adopt(now, of.address(), begins);
            });
            if of.kind == Kind::Uid {
                self.shard.in_flight.forget(of.namespace, &of.name);
            }
        }
        // Before what follows is delivered, which tells of more. What has come here Redis may not know yet.
        let address = of.address();
        let here = self.streams.store.delivered(address);
        let knows_more = goes_on && here > delivered;
        let delivered = match goes_on {
            true => delivered.max(here),
            // What was before is nowhere.
            false => delivered.max(begins.offset),
        };
        let store = &mut self.streams.store;
        store.ask(address, |store| store.adopt_delivered(address, delivered));
        if knows_more && of.kind == Kind::Uid {
            self.tell_delivered(address);
        }
        for (offset, message) in messages {
            let position = Position { epoch, offset };
            // Of a life before this one whoever is here has had what was to be had, but for what waits in a queue.
            let is_due = offset > born || message.queue && offset > delivered;
            self.take_read(of, position, &message, is_followed && is_due);
        }
        let now = self.now;
        let (store, address) = (&mut self.streams.store, of.address());
        store.ask(address, |store| {
            store.discard_to(now, address, floor);
            if !is_followed {
                // The first that waits of a new stream has begun its count anew.
                store.adopt_delivered(address, delivered);
            }
        });
        let known = self.known(of);
        if known.is_some_and(|known| known.epoch == epoch && known.offset < top) {
            return self.read_on_from_redis(of, is_passing);
        }
        self.end_reading(of);
    }

    /// Nothing that is published of it comes to this node: whoever wanted it has gone, or is to come anew.
    fn give_up_reading(&mut self, of: &FollowedStream) {
        if self.is_followed(of) {
            return self.read_on_from_redis(of, false);
        }
        let Some(MirrorState::Reading(reading)) = self.mirrors.get(of) else {
            return;
        };
        let waiting = std::mem::take(&mut reading.waiting);
        self.mirrors.forget(of);
        for one in waiting {
            if let Waiting::History(from, call, _) = one {
                self.reply(from, call, QueryResult::away());
            }
        }
    }

    /// A message of a page; whether those who are here are to have it.
    fn take_read(
        &mut self,
        of: &FollowedStream,
        position: Position,
        message: &Mirrored,
        is_due: bool,
    ) {
        if self.append_placed(of, position, message) != Some(true) || !is_due {
            return;
        }
        // It may have come by the channel, too, with more that is known of it.
        if let Some(MirrorState::Reading(reading)) = self.mirrors.get(of)
            && let Some(nth) = reading
                .early
                .iter()
                .position(|one| one.position == Some(position))
            && let Some(early) = reading.early.remove(nth)
        {
            return self.deliver_placed(early, Some(position));
        }
        if message.left.is_some() {
            let placed = PlacedMessage {
                of: of.clone(),
                position: Some(position),
                message: message.clone(),
                refresh: false,
                except: None,
                number: 0,
            };
            self.deliver_placed(placed, Some(position));
        }
    }

    /// All is read that was there: what has come meanwhile follows, and whoever waits is served.
    fn end_reading(&mut self, of: &FollowedStream) {
        let Some(MirrorState::Reading(reading)) = self.mirrors.get(of) else {
            return;
        };
        let reading = std::mem::take(&mut **reading);
        self.mirrors.set(of, MirrorState::Whole);
        let mut early = reading.early;
        let mut missed = reading.missed;
        while let Some(placed) = early.pop_front() {
            let Some(position) = placed.position else {
                continue;
            };
            match self.append_placed(of, position, &placed.message) {
                Some(true) if reading.is_followed => self.deliver_placed(placed, Some(position)),
                Some(_) => self.answer_placed(placed.number, 0),
                None => {
                    early.push_front(placed);
                    missed = true;
                    break;
                }
            }
        }
        if missed {
            let again = MirrorReading {
                early,
                missed: false,
                ..reading
            };
            self.mirrors.set(of, MirrorState::Reading(Box::new(again)));
            return self.read_on_from_redis(of, false);
        }
        if of.kind == Kind::All {
            self.tell_of_all(of.namespace);
        }
        self.serve_waiting(of, reading.waiting);
        if reading.is_passing || !self.is_followed(of) {
            self.mirrors.forget(of);
        }
    }

    fn serve_waiting(&mut self, of: &FollowedStream, waiting: Vec<Waiting>) {
        for one in waiting {
            match one {
                Waiting::Step(from, step) => self.follow_here(from, *step),
                Waiting::Queue(connection) => {
                    if self.shard.connections.uid(connection) == Some(&*of.name) {
                        self.begin_queue_here(connection);
                    }
                }
                Waiting::History(from, call, query) => self.answer_history(from, call, &query),
            }
        }
    }

    /// Where everybody's stream stands, for all cores: their clients are told.
    fn tell_of_all(&mut self, namespace: NamespaceId) {
        let of = FollowedStream {
            namespace,
            kind: Kind::All,
            name: Box::from(EVERYBODY),
        };
        if let Some(position) = self.known(&of) {
            for core in self.other_cores() {
                let body = Body::SeeAll(Box::new((namespace, position)));
                self.outgoing.post_free(core, body);
            }
            self.shard.followers.see_all_at(namespace, position);
        }
    }

    /// Another life of a stream has begun, or something of it is gone: whoever follows it reads on from where it stood.
    fn put_back_followers(&mut self, of: &FollowedStream, stood: Position) {
        if of.kind == Kind::Uid {
            return self.put_back_here(of, stood);
        }
        for core in self.other_cores() {
            let body = Body::PutBack(Box::new((of.clone(), stood)));
            self.outgoing.post_free(core, body);
        }
        self.put_back_here(of, stood);
    }

    /// Puts back those on this core.
    pub(super) fn put_back_here(&mut self, of: &FollowedStream, stood: Position) {
        let put_back = self
            .shard
            .put_back_followers(of.namespace, of.kind, &of.name, stood);
        self.readers.extend(put_back);
    }

    fn compared(&mut self, of: &FollowedStream, position: Position) {
        if matches!(self.mirrors.get(of), Some(MirrorState::Whole))
            && self.known(of).is_none_or(|known| !known.has(position))
        {
            self.fill_in(of, VecDeque::new());
        }
    }

    fn compare_some(&mut self) {
        let mut each: BTreeMap<u16, Vec<_>> = BTreeMap::new();
        for of in self.mirrors.next_to_compare() {
            match self.known(&of) {
                Some(position) => {
                    let Partition { nth, .. } = self.mirrors.partition(of.topic());
                    each.entry(nth).or_default().push((of, position));
                }
                None => self.fill_in(&of, VecDeque::new()),
            }
        }
        for each in each.into_values() {
            self.order_of_streams(StreamOrder::Compare(each));
        }
    }

    fn redis_is_there(&mut self, partition: Partition, is_joined: bool) {
        self.mirrors.note_joined(partition, is_joined);
        self.rosters_joined(partition, is_joined);
        let mirrored = self.mirrors.all_in(partition);
        if !is_joined {
            for of in mirrored {
                self.be_alone(&of);
                let reading = match self.mirrors.get(&of) {
                    Some(MirrorState::Reading(reading)) => std::mem::take(&mut **reading),
                    _ => MirrorReading::default(),
                };
                self.mirrors.set(&of, MirrorState::Alone);
                self.serve_waiting(&of, reading.waiting);
            }
            return;
        }
        for of in mirrored {
            match self.mirrors.get(&of) {
                // Since before it was known whether Redis is there: nobody follows it yet.
                Some(MirrorState::Reading(reading)) => {
                    let is_passing = reading.is_passing;
                    self.read_on_from_redis(&of, is_passing);
                }
                _ => self.fill_in(&of, VecDeque::new()),
            }
        }
        if partition.has(Topic::All) && self.outgoing.home(EVERYBODY) == self.core() {
            let namespaces = (0..NAMESPACES_MAX).map(NamespaceId);
            let readable = namespaces.filter(|it| self.streams.is_readable(*it));
            for namespace in readable.collect::<Vec<_>>() {
                let of = FollowedStream {
                    namespace,
                    kind: Kind::All,
                    name: Box::from(EVERYBODY),
                };
                if self.mirrors.get(&of).is_none() {
                    let reading = Box::new(MirrorReading::default());
                    self.mirrors.set(&of, MirrorState::Reading(reading));
                    self.read_on_from_redis(&of, false);
                }
            }
        }
    }

    /// A uid has no connection any more in one of the namespaces.
    pub(super) fn mirror_no_more(&mut self, uid: &str) {
        let namespaces = (0..NAMESPACES_MAX).map(NamespaceId);
        for namespace in namespaces.filter(|it| self.streams.may_hold(*it)) {
            let of = FollowedStream {
                namespace,
                kind: Kind::Uid,
                name: Box::from(uid),
            };
            if !self.is_followed(&of) {
                self.mirrors.remove(&of);
            }
        }
    }

    /// A group has no member here any more.
    pub(super) fn mirror_group_no_more(&mut self, namespace: NamespaceId, group: &str) {
        self.mirrors.remove(&FollowedStream {
            namespace,
            kind: Kind::Group,
            name: Box::from(group),
        });
    }
}
