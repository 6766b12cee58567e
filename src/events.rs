//! What happens to uids, for those outside who want to know: [`UidEvent`]s, and each core's [`Reporter`], which puts
//! them where one thread takes them.
//!
//! Made by `shard` where binds, ends and kicks are decided, taken by `net::webhooks`. A core never waits: the queue
//! is bounded, for all cores together, and an event that finds it full is dropped, counted and logged. It is the
//! newest that goes, since taking out an old one would have the core wait for whoever takes them; and each event has
//! its number among those of its core, so that what is missing shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::warn;

use crate::close::CloseReason;
use crate::config::EventKinds;
use crate::ident::{ConnName, CoreId};
use crate::log_limiter::SharedLogLimiter;

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
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

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UidEventKind {
    /// A connection has bound the uid; whether it is the only one of its app's.
    Connect { of: Origin, first: bool },
    /// One that had bound it has ended; whether none of its app's is left.
    Disconnect {
        of: Origin,
        reason: CloseReason,
        last: bool,
    },
    /// So many of them are to be closed.
    Kick { connections: u32, by: KickedBy },
    /// So many messages that waited for its login are gone.
    Expired { messages: u32 },
    /// A client of it has something to say.
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
}

/// What a client says to the back end.
#[derive(Clone, Debug)]
pub struct ClientMessage {
    pub of: Origin,
    /// The `id` by which the client has sent it, as JSON: one that it sends anew has it again.
    pub request: Option<Box<str>>,
    pub said: Said,
    /// Of what all messages in the queue may take.
    _share: Arc<QueueShare>,
}

#[cfg(test)]
impl ClientMessage {
    /// One that takes no room of others.
    pub fn new(of: Origin, said: Said) -> ClientMessage {
        let share = QueueShare::take(0, &Arc::default());
        ClientMessage {
            of,
            request: None,
            said,
            _share: Arc::new(share.expect("nothing is no share")),
        }
    }
}

impl PartialEq for ClientMessage {
    fn eq(&self, other: &ClientMessage) -> bool {
        (&self.of, &self.request, &self.said) == (&other.of, &other.request, &other.said)
    }
}

impl Eq for ClientMessage {}

/// It as the client has written it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    Text(Box<str>),
    /// JSON.
    Data(Box<str>),
}

impl Said {
    /// The text, or the JSON.
    pub fn text(&self) -> &str {
        match self {
            Said::Text(text) | Said::Data(text) => text,
        }
    }
}

/// Why a client's message is not in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotQueued {
    /// Nobody wants such events.
    Unwanted,
    /// There is no room.
    Full,
}

/// Bytes that what clients say may take in the queue, of all cores together.
const SAID_BYTES_MAX: usize = 64 << 20;

/// The bytes of one message among those of all.
#[derive(Debug)]
struct QueueShare {
    bytes: usize,
    of_all: Arc<AtomicUsize>,
}

impl QueueShare {
    fn take(bytes: usize, of_all: &Arc<AtomicUsize>) -> Option<QueueShare> {
        let share = QueueShare {
            bytes,
            of_all: Arc::clone(of_all),
        };
        let before = of_all.fetch_add(bytes, Ordering::Relaxed);
        // What is given back is its own.
        (before + bytes <= SAID_BYTES_MAX).then_some(share)
    }
}

impl Drop for QueueShare {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Which connection it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    pub connection: ConnName,
    pub peer: SocketAddr,
    pub listener: u16,
    /// What a back end keeps of it.
    pub attributes: Option<Box<str>>,
}

/// Who has had a uid's connections closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    tallies: Arc<[Tally]>,
    full: Arc<SharedLogLimiter>,
    /// What clients have said that waits.
    said_bytes: Arc<AtomicUsize>,
}

impl Reporting {
    /// The queue for so many cores, and its other end.
    pub fn new(
        kinds: EventKinds,
        events_max: usize,
        cores: usize,
    ) -> (Reporting, Receiver<UidEvent>) {
        let (queue, taken) = bounded(events_max);
        let reporting = Reporting {
            kinds,
            queue,
            tallies: (0..cores).map(|_| Tally::default()).collect(),
            full: Arc::new(SharedLogLimiter::new()),
            said_bytes: Arc::default(),
        };
        (reporting, taken)
    }

    /// By core.
    pub fn tallies(&self) -> Arc<[Tally]> {
        Arc::clone(&self.tallies)
    }

    /// One core's way into the queue.
    pub fn reporter(&self, core: CoreId) -> Reporter {
        Reporter {
            core,
            number: 0,
            shared: self.clone(),
        }
    }
}

