//! What happens to uids, for those outside who want to know: [`UidEvent`]s, and each core's [`Reporter`], which puts
//! them where one thread takes them.
//!
//! Made by `shard` where binds, ends and kicks are decided, taken by `net::webhooks`. A core never waits: the queue
//! is bounded, for all cores together, and an event that finds it full is dropped, counted and logged. It is the
//! newest that goes, since taking out an old one would have the core wait for whoever takes them; and each event has
//! its number among those of its core, so that what is missing shows.

mod held;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::warn;

use crate::close::CloseReason;
use crate::config::EventKinds;
use crate::ident::{ConnName, CoreId};
use crate::log_limiter::SharedLogLimiter;
use held::HeldEvents;

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UidEvent {
    /// The uid's home core. What happens to one uid happens there, and is told in order.
    pub core: CoreId,
    /// Its place among those of its core, dropped ones included, from 1.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    pub uid: Box<str>,
    pub what: UidEventKind,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum UidEventKind {
    /// A connection has bound the uid; whether it is the only one of its app's.
    Connect {
        of: Origin,
        first: bool,
        /// Nodes of a cluster that have not said whether they have one, too.
        unknown: u32,
    },
    /// One that had bound it has ended; whether none of its app's is left.
    Disconnect {
        of: Origin,
        reason: CloseReason,
        last: bool,
        /// As above.
        unknown: u32,
    },
    /// So many of them are to be closed.
    Kick { connections: u32, by: KickedBy },
    /// So many messages that waited for its login are gone.
    Expired { messages: u32 },
    /// A connection of it has said something for the back end.
    Message(Box<ClientMessage>),
}

impl UidEventKind {
    fn kind(&self) -> EventKinds {
        match self {
            UidEventKind::Connect { .. } => EventKinds::CONNECT,
            UidEventKind::Disconnect { .. } => EventKinds::DISCONNECT,
            UidEventKind::Kick { .. } => EventKinds::KICK,
            UidEventKind::Expired { .. } => EventKinds::EXPIRED,
            UidEventKind::Message(_) => EventKinds::MESSAGE,
        }
    }

    /// Whether a core can have told of it. What was written down may be anything.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_json = |text: &str| serde_json::from_str::<&RawValue>(text).is_ok();
        let (of, request, said) = match self {
            UidEventKind::Connect { of, .. } | UidEventKind::Disconnect { of, .. } => {
                (Some(of), None, None)
            }
            UidEventKind::Message(message) => (
                Some(&message.of),
                message.request.as_deref(),
                Some(&message.said),
            ),
            _ => (None, None, None),
        };
        let attributes = of.and_then(|of| of.attributes.as_deref());
        let data = said.and_then(|said| match said {
            Said::Data(json) => Some(&**json),
            _ => None,
        });
        let mut texts = [attributes, request, data].into_iter().flatten();
        match texts.all(is_json) {
            true => Ok(()),
            false => Err("an event with JSON that is none"),
        }
    }

    /// The listener that it is about.
    pub fn listener(&mut self) -> Option<&mut u16> {
        match self {
            UidEventKind::Connect { of, .. } | UidEventKind::Disconnect { of, .. } => {
                Some(&mut of.listener)
            }
            UidEventKind::Message(message) => Some(&mut message.of.listener),
            UidEventKind::Kick {
                by: KickedBy::Listener(listener),
                ..
            } => Some(listener),
            _ => None,
        }
    }

    /// What it counts towards `queue_bytes_max`.
    pub fn bytes(&self) -> usize {
        match self {
            UidEventKind::Message(message) => message.said.bytes().len() + MESSAGE_COST,
            _ => 0,
        }
    }
}

/// What a client has said for the back end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientMessage {
    pub of: Origin,
    /// The `id` by which the client has sent it, as JSON: one that it sends anew has it again.
    pub request: Option<Box<str>>,
    pub said: Said,
}

/// It as the client has written it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Said {
    Text(Box<str>),
    /// JSON.
    Data(Box<str>),
    /// A message of a plain wire, which does not say what it is.
    Plain(Box<[u8]>),
}

