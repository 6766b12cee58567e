//! The delivering thread's work: [`Delivery`] takes events from the queue, makes batches of them and has each
//! delivered before the next, so that what happens to a uid arrives in order.
//!
//! Bound: one batch beside the queue. Whatever the receiver does, no core notices.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use crossbeam_channel::{Receiver, TryRecvError};
use tracing::{error, info, warn};

use super::attempt::{AttemptResult, Backoff};
use super::batch::BatchSender;
use super::clock::{Awaited, Clock, DeliveryCommand};
use super::inheritance::Inheritance;
use super::post::Post;
use super::signature::sign;
use crate::config::Webhooks;
use crate::events::{Tally, UidEvent};
use crate::handover::{WrittenBatch, WrittenWebhooks};
use crate::log_limiter::LogLimiter;

/// While a batch waits for more, whether it is full is looked at so often: a core that told of each event would
/// have to wake this thread for each.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A batch with so much of clients' messages is full.
const BATCH_BYTES: usize = 1 << 20;

/// What it may take.
pub struct DeliveryLimits {
    batch_events_max: usize,
    batch_delay: Duration,
    timeout: Duration,
    retry_timeout: Duration,
}

/// A batch that is sent as it is until it is delivered.
#[derive(Clone, Copy)]
struct BatchBegun {
    began: Instant,
    /// Events that were lost by then, and so many of them that it tells of.
    lost: u64,
    dropped: u64,
}

pub struct Delivery<P, C> {
    queue: Receiver<UidEvent>,
    sender: BatchSender,
    key: hmac::Key,
    post: P,
    pub clock: C,
    limits: DeliveryLimits,
    tallies: Arc<[Tally]>,
    /// What clients' messages take that are not delivered yet.
    queued_bytes: Arc<AtomicUsize>,
    backoff: Backoff,
    /// What is taken out of the queue already, and comes first.
    waiting: VecDeque<UidEvent>,
    /// The batch that is being made or delivered.
    batch: Vec<UidEvent>,
    /// Of one that has been tried.
    begun: Option<BatchBegun>,
    /// How many it holds, for whoever waits for the end.
    under_way: Arc<AtomicUsize>,
    /// Batches that have been begun.
    number: u64,
    /// Lost events that the receiver has been told of, and those of an earlier process that it has not.
    told: u64,
    lost_before: u64,
    /// Requests in vain since the last that was not.
    in_vain: u64,
    complaints: LogLimiter,
}

impl<P: Post, C: Clock> Delivery<P, C> {
    pub fn new(
        config: &Webhooks,
        queue: Receiver<UidEvent>,
        (tallies, queued_bytes): (Arc<[Tally]>, Arc<AtomicUsize>),
        sender: BatchSender,
        (key, post, clock): (hmac::Key, P, C),
    ) -> Delivery<P, C> {
        Delivery {
            queue,
            sender,
            key,
            post,
            clock,
            limits: DeliveryLimits {
                batch_events_max: config.batch_events_max.max(1),
                batch_delay: config.batch_delay,
                timeout: config.timeout,
                retry_timeout: config.retry_timeout,
            },
            tallies,
            queued_bytes,
            backoff: Backoff::new(config.retry_delay_max),
            waiting: VecDeque::new(),
            batch: Vec::new(),
            begun: None,
            under_way: Arc::default(),
            number: 0,
            told: 0,
            lost_before: 0,
            in_vain: 0,
            complaints: LogLimiter::default(),
        }
    }

