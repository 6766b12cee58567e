//! [`Prove`]: everybody logs in and rests, pings answered; then each receives some broadcasts, and a message for
//! him alone. It is over when all have all, and what is missing then is lost.

use std::sync::Arc;

use super::broadcast::Broadcast;
use super::crowd::Crowd;
use super::driven::Workload;
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
    /// Whether each slot has received its own message.
    received: Vec<bool>,
    /// Slots that theirs has been sent to: so many of the first.
    sent: usize,
    in_flight: usize,
    body: Vec<u8>,
}

impl Prove {
    pub fn new(plan: &Arc<Plan>, share: Share, shared: &Arc<Shared>) -> Prove {
        Prove {
            plan: Arc::clone(plan),
            share,
            shared: Arc::clone(shared),
            broadcast: Broadcast::new(plan, share, shared).at_most(BROADCASTS),
            received: vec![false; share.connections],
            sent: 0,
            in_flight: 0,
            body: Vec::new(),
        }
    }

    fn crowd(&self) -> &Crowd {
        &self.broadcast.crowd
    }

    /// The next slot's message, from its neighbour.
    fn say(&mut self, pool: &mut Pool, now: u64) {
        let receiver = self.sent;
        let sender = (receiver + 1) % self.received.len();
        self.sent += 1;
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
            sequence: 0,
            time: now,
        };
        stamp.write(self.plan.size, &mut self.body);
        pool.send(sender, &self.body);
    }

    fn hear(&mut self, pool: &mut Pool, slot: usize, stamp: &Stamp, now: u64) {
        let record = &mut self.broadcast.record;
        if stamp.receiver as usize != self.share.first + slot {
            record.faults.strayed += 1;
        } else if std::mem::replace(&mut self.received[slot], true) {
            record.faults.doubled += 1;
        } else {
            record.delivered += 1;
            self.in_flight = self.in_flight.saturating_sub(1);
            if self.sent < self.received.len() {
                self.say(pool, now);
            }
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
        let due = self.broadcast.turn(pool, phase, now);
        if phase == Phase::Measured && self.shared.broadcasts_complete() >= BROADCASTS {
            while self.in_flight < IN_FLIGHT && self.sent < self.received.len() {
                self.say(pool, now);
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
        self.sent == self.received.len() && self.in_flight == 0
    }

    fn is_quiet(&self) -> bool {
        self.broadcast.is_quiet() && self.in_flight == 0
    }

    fn conclude(&mut self) {
        self.broadcast.conclude();
        let received = self.received.iter().filter(|received| **received).count();
        let lost = self.received.len() - received;
        let record = &mut self.broadcast.record;
        record.faults.lost += lost as u64;
        // What was to be sent and was not has not arrived either.
        let sent = self
            .shared
            .broadcasts
            .load(std::sync::atomic::Ordering::Acquire);
        let unsent = u64::from(BROADCASTS.saturating_sub(sent));
        record.faults.lost += unsent * self.received.len() as u64;
    }

    fn record(&mut self) -> &mut Record {
        self.broadcast.record()
    }
}
