//! The workloads: what the clients of a generator do, and what they make of what comes back.

mod broadcast;
mod chat;
mod churn;
mod connect;
mod crowd;
mod flood;
mod idle;
mod prove;
mod push;
mod talk;

use std::sync::Arc;

use super::plan::{Kind, Plan, Share};
use super::record::Record;
use super::shared::{Phase, Shared};
use super::wire::{Client, Pool};
use crowd::Crowd;

/// The door to the listener, and to the back end's port.
pub const FRONT: usize = 0;
pub const BACK: usize = 1;

/// Bytes waiting for the kernel on one connection past which a fixed rate holds back.
pub const BACKLOG_BYTES_MAX: usize = 256 << 10;

/// A generator's clients, driven by its loop.
pub trait Workload: Client {
    /// Sends what is due. Returns when it wants to be called again at the latest.
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64;
    /// Its connections, where they all come in one way.
    fn crowd(&self) -> Option<&Crowd> {
        None
    }
    /// Connections logged in.
    fn up(&self) -> usize {
        self.crowd().map_or(0, Crowd::up)
    }
    /// Whether all is set up.
    fn is_ready(&self) -> bool {
        self.crowd().is_none_or(Crowd::is_complete)
    }
    /// Whether all that it was to do is done, where there is an end to that.
    fn is_done(&self) -> bool {
        false
    }
    /// Whether nothing is on the way.
    fn is_quiet(&self) -> bool;
    /// Counts what has not arrived; nothing will any more.
    fn conclude(&mut self);
    fn record(&mut self) -> &mut Record;
}

/// The workload of a plan, for one generator.
pub fn make(plan: &Arc<Plan>, share: Share, shared: &Arc<Shared>) -> Box<dyn Workload> {
    match plan.kind {
        Kind::Connect => Box::new(connect::Connect::new(plan, share)),
        Kind::Idle => Box::new(idle::Idle::new(plan, share)),
        Kind::Echo | Kind::Relay => Box::new(talk::Talk::new(plan, share)),
        Kind::Broadcast => Box::new(broadcast::Broadcast::new(plan, share, shared)),
        Kind::Prove => Box::new(prove::Prove::new(plan, share, shared)),
        Kind::Push => Box::new(push::Push::new(plan, share)),
        Kind::Chat => Box::new(chat::Chat::new(plan, share)),
        Kind::Churn => Box::new(churn::Churn::new(plan, share)),
        Kind::Flood => Box::new(flood::Flood::new(plan, share, shared)),
    }
}

/// How many slots the workload's pool needs.
pub fn slots(plan: &Plan, share: Share) -> usize {
    match plan.kind {
        Kind::Push => share.connections + share.senders,
        _ => share.connections,
    }
}
