//! Nodes against a model of Redis that delays, loses connections, and forgets: the promises hold, whatever comes when.
//!
//! Each seed is a run of its own. A node here is a [`Party`] with a core that has uids, or has not; the broker has what
//! nodes are subscribed to, and a queue to each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::interests::SubscriptionChange;
use super::own_facts::OwnFacts;
use super::party::{Party, Publication};
use super::spaces::Spaces;
use crate::app::abroad::ToEngine;
use crate::app::envelope::{AnswerPart, Body};
use crate::app::namespaces::Registry;
use crate::app::outcome::Abroad;
use crate::bus::{Endpoint, Until, Writing, connect_with_engine};
use crate::ident::{CoreId, NamespaceId, Reach};
use crate::net::admission::ConnectionCounters;
use crate::payload::{Message, Payload};
use crate::protocol::cluster::NodeOrder;
use crate::shard::UidInterest;

const NODES: usize = 3;
const UIDS: usize = 4;
const STEPS: usize = 600;
const TIMEOUT: Duration = Duration::from_secs(1);

/// A message: who has sent it, and as which of his.
type Sent = (usize, u64);

struct ModelNode {
    party: Party,
    engine: Endpoint<Body>,
    core: Endpoint<Body>,
    is_up: bool,
    /// Published, and not answered.
    batch: Option<Vec<Publication>>,
    changes: VecDeque<SubscriptionChange>,
    uids: BTreeSet<usize>,
    /// What has come for each uid.
    found: Vec<(usize, Sent)>,
    asked: u64,
    answers: BTreeMap<u64, Abroad>,
}

#[derive(Default)]
struct Broker {
    subscribed: BTreeMap<Box<str>, BTreeSet<usize>>,
    queues: [VecDeque<Vec<u8>>; NODES],
}

struct World {
    nodes: Vec<ModelNode>,
    broker: Broker,
    random: fastrand::Rng,
    now: Instant,
    /// What each call was about: the uid.
    calls: BTreeMap<Sent, usize>,
}

fn uid(number: usize) -> Box<str> {
    format!("u{number}").into()
}

impl ModelNode {
    fn new(name: usize) -> ModelNode {
        let (mut cores, engine) = connect_with_engine(1).expect("doorbells");
        let spaces = Spaces::new(vec!["push"], Registry::new(1));
        let counters = Arc::new(ConnectionCounters::new(None));
        let own = OwnFacts::new(&name.to_string(), "model", counters);
        ModelNode {
            party: Party::new("p:", spaces, TIMEOUT, own),
            engine,
            core: cores.pop().expect("one"),
            is_up: false,
            batch: None,
            changes: VecDeque::new(),
            uids: BTreeSet::new(),
            found: Vec::new(),
            asked: 0,
            answers: BTreeMap::new(),
        }
    }

    fn post(&mut self, what: ToEngine) {
        let body = Body::ToEngine(Box::new(what));
        self.core.post(CoreId(1), None, Until::Taken, body);
    }

    /// The core does what other nodes want, and takes its answers.
    fn run_core(&mut self) {
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
                }
                _ => panic!("nothing else comes"),
            }
        }
        self.core.publish_taken(Writing::NOTHING);
    }
}

