//! The Redis of a cluster as the configuration names it, checked: [`ClusterTarget`], of which each is a [`RedisTarget`].

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisError,
    TlsCertificates,
};

use super::own_name::own_name;
use super::passage::PASSAGE_VERSION;
use super::pubsub::PubSub;
use super::sentinel::{Sentinels, address};
use super::slots::{PARTITIONS_MAX, PORT, SlotMaps, SlotOfCluster, tag_of};
use crate::config::Cluster;
use crate::protocol::cluster::NodeId;

/// Longest prefix and name of a node.
const WORD_BYTES_MAX: usize = 64;
/// Longest password.
const SECRET_BYTES_MAX: u64 = 4_096;

/// Most Redis that are named one by one.
const URLS_MAX: usize = 64;
/// Partitions of a Redis Cluster, unless the URL says otherwise.
const PARTITIONS: u16 = 16;

const EXPECTED: &str = "cluster.redis: expected a URL of a Redis or Valkey, redis://HOST:PORT, rediss://HOST:PORT (TLS), \
                        redis+sentinel://, redis+cluster:// or unix:///PATH, or several with commas";

const EACH_ITS_OWN: &str = "cluster.redis: of several Redis each has a URL of its own, as in redis://A, redis://B; \
                            several hosts in one are those of redis+sentinel: or redis+cluster:";

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

/// One Redis of a cluster, or one slot of a Redis Cluster.
#[derive(Clone)]
pub struct RedisTarget {
    /// Its address is none where somebody else knows it.
    pub connection: ConnectionInfo,
    found_by: FoundBy,
    /// In PEM.
    authorities: Option<Arc<[u8]>>,
    /// Where it is, without its password.
    pub address: String,
    /// What all channels and keys there begin with.
    pub prefix: String,
}

/// Who knows where a Redis is.
#[derive(Clone)]
enum FoundBy {
    ItsAddress,
    Sentinels(Sentinels),
    Slot(SlotOfCluster),
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
        let Some(text) = &config.redis else {
            return Ok(None);
        };
        if config.answer_timeout < Cluster::ANSWER_TIMEOUT_MIN {
            return Err(mistake("cluster.answer_timeout: at least 100ms"));
        }
        let urls = urls_of(text);
        if urls.len() > URLS_MAX {
            return Err(mistake(format!("cluster.redis: more than {URLS_MAX} URLs")));
        }
        let prefix = config.prefix.as_deref().unwrap_or(Cluster::PREFIX);
        check_word("cluster.prefix", prefix)?;
        if let Some(node) = &config.node {
            check_word("cluster.node", node)?;
        }
        let mut redis = Vec::new();
        for url in &urls {
            redis.extend(targets_of(url, prefix, urls.len() == 1)?);
        }
        let mut addresses: Vec<&str> = redis.iter().map(|one| &*one.address).collect();
        addresses.sort_unstable();
        if let Some(twice) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            let text = format!("cluster.redis: {} stands there twice", twice[0]);
            return Err(mistake(text));
        }
        add_files(config, &urls, &mut redis)?;
        Ok(Some(ClusterTarget {
            redis,
            id: NodeId(fastrand::u64(1..)),
            predecessor: None,
            node: config.node.clone(),
            answer_timeout: config.answer_timeout,
            ready_alone: config.ready_alone,
        }))
    }
}

/// Those of a list that is separated by commas; what has no scheme belongs to the one before it.
fn urls_of(text: &str) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim) {
        match urls.last_mut() {
            Some(before) if !part.contains("://") => {
                before.push(',');
                before.push_str(part);
            }
            _ => urls.push(part.to_owned()),
        }
    }
    urls
}

