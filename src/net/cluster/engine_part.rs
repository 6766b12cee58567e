//! One of the Redis of a cluster and what this node has there: [`EnginePart`], a [`Party`] with its connection, which is made,
//! used, watched and lost here. The loop ([`Service`](super::service::Service)) gives it mail and time.
//!
//! One batch is under way to Redis at a time. Subscribing has a connection of its own and waits for nobody.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::{info, warn};

use super::arrivals::ChannelArrival;
use super::interests::SubscriptionChange;
use super::life_line::LifeLine;
use super::link::RedisLink;
use super::masters::Masters;
use super::members::{LOST, SETTLING};
use super::party::{Party, RedisAnswer, RedisCommand};
use super::pauses::Pauses;
use super::target::RedisTarget;
use super::turnover_state::PartyState;
use super::words::{MOVED, SUBSCRIPTIONS_ENDED};
use crate::app::envelope::Body;
use crate::bus::Endpoint;
use crate::net::http::ClusterFigures;

/// How often a node says that it is there, to all and so to itself, and sees that it comes.
const ECHO_INTERVAL: Duration = Duration::from_secs(2);
/// Echoes that may be under way; with one more the link is given up.
const ECHOES_MAX: u32 = 3;
/// Messages that are taken before anything else is looked at.
const MESSAGES_PER_ROUND: usize = 512;
/// A link that has been there for so long is joined anew at once when it ends, with a jitter: until it is back, its users may
/// be offline to the others. One that ends sooner may end for what it is.
const STEADY: Duration = Duration::from_secs(10);
const JITTER: Duration = Duration::from_millis(20);
/// The life line of a link that has ended is held on to that long after the next has joined: by then all have heard of that.
const LIFE_HELD: Duration = Duration::from_secs(10);
/// Those that are held; with one more the oldest goes.
const LIVES_MAX: usize = 4;
/// For Redis to subscribe to a thousand channels.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

const OVERRUN: &str = "more has come by its channels than this node has taken";
const REPLACED: &str = "another connection takes its place";

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type CommandBatch = (Arc<[RedisCommand]>, Task<Result<Vec<RedisAnswer>, String>>);

/// The connection to Redis, and what is under way there.
struct JoinedLink {
    link: Box<RedisLink>,
    batch: Option<CommandBatch>,
    change: Option<Task<Result<SubscriptionChange, String>>>,
    joined: Instant,
    next_echo: Instant,
    /// Under way, and when the last of them left.
    echoes: u32,
    last_echo: Instant,
    /// Something that has come and is next.
    taken: Option<ChannelArrival>,
}

enum LinkState {
    Up(Box<JoinedLink>),
    Joining(Task<Result<Box<RedisLink>, String>>),
    /// Until then it is not tried again.
    Away(Instant),
}

/// What has come of something that was waited for.
pub enum PartWake {
    Done(Result<Vec<RedisAnswer>, String>),
    Changed(Result<SubscriptionChange, String>),
    Arrived(ChannelArrival),
    Joined(Result<Box<RedisLink>, String>),
}

/// See the module.
pub struct EnginePart {
    pub party: Party,
    target: Arc<RedisTarget>,
    /// Those of a Redis Cluster, which other parts join as well.
    masters: Arc<Masters>,
    answer_timeout: Duration,
    state: LinkState,
    pauses: Pauses,
    has_joined: bool,
    /// Of links that have ended, with the time from which nobody asks for them, once this node is back.
    past_lives: VecDeque<(Option<Instant>, LifeLine)>,
    /// What the log has been told of why Redis is away.
    told: Option<String>,
    /// A process that is the node no more lasts until then.
    stays: Option<Instant>,
    /// It has left the connections that others share, and they have not.
    was_alone: bool,
}

impl EnginePart {
    pub fn new(
        party: Party,
        (target, masters): (RedisTarget, Arc<Masters>),
        answer_timeout: Duration,
    ) -> EnginePart {
        EnginePart {
            party,
            target: Arc::new(target),
            masters,
            answer_timeout,
            state: LinkState::Away(Instant::now()),
            pauses: Pauses::default(),
            has_joined: false,
            past_lives: VecDeque::new(),
            told: None,
            stays: None,
            was_alone: false,
        }
    }

