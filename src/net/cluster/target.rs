//! The Redis of a cluster as the configuration names it, checked: [`ClusterTarget`], of which each is a [`RedisTarget`].

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use super::own_name::own_name;
use super::passage::PASSAGE_VERSION;
use super::sentinel::Sentinels;
use crate::config::Cluster;
use crate::protocol::cluster::NodeId;

/// Longest prefix and name of a node.
const WORD_BYTES_MAX: usize = 64;
/// Longest password.
const SECRET_BYTES_MAX: u64 = 4_096;

/// Largest file of authorities.
const CA_BYTES_MAX: u64 = 1 << 20;

/// See the module.
pub struct ClusterTarget {
    /// By their partitions.
    pub redis: Vec<RedisTarget>,
    /// The node's number.
    pub id: NodeId,
    /// The way to the process in whose place this one goes on as the same node.
    pub predecessor: Option<UnixStream>,
    /// As the configuration has it.
    pub node: Option<String>,
    pub answer_timeout: Duration,
    pub ready_alone: bool,
}

/// One Redis of a cluster.
pub struct RedisTarget {
    /// Its address is none where Sentinels know it.
    pub connection: ConnectionInfo,
    sentinels: Option<Sentinels>,
    /// In PEM.
    authorities: Option<Arc<[u8]>>,
    /// Where it is, without its password.
    pub address: String,
    /// What all channels and keys there begin with.
    pub prefix: String,
}

/// What would keep a server from starting with this.
pub fn check_cluster(config: &Cluster) -> io::Result<()> {
    ClusterTarget::open(config).map(drop)
}

fn mistake(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

impl ClusterTarget {
    /// A node without a name in its configuration goes on by that of another process, in whose place it does, or has one of
    /// its own.
    pub fn go_on_as(&mut self, name: Option<String>) {
        let name = self.node.take().or(name);
        self.node = Some(name.unwrap_or_else(own_name));
    }

    /// What the node is called.
    pub fn node(&self) -> Option<String> {
        self.node.clone()
    }

    /// It goes on as that node, by a way to its process, if that is one of the same cluster.
    pub fn go_on_for(&mut self, node: NodeId, cluster: &str, way: UnixStream) {
        if cluster == self.identity() {
            (self.id, self.predecessor) = (node, Some(way));
        }
    }

    /// By which two processes see whether they are to be in the same cluster, and can speak about it.
    pub fn identity(&self) -> String {
        let each = self.redis.iter();
        let each: Vec<String> = each
            .map(|redis| format!("{} {}", redis.address, redis.prefix))
            .collect();
        format!("{PASSAGE_VERSION} {}", each.join(" "))
    }

    /// None where no cluster is configured. An error says which key is wrong.
    pub fn open(config: &Cluster) -> io::Result<Option<ClusterTarget>> {
        let Some(url) = &config.redis else {
            return Ok(None);
        };
        if config.answer_timeout < Cluster::ANSWER_TIMEOUT_MIN {
            return Err(mistake("cluster.answer_timeout: at least 100ms"));
        }
        let sentinels = sentinels_of(url)?;
        let (mut connection, mut address) = match &sentinels {
            Some((_, plain)) => connection_of(plain)?,
            None => connection_of(url)?,
        };
        let sentinels = sentinels.map(|(sentinels, _)| sentinels);
        if let Some(sentinels) = &sentinels {
            address = sentinels.describe();
        }
        let authorities = config
            .ca_file
            .as_deref()
            .map(read_authorities)
            .transpose()?;
        if authorities.is_some() && !url.starts_with("rediss:") {
            return Err(mistake("cluster.ca_file: only rediss:// has use for it"));
        }
        if let Some(file) = &config.secret_file {
            let secret = read_secret(file)
                .map_err(|error| mistake(format!("cluster.secret_file {file:?}: {error}")))?;
            let settings = connection.redis_settings().clone().set_password(secret);
            connection = connection.set_redis_settings(settings);
        }
        let prefix = config.prefix.as_deref().unwrap_or(Cluster::PREFIX);
        check_word("cluster.prefix", prefix)?;
        if let Some(node) = &config.node {
            check_word("cluster.node", node)?;
        }
        let redis = RedisTarget {
            connection,
            sentinels,
            authorities,
            address,
            prefix: format!("{prefix}:"),
        };
        Ok(Some(ClusterTarget {
            redis: vec![redis],
            id: NodeId(fastrand::u64(1..)),
            predecessor: None,
            node: config.node.clone(),
            answer_timeout: config.answer_timeout,
            ready_alone: config.ready_alone,
        }))
    }
}

impl RedisTarget {
    /// What connects to the Redis: the one that is the master now.
    pub async fn client(&self, mut connection: ConnectionInfo) -> Result<Client, String> {
        if let Some(sentinels) = &self.sentinels {
            connection = connection.set_addr(sentinels.find().await?);
        }
        let client = match &self.authorities {
            Some(authorities) => Client::build_with_tls(
                connection,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authorities.to_vec()),
                },
            ),
            None => Client::open(connection),
        };
        client.map_err(|error| error.to_string())
    }
}

