//! The masters of a Redis Cluster that a node is connected to: [`Masters`]. Each has one pair of connections, which all
//! partitions of the node share that live there ([`SharedPlace`]).
//!
//! A partition leaves the pair alone when its slot has another master: Redis has unsubscribed all that is in it, and the
//! channel by which others see that all is subscribed is left in any case, before it is joined anew. Whatever else goes wrong
//! with one, such as an answer that is late, ends the pair, so that no subscription stands that nobody listens to; all of its
//! partitions join anew, each after a pause of its own, and the first makes the next pair. Bound: a pair for each master, and
//! [`TOLD_MAX`] lines of the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ahash::{AHashMap, AHashSet};
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, RedisError};
use tokio::sync::oneshot::Receiver;

use super::arrivals::{Arriving, arrivals};
use super::interests::SubscriptionChange;
use super::life_line::LifeConnection;
use super::pair::ConnectionPair;
use super::pubsub::PubSub;
use super::switchboard::{Switchboard, tag_in};
use super::target::RedisTarget;
use super::words::NO_ANSWER;

/// Reasons that the log was told of, until one more is told anew.
const TOLD_MAX: usize = 256;

type PairSlot = Arc<tokio::sync::Mutex<Weak<SharedPair>>>;

/// See the module.
#[derive(Default)]
pub struct Masters {
    /// By their addresses.
    pairs: Mutex<AHashMap<String, PairSlot>>,
    /// What the log was told since a master was joined last.
    told: Mutex<AHashSet<String>>,
}

/// Two connections to a master.
struct SharedPair {
    connections: ConnectionPair,
    board: Switchboard,
    /// A third connection, for the life lines.
    lives: Arc<LifeConnection>,
    /// Where it is.
    address: String,
    /// The log knows that it is joined.
    is_told: AtomicBool,
}

impl Masters {
    /// A partition enters the pair of its master, at this target, which is made if there is none.
    pub async fn enter(
        &self,
        (target, slot): (&RedisTarget, u16),
        client: &Client,
        channels: &[String],
    ) -> Result<(SharedPlace, Arriving), String> {
        let kept = self.pair_slot(&target.address);
        let mut kept = kept.lock().await;
        let is_there = |pair: &Arc<SharedPair>| pair.board.end_reason().is_none();
        let pair = match kept.upgrade().filter(is_there) {
            Some(pair) => pair,
            None => {
                let board = Switchboard::default();
                let connections = ConnectionPair::open(target, client, board.clone()).await?;
                self.told().clear();
                let pair = Arc::new(SharedPair {
                    connections,
                    board,
                    lives: LifeConnection::new(client.clone(), PubSub::Sharded),
                    address: target.address.clone(),
                    is_told: AtomicBool::new(false),
                });
                *kept = Arc::downgrade(&pair);
                pair
            }
        };
        drop(kept);
        let standing = channels.last().map_or("", String::as_str);
        let (arrivals, arriving) = arrivals(standing);
        let tag = tag_in(standing).unwrap_or_default();
        let entered = pair.board.enter(tag, arrivals);
        let number = entered.map_err(|reason| reason.to_string())?;
        let place = SharedPlace {
            pair,
            tag: Box::from(tag),
            number,
            standing: Box::from(standing),
            slot,
        };
        Ok((place, arriving))
    }

    fn told(&self) -> MutexGuard<'_, AHashSet<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place for a master's pair, which may be none yet.
    fn pair_slot(&self, address: &str) -> PairSlot {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that somebody is about to fill are held.
        let is_used = |slot: &PairSlot| match slot.try_lock() {
            Ok(kept) => kept.strong_count() > 0 || Arc::strong_count(slot) > 1,
            Err(_) => true,
        };
        pairs.retain(|_, slot| is_used(slot));
        Arc::clone(pairs.entry(address.to_owned()).or_default())
    }

    /// Whether the log is to be told this, which partitions may tell it one like the other.
    pub fn may_tell(&self, line: &str) -> bool {
        let mut told = self.told();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(line.to_owned())
    }
}

/// What a partition has asked is waited for. Dropped meanwhile, the time is over: the pair is no good.
pub struct AwaitedAnswers(Option<Arc<SharedPair>>);

impl AwaitedAnswers {
    /// They have come, whatever they are.
    pub fn have_come(mut self) {
        self.0 = None;
    }
}

impl Drop for AwaitedAnswers {
    fn drop(&mut self) {
        if let Some(pair) = &self.0 {
            pair.board.end(NO_ANSWER);
        }
    }
}

/// A partition's on the connections of its master. With it the partition leaves.
pub struct SharedPlace {
    pair: Arc<SharedPair>,
    tag: Box<str>,
    number: u64,
    /// By which others see that all is subscribed.
    standing: Box<str>,
    slot: u16,
}

impl SharedPlace {
    /// Where the master is.
    pub fn address(&self) -> &str {
        &self.pair.address
    }

    /// Whether it is the first that asks so: the log is told once that the master is joined.
    pub fn is_first(&self) -> bool {
        !self.pair.is_told.swap(true, Ordering::Relaxed)
    }

    /// The pair is no good: all that have a place there are told.
    pub fn end_all(&self, reason: &str) {
        self.pair.board.end(reason);
    }

    /// The connections.
    pub fn connections(&self) -> ConnectionPair {
        self.pair.connections.clone()
    }

    /// For a life line.
    pub fn lives(&self) -> &Arc<LifeConnection> {
        &self.pair.lives
    }

    /// From now on answers are waited for.
    pub fn await_answers(&self) -> AwaitedAnswers {
        AwaitedAnswers(Some(Arc::clone(&self.pair)))
    }

    /// What is about to be changed.
    pub fn expect(&self, change: &Arc<SubscriptionChange>) -> ExpectedChange {
        ExpectedChange {
            confirmed: self.pair.board.expect(&self.tag, change),
            slot: self.slot,
        }
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        if !self.pair.board.leave(&self.tag, self.number) {
            return;
        }
        let connections = &self.pair.connections;
        if !connections.forget(PubSub::Sharded, &self.standing) {
            self.end_all("a partition has left");
        }
    }
}

/// A change of subscriptions by a pair that others use as well.
pub struct ExpectedChange {
    confirmed: Receiver<()>,
    slot: u16,
}

impl ExpectedChange {
    /// Has Redis do it, and waits until it has.
    pub async fn change(
        self,
        connection: &mut MultiplexedConnection,
        change: &SubscriptionChange,
    ) -> Result<(), RedisError> {
        match PubSub::Sharded.change(connection, change).await {
            // The client may have taken it for an answer to this one.
            Err(error) if is_of_another_slot(&error, self.slot) => {}
            done => done?,
        }
        let ended = |_| RedisError::from((ErrorKind::Io, "the connection has ended"));
        self.confirmed.await.map_err(ended)
    }
}

/// Whether it says that a slot has moved, and not this one.
fn is_of_another_slot(error: &RedisError, slot: u16) -> bool {
    let named = error.detail().and_then(|detail| detail.split(' ').next());
    error.code() == Some("MOVED") && named.and_then(|slot| slot.parse().ok()) != Some(slot)
}