/// What stands in files: authorities, and passwords.
fn add_files(config: &Cluster, urls: &[String], redis: &mut [RedisTarget]) -> io::Result<()> {
    let authorities = config.ca_file.as_deref();
    let authorities = authorities.map(read_authorities).transpose()?;
    if authorities.is_some() && !urls.iter().any(|url| url.starts_with("rediss")) {
        return Err(mistake("cluster.ca_file: only rediss:// has use for it"));
    }
    let read = |key: &str, file: &Option<PathBuf>| match file {
        None => Ok(None),
        Some(file) => match read_secret(file) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) => Err(mistake(format!("{key} {file:?}: {error}"))),
        },
    };
    let secret = read("cluster.secret_file", &config.secret_file)?;
    let key = "cluster.sentinel_secret_file";
    let sentinels_secret = read(key, &config.sentinel_secret_file)?;
    let mut has_sentinels = false;
    for one in redis {
        one.authorities.clone_from(&authorities);
        if let Some(secret) = &secret {
            let settings = one.connection.redis_settings().clone();
            let settings = settings.set_password(secret);
            one.connection = one.connection.clone().set_redis_settings(settings);
        }
        if let FoundBy::Sentinels(sentinels) = &mut one.found_by {
            has_sentinels = true;
            sentinels.secret.clone_from(&sentinels_secret);
        }
    }
    match sentinels_secret.is_some() && !has_sentinels {
        true => Err(mistake(format!(
            "{key}: only redis+sentinel:// has use for it"
        ))),
        false => Ok(()),
    }
}

/// What a URL names, which is the only one or not.
fn targets_of(url: &str, prefix: &str, is_only: bool) -> io::Result<Vec<RedisTarget>> {
    let target = |(connection, address), found_by| RedisTarget {
        connection,
        found_by,
        authorities: None,
        address,
        prefix: format!("{prefix}:"),
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(mistake(EXPECTED));
    };
    // By TLS or not, as this does without the rest.
    let plain = scheme.split('+').next().unwrap_or_default();
    match scheme {
        "redis+sentinel" | "rediss+sentinel" => {
            let Some((sentinels, rest)) = Sentinels::read(rest) else {
                return Err(mistake(format!(
                    "cluster.redis: expected {scheme}://HOST:PORT,HOST:PORT/MASTER"
                )));
            };
            let (connection, _) = connection_of(&format!("{plain}://{rest}"))?;
            let address = sentinels.describe();
            let found_by = FoundBy::Sentinels(sentinels);
            Ok(vec![target((connection, address), found_by)])
        }
        "redis+cluster" | "rediss+cluster" if !is_only => Err(mistake(
            "cluster.redis: a Redis Cluster, whose nodes are named in one URL, is the only one",
        )),
        "redis+cluster" | "rediss+cluster" => {
            let Some(NamedCluster { user, seeds, of }) = cluster_of(rest) else {
                return Err(mistake(format!(
                    "cluster.redis: expected {scheme}://HOST:PORT,HOST:PORT, and ?partitions= with 1 to {PARTITIONS_MAX} \
                     if those are not {PARTITIONS}"
                )));
            };
            let (connection, _) = connection_of(&format!("{plain}://{user}cluster"))?;
            let cluster = Arc::new(SlotMaps::new(seeds));
            let name = cluster.name();
            let slots = (0..of).map(|nth| {
                let (tag, slot) = tag_of(nth, of);
                let address = format!("slot {slot} of {name}");
                let cluster = Arc::clone(&cluster);
                let found_by = FoundBy::Slot(SlotOfCluster { cluster, slot });
                RedisTarget {
                    prefix: format!("{prefix}:{{{tag}}}"),
                    ..target((connection.clone(), address), found_by)
                }
            });
            Ok(slots.collect())
        }
        _ => Ok(vec![target(connection_of(url)?, FoundBy::ItsAddress)]),
    }
}

/// A Redis Cluster as a URL names it.
struct NamedCluster<'a> {
    /// With its `@`.
    user: &'a str,
    /// Some of its nodes.
    seeds: Vec<(String, u16)>,
    /// How many partitions.
    of: u16,
}

