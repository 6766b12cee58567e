//! Nodes against a model of Redis that delays, loses connections, and forgets: the promises hold, whatever comes when.
//!
//! Each seed is a run of its own. A node here is a [`Party`](super::party::Party) with a core that has uids, or has not; the
//! broker has what nodes are subscribed to, and a queue to each. `SIM_SEEDS` and `SIM_FIRST` say how many and from where.

mod model;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::members::SETTLING;
use super::party::RedisCommand;
use crate::app::abroad::ToEngine;
use crate::bus::Writing;
use crate::ident::{NamespaceId, Reach};
use crate::payload::{Message, Payload};
use crate::protocol::cluster::NodeOrder;
use crate::shard::UidInterest;
use model::{Broker, ModelNode, TIMEOUT, WORDS};

const NODES: usize = 3;
const UIDS: usize = 4;
const STEPS: usize = 6_000;
/// Life lines of links that have ended are held that long after the next has joined.
const HELD: Duration = Duration::from_secs(10);
/// A node that is away for longer counts as gone.
const GONE: Duration = Duration::from_secs(2);

/// A message: who has sent it, and as which of his.
type Sent = (usize, u64);

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
    killed: u32,
}

fn uid(number: usize) -> Box<str> {
    format!("u{number}").into()
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
            killed: 0,
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
            985 => self.trouble(at),
            986..990 => self.notice(at),
            _ => self.pass(),
        }
    }

    fn trouble(&mut self, at: usize) {
        match self.random.u32(..14) {
            // It notices the end of one of its connections.
            0 | 1 => self.lose(at),
            // The one that is subscribed is ended by Redis, and it has not noticed.
            2 | 3 => self.cut(at),
            // All of its own are, by something on the way: until it is back, its users may be offline.
            4 => {
                self.nodes[at].established.clear();
                self.nodes[at].is_heard = false;
                self.cut(at);
                self.end_lives(at);
            }
            5 => {
                // Its life line, which it makes again.
                self.end_lives(at);
                if let Some((channel, None)) = self.nodes[at].lives.last() {
                    self.broker.lives.insert(channel.clone());
                }
            }
            6 => self.kill(at),
            // Redis is started anew.
            7 => {
                (0..NODES).for_each(|at| self.end_lives(at));
                (0..NODES).for_each(|at| self.lose(at));
            }
            // It ends all connections that are subscribed; the others serve on, until that is noticed.
            8 => {
                (0..NODES).for_each(|at| self.end_lives(at));
                (0..NODES).for_each(|at| self.cut(at));
            }
            // Those that are not. Each drops the others when it notices.
            9 => (0..NODES).for_each(|at| self.nodes[at].is_cut |= self.nodes[at].is_up),
            _ => {}
        }
    }

    /// Its connection that is subscribed has ended; what it publishes is still done.
    fn cut(&mut self, at: usize) {
        if self.nodes[at].is_up {
            self.nodes[at].is_cut = true;
            if std::mem::take(&mut self.nodes[at].is_heard) {
                self.nodes[at].down_since = self.now;
            }
            self.broker.lose(at);
        }
    }

    /// Something that Redis or a node notices late.
    fn notice(&mut self, at: usize) {
        if self.nodes[at].is_cut {
            self.lose(at);
        }
        // Of a process that has ended, one connection or the other.
        match self.random.bool() {
            true => drop(self.broker.dying.pop()),
            false => drop(self.broker.ghosts.pop()),
        }
        let dying = &self.broker.dying;
        self.broker.lives.retain(|life| {
            let own = self.nodes.iter().flat_map(|node| &node.lives);
            dying.contains(life) || own.into_iter().any(|(channel, _)| channel == life)
        });
    }

    fn end_lives(&mut self, at: usize) {
        for (channel, _) in &self.nodes[at].lives {
            self.broker.lives.remove(channel);
        }
        self.nodes[at].lives.retain(|(_, until)| until.is_none());
    }

    /// Its process ends without a word, and another one begins; Redis sees the end of its connections one by one.
    fn kill(&mut self, at: usize) {
        self.killed += 1;
        let was_up = self.nodes[at].is_up && !self.nodes[at].is_cut;
        let link = self.nodes[at].party.channel_of_own_link();
        let lives = std::mem::take(&mut self.nodes[at].lives);
        self.lose(at);
        let new = ModelNode::new(at, self.now);
        let old = std::mem::replace(&mut self.nodes[at], new);
        let node = &mut self.nodes[at];
        (node.found, node.answers) = (old.found, old.answers);
        (node.asked, node.forgotten) = (old.asked, old.asked);
        let there = lives.into_iter().map(|(channel, _)| channel);
        let there = there.filter(|channel| self.broker.lives.contains(channel));
        let there: Vec<Box<str>> = there.collect();
        // Which are seen to end at once?
        if self.random.bool() {
            self.broker.dying.extend(there);
        } else {
            there.iter().for_each(|channel| {
                self.broker.lives.remove(channel);
            });
        }
        if was_up && self.random.bool() {
            self.broker.ghosts.push(link.into());
        }
    }

    fn pass(&mut self) {
        self.now += Duration::from_millis(self.random.u64(..300));
        for node in &mut self.nodes {
            let is_over = |until: &Option<Instant>| until.is_some_and(|until| until <= self.now);
            for (channel, until) in &node.lives {
                if is_over(until) {
                    self.broker.lives.remove(channel);
                }
            }
            node.lives.retain(|(_, until)| !is_over(until));
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
                node.is_heard |= !node.is_cut;
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
        if !node.is_up || node.is_cut {
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
        (node.is_up, node.is_heard, node.is_cut) = (false, false, false);
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
        for (_, until) in &mut node.lives {
            *until = until.or(Some(self.now + HELD));
        }
        self.broker.last_number += 1;
        let client = self.broker.last_number;
        self.broker.clients[at] = client;
        let standing = node.party.standing_channels();
        let life: Box<str> = node.party.channel_of_own_life().into();
        self.broker.lives.insert(life.clone());
        node.lives.push((life, None));
        for channel in standing {
            let subscribed = self.broker.subscribed.entry(channel.into()).or_default();
            subscribed.insert(at);
        }
        node.party.begin_anew(client, SETTLING, self.now);
        node.next_word = self.now;
    }

    /// What can be done without time going by.
    fn rounds(&mut self, count: usize, nodes: usize) {
        for _ in 0..count {
            for at in 0..nodes {
                self.join(at);
                self.take_mail(at);
                while self.broker.queues[at].front().is_some() {
                    self.deliver(at);
                }
                self.run_core(at);
            }
        }
    }

    /// All is at rest and a node ends. From when Redis has seen that on, its users are offline to the others, and nothing is
    /// unknown.
    fn a_node_ends_at_rest(&mut self, seed: u64) {
        let last = NODES - 1;
        self.notice(last);
        (0..NODES).for_each(|at| self.notice(at));
        self.broker.dying.clear();
        self.broker.ghosts.clear();
        for _ in 0..30 {
            self.now += WORDS / 2;
            for at in 0..NODES {
                let node = &mut self.nodes[at];
                node.party.expire(&mut node.engine, self.now);
                (0..8).for_each(|_| self.subscribe(at));
            }
            self.rounds(6, NODES);
        }
        self.kill(last);
        let is_seen_apart = self.random.bool();
        if is_seen_apart {
            // They look between the ends.
            self.now += WORDS;
            self.rounds(6, last);
        }
        self.broker.dying.clear();
        self.broker.ghosts.clear();
        self.notice(last);
        let before: Vec<u64> = self.nodes.iter().map(|node| node.asked).collect();
        for _ in 0..UIDS {
            (0..last).for_each(|at| self.push(at));
        }
        self.rounds(12, last);
        for (at, node) in self.nodes[..last].iter().enumerate() {
            for call in before[at] + 1..=node.asked {
                let answer = node.answers.get(&call);
                let answer = answer.unwrap_or_else(|| panic!("seed {seed}: {call} waits"));
                assert!(!answer.unknown.is_some(), "seed {seed}: {answer:?}");
            }
        }
    }

    /// All that is under way comes to its end.
    fn settle(&mut self) {
        self.rounds(50, NODES);
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
                if call <= node.forgotten && answer.is_none() {
                    continue;
                }
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
    let first = std::env::var("SIM_FIRST").ok();
    let first = first.and_then(|text| text.parse().ok()).unwrap_or(0);
    let (mut known, mut reached, mut offline, mut killed) = (0, 0, 0, 0);
    for seed in first..first + seeds {
        // Shown where the test fails.
        println!("seed {seed}");
        let mut world = World::new(seed);
        for at in 0..NODES {
            world.join(at);
        }
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        world.a_node_ends_at_rest(seed);
        world.check(seed);
        killed += world.killed;
        offline += world.offline;
        let answers = world.nodes.iter().flat_map(|node| node.answers.values());
        for answer in answers {
            known += u32::from(!answer.unknown.is_some());
            reached += answer.reached;
        }
    }
    // Or nothing would have been tried.
    assert!(
        known > 1_000 && reached > 1_000 && offline > 1_000 && killed > 100,
        "{known} known, {reached} reached, {offline} offline, {killed} killed"
    );
}
