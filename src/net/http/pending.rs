//! Requests whose answers are not known at once: [`PendingRequests`], one for each, carried on within a core's rounds.
//!
//! A pending request is a future that waits for other cores, for time, or for its next helping ([`PendingRequests::rest`]). The turn polls
//! those that may go on between reading and writing, so what they queue is written or posted in the same round, whoever
//! wrote them. Those that are new, or have their answer, come before those that have had a helping: a request with little
//! to do does not wait for a large one. Bound: one for each HTTP connection, as none has two requests under way.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use slab::Slab;

use super::answer::{HttpAnswer, Manner};
use crate::guard::{Fault, guard};
use crate::ident::{ConnId, Reply};

/// The future of one.
pub type AnswerFuture = Pin<Box<dyn Future<Output = HttpAnswer>>>;

struct PendingRequest {
    /// Taken out while it is polled.
    work: Option<AnswerFuture>,
    reply: Reply,
    manner: Manner,
    waker: Waker,
}

/// One that is done.
pub struct FinishedRequest {
    /// The place of its answer.
    pub reply: Reply,
    /// How it is to be written.
    pub manner: Manner,
    /// What it has come to; a fault if it has panicked.
    pub answer: Result<HttpAnswer, Fault>,
}

/// See the module.
pub struct PendingRequests {
    all: RefCell<Slab<PendingRequest>>,
    /// Those that may go on. A queue with two ends only because a waker must be one that any thread could have.
    woken: (Sender<usize>, Receiver<usize>),
    /// Those that have had a helping.
    resting: RefCell<VecDeque<usize>>,
    sleeping: RefCell<BinaryHeap<Reverse<(Instant, usize)>>>,
    /// The one being polled.
    current: Cell<usize>,
    /// The server stops: what would go on without end is to end.
    ending: Cell<bool>,
    /// How many would.
    endless: Cell<usize>,
}

/// One that goes on without end, as long as this is kept.
pub struct Endless<'p>(&'p PendingRequests);

impl Drop for Endless<'_> {
    fn drop(&mut self) {
        self.0.endless.set(self.0.endless.get() - 1);
    }
}

/// Wakes a request by its key. A late one may wake another, which looks and goes on waiting.
struct RequestWaker {
    key: usize,
    woken: Sender<usize>,
}

impl Wake for RequestWaker {
    fn wake(self: Arc<Self>) {
        // It fails when the core is gone, and nobody waits.
        let _ = self.woken.send(self.key);
    }
}

impl Default for PendingRequests {
    fn default() -> PendingRequests {
        PendingRequests {
            all: RefCell::default(),
            woken: crossbeam_channel::unbounded(),
            resting: RefCell::default(),
            sleeping: RefCell::default(),
            current: Cell::new(0),
            ending: Cell::new(false),
            endless: Cell::new(0),
        }
    }
}

impl PendingRequests {
    /// Begins one, for this place among its connection's replies. It is polled in the present round.
    pub fn begin(&self, reply: Reply, manner: Manner, work: AnswerFuture) {
        let mut all = self.all.borrow_mut();
        let entry = all.vacant_entry();
        let (key, woken) = (entry.key(), self.woken.0.clone());
        let waker = Waker::from(Arc::new(RequestWaker { key, woken }));
        waker.wake_by_ref();
        entry.insert(PendingRequest {
            work: Some(work),
            reply,
            manner,
            waker,
        });
    }

    /// The server stops: those that would go on without end are to end.
    pub fn end(&self) {
        self.ending.set(true);
    }

    /// Whether it does.
    pub fn are_ending(&self) -> bool {
        self.ending.get()
    }

