//! By which Redis shows the others that this process lives, whatever becomes of its link: [`LifeLine`], a channel of a connection
//! that is subscribed to it and does nothing else.
//!
//! It is no part of the link, since the two connections of a link go together, and each may be ended alone: the one that is
//! subscribed where it reads too slowly, which the others would take for the end of the node. And the one that publishes
//! cannot have the channel, for Redis would hold it to the limits of a subscriber, which the answers of many reads exceed.
//! One that ends is made again, with the channels whose links have not ended; and then it lasts, if it does, until it is
//! dropped. Partitions of a Redis Cluster that share a link's connections share this one, too ([`LifeConnection`]). Bound: an
//! entry for each channel.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::interests::SubscriptionChange;
use super::pauses::Pauses;
use super::pubsub::PubSub;

/// How often it says something, so that nobody on the way takes it for dead, and an end that was not told is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// For Redis to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A channel of a [`LifeConnection`]. Dropped, it is left.
pub struct LifeLine {
    connection: Arc<LifeConnection>,
    channel: Arc<LifeChannel>,
}

struct LifeChannel {
    name: Box<str>,
    /// Its link has ended.
    is_past: AtomicBool,
    /// It has ended for good.
    is_over: AtomicBool,
}

/// A connection for channels, made when the first one is taken. Dropped, it ends.
pub struct LifeConnection {
    orders: UnboundedSender<LifeOrder>,
    task: JoinHandle<()>,
}

type LifeReply = oneshot::Sender<Result<(), RedisError>>;

enum LifeOrder {
    Take(Arc<LifeChannel>, LifeReply),
    Leave(Arc<LifeChannel>),
}

impl LifeConnection {
    /// To the Redis of this client.
    pub fn new(client: Client, pubsub: PubSub) -> Arc<LifeConnection> {
        let (orders, ordered) = unbounded_channel();
        let keeper = LifeKeeper {
            client,
            pubsub,
            ordered,
            held: Vec::new(),
        };
        let task = tokio::spawn(keeper.keep());
        Arc::new(LifeConnection { orders, task })
    }