    /// How many events are neither in the queue nor done with.
    pub fn under_way(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.under_way)
    }

    /// Delivers until every core has ended and the queue is empty, or the time for that is over, or another process delivers.
    pub fn run(&mut self) {
        loop {
            if self.clock.is_held() && !self.rest() {
                return;
            }
            if let Some(inherited) = self.clock.inherit() {
                self.take_over(*inherited);
            }
            if self.batch.is_empty() {
                let first = match self.waiting.pop_front() {
                    Some(first) => first,
                    None => match self.clock.wait(&self.queue) {
                        Awaited::Event(first) => first,
                        Awaited::Command => continue,
                        Awaited::Ended => return,
                    },
                };
                self.collect(first);
            }
            self.deliver();
            if self.time_is_over() {
                return;
            }
        }
    }

    /// Something of ours has panicked: the batch in hand may be why, so it is not tried again.
    pub fn give_up_batch(&mut self) {
        self.finish_batch(|tally| &tally.failed);
    }

    fn time_is_over(&self) -> bool {
        self.clock
            .until()
            .is_some_and(|until| self.clock.now() >= until)
    }

    /// Sends nothing until it is to go on. False if it is over for good.
    fn rest(&mut self) -> bool {
        loop {
            match self.clock.command() {
                Some(DeliveryCommand::Hold(reply)) => _ = reply.send(()),
                Some(DeliveryCommand::Pack(reply)) => {
                    self.waiting.extend(self.queue.try_iter());
                    self.count_under_way();
                    let _ = reply.send(self.pack());
                }
                Some(DeliveryCommand::GoOn | DeliveryCommand::Close(_)) => return true,
                Some(DeliveryCommand::TakeOver(inherited)) => self.take_over(*inherited),
                None => return false,
            }
        }
    }

    /// What another process needs to deliver all that is not delivered.
    fn pack(&self) -> Inheritance {
        let begun = self.begun.map(|begun| WrittenBatch {
            events: self.batch.len() as u32,
            dropped: begun.dropped,
            ago: self.clock.now().saturating_duration_since(begun.began),
        });
        let listeners = self.sender.listeners.iter();
        Inheritance {
            written: WrittenWebhooks {
                server: Box::from(&*self.sender.server),
                batches: self.number,
                begun,
                untold: self.lost() - self.told,
                listeners: listeners
                    .map(|one| (one.app.clone(), Box::from(&*one.url)))
                    .collect(),
            },
            events: self.batch.iter().chain(&self.waiting).cloned().collect(),
        }
    }

    /// Goes on where another process has stopped: nothing has been sent here.
    fn take_over(&mut self, inherited: Inheritance) {
        let Inheritance {
            written,
            mut events,
        } = inherited;
        let names = self.sender.numbers_of(written.listeners);
        for event in &mut events {
            if let Some(listener) = event.what.listener()
                && let Some(here) = names.get(usize::from(*listener))
            {
                *listener = *here;
            }
            let bytes = event.what.bytes();
            self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if !written.server.is_empty() {
            self.sender.server = written.server.into();
        }
        self.number = self.number.max(written.batches);
        self.lost_before += written.untold;
        let own = std::mem::take(&mut self.waiting);
        self.waiting.extend(events);
        self.waiting.extend(own);
        if let Some(begun) = written.begun.filter(|_| self.batch.is_empty()) {
            let count = self.waiting.len().min(begun.events as usize);
            self.batch.extend(self.waiting.drain(..count));
            let now = self.clock.now();
            self.begun = Some(BatchBegun {
                began: now.checked_sub(begun.ago).unwrap_or(now),
                lost: self.lost(),
                dropped: begun.dropped,
            });
        }
        self.count_under_way();
    }

    fn count_under_way(&self) {
        let count = self.batch.len() + self.waiting.len();
        self.under_way.store(count, Ordering::Release);
    }

    /// The next event, if one is there.
    fn next(&mut self) -> Result<UidEvent, TryRecvError> {
        match self.waiting.pop_front() {
            Some(event) => Ok(event),
            None => self.queue.try_recv(),
        }
    }

    /// Waits until the batch is full, or old enough, or nobody is left to add to it.
    fn collect(&mut self, first: UidEvent) {
        let due = self.clock.now() + self.limits.batch_delay;
        self.add(first);
        let mut bytes = self
            .batch
            .iter()
            .map(|event| event.what.bytes())
            .sum::<usize>();
        while self.batch.len() < self.limits.batch_events_max && bytes < BATCH_BYTES {
            match self.next() {
                Ok(event) => {
                    bytes += event.what.bytes();
                    self.add(event);
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    let left = due.saturating_duration_since(self.clock.now());
                    if left.is_zero() || self.clock.until().is_some() || self.clock.is_held() {
                        return;
                    }
                    self.clock.pause(left.min(LOOK_INTERVAL));
                }
            }
        }
    }

    fn add(&mut self, event: UidEvent) {
        self.batch.push(event);
        self.count_under_way();
    }

    /// Numbers the batch, if that is not done.
    fn begin(&mut self) -> BatchBegun {
        if let Some(begun) = self.begun {
            return begun;
        }
        self.number += 1;
        let lost = self.lost();
        let begun = BatchBegun {
            began: self.clock.now(),
            lost,
            dropped: lost - self.told,
        };
        self.begun = Some(begun);
        begun
    }

    /// Delivers the batch, however often it takes; its bytes stay what they are. Not to its end if nothing is to be sent.
    fn deliver(&mut self) {
        let BatchBegun {
            began,
            lost,
            dropped,
        } = self.begin();
        let body = self.sender.encode(self.number, dropped, &self.batch);
        loop {
            if self.clock.is_held() {
                return;
            }
            let mut timeout = self.limits.timeout;
            if let Some(until) = self.clock.until() {
                timeout = timeout.min(until.saturating_duration_since(self.clock.now()));
                if timeout.is_zero() {
                    return;
                }
            }
            let signature = sign(&self.key, self.clock.wall_seconds(), &body);
            match self.post.post(&body, &signature, timeout) {
                AttemptResult::Delivered => {
                    self.told = lost;
                    self.delivered();
                    return;
                }
                AttemptResult::Refused { why } => {
                    let events = self.batch.len();
                    error!(%why, events, "webhooks: a batch was refused; it is dropped");
                    self.finish_batch(|tally| &tally.failed);
                    return;
                }
                AttemptResult::Later { why, after } => {
                    if !self.wait(&why, after, began) {
                        return;
                    }
                }
            }
        }
    }

    fn delivered(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.in_vain) > 0 {
            info!("webhooks: the receiver takes them again");
        }
        self.finish_batch(|tally| &tally.sent);
    }

    /// Pauses before the next request; false if there is to be none.
    fn wait(&mut self, why: &str, after: Option<Duration>, began: Instant) -> bool {
        let now = self.clock.now();
        let waiting = self.queue.len() + self.batch.len();
        if now.saturating_duration_since(began) >= self.limits.retry_timeout {
            let events = self.batch.len();
            error!(
                why,
                events, "webhooks: not delivered within retry_timeout; the batch is dropped"
            );
            self.finish_batch(|tally| &tally.failed);
            return false;
        }
        self.in_vain += 1;
        if let Some(more) = self.complaints.may_log(now) {
            let tried = self.in_vain;
            warn!(
                why,
                tried, waiting, more, "webhooks: not delivered yet; trying again"
            );
        }
        // Not sooner for a receiver that says "at once".
        let pause = self.backoff.pause(self.clock.random());
        let spent = now.saturating_duration_since(began);
        let left = self.limits.retry_timeout.saturating_sub(spent);
        let mut pause = after.unwrap_or(pause).max(pause).min(left);
        if let Some(until) = self.clock.until() {
            pause = pause.min(until.saturating_duration_since(now));
        }
        self.clock.pause(pause);
        true
    }

    /// Events that nobody will get.
    fn lost(&self) -> u64 {
        let lost = |tally: &Tally| {
            tally.dropped.load(Ordering::Relaxed) + tally.failed.load(Ordering::Relaxed)
        };
        self.lost_before + self.tallies.iter().map(lost).sum::<u64>()
    }

    fn finish_batch(&mut self, count: impl Fn(&Tally) -> &std::sync::atomic::AtomicU64) {
        for event in self.batch.drain(..) {
            // One of an earlier process may be of a core that is none here.
            let own = self.tallies.get(event.core.index());
            let tally = own.unwrap_or(&self.tallies[0]);
            count(tally).fetch_add(1, Ordering::Relaxed);
            self.queued_bytes
                .fetch_sub(event.what.bytes(), Ordering::Relaxed);
        }
        self.begun = None;
        self.count_under_way();
    }
}

#[cfg(test)]
mod tests;
