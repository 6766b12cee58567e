//! `GET /v1/nodes`: the nodes of the cluster, and how it stands with its Redis.

use serde::Serialize;

use super::errors::ApiError;
use super::queries::{no_answer, text};
use super::service::Api;
use crate::app::query::{ClusterLook, QueryResult, RedisFacts};

#[derive(Serialize, Default)]
struct NodesTold {
    nodes: Vec<NodeTold>,
    /// Those that have not said, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes_unknown: Option<u32>,
    /// Each Redis of the cluster; none where there is no cluster.
    redis: Vec<RedisTold>,
}

#[derive(Serialize)]
struct NodeTold {
    node: Box<str>,
    version: Box<str>,
    seconds: u64,
    connections: u64,
    echo_micros: u64,
}

#[derive(Serialize)]
struct RedisTold {
    address: Box<str>,
    version: Box<str>,
    /// Why it is away, if it is.
    away: Option<Box<str>>,
}

impl From<RedisFacts> for RedisTold {
    fn from(state: RedisFacts) -> RedisTold {
        let RedisFacts {
            address,
            version,
            away,
        } = state;
        RedisTold {
            address,
            version,
            away,
        }
    }
}

impl Api {
    pub(super) async fn nodes(&self) -> Result<String, ApiError> {
        let asked = self.host.borrow_mut().tasks().cluster_nodes();
        let Some(promise) = asked else {
            return text(&NodesTold::default());
        };
        match promise.await.pop() {
            Some(QueryResult::Nodes(look)) => text(&told(look)),
            _ => Err(no_answer()),
        }
    }
}

fn told(look: ClusterLook) -> NodesTold {
    let ClusterLook {
        own: _,
        nodes,
        unknown,
        redis,
    } = look;
    let redis = redis.into_iter();
    let nodes = nodes.into_iter().map(|facts| NodeTold {
        node: facts.name,
        version: facts.version,
        seconds: facts.seconds,
        connections: facts.connections,
        echo_micros: facts.echo_micros,
    });
    NodesTold {
        nodes: nodes.collect(),
        nodes_unknown: unknown.is_some().then(|| unknown.nodes()),
        redis: redis.map(RedisTold::from).collect(),
    }
}
