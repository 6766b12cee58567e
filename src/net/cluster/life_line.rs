//! By which Redis shows the others that this process lives, whatever becomes of its link: [`LifeLine`], a connection of its own
//! that is subscribed to one channel and does nothing else.
//!
//! It is no part of the link, since the two connections of a link go together, and each may be ended alone: the one that is
//! subscribed where it reads too slowly, which the others would take for the end of the node. And the one that publishes
//! cannot have the channel, for Redis would hold it to the limits of a subscriber, which the answers of many reads exceed.
//! One that ends is made again, until the link has ended; and then it lasts, if it does, until it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::pauses::Pauses;
use super::pubsub::PubSub;

/// How often it says something, so that nobody on the way takes it for dead, and an end that was not told is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// For Redis to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub struct LifeLine {
    task: JoinHandle<()>,
    is_past: Arc<AtomicBool>,
}

/// Where to, and what it has there.
struct LifeChannel {
    client: Client,
    pubsub: PubSub,
    channel: String,
}

/// It, while it lasts.
struct Connected {
    connection: MultiplexedConnection,
    pushed: UnboundedReceiver<PushInfo>,
}

impl LifeLine {
    /// Connects, and takes the channel.
    pub async fn begin(
        client: Client,
        pubsub: PubSub,
        channel: String,
    ) -> Result<LifeLine, RedisError> {
        let wanted = LifeChannel {
            client,
            pubsub,
            channel,
        };
        let connected = wanted.connect().await?;
        let is_past = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(wanted.keep(connected, Arc::clone(&is_past)));
        Ok(LifeLine { task, is_past })
    }

    /// Its link has ended: it is not made again.
    pub fn let_be(&self) {
        self.is_past.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended for good.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for LifeLine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LifeChannel {
    async fn connect(&self) -> Result<Connected, RedisError> {
        let (sender, pushed) = unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_push_sender(sender);
        let client = &self.client;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connection.await?;
        let channels = [self.channel.as_str()];
        self.pubsub.change(&mut connection, true, &channels).await?;
        Ok(Connected { connection, pushed })
    }

    async fn keep(self, mut connected: Connected, is_past: Arc<AtomicBool>) {
        loop {
            connected.end().await;
            let mut pauses = Pauses::default();
            connected = loop {
                sleep(pauses.next()).await;
                if is_past.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(Ok(again)) = timeout(TIMEOUT, self.connect()).await {
                    break again;
                }
            };
        }
    }
}

impl Connected {
    /// Waits until it has ended.
    async fn end(&mut self) {
        loop {
            match timeout(PING_INTERVAL, self.pushed.recv()).await {
                Ok(None) => return,
                Ok(Some(push)) => match push.kind {
                    // The latter where the channel is with another Redis now.
                    PushKind::Disconnection | PushKind::SUnsubscribe => return,
                    _ => {}
                },
                Err(_) => {
                    let ping = redis::cmd("PING");
                    let answer = ping.query_async::<()>(&mut self.connection).await;
                    if answer.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