impl Said {
    /// The text, the JSON, or the message.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Said::Text(text) | Said::Data(text) => text.as_bytes(),
            Said::Plain(bytes) => bytes,
        }
    }
}

/// What a message counts beyond its bytes.
const MESSAGE_COST: usize = 128;

/// What has become of a client's message for the back end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MessageTold {
    /// It waits for the webhook's receiver, which will have it once, or again with the same id.
    Taken,
    /// As many wait as may (`webhooks.queue_events_max`, `webhooks.queue_bytes_max`): it goes nowhere.
    Full,
    /// Nobody wants to know: there is no webhook with the event `message`, or the connection has no uid.
    Unwanted,
}

/// Which connection it is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    pub connection: ConnName,
    pub peer: SocketAddr,
    pub listener: u16,
    /// What a back end keeps of it.
    pub attributes: Option<Box<str>>,
}

/// Who has had a uid's connections closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KickedBy {
    /// A connection of this listener.
    Listener(u16),
    /// An app of its own accord.
    App,
    /// A request by HTTP.
    Http,
}

/// What has become of one core's events.
#[derive(Default)]
pub struct Tally {
    pub sent: AtomicU64,
    pub failed: AtomicU64,
    pub dropped: AtomicU64,
}

/// What the cores' reporters share.
#[derive(Clone)]
pub struct Reporting {
    kinds: EventKinds,
    queue: Sender<UidEvent>,
    events_max: usize,
    bytes_max: usize,
    bytes: Arc<AtomicUsize>,
    /// Events that are to come, and have their places.
    held: Arc<AtomicUsize>,
    tallies: Arc<[Tally]>,
    full: Arc<SharedLogLimiter>,
}

impl Reporting {
    /// The queue for so many cores, and its other end.
    pub fn new(
        kinds: EventKinds,
        (events_max, bytes_max): (usize, usize),
        cores: usize,
    ) -> (Reporting, Receiver<UidEvent>) {
        // What cores count at the same moment may be one more each.
        let (queue, taken) = bounded(events_max + cores);
        let reporting = Reporting {
            kinds,
            queue,
            events_max,
            bytes_max,
            bytes: Arc::default(),
            held: Arc::default(),
            tallies: (0..cores).map(|_| Tally::default()).collect(),
            full: Arc::new(SharedLogLimiter::new()),
        };
        (reporting, taken)
    }

    /// By core.
    pub fn tallies(&self) -> Arc<[Tally]> {
        Arc::clone(&self.tallies)
    }

    /// What clients' messages take that are not delivered yet.
    pub fn bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.bytes)
    }

    /// Whether clients' messages take less than so many eighths of what they may: they leave room for all else.
    fn has_room(&self, eighths: usize) -> bool {
        let part = |most: usize| (most / 8 * eighths).max(1);
        self.places() < part(self.events_max)
            && self.bytes.load(Ordering::Relaxed) < part(self.bytes_max)
    }

    /// Those that are taken, or to be taken by events that wait.
    fn places(&self) -> usize {
        self.queue.len() + self.held.load(Ordering::Relaxed)
    }

    /// One core's way into the queue.
    pub fn reporter(&self, core: CoreId) -> Reporter {
        Reporter {
            core,
            number: 0,
            held: HeldEvents::default(),
            shared: self.clone(),
        }
    }
}

/// One core's way into the queue.
pub struct Reporter {
    core: CoreId,
    number: u64,
    held: HeldEvents<UidEventKind>,
    shared: Reporting,
}

impl Reporter {
    /// Puts an event into the queue, if its kind is wanted.
    pub fn tell(&mut self, uid: &str, what: UidEventKind) {
        if !self.shared.kinds.has(what.kind()) || !self.has_place() {
            return;
        }
        if self.held.has(uid) {
            self.shared.held.fetch_add(1, Ordering::Relaxed);
            return self.held.follow(uid, wall_millis(), what);
        }
        self.send(uid, wall_millis(), what);
    }

