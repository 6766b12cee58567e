//! Nodes against a model of Redis that delays, loses connections, and forgets: the promises hold, whatever comes when.
//!
//! Each seed is a run of its own. A node here is a [`Party`] with a core that has uids, or has not; the broker has what
//! nodes are subscribed to, and a queue to each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::interests::SubscriptionChange;
use super::members::SETTLING;
use super::own_facts::OwnFacts;
use super::party::{Party, RedisAnswer, RedisCommand};
use super::spaces::Spaces;
use crate::app::abroad::ToEngine;
use crate::app::abroad_streams::StreamNews;
use crate::app::envelope::{AnswerPart, Body};
use crate::app::namespaces::Registry;
use crate::app::outcome::Abroad;
use crate::bus::{Endpoint, Until, Writing, connect_with_engine};
use crate::ident::{CoreId, NamespaceId, Reach};
use crate::net::admission::ConnectionCounters;
use crate::net::http::Facts;
use crate::payload::{Message, Payload};
use crate::protocol::cluster::{NodeId, NodeOrder};
use crate::protocol::partitions::Partition;
use crate::shard::UidInterest;

const NODES: usize = 3;
const UIDS: usize = 4;
const STEPS: usize = 6_000;
const TIMEOUT: Duration = Duration::from_secs(1);
const WORDS: Duration = Duration::from_secs(2);
/// A node that is away for longer counts as gone.
const GONE: Duration = Duration::from_secs(2);

/// A message: who has sent it, and as which of his.
type Sent = (usize, u64);

struct ModelNode {
    party: Party,
    engine: Endpoint<Body>,
    core: Endpoint<Body>,
    is_up: bool,
    /// Whether it has said so.
    is_heard: bool,
    down_since: Instant,
    next_word: Instant,
    /// Given to Redis; and what has come of it, once Redis has done it.
    batch: Option<(Vec<RedisCommand>, Option<Vec<RedisAnswer>>)>,
    change: Option<SubscriptionChange>,
    uids: BTreeSet<usize>,
    /// Those of whom Redis was told since they came, each time by another number.
    established: BTreeMap<usize, u64>,
    /// What has come for each uid.
    found: Vec<(usize, Sent)>,
    asked: u64,
    answers: BTreeMap<u64, Abroad>,
}

#[derive(Default)]
struct Broker {
    subscribed: BTreeMap<Box<str>, BTreeSet<usize>>,
    queues: [VecDeque<Vec<u8>>; NODES],
    /// What it calls the nodes' connections.
    clients: [u64; NODES],
    last_number: u64,
}

/// What a call was about, and who was there when it began, as far as Redis had been told.
struct ModelCall {
    uid: usize,
    there: Vec<(usize, u64)>,
    /// Whether the node itself had it, and so reached it.
    here: bool,
}

struct World {
    nodes: Vec<ModelNode>,
    broker: Broker,
    random: fastrand::Rng,
    now: Instant,
    calls: BTreeMap<Sent, ModelCall>,
    /// Answers that nobody was there, and was told right.
    offline: u32,
}

fn uid(number: usize) -> Box<str> {
    format!("u{number}").into()
}

impl ModelNode {
    fn new(name: usize, now: Instant) -> ModelNode {
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
            is_heard: false,
            down_since: now,
            next_word: now,
            batch: None,
            change: None,
            uids: BTreeSet::new(),
            established: BTreeMap::new(),
            found: Vec::new(),
            asked: 0,
            answers: BTreeMap::new(),
        }
    }

    fn post(&mut self, what: ToEngine) {
        let body = Body::ToEngine(Box::new(what));
        self.core.post(CoreId(1), None, Until::Taken, body);
    }

    /// The core does what other nodes want, and takes its answers: these.
    fn run_core(&mut self) -> Vec<u64> {
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
                // As long as nobody says that there are none there may be some.
                Body::StreamNews(news) if matches!(*news, StreamNews::HasStickies(..)) => {}
                _ => panic!("nothing else comes"),
            }
        }
        self.core.publish_taken(Writing::NOTHING);
        answered
    }

    fn say(&mut self, now: Instant) {
        if self.next_word <= now {
            self.next_word = now + WORDS;
            self.party.say_again(now);
        }
        self.party.tell_standing(now);
    }
}

