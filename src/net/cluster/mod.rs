//! This node among the others of a cluster: [`ClusterThread`], the engine that is a party on the bus, and the one thread that
//! speaks with Redis.
//!
//! Cores post to it what is for other nodes, and what others send it posts to them ([`Party`]). It never makes a core wait:
//! what it has not taken waits in its mailbox, on its senders' credit. While Redis is away everything that would go there is
//! answered at once, as unknown. Started by `server` where a Redis is configured.

mod arrivals;
mod asked;
mod bell;
mod claims;
mod control;
mod engine_part;
mod handled;
mod holders;
#[cfg(all(test, not(loom)))]
mod holders_tests;
mod holding;
mod interests;
mod keeper;
mod keeping;
mod kept_answers;
mod life_line;
mod link;
mod masters;
mod members;
#[cfg(all(test, not(loom)))]
mod members_tests;
mod outcomes;
mod own_facts;
mod own_name;
mod own_standing;
mod own_word;
mod pair;
mod party;
mod passage;
mod pauses;
mod placement;
mod pubsub;
mod roster_questions;
mod rosters;
mod scripts;
mod sentinel;
mod service;
#[cfg(all(test, not(loom)))]
mod simulation;
mod slots;
mod spaces;
mod sticking;
mod sticky_reads;
mod succession;
mod switchboard;
mod target;
#[cfg(all(test, not(loom)))]
mod tests;
mod trial;
mod trial_scripts;
mod turnover;
mod turnover_state;
mod words;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tracing::error;

use crate::app::envelope::Body;
use crate::app::namespaces::Registry;
use crate::bus::Endpoint;
use crate::guard::guard;
use crate::net::admission::ConnectionCounters;
use crate::net::http::{Facts, Readiness, RedisFigures};
use crate::protocol::cluster::NodeId;
use crate::protocol::partitions::Partition;
use bell::Bell;
use engine_part::EnginePart;
use masters::Masters;
use own_facts::OwnFacts;
use own_name::own_name;
use party::Party;
use passage::Passage;
use service::Service;
use spaces::Spaces;

pub use control::ClusterControl;
pub use target::{ClusterTarget, check_cluster};
pub use trial::{ClusterDoubt, ClusterTrial, try_cluster};

/// What the cluster's thread needs to know of the server.
pub struct ClusterSurroundings {
    /// The namespaces of its apps, by number.
    pub namespaces: Vec<&'static str>,
    /// Those made while it runs.
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
    pub counters: Arc<ConnectionCounters>,
    pub facts: Arc<Facts>,
}

/// The thread.
pub struct ClusterThread {
    /// What the node is called.
    pub name: String,
    pub id: NodeId,
    /// By which another process sees whether it is one of the same cluster.
    pub identity: String,
    /// For upgrades.
    pub control: ClusterControl,
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl ClusterThread {
    /// Starts it. It serves whether Redis is there or not.
    pub fn start(
        target: ClusterTarget,
        bus: Endpoint<Body>,
        surroundings: ClusterSurroundings,
    ) -> io::Result<ClusterThread> {
        let ClusterSurroundings {
            namespaces,
            registry,
            readiness,
            counters,
            facts,
        } = surroundings;
        let figures = &facts.cluster;
        figures.is_on.store(true, Ordering::Relaxed);
        let (id, identity) = (target.id, target.identity());
        let name = target.node.clone().unwrap_or_else(own_name);
        let each = target.redis.iter();
        let each = each.map(|redis| RedisFigures::new(&redis.address));
        // Once: one server, one cluster.
        let _ = figures.redis.set(each.collect());
        let spaces = Spaces::new(namespaces, registry);
        let of = target.redis.len() as u16;
        let masters = Arc::<Masters>::default();
        let parts = target.redis.into_iter().zip(0..);
        let parts = parts.map(|(redis, nth)| {
            let (counters, facts) = (Arc::clone(&counters), Arc::clone(&facts));
            let own = OwnFacts::new(&name, usize::from(nth), counters, facts);
            let partition = Partition { nth, of };
            let (prefix, answer_timeout) = (&redis.prefix, target.answer_timeout);
            let who = (id, partition);
            let party = Party::new(who, prefix, spaces.clone(), answer_timeout, own);
            EnginePart::new(party, (redis, Arc::clone(&masters)), answer_timeout)
        });
        let parts = parts.collect();
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let ready_alone = target.ready_alone;
        readiness.cluster(false, ready_alone);
        let (control, ordered) = ClusterControl::new();
        let (bell, passage) = {
            let _within = runtime.enter();
            let passage = target.predecessor.map(Passage::new).transpose()?;
            (Bell::new(bus.bell())?, passage)
        };
        let upgrade = (ordered, passage);
        let readiness = (readiness, ready_alone);
        let mut service = Service::new(parts, (bus, bell), readiness, stopped, upgrade);
        let thread = thread::Builder::new()
            .name("cluster".into())
            .spawn(move || {
                // A panic is our mistake. It costs the connection to Redis, and what was under way is unknown.
                while let Err(fault) = guard(|| runtime.block_on(service.run())) {
                    error!(%fault, "cluster: its thread panicked; it begins anew");
                    service.lose_links();
                }
            })?;
        Ok(ClusterThread {
            name,
            id,
            identity,
            control,
            thread,
            stop,
        })
    }

    /// The cores have ended: nothing is to be said any more.
    pub fn finish(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}