    /// As [`Reporter::tell`], but it waits to be settled, by a number, and the uid's others behind it.
    pub fn tell_later(&mut self, uid: &str, what: UidEventKind) -> Option<u64> {
        if !self.shared.kinds.has(what.kind()) || !self.has_place() {
            return None;
        }
        self.shared.held.fetch_add(1, Ordering::Relaxed);
        Some(self.held.wait(uid, wall_millis(), what))
    }

    /// One that waits is settled: whether other nodes have the uid, and how many have not said.
    pub fn settle(&mut self, uid: &str, number: u64, is_elsewhere: bool, nodes: u32) {
        let free = self.held.settle(uid, number, |what| match what {
            UidEventKind::Connect { first, unknown, .. } => {
                (*first, *unknown) = (*first && !is_elsewhere, nodes);
            }
            UidEventKind::Disconnect { last, unknown, .. } => {
                (*last, *unknown) = (*last && !is_elsewhere, nodes);
            }
            _ => {}
        });
        for event in free {
            self.shared.held.fetch_sub(1, Ordering::Relaxed);
            self.send(uid, event.at, event.what);
        }
    }

    /// Whether events wait to be settled.
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// They wait no more: the core ends.
    pub fn tell_held(&mut self) {
        for (uid, event) in self.held.take_all() {
            self.shared.held.fetch_sub(1, Ordering::Relaxed);
            self.send(&uid, event.at, event.what);
        }
    }

    /// Whether there is a place for one more. Otherwise it is dropped.
    fn has_place(&mut self) -> bool {
        let has_place = self.shared.places() < self.shared.events_max;
        if !has_place {
            self.drop_one();
        }
        has_place
    }

    /// One is dropped. Its number shows that.
    fn drop_one(&mut self) {
        self.number += 1;
        self.tally().dropped.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.shared.full.may_log(Instant::now()) {
            warn!(
                more,
                "webhooks: queue_events_max events wait already; this one is dropped"
            );
        }
    }

    fn send(&mut self, uid: &str, at: u64, what: UidEventKind) {
        let bytes = what.bytes();
        let event = UidEvent {
            core: self.core,
            number: self.number + 1,
            at,
            uid: Box::from(uid),
            what,
        };
        match self.shared.queue.try_send(event) {
            Ok(()) => self.number += 1,
            Err(_) => {
                self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.drop_one();
            }
        }
    }

    /// Whether anybody is to know who comes or goes.
    pub fn wants_ends(&self) -> bool {
        let kinds = &self.shared.kinds;
        kinds.has(EventKinds::CONNECT) || kinds.has(EventKinds::DISCONNECT)
    }

    /// How many it has told, those that were dropped included.
    pub fn told(&self) -> u64 {
        self.number
    }

    /// Those to come are numbered behind this one, which an earlier process has told of this core's.
    pub fn tell_behind(&mut self, number: u64) {
        self.number = self.number.max(number);
    }

    /// Whether clients' messages are wanted.
    pub fn wants_messages(&self) -> bool {
        self.shared.kinds.has(EventKinds::MESSAGE)
    }

    /// Whether a client that says something is read on; a later one has room again when fewer wait than that.
    pub fn has_message_room(&self, again: bool) -> bool {
        self.shared.has_room(if again { 3 } else { 4 })
    }

    /// Puts a client's message into the queue, if there is room. It is told where that does not go, so nothing of it is
    /// counted as lost. `beyond`: the client is not read until there is room again, so that this one is taken even so, in
    /// all but the worst case.
    pub fn tell_message(&mut self, uid: &str, message: ClientMessage, beyond: bool) -> MessageTold {
        if !self.wants_messages() {
            return MessageTold::Unwanted;
        }
        if !self.shared.has_room(if beyond { 6 } else { 4 }) {
            return MessageTold::Full;
        }
        let what = UidEventKind::Message(Box::new(message));
        let bytes = what.bytes();
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.held.has(uid) {
            self.shared.held.fetch_add(1, Ordering::Relaxed);
            self.held.follow(uid, wall_millis(), what);
            return MessageTold::Taken;
        }
        let event = UidEvent {
            core: self.core,
            number: self.number + 1,
            at: wall_millis(),
            uid: Box::from(uid),
            what,
        };
        if self.shared.queue.try_send(event).is_err() {
            self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return MessageTold::Full;
        }
        self.number += 1;
        MessageTold::Taken
    }

