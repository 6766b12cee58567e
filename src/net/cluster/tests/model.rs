//! A node of the simulation, and the Redis that it has ([`ModelNode`], [`Broker`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{NODES, Sent};
use crate::app::abroad::{RosterNews, ToEngine};
use crate::app::abroad_streams::StreamNews;
use crate::app::envelope::{AnswerPart, Body};
use crate::app::namespaces::Registry;
use crate::app::outcome::Abroad;
use crate::bus::{Endpoint, Until, Writing, connect_with_engine};
use crate::ident::CoreId;
use crate::net::admission::ConnectionCounters;
use crate::net::cluster::interests::SubscriptionChange;
use crate::net::cluster::own_facts::OwnFacts;
use crate::net::cluster::party::{Party, RedisAnswer, RedisCommand};
use crate::net::cluster::spaces::Spaces;
use crate::net::http::Facts;
use crate::protocol::cluster::{NodeId, NodeOrder};
use crate::protocol::partitions::Partition;

pub const TIMEOUT: Duration = Duration::from_secs(1);
pub const WORDS: Duration = Duration::from_secs(2);

pub struct ModelNode {
    pub party: Party,
    pub engine: Endpoint<Body>,
    pub core: Endpoint<Body>,
    pub is_up: bool,
    /// Its connection that is subscribed has ended, and it has not noticed.
    pub is_cut: bool,
    /// Whether it has said so.
    pub is_heard: bool,
    pub down_since: Instant,
    /// Channels of its life lines: its link's last, and before it those of links that have ended, until they are let go.
    pub lives: Vec<(Box<str>, Option<Instant>)>,
    pub next_word: Instant,
    /// Given to Redis; and what has come of it, once Redis has done it.
    pub batch: Option<(Vec<RedisCommand>, Option<Vec<RedisAnswer>>)>,
    pub change: Option<SubscriptionChange>,
    pub uids: BTreeSet<usize>,
    /// Those of whom Redis was told since they came, each time by another number.
    pub established: BTreeMap<usize, u64>,
    /// What has come for each uid.
    pub found: Vec<(usize, Sent)>,
    pub asked: u64,
    pub answers: BTreeMap<u64, Abroad>,
    /// Calls of a process that was killed.
    pub forgotten: u64,
}

#[derive(Default)]
pub struct Broker {
    pub subscribed: BTreeMap<Box<str>, BTreeSet<usize>>,
    /// What the life lines have.
    pub lives: BTreeSet<Box<str>>,
    /// Those of processes that have ended, which it has not noticed yet; and whose other connections those are.
    pub dying: Vec<Box<str>>,
    pub ghosts: Vec<Box<str>>,
    pub queues: [VecDeque<Vec<u8>>; NODES],
    /// What it calls the nodes' connections.
    pub clients: [u64; NODES],
    pub last_number: u64,
}

impl ModelNode {
    pub fn new(name: usize, now: Instant) -> ModelNode {
        let (mut cores, engine) = connect_with_engine(1).expect("doorbells");
        let spaces = Spaces::new(vec!["push"], Registry::new(1));
        let counters = Arc::new(ConnectionCounters::new(None));
        let facts = Arc::new(Facts::new(Vec::new(), None));
        let own = OwnFacts::new(&name.to_string(), 0, counters, facts);
        let who = (NodeId(fastrand::u64(1..)), Partition::WHOLE);
        ModelNode {
            party: Party::new(who, "p:", spaces, TIMEOUT, own),
            engine,
            core: cores.pop().expect("one"),
            is_up: false,
            is_cut: false,
            is_heard: false,
            down_since: now,
            lives: Vec::new(),
            next_word: now,
            batch: None,
            change: None,
            uids: BTreeSet::new(),
            established: BTreeMap::new(),
            found: Vec::new(),
            asked: 0,
            answers: BTreeMap::new(),
            forgotten: 0,
        }
    }

    pub fn post(&mut self, what: ToEngine) {
        let body = Body::ToEngine(Box::new(what));
        self.core.post(CoreId(1), None, Until::Taken, body);
    }

    /// The core does what other nodes want, and takes its answers: these.
    pub fn run_core(&mut self) -> Vec<u64> {
        let mut answered = Vec::new();
        while let Some(envelope) = self.core.take() {
            match envelope.body {
                Body::FromEngine(from) => {
                    let NodeOrder::PushToUid { uid, payload } = &from.order else {
                        panic!("nothing else is sent here");
                    };
                    let number = uid[1..].parse().expect("a number");
                    let mut reached = 0;
                    if self.uids.contains(&number) {
                        let text = payload.message().text().expect("a text");
                        let (sender, nth) = text.split_once(' ').expect("two numbers");
                        let sent = (sender.parse().expect("one"), nth.parse().expect("one"));
                        self.found.push((number, sent));
                        reached = 1;
                    }
                    let part = AnswerPart::Abroad(Abroad::to(reached));
                    let call = from.number;
                    let body = Body::Answer { call, part };
                    self.core.post(CoreId(1), None, Until::Taken, body);
                }
                Body::Answer {
                    call,
                    part: AnswerPart::Abroad(abroad),
                } => {
                    let before = self.answers.insert(call, abroad);
                    assert!(before.is_none(), "call {call} is answered twice");
                    answered.push(call);
                }
                Body::RosterNews(news) if matches!(*news, RosterNews::Gone(..)) => {}
                // As long as nobody says that there are none there may be some.
                Body::StreamNews(news) if matches!(*news, StreamNews::HasStickies(..)) => {}
                _ => panic!("nothing else comes"),
            }
        }
        self.core.publish_taken(Writing::NOTHING);
        answered
    }

    pub fn say(&mut self, now: Instant) {
        if self.next_word <= now {
            self.next_word = now + WORDS;
            self.party.say_again(now);
        }
        self.party.tell_standing(now);
    }
}

impl Broker {
    pub fn run(&mut self, command: &RedisCommand, but: Option<usize>) -> RedisAnswer {
        match command {
            RedisCommand::Publish { channel, bytes, .. } => {
                let who = self.subscribed.get(&**channel);
                let who: Vec<usize> = who.into_iter().flatten().copied().collect();
                for node in who.iter().filter(|node| Some(**node) != but) {
                    self.queues[*node].push_back(bytes.clone());
                }
                RedisAnswer::Published(who.len() as u32)
            }
            RedisCommand::Look { channels, .. } => {
                let count = |channel: &String| {
                    let who = self.subscribed.get(&**channel);
                    let lives = self.lives.contains(&**channel);
                    let is_ghost = self.ghosts.iter().any(|ghost| **ghost == **channel);
                    who.map_or(0, BTreeSet::len) as u32 + u32::from(lives) + u32::from(is_ghost)
                };
                RedisAnswer::Looked(channels.iter().map(count).collect())
            }
            RedisCommand::Fence(_) => RedisAnswer::Published(1),
            RedisCommand::Run { .. } => RedisAnswer::Refused("nothing is kept here".to_owned()),
        }
    }

    /// It has lost this node's connections.
    pub fn lose(&mut self, at: usize) {
        self.queues[at].clear();
        self.clients[at] = 0;
        for subscribed in self.subscribed.values_mut() {
            subscribed.remove(&at);
        }
    }
}
