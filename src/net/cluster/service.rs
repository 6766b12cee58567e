//! The loop of the cluster's thread: mail of the cores, Redis, and time ([`Service`]).
//!
//! One batch is under way to Redis at a time, and meanwhile no mail is taken: so batches are as large as Redis is slow, and
//! whoever sends more than it takes is paused by his credit. Subscribing has a connection of its own and waits for nobody.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::oneshot::Receiver;
use tokio::time::{sleep_until, timeout};
use tracing::{info, warn};

use super::bell::Bell;
use super::interests::SubscriptionChange;
use super::link::RedisLink;
use super::members::SETTLING;
use super::party::{Party, RedisAnswer, RedisCommand};
use super::pauses::Pauses;
use super::target::ClusterTarget;
use crate::app::envelope::Body;
use crate::bus::Endpoint;
use crate::net::http::{ClusterFigures, Readiness};

/// How often a node says that it is there, to all and so to itself, and sees that it comes.
const ECHO_INTERVAL: Duration = Duration::from_secs(2);
/// Echoes that may be under way; with one more the link is given up.
const ECHOES_MAX: u32 = 3;
/// Messages that are taken before anything else is looked at.
const MESSAGES_PER_ROUND: usize = 512;
/// For Redis to subscribe to a thousand channels.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

const SUBSCRIPTIONS_ENDED: &str = "Redis has ended the subscriptions' connection";

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type CommandBatch = (Arc<[RedisCommand]>, Task<Result<Vec<RedisAnswer>, String>>);

/// The connection to Redis, and what is under way there.
struct JoinedLink {
    link: RedisLink,
    batch: Option<CommandBatch>,
    change: Option<Task<Result<SubscriptionChange, String>>>,
    next_echo: Instant,
    /// Under way, and when the last of them left.
    echoes: u32,
    last_echo: Instant,
}

enum LinkState {
    Up(Box<JoinedLink>),
    Joining(Task<Result<RedisLink, String>>),
    /// Until then it is not tried again.
    Away(Instant),
}

/// What the loop has waited for.
enum Wake {
    Done(Result<Vec<RedisAnswer>, String>),
    Changed(Result<SubscriptionChange, String>),
    Arrived(Option<Vec<u8>>),
    Joined(Result<RedisLink, String>),
    Mail,
    Time,
    Stop,
}

/// See the module.
pub struct Service {
    target: Arc<ClusterTarget>,
    name: String,
    party: Party,
    bus: Endpoint<Body>,
    bell: Bell,
    readiness: Arc<Readiness>,
    stopped: Receiver<()>,
    state: LinkState,
    pauses: Pauses,
    has_joined: bool,
    /// What the log has been told of why Redis is away.
    told: Option<String>,
}

