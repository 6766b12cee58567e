//! What a node asks the others and they ask it, without a connection to anything: [`Party`].
//!
//! The thread takes mail for it and gives it what comes by Redis; it says what is to be published, and posts to the cores.
//! Bounds: what is asked is on its senders' credit until it is answered; what others ask is given to the cores while no more
//! than [`INCOMING_BYTES_MAX`] waits for them, and what comes beyond that is dropped without an answer, so that it is
//! unknown where it was asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tracing::warn;

use super::interests::Interests;
use super::own_facts::OwnFacts;
use super::spaces::Spaces;
use crate::app::abroad::{FromEngine, ToEngine};
use crate::app::envelope::{AnswerPart, Body};
use crate::app::outcome::{Abroad, Unknown};
use crate::app::query::{ClusterLook, QueryResult};
use crate::bus::{Endpoint, Until};
use crate::ident::{ConnId, CoreId, Reach};
use crate::log_limiter::LogLimiter;
use crate::protocol::cluster::{
    ClusterMessage, DecodeError, NodeAnswer, NodeFacts, NodeId, NodeOrder, OrderHead, decode,
    encode,
};

/// What other nodes have sent and cores have not taken.
const INCOMING_BYTES_MAX: usize = 64 << 20;
/// Answers of one message.
const ANSWERS_PER_MESSAGE: usize = 4_096;
/// Envelopes of one batch, and the bytes that they bring.
const BATCH_ENVELOPES_MAX: usize = 1_024;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A message that is to be published.
pub struct Publication {
    pub channel: String,
    /// None to see that they come back.
    pub bytes: Vec<u8>,
    /// Of what was asked, if it is to be answered.
    number: Option<u64>,
}

/// What has come of one message that was published: the connections that Redis has given it to.
pub type Published = Result<u32, String>;

/// Something that was asked of other nodes.
struct Asked {
    core: CoreId,
    call: u64,
    /// How many nodes have it, once Redis has said so.
    nodes: Option<u32>,
    answered: u32,
    abroad: Abroad,
    /// What they say of themselves, where that is asked.
    nodes_told: Option<Vec<NodeFacts>>,
}

/// See the module.
pub struct Party {
    node: NodeId,
    prefix: String,
    spaces: Spaces,
    answer_timeout: Duration,
    pub own: OwnFacts,
    pub interests: Interests,
    last_number: u64,
    asked: AHashMap<u64, Asked>,
    /// In their order, for all have the same time.
    deadlines: VecDeque<(Instant, u64)>,
    /// What cores do for other nodes: whose it is, by which number.
    orders: AHashMap<u64, (NodeId, u64)>,
    last_order: u64,
    answers: AHashMap<NodeId, Vec<(u64, NodeAnswer)>>,
    publications: Vec<Publication>,
    publication_bytes: usize,
    dropped: LogLimiter,
    strange: LogLimiter,
}

impl Party {
    pub fn new(prefix: &str, spaces: Spaces, answer_timeout: Duration, own: OwnFacts) -> Party {
        Party {
            node: NodeId(fastrand::u64(1..)),
            prefix: prefix.to_owned(),
            spaces,
            answer_timeout,
            own,
            interests: Interests::default(),
            last_number: 0,
            asked: AHashMap::new(),
            deadlines: VecDeque::new(),
            orders: AHashMap::new(),
            last_order: 0,
            answers: AHashMap::new(),
            publications: Vec::new(),
            publication_bytes: 0,
            dropped: LogLimiter::default(),
            strange: LogLimiter::default(),
        }
    }

    /// The channels that a node has from its joining to its end: its own first.
    pub fn standing_channels(&self) -> [String; 2] {
        [self.channel_of_node(self.node), self.channel_of_all()]
    }

    fn channel_of_node(&self, node: NodeId) -> String {
        format!("{}n:{node}", self.prefix)
    }

    fn channel_of_all(&self) -> String {
        format!("{}all", self.prefix)
    }

    fn channel_of_uid(&self, uid: &str) -> String {
        format!("{}u:{uid}", self.prefix)
    }

    fn channel_of_group(&self, group: &str) -> String {
        format!("{}g:{group}", self.prefix)
    }

