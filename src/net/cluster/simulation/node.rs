//! A node of the simulation: a core as it is, the engine's party as it is, and between them and the model of Redis what the
//! engine's thread does ([`SimNode`]).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::redis::ModelRedis;
use crate::app::abroad_streams::StreamNews;
use crate::app::envelope::Body;
use crate::app::host::{Handled, Host};
use crate::app::hosted::Hosting;
use crate::app::namespaces::Registry;
use crate::app::{App, Context};
use crate::bus::{Endpoint, Writing, connect_with_engine};
use crate::close::CloseReason;
use crate::config::{Config, HistoryRule, StreamKind};
use crate::ident::{ConnId, NamespaceId, Reach};
use crate::net::admission::ConnectionCounters;
use crate::net::cluster::interests::SubscriptionChange;
use crate::net::cluster::keeper::tell_all;
use crate::net::cluster::members::SETTLING;
use crate::net::cluster::own_facts::OwnFacts;
use crate::net::cluster::party::{Party, RedisAnswer, RedisCommand};
use crate::net::cluster::spaces::Spaces;
use crate::net::http::Facts;
use crate::payload::Message;
use crate::protocol::Codec;
use crate::protocol::cluster::NodeId;
use crate::protocol::partitions::Partition;
use crate::shard::ListenerSpec;

pub const TIMEOUT: Duration = Duration::from_secs(1);
const WORDS: Duration = Duration::from_secs(2);
const LOOKS: Duration = Duration::from_secs(2);
/// So many messages are kept of a stream that clients follow: some are gone before they are read.
const SIZE: u32 = 12;
/// The listeners: of events, and of lines.
pub const EVENTS: u16 = 0;
pub const LINES: u16 = 1;
const LONG: Duration = Duration::from_secs(20 * 24 * 3_600);

/// Whoever names a uid has it.
struct Named;

impl App for Named {
    type Session = ();
    type Note = ();
    const NAMESPACE: &'static str = "push";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

    fn on_message(&mut self, cx: &mut Context<'_, Self>, (): &mut (), message: Message<'_>) {
        cx.bind_uid(message.text().expect("a name"));
    }

    fn on_claimed(&mut self, cx: &mut Context<'_, Self>, (): &mut (), uid: &str) {
        cx.bind_uid(uid);
    }
}

/// See the module.
pub struct SimNode {
    pub host: Host,
    pub party: Party,
    engine: Endpoint<Body>,
    pub is_up: bool,
    next_word: Instant,
    next_look: Instant,
    /// Given to Redis; and what has come of it, once Redis has done it.
    batch: Option<(Vec<RedisCommand>, Option<Vec<RedisAnswer>>)>,
    change: Option<SubscriptionChange>,
    /// Connections that have broken, which is not noticed yet: how many bytes were written to each since.
    pub broken: Vec<(ConnId, usize)>,
}

fn config() -> Config {
    let rule = |kind, name: &str, size, queue| HistoryRule {
        kind,
        name: name.to_owned(),
        size,
        ttl: LONG,
        queue,
    };
    Config {
        history: vec![
            rule(StreamKind::Uid, "q*", 100_000, true),
            rule(StreamKind::Uid, "*", SIZE, false),
            rule(StreamKind::Group, "*", SIZE, false),
            rule(StreamKind::All, "*", SIZE, false),
        ],
        idempotency_window: LONG,
        idle_timeout: LONG,
        ..Config::default()
    }
}

impl SimNode {
    pub fn new(name: usize, now: Instant) -> SimNode {
        let (mut cores, engine) = connect_with_engine(1).expect("doorbells");
        let registry = Registry::new(1);
        let spaces = Spaces::new(vec!["push"], Arc::clone(&registry));
        let counters = Arc::new(ConnectionCounters::new(None));
        let facts = Arc::new(Facts::new(Vec::new(), None));
        let own = OwnFacts::new(&name.to_string(), 0, counters, facts);
        let who = (NodeId(fastrand::u64(1..)), Partition::WHOLE);
        let listen = |codec| ListenerSpec {
            binds: true,
            ..ListenerSpec::new(0, codec, NamespaceId(0))
        };
        let listeners: Rc<[ListenerSpec]> = Rc::from([listen(Codec::Sse), listen(Codec::Text)]);
        let app = Box::new(Hosting::new(Named, 0, Reach::of(NamespaceId(0))));
        let bus = cores.pop().expect("one");
        let mut host = Host::new(&config(), bus, listeners, registry, vec![app], now);
        host.start();
        SimNode {
            host,
            party: Party::new(who, "p:", spaces, TIMEOUT, own),
            engine,
            is_up: false,
            next_word: now,
            next_look: now,
            batch: None,
            change: None,
            broken: Vec::new(),
        }
    }

