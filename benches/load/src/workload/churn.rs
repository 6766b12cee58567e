//! [`Churn`]: the first half of a generator's connections relay to each other, while the second half
//! comes and goes, and is pushed to all the while.
//!
//! Each visitor logs in under a new uid, sends itself a message, and leaves when it has it. After each
//! login the first connection sends to a visitor chosen at random, who may have gone: such a message may
//! be lost, but not doubled, reordered or changed.

use std::sync::Arc;

use super::crowd::FRONT;
use super::crowd::{ERROR, LOGGED_IN, cannot_open, no_login};
use super::driven::Workload;
use super::talk::Talk;
use crate::plan::{Plan, Share};
use crate::random::Random;
use crate::record::Record;
use crate::shared::Phase;
use crate::stamp::Stamp;
use crate::wire::{Client, Ending, Pool};

/// The sender of what goes to those who may have gone.
const PUSHER: u32 = u32::MAX - 1;

/// Those who stay, and those who do not.
pub struct Churn {
    plan: Arc<Plan>,
    share: Share,
    talk: Talk,
    visitors: Vec<Visitor>,
    /// Visitors that are outside.
    outside: Vec<usize>,
    pushed: u32,
    is_running: bool,
    random: Random,
    body: Vec<u8>,
}

#[derive(Clone, Default)]
struct Visitor {
    number: u32,
    begun: u64,
    is_up: bool,
    /// Whether its own message is on the way.
    awaits_own: bool,
    /// One more than the last push that this visit has received.
    pushed: u32,
}

impl Churn {
    pub fn new(plan: &Arc<Plan>, share: Share) -> Churn {
        let staying = share.connections.div_ceil(2);
        let visitors = share.connections - staying;
        Churn {
            plan: Arc::clone(plan),
            share,
            talk: Talk::among(plan, share, staying),
            visitors: vec![Visitor::default(); visitors],
            outside: (0..visitors).collect(),
            pushed: 0,
            is_running: false,
            random: Random::new(plan.seed, share.number + 1_000),
            body: Vec::new(),
        }
    }

    fn staying(&self) -> usize {
        self.talk.crowd.len()
    }

    fn uid(&self, visitor: usize) -> String {
        let index = self.share.first + self.staying() + visitor;
        format!("{}-{}", self.plan.uid(index), self.visitors[visitor].number)
    }

    fn compose(&mut self, visitor: usize, sender: u32, sequence: u32, time: u64) {
        self.body.clear();
        self.body.extend_from_slice(self.uid(visitor).as_bytes());
        self.body.push(b':');
        let stamp = Stamp {
            sender,
            receiver: visitor as u32,
            sequence,
            time,
        };
        stamp.write(self.plan.size, &mut self.body);
    }

    /// One is logged in: it sends to itself, and somebody is pushed to.
    fn arrived(&mut self, pool: &mut Pool, visitor: usize, now: u64) {
        let (number, begun) = (self.visitors[visitor].number, self.visitors[visitor].begun);
        self.visitors[visitor].is_up = true;
        self.visitors[visitor].awaits_own = true;
        self.visitors[visitor].pushed = 0;
        self.talk.record.join(begun, now);
        self.talk.record.count("logins");
        self.compose(visitor, visitor as u32, number, now);
        pool.send(self.staying() + visitor, &self.body);
        if self.is_running {
            let visitor = self.random.below(self.visitors.len());
            self.compose(visitor, PUSHER, self.pushed, now);
            self.pushed += 1;
            pool.send(0, &self.body);
        }
    }

    fn hear(&mut self, pool: &mut Pool, visitor: usize, message: &[u8], now: u64) {
        let record = &mut self.talk.record;
        let one = &mut self.visitors[visitor];
        let Some(stamp) = Stamp::read(message) else {
            return record.corrupt(message);
        };
        if stamp.receiver != visitor as u32 {
            record.faults.strayed += 1;
        } else if stamp.sender == PUSHER {
            if stamp.sequence >= self.pushed {
                return record.corrupt(message);
            }
            match (stamp.sequence + 1).cmp(&one.pushed) {
                std::cmp::Ordering::Greater => {
                    one.pushed = stamp.sequence + 1;
                    record.deliver(stamp.time, now);
                    record.count("pushes that met a visitor");
                }
                std::cmp::Ordering::Equal => record.faults.doubled += 1,
                std::cmp::Ordering::Less => record.faults.reordered += 1,
            }
        } else if stamp.sender != visitor as u32 || stamp.sequence != one.number {
            record.corrupt(message);
        } else if !std::mem::take(&mut one.awaits_own) {
            record.faults.doubled += 1;
        } else {
            record.deliver(stamp.time, now);
            pool.leave(self.talk.crowd.len() + visitor, now);
        }
    }
}

impl Client for Churn {
    fn opened(&mut self, pool: &mut Pool, slot: usize, now: u64) {
        match slot.checked_sub(self.staying()) {
            Some(visitor) => pool.send(slot, self.uid(visitor).as_bytes()),
            None => self.talk.opened(pool, slot, now),
        }
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        let Some(visitor) = slot.checked_sub(self.staying()) else {
            // The pusher is told of those who have gone.
            if slot == 0 && self.pushed > 0 && message.starts_with(ERROR) {
                return self.talk.record.count("pushes that met nobody");
            }
            return self.talk.message(pool, slot, message, now);
        };
        if self.visitors[visitor].is_up {
            return self.hear(pool, visitor, message, now);
        }
        match message.strip_prefix(LOGGED_IN) {
            Some(uid) if uid == self.uid(visitor).as_bytes() => self.arrived(pool, visitor, now),
            _ => {
                let text = no_login(&self.plan.target.url, message);
                self.talk.record.fail(text);
            }
        }
    }

    fn ended(&mut self, pool: &mut Pool, slot: usize, ending: Ending, now: u64) {
        let Some(visitor) = slot.checked_sub(self.staying()) else {
            return self.talk.ended(pool, slot, ending, now);
        };
        let one = &mut self.visitors[visitor];
        let faults = &mut self.talk.record.faults;
        faults.lost += u64::from(std::mem::take(&mut one.awaits_own));
        match ending {
            Ending::Left => {}
            Ending::Unopened(_) => faults.unopened += 1,
            _ => faults.closed += 1,
        }
        if ending != Ending::Left {
            self.talk.record.problem(|| ending.text());
        }
        one.is_up = false;
        one.number += 1;
        self.outside.push(visitor);
    }
}

impl Workload for Churn {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        self.is_running = phase.is_running();
        while self.is_running && self.talk.record.fatal.is_none() {
            let Some(visitor) = self.outside.pop() else {
                break;
            };
            self.visitors[visitor].begun = now;
            if let Err(error) = pool.open(self.staying() + visitor, FRONT, now) {
                self.talk.record.fail(cannot_open(&error));
                break;
            }
        }
        self.talk.turn(pool, phase, now)
    }

    fn up(&self) -> usize {
        self.talk.up() + self.visitors.iter().filter(|one| one.is_up).count()
    }

    fn is_ready(&self) -> bool {
        self.talk.is_ready()
    }

    fn is_quiet(&self) -> bool {
        self.talk.is_quiet() && self.outside.len() == self.visitors.len()
    }

    fn conclude(&mut self) {
        self.talk.conclude();
        let waiting = self.visitors.iter().filter(|one| one.awaits_own).count();
        self.talk.record.faults.lost += waiting as u64;
    }

    fn record(&mut self) -> &mut Record {
        self.talk.record()
    }
}