    fn channel_of(&self, order: &NodeOrder) -> String {
        match order {
            NodeOrder::PushToUid { uid, .. }
            | NodeOrder::Kick { uid, .. }
            | NodeOrder::Online { uid }
            | NodeOrder::Join { uid, .. }
            | NodeOrder::Leave { uid, .. } => self.channel_of_uid(uid),
            NodeOrder::PushToGroup { group, .. } => self.channel_of_group(group),
            // A connection's name is no other's, and does not say on which node it is.
            NodeOrder::PushToAll { .. }
            | NodeOrder::Describe
            | NodeOrder::PushToConnection { .. }
            | NodeOrder::KickConnection { .. } => self.channel_of_all(),
        }
    }

    /// Takes what cores have posted, as much as one batch may have; whether Redis is there for it.
    pub fn take_mail(&mut self, bus: &mut Endpoint<Body>, now: Instant, is_joined: bool) {
        for _ in 0..BATCH_ENVELOPES_MAX {
            if self.publication_bytes > BATCH_BYTES_MAX {
                return;
            }
            let Some(envelope) = bus.take() else {
                return;
            };
            match envelope.body {
                Body::ToEngine(what) => self.take(bus, (envelope.from, *what), now, is_joined),
                Body::Answer {
                    call,
                    part: AnswerPart::Abroad(done),
                } => self.done_here(call, done),
                _ => {}
            }
        }
    }

    fn take(
        &mut self,
        bus: &mut Endpoint<Body>,
        (from, what): (CoreId, ToEngine),
        now: Instant,
        is_joined: bool,
    ) {
        match what {
            ToEngine::Uid(interest) => {
                let channel = self.channel_of_uid(&interest.uid);
                self.note(&channel, interest.here, now);
            }
            ToEngine::Group { group, here } => {
                let channel = self.channel_of_group(&group);
                self.note(&channel, here, now);
            }
            ToEngine::Nodes { call } if is_joined => {
                self.ask(
                    (from, Some(call)),
                    Reach::default(),
                    NodeOrder::Describe,
                    now,
                );
                if let Some(asked) = self.asked.get_mut(&self.last_number) {
                    asked.nodes_told = Some(Vec::new());
                }
            }
            ToEngine::Nodes { call } => {
                let nodes = vec![self.own.facts()];
                self.tell_nodes(bus, (from, call), nodes, Unknown::away());
            }
            ToEngine::Order { reach, order, call } => match (is_joined, call) {
                (true, _) => self.ask((from, call), reach, order, now),
                (false, Some(call)) => answer(bus, from, call, unknown(Unknown::away())),
                (false, None) => {}
            },
        }
    }

    fn note(&mut self, channel: &str, here: bool, now: Instant) {
        match here {
            true => self.interests.enter(channel),
            false => self.interests.leave(channel, now),
        }
    }

    fn ask(
        &mut self,
        (core, call): (CoreId, Option<u64>),
        reach: Reach,
        order: NodeOrder,
        now: Instant,
    ) {
        let number = call.map(|call| {
            self.last_number += 1;
            let asked = Asked {
                core,
                call,
                nodes: None,
                answered: 0,
                abroad: Abroad::default(),
                nodes_told: None,
            };
            self.asked.insert(self.last_number, asked);
            self.deadlines
                .push_back((now + self.answer_timeout, self.last_number));
            self.last_number
        });
        let channel = self.channel_of(&order);
        let head = OrderHead {
            origin: self.node,
            number: number.unwrap_or_default(),
            lane: core.0,
            namespaces: self.spaces.names(reach),
        };
        self.publish(channel, &ClusterMessage::Order(head, order), number);
    }

    fn publish(&mut self, channel: String, message: &ClusterMessage, number: Option<u64>) {
        let bytes = encode(message);
        self.publication_bytes += bytes.len();
        self.publications.push(Publication {
            channel,
            bytes,
            number,
        });
    }

    /// Sends itself something, to see that it comes.
    pub fn send_echo(&mut self) {
        self.publications.push(Publication {
            channel: self.channel_of_node(self.node),
            bytes: Vec::new(),
            number: None,
        });
    }

