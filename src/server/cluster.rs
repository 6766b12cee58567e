//! How a server is one of a cluster: the thread that speaks with Redis is started with its cores and ended after them.

use std::io;
use std::sync::Arc;

use super::plan::Plan;
use super::start_error::named;
use super::upgrade::Predecessor;
use crate::app::envelope::Body;
use crate::bus::{self, Endpoint};
use crate::config::Cluster;
use crate::net::cluster::{ClusterSurroundings, ClusterTarget, ClusterThread};
use crate::protocol::cluster::NodeId;

/// The ends of the bus: those of so many cores, and that of a cluster's engine, where there is one.
pub struct BusEnds {
    pub cores: Vec<Endpoint<Body>>,
    pub engine: Option<Endpoint<Body>>,
}

/// Connects them.
pub fn connect(cores: usize, has_engine: bool) -> io::Result<BusEnds> {
    let connected = match has_engine {
        true => bus::connect_with_engine(cores).map(|(cores, engine)| (cores, Some(engine))),
        false => bus::connect(cores).map(|cores| (cores, None)),
    };
    let (cores, engine) = connected.map_err(|error| named("no doorbells for the cores", &error))?;
    Ok(BusEnds { cores, engine })
}

/// What a configuration says of it. A process that goes on in another's place goes on as its node, too, where both are of
/// one cluster; without a name in its configuration, by that one's.
pub fn target(
    config: &Cluster,
    predecessor: Option<&mut Predecessor>,
) -> io::Result<Option<ClusterTarget>> {
    let mut target = ClusterTarget::open(config)?;
    if let Some(target) = &mut target {
        target.go_on_as(predecessor.as_deref().and_then(Predecessor::node));
        if let Some(predecessor) = predecessor
            && let Some((offer, way)) = predecessor.cluster()?
        {
            target.go_on_for(NodeId(offer.node), &offer.cluster, way);
        }
    }
    Ok(target)
}

/// Starts the thread where a cluster is configured.
pub fn start(
    target: Option<ClusterTarget>,
    engine: Option<Endpoint<Body>>,
    namespaces: Vec<&'static str>,
    plan: &Plan,
) -> io::Result<Option<ClusterThread>> {
    let (Some(target), Some(engine)) = (target, engine) else {
        return Ok(None);
    };
    let surroundings = ClusterSurroundings {
        namespaces,
        registry: Arc::clone(&plan.registry),
        readiness: Arc::clone(&plan.readiness),
        counters: Arc::clone(&plan.counters),
        facts: Arc::clone(&plan.facts),
    };
    ClusterThread::start(target, engine, surroundings)
        .map(Some)
        .map_err(|error| named("no thread for the cluster", &error))
}