    /// What has become of this core's events.
    pub fn tally(&self) -> &Tally {
        &self.shared.tallies[self.core.index()]
    }
}

fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kick(connections: u32) -> UidEventKind {
        UidEventKind::Kick {
            connections,
            by: KickedBy::App,
        }
    }

    #[test]
    fn the_queue_takes_as_many_as_it_may_and_drops_the_newest() {
        for (told, dropped) in [(2, 0), (3, 0), (4, 1)] {
            let (reporting, taken) = Reporting::new(EventKinds::ALL, (3, 1_000), 2);
            let mut reporter = reporting.reporter(CoreId(1));
            for number in 1..=told {
                reporter.tell("tom", kick(number));
            }
            let numbers: Vec<u64> = taken.try_iter().map(|event| event.number).collect();
            let kept = u64::from(told) - dropped;
            assert_eq!(numbers, (1..=kept).collect::<Vec<_>>());
            assert_eq!(reporter.tally().dropped.load(Ordering::Relaxed), dropped);
            // The gap shows in the next one's number.
            reporter.tell("tom", kick(9));
            assert_eq!(taken.recv().unwrap().number, u64::from(told) + 1);
            let others = reporting.tallies()[0].dropped.load(Ordering::Relaxed);
            assert_eq!(others, 0);
        }
    }

    #[test]
    fn a_place_in_the_queue_is_small() {
        assert!(size_of::<UidEvent>() <= 120, "{}", size_of::<UidEvent>());
    }

    #[test]
    fn messages_leave_room_for_all_else() {
        let (reporting, taken) = Reporting::new(EventKinds::ALL, (80, 8_000), 1);
        let mut reporter = reporting.reporter(CoreId(0));
        let of = Origin {
            connection: ConnName::from((0, 1)),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            listener: 0,
            attributes: None,
        };
        let mut fill = |beyond, bytes: usize| {
            let said = Said::Plain(vec![b'x'; bytes].into());
            let message = ClientMessage {
                of: of.clone(),
                request: None,
                said,
            };
            let told = (0..100).map(|_| reporter.tell_message("tom", message.clone(), beyond));
            told.filter(|told| *told == MessageTold::Taken).count()
        };
        assert_eq!(fill(false, 0), 4_000_usize.div_ceil(MESSAGE_COST));
        assert_eq!(fill(false, 0), 0);
        assert_eq!(fill(true, 1_000), 2);
        for event in taken.try_iter() {
            reporting
                .bytes()
                .fetch_sub(event.what.bytes(), Ordering::Relaxed);
        }
        assert_eq!(reporting.bytes().load(Ordering::Relaxed), 0);
        let (reporting, _taken) = Reporting::new(EventKinds::KICK, (80, 8_000), 1);
        let mut reporter = reporting.reporter(CoreId(0));
        let message = ClientMessage {
            of,
            request: None,
            said: Said::Text("x".into()),
        };
        let told = reporter.tell_message("tom", message, true);
        assert_eq!(told, MessageTold::Unwanted);
    }

    #[test]
    fn kinds_that_nobody_wants_are_not_told() {
        let (reporting, taken) = Reporting::new(EventKinds::CONNECT, (3, 1_000), 1);
        reporting.reporter(CoreId(0)).tell("tom", kick(1));
        assert!(taken.is_empty());
    }

    #[test]
    fn nobody_takes_them_any_more() {
        let (reporting, taken) = Reporting::new(EventKinds::ALL, (3, 1_000), 1);
        drop(taken);
        let mut reporter = reporting.reporter(CoreId(0));
        reporter.tell("tom", kick(1));
        assert_eq!(reporter.tally().dropped.load(Ordering::Relaxed), 1);
    }
}