    pub fn is_joined(&self) -> bool {
        matches!(self.state, LinkState::Up(_))
    }

    /// Whether Redis has something to do: what comes is in the next batch.
    pub fn is_busy(&self) -> bool {
        match &self.state {
            LinkState::Up(joined) => joined.batch.is_some(),
            _ => false,
        }
    }

    /// What time brings.
    pub fn advance(&mut self, bus: &mut Endpoint<Body>, now: Instant) {
        self.party.expire(bus, now);
        self.party.burst(bus, now);
        self.party.interests.advance(now);
        let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        self.past_lives
            .retain(|(until, life)| !is_over(*until) && !life.is_over());
        if let LinkState::Away(until) = self.state
            && until <= now
            && !self.party.is_gone()
        {
            self.begin_joining();
        }
    }

    fn begin_joining(&mut self) {
        let (target, channels) = (Arc::clone(&self.target), self.party.standing_channels());
        let (life, masters) = (self.party.channel_of_own_life(), Arc::clone(&self.masters));
        let joining = async move {
            let joined = RedisLink::join(&target, &masters, (&channels, &life)).await;
            joined.map(Box::new)
        };
        self.state = LinkState::Joining(Box::pin(joining));
    }

    /// Has Redis do what is to be done, behind the mail, which says what is wanted.
    pub fn go_on(&mut self, bus: &mut Endpoint<Body>, now: Instant) {
        if !self.is_busy() {
            self.begin_batch(bus, now);
        }
        if let LinkState::Up(joined) = &mut self.state {
            joined.change_next(&mut self.party);
        }
    }