impl World {
    fn new(seed: u64) -> World {
        World {
            nodes: (0..NODES).map(ModelNode::new).collect(),
            broker: Broker::default(),
            random: fastrand::Rng::with_seed(seed),
            now: Instant::now(),
            calls: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let at = self.random.usize(..NODES);
        match self.random.u32(..100) {
            0..15 => self.come_or_go(at),
            15..35 => self.push(at),
            35..55 => self.take_mail(at),
            55..65 => self.subscribe(at),
            65..85 => self.deliver(at),
            85..90 => self.nodes[at].run_core(),
            90..92 => self.lose(at),
            92..97 => self.join(at),
            _ => {
                self.now += Duration::from_millis(self.random.u64(..600));
                let node = &mut self.nodes[at];
                node.party.expire(&mut node.engine, self.now);
                node.party.interests.advance(self.now);
            }
        }
    }

    fn come_or_go(&mut self, at: usize) {
        let number = self.random.usize(..UIDS);
        let node = &mut self.nodes[at];
        let here = node.uids.insert(number) || !node.uids.remove(&number);
        let uid = uid(number);
        node.post(ToEngine::Uid(UidInterest { uid, here }));
    }

    fn push(&mut self, at: usize) {
        let number = self.random.usize(..UIDS);
        let node = &mut self.nodes[at];
        node.asked += 1;
        let text = format!("{at} {}", node.asked);
        self.calls.insert((at, node.asked), number);
        let order = NodeOrder::PushToUid {
            uid: uid(number),
            payload: Payload::new(Message::Text(&text)),
        };
        let (reach, call) = (Reach::of(NamespaceId(0)), Some(node.asked));
        node.post(ToEngine::Order { reach, order, call });
    }

    /// What the thread does in a round; and Redis takes a batch, or answers one.
    fn take_mail(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(batch) = node.batch.take() {
            let broker = &mut self.broker;
            let results = batch.iter().map(|publication| {
                let who = broker.subscribed.get(&*publication.channel);
                let who: Vec<usize> = who.into_iter().flatten().copied().collect();
                for node in &who {
                    broker.queues[*node].push_back(publication.bytes.clone());
                }
                Ok(who.len() as u32)
            });
            let results = results.collect();
            return node.party.published(&mut node.engine, &batch, results);
        }
        node.party.take_mail(&mut node.engine, self.now, node.is_up);
        node.engine.publish_taken(Writing::NOTHING);
        if node.is_up {
            let batch = node.party.next_batch();
            node.batch = (!batch.is_empty()).then_some(batch);
        }
    }

    fn subscribe(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.is_up {
            return;
        }
        while let Some(change) = node.party.interests.next_change() {
            node.changes.push_back(change);
        }
        let Some(change) = node.changes.pop_front() else {
            return;
        };
        for channel in change.channels {
            let subscribed = self.broker.subscribed.entry(channel).or_default();
            match change.subscribes {
                true => subscribed.insert(at),
                false => subscribed.remove(&at),
            };
        }
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
        node.is_up = false;
        node.changes.clear();
        if let Some(batch) = node.batch.take() {
            // Redis may have taken it all the same.
            if self.random.bool() {
                for publication in &batch {
                    let who = self.broker.subscribed.get(&*publication.channel);
                    for other in who.into_iter().flatten().filter(|other| **other != at) {
                        self.broker.queues[*other].push_back(publication.bytes.clone());
                    }
                }
            }
            node.party.lost(&mut node.engine, &batch);
        }
        self.broker.queues[at].clear();
        for subscribed in self.broker.subscribed.values_mut() {
            subscribed.remove(&at);
        }
    }

    fn join(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.is_up {
            return;
        }
        node.is_up = true;
        node.party.interests.begin_anew();
        for channel in node.party.standing_channels() {
            let subscribed = self.broker.subscribed.entry(channel.into()).or_default();
            subscribed.insert(at);
        }
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
                self.nodes[at].run_core();
            }
        }
        self.now += 2 * TIMEOUT;
        for node in &mut self.nodes {
            node.party.expire(&mut node.engine, self.now);
            node.run_core();
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
                assert_eq!(self.calls[sent], *uid, "seed {seed}: another's");
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
    let (mut known, mut reached) = (0, 0);
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
        let answers = world.nodes.iter().flat_map(|node| node.answers.values());
        for answer in answers {
            known += u32::from(!answer.unknown.is_some());
            reached += answer.reached;
        }
    }
    // Or nothing would have been tried.
    assert!(known > 0 && reached > 0, "{known} known, {reached} reached");
}
