//! The connections to Redis: [`RedisLink`], two of them, by the `redis` crate. One publishes, one is subscribed.
//!
//! A link is joined whole, tried out, or not at all, and when one of the two ends both go. Partitions of a Redis Cluster that
//! live on the same master share both ([`masters`](super::masters)). Beside them is its [life line](LifeLine). Errors are
//! sentences for whoever runs the server.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, Value};

use super::arrivals::{Arriving, arrivals};
use super::interests::SubscriptionChange;
use super::life_line::{LifeConnection, LifeLine};
use super::masters::{Masters, SharedPlace};
use super::pair::{ConnectionPair, JOIN_TIMEOUT, RedisServer};
use super::party::{RedisAnswer, RedisCommand};
use super::pubsub::PubSub;
use super::scripts::{Script, ScriptCall, ScriptValue};
use super::target::RedisTarget;
use super::words::{NO_ANSWER, in_words};

/// Pieces of a time to answer.
const TIMEOUT_PIECES: u32 = 10;

/// See the module.
pub struct RedisLink {
    pair: ConnectionPair,
    /// What comes by the channels.
    pub arriving: Arriving,
    /// By which the others see that this process lives, until it is let go: longer than the link lasts.
    pub life: LifeLine,
    pubsub: PubSub,
    /// The digests of all scripts.
    scripts: Vec<String>,
    /// Where others use the same connections.
    place: Option<SharedPlace>,
}

impl RedisLink {
    /// Connects, looks whether this Redis will do, and subscribes to these channels; the life line has one of its own. One
    /// that is a slot shares the connections of its master.
    pub async fn join(
        target: &RedisTarget,
        masters: &Masters,
        channels: (&[String], &str),
    ) -> Result<RedisLink, String> {
        match tokio::time::timeout(JOIN_TIMEOUT, join(target, masters, channels)).await {
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
        &mut self.pair.commands
    }

    /// The Redis.
    pub fn server(&self) -> &RedisServer {
        &self.pair.server
    }

    /// What Redis calls the connection that is subscribed; 0 if it does not tell.
    pub fn client(&self) -> u64 {
        self.pair.client
    }

    /// Where others use the same connections.
    pub fn place(&self) -> Option<&SharedPlace> {
        self.place.as_ref()
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
        let (mut commands, pubsub) = (self.pair.commands.clone(), self.pubsub);
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
                None => Err(NO_ANSWER.to_owned()),
            }
        }
    }

    /// Subscribes to channels, or unsubscribes.
    pub fn change(
        &self,
        change: SubscriptionChange,
        timeout: Duration,
    ) -> impl Future<Output = Result<SubscriptionChange, String>> + use<> {
        let (mut subscriptions, pubsub) = (self.pair.subscriptions.clone(), self.pubsub);
        let change = Arc::new(change);
        let expected = self.place.as_ref().map(|place| place.expect(&change));
        async move {
            let changed = async {
                match expected {
                    Some(expected) => expected.change(&mut subscriptions, &change).await,
                    None => pubsub.change(&mut subscriptions, &change).await,
                }
            };
            match within(timeout, changed).await {
                Some(Ok(())) => Ok(Arc::unwrap_or_clone(change)),
                Some(Err(error)) => Err(in_words(&error)),
                None => Err(NO_ANSWER.to_owned()),
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

async fn join(
    target: &RedisTarget,
    masters: &Masters,
    (channels, life): (&[String], &str),
) -> Result<RedisLink, String> {
    let client = target.client().await?;
    let Some(slot) = target.slot() else {
        let (arrivals, arriving) = arrivals(channels.last().map_or("", String::as_str));
        let pair = ConnectionPair::open(target, &client, arrivals).await?;
        // It is there whenever the others see the channels of the link.
        let lives = LifeConnection::new(client, target.pubsub());
        let life = take_life(target, &lives, life).await?;
        return enter((pair, life), target, (arriving, None), channels).await;
    };
    let target = target.found_at(&client.get_connection_info().addr().to_string());
    let (place, arriving) = masters.enter((&target, slot), &client, channels).await?;
    let life = take_life(&target, place.lives(), life).await?;
    let (pair, answers) = (place.connections(), place.await_answers());
    let joined = enter((pair, life), &target, (arriving, Some(place)), channels).await;
    answers.have_come();
    joined
}

async fn take_life(
    target: &RedisTarget,
    lives: &Arc<LifeConnection>,
    channel: &str,
) -> Result<LifeLine, String> {
    let life = lives.take(channel).await;
    life.map_err(|error| cannot_subscribe(target, &error))
}

/// Subscribes to these channels, and tries what a node does.
async fn enter(
    (mut pair, life): (ConnectionPair, LifeLine),
    target: &RedisTarget,
    (arriving, place): (Arriving, Option<SharedPlace>),
    channels: &[String],
) -> Result<RedisLink, String> {
    let pubsub = target.pubsub();
    let change = Arc::new(SubscriptionChange {
        subscribes: true,
        channels: channels.iter().map(|name| Box::from(&**name)).collect(),
    });
    let taken = match &place {
        Some(place) => {
            let expected = place.expect(&change);
            expected.change(&mut pair.subscriptions, &change).await
        }
        None => pubsub.change(&mut pair.subscriptions, &change).await,
    };
    taken.map_err(|error| cannot_subscribe(target, &error))?;
    let own = channels.first().map_or("", String::as_str);
    let said: Result<u32, RedisError> = redis::cmd(pubsub.publish())
        .arg(own)
        .arg("")
        .query_async(&mut pair.commands)
        .await;
    said.map_err(|error| not_allowed(target, "publish in the cluster's channels", &error))?;
    let counted: Result<Value, RedisError> = redis::cmd("PUBSUB")
        .arg(pubsub.count())
        .arg(own)
        .query_async(&mut pair.commands)
        .await;
    counted.map_err(|error| not_allowed(target, "ask who is subscribed", &error))?;
    let scripts = load_scripts(&mut pair.commands, pubsub).await;
    let scripts = scripts.map_err(|error| no_scripts(target, &error))?;
    Ok(RedisLink {
        pair,
        arriving,
        life,
        pubsub,
        scripts,
        place,
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
