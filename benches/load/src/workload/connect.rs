//! [`Connect`]: every slot connects, upgrades, logs in, leaves, and does it again.
//!
//! A login's uid is new each time, and the answer must name it: that is this workload's stamp.

use std::sync::Arc;

use super::crowd::FRONT;
use super::crowd::{cannot_open, logged_in, no_login};
use super::driven::Workload;
use crate::pace::Pace;
use crate::plan::{Plan, Share};
use crate::record::Record;
use crate::shared::Phase;
use crate::wire::{Client, Ending, Pool};

/// How long a slot rests after a connection that failed, so that a dead server is not hammered.
const REST_NANOS: u64 = 10_000_000;

/// So many connections at a time.
pub struct Connect {
    plan: Arc<Plan>,
    share: Share,
    record: Record,
    visits: Vec<Visit>,
    /// Slots that may be opened, and from when on.
    idle: Vec<(usize, u64)>,
    pace: Option<Pace>,
    up: usize,
}

/// What a slot is doing.
#[derive(Clone, Default)]
struct Visit {
    number: u32,
    /// When it began, or at a fixed rate was due.
    begun: u64,
    is_up: bool,
}

impl Connect {
    pub fn new(plan: &Arc<Plan>, share: Share) -> Connect {
        Connect {
            plan: Arc::clone(plan),
            share,
            record: Record::default(),
            visits: vec![Visit::default(); share.connections],
            idle: (0..share.connections).map(|slot| (slot, 0)).collect(),
            pace: share.rate.map(Pace::new),
            up: 0,
        }
    }

    fn uid(&self, slot: usize) -> String {
        let index = self.share.first + slot;
        format!("{}-{}", self.plan.uid(index), self.visits[slot].number)
    }
}

impl Client for Connect {
    fn opened(&mut self, pool: &mut Pool, slot: usize, _: u64) {
        pool.send(slot, self.uid(slot).as_bytes());
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        if self.visits[slot].is_up {
            return self.record.corrupt(message);
        }
        match logged_in(&self.plan, message) {
            Some(uid) if uid == self.uid(slot).as_bytes() => {
                let begun = self.visits[slot].begun;
                self.visits[slot].is_up = true;
                self.up += 1;
                self.record.deliver(begun, now);
                pool.leave(slot, now);
            }
            Some(_) => self.record.corrupt(message),
            None => self.record.fail(no_login(&self.plan.target.url, message)),
        }
    }

    fn ended(&mut self, _: &mut Pool, slot: usize, ending: Ending, now: u64) {
        let was_up = std::mem::take(&mut self.visits[slot].is_up);
        self.up -= usize::from(was_up);
        let rest = match ending {
            Ending::Left => 0,
            Ending::Unopened(_) => {
                self.record.faults.unopened += 1;
                REST_NANOS
            }
            _ => {
                // One that left without an answer to its login has lost it.
                self.record.faults.closed += 1;
                REST_NANOS
            }
        };
        if ending != Ending::Left {
            self.record.problem(|| ending.text());
        }
        self.visits[slot].number += 1;
        self.idle.push((slot, now + rest));
    }
}

impl Workload for Connect {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        if !phase.is_running() {
            return u64::MAX;
        }
        let mut waiting = Vec::new();
        let mut next = u64::MAX;
        while let Some((slot, from)) = self.idle.pop() {
            if from > now {
                next = next.min(from);
                waiting.push((slot, from));
                continue;
            }
            let due = match &mut self.pace {
                Some(pace) => pace.take(now),
                None => Some(now),
            };
            let Some(due) = due else {
                waiting.push((slot, from));
                break;
            };
            self.visits[slot].begun = due;
            if let Err(error) = pool.open(slot, FRONT, now) {
                self.record.fail(cannot_open(&error));
                break;
            }
        }
        self.idle.append(&mut waiting);
        match &mut self.pace {
            Some(pace) if !self.idle.is_empty() => next.min(pace.next(now)),
            _ => next,
        }
    }

    fn up(&self) -> usize {
        self.up
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_quiet(&self) -> bool {
        self.idle.len() == self.visits.len()
    }

    /// Whoever has no answer yet never gets one.
    fn conclude(&mut self) {
        let mut is_idle = vec![false; self.visits.len()];
        for (slot, _) in &self.idle {
            is_idle[*slot] = true;
        }
        let waiting = |(slot, visit): &(usize, &Visit)| !visit.is_up && !is_idle[*slot];
        let lost = self.visits.iter().enumerate().filter(waiting).count();
        self.record.faults.lost += lost as u64;
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}
