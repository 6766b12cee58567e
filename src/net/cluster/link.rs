//! The connections to Redis: [`RedisLink`], two of them, by the `redis` crate. One publishes, one is subscribed.
//!
//! A link is joined whole, tried out, or not at all, and when one of the two ends both go. Beside them is its
//! [life line](LifeLine). Errors are sentences for whoever runs the server.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Pipeline, ProtocolVersion, RedisError, Value};

use super::arrivals::{Arriving, arrivals};
use super::interests::SubscriptionChange;
use super::life_line::LifeLine;
use super::party::{RedisAnswer, RedisCommand};
use super::pubsub::PubSub;
use super::scripts::{Script, ScriptCall, ScriptValue};
use super::target::RedisTarget;
use super::words::in_words;

/// For a connection to be there, with what is asked of it at first.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pieces of a time to answer.
const TIMEOUT_PIECES: u32 = 10;
/// The oldest Redis that is taken.
const VERSION_MIN: (u32, u32) = (6, 2);

/// See the module.
pub struct RedisLink {
    commands: MultiplexedConnection,
    subscriptions: MultiplexedConnection,
    /// What comes by the channels.
    pub arriving: Arriving,
    /// By which the others see that this process lives, until it is let go: longer than the link lasts.
    pub life: LifeLine,
    pubsub: PubSub,
    /// What Redis calls the connection that is subscribed; 0 if it does not tell.
    pub client: u64,
    pub server: RedisServer,
    /// The digests of all scripts.
    scripts: Vec<String>,
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

impl RedisLink {
    /// Connects, looks whether this Redis will do, and subscribes to these channels; the life line has one of its own.
    pub async fn join(
        target: &RedisTarget,
        channels: &[String],
        life: &str,
    ) -> Result<RedisLink, String> {
        match tokio::time::timeout(JOIN_TIMEOUT, join(target, channels, life)).await {
            Ok(joined) => joined,
            Err(_) => Err(format!(
                "Redis at {} does not answer within {} s",
                target.address,
                JOIN_TIMEOUT.as_secs()
            )),
        }
    }

    /// For what is asked by the way.
    pub fn commands(&mut self) -> &mut MultiplexedConnection {
        &mut self.commands
    }

