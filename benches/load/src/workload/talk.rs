//! [`Talk`]: `echo`, in which everybody sends to himself, and `relay`, in which some send to anybody.
//!
//! A sender's receivers are connections of the same generator, so that every message is accounted for
//! where it was sent. The server cannot tell: their uids lie on all of its cores.

use std::sync::Arc;

use super::crowd::{Crowd, ERROR};
use super::driven::{BACKLOG_BYTES_MAX, Workload};
use crate::ledger::Inbox;
use crate::pace::Pace;
use crate::plan::{Kind, Plan, Share};
use crate::random::Random;
use crate::record::Record;
use crate::shared::Phase;
use crate::stamp::Stamp;
use crate::wire::{Client, Ending, Pool};

/// Senders with a window each, or with a rate together.
pub struct Talk {
    plan: Arc<Plan>,
    share: Share,
    pub crowd: Crowd,
    pub record: Record,
    /// Messages sent by each of the first slots: the next sequence.
    sent: Vec<u32>,
    /// What is on its way to each slot.
    inboxes: Vec<Inbox>,
    in_flight: usize,
    pace: Option<Pace>,
    /// Whose turn it is at a fixed rate.
    next: usize,
    phase: Phase,
    is_primed: bool,
    random: Random,
    body: Vec<u8>,
}

impl Talk {
    pub fn new(plan: &Arc<Plan>, share: Share) -> Talk {
        Talk::among(plan, share, share.connections)
    }

    /// With the first `len` slots only.
    pub fn among(plan: &Arc<Plan>, share: Share, len: usize) -> Talk {
        let mut inboxes = Vec::new();
        inboxes.resize_with(len, Inbox::default);
        Talk {
            plan: Arc::clone(plan),
            share,
            crowd: Crowd::new(plan, share, len),
            record: Record::default(),
            sent: vec![0; share.senders.min(len)],
            inboxes,
            in_flight: 0,
            pace: share.rate.map(Pace::new),
            next: 0,
            phase: Phase::Setup,
            is_primed: false,
            random: Random::new(plan.seed, share.number),
            body: Vec::new(),
        }
    }

    /// Sends one message of a sender.
    fn say(&mut self, pool: &mut Pool, sender: usize, time: u64) {
        if !pool.is_open(sender) {
            return;
        }
        let receiver = match self.plan.kind {
            Kind::Echo => sender,
            _ => self.random.below(self.crowd.len()),
        };
        if !self.crowd.is_up(receiver) {
            return;
        }
        let sequence = self.sent[sender];
        self.sent[sender] = sequence.wrapping_add(1);
        self.body.clear();
        if self.plan.target.codec.has_addresses() {
            self.body
                .extend_from_slice(self.crowd.uid(receiver).as_bytes());
            self.body.push(b':');
        }
        let stamp = Stamp {
            sender: (self.share.first + sender) as u32,
            receiver: (self.share.first + receiver) as u32,
            sequence,
            time,
        };
        stamp.write(self.plan.size, &mut self.body);
        self.inboxes[receiver].expect(sender as u32, sequence);
        self.in_flight += 1;
        pool.send(sender, &self.body);
    }

    fn prime(&mut self, pool: &mut Pool, now: u64) {
        self.is_primed = true;
        for sender in 0..self.sent.len() {
            for _ in 0..self.share.in_flight {
                self.say(pool, sender, now);
            }
        }
    }

    /// Takes one that has arrived.
    fn hear(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        let Some(stamp) = Stamp::read(message) else {
            return self.record.corrupt(message);
        };
        let sender = (stamp.sender as usize).wrapping_sub(self.share.first);
        let Some(sent) = self.sent.get(sender) else {
            return self.record.corrupt(message);
        };
        if stamp.receiver as usize != self.share.first + slot {
            self.record.faults.strayed += 1;
            return;
        }
        let arrival = self.inboxes[slot].arrive(sender as u32, stamp.sequence, *sent);
        if self.record.faults.count(arrival) {
            self.in_flight -= 1;
            self.record.deliver(stamp.time, now);
            if self.pace.is_none() && self.phase.is_running() {
                self.say(pool, sender, now);
            }
        }
    }
}

impl Client for Talk {
    fn opened(&mut self, pool: &mut Pool, slot: usize, _: u64) {
        self.crowd.opened(pool, slot);
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        if self.crowd.message(slot, message, &mut self.record) {
        } else if message.starts_with(ERROR) {
            self.record.faults.refused += 1;
            self.record
                .problem(|| format!("the server says \"{}\"", message.escape_ascii()));
        } else {
            self.hear(pool, slot, message, now);
        }
    }

    fn ended(&mut self, _: &mut Pool, slot: usize, ending: Ending, _: u64) {
        self.crowd.ended(slot, &ending, &mut self.record);
        // What was on its way there is lost with it.
        let lost = self.inboxes[slot].clear().count();
        self.in_flight -= lost;
        self.record.faults.lost += lost as u64;
    }
}

impl Workload for Talk {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        self.phase = phase;
        if phase == Phase::Setup {
            self.crowd.open(pool, &mut self.record, now);
        }
        if !phase.is_running() {
            return u64::MAX;
        }
        let Some(mut pace) = self.pace.take() else {
            if !self.is_primed {
                self.prime(pool, now);
            }
            return u64::MAX;
        };
        while !self.sent.is_empty() {
            let sender = self.next % self.sent.len();
            if pool.backlog(sender) > BACKLOG_BYTES_MAX {
                break;
            }
            let Some(due) = pace.take(now) else { break };
            self.say(pool, sender, due);
            self.next += 1;
        }
        let next = pace.next(now);
        self.pace = Some(pace);
        next
    }

    fn crowd(&self) -> Option<&Crowd> {
        Some(&self.crowd)
    }

    fn is_quiet(&self) -> bool {
        self.in_flight == 0
    }

    fn conclude(&mut self) {
        for inbox in &mut self.inboxes {
            self.record.faults.lost += inbox.clear().count() as u64;
        }
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}
