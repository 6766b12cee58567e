//! What happens to uids, for those outside who want to know: [`UidEvent`]s, and each core's [`Reporter`], which puts
//! them where one thread takes them.
//!
//! Made by `shard` where binds, ends and kicks are decided, taken by `net::webhooks`. A core never waits: the queue
//! is bounded, for all cores together, and an event that finds it full is dropped, counted and logged. It is the
//! newest that goes, since taking out an old one would have the core wait for whoever takes them; and each event has
//! its number among those of its core, so that what is missing shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
}

impl UidEventKind {
    fn kind(&self) -> EventKinds {
        match self {
            UidEventKind::Connect { .. } => EventKinds::CONNECT,
            UidEventKind::Disconnect { .. } => EventKinds::DISCONNECT,
            UidEventKind::Kick { .. } => EventKinds::KICK,
            UidEventKind::Expired { .. } => EventKinds::EXPIRED,
        }
    }
}

/// Which connection it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub connection: ConnName,
    pub peer: SocketAddr,
    pub listener: u16,
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
        assert!(size_of::<UidEvent>() <= 96, "{}", size_of::<UidEvent>());
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
