//! [`Idle`]: connections that log in and do nothing but answer pings.

use std::sync::Arc;

use super::crowd::Crowd;
use super::driven::Workload;
use crate::plan::{Plan, Share};
use crate::record::Record;
use crate::shared::Phase;
use crate::wire::{Client, Ending, Pool};

/// A crowd, and no more.
pub struct Idle {
    crowd: Crowd,
    record: Record,
}

impl Idle {
    pub fn new(plan: &Arc<Plan>, share: Share) -> Idle {
        Idle {
            crowd: Crowd::new(plan, share, share.connections),
            record: Record::default(),
        }
    }
}

impl Client for Idle {
    fn opened(&mut self, pool: &mut Pool, slot: usize, _: u64) {
        self.crowd.opened(pool, slot);
    }

    fn message(&mut self, _: &mut Pool, slot: usize, message: &[u8], _: u64) {
        if !self.crowd.message(slot, message, &mut self.record) {
            self.record.corrupt(message);
        }
    }

    fn ended(&mut self, _: &mut Pool, slot: usize, ending: Ending, _: u64) {
        self.crowd.ended(slot, &ending, &mut self.record);
    }
}

impl Workload for Idle {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        if phase == Phase::Setup {
            self.crowd.open(pool, &mut self.record, now);
        }
        u64::MAX
    }

    fn crowd(&self) -> Option<&Crowd> {
        Some(&self.crowd)
    }

    fn is_quiet(&self) -> bool {
        true
    }

    fn conclude(&mut self) {}

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}