    /// What is to be published now.
    pub fn next_batch(&mut self) -> Vec<Publication> {
        for (node, mut answers) in std::mem::take(&mut self.answers) {
            let channel = self.channel_of_node(node);
            while !answers.is_empty() {
                let rest = answers.split_off(answers.len().min(ANSWERS_PER_MESSAGE));
                self.publish(channel.clone(), &ClusterMessage::Answers(answers), None);
                answers = rest;
            }
        }
        self.publication_bytes = 0;
        std::mem::take(&mut self.publications)
    }

    /// Redis has taken a batch, and says how many have each of it.
    pub fn published(
        &mut self,
        bus: &mut Endpoint<Body>,
        batch: &[Publication],
        results: Vec<Published>,
    ) {
        for (publication, result) in batch.iter().zip(results) {
            let Some(number) = publication.number else {
                continue;
            };
            match result {
                Ok(nodes) => {
                    if let Some(asked) = self.asked.get_mut(&number) {
                        asked.nodes = Some(nodes);
                    }
                    self.end_if_answered(bus, number);
                }
                Err(error) => {
                    if let Some(unsaid) = self.strange.may_log(Instant::now()) {
                        warn!(unsaid, "cluster: Redis does not publish: {error}");
                    }
                    self.end(bus, number, Unknown::away());
                }
            }
        }
    }

    /// Nobody knows what has become of a batch.
    pub fn lost(&mut self, bus: &mut Endpoint<Body>, batch: &[Publication]) {
        for number in batch.iter().filter_map(|publication| publication.number) {
            self.end(bus, number, Unknown::away());
        }
    }

    /// Something has come by a channel.
    pub fn arrived(&mut self, bus: &mut Endpoint<Body>, bytes: &[u8]) {
        match decode(bytes) {
            Ok(ClusterMessage::Order(head, order)) if head.origin == self.node => {
                let answer = match order {
                    NodeOrder::Describe => NodeAnswer::Described(self.own.facts()),
                    _ => NodeAnswer::Reached(0),
                };
                self.answered(bus, head.number, answer);
            }
            Ok(ClusterMessage::Order(head, NodeOrder::Describe)) => {
                let answer = NodeAnswer::Described(self.own.facts());
                self.answer_node(head.origin, head.number, answer);
            }
            Ok(ClusterMessage::Order(head, order)) => self.do_order(bus, &head, order),
            Ok(ClusterMessage::Answers(answers)) => {
                for (number, answer) in answers {
                    self.answered(bus, number, answer);
                }
            }
            Err(DecodeError::Unknown(head)) => {
                self.answer_node(head.origin, head.number, NodeAnswer::Unread);
            }
            Err(error) => {
                if let Some(unsaid) = self.strange.may_log(Instant::now()) {
                    warn!(
                        unsaid,
                        ?error,
                        "cluster: a message that cannot be read; is a node of another release in it?"
                    );
                }
            }
        }
    }

    fn do_order(&mut self, bus: &mut Endpoint<Body>, head: &OrderHead, order: NodeOrder) {
        let OrderHead {
            origin,
            number,
            lane,
            ref namespaces,
        } = *head;
        let reach = match self.spaces.reach(namespaces) {
            Some(reach) if reach == Reach::default() => {
                return self.answer_node(origin, number, NodeAnswer::Reached(0));
            }
            Some(reach) => reach,
            None => return self.answer_node(origin, number, NodeAnswer::Unread),
        };
        if bus.in_transit_bytes() > INCOMING_BYTES_MAX {
            if let Some(unsaid) = self.dropped.may_log(Instant::now()) {
                warn!(
                    unsaid,
                    "cluster: the cores are late; what another node asks is dropped, and unknown there"
                );
            }
            return;
        }
        self.last_order += 1;
        if number != 0 {
            self.orders.insert(self.last_order, (origin, number));
        }
        let bytes = order.bytes();
        // What comes by one lane is done by one core, and so in its order.
        let core = bus.core_of_lane(origin.0.wrapping_add(u64::from(lane)));
        let order = FromEngine {
            reach,
            order,
            number: self.last_order,
        };
        bus.post(
            core,
            Some((ConnId::NOBODY, bytes)),
            Until::Taken,
            Body::FromEngine(Box::new(order)),
        );
    }