    /// Takes a channel.
    pub async fn take(self: &Arc<Self>, name: &str) -> Result<LifeLine, RedisError> {
        let channel = Arc::new(LifeChannel {
            name: Box::from(name),
            is_past: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let line = LifeLine {
            connection: Arc::clone(self),
            channel: Arc::clone(&channel),
        };
        let (reply, replied) = oneshot::channel();
        // One that has ended does not reply.
        let _ = self.orders.send(LifeOrder::Take(channel, reply));
        replied.await.unwrap_or_else(|_| Err(ended()))?;
        Ok(line)
    }
}

impl Drop for LifeConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LifeLine {
    /// Its link has ended: it is not made again.
    pub fn let_be(&self) {
        self.channel.is_past.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended for good.
    pub fn is_over(&self) -> bool {
        self.channel.is_over.load(Ordering::Relaxed)
    }
}

impl Drop for LifeLine {
    fn drop(&mut self) {
        let leave = LifeOrder::Leave(Arc::clone(&self.channel));
        let _ = self.connection.orders.send(leave);
    }
}

fn ended() -> RedisError {
    RedisError::from((ErrorKind::Io, "the connection has ended"))
}

/// A channel, and who waits until it is taken.
struct HeldChannel {
    channel: Arc<LifeChannel>,
    is_taken: bool,
    reply: Option<LifeReply>,
}

/// The task of a connection.
struct LifeKeeper {
    client: Client,
    pubsub: PubSub,
    ordered: UnboundedReceiver<LifeOrder>,
    held: Vec<HeldChannel>,
}

/// It, while it lasts.
struct Connected {
    connection: MultiplexedConnection,
    pushed: UnboundedReceiver<PushInfo>,
}

enum LifeEvent {
    Order(Option<LifeOrder>),
    Push(Option<PushInfo>),
}

impl LifeKeeper {
    async fn keep(mut self) {
        let (mut connected, mut pauses) = (None, Pauses::default());
        loop {
            while let Ok(order) = self.ordered.try_recv() {
                self.obey(order);
            }
            if self.held.is_empty() && connected.is_none() {
                match self.ordered.recv().await {
                    Some(order) => self.obey(order),
                    None => return,
                }
            }
            connected = match self.have_all(connected).await {
                Ok(it) => {
                    pauses = Pauses::default();
                    self.serve(it).await
                }
                Err(error) => {
                    self.refuse(error);
                    None
                }
            };
            if connected.is_none() {
                // Those whose links have ended are not taken again.
                self.held.retain(|it| {
                    let is_past = it.channel.is_past.load(Ordering::Relaxed);
                    it.channel.is_over.fetch_or(is_past, Ordering::Relaxed);
                    !is_past
                });
                if !self.held.is_empty() {
                    sleep(pauses.next()).await;
                }
            }
        }
    }

    fn obey(&mut self, order: LifeOrder) {
        match order {
            LifeOrder::Take(channel, reply) => self.held.push(HeldChannel {
                channel,
                is_taken: false,
                reply: Some(reply),
            }),
            LifeOrder::Leave(channel) => {
                self.held.retain(|it| !Arc::ptr_eq(&it.channel, &channel));
            }
        }
    }

    /// Whoever waits hears why not; those that were taken before are tried again.
    fn refuse(&mut self, error: RedisError) {
        let mut error = Some(error);
        self.held.retain_mut(|it| match it.reply.take() {
            Some(reply) => {
                let _ = reply.send(Err(error.take().unwrap_or_else(ended)));
                false
            }
            None => true,
        });
    }

    /// A connection that has all of them.
    async fn have_all(&mut self, connected: Option<Connected>) -> Result<Connected, RedisError> {
        let mut connected = match connected {
            Some(connected) => connected,
            None => {
                let connecting = timeout(TIMEOUT, self.connect()).await;
                let connected = connecting.unwrap_or_else(|_| Err(ended()))?;
                self.held.iter_mut().for_each(|it| it.is_taken = false);
                connected
            }
        };
        for held in self.held.iter_mut().filter(|it| !it.is_taken) {
            let taking = connected.take(self.pubsub, &held.channel.name);
            let taken = timeout(TIMEOUT, taking).await;
            let taken = match taken.unwrap_or_else(|_| Err(ended())) {
                // Redis refuses this one: the others stay.
                Err(error) if error.code().is_some() => Err(error),
                taken => Ok(taken?),
            };
            held.is_taken = taken.is_ok();
            held.channel
                .is_over
                .fetch_or(taken.is_err(), Ordering::Relaxed);
            if let Some(reply) = held.reply.take() {
                // Whoever has waited may be gone.
                let _ = reply.send(taken);
            }
        }
        self.held.retain(|it| it.is_taken);
        Ok(connected)
    }

    async fn connect(&self) -> Result<Connected, RedisError> {
        let (sender, pushed) = unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_push_sender(sender);
        let client = &self.client;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let connection = connection.await?;
        Ok(Connected { connection, pushed })
    }

    /// Waits until something is to be taken, or it has ended.
    async fn serve(&mut self, mut connected: Connected) -> Option<Connected> {
        loop {
            let (ordered, pushed) = (&mut self.ordered, &mut connected.pushed);
            let event = poll_fn(|context| match ordered.poll_recv(context) {
                Poll::Ready(order) => Poll::Ready(LifeEvent::Order(order)),
                Poll::Pending => pushed.poll_recv(context).map(LifeEvent::Push),
            });
            match timeout(PING_INTERVAL, event).await {
                Ok(LifeEvent::Order(Some(LifeOrder::Leave(channel)))) => {
                    let mut leave = redis::cmd(self.pubsub.unsubscribe());
                    leave.arg(&*channel.name).set_no_response(true);
                    let left = connected.connection.send_packed_command(&leave).await;
                    self.obey(LifeOrder::Leave(channel));
                    if left.is_err() {
                        return None;
                    }
                }
                Ok(LifeEvent::Order(Some(order))) => {
                    self.obey(order);
                    return Some(connected);
                }
                Ok(LifeEvent::Order(None) | LifeEvent::Push(None)) => return None,
                Ok(LifeEvent::Push(Some(push))) => match push.kind {
                    PushKind::Disconnection => return None,
                    PushKind::SUnsubscribe => self.lose(&push),
                    _ => {}
                },
                Err(_) => {
                    let ping = redis::cmd("PING");
                    let answer = ping.query_async::<()>(&mut connected.connection).await;
                    if answer.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    /// A channel is with another Redis now, and so is what its link had: that has ended.
    fn lose(&mut self, push: &PushInfo) {
        self.held.retain(|it| {
            let is_lost = names(push, &it.channel.name);
            it.channel.is_over.fetch_or(is_lost, Ordering::Relaxed);
            !is_lost
        });
    }
}

/// Whether it is about this channel.
fn names(push: &PushInfo, channel: &str) -> bool {
    let name = push.data.first();
    matches!(name, Some(Value::BulkString(name)) if **name == *channel.as_bytes())
}

impl Connected {
    /// Takes a channel. The client's count of answers may be wrong where a slot has moved, so what Redis says of it counts.
    async fn take(&mut self, pubsub: PubSub, channel: &str) -> Result<(), RedisError> {
        let change = SubscriptionChange {
            subscribes: true,
            channels: vec![Box::from(channel)],
        };
        pubsub.change(&mut self.connection, &change).await?;
        while let Some(push) = self.pushed.recv().await {
            match push.kind {
                PushKind::Subscribe | PushKind::SSubscribe if names(&push, channel) => {
                    return Ok(());
                }
                PushKind::Disconnection => break,
                _ => {}
            }
        }
        Err(ended())
    }
}
