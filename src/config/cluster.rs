//! [`Cluster`]: the Redis through which the nodes of a cluster reach each other's users.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How a server is one of a cluster.
#[derive(Clone, PartialEq)]
pub struct Cluster {
    /// `redis://HOST:PORT`, `rediss://` (TLS), `unix:///PATH`, `redis+sentinel://HOST:PORT,HOST:PORT/MASTER`; several of
    /// these with commas between them; or `redis+cluster://HOST:PORT,HOST:PORT`. `None` for a server by itself.
    pub redis: Option<String>,
    /// The authorities that `rediss://` trusts (PEM), in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The file that holds Redis' password, and nothing else.
    pub secret_file: Option<PathBuf>,
    /// The file that holds the Sentinels' own password, and nothing else.
    pub sentinel_secret_file: Option<PathBuf>,
    /// What all channels and keys of the cluster begin with, before a colon: others on the same Redis have another.
    pub prefix: Option<String>,
    /// What the node is called in lists; by default the host's name and a random part.
    pub node: Option<String>,
    /// Time for the other nodes to say what has come of something; then it is unknown.
    pub answer_timeout: Duration,
    /// Whether clients are to be sent here (`/readyz`) while Redis is away: they reach those of this node alone.
    pub ready_alone: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            redis: None,
            ca_file: None,
            secret_file: None,
            sentinel_secret_file: None,
            prefix: None,
            node: None,
            answer_timeout: Duration::from_secs(1),
            ready_alone: true,
        }
    }
}

impl Cluster {
    /// What channels and keys begin with, unless the configuration says otherwise.
    pub const PREFIX: &'static str = "ringpost";
    /// The least that [`Cluster::answer_timeout`] may be.
    pub const ANSWER_TIMEOUT_MIN: Duration = Duration::from_millis(100);

    /// Whether the server is one of a cluster.
    pub fn is_on(&self) -> bool {
        self.redis.is_some()
    }
}

// By hand, so that a URL that holds a password, which is refused, is in no log either.
impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("is_on", &self.is_on())
            .field("prefix", &self.prefix)
            .field("node", &self.node)
            .field("answer_timeout", &self.answer_timeout)
            .finish_non_exhaustive()
    }
}
