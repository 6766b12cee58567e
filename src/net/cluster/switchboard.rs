//! Where what comes by a connection goes that several partitions share: [`Switchboard`] hands each its own, by the hash tag in
//! the channel's name.
//!
//! It sees, too, which channels Redis has taken, by their names. By the client's count of answers that is not seen: when a slot
//! moves Redis unsubscribes unasked, and the client takes that for an answer to another partition.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::oneshot::{Receiver, Sender, channel};

use super::arrivals::Arrivals;
use super::interests::SubscriptionChange;
use super::words::SUBSCRIPTIONS_ENDED;

/// See the module. Bound: an entry for each partition.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    /// By their hash tags.
    lines: AHashMap<Box<str>, PartitionLine>,
    last_number: u64,
    /// Why nothing comes any more.
    end: Option<Arc<str>>,
}

/// To one partition.
struct PartitionLine {
    number: u64,
    arrivals: Arrivals,
    expected: Option<UnconfirmedChange>,
}

/// A change that Redis is to confirm, channel by channel.
struct UnconfirmedChange {
    change: Arc<SubscriptionChange>,
    confirmed: usize,
    done: Sender<()>,
}

/// The hash tag in a name.
pub fn tag_in(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once('{')?;
    Some(rest.split_once('}')?.0)
}

impl Switchboard {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes for a partition goes there from now on; the number by which it leaves. Or why nothing comes any more.
    pub fn enter(&self, tag: &str, arrivals: Arrivals) -> Result<u64, Arc<str>> {
        let mut board = self.board();
        if let Some(end) = &board.end {
            return Err(Arc::clone(end));
        }
        board.last_number += 1;
        let number = board.last_number;
        let line = PartitionLine {
            number,
            arrivals,
            expected: None,
        };
        board.lines.insert(Box::from(tag), line);
        Ok(number)
    }

    /// It has gone. Whether it was still there, and all is well with the others.
    pub fn leave(&self, tag: &str, number: u64) -> bool {
        let mut board = self.board();
        let is_there = board.lines.get(tag).is_some_and(|it| it.number == number);
        if is_there {
            board.lines.remove(tag);
        }
        is_there && board.end.is_none()
    }

    /// A change that is about to be sent, and when it is done; its end is an error.
    pub fn expect(&self, tag: &str, change: &Arc<SubscriptionChange>) -> Receiver<()> {
        let (done, receiver) = channel();
        let expected = UnconfirmedChange {
            change: Arc::clone(change),
            confirmed: 0,
            done,
        };
        if let Some(line) = self.board().lines.get_mut(tag) {
            line.expected = Some(expected);
        }
        receiver
    }

    /// Nothing comes any more, and all are told why. Whether that was not known.
    pub fn end(&self, reason: &str) -> bool {
        let mut board = self.board();
        if board.end.is_some() {
            return false;
        }
        let reason = Arc::from(reason);
        for line in std::mem::take(&mut board.lines).into_values() {
            line.arrivals.give_up(&reason);
        }
        board.end = Some(reason);
        true
    }

    /// Why nothing comes any more.
    pub fn end_reason(&self) -> Option<Arc<str>> {
        self.board().end.clone()
    }
}

impl AsyncPushSender for Switchboard {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        if push.kind == PushKind::Disconnection {
            self.end(SUBSCRIPTIONS_ENDED);
            return Ok(());
        }
        let Some(Value::BulkString(name)) = push.data.first() else {
            return Ok(());
        };
        let Ok(name) = str::from_utf8(name) else {
            return Ok(());
        };
        let mut board = self.board();
        let Some(line) = tag_in(name).and_then(|tag| board.lines.get_mut(tag)) else {
            return Ok(());
        };
        match push.kind {
            PushKind::SSubscribe => line.confirm(true, name),
            PushKind::SUnsubscribe => line.confirm(false, name),
            _ => {}
        }
        // Who has gone needs to know nothing.
        let _ = line.arrivals.send(push);
        Ok(())
    }
}

