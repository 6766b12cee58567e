//! What stands for the cluster in a build without the feature `cluster`: none can be configured. Has what `cluster/mod.rs`
//! has for others.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use crate::app::envelope::Body;
use crate::app::namespaces::Registry;
use crate::bus::Endpoint;
use crate::config::Cluster;
use crate::net::admission::ConnectionCounters;
use crate::net::http::{Facts, Readiness};
use crate::protocol::cluster::NodeId;

/// There is none.
pub struct ClusterTarget {
    pub id: NodeId,
    never: Infallible,
}

impl ClusterTarget {
    /// An error if there is to be a cluster.
    pub fn open(config: &Cluster) -> io::Result<Option<ClusterTarget>> {
        check_cluster(config).map(|()| None)
    }

    /// Is never called: there is none.
    pub fn go_on_as(&mut self, _: Option<String>) {
        match self.never {}
    }

    /// Is never called: there is none.
    pub fn go_on_for(&mut self, _: NodeId, _: &str, _: UnixStream) {
        match self.never {}
    }

    /// Nor is this.
    pub fn node(&self) -> Option<String> {
        match self.never {}
    }
}

/// What would keep a server from starting with this: that it names a Redis.
pub fn check_cluster(config: &Cluster) -> io::Result<()> {
    match config.is_on() {
        false => Ok(()),
        true => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "cluster.redis: this build knows no clusters; build it with the feature `cluster`",
        )),
    }
}

/// What would have come of trying a Redis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterTrial {
    /// Where it would be.
    pub address: String,
    /// What it would be, or why it would not do.
    pub found: Result<String, String>,
    /// What might have caused trouble.
    pub doubts: Vec<ClusterDoubt>,
}

/// Something about a Redis that may cause trouble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterDoubt {
    /// What it is, and what comes of it.
    pub because: String,
    /// A command for its command line, if there is one.
    pub mend: Option<String>,
}

/// An error if there is to be a cluster.
pub fn try_cluster(config: &Cluster) -> io::Result<Vec<ClusterTrial>> {
    check_cluster(config).map(|()| Vec::new())
}

/// What the cluster's thread would need to know of the server.
pub struct ClusterSurroundings {
    #[expect(dead_code, reason = "there is no cluster")]
    pub namespaces: Vec<&'static str>,
    #[expect(dead_code, reason = "there is no cluster")]
    pub registry: Arc<Registry>,
    #[expect(dead_code, reason = "there is no cluster")]
    pub readiness: Arc<Readiness>,
    #[expect(dead_code, reason = "there is no cluster")]
    pub counters: Arc<ConnectionCounters>,
    #[expect(dead_code, reason = "there is no cluster")]
    pub facts: Arc<Facts>,
}

/// There is none.
#[derive(Clone)]
pub struct ClusterControl(Infallible);

impl ClusterControl {
    /// Is never called, as all of these: there is no [`ClusterThread`].
    pub fn begin(&self, _: Option<UnixStream>) {
        match self.0 {}
    }

    pub fn be_shadowed(&self, _: Instant) -> Result<bool, String> {
        match self.0 {}
    }

    pub fn rest(&self) {
        match self.0 {}
    }

    pub fn part(&self, _: Instant) -> Result<bool, String> {
        match self.0 {}
    }

    pub fn resume(&self) {
        match self.0 {}
    }

    pub fn be_gone(&self) {
        match self.0 {}
    }

    pub fn go_on(&self) {
        match self.0 {}
    }
}

/// There is none.
pub struct ClusterThread {
    pub name: String,
    pub id: NodeId,
    pub identity: String,
    pub control: ClusterControl,
    never: Infallible,
}

impl ClusterThread {
    /// Is never called: there is no [`ClusterTarget`].
    pub fn start(
        target: ClusterTarget,
        _: Endpoint<Body>,
        _: ClusterSurroundings,
    ) -> io::Result<ClusterThread> {
        match target.never {}
    }

    /// Is never called: there is none.
    pub fn finish(self) {
        match self.never {}
    }
}
