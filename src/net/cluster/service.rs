//! The loop of the cluster's thread: mail of the cores, Redis, and time ([`Service`]).
//!
//! While a batch is under way to the Redis no mail is taken: so batches are as large as Redis is slow, and whoever sends more
//! than it takes is paused by his credit. Where there are several Redis mail is taken for the others meanwhile, up to a bound
//! for the one that is slow.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ahash::AHashSet;
use futures_util::FutureExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot::Receiver;
use tokio::time::sleep_until;
use tracing::warn;

use super::bell::Bell;
use super::control::TurnoverOrder;
use super::engine_part::{EnginePart, PartWake};
use super::keeper::tell_all;
use super::passage::{Passage, PassageEvent};
use super::placement::{MailPlace, asked_by, place_of};
use super::succession::{Coming, Leaving, Succession};
use crate::app::abroad_streams::StreamNews;
use crate::app::envelope::Body;
use crate::bus::Endpoint;
use crate::net::http::Readiness;
use crate::protocol::cluster::NodeId;
use crate::protocol::partitions::Partition;

/// Envelopes that are taken before Redis is told.
const ENVELOPES_PER_ROUND: usize = 1_024;
/// How often cores are told to compare some of their streams; and with nothing to come it looks that often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// For a process that is the node no more to be subscribed to nothing.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(10);
const LEAVE_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What the loop has waited for.
enum Wake {
    Part(usize, PartWake),
    Order(TurnoverOrder),
    Passage(PassageEvent),
    Mail,
    Time,
    Stop,
}

/// See the module.
pub struct Service {
    /// By their partitions.
    parts: Vec<EnginePart>,
    /// Which is looked at first.
    first: usize,
    bus: Endpoint<Body>,
    bell: Bell,
    readiness: Arc<Readiness>,
    ready_alone: bool,
    next_look: Instant,
    /// By which is seen that a node has gone.
    departures: u64,
    stopped: Receiver<()>,
    /// What the thread of an upgrade orders.
    ordered: UnboundedReceiver<TurnoverOrder>,
    succession: Succession,
}

impl Service {
    /// One that begins as another process' shadow, if there is a passage to that.
    pub fn new(
        mut parts: Vec<EnginePart>,
        (bus, bell): (Endpoint<Body>, Bell),
        (readiness, ready_alone): (Arc<Readiness>, bool),
        stopped: Receiver<()>,
        (ordered, passage): (UnboundedReceiver<TurnoverOrder>, Option<Passage>),
    ) -> Service {
        let succession = match passage {
            Some(passage) => Succession::Coming(Coming::new(passage, &mut parts)),
            None => Succession::None,
        };
        Service {
            ordered,
            succession,
            parts,
            first: 0,
            bus,
            bell,
            readiness,
            ready_alone,
            next_look: Instant::now() + LOOK_INTERVAL,
            departures: 0,
            stopped,
        }
    }

    /// Serves until the server has ended.
    pub async fn run(&mut self) {
        loop {
            let may_sleep = self.round();
            let due = match may_sleep {
                true => self.next_due(),
                false => Instant::now(),
            };
            match self.wait(due).await {
                Wake::Stop => return self.say_the_last().await,
                wake => self.take(wake),
            }
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Part(nth, wake) => self.parts[nth].take(&mut self.bus, wake),
            Wake::Order(order) => self.obey(order),
            Wake::Passage(PassageEvent::Message(bytes)) => match &mut self.succession {
                Succession::Coming(coming) => {
                    coming.take(&mut self.parts, &bytes, Instant::now());
                }
                Succession::Leaving(leaving) => leaving.take(&bytes),
                Succession::None => {}
            },
            Wake::Passage(PassageEvent::Flushed | PassageEvent::Ended)
            | Wake::Mail
            | Wake::Time
            | Wake::Stop => {}
        }
    }