    fn begin_batch(&mut self, bus: &mut Endpoint<Body>, now: Instant) {
        let LinkState::Up(joined) = &mut self.state else {
            return;
        };
        if joined.next_echo <= now && !self.party.is_mute() {
            if joined.echoes == ECHOES_MAX {
                return self.lose(bus, "what is published does not come back");
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
        let running = joined.link.run(Arc::clone(&batch), self.answer_timeout);
        joined.batch = Some((batch, Box::pin(running)));
    }

    /// When something is to be looked at next, if that is known.
    pub fn next_due(&self) -> Option<Instant> {
        let own = match &self.state {
            // Nothing is sent while a batch is under way, which has an end.
            LinkState::Up(joined) if joined.batch.is_some() => None,
            LinkState::Up(joined) => {
                let word = self.party.members.next_due().into_iter();
                let own = word.chain([joined.next_echo]).min();
                own.filter(|_| !self.party.is_mute())
            }
            LinkState::Joining(_) => None,
            LinkState::Away(until) => Some(*until),
        };
        own.into_iter().chain(self.party.next_due()).min()
    }

    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<PartWake> {
        match &mut self.state {
            LinkState::Up(joined) => joined.poll(context),
            LinkState::Joining(task) => task.poll_unpin(context).map(PartWake::Joined),
            LinkState::Away(_) => Poll::Pending,
        }
    }

    pub fn take(&mut self, bus: &mut Endpoint<Body>, wake: PartWake) {
        match wake {
            PartWake::Joined(Ok(link)) => self.joined(bus, link),
            PartWake::Done(result) => self.done(bus, result),
            PartWake::Changed(Ok(change)) => {
                self.party.subscribed(&change);
                if let LinkState::Up(joined) = &mut self.state {
                    joined.change = None;
                    self.party.interests.told(Instant::now());
                }
            }
            PartWake::Joined(Err(error)) | PartWake::Changed(Err(error)) => self.lose(bus, &error),
            PartWake::Arrived(arrival) => self.arrived(bus, arrival),
        }
    }

    fn joined(&mut self, bus: &mut Endpoint<Body>, link: Box<RedisLink>) {
        let now = Instant::now();
        let settling = self.settling(link.server().uptime);
        self.tell_joined(&link);
        self.party.own.joined(&link.server().version);
        self.party.begin_anew(link.client(), settling, now);
        self.party.keeper_joined(bus, &link.server().run);
        self.has_joined = true;
        for (until, _) in &mut self.past_lives {
            *until = until.or(Some(now + LIFE_HELD));
        }
        self.was_alone = false;
        self.pauses = Pauses::default();
        self.told = None;
        self.state = LinkState::Up(Box::new(JoinedLink {
            link,
            batch: None,
            change: None,
            joined: now,
            next_echo: now,
            echoes: 0,
            last_echo: now,
            taken: None,
        }));
    }

    /// Once for all that share the connections.
    fn tell_joined(&self, link: &RedisLink) {
        let version = match link.server().version.as_str() {
            "" => "of a version that it does not tell",
            version => version,
        };
        let redis = match link.place() {
            None => self.target.address.clone(),
            Some(place) if place.is_first() => {
                format!("{}, of {}", place.address(), self.target.whole())
            }
            Some(place) if self.was_alone => {
                format!("{}, at {}", self.target.address, place.address())
            }
            Some(_) => return,
        };
        let node = self.party.own.name();
        info!(node, redis, version, "cluster: joined");
    }

    /// For how long others may still come that this node does not know: those that another Redis, or this one before it was
    /// started anew, has had.
    fn settling(&self, uptime: Option<Duration>) -> Duration {
        match uptime {
            Some(uptime) if !self.has_joined => SETTLING.saturating_sub(uptime),
            _ => SETTLING,
        }
    }

    fn done(&mut self, bus: &mut Endpoint<Body>, result: Result<Vec<RedisAnswer>, String>) {
        let LinkState::Up(joined) = &mut self.state else {
            return;
        };
        let Some((batch, _)) = &joined.batch else {
            return;
        };
        match result {
            Ok(results) => {
                self.party.done(bus, batch, results, Instant::now());
                joined.batch = None;
            }
            Err(error) => self.lose(bus, &error),
        }
    }

    /// Something that has come, and what is behind it.
    fn arrived(&mut self, bus: &mut Endpoint<Body>, arrival: ChannelArrival) {
        let LinkState::Up(joined) = &mut self.state else {
            return;
        };
        let mut next = Some(arrival);
        for _ in 0..MESSAGES_PER_ROUND {
            let bytes = match next {
                None => return,
                Some(ChannelArrival::Message(bytes)) => bytes,
                Some(ChannelArrival::Ended) => return self.lose(bus, SUBSCRIPTIONS_ENDED),
                Some(ChannelArrival::GivenUp(reason)) => return self.lose(bus, &reason),
                Some(ChannelArrival::Moved) => return self.lose(bus, MOVED),
                Some(ChannelArrival::Overrun) => return self.lose(bus, OVERRUN),
            };
            // One that is empty has tried whether that is allowed.
            if !bytes.is_empty() && self.party.arrived(bus, &bytes) {
                // One that comes late is not the last.
                if joined.echoes == 1 {
                    self.party.own.echoed(joined.last_echo.elapsed());
                }
                joined.echoes = 0;
            }
            next = joined.link.arriving.next();
        }
        // The one that was taken last is the first of the next round.
        joined.taken = next;
    }

    /// There is no connection to Redis any more.
    pub fn lose(&mut self, bus: &mut Endpoint<Body>, reason: &str) {
        let now = Instant::now();
        let pause = match &self.state {
            LinkState::Up(joined) if joined.joined.elapsed() >= STEADY => {
                JITTER.mul_f64(fastrand::f64())
            }
            _ => self.pauses.next(),
        };
        let state = LinkState::Away(now + pause);
        let before = std::mem::replace(&mut self.state, state);
        self.tell_away(&before, reason);
        if let LinkState::Up(joined) = before {
            joined.link.life.let_be();
            self.past_lives.push_back((None, joined.link.life));
            if self.past_lives.len() > LIVES_MAX {
                self.past_lives.pop_front();
            }
            if let Some((batch, _)) = joined.batch {
                self.party.lost(bus, &batch, now);
            }
        }
        // It is not sent again: whoever has asked is told that nobody knows.
        let waiting = self.party.take_waiting();
        self.party.lost(bus, &waiting, Instant::now());
        self.party.lose_unsure(bus);
        self.party.keeper_lost(bus);
        self.party.holders.lose();
        self.party.lose_sticky_reads();
        self.party.rosters_lost(bus);
        self.party.own.lost(reason);
    }

    /// Once for all that share the connections; these end for all, unless the reason is this part's own.
    fn tell_away(&mut self, before: &LinkState, reason: &str) {
        let redis = match before {
            LinkState::Up(joined) => match joined.link.place() {
                None => self.target.address.clone(),
                Some(_) if reason == MOVED || reason == REPLACED => {
                    self.was_alone = true;
                    self.target.address.clone()
                }
                Some(place) => {
                    place.end_all(reason);
                    format!("{}, of {}", place.address(), self.target.whole())
                }
            },
            _ => self.target.whole(),
        };
        // Of one that was alone nobody else tells.
        let is_new = match self.target.slot() {
            Some(_) if !self.was_alone => self.masters.may_tell(&format!("{redis} {reason}")),
            _ => self.told.as_deref() != Some(reason),
        };
        // One that is the node no more leaves its slot by itself.
        if is_new && !self.party.is_gone() {
            warn!(
                redis,
                "cluster: away: {reason}; users of other nodes are not reached until it is back"
            );
        }
        self.told = Some(reason.to_owned());
    }

    /// Goes on as the node with what another process has known, and what has come for it.
    pub fn inherit(&mut self, state: PartyState, now: Instant) {
        if let LinkState::Up(joined) = &mut self.state {
            joined.next_echo = now;
        }
        self.party.inherit(state, now);
    }

    /// Goes on as the node by a new connection: nobody knows what this one was not given.
    pub fn inherit_nothing(&mut self, bus: &mut Endpoint<Body>) {
        self.party.inherit_nothing();
        if self.is_joined() {
            self.lose(bus, REPLACED);
            self.state = LinkState::Away(Instant::now());
        }
    }

    /// Another process is the node; where that joins anew the others see that it lives by this one, until it has.
    pub fn be_gone(&mut self, is_unseen: bool, now: Instant) {
        self.stays = (!is_unseen).then_some(now + LOST);
        self.party.be_gone(now);
    }

    /// Another process is the node: whether all that this one still has to tell is told.
    pub fn has_gone(&self) -> bool {
        match &self.state {
            LinkState::Up(joined) => {
                let is_idle = joined.batch.is_none() && joined.change.is_none();
                let stays = self.stays.is_some_and(|until| Instant::now() < until);
                is_idle && !stays && self.party.interests.are_done() && self.party.has_said_all()
            }
            _ => true,
        }
    }

    /// What is under way is to end, if it does in time.
    pub async fn finish_batch(&mut self) {
        if let LinkState::Up(joined) = &mut self.state
            && let Some((_, task)) = joined.batch.take()
        {
            let _ = timeout(self.answer_timeout, task).await;
        }
    }

    /// The last batch, with this node's last word.
    pub fn say_the_last(&mut self, bus: &mut Endpoint<Body>) {
        let now = Instant::now();
        self.party.say_the_last(now);
        self.begin_batch(bus, now);
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

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<PartWake> {
        if let Some((_, task)) = &mut self.batch
            && let Poll::Ready(result) = task.poll_unpin(context)
        {
            return Poll::Ready(PartWake::Done(result));
        }
        if let Some(task) = &mut self.change
            && let Poll::Ready(result) = task.poll_unpin(context)
        {
            return Poll::Ready(PartWake::Changed(result));
        }
        if let Some(taken) = self.taken.take() {
            return Poll::Ready(PartWake::Arrived(taken));
        }
        self.link.arriving.poll(context).map(PartWake::Arrived)
    }
}