impl Broker {
    fn run(&mut self, command: &RedisCommand, but: Option<usize>) -> RedisAnswer {
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
                    who.map_or(0, BTreeSet::len) as u32
                };
                RedisAnswer::Looked(channels.iter().map(count).collect())
            }
            RedisCommand::Fence(_) => RedisAnswer::Published(1),
            RedisCommand::Run { .. } => RedisAnswer::Refused("nothing is kept here".to_owned()),
        }
    }

    /// It has lost this node's connections.
    fn lose(&mut self, at: usize) {
        self.queues[at].clear();
        self.clients[at] = 0;
        for subscribed in self.subscribed.values_mut() {
            subscribed.remove(&at);
        }
    }
}

impl World {
    fn new(seed: u64) -> World {
        let now = Instant::now();
        World {
            nodes: (0..NODES).map(|name| ModelNode::new(name, now)).collect(),
            broker: Broker::default(),
            random: fastrand::Rng::with_seed(seed),
            now,
            calls: BTreeMap::new(),
            offline: 0,
        }
    }

    fn step(&mut self) {
        let at = self.random.usize(..NODES);
        match self.random.u32(..1_000) {
            0..10 => self.come_or_go(at),
            10..70 => self.push(at),
            70..400 => self.take_mail(at),
            400..500 => self.subscribe(at),
            500..850 => self.deliver(at),
            850..960 => self.run_core(at),
            960..985 => self.join(at),
            985 => match self.random.u32(..4) {
                0 => self.lose(at),
                // Redis is started anew.
                1 => (0..NODES).for_each(|at| self.lose(at)),
                _ => {}
            },
            _ => self.pass(),
        }
    }

    fn pass(&mut self) {
        self.now += Duration::from_millis(self.random.u64(..300));
        for node in &mut self.nodes {
            node.party.expire(&mut node.engine, self.now);
            node.party.interests.advance(self.now);
            if !node.is_heard && self.now >= node.down_since + GONE {
                node.established.clear();
            }
        }
    }

    fn come_or_go(&mut self, at: usize) {
        let number = self.random.usize(..UIDS);
        let node = &mut self.nodes[at];
        let here = node.uids.insert(number) || !node.uids.remove(&number);
        node.established.remove(&number);
        let uid = uid(number);
        node.post(ToEngine::Uid(UidInterest { uid, here }));
    }