/// What stands behind `redis+cluster://`.
fn cluster_of(rest: &str) -> Option<NamedCluster<'_>> {
    let (authority, of) = match rest.split_once('?') {
        Some((authority, query)) => {
            let of: u16 = query.strip_prefix("partitions=")?.parse().ok()?;
            ((1..=PARTITIONS_MAX).contains(&of)).then_some((authority, of))?
        }
        None => (rest, PARTITIONS),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let hosts = authority.rsplit('@').next()?;
    let (user, _) = authority.split_at(authority.len() - hosts.len());
    let seeds: Option<Vec<_>> = hosts.split(',').map(|one| address(one, PORT)).collect();
    let seeds = seeds?;
    Some(NamedCluster { user, seeds, of })
}

impl RedisTarget {
    /// How is published and subscribed there.
    pub fn pubsub(&self) -> PubSub {
        match self.found_by {
            FoundBy::Slot(_) => PubSub::Sharded,
            _ => PubSub::Plain,
        }
    }

    /// What connects to the Redis: the one that is the master now.
    pub async fn client(&self) -> Result<Client, String> {
        let connection = self.by_resp3();
        let connect = |to: ConnectionInfo| self.connect(to);
        let found = match &self.found_by {
            FoundBy::ItsAddress => None,
            FoundBy::Sentinels(sentinels) => Some(sentinels.find(&connection, connect).await?),
            FoundBy::Slot(slot) => Some(slot.find(&connection, connect).await?),
        };
        let connection = match found {
            Some(found) => connection.set_addr(found),
            None => connection,
        };
        self.connect(connection).map_err(|error| error.to_string())
    }

    /// Which slot it is, if it is one.
    pub fn slot(&self) -> Option<u16> {
        match &self.found_by {
            FoundBy::Slot(slot) => Some(slot.slot),
            _ => None,
        }
    }

    /// The Redis, or the Redis Cluster, of which it may be a slot.
    pub fn whole(&self) -> String {
        match &self.found_by {
            FoundBy::Slot(slot) => slot.cluster.name(),
            _ => self.address.clone(),
        }
    }

    /// The same at a master that is found there.
    pub fn found_at(&self, address: &str) -> RedisTarget {
        RedisTarget {
            address: address.to_owned(),
            ..self.clone()
        }
    }

    fn by_resp3(&self) -> ConnectionInfo {
        let settings = self.connection.redis_settings().clone();
        let settings = settings.set_protocol(ProtocolVersion::RESP3);
        self.connection.clone().set_redis_settings(settings)
    }

    fn connect(&self, to: ConnectionInfo) -> Result<Client, RedisError> {
        match &self.authorities {
            Some(authorities) => Client::build_with_tls(
                to,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authorities.to_vec()),
                },
            ),
            None => Client::open(to),
        }
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
        Some("redis" | "rediss") if url.contains(',') => return Err(mistake(EACH_ITS_OWN)),
        Some("redis" | "rediss" | "unix") if !url.contains(',') => {}
        _ => return Err(mistake(EXPECTED)),
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
            opened("redis://a, rediss://b:7,redis+sentinel://c,d/shop,redis://e"),
            Ok(
                "a:6379 and b:7, by TLS and master \"shop\" by Sentinel at c:26379, d:26379 and e:6379"
                    .into()
            )
        );
        assert_eq!(
            opened("rediss+cluster://me@a,b:7?partitions=2"),
            Ok(
                "slot 54 of the Redis Cluster at a:6379, b:7 and slot 8495 of the Redis Cluster at a:6379, b:7"
                    .into()
            )
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
            ("redis://a,redis://a:6379", "twice"),
            ("redis://a,b", "a URL of its own"),
            ("redis:/a", "expected a URL"),
            ("valkey://a", "Valkey"),
            ("redis://a,redis+cluster://b", "the only one"),
            ("redis+cluster://", "HOST:PORT"),
            ("redis+cluster://a?partitions=0", "1 to 256"),
            ("redis+cluster://a?partitions=257", "1 to 256"),
            ("redis+cluster://a?masters=3", "1 to 256"),
            ("redis+cluster://:s3cret@a", "cluster.secret_file"),
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
