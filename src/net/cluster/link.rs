//! The connections to Redis: [`RedisLink`], two of them, by the `redis` crate. One publishes, one is subscribed.
//!
//! A link is joined whole, tried out, or not at all, and when one of the two ends both go. Errors are sentences for whoever
//! runs the server.

use std::pin::pin;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, Value};

use super::interests::SubscriptionChange;
use super::party::{Publication, Published};
use super::target::ClusterTarget;

/// For a connection to be there, with what is asked of it at first.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pieces of a time to answer.
const TIMEOUT_PIECES: u32 = 10;
/// The oldest Redis that is taken.
const VERSION_MIN: (u32, u32) = (6, 2);

const WRONG_PASSWORD: &str =
    "the name or password is wrong (cluster.secret_file, and the user in cluster.redis)";

/// See the module.
pub struct RedisLink {
    commands: MultiplexedConnection,
    subscriptions: PubSubSink,
    /// What comes by the channels.
    pub arriving: PubSubStream,
    /// As Redis calls itself.
    pub version: String,
}

impl RedisLink {
    /// Connects, looks whether this Redis will do, and subscribes to these channels.
    pub async fn join(target: &ClusterTarget, channels: &[String]) -> Result<RedisLink, String> {
        match tokio::time::timeout(JOIN_TIMEOUT, join(target, channels)).await {
            Ok(joined) => joined,
            Err(_) => Err(format!(
                "Redis at {} does not answer within {} s",
                target.address,
                JOIN_TIMEOUT.as_secs()
            )),
        }
    }

    /// Publishes all of these, in their order, and says how many each was given to. An error if Redis has not answered in
    /// time: then the link is no more.
    pub fn publish(
        &self,
        batch: &[Publication],
        timeout: Duration,
    ) -> impl Future<Output = Result<Vec<Published>, String>> + use<> {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for publication in batch {
            let publish = pipeline.cmd("PUBLISH");
            publish.arg(&publication.channel).arg(&publication.bytes);
        }
        let (count, mut commands) = (batch.len(), self.commands.clone());
        async move {
            let answers = commands.req_packed_commands(&pipeline, 0, count);
            match within(timeout, answers).await {
                Some(Ok(answers)) => Ok(answers.into_iter().map(published).collect()),
                Some(Err(error)) => Err(in_words(&error)),
                None => Err("Redis does not answer".to_owned()),
            }
        }
    }

    /// Subscribes to channels, or unsubscribes.
    pub fn change(
        &self,
        change: SubscriptionChange,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), String>> + use<> {
        let mut subscriptions = self.subscriptions.clone();
        async move {
            let SubscriptionChange {
                subscribes,
                channels,
            } = change;
            let channels: Vec<&str> = channels.iter().map(AsRef::as_ref).collect();
            let changed = async {
                match subscribes {
                    true => subscriptions.subscribe(&channels).await,
                    false => subscriptions.unsubscribe(&channels).await,
                }
            };
            match within(timeout, changed).await {
                Some(changed) => changed.map_err(|error| in_words(&error)),
                None => Err("Redis does not answer".to_owned()),
            }
        }
    }
}

/// What comes of it within this time. The time is counted in pieces: if this process stands still, that is one piece, and
/// Redis' answer, which has come meanwhile, is read before the next.
async fn within<F: Future>(time: Duration, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    for _ in 0..TIMEOUT_PIECES {
        let piece = tokio::time::timeout(time / TIMEOUT_PIECES, work.as_mut());
        if let Ok(output) = piece.await {
            return Some(output);
        }
    }
    None
}

async fn join(target: &ClusterTarget, channels: &[String]) -> Result<RedisLink, String> {
    let refused = |error: RedisError| format!("Redis at {}: {}", target.address, in_words(&error));
    let client = Client::open(target.connection.clone()).map_err(refused)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(JOIN_TIMEOUT))
        .set_response_timeout(None);
    let commands = client.get_multiplexed_async_connection_with_config(&config);
    let mut commands = commands.await.map_err(refused)?;
    let version = version_of(&mut commands).await.map_err(refused)?;
    check_version(&version).map_err(|words| format!("Redis at {}: {words}", target.address))?;
    let pubsub = client.get_async_pubsub().await.map_err(refused)?;
    let (mut subscriptions, arriving) = pubsub.split();
    let taken = subscriptions.subscribe(channels).await;
    taken.map_err(|error| no_channels(target, "subscribe", &error))?;
    let own = channels.first().map_or("", String::as_str);
    let said: Result<u32, RedisError> = redis::cmd("PUBLISH")
        .arg(own)
        .arg("")
        .query_async(&mut commands)
        .await;
    said.map_err(|error| no_channels(target, "publish", &error))?;
    Ok(RedisLink {
        commands,
        subscriptions,
        arriving,
        version,
    })
}

fn no_channels(target: &ClusterTarget, what: &str, error: &RedisError) -> String {
    let (address, prefix) = (&target.address, &target.prefix);
    match error.code() {
        Some("NOPERM") => format!(
            "Redis at {address} lets this user not {what} at the cluster's channels; its ACL needs \"&{prefix}*\", \
             +subscribe, +unsubscribe and +publish"
        ),
        _ => format!("Redis at {address}: {}", in_words(error)),
    }
}

/// As the server tells it, where it may be asked; managed ones often do not let it be.
async fn version_of(commands: &mut MultiplexedConnection) -> Result<String, RedisError> {
    let info: Result<String, RedisError> =
        redis::cmd("INFO").arg("server").query_async(commands).await;
    match info {
        Ok(info) => {
            let mut lines = info.lines();
            let version = lines.find_map(|line| line.strip_prefix("redis_version:"));
            Ok(version.unwrap_or_default().trim().to_owned())
        }
        Err(error) if error.code() == Some("NOPERM") => Ok(String::new()),
        Err(error) => Err(error),
    }
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

fn published(answer: Value) -> Published {
    match answer {
        Value::Int(count) => Ok(u32::try_from(count).unwrap_or(0)),
        Value::ServerError(error) => Err(format!("{error}")),
        other => Err(format!("an answer that is none: {other:?}")),
    }
}

/// An error as whoever runs the server can use it.
fn in_words(error: &RedisError) -> String {
    match error.code() {
        Some("WRONGPASS") => WRONG_PASSWORD.to_owned(),
        Some("NOAUTH") => {
            "it wants a password; name the file that holds it in cluster.secret_file".to_owned()
        }
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => WRONG_PASSWORD.to_owned(),
        _ => error.to_string(),
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
