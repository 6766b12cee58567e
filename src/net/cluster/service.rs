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

use futures_util::FutureExt;
use tokio::sync::oneshot::Receiver;
use tokio::time::sleep_until;

use super::bell::Bell;
use super::engine_part::{EnginePart, PartWake};
use super::keeper::tell_all;
use super::placement::{MailPlace, asked_by, place_of};
use crate::app::abroad_streams::StreamNews;
use crate::app::envelope::Body;
use crate::bus::Endpoint;
use crate::net::http::Readiness;
use crate::protocol::partitions::Partition;

/// Envelopes that are taken before Redis is told.
const ENVELOPES_PER_ROUND: usize = 1_024;
/// How often cores are told to compare some of their streams; and with nothing to come it looks that often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What the loop has waited for.
enum Wake {
    Part(usize, PartWake),
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
    stopped: Receiver<()>,
}

impl Service {
    pub fn new(
        parts: Vec<EnginePart>,
        (bus, bell): (Endpoint<Body>, Bell),
        (readiness, ready_alone): (Arc<Readiness>, bool),
        stopped: Receiver<()>,
    ) -> Service {
        Service {
            parts,
            first: 0,
            bus,
            bell,
            readiness,
            ready_alone,
            next_look: Instant::now() + LOOK_INTERVAL,
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
                Wake::Part(nth, wake) => self.parts[nth].take(&mut self.bus, wake),
                Wake::Mail | Wake::Time => {}
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
        if self.next_look <= now {
            self.next_look = now + LOOK_INTERVAL;
            tell_all(&mut self.bus, || StreamNews::Look);
        }
        self.take_mail(now);
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
            let is_joined = part.is_joined();
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

    fn next_due(&self) -> Instant {
        let dues = self.parts.iter().filter_map(EnginePart::next_due);
        dues.chain([self.next_look]).min().unwrap_or(self.next_look)
    }

    async fn wait(&mut self, due: Instant) -> Wake {
        let takes_mail = self.takes_mail();
        let (mut rung, mut time) = (pin!(self.bell.rung()), pin!(sleep_until(due.into())));
        let (parts, first, stopped) = (&mut self.parts, &mut self.first, &mut self.stopped);
        poll_fn(|context| {
            if stopped.poll_unpin(context).is_ready() {
                return Poll::Ready(Wake::Stop);
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
