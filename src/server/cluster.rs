//! How a server is one of a cluster: what of its configuration does not work across nodes yet is refused, and the thread that
//! speaks with Redis is started with its cores and ended after them.

use std::io;
use std::sync::Arc;

use super::plan::Plan;
use super::start_error::named;
use super::upgrade::Predecessor;
use crate::app::envelope::Body;
use crate::bus::{self, Endpoint};
use crate::config::{Cluster, Config, Webhooks};
use crate::net::cluster::{ClusterSurroundings, ClusterTarget, ClusterThread};
use crate::protocol::cluster::NodeId;

/// What of a configuration does not work across nodes yet, if it is that of a cluster: a key, and what to do.
pub fn check_fits(_: &Config, webhooks: &Webhooks, cluster: &Cluster) -> io::Result<()> {
    if !cluster.is_on() {
        return Ok(());
    }
    let misfit = if webhooks.url.is_some() {
        "webhooks.url: `first` and `last` of a uid would be one node's; leave it out"
    } else {
        return Ok(());
    };
    let text = format!("{misfit}, or take the server out of its cluster (cluster.redis)");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

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
    if let Some(target) = &mut target
        && let Some(predecessor) = predecessor
    {
        target.go_on_as(predecessor.node());
        if let Some((offer, way)) = predecessor.cluster()? {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{HistoryRule, StreamKind};

    #[test]
    fn what_does_not_work_across_nodes_is_refused() {
        let cluster = Cluster {
            redis: Some("redis://localhost".to_owned()),
            ..Cluster::default()
        };
        let check = |config: &Config, webhooks: &Webhooks, cluster: &Cluster| {
            let checked = check_fits(config, webhooks, cluster);
            checked.map_err(|error| error.to_string())
        };
        let (plain, silent, alone) = (Config::default(), Webhooks::default(), Cluster::default());
        assert_eq!(check(&plain, &silent, &cluster), Ok(()));
        let mut keeps = plain.clone();
        keeps.history.push(HistoryRule {
            kind: StreamKind::All,
            name: "*".to_owned(),
            size: 10,
            ttl: Duration::from_secs(60),
            queue: false,
        });
        let hooks = Webhooks {
            url: Some("https://shop.example".to_owned()),
            ..Webhooks::default()
        };
        for (config, webhooks, key) in [(&plain, &hooks, "webhooks.url")] {
            let error = check(config, webhooks, &cluster).expect_err(key);
            assert!(
                error.starts_with(key) && error.contains("cluster.redis"),
                "{error}"
            );
            assert_eq!(check(config, webhooks, &alone), Ok(()), "{key}");
        }
    }
}