    /// A core has done what another node wanted.
    fn done_here(&mut self, order: u64, done: Abroad) {
        if let Some((origin, number)) = self.orders.remove(&order) {
            let answer = match done.refused {
                0 => NodeAnswer::Reached(done.reached),
                refused => NodeAnswer::Joined(done.reached, refused),
            };
            self.answer_node(origin, number, answer);
        }
    }

    fn answer_node(&mut self, origin: NodeId, number: u64, answer: NodeAnswer) {
        if number != 0 {
            let answers = self.answers.entry(origin).or_default();
            answers.push((number, answer));
        }
    }

    /// A node has done what was asked of it.
    fn answered(&mut self, bus: &mut Endpoint<Body>, number: u64, answer: NodeAnswer) {
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.answered += 1;
            if let (NodeAnswer::Described(facts), Some(told)) = (&answer, &mut asked.nodes_told) {
                told.push(facts.clone());
            }
            let abroad = abroad_of(&answer);
            asked.abroad.reached += abroad.reached;
            asked.abroad.refused += abroad.refused;
            asked.abroad.unknown.add(abroad.unknown);
            self.end_if_answered(bus, number);
        }
    }

    fn end_if_answered(&mut self, bus: &mut Endpoint<Body>, number: u64) {
        let asked = self.asked.get(&number);
        if asked.is_some_and(|asked| asked.nodes.is_some_and(|nodes| asked.answered >= nodes)) {
            self.end(bus, number, Unknown::default());
        }
    }

    /// Tells who asked; these have not said.
    fn end(&mut self, bus: &mut Endpoint<Body>, number: u64, silent: Unknown) {
        if let Some(mut asked) = self.asked.remove(&number) {
            asked.abroad.unknown.add(silent);
            match asked.nodes_told {
                Some(mut nodes) => {
                    nodes.sort_by(|one, other| one.name.cmp(&other.name));
                    let unknown = asked.abroad.unknown;
                    self.tell_nodes(bus, (asked.core, asked.call), nodes, unknown);
                }
                None => answer(bus, asked.core, asked.call, asked.abroad),
            }
        }
    }

    fn tell_nodes(
        &self,
        bus: &mut Endpoint<Body>,
        (core, call): (CoreId, u64),
        nodes: Vec<NodeFacts>,
        unknown: Unknown,
    ) {
        let look = ClusterLook {
            nodes,
            unknown,
            redis: self.own.redis.clone(),
        };
        let part = AnswerPart::Found(Box::new(QueryResult::Nodes(look)));
        bus.post(core, None, Until::Taken, Body::Answer { call, part });
    }

    /// Ends what has waited for too long.
    pub fn expire(&mut self, bus: &mut Endpoint<Body>, now: Instant) {
        while let Some((at, number)) = self.deadlines.front().copied() {
            let silent = match self.asked.get(&number) {
                None => Unknown::default(),
                Some(_) if at > now => return,
                Some(Asked {
                    nodes: Some(nodes),
                    answered,
                    ..
                }) => Unknown::nodes_silent(nodes.saturating_sub(*answered)),
                Some(_) => Unknown::away(),
            };
            self.deadlines.pop_front();
            self.end(bus, number, silent);
        }
    }

    /// When something is to be looked at next.
    pub fn next_due(&self) -> Option<Instant> {
        let deadline = self.deadlines.front().map(|(at, _)| *at);
        let leaving = self.interests.next_due();
        deadline.into_iter().chain(leaving).min()
    }
}

fn unknown(unknown: Unknown) -> Abroad {
    Abroad {
        unknown,
        ..Abroad::default()
    }
}

fn abroad_of(answer: &NodeAnswer) -> Abroad {
    match *answer {
        NodeAnswer::Described(_) => Abroad::default(),
        NodeAnswer::Reached(reached) => Abroad::to(reached),
        NodeAnswer::Joined(reached, refused) => Abroad {
            reached,
            refused,
            ..Abroad::default()
        },
        NodeAnswer::Unread => unknown(Unknown::nodes_silent(1)),
    }
}

fn answer(bus: &mut Endpoint<Body>, core: CoreId, call: u64, abroad: Abroad) {
    let part = AnswerPart::Abroad(abroad);
    bus.post(core, None, Until::Taken, Body::Answer { call, part });
}