    /// One begins that goes on without end.
    pub fn begin_endless(&self) -> Endless<'_> {
        self.endless.set(self.endless.get() + 1);
        Endless(self)
    }

    /// How many are under way that come to an end by themselves.
    pub fn finite(&self) -> usize {
        self.len() - self.endless.get()
    }

    /// The connection whose request is being polled.
    pub fn connection(&self) -> ConnId {
        let all = self.all.borrow();
        let current = all.get(self.current.get());
        current.map_or(ConnId::NOBODY, |request| request.reply.connection)
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.all.borrow().len()
    }

    /// How many rest at this moment.
    pub fn resting(&self) -> usize {
        self.resting.borrow().len()
    }

    /// Whether one may go on now.
    pub fn are_left(&self) -> bool {
        !self.woken.1.is_empty() || !self.resting.borrow().is_empty()
    }

    /// When the next one that sleeps is to go on.
    pub fn next_due(&self) -> Option<Instant> {
        let sleeping = self.sleeping.borrow();
        sleeping.peek().map(|Reverse((until, _))| *until)
    }

    /// Wakes those whose time has come.
    pub fn wake_due(&self, now: Instant) {
        let mut sleeping = self.sleeping.borrow_mut();
        while let Some(Reverse((until, key))) = sleeping.peek()
            && *until <= now
        {
            let _ = self.woken.0.send(*key);
            sleeping.pop();
        }
    }

    /// The next one that is new or has what it waited for.
    pub fn next_woken(&self) -> Option<usize> {
        self.woken.1.try_recv().ok()
    }

    /// The next one that has had a helping.
    pub fn next_resting(&self) -> Option<usize> {
        self.resting.borrow_mut().pop_front()
    }

    /// Drops those that have not ended: the core has, and each of them holds its host, by which they are held.
    pub fn drop_all(&self) {
        drop(self.all.take());
    }

    /// Has one go on. What it has come to, if it is done.
    pub fn poll(&self, key: usize) -> Option<FinishedRequest> {
        let mut all = self.all.borrow_mut();
        // One that is gone may be woken even so.
        let request = all.get_mut(key)?;
        let (mut work, waker) = (request.work.take()?, request.waker.clone());
        drop(all);
        self.current.set(key);
        let polled = guard(|| work.as_mut().poll(&mut Context::from_waker(&waker)));
        let answer = match polled {
            Ok(Poll::Pending) => {
                if let Some(request) = self.all.borrow_mut().get_mut(key) {
                    request.work = Some(work);
                }
                return None;
            }
            Ok(Poll::Ready(answer)) => Ok(answer),
            Err(fault) => Err(fault),
        };
        // What it holds is given up before its place is another's.
        drop(work);
        let request = self.all.borrow_mut().remove(key);
        Some(FinishedRequest {
            reply: request.reply,
            manner: request.manner,
            answer,
        })
    }

    /// Lets the rest of the core go on: it is polled again in a later round, behind all that have not had so much. To be
    /// awaited by a request.
    pub fn rest(&self) -> impl Future<Output = ()> + '_ {
        let mut rested = false;
        poll_fn(move |_| match std::mem::replace(&mut rested, true) {
            true => Poll::Ready(()),
            false => {
                self.resting.borrow_mut().push_back(self.current.get());
                Poll::Pending
            }
        })
    }

    /// Waits until then. To be awaited by a request.
    pub fn sleep_until(&self, until: Instant) -> impl Future<Output = ()> + '_ {
        let mut sleeps = false;
        poll_fn(move |_| {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut sleeps, true) {
                let entry = Reverse((until, self.current.get()));
                self.sleeping.borrow_mut().push(entry);
            }
            Poll::Pending
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::app::promise::Promise;

    fn begin(
        pending_requests: &PendingRequests,
        slot: u32,
        work: impl Future<Output = HttpAnswer> + 'static,
    ) {
        let manner = Manner {
            head_only: false,
            is_old: false,
            keep_alive: true,
        };
        let reply = Reply {
            connection: ConnId {
                slot,
                generation: 1,
            },
            number: 0,
        };
        pending_requests.begin(reply, manner, Box::pin(work));
    }

    /// Plays rounds until all are done; returns whose were done in which.
    fn play(pending_requests: &PendingRequests) -> Vec<Vec<u32>> {
        let mut rounds = Vec::new();
        while pending_requests.are_left() {
            let mut done = Vec::new();
            let mut note = |key| {
                let ended = pending_requests.poll(key);
                done.extend(ended.map(|done| done.reply.connection.slot));
            };
            let resting = pending_requests.resting();
            while let Some(key) = pending_requests.next_woken() {
                note(key);
            }
            for _ in 0..resting {
                note(
                    pending_requests
                        .next_resting()
                        .expect("as many as there were"),
                );
            }
            rounds.push(done);
            assert!(rounds.len() < 100, "no end");
        }
        rounds
    }

    #[test]
    fn a_small_one_does_not_wait_for_a_large_ones_next_helping() {
        let pending_requests = Rc::new(PendingRequests::default());
        let large = Rc::clone(&pending_requests);
        begin(&pending_requests, 1, async move {
            for helping in 0..10 {
                if helping == 3 {
                    // It comes while the large one is under way.
                    begin(&large, 2, async { HttpAnswer::error(200, "", "") });
                }
                large.rest().await;
            }
            HttpAnswer::error(200, "", "")
        });
        let rounds = play(&pending_requests);
        assert_eq!(rounds.len(), 11);
        // In the next round at the latest, before the large one's next helping in it.
        assert_eq!(rounds[4], [2]);
        assert_eq!(rounds[10], [1]);
        assert_eq!(pending_requests.len(), 0);
    }

    #[test]
    fn what_is_waited_for_wakes_and_late_wakes_do_no_harm() {
        let pending_requests = Rc::new(PendingRequests::default());
        let promise: Promise<u32> = Promise::default();
        let other = promise.clone();
        begin(&pending_requests, 1, async move {
            let status = other.await;
            HttpAnswer::error(status as u16, "", "")
        });
        assert_eq!(play(&pending_requests), [Vec::<u32>::new()]);
        assert!(!pending_requests.are_left());
        let _ = pending_requests.woken.0.send(0);
        let _ = pending_requests.woken.0.send(7);
        assert_eq!(play(&pending_requests), [Vec::<u32>::new()]);
        promise.fulfil(204);
        let key = pending_requests.next_woken().expect("it was woken");
        let done = pending_requests.poll(key).expect("it is done");
        assert_eq!(done.answer.map(|answer| answer.status).ok(), Some(204));
        assert!(pending_requests.poll(key).is_none());
    }

    #[test]
    fn who_sleeps_is_woken_in_time() {
        let pending_requests = Rc::new(PendingRequests::default());
        let (own, now) = (Rc::clone(&pending_requests), Instant::now());
        let until = now + Duration::from_millis(20);
        begin(&pending_requests, 1, async move {
            own.sleep_until(until).await;
            HttpAnswer::error(200, "", "")
        });
        assert_eq!(play(&pending_requests), [Vec::<u32>::new()]);
        assert_eq!(pending_requests.next_due(), Some(until));
        pending_requests.wake_due(now);
        assert!(!pending_requests.are_left());
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        pending_requests.wake_due(Instant::now());
        assert_eq!(play(&pending_requests), [vec![1]]);
        assert_eq!(pending_requests.next_due(), None);
    }

    #[test]
    fn those_that_do_not_end_hold_nothing_behind_the_core() {
        let pending_requests = Rc::new(PendingRequests::default());
        let own = Rc::clone(&pending_requests);
        begin(&pending_requests, 1, async move {
            let _endless = own.begin_endless();
            std::future::pending().await
        });
        assert_eq!(play(&pending_requests), [Vec::<u32>::new()]);
        assert_eq!(Rc::strong_count(&pending_requests), 2);
        pending_requests.drop_all();
        assert_eq!(Rc::strong_count(&pending_requests), 1);
        assert_eq!(pending_requests.finite(), 0);
    }

    #[test]
    fn a_panic_ends_one() {
        let pending_requests = PendingRequests::default();
        begin(&pending_requests, 1, async { panic!("a mistake") });
        begin(&pending_requests, 2, async {
            HttpAnswer::error(200, "", "")
        });
        let first = pending_requests
            .next_woken()
            .and_then(|key| pending_requests.poll(key));
        assert!(first.is_some_and(|done| done.answer.is_err()));
        let second = pending_requests
            .next_woken()
            .and_then(|key| pending_requests.poll(key));
        assert!(second.is_some_and(|done| done.answer.is_ok()));
    }
}