/// One core's way into the queue.
pub struct Reporter {
    core: CoreId,
    number: u64,
    shared: Reporting,
}

impl Reporter {
    /// Puts an event into the queue, if its kind is wanted.
    pub fn tell(&mut self, uid: &str, what: UidEventKind) {
        if !self.shared.kinds.has(what.kind()) {
            return;
        }
        self.number += 1;
        let event = UidEvent {
            core: self.core,
            number: self.number,
            at: wall_millis(),
            uid: Box::from(uid),
            what,
        };
        if self.shared.queue.try_send(event).is_err() {
            self.tally().dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(more) = self.shared.full.may_log(Instant::now()) {
                warn!(
                    more,
                    "webhooks: queue_events_max events wait already; this one is dropped"
                );
            }
        }
    }

    /// Puts what a client says into the queue. It is told where that does not go, so nothing of it is counted as lost.
    pub fn tell_message(
        &mut self,
        uid: &str,
        of: Origin,
        request: Option<&str>,
        said: Said,
    ) -> Result<(), NotQueued> {
        if !self.shared.kinds.has(EventKinds::MESSAGE) {
            return Err(NotQueued::Unwanted);
        }
        let share = QueueShare::take(said.text().len(), &self.shared.said_bytes);
        let share = Arc::new(share.ok_or(NotQueued::Full)?);
        let message = ClientMessage {
            of,
            request: request.map(Box::from),
            said,
            _share: share,
        };
        let event = UidEvent {
            core: self.core,
            number: self.number + 1,
            at: wall_millis(),
            uid: Box::from(uid),
            what: UidEventKind::Message(Box::new(message)),
        };
        let queued = self.shared.queue.try_send(event);
        queued.map_err(|_| NotQueued::Full)?;
        self.number += 1;
        Ok(())
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
            let (reporting, taken) = Reporting::new(EventKinds::ALL, 3, 2);
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
        assert!(size_of::<UidEvent>() <= 112, "{}", size_of::<UidEvent>());
    }

    #[test]
    fn what_clients_say_is_bounded_and_refused_beyond() {
        let of = Origin {
            connection: ConnName::from((1, 7)),
            peer: "192.0.2.7:4711".parse().unwrap(),
            listener: 0,
            attributes: None,
        };
        let said = |bytes: usize| Said::Text("x".repeat(bytes).into());
        let (reporting, taken) = Reporting::new(EventKinds::ALL, 3, 1);
        let mut reporter = reporting.reporter(CoreId(0));
        let half = SAID_BYTES_MAX / 2;
        assert_eq!(
            reporter.tell_message("tom", of.clone(), None, said(half)),
            Ok(())
        );
        let full = Err(NotQueued::Full);
        assert_eq!(
            reporter.tell_message("tom", of.clone(), None, said(half + 1)),
            full
        );
        assert_eq!(
            reporter.tell_message("tom", of.clone(), None, said(half)),
            Ok(())
        );
        assert_eq!(
            reporter.tell_message("tom", of.clone(), None, said(1)),
            full
        );
        // What was refused leaves no gap, and what is taken makes room.
        let numbers: Vec<u64> = taken.try_iter().map(|event| event.number).collect();
        assert_eq!(numbers, [1, 2]);
        for _ in 0..3 {
            assert_eq!(
                reporter.tell_message("tom", of.clone(), None, said(1)),
                Ok(())
            );
        }
        assert_eq!(
            reporter.tell_message("tom", of.clone(), None, said(1)),
            full
        );
        assert_eq!(taken.try_iter().count(), 3);
        assert_eq!(reporting.said_bytes.load(Ordering::Relaxed), 0);
        let (reporting, _taken) = Reporting::new(EventKinds::CONNECT, 3, 1);
        let mut reporter = reporting.reporter(CoreId(0));
        let unwanted = Err(NotQueued::Unwanted);
        assert_eq!(
            reporter.tell_message("tom", of.clone(), None, said(1)),
            unwanted
        );
    }

    #[test]
    fn kinds_that_nobody_wants_are_not_told() {
        let (reporting, taken) = Reporting::new(EventKinds::CONNECT, 3, 1);
        reporting.reporter(CoreId(0)).tell("tom", kick(1));
        assert!(taken.is_empty());
    }

    #[test]
    fn nobody_takes_them_any_more() {
        let (reporting, taken) = Reporting::new(EventKinds::ALL, 3, 1);
        drop(taken);
        let mut reporter = reporting.reporter(CoreId(0));
        reporter.tell("tom", kick(1));
        assert_eq!(reporter.tally().dropped.load(Ordering::Relaxed), 1);
    }
}
