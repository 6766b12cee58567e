//! The delivering thread's work: [`Delivery`] takes events from the queue, makes batches of them and has each
//! delivered before the next, so that what happens to a uid arrives in order.
//!
//! Bound: one batch beside the queue. Whatever the receiver does, no core notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use crossbeam_channel::{Receiver, TryRecvError};
use tracing::{error, info, warn};

use super::attempt::{AttemptResult, Backoff};
use super::batch::BatchSender;
use super::clock::Clock;
use super::post::Post;
use super::signature::sign;
use crate::config::Webhooks;
use crate::events::{Tally, UidEvent};
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
    /// The batch that is being made or delivered.
    batch: Vec<UidEvent>,
    /// How many it holds, for whoever waits for the end.
    under_way: Arc<AtomicUsize>,
    /// Batches that have been begun.
    number: u64,
    /// Lost events that the receiver has been told of.
    told: u64,
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
            batch: Vec::new(),
            under_way: Arc::default(),
            number: 0,
            told: 0,
            in_vain: 0,
            complaints: LogLimiter::default(),
        }
    }

    /// How many events are neither in the queue nor done with.
    pub fn under_way(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.under_way)
    }

    /// Delivers until every core has ended and the queue is empty, or the time for that is over.
    pub fn run(&mut self) {
        while let Ok(first) = self.queue.recv() {
            self.collect(first);
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
            match self.queue.try_recv() {
                Ok(event) => {
                    bytes += event.what.bytes();
                    self.add(event);
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    let left = due.saturating_duration_since(self.clock.now());
                    if left.is_zero() || self.clock.until().is_some() {
                        return;
                    }
                    self.clock.pause(left.min(LOOK_INTERVAL));
                }
            }
        }
    }

    fn add(&mut self, event: UidEvent) {
        self.batch.push(event);
        self.under_way.store(self.batch.len(), Ordering::Release);
    }

    /// Delivers the batch, however often it takes; its bytes stay what they are.
    fn deliver(&mut self) {
        self.number += 1;
        let lost = self.lost();
        let body = self
            .sender
            .encode(self.number, lost - self.told, &self.batch);
        let began = self.clock.now();
        loop {
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
        self.tallies.iter().map(lost).sum()
    }

    fn finish_batch(&mut self, count: impl Fn(&Tally) -> &std::sync::atomic::AtomicU64) {
        for event in self.batch.drain(..) {
            count(&self.tallies[event.core.index()]).fetch_add(1, Ordering::Relaxed);
            self.queued_bytes
                .fetch_sub(event.what.bytes(), Ordering::Relaxed);
        }
        self.under_way.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