    /// The core's turn, but for what its clients say and are sent.
    pub fn run_core(&mut self, now: Instant, most: usize) {
        self.host.set_now(now);
        for _ in 0..most {
            let Some(envelope) = self.host.take() else {
                break;
            };
            match self.host.receive(envelope) {
                Handled::Done => {}
                _ => panic!("there is one core"),
            }
        }
        self.host.settle_credits();
        // Whoever is there, or has left, has all that was written to it.
        let broken = &self.broken;
        let outstanding = |id| {
            let found = broken.iter().find(|(one, _)| *one == id);
            found.map_or(0, |(_, bytes)| *bytes)
        };
        self.host.tell_acknowledged(|id| Some(outstanding(id)));
        while let Some((id, in_flight)) = self.host.shard().in_flight.next_left() {
            self.host.put_back(*in_flight, outstanding(id));
        }
        self.host.expire();
        self.host.read_on();
        self.host.publish_taken();
    }

    /// A connection has broken.
    pub fn close(&mut self, id: ConnId) {
        self.host.close(id, CloseReason::Reset);
        self.host.shard().remove(id);
    }

    /// What the engine's thread does in a round; and Redis does a batch, or answers one.
    pub fn run_engine(&mut self, redis: &mut ModelRedis, now: Instant) {
        match self.batch.take() {
            Some((batch, None)) => {
                let results = batch.iter().map(|command| redis.does(command, None));
                let results = results.collect();
                self.batch = Some((batch, Some(results)));
            }
            Some((batch, Some(results))) => {
                self.party.done(&mut self.engine, &batch, results, now);
            }
            None => {
                while let Some(envelope) = self.engine.take() {
                    let mail = (envelope.from, envelope.body);
                    self.party.take(&mut self.engine, mail, now, self.is_up);
                }
                self.engine.publish_taken(Writing::NOTHING);
                if self.is_up {
                    if self.next_word <= now {
                        self.next_word = now + WORDS;
                        self.party.say_again(now);
                    }
                    self.party.tell_standing(now);
                    let batch = self.party.next_batch(now);
                    self.batch = (!batch.is_empty()).then_some((batch, None));
                }
            }
        }
    }

    pub fn pass(&mut self, now: Instant) {
        self.engine.settle_credits(|_, _| {});
        self.party.expire(&mut self.engine, now);
        self.party.interests.advance(now);
        if self.next_look <= now {
            self.next_look = now + LOOKS;
            tell_all(&mut self.engine, || StreamNews::Look);
        }
    }

    /// Redis takes a change of what this node is subscribed to, or the node hears that it has.
    pub fn subscribe(&mut self, at: usize, redis: &mut ModelRedis, now: Instant) {
        if !self.is_up {
            return;
        }
        let Some(change) = self.change.take() else {
            self.change = self.party.interests.next_change();
            if let Some(change) = &self.change {
                for channel in &change.channels {
                    let subscribed = redis.subscribed.entry(channel.clone()).or_default();
                    match change.subscribes {
                        true => subscribed.insert(at),
                        false => subscribed.remove(&at),
                    };
                }
            }
            return;
        };
        self.party.subscribed(&change);
        self.party.interests.told(now);
    }

    pub fn arrived(&mut self, bytes: &[u8]) {
        self.party.arrived(&mut self.engine, bytes);
    }

    pub fn join(&mut self, at: usize, redis: &mut ModelRedis, now: Instant) {
        if self.is_up {
            return;
        }
        self.is_up = true;
        redis.last_number += 1;
        redis.clients[at] = redis.last_number;
        let standing = self.party.standing_channels();
        redis.lives[at] = self.party.channel_of_own_life();
        for channel in standing {
            let subscribed = redis.subscribed.entry(channel.into()).or_default();
            subscribed.insert(at);
        }
        self.party.begin_anew(redis.clients[at], SETTLING, now);
        let run = redis.run_name();
        self.party.keeper_joined(&mut self.engine, &run);
        self.next_word = now;
    }

    /// Its connections to Redis end, which may have done what it was given.
    pub fn lose(&mut self, at: usize, redis: &mut ModelRedis, is_done: bool, now: Instant) {
        if !self.is_up {
            return;
        }
        self.is_up = false;
        self.change = None;
        if let Some((batch, results)) = self.batch.take() {
            if results.is_none() && is_done {
                for command in &batch {
                    redis.does(command, Some(at));
                }
            }
            self.party.lost(&mut self.engine, &batch, now);
        }
        let waiting = self.party.take_waiting();
        self.party.lost(&mut self.engine, &waiting, now);
        self.party.lose_unsure(&mut self.engine);
        self.party.keeper_lost(&mut self.engine);
        redis.lose(at);
    }
}