fn read_authorities(file: &std::path::Path) -> io::Result<Arc<[u8]>> {
    let wrong = |error: io::Error| mistake(format!("cluster.ca_file {file:?}: {error}"));
    if fs::metadata(file).map_err(wrong)?.len() > CA_BYTES_MAX {
        return Err(wrong(mistake("it is larger than 1 MiB")));
    }
    let authorities = fs::read(file).map_err(wrong)?;
    let has_one = authorities
        .windows(b"-----BEGIN CERTIFICATE-----".len())
        .any(|part| part == b"-----BEGIN CERTIFICATE-----");
    match has_one {
        true => Ok(authorities.into()),
        false => Err(wrong(mistake("it has no certificate in PEM"))),
    }
}

/// The Sentinels of a URL that names them, and the URL of a Redis that has the rest.
fn sentinels_of(url: &str) -> io::Result<Option<(Sentinels, String)>> {
    let Some(rest) = url.strip_prefix("redis+sentinel://") else {
        return Ok(None);
    };
    match Sentinels::read(rest) {
        Some(read) => Ok(Some(read)),
        None => Err(mistake(
            "cluster.redis: expected redis+sentinel://HOST:PORT,HOST:PORT/MASTER",
        )),
    }
}

fn read_secret(file: &std::path::Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > SECRET_BYTES_MAX {
        return Err(mistake("it is larger than a password"));
    }
    let text = fs::read_to_string(file)?;
    let secret = text.trim_end_matches(['\n', '\r']);
    match secret.is_empty() {
        true => Err(mistake("it is empty")),
        false => Ok(secret.to_owned()),
    }
}

fn check_word(key: &str, word: &str) -> io::Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !word.is_empty() && word.len() <= WORD_BYTES_MAX && word.bytes().all(is_plain) {
        return Ok(());
    }
    Err(mistake(format!(
        "{key} = {word:?}: expected 1 to {WORD_BYTES_MAX} letters, digits, \"-\", \"_\" and \".\""
    )))
}

/// The URL as the client has it, and what it leads to in words.
fn connection_of(url: &str) -> io::Result<(ConnectionInfo, String)> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        _ if url.contains(',') => {
            return Err(mistake(
                "cluster.redis: several URLs; one Redis is what this version knows",
            ));
        }
        Some("redis" | "rediss" | "unix") => {}
        Some("redis+cluster") => {
            return Err(mistake(
                "cluster.redis: a Redis Cluster is not known yet; name one Redis by redis://, rediss:// or \
                 redis+sentinel://",
            ));
        }
        _ => {
            return Err(mistake(
                "cluster.redis: expected a URL, redis://HOST:PORT, rediss://HOST:PORT, redis+sentinel:// or unix:///PATH",
            ));
        }
    }
    let connection = url
        .into_connection_info()
        .map_err(|error| mistake(format!("cluster.redis: no URL of a Redis: {error}")))?;
    if connection.redis_settings().password().is_some() {
        return Err(mistake(
            "cluster.redis holds a password, which lists of processes and logs would show; write it into a file and \
             name that in cluster.secret_file (a user's name may stay: redis://USER@HOST)",
        ));
    }
    let address = match connection.addr() {
        ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(mistake(
                "cluster.redis: #insecure would take any certificate for Redis' own",
            ));
        }
        ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}, by TLS"),
        ConnectionAddr::Unix(path) => format!("{}", path.display()),
        _ => {
            return Err(mistake(
                "cluster.redis: a kind of address that is not known",
            ));
        }
    };
    Ok((connection, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(redis: &str) -> Result<String, String> {
        let config = Cluster {
            redis: Some(redis.to_owned()),
            ..Cluster::default()
        };
        match ClusterTarget::open(&config) {
            Ok(target) => {
                let redis = target.expect("one is configured").redis;
                let addresses = redis.iter().map(|one| &*one.address);
                Ok(addresses.collect::<Vec<_>>().join(" and "))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn urls() {
        assert_eq!(opened("redis://localhost"), Ok("localhost:6379".into()));
        assert_eq!(opened("redis://me@10.0.0.1:7/2"), Ok("10.0.0.1:7".into()));
        assert_eq!(
            opened("rediss://r.example"),
            Ok("r.example:6379, by TLS".into())
        );
        assert_eq!(
            opened("redis+sentinel://me@a,b:7/shop"),
            Ok("master \"shop\" by Sentinel at a:26379, b:7".into())
        );
        assert_eq!(
            opened("unix:///run/redis.sock"),
            Ok("/run/redis.sock".into())
        );
        for (url, words) in [
            ("localhost:6379", "expected a URL"),
            ("http://localhost", "expected a URL"),
            ("redis://", "no URL of a Redis"),
            ("redis://:s3cret@localhost", "cluster.secret_file"),
            ("redis://a,redis://b", "several"),
            ("redis+cluster://a", "not known yet"),
            ("redis+sentinel://a", "MASTER"),
            ("redis+sentinel://:s3cret@a/m", "cluster.secret_file"),
            ("rediss://a#insecure", "any certificate"),
        ] {
            let error = opened(url).expect_err(url);
            assert!(
                error.contains(words) && !error.contains("s3cret"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn words_are_plain() {
        for word in ["a", "ringpost-2", "shop.example"] {
            assert!(check_word("k", word).is_ok(), "{word}");
        }
        for word in ["", "a b", "a:b", "*", "é", &"x".repeat(65)] {
            assert!(check_word("k", word).is_err(), "{word}");
        }
    }

    #[test]
    fn nothing_configured_is_no_cluster() {
        assert!(ClusterTarget::open(&Cluster::default()).is_ok_and(|target| target.is_none()));
    }
}