impl PartitionLine {
    fn confirm(&mut self, subscribes: bool, name: &str) {
        let Some(expected) = &mut self.expected else {
            return;
        };
        let (change, nth) = (&expected.change, expected.confirmed);
        let is_next = change.subscribes == subscribes
            && change.channels.get(nth).is_some_and(|next| **next == *name);
        if !is_next {
            return;
        }
        expected.confirmed += 1;
        if expected.confirmed == change.channels.len()
            && let Some(expected) = self.expected.take()
        {
            // Whoever has waited may be gone.
            let _ = expected.done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::cluster::arrivals::{Arriving, ChannelArrival, arrivals};

    fn push(kind: PushKind, name: &str, last: Value) -> PushInfo {
        let data = vec![Value::BulkString(name.as_bytes().to_vec()), last];
        PushInfo { kind, data }
    }

    fn message(name: &str, text: &str) -> PushInfo {
        let bytes = Value::BulkString(text.as_bytes().to_vec());
        push(PushKind::SMessage, name, bytes)
    }

    fn line(board: &Switchboard, tag: &str) -> (Arriving, u64) {
        let (arrivals, arriving) = arrivals(&format!("p:{{{tag}}}l:1"));
        (arriving, board.enter(tag, arrivals).expect("it is there"))
    }

    #[test]
    fn each_has_its_own() {
        let board = Switchboard::default();
        let ((mut one, first), (mut two, _)) = (line(&board, "0.1"), line(&board, "1.2"));
        let taken = |text: &str| Some(ChannelArrival::Message(text.as_bytes().to_vec()));
        for (name, text) in [
            ("p:{0.1}u:a", "one"),
            ("p:{1.2}u:{0.1}", "two"),
            ("p:{2.3}u:a", "nobody's"),
            ("p:u:a", "no tag"),
        ] {
            board.send(message(name, text)).expect("it is taken");
        }
        assert_eq!((one.next(), one.next()), (taken("one"), None));
        assert_eq!((two.next(), two.next()), (taken("two"), None));
        // A slot that moves concerns one of them.
        let moved = || push(PushKind::SUnsubscribe, "p:{0.1}l:1", Value::Int(0));
        board.send(moved()).expect("it is taken");
        assert_eq!(one.next(), Some(ChannelArrival::Moved));
        // It comes anew, before the old one has gone.
        let (mut again, _) = line(&board, "0.1");
        assert!(!board.leave("0.1", first));
        board.send(message("p:{0.1}u:a", "x")).expect("it is taken");
        assert_eq!(again.next(), taken("x"));
        // The end is everybody's, once.
        assert!(board.end("why") && !board.end("again"));
        let end = Some(ChannelArrival::GivenUp("why".into()));
        assert_eq!((again.next(), two.next()), (end.clone(), end));
        let late = arrivals("l").0;
        assert_eq!(board.enter("3.4", late).err().as_deref(), Some("why"));
    }

    #[test]
    fn a_change_is_done_when_each_of_its_channels_is_confirmed() {
        let board = Switchboard::default();
        let (_arriving, _) = line(&board, "0.1");
        let change = Arc::new(SubscriptionChange {
            subscribes: true,
            channels: ["a", "b"]
                .map(|uid| format!("p:{{0.1}}u:{uid}").into())
                .into(),
        });
        let mut done = board.expect("0.1", &change);
        let confirm = |kind: PushKind, name: &str| {
            board
                .send(push(kind, name, Value::Int(1)))
                .expect("it is taken");
        };
        // Not by those of others, of another way, or by what Redis does unasked.
        confirm(PushKind::SSubscribe, "p:{1.2}u:a");
        confirm(PushKind::SUnsubscribe, "p:{0.1}u:a");
        confirm(PushKind::SSubscribe, "p:{0.1}u:b");
        confirm(PushKind::SSubscribe, "p:{0.1}u:a");
        assert!(done.try_recv().is_err());
        confirm(PushKind::SSubscribe, "p:{0.1}u:b");
        assert_eq!(done.try_recv(), Ok(()));
        let mut lost = board.expect("0.1", &change);
        board.end("why");
        assert_eq!(
            lost.try_recv(),
            Err(tokio::sync::oneshot::error::TryRecvError::Closed)
        );
    }
}
