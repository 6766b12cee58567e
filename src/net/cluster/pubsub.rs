//! Which commands publish and subscribe: [`PubSub`], by the whole of a Redis, or, in a Redis Cluster, by the one that has the
//! channel's slot.

use std::borrow::Cow;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, Value};

use super::interests::SubscriptionChange;
use super::scripts::Script;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PubSub {
    Plain,
    Sharded,
}

impl PubSub {
    pub fn publish(self) -> &'static str {
        match self {
            PubSub::Plain => "PUBLISH",
            PubSub::Sharded => "SPUBLISH",
        }
    }

    /// Of `PUBSUB`: how many have a channel.
    pub fn count(self) -> &'static str {
        match self {
            PubSub::Plain => "NUMSUB",
            PubSub::Sharded => "SHARDNUMSUB",
        }
    }

    /// A script that publishes so.
    pub fn script(self, script: Script) -> Cow<'static, str> {
        match self {
            PubSub::Plain => Cow::Borrowed(script.text()),
            PubSub::Sharded => Cow::Owned(script.text().replace("'PUBLISH'", "'SPUBLISH'")),
        }
    }

    pub fn unsubscribe(self) -> &'static str {
        match self {
            PubSub::Plain => "UNSUBSCRIBE",
            PubSub::Sharded => "SUNSUBSCRIBE",
        }
    }

    /// Subscribes, or unsubscribes, and waits until that is so.
    pub async fn change(
        self,
        connection: &mut MultiplexedConnection,
        change: &SubscriptionChange,
    ) -> Result<(), RedisError> {
        let channels: Vec<&str> = change.channels.iter().map(AsRef::as_ref).collect();
        let name = match (self, change.subscribes) {
            (PubSub::Plain, true) => return connection.subscribe(channels).await,
            (PubSub::Plain, false) => return connection.unsubscribe(channels).await,
            (PubSub::Sharded, true) => "SSUBSCRIBE",
            (PubSub::Sharded, false) => self.unsubscribe(),
        };
        // One a command, for the client counts one answer for each of those that it does not know.
        let mut pipeline = Pipeline::with_capacity(channels.len());
        for channel in &channels {
            pipeline.cmd(name).arg(channel);
        }
        let answers = connection.req_packed_commands(&pipeline, 0, channels.len());
        for answer in answers.await? {
            if let Value::ServerError(error) = answer {
                return Err(error.into());
            }
        }
        Ok(())
    }
}