    /// What the thread of an upgrade wants.
    fn obey(&mut self, order: TurnoverOrder) {
        let (now, parts) = (Instant::now(), &mut self.parts);
        match (order, &mut self.succession) {
            (TurnoverOrder::Begin(socket), _) => {
                let passage = socket.map(Passage::new).transpose();
                let passage = passage.unwrap_or_else(|error| {
                    warn!(%error, "cluster: there is no way to the new process");
                    None
                });
                self.succession = Succession::Leaving(Leaving::new(passage, parts));
            }
            (TurnoverOrder::BeShadowed(reply), Succession::Leaving(leaving)) => {
                leaving.be_shadowed(reply);
            }
            (TurnoverOrder::Rest, _) => parts.iter_mut().for_each(|part| part.party.rest(now)),
            (TurnoverOrder::Part(reply), Succession::Leaving(leaving)) => leaving.part(reply),
            (TurnoverOrder::BeGone, Succession::Leaving(leaving)) if leaving.is_heir() => {
                for (nth, part) in parts.iter_mut().enumerate() {
                    part.be_gone(leaving.is_unseen(nth), now);
                }
                self.succession = Succession::None;
            }
            (TurnoverOrder::Resume | TurnoverOrder::BeGone, _) => {
                for part in parts {
                    part.party.resume(&mut self.bus);
                }
                self.succession = Succession::None;
            }
            (TurnoverOrder::GoOn, Succession::Coming(coming)) => coming.be_let_go(),
            // Dropped, its asker hears that there is no answer.
            (TurnoverOrder::BeShadowed(_) | TurnoverOrder::Part(_) | TurnoverOrder::GoOn, _) => {}
        }
    }

    /// What can be done of an upgrade.
    fn advance_succession(&mut self, now: Instant) {
        match &mut self.succession {
            Succession::None => {}
            Succession::Leaving(leaving) => leaving.advance(&mut self.parts, now),
            Succession::Coming(coming) => {
                coming.advance(&mut self.bus, &mut self.parts, now);
                if coming.is_done() {
                    self.succession = Succession::None;
                }
            }
        }
    }

    /// All that can be done now. Whether nothing is left to do.
    fn round(&mut self) -> bool {
        let now = Instant::now();
        self.bus.disarm();
        self.bus.settle_credits(|_, _| {});
        for part in &mut self.parts {
            part.advance(&mut self.bus, now);
        }
        let is_time = self.next_look <= now;
        if is_time {
            self.next_look = now + LOOK_INTERVAL;
            tell_all(&mut self.bus, || StreamNews::Look);
        }
        match self.parts.len() {
            1 => drop(self.look_for_ended()),
            _ => self.compare_members(is_time),
        }
        self.take_mail(now);
        // Behind the mail, which says what is wanted.
        self.advance_succession(now);
        for part in &mut self.parts {
            part.go_on(&mut self.bus, now);
        }
        self.show_readiness();
        self.bus.ring_posted();
        match self.takes_mail() {
            false => true,
            // Those whose mail was taken have their credit back.
            true => self.bus.arm(),
        }
    }

    /// Whether there is room for more.
    fn takes_mail(&self) -> bool {
        // Until this process goes on as the node, the mail waits.
        if matches!(self.succession, Succession::Coming(_)) {
            return false;
        }
        let is_full = |part: &EnginePart| match self.parts.len() {
            1 => part.is_busy(),
            _ => part.is_busy() && part.party.is_full(),
        };
        !self.parts.iter().any(is_full)
    }

    fn take_mail(&mut self, now: Instant) {
        for _ in 0..ENVELOPES_PER_ROUND {
            let is_full = self.parts.iter().any(|part| part.party.is_full());
            if is_full || !self.takes_mail() {
                return;
            }
            let Some(envelope) = self.bus.take() else {
                return;
            };
            let nth = self.place(&envelope.body);
            let part = &mut self.parts[nth];
            let is_joined = part.is_joined() && !part.party.is_gone();
            let mail = (envelope.from, envelope.body);
            part.party.take(&mut self.bus, mail, now, is_joined);
        }
    }

    /// Which part's it is.
    fn place(&self, body: &Body) -> usize {
        let count = self.parts.len();
        match place_of(body) {
            _ if count == 1 => 0,
            MailPlace::Of(topic) => Partition::holding(topic, count as u16).index(),
            MailPlace::AskedBy(number) => asked_by(number, count),
            MailPlace::Any => {
                let joined = self.parts.iter().position(EnginePart::is_joined);
                joined.unwrap_or(0)
            }
        }
    }

    /// Sees to it that each Redis' part knows of the nodes that are joined to others.
    fn compare_members(&mut self, is_time: bool) {
        let departures = |part: &EnginePart| part.party.members.departures();
        let departures = self.parts.iter().map(departures).sum();
        let has_ended = self.look_for_ended();
        if !is_time && !has_ended && departures == self.departures {
            return;
        }
        self.departures = departures;
        let joined = self.parts.iter().filter(|part| part.is_joined());
        let joined = joined.flat_map(|part| part.party.members.joined());
        let joined: AHashSet<NodeId> = joined.collect();
        for part in &mut self.parts {
            part.party.members.compare(&joined);
        }
    }