impl Service {
    pub fn new(
        (target, name): (ClusterTarget, String),
        party: Party,
        (bus, bell): (Endpoint<Body>, Bell),
        readiness: Arc<Readiness>,
        stopped: Receiver<()>,
    ) -> Service {
        Service {
            target: Arc::new(target),
            name,
            party,
            bus,
            bell,
            readiness,
            stopped,
            state: LinkState::Away(Instant::now()),
            pauses: Pauses::default(),
            has_joined: false,
            told: None,
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

    /// All that can be done now. Whether nothing is left to do.
    fn round(&mut self) -> bool {
        let now = Instant::now();
        self.bus.disarm();
        self.bus.settle_credits(|_, _| {});
        self.party.expire(&mut self.bus, now);
        self.party.interests.advance(now);
        if let LinkState::Away(until) = self.state
            && until <= now
        {
            self.begin_joining();
        }
        let (is_joined, is_free) = match &mut self.state {
            LinkState::Up(joined) => (true, joined.batch.is_none()),
            _ => (false, true),
        };
        if is_free {
            self.party.take_mail(&mut self.bus, now, is_joined);
            self.begin_batch(now);
        }
        // Behind the mail, which says what is wanted.
        if let LinkState::Up(joined) = &mut self.state {
            joined.change_next(&mut self.party);
        }
        self.bus.ring_posted();
        match &self.state {
            LinkState::Up(joined) if joined.batch.is_some() => true,
            // Those whose mail was taken have their credit back.
            _ => self.bus.arm(),
        }
    }

    fn begin_joining(&mut self) {
        let (target, channels) = (Arc::clone(&self.target), self.party.standing_channels());
        let joining = async move { RedisLink::join(&target, &channels).await };
        self.state = LinkState::Joining(Box::pin(joining));
    }

    fn begin_batch(&mut self, now: Instant) {
        let LinkState::Up(joined) = &mut self.state else {
            return;
        };
        if joined.next_echo <= now {
            if joined.echoes == ECHOES_MAX {
                return self.lose("what is published does not come back");
            }
            joined.next_echo = now + ECHO_INTERVAL;
            joined.echoes += 1;
            joined.last_echo = now;
            self.party.say_again(now);
            self.party.show();
        }
        self.party.tell_standing(now);
        let batch = self.party.next_batch(now);
        if batch.is_empty() {
            return;
        }
        let figures = &self.party.own.figures;
        ClusterFigures::add(&figures.batches, 1);
        ClusterFigures::add(&figures.published, batch.len() as u64);
        let batch: Arc<[RedisCommand]> = batch.into();
        let running = joined
            .link
            .run(Arc::clone(&batch), self.target.answer_timeout);
        joined.batch = Some((batch, Box::pin(running)));
    }

    fn next_due(&self) -> Instant {
        let own = match &self.state {
            // Nothing is sent while a batch is under way, which has an end.
            LinkState::Up(joined) if joined.batch.is_some() => None,
            LinkState::Up(joined) => {
                let word = self.party.members.next_due();
                Some(word.map_or(joined.next_echo, |at| at.min(joined.next_echo)))
            }
            LinkState::Joining(_) => None,
            LinkState::Away(until) => Some(*until),
        };
        let dues = own.into_iter().chain(self.party.next_due());
        // With nothing to come it looks that often.
        dues.min().unwrap_or_else(|| Instant::now() + ECHO_INTERVAL)
    }

    async fn wait(&mut self, due: Instant) -> Wake {
        let (mut rung, mut time) = (pin!(self.bell.rung()), pin!(sleep_until(due.into())));
        let (state, stopped) = (&mut self.state, &mut self.stopped);
        poll_fn(|context| {
            if stopped.poll_unpin(context).is_ready() {
                return Poll::Ready(Wake::Stop);
            }
            let mut takes_mail = true;
            match state {
                LinkState::Up(joined) => {
                    if let Poll::Ready(wake) = joined.poll(context) {
                        return Poll::Ready(wake);
                    }
                    takes_mail = joined.batch.is_none();
                }
                LinkState::Joining(task) => {
                    if let Poll::Ready(joined) = task.poll_unpin(context) {
                        return Poll::Ready(Wake::Joined(joined));
                    }
                }
                LinkState::Away(_) => {}
            }
            if takes_mail && rung.as_mut().poll(context).is_ready() {
                return Poll::Ready(Wake::Mail);
            }
            time.as_mut().poll(context).map(|()| Wake::Time)
        })
        .await
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Mail | Wake::Time | Wake::Stop => {}
            Wake::Joined(Ok(link)) => self.joined(link),
            Wake::Joined(Err(error)) => self.lose(&error),
            Wake::Done(result) => self.done(result),
            Wake::Changed(Ok(change)) => {
                self.party.subscribed(&change);
                if let LinkState::Up(joined) = &mut self.state {
                    joined.change = None;
                    self.party.interests.told(Instant::now());
                }
            }
            Wake::Changed(Err(error)) => self.lose(&error),
            Wake::Arrived(None) => self.lose(SUBSCRIPTIONS_ENDED),
            Wake::Arrived(Some(bytes)) => self.arrived(&bytes),
        }
    }

    fn joined(&mut self, link: RedisLink) {
        let now = Instant::now();
        let settling = self.settling(link.server.uptime);
        let version = match link.server.version.as_str() {
            "" => "of a version that it does not tell",
            version => version,
        };
        info!(
            node = self.name,
            redis = self.target.address,
            version,
            "cluster: joined"
        );
        self.party.own.joined(&link.server.version);
        self.party.begin_anew(link.client, settling, now);
        self.party
            .keeper_joined(&mut self.bus, &link.server.run, now);
        self.has_joined = true;
        self.pauses = Pauses::default();
        self.told = None;
        self.readiness.cluster(true, self.target.ready_alone);
        self.state = LinkState::Up(Box::new(JoinedLink {
            link,
            batch: None,
            change: None,
            next_echo: now,
            echoes: 0,
            last_echo: now,
        }));
    }

    /// For how long others may still come that this node does not know: those that another Redis, or this one before it was
    /// started anew, has had.
    fn settling(&self, uptime: Option<Duration>) -> Duration {
        match uptime {
            Some(uptime) if !self.has_joined => SETTLING.saturating_sub(uptime),
            _ => SETTLING,
        }
    }

    fn done(&mut self, result: Result<Vec<RedisAnswer>, String>) {
        let LinkState::Up(joined) = &mut self.state else {
            return;
        };
        let Some((batch, _)) = &joined.batch else {
            return;
        };
        match result {
            Ok(results) => {
                self.party
                    .done(&mut self.bus, batch, results, Instant::now());
                joined.batch = None;
            }
            Err(error) => self.lose(&error),
        }
    }

    /// One that has come, and those behind it.
    fn arrived(&mut self, bytes: &[u8]) {
        let LinkState::Up(joined) = &mut self.state else {
            return;
        };
        let mut take = |bytes: &[u8]| {
            // One that is empty has tried whether that is allowed.
            if !bytes.is_empty() && self.party.arrived(&mut self.bus, bytes) {
                // One that comes late is not the last.
                if joined.echoes == 1 {
                    self.party.own.echoed(joined.last_echo.elapsed());
                }
                joined.echoes = 0;
            }
        };
        take(bytes);
        for _ in 0..MESSAGES_PER_ROUND {
            match joined.link.arriving.try_recv() {
                Ok(Some(bytes)) => take(&bytes),
                Ok(None) => return self.lose(SUBSCRIPTIONS_ENDED),
                Err(_) => return,
            }
        }
    }

    /// There is no connection to Redis any more.
    fn lose(&mut self, reason: &str) {
        let pause = self.pauses.next();
        let state = LinkState::Away(Instant::now() + pause);
        if let LinkState::Up(joined) = std::mem::replace(&mut self.state, state)
            && let Some((batch, _)) = joined.batch
        {
            self.party.lost(&mut self.bus, &batch, Instant::now());
        }
        self.party.lose_unsure(&mut self.bus);
        self.party.keeper_lost(&mut self.bus);
        self.party.own.lost(reason);
        self.readiness.cluster(false, self.target.ready_alone);
        if self.told.as_deref() != Some(reason) {
            warn!("cluster: away: {reason}; users of other nodes are not reached until it is back");
            self.told = Some(reason.to_owned());
        }
    }

    /// After a panic.
    pub fn lose_link(&mut self) {
        self.lose("a mistake of ours");
    }

    /// What the cores have said before they ended.
    async fn say_the_last(&mut self) {
        if let LinkState::Up(joined) = &mut self.state
            && let Some((_, task)) = joined.batch.take()
        {
            let _ = task.await;
        }
        let now = Instant::now();
        self.party.take_mail(&mut self.bus, now, true);
        self.party.say_the_last(now);
        self.begin_batch(now);
        if let LinkState::Up(joined) = &mut self.state
            && let Some((_, task)) = joined.batch.take()
        {
            let _ = timeout(self.target.answer_timeout, task).await;
        }
    }
}

impl JoinedLink {
    fn change_next(&mut self, party: &mut Party) {
        if self.change.is_none()
            && let Some(change) = party.interests.next_change()
        {
            self.change = Some(Box::pin(self.link.change(change, CHANGE_TIMEOUT)));
        }
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<Wake> {
        if let Some((_, task)) = &mut self.batch
            && let Poll::Ready(result) = task.poll_unpin(context)
        {
            return Poll::Ready(Wake::Done(result));
        }
        if let Some(task) = &mut self.change
            && let Poll::Ready(result) = task.poll_unpin(context)
        {
            return Poll::Ready(Wake::Changed(result));
        }
        let arrived = self.link.arriving.poll_recv(context);
        arrived.map(|bytes| Wake::Arrived(bytes.flatten()))
    }
}
