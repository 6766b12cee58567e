//! What comes by a subscribed connection and has not been taken by the thread yet: [`Arrivals`], to which the connection
//! gives, and [`Arriving`], from which the thread takes.
//!
//! Bound: [`WAITING_BYTES_MAX`], with what each message costs beside its bytes. With more the connection is given up
//! ([`ChannelArrival::Overrun`]), so that what is lost is known to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes that may wait.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// What a message takes beside its own.
const BYTES_PER_MESSAGE: usize = 64;

/// Something that has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChannelArrival {
    Message(Vec<u8>),
    /// The connection has ended.
    Ended,
    /// This node has ended it, which others use as well, for this reason; or Redis has.
    GivenUp(Arc<str>),
    /// What the connection is subscribed to is with another Redis now.
    Moved,
    /// More has come than may wait; it is the last that is told.
    Overrun,
}

#[derive(Default)]
struct WaitingBytes {
    bytes: AtomicUsize,
    is_overrun: AtomicBool,
}

/// See the module.
pub struct Arrivals {
    sender: UnboundedSender<ChannelArrival>,
    waiting: Arc<WaitingBytes>,
    /// One that this node never leaves itself.
    standing: String,
}

/// See the module.
pub struct Arriving {
    receiver: UnboundedReceiver<ChannelArrival>,
    waiting: Arc<WaitingBytes>,
}

/// Both ends; the connection is subscribed to this channel for as long as it is there.
pub fn arrivals(standing: &str) -> (Arrivals, Arriving) {
    let (sender, receiver) = unbounded_channel();
    let waiting = Arc::<WaitingBytes>::default();
    let arrivals = Arrivals {
        sender,
        waiting: Arc::clone(&waiting),
        standing: standing.to_owned(),
    };
    (arrivals, Arriving { receiver, waiting })
}

fn cost(arrival: &ChannelArrival) -> usize {
    match arrival {
        ChannelArrival::Message(bytes) => bytes.len() + BYTES_PER_MESSAGE,
        _ => 0,
    }
}

impl Arrivals {
    /// Its connection ends.
    pub fn give_up(&self, reason: &Arc<str>) {
        // Who has gone needs to know nothing.
        let _ = self.put(ChannelArrival::GivenUp(Arc::clone(reason)));
    }

    fn put(&self, arrival: ChannelArrival) -> Result<(), SendError> {
        if self.waiting.is_overrun.load(Ordering::Relaxed) {
            return Ok(());
        }
        let cost = cost(&arrival);
        let before = self.waiting.bytes.fetch_add(cost, Ordering::Relaxed);
        let arrival = match before + cost > WAITING_BYTES_MAX {
            true => {
                self.waiting.is_overrun.store(true, Ordering::Relaxed);
                ChannelArrival::Overrun
            }
            false => arrival,
        };
        self.sender.send(arrival).map_err(|_| SendError)
    }
}

impl AsyncPushSender for Arrivals {
    fn send(&self, mut push: PushInfo) -> Result<(), SendError> {
        match push.kind {
            PushKind::Message | PushKind::SMessage => match push.data.pop() {
                Some(Value::BulkString(bytes)) => self.put(ChannelArrival::Message(bytes)),
                _ => Ok(()),
            },
            PushKind::Disconnection => self.put(ChannelArrival::Ended),
            PushKind::SUnsubscribe => match push.data.first() {
                Some(Value::BulkString(name)) if name == self.standing.as_bytes() => {
                    self.put(ChannelArrival::Moved)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl Arriving {
    fn taken(&self, arrival: ChannelArrival) -> ChannelArrival {
        self.waiting
            .bytes
            .fetch_sub(cost(&arrival), Ordering::Relaxed);
        arrival
    }

    /// The next, when it comes.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<ChannelArrival> {
        let arrival = self.receiver.poll_recv(context);
        arrival.map(|arrival| arrival.map_or(ChannelArrival::Ended, |arrival| self.taken(arrival)))
    }

    /// The next, if it is there.
    pub fn next(&mut self) -> Option<ChannelArrival> {
        let arrival = self.receiver.try_recv().ok()?;
        Some(self.taken(arrival))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> PushInfo {
        let (channel, message) = (b"c".to_vec(), vec![0; bytes]);
        PushInfo {
            kind: PushKind::Message,
            data: vec![Value::BulkString(channel), Value::BulkString(message)],
        }
    }

    fn left(name: &str) -> PushInfo {
        PushInfo {
            kind: PushKind::SUnsubscribe,
            data: vec![Value::BulkString(name.as_bytes().to_vec()), Value::Int(0)],
        }
    }

    #[test]
    fn what_is_too_much_ends_the_connection_with_words() {
        let (arrivals, mut arriving) = arrivals("l");
        let piece = 1 << 20;
        // What is taken makes room.
        for _ in 0..200 {
            arrivals.send(message(piece)).expect("somebody takes");
            assert_eq!(
                arriving.next(),
                Some(ChannelArrival::Message(vec![0; piece]))
            );
        }
        for _ in 0..200 {
            arrivals.send(message(piece)).expect("somebody takes");
        }
        let all: Vec<ChannelArrival> = std::iter::from_fn(|| arriving.next()).collect();
        assert!(all.len() <= WAITING_BYTES_MAX / piece + 1, "{}", all.len());
        assert_eq!(all.last(), Some(&ChannelArrival::Overrun));
        // Small ones count, too.
        let (arrivals, mut arriving) = super::arrivals("l");
        for _ in 0..WAITING_BYTES_MAX / BYTES_PER_MESSAGE + 1 {
            arrivals.send(message(0)).expect("somebody takes");
        }
        let last = std::iter::from_fn(|| arriving.next()).last();
        assert_eq!(last, Some(ChannelArrival::Overrun));
    }

    #[test]
    fn a_channel_that_is_taken_away_is_told() {
        let (arrivals, mut arriving) = arrivals("l");
        arrivals.send(left("u")).expect("somebody takes");
        assert_eq!(arriving.next(), None, "it was this node that left");
        arrivals.send(left("l")).expect("somebody takes");
        assert_eq!(arriving.next(), Some(ChannelArrival::Moved));
        drop(arrivals);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(
            arriving.poll(&mut context),
            Poll::Ready(ChannelArrival::Ended)
        );
    }
}
