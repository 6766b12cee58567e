//! [`Broadcast`]: the first connection of the first generator sends to everybody, with a window: the
//! next one leaves when the one a window before has reached all connections of all generators. At a
//! rate, as many as the window holds become due together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::crowd::{Crowd, ERROR};
use super::driven::{BACKLOG_BYTES_MAX, Workload};
use crate::ledger::Sequence;
use crate::pace::Pace;
use crate::plan::{Plan, Share};
use crate::record::Record;
use crate::shared::{Phase, Shared};
use crate::stamp::{EVERYBODY, Stamp};
use crate::wire::{Client, Ending, Pool};

/// Room that TCP and the outboxes have anyway: past this many of one sender the rate holds back.
const AHEAD_MAX: u32 = 1 << 16;

/// Everybody listens; generator 0 also speaks.
pub struct Broadcast {
    plan: Arc<Plan>,
    share: Share,
    shared: Arc<Shared>,
    pub crowd: Crowd,
    pub record: Record,
    /// What each slot has received.
    sequences: Vec<Sequence>,
    /// How many slots have each message, from the first that not all have.
    counts: VecDeque<usize>,
    complete: u32,
    /// No more are sent.
    most: u32,
    pace: Option<Pace>,
    body: Vec<u8>,
}

impl Broadcast {
    pub fn new(plan: &Arc<Plan>, share: Share, shared: &Arc<Shared>) -> Broadcast {
        let mut sequences = Vec::new();
        sequences.resize_with(share.connections, Sequence::default);
        Broadcast {
            plan: Arc::clone(plan),
            share,
            shared: Arc::clone(shared),
            crowd: Crowd::new(plan, share, share.connections),
            record: Record::default(),
            sequences,
            counts: VecDeque::new(),
            complete: 0,
            most: u32::MAX,
            pace: share
                .rate
                .map(|rate| Pace::new(rate / share.in_flight as f64)),
            body: Vec::new(),
        }
    }

    /// A broadcast of so many messages and no more.
    pub fn at_most(self, most: u32) -> Broadcast {
        Broadcast { most, ..self }
    }

    fn sent(&self) -> u32 {
        self.shared.broadcasts.load(Ordering::Acquire)
    }

    fn say(&mut self, pool: &mut Pool, time: u64) {
        let sequence = self.sent();
        self.body.clear();
        if self.plan.target.codec.has_addresses() {
            self.body.extend_from_slice(b"all:");
        }
        let stamp = Stamp {
            sender: self.share.first as u32,
            receiver: EVERYBODY,
            sequence,
            time,
        };
        stamp.write(self.plan.size, &mut self.body);
        // Before it leaves, so that no receiver finds it unsent.
        self.shared
            .broadcasts
            .store(sequence + 1, Ordering::Release);
        pool.send(0, &self.body);
    }

    /// One more slot has a message: perhaps the last one.
    fn tick_off(&mut self, sequence: u32) {
        let at = sequence.wrapping_sub(self.complete) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        let before = self.complete;
        while self
            .counts
            .front()
            .is_some_and(|count| *count >= self.crowd.len())
        {
            self.counts.pop_front();
            self.complete += 1;
        }
        if self.complete != before {
            let gauges = &self.shared.gauges;
            gauges[self.share.number]
                .broadcasts
                .store(self.complete, Ordering::Release);
            if self.share.number != 0 {
                gauges[0].wake.ring();
            }
        }
    }
}

impl Client for Broadcast {
    fn opened(&mut self, pool: &mut Pool, slot: usize, _: u64) {
        self.crowd.opened(pool, slot);
    }

    fn message(&mut self, _: &mut Pool, slot: usize, message: &[u8], now: u64) {
        if self.crowd.message(slot, message, &mut self.record) {
            return;
        }
        if message.starts_with(ERROR) {
            self.record.faults.refused += 1;
            self.record
                .problem(|| format!("the server says \"{}\"", message.escape_ascii()));
            return;
        }
        let stamp = match Stamp::read(message) {
            Some(stamp) if stamp.receiver == EVERYBODY => stamp,
            _ => return self.record.corrupt(message),
        };
        let sent = self.sent();
        let arrival = self.sequences[slot].arrive(stamp.sequence, sent);
        if self.record.faults.count(arrival) {
            self.record.deliver(stamp.time, now);
            if stamp.sequence >= self.complete {
                self.tick_off(stamp.sequence);
            }
        }
    }

    fn ended(&mut self, _: &mut Pool, slot: usize, ending: Ending, _: u64) {
        self.crowd.ended(slot, &ending, &mut self.record);
    }
}

impl Workload for Broadcast {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        if phase == Phase::Setup {
            self.crowd.open(pool, &mut self.record, now);
        }
        if !phase.is_running() || self.share.senders == 0 {
            return u64::MAX;
        }
        let complete = self.shared.broadcasts_complete();
        let Some(mut pace) = self.pace.take() else {
            while self.sent() - complete < self.share.in_flight as u32
                && self.sent() < self.most
                && pool.is_open(0)
            {
                self.say(pool, now);
            }
            return u64::MAX;
        };
        while pool.backlog(0) <= BACKLOG_BYTES_MAX && self.sent() - complete < AHEAD_MAX {
            let Some(due) = pace.take(now) else { break };
            for _ in 0..self.share.in_flight {
                self.say(pool, due);
            }
        }
        let next = pace.next(now);
        self.pace = Some(pace);
        next
    }

    fn crowd(&self) -> Option<&Crowd> {
        Some(&self.crowd)
    }

    fn is_quiet(&self) -> bool {
        self.complete == self.sent()
    }

    fn conclude(&mut self) {
        let sent = self.sent();
        let lost = self.sequences.iter().map(|one| one.lost(sent));
        self.record.faults.lost += lost.sum::<u64>();
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}