    /// Where one Redis has seen the end of a node, each other one that has it is asked for it at once. Whether that is so.
    fn look_for_ended(&mut self) -> bool {
        let ended = self.parts.iter_mut();
        let ended = ended.flat_map(|part| part.party.members.take_ended());
        let ended: Vec<NodeId> = ended.collect();
        for part in self.parts.iter_mut().filter(|part| part.is_joined()) {
            if ended.iter().any(|node| part.party.members.has(*node)) {
                part.party.look();
            }
        }
        !ended.is_empty()
    }

    fn next_due(&self) -> Instant {
        let dues = self.parts.iter().filter_map(EnginePart::next_due);
        dues.chain([self.next_look]).min().unwrap_or(self.next_look)
    }

    async fn wait(&mut self, due: Instant) -> Wake {
        let takes_mail = self.takes_mail();
        let (mut rung, mut time) = (pin!(self.bell.rung()), pin!(sleep_until(due.into())));
        let (parts, first, stopped) = (&mut self.parts, &mut self.first, &mut self.stopped);
        let (ordered, succession) = (&mut self.ordered, &mut self.succession);
        // One that has just become the node becomes that wholly before another one does.
        let obeys = !matches!(succession, Succession::Coming(coming) if coming.goes_on());
        poll_fn(|context| {
            if stopped.poll_unpin(context).is_ready() {
                return Poll::Ready(Wake::Stop);
            }
            if obeys && let Poll::Ready(Some(order)) = ordered.poll_recv(context) {
                return Poll::Ready(Wake::Order(order));
            }
            if let Some(passage) = succession.passage()
                && let Poll::Ready(event) = passage.poll(context)
            {
                return Poll::Ready(Wake::Passage(event));
            }
            if let Poll::Ready(wake) = poll_parts(parts, first, context) {
                return Poll::Ready(wake);
            }
            if takes_mail && rung.as_mut().poll(context).is_ready() {
                return Poll::Ready(Wake::Mail);
            }
            time.as_mut().poll(context).map(|()| Wake::Time)
        })
        .await
    }

    fn show_readiness(&self) {
        let is_joined = self.parts.iter().all(EnginePart::is_joined);
        self.readiness.cluster(is_joined, self.ready_alone);
    }

    /// After a panic.
    pub fn lose_links(&mut self) {
        for part in &mut self.parts {
            part.lose(&mut self.bus, "a mistake of ours");
        }
        self.show_readiness();
    }

    /// What the cores have said before they ended.
    async fn say_the_last(&mut self) {
        // Such as that another process is the node.
        while let Ok(order) = self.ordered.try_recv() {
            self.obey(order);
        }
        if self.parts.iter().any(|part| part.party.is_gone()) {
            return self.take_leave().await;
        }
        for part in &mut self.parts {
            part.finish_batch().await;
        }
        self.take_mail(Instant::now());
        for part in &mut self.parts {
            part.say_the_last(&mut self.bus);
        }
        for part in &mut self.parts {
            part.finish_batch().await;
        }
    }
}

impl Service {
    /// Another process is the node. What comes here as well has its answer, until nothing comes any more.
    async fn take_leave(&mut self) {
        let until = Instant::now() + LEAVE_TIME_MAX;
        let has_gone = |part: &EnginePart| part.has_gone();
        loop {
            self.round();
            if self.parts.iter().all(has_gone) || Instant::now() >= until {
                return;
            }
            let due = until.min(Instant::now() + LEAVE_LOOK_INTERVAL);
            let wake = self.wait_for_parts(due).await;
            self.take(wake);
        }
    }

    async fn wait_for_parts(&mut self, due: Instant) -> Wake {
        let mut time = pin!(sleep_until(due.into()));
        let (parts, first) = (&mut self.parts, &mut self.first);
        poll_fn(|context| match poll_parts(parts, first, context) {
            Poll::Ready(wake) => Poll::Ready(wake),
            Poll::Pending => time.as_mut().poll(context).map(|()| Wake::Time),
        })
        .await
    }
}

/// Each in turn is the first that is looked at.
fn poll_parts(
    parts: &mut [EnginePart],
    first: &mut usize,
    context: &mut Context<'_>,
) -> Poll<Wake> {
    let count = parts.len();
    for at in 0..count {
        let nth = (*first + at) % count;
        if let Poll::Ready(wake) = parts[nth].poll(context) {
            *first = (nth + 1) % count;
            return Poll::Ready(Wake::Part(nth, wake));
        }
    }
    Poll::Pending
}