    fn push(&mut self, at: usize) {
        let number = self.random.usize(..UIDS);
        let others = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at);
        let there =
            others.filter_map(|(other, node)| Some((other, *node.established.get(&number)?)));
        let there = there.collect();
        let node = &mut self.nodes[at];
        node.asked += 1;
        let text = format!("{at} {}", node.asked);
        let here = node.uids.contains(&number);
        let call = ModelCall {
            uid: number,
            there,
            here,
        };
        self.calls.insert((at, node.asked), call);
        let order = NodeOrder::PushToUid {
            uid: uid(number),
            payload: Payload::new(Message::Text(&text)),
        };
        let (reach, call) = (Reach::of(NamespaceId(0)), Some(node.asked));
        node.post(ToEngine::Order { reach, order, call });
    }

    /// Who was there all the while is never told to be offline, but to one who has it, too.
    fn run_core(&mut self, at: usize) {
        for call in self.nodes[at].run_core() {
            let answer = self.nodes[at].answers[&call];
            if answer.reached > 0 || answer.unknown.is_some() {
                continue;
            }
            let ModelCall { uid, there, here } = &self.calls[&(at, call)];
            if *here {
                continue;
            }
            self.offline += 1;
            let still = there
                .iter()
                .find(|(node, number)| self.nodes[*node].established.get(uid) == Some(number));
            assert!(
                still.is_none(),
                "node {at} says that u{uid} is offline, who is at {still:?}"
            );
        }
    }

    /// What the thread does in a round; and Redis does a batch, or answers one.
    fn take_mail(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        match node.batch.take() {
            Some((batch, None)) => {
                let broker = &mut self.broker;
                let results = batch.iter().map(|command| broker.run(command, None));
                let results = results.collect();
                node.is_heard = true;
                let fenced: Vec<u64> = batch
                    .iter()
                    .filter_map(|command| match command {
                        RedisCommand::Fence(client) => Some(*client),
                        _ => None,
                    })
                    .collect();
                node.batch = Some((batch, Some(results)));
                for other in 0..NODES {
                    if fenced.contains(&self.broker.clients[other]) {
                        self.nodes[other].established.clear();
                        self.lose(other);
                    }
                }
            }
            Some((batch, Some(results))) => {
                node.party.done(&mut node.engine, &batch, results, self.now);
            }
            None => {
                while let Some(envelope) = node.engine.take() {
                    let mail = (envelope.from, envelope.body);
                    node.party
                        .take(&mut node.engine, mail, self.now, node.is_up);
                }
                node.engine.publish_taken(Writing::NOTHING);
                if node.is_up {
                    node.say(self.now);
                    let batch = node.party.next_batch(self.now);
                    node.batch = (!batch.is_empty()).then_some((batch, None));
                }
            }
        }
    }

    fn subscribe(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.is_up {
            return;
        }
        let Some(change) = node.change.take() else {
            node.change = node.party.interests.next_change();
            return;
        };
        for channel in change.channels {
            let number = channel.strip_prefix("p:u:u").expect("a uid").parse();
            let number: usize = number.expect("a number");
            let subscribed = self.broker.subscribed.entry(channel).or_default();
            match change.subscribes {
                true => subscribed.insert(at),
                false => subscribed.remove(&at),
            };
            if change.subscribes && node.uids.contains(&number) {
                self.broker.last_number += 1;
                let established = node.established.entry(number);
                established.or_insert(self.broker.last_number);
            } else if !change.subscribes {
                node.established.remove(&number);
            }
        }
        node.party.interests.told(self.now);
    }

    fn deliver(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(bytes) = self.broker.queues[at].pop_front() {
            node.party.arrived(&mut node.engine, &bytes);
        }
    }

    /// Its connections end: what is in them is gone.
    fn lose(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.is_heard {
            node.down_since = self.now;
        }
        (node.is_up, node.is_heard) = (false, false);
        node.change = None;
        if let Some((batch, results)) = node.batch.take() {
            // Redis may have taken it all the same.
            if results.is_none() && self.random.bool() {
                for command in &batch {
                    self.broker.run(command, Some(at));
                }
            }
            node.party.lost(&mut node.engine, &batch, self.now);
        }
        node.party.lose_unsure(&mut node.engine);
        self.broker.lose(at);
    }

    fn join(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.is_up {
            return;
        }
        node.is_up = true;
        self.broker.last_number += 1;
        let client = self.broker.last_number;
        self.broker.clients[at] = client;
        for channel in node.party.standing_channels() {
            let subscribed = self.broker.subscribed.entry(channel.into()).or_default();
            subscribed.insert(at);
        }
        node.party.begin_anew(client, SETTLING, self.now);
        node.next_word = self.now;
    }

    /// All that is under way comes to its end.
    fn settle(&mut self) {
        for _ in 0..50 {
            for at in 0..NODES {
                self.join(at);
                self.take_mail(at);
                while self.broker.queues[at].front().is_some() {
                    self.deliver(at);
                }
                self.run_core(at);
            }
        }
        self.now += 2 * TIMEOUT;
        for at in 0..NODES {
            let node = &mut self.nodes[at];
            node.party.expire(&mut node.engine, self.now);
            self.run_core(at);
        }
    }

    fn check(&self, seed: u64) {
        let mut times: BTreeMap<Sent, u32> = BTreeMap::new();
        for node in &self.nodes {
            let mut last = BTreeMap::new();
            for (uid, sent) in &node.found {
                let before = last.insert((*uid, sent.0), sent.1);
                assert!(
                    before.is_none_or(|before| before < sent.1),
                    "seed {seed}: twice, or out of order"
                );
                assert_eq!(self.calls[sent].uid, *uid, "seed {seed}: another's");
                *times.entry(*sent).or_default() += 1;
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            for call in 1..=node.asked {
                let answer = node.answers.get(&call);
                let answer = answer.unwrap_or_else(|| panic!("seed {seed}: no answer to {call}"));
                let found = times.get(&(at, call)).copied().unwrap_or_default();
                assert!(answer.reached <= found, "seed {seed}: told and not come");
                assert!(
                    answer.reached == found || answer.unknown.is_some(),
                    "seed {seed}: {answer:?}, and it has come {found} times"
                );
            }
        }
    }
}

#[test]
fn verdicts_are_exact_whatever_redis_does() {
    let seeds = std::env::var("SIM_SEEDS").ok();
    let seeds = seeds.and_then(|text| text.parse().ok()).unwrap_or(200);
    let (mut known, mut reached, mut offline) = (0, 0, 0);
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for at in 0..NODES {
            world.join(at);
        }
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        world.check(seed);
        offline += world.offline;
        let answers = world.nodes.iter().flat_map(|node| node.answers.values());
        for answer in answers {
            known += u32::from(!answer.unknown.is_some());
            reached += answer.reached;
        }
    }
    // Or nothing would have been tried.
    assert!(
        known > 1_000 && reached > 1_000 && offline > 1_000,
        "{known} known, {reached} reached, {offline} offline"
    );
}
