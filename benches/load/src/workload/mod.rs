//! The workloads: what the clients of a generator do, and what they make of what comes back.

mod broadcast;
mod chat;
mod churn;
mod connect;
mod crowd;
mod driven;
mod flood;
mod idle;
mod prove;
mod push;
mod reconnect;
mod talk;

use std::sync::Arc;

use super::plan::{Kind, Plan, Share};
use super::shared::Shared;
pub use driven::Workload;

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
        Kind::Reconnect => Box::new(reconnect::Reconnect::new(plan, share)),
    }
}

/// How many slots the workload's pool needs.
pub fn slots(plan: &Plan, share: Share) -> usize {
    match plan.kind {
        Kind::Push => share.connections + share.senders,
        Kind::Reconnect => reconnect::slots(plan, share),
        _ => share.connections,
    }
}
