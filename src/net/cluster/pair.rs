//! The two connections to a Redis, one that publishes and one that is subscribed: [`ConnectionPair`], made and looked at
//! whether this Redis will do.

use std::time::Duration;

use futures_util::FutureExt;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisError};

use super::pubsub::PubSub;
use super::target::RedisTarget;
use super::words::in_words;

/// For a connection to be there, with what is asked of it at first.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The oldest Redis that is taken.
const VERSION_MIN: (u32, u32) = (6, 2);

/// The two connections, and whose they are.
#[derive(Clone)]
pub struct ConnectionPair {
    pub commands: MultiplexedConnection,
    pub subscriptions: MultiplexedConnection,
    /// What Redis calls the one that is subscribed; 0 if it does not tell.
    pub client: u64,
    pub server: RedisServer,
}

/// What a Redis tells of itself, as far as it may be asked.
#[derive(Clone, Default, Debug)]
pub struct RedisServer {
    /// Empty if it does not tell.
    pub version: String,
    /// What it calls this run of it; empty if it does not tell.
    pub run: String,
    /// Since it has started.
    pub uptime: Option<Duration>,
    /// `standalone` or `cluster`; empty if it does not tell.
    pub mode: String,
}

impl ConnectionPair {
    /// Connects, and looks whether this Redis will do.
    pub async fn open(
        target: &RedisTarget,
        client: &Client,
        arrivals: impl AsyncPushSender,
    ) -> Result<ConnectionPair, String> {
        let refused =
            |error: RedisError| format!("Redis at {}: {}", target.address, in_words(&error));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(JOIN_TIMEOUT))
            .set_response_timeout(None);
        let commands = client.get_multiplexed_async_connection_with_config(&config);
        let mut commands = commands.await.map_err(refused)?;
        let server = server_of(&mut commands).await.map_err(refused)?;
        check_version(&server.version)
            .map_err(|words| format!("Redis at {}: {words}", target.address))?;
        if is_replica(&mut commands).await {
            return Err(format!(
                "Redis at {}: it is a replica, whose channels its master does not have; name the master",
                target.address
            ));
        }
        check_mode(&server.mode, target.pubsub())
            .map_err(|words| format!("Redis at {}: {words}", target.address))?;
        let config = config.set_push_sender(arrivals);
        let subscriptions = client.get_multiplexed_async_connection_with_config(&config);
        let mut subscriptions = subscriptions.await.map_err(refused)?;
        let client = redis::cmd("CLIENT").arg("ID").to_owned();
        let client: Result<u64, RedisError> = client.query_async(&mut subscriptions).await;
        Ok(ConnectionPair {
            commands,
            subscriptions,
            client: client.unwrap_or_default(),
            server,
        })
    }

    /// Unsubscribes from this channel, whatever comes of it. Whether it is on its way.
    pub fn forget(&self, pubsub: PubSub, channel: &str) -> bool {
        let mut subscriptions = self.subscriptions.clone();
        let mut command = redis::cmd(pubsub.unsubscribe());
        command.arg(channel).set_no_response(true);
        // What is sent is in the connection's queue then, if that has room.
        let sent = subscriptions.send_packed_command(&command).now_or_never();
        sent.is_some_and(|sent| sent.is_ok())
    }
}

/// As the server tells it, where it may be asked; managed ones often do not let it be.
async fn server_of(commands: &mut MultiplexedConnection) -> Result<RedisServer, RedisError> {
    let info: Result<String, RedisError> =
        redis::cmd("INFO").arg("server").query_async(commands).await;
    match info {
        Ok(info) => {
            let line = |name: &str| {
                let mut lines = info.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
            };
            let seconds = line("uptime_in_seconds").and_then(|text| text.parse().ok());
            Ok(RedisServer {
                version: line("redis_version").unwrap_or_default().to_owned(),
                run: line("run_id").unwrap_or_default().to_owned(),
                uptime: seconds.map(Duration::from_secs),
                mode: line("redis_mode").unwrap_or_default().to_owned(),
            })
        }
        Err(error) if error.code() == Some("NOPERM") => Ok(RedisServer::default()),
        Err(error) => Err(error),
    }
}

/// As far as it tells.
async fn is_replica(commands: &mut MultiplexedConnection) -> bool {
    let mut info = redis::cmd("INFO");
    let info: Result<String, RedisError> = info.arg("replication").query_async(commands).await;
    info.is_ok_and(|info| info.lines().any(|line| line.trim() == "role:slave"))
}

/// One that does not say is taken.
fn check_version(version: &str) -> Result<(), String> {
    let mut numbers = version.split('.').map(|part| part.parse().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return Ok(());
    };
    if (major, minor) >= VERSION_MIN {
        return Ok(());
    }
    let (major, minor) = VERSION_MIN;
    Err(format!(
        "it is Redis {version}; a cluster needs {major}.{minor} or later, or Valkey"
    ))
}

/// A Redis Cluster is named as one, and nothing else is.
fn check_mode(mode: &str, pubsub: PubSub) -> Result<(), &'static str> {
    match (mode, pubsub) {
        ("cluster", PubSub::Plain) => {
            Err("it is one of a Redis Cluster; name that by redis+cluster://")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for taken in [
            "6.2.0",
            "7.0.15",
            "8.0",
            "10.1.2",
            "",
            "255.255.255",
            "unstable",
        ] {
            assert_eq!(check_version(taken), Ok(()), "{taken}");
        }
        for old in ["6.0.16", "5.0.7", "2.8"] {
            let error = check_version(old).expect_err(old);
            assert!(error.contains(old) && error.contains("6.2"), "{error}");
        }
    }
}
