//! The Redis of a cluster as the configuration names it, checked: [`ClusterTarget`].

use std::fs;
use std::io;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::config::Cluster;

/// Longest prefix and name of a node.
const WORD_BYTES_MAX: usize = 64;
/// Longest password.
const SECRET_BYTES_MAX: u64 = 4_096;

/// See the module.
pub struct ClusterTarget {
    pub connection: ConnectionInfo,
    /// Where it is, without its password.
    pub address: String,
    /// With the colon.
    pub prefix: String,
    /// As the configuration has it.
    pub node: Option<String>,
    pub answer_timeout: Duration,
    pub ready_alone: bool,
}

/// What would keep a server from starting with this.
pub fn check_cluster(config: &Cluster) -> io::Result<()> {
    ClusterTarget::open(config).map(drop)
}

fn mistake(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

impl ClusterTarget {
    /// None where no cluster is configured. An error says which key is wrong.
    pub fn open(config: &Cluster) -> io::Result<Option<ClusterTarget>> {
        let Some(url) = &config.redis else {
            return Ok(None);
        };
        if config.answer_timeout < Cluster::ANSWER_TIMEOUT_MIN {
            return Err(mistake("cluster.answer_timeout: at least 100ms"));
        }
        let (mut connection, address) = connection_of(url)?;
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
        Ok(Some(ClusterTarget {
            connection,
            address,
            prefix: format!("{prefix}:"),
            node: config.node.clone(),
            answer_timeout: config.answer_timeout,
            ready_alone: config.ready_alone,
        }))
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
        Some("redis+sentinel" | "redis+cluster") => {
            return Err(mistake(
                "cluster.redis: Sentinel and Redis Cluster are not known yet; name one Redis by redis:// or rediss://",
            ));
        }
        _ => {
            return Err(mistake(
                "cluster.redis: expected a URL, redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH",
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
            Ok(target) => Ok(target.expect("one is configured").address),
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
