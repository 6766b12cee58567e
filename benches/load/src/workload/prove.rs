//! [`Prove`]: everybody logs in and rests, pings answered; then each receives some broadcasts, and a message for
//! him alone. It is over when all have all, and what is missing then is lost. Before the broadcasts a command may be run
//! (`--during`), while messages go to one client after the other at a fixed rate.

use std::sync::Arc;

use super::broadcast::Broadcast;
use super::crowd::Crowd;
use super::driven::{BACKLOG_BYTES_MAX, Workload};
use crate::ledger::Sequence;
use crate::pace::Pace;
use crate::plan::{Plan, Share};
use crate::record::Record;
use crate::shared::{Phase, Shared};
use crate::stamp::{EVERYBODY, Stamp};
use crate::wire::{Client, Ending, Pool};

/// Broadcasts, one after the other.
const BROADCASTS: u32 = 3;
/// Messages for one that a generator has on their way.
const IN_FLIGHT: usize = 256;

/// The broadcasts, and after them the messages for one.
pub struct Prove {
    plan: Arc<Plan>,
    share: Share,
    shared: Arc<Shared>,
    broadcast: Broadcast,
    /// What each slot has received for it alone, and how many were sent to it: all from its neighbour.
    own: Vec<Sequence>,
    said: Vec<u32>,
    /// While a command runs: when messages are due, and whose turn it is.
    pace: Option<Pace>,
    next: usize,
    /// Slots that their last message has been sent to: so many of the first.
    sent: usize,
    in_flight: usize,
    body: Vec<u8>,
}

impl Prove {
    pub fn new(plan: &Arc<Plan>, share: Share, shared: &Arc<Shared>) -> Prove {
        let mut own = Vec::new();
        own.resize_with(share.connections, Sequence::default);
        // The rate is of the messages beside the command.
        let broadcasting = Share {
            rate: None,
            ..share
        };
        Prove {
            plan: Arc::clone(plan),
            share,
            shared: Arc::clone(shared),
            broadcast: Broadcast::new(plan, broadcasting, shared).at_most(BROADCASTS),
            own,
            said: vec![0; share.connections],
            pace: share.rate.map(Pace::new),
            next: 0,
            sent: 0,
            in_flight: 0,
            body: Vec::new(),
        }
    }

    fn crowd(&self) -> &Crowd {
        &self.broadcast.crowd
    }

    /// Whether messages go round beside a command.
    fn is_accompanying(&self) -> bool {
        self.pace.is_some() && !self.shared.is_command_over()
    }

    /// Sends what is due beside a command. Returns when the next is.
    fn accompany(&mut self, pool: &mut Pool, now: u64) -> u64 {
        let Some(mut pace) = self.pace.take() else {
            return u64::MAX;
        };
        loop {
            let receiver = self.next % self.said.len();
            if pool.backlog(self.neighbour(receiver)) > BACKLOG_BYTES_MAX {
                break;
            }
            let Some(due) = pace.take(now) else { break };
            self.say(pool, receiver, due);
            self.next += 1;
        }
        let next = pace.next(now);
        self.pace = Some(pace);
        next
    }

    /// Who sends to a slot.
    fn neighbour(&self, slot: usize) -> usize {
        (slot + 1) % self.said.len()
    }

    /// The last message of the next slot.
    fn say_last(&mut self, pool: &mut Pool, now: u64) {
        let receiver = self.sent;
        self.sent += 1;
        self.say(pool, receiver, now);
    }

    /// A message for one, from its neighbour.
    fn say(&mut self, pool: &mut Pool, receiver: usize, time: u64) {
        let sender = self.neighbour(receiver);
        let sequence = self.said[receiver];
        self.said[receiver] += 1;
        // Whoever is gone has been counted; what he should have sent is missing.
        if !pool.is_open(sender) {
            return;
        }
        self.in_flight += 1;
        self.body.clear();
        if self.plan.target.codec.has_addresses() {
            let uid = self.crowd().uid(receiver);
            self.body.extend_from_slice(uid.as_bytes());
            self.body.push(b':');
        }
        let stamp = Stamp {
            sender: (self.share.first + sender) as u32,
            receiver: (self.share.first + receiver) as u32,
            sequence,
            time,
        };
        stamp.write(self.plan.size, &mut self.body);
        pool.send(sender, &self.body);
    }

    fn hear(&mut self, pool: &mut Pool, slot: usize, stamp: &Stamp, now: u64) {
        let is_accompanying = self.is_accompanying();
        let record = &mut self.broadcast.record;
        if stamp.receiver as usize != self.share.first + slot {
            record.faults.strayed += 1;
            return;
        }
        let arrival = self.own[slot].arrive(stamp.sequence, self.said[slot]);
        if !record.faults.count(arrival) {
            return;
        }
        record.delivered += 1;
        if self.shared.met_command(stamp.time, now) {
            let took = now.saturating_sub(stamp.time);
            record.during.saturating_record(took);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_finishing = !is_accompanying && self.sent > 0;
        if is_finishing && self.in_flight < IN_FLIGHT && self.sent < self.said.len() {
            self.say_last(pool, now);
        }
    }
}

impl Client for Prove {
    fn opened(&mut self, pool: &mut Pool, slot: usize, now: u64) {
        self.broadcast.opened(pool, slot, now);
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        match Stamp::read(message) {
            Some(stamp) if stamp.receiver != EVERYBODY && self.crowd().is_up(slot) => {
                self.hear(pool, slot, &stamp, now);
            }
            _ => self.broadcast.message(pool, slot, message, now),
        }
    }

    fn ended(&mut self, pool: &mut Pool, slot: usize, ending: Ending, now: u64) {
        self.broadcast.ended(pool, slot, ending, now);
    }
}

impl Workload for Prove {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        // The warm-up is the rest here.
        if phase == Phase::Warmup {
            return u64::MAX;
        }
        if phase == Phase::Measured && self.is_accompanying() {
            return self.accompany(pool, now);
        }
        let due = self.broadcast.turn(pool, phase, now);
        if phase == Phase::Measured && self.shared.broadcasts_complete() >= BROADCASTS {
            while self.in_flight < IN_FLIGHT && self.sent < self.said.len() {
                self.say_last(pool, now);
            }
        }
        due
    }

    fn up(&self) -> usize {
        self.broadcast.up()
    }

    fn is_ready(&self) -> bool {
        self.broadcast.is_ready()
    }

    fn is_done(&self) -> bool {
        self.sent == self.said.len() && self.in_flight == 0
    }

    fn is_quiet(&self) -> bool {
        self.broadcast.is_quiet() && self.in_flight == 0
    }

    fn conclude(&mut self) {
        self.broadcast.conclude();
        let owed = self.own.iter().zip(&self.said);
        let lost: u64 = owed.map(|(own, said)| own.lost(*said)).sum();
        let unsaid = self.said.len() - self.sent;
        let record = &mut self.broadcast.record;
        record.faults.lost += lost + unsaid as u64;
        // What was to be sent and was not has not arrived either.
        let sent = self
            .shared
            .broadcasts
            .load(std::sync::atomic::Ordering::Acquire);
        let unsent = u64::from(BROADCASTS.saturating_sub(sent));
        record.faults.lost += unsent * self.said.len() as u64;
    }

    fn record(&mut self) -> &mut Record {
        self.broadcast.record()
    }
}