    /// Has Redis do all of these, in their order. An error if it has not answered in time: then the link is no more.
    pub fn run(
        &self,
        batch: Arc<[RedisCommand]>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Vec<RedisAnswer>, String>> + use<> {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for command in &*batch {
            match command {
                RedisCommand::Publish { channel, bytes, .. } => {
                    pipeline.cmd(self.pubsub.publish()).arg(channel).arg(bytes);
                }
                RedisCommand::Look { channels, .. } => {
                    let count = self.pubsub.count();
                    pipeline.cmd("PUBSUB").arg(count).arg(channels);
                }
                RedisCommand::Fence(client) => {
                    pipeline.cmd("CLIENT").arg("KILL").arg("ID").arg(*client);
                }
                RedisCommand::Run { call, .. } => {
                    let digest = &self.scripts[call.script.nth()];
                    with_call(pipeline.cmd("EVALSHA").arg(digest), call);
                }
            }
        }
        let (mut commands, pubsub) = (self.commands.clone(), self.pubsub);
        let work = async move {
            let answers = commands.req_packed_commands(&pipeline, 0, batch.len());
            let mut answers = answers.await?;
            run_unknown((&mut commands, pubsub), &batch, &mut answers).await?;
            if let Some(moved) = answers.iter().find_map(moved) {
                return Err(moved);
            }
            let each = batch.iter().zip(answers);
            Ok(each
                .map(|(command, answer)| done(command, answer))
                .collect())
        };
        async move {
            match within(timeout, work).await {
                Some(results) => results.map_err(|error: RedisError| in_words(&error)),
                None => Err("Redis does not answer".to_owned()),
            }
        }
    }

    /// Subscribes to channels, or unsubscribes.
    pub fn change(
        &self,
        change: SubscriptionChange,
        timeout: Duration,
    ) -> impl Future<Output = Result<SubscriptionChange, String>> + use<> {
        let (mut subscriptions, pubsub) = (self.subscriptions.clone(), self.pubsub);
        async move {
            let channels: Vec<&str> = change.channels.iter().map(AsRef::as_ref).collect();
            let changed = pubsub.change(&mut subscriptions, change.subscribes, &channels);
            match within(timeout, changed).await {
                Some(Ok(())) => Ok(change),
                Some(Err(error)) => Err(in_words(&error)),
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

async fn join(target: &RedisTarget, channels: &[String], life: &str) -> Result<RedisLink, String> {
    let refused = |error: RedisError| format!("Redis at {}: {}", target.address, in_words(&error));
    let settings = target.connection.redis_settings().clone();
    let settings = settings.set_protocol(ProtocolVersion::RESP3);
    let connection = target.connection.clone().set_redis_settings(settings);
    let client = target.client(connection).await?;
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
    let pubsub = target.pubsub();
    check_mode(&server.mode, pubsub)
        .map_err(|words| format!("Redis at {}: {words}", target.address))?;
    // It is there whenever the others see the channels of the link.
    let life = LifeLine::begin(client.clone(), pubsub, life.to_owned()).await;
    let life = life.map_err(|error| cannot_subscribe(target, &error))?;
    let (arrivals, arriving) = arrivals(channels.last().map_or("", String::as_str));
    let config = config.set_push_sender(arrivals);
    let subscriptions = client.get_multiplexed_async_connection_with_config(&config);
    let mut subscriptions = subscriptions.await.map_err(refused)?;
    let client = redis::cmd("CLIENT").arg("ID").to_owned();
    let client: Result<u64, RedisError> = client.query_async(&mut subscriptions).await;
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    let taken = pubsub.change(&mut subscriptions, true, &names).await;
    taken.map_err(|error| cannot_subscribe(target, &error))?;
    let own = channels.first().map_or("", String::as_str);
    let said: Result<u32, RedisError> = redis::cmd(pubsub.publish())
        .arg(own)
        .arg("")
        .query_async(&mut commands)
        .await;
    said.map_err(|error| not_allowed(target, "publish in the cluster's channels", &error))?;
    let counted: Result<Value, RedisError> = redis::cmd("PUBSUB")
        .arg(pubsub.count())
        .arg(own)
        .query_async(&mut commands)
        .await;
    counted.map_err(|error| not_allowed(target, "ask who is subscribed", &error))?;
    let scripts = load_scripts(&mut commands, pubsub).await;
    let scripts = scripts.map_err(|error| no_scripts(target, &error))?;
    Ok(RedisLink {
        commands,
        subscriptions,
        arriving,
        life,
        pubsub,
        client: client.unwrap_or_default(),
        server,
        scripts,
    })
}

fn cannot_subscribe(target: &RedisTarget, error: &RedisError) -> String {
    not_allowed(target, "subscribe to the cluster's channels", error)
}

fn not_allowed(target: &RedisTarget, what: &str, error: &RedisError) -> String {
    let (address, prefix) = (&target.address, &target.prefix);
    match error.code() {
        Some("NOPERM") => format!(
            "Redis at {address} lets this user not {what}; its ACL needs \"&{prefix}*\", +@connection and +@pubsub"
        ),
        _ => format!("Redis at {address}: {}", in_words(error)),
    }
}

/// Has Redis know the scripts, so that they are run by their digests.
async fn load_scripts(
    commands: &mut MultiplexedConnection,
    pubsub: PubSub,
) -> Result<Vec<String>, RedisError> {
    let mut pipeline = redis::pipe();
    for script in Script::ALL {
        pipeline
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(&*pubsub.script(script));
    }
    pipeline.query_async(commands).await
}

fn no_scripts(target: &RedisTarget, error: &RedisError) -> String {
    let (address, prefix) = (&target.address, &target.prefix);
    match error.code() {
        Some("NOPERM") => format!(
            "Redis at {address} lets this user run no scripts; its ACL needs \"~{prefix}*\", +@scripting, +@hash, +@set, \
             +@sortedset, +@stream, +@string, +@keyspace and +time"
        ),
        _ => format!("Redis at {address} knows no scripts: {}", in_words(error)),
    }
}

fn with_call(command: &mut Pipeline, call: &ScriptCall) {
    command.arg(call.keys.len()).arg(&call.keys);
    for arg in &call.args {
        command.arg(arg);
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

/// What was to be done belongs to another Redis.
fn moved(answer: &Value) -> Option<RedisError> {
    match answer {
        Value::ServerError(error) if error.code() == "MOVED" => Some(error.clone().into()),
        _ => None,
    }
}

/// Runs those scripts by their text that Redis does not know any more, since somebody has flushed them.
async fn run_unknown(
    (commands, pubsub): (&mut MultiplexedConnection, PubSub),
    batch: &[RedisCommand],
    answers: &mut [Value],
) -> Result<(), RedisError> {
    let is_unknown = |answer: &Value| match answer {
        Value::ServerError(error) => error.code() == "NOSCRIPT",
        _ => false,
    };
    let mut pipeline = redis::pipe();
    let mut unknown = Vec::new();
    for (nth, command) in batch.iter().enumerate() {
        if let RedisCommand::Run { call, .. } = command
            && answers.get(nth).is_some_and(is_unknown)
        {
            with_call(pipeline.cmd("EVAL").arg(&*pubsub.script(call.script)), call);
            unknown.push(nth);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let again = commands.req_packed_commands(&pipeline, 0, unknown.len());
    for (nth, answer) in unknown.into_iter().zip(again.await?) {
        answers[nth] = answer;
    }
    Ok(())
}

fn script_value(value: Value) -> ScriptValue {
    match value {
        Value::Int(number) => ScriptValue::Number(number),
        Value::BulkString(bytes) => ScriptValue::Bytes(bytes),
        Value::SimpleString(text) => ScriptValue::Bytes(text.into_bytes()),
        Value::Array(list) => ScriptValue::List(list.into_iter().map(script_value).collect()),
        _ => ScriptValue::Nothing,
    }
}

fn done(command: &RedisCommand, answer: Value) -> RedisAnswer {
    match answer {
        Value::ServerError(error) => RedisAnswer::Refused(format!("{error}")),
        value if matches!(command, RedisCommand::Run { .. }) => {
            RedisAnswer::Ran(script_value(value))
        }
        Value::Int(count) => RedisAnswer::Published(u32::try_from(count).unwrap_or(0)),
        // Names and counts in turn.
        Value::Array(counts) => RedisAnswer::Looked(counts.into_iter().filter_map(count).collect()),
        Value::Map(counts) => {
            RedisAnswer::Looked(counts.into_iter().filter_map(|(_, it)| count(it)).collect())
        }
        Value::Okay => RedisAnswer::Fenced,
        other => RedisAnswer::Refused(format!("an answer that is none: {other:?}")),
    }
}

fn count(value: Value) -> Option<u32> {
    match value {
        Value::Int(count) => u32::try_from(count).ok(),
        _ => None,
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
