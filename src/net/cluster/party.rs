//! What a node asks the others and they ask it by one Redis, without a connection to anything: [`Party`]. Where a cluster has
//! several there is one for each, and each is about its own uids and groups ([`placement`](super::placement)).
//!
//! The thread takes mail for it and gives it what comes by Redis; it says what is to be published, and posts to the cores.
//! Bounds: what is asked is on its senders' credit until it is answered; what others ask is given to the cores while no more
//! than [`INCOMING_BYTES_MAX`] waits for them, and what comes beyond that is dropped without an answer, so that it is
//! unknown where it was asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tracing::warn;

use super::asked::Asked;
use super::holders::Holders;
use super::interests::Interests;
use super::keeper::{Keeper, Purpose};
use super::members::Members;
use super::own_facts::OwnFacts;
use super::own_standing::OwnStanding;
use super::placement::topic_of;
use super::roster_questions::RosterQuestions;
use super::scripts::{ScriptCall, ScriptValue};
use super::spaces::Spaces;
use super::sticky_reads::Stickings;
use super::turnover_state::{Turnover, TurnoverRole};
use crate::app::abroad::{FromEngine, ToEngine};
use crate::app::envelope::{AnswerPart, Body};
use crate::app::outcome::{Abroad, Unknown};
use crate::app::query::QueryResult;
use crate::bus::{Endpoint, Until};
use crate::ident::{ConnId, CoreId, Reach};
use crate::log_limiter::LogLimiter;
use crate::net::http::ClusterFigures;
use crate::protocol::cluster::{
    ClusterMessage, DecodeError, LookAnswer, NodeAnswer, NodeId, NodeLook, NodeOrder, OrderHead,
    decode, encode,
};
use crate::protocol::kept_record::placed;
use crate::protocol::partitions::{Partition, Topic};

/// What other nodes have sent and cores have not taken.
const INCOMING_BYTES_MAX: usize = 64 << 20;
/// Answers of one message.
const ANSWERS_PER_MESSAGE: usize = 4_096;
/// Commands that may wait for the next batch, and their bytes; with more no mail is taken.
const WAITING_COMMANDS_MAX: usize = 4_096;
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Something that Redis is to do.
pub enum RedisCommand {
    /// With what was asked, if it is to be answered.
    Publish {
        channel: String,
        bytes: Vec<u8>,
        number: Option<u64>,
    },
    /// Whether these links of other nodes are still there, for what was asked meanwhile. Of those that are not it is asked
    /// then whether their life lines are, whose channels follow, with this node's own link behind them.
    Look {
        links: Vec<u64>,
        channels: Vec<String>,
        numbers: Vec<u64>,
    },
    /// A connection is to end, of a node that is silent.
    Fence(u64),
    /// A script.
    Run { call: ScriptCall, what: Purpose },
}

/// What has come of one command.
pub enum RedisAnswer {
    /// A message was given to so many connections.
    Published(u32),
    /// So many have each channel.
    Looked(Vec<u32>),
    Fenced,
    Ran(ScriptValue),
    Refused(String),
}

/// See the module.
pub struct Party {
    pub(super) node: NodeId,
    /// Which of the cluster's it is.
    pub(super) partition: Partition,
    pub(super) prefix: String,
    pub(super) spaces: Spaces,
    pub(super) answer_timeout: Duration,
    pub own: OwnFacts,
    pub interests: Interests,
    pub(super) last_number: u64,
    pub(super) asked: AHashMap<u64, Asked>,
    /// In their order, for all have the same time.
    pub(super) deadlines: VecDeque<(Instant, u64)>,
    /// What cores do for other nodes: whose it is, by which number.
    orders: AHashMap<u64, (NodeId, u64)>,
    last_order: u64,
    answers: AHashMap<NodeId, Vec<(u64, NodeAnswer)>>,
    /// What waits for a look at the others' connections.
    pub(super) unsure: Vec<u64>,
    pub(super) commands: Vec<RedisCommand>,
    pub(super) command_bytes: usize,
    /// What Redis keeps.
    pub(super) keeper: Keeper,
    /// Whose uids are here.
    pub(super) holders: Holders,
    pub(super) rosters: RosterQuestions,
    /// Members of groups that need no connection.
    pub(super) stickings: Stickings,
    pub members: Members,
    pub(super) standing: OwnStanding,
    dropped: LogLimiter,
    pub(super) strange: LogLimiter,
    /// In an upgrade.
    pub(super) turnover: Turnover,
}

impl Party {
    pub fn new(
        (node, partition): (NodeId, Partition),
        prefix: &str,
        spaces: Spaces,
        answer_timeout: Duration,
        own: OwnFacts,
    ) -> Party {
        Party {
            node,
            partition,
            prefix: prefix.to_owned(),
            spaces,
            answer_timeout,
            own,
            interests: Interests::default(),
            last_number: 0,
            asked: AHashMap::new(),
            deadlines: VecDeque::new(),
            orders: AHashMap::new(),
            last_order: u64::from(partition.nth),
            answers: AHashMap::new(),
            unsure: Vec::new(),
            commands: Vec::new(),
            command_bytes: 0,
            keeper: Keeper::default(),
            holders: Holders::default(),
            rosters: RosterQuestions::default(),
            stickings: Stickings::default(),
            members: Members::new(partition.nth > 0),
            standing: OwnStanding::default(),
            dropped: LogLimiter::default(),
            strange: LogLimiter::default(),
            turnover: Turnover::default(),
        }
    }

    pub(super) fn channel_of_node(&self, node: NodeId) -> String {
        format!("{}n:{node}", self.prefix)
    }

    pub(super) fn channel_of_all(&self) -> String {
        format!("{}all", self.prefix)
    }

    pub(super) fn channel_of_uid(&self, uid: &str) -> String {
        format!("{}u:{uid}", self.prefix)
    }

    pub(super) fn channel_of_group(&self, group: &str) -> String {
        format!("{}g:{group}", self.prefix)
    }

    fn channel_of(&self, order: &NodeOrder) -> String {
        match topic_of(order) {
            Topic::Uid(uid) => self.channel_of_uid(uid),
            Topic::Group(group) => self.channel_of_group(group),
            Topic::Node(node) => self.channel_of_node(NodeId(node)),
            Topic::All | Topic::Id(_) => self.channel_of_all(),
        }
    }

    /// Whether so much waits for the next batch that no more is to be taken.
    pub fn is_full(&self) -> bool {
        self.commands.len() > WAITING_COMMANDS_MAX || self.command_bytes > WAITING_BYTES_MAX
    }

    /// Takes what a core has posted; whether Redis is there for it.
    pub fn take(
        &mut self,
        bus: &mut Endpoint<Body>,
        (from, body): (CoreId, Body),
        now: Instant,
        is_joined: bool,
    ) {
        match body {
            Body::ToEngine(what) => self.take_order(bus, (from, *what), now, is_joined),
            Body::Answer {
                call,
                part: AnswerPart::Abroad(done),
            } => self.done_here(bus, call, done),
            Body::Answer {
                call,
                part: AnswerPart::Found(found),
            } => self.looked_here(call, *found, bus.cores()),
            _ => {}
        }
    }

    fn take_order(
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
            }
            ToEngine::Look {
                reach,
                look,
                node,
                call,
            } if is_joined => {
                let order = NodeOrder::Look(look);
                self.ask_node(node, (from, Some(call)), reach, order, now);
            }
            ToEngine::Look { call, .. } => {
                tell_looked(bus, (from, call), Vec::new(), Unknown::away());
            }
            ToEngine::Held(order) => self.take_held(bus, (from, order), now, is_joined),
            ToEngine::Stream(order) => {
                self.take_stream_order(bus, (from, order), now, is_joined);
            }
            ToEngine::Sticky(order) => self.take_sticky(bus, (from, order), is_joined),
            ToEngine::Toll => {}
            ToEngine::Roster(order) => {
                self.take_roster_order(bus, (from, order), now, is_joined);
            }
            ToEngine::Nodes { call } => {
                let nodes = vec![self.own.facts(self.node)];
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
        if self.is_gone() {
            return;
        }
        match here {
            true => self.interests.enter(channel, now),
            false => self.interests.leave(channel, now),
        }
    }

    fn ask(&mut self, from: (CoreId, Option<u64>), reach: Reach, order: NodeOrder, now: Instant) {
        self.ask_node(None, from, reach, order, now);
    }

    /// Asks this node alone, or those whom the order is about.
    pub(super) fn ask_node(
        &mut self,
        node: Option<NodeId>,
        (core, call): (CoreId, Option<u64>),
        reach: Reach,
        order: NodeOrder,
        now: Instant,
    ) {
        let node = node.or_else(|| order.node());
        let channel = match node {
            Some(node) => self.channel_of_node(node),
            None => self.channel_of(&order),
        };
        let number = call.map(|call| {
            self.last_number += 1;
            let asked = self.asked_now(core, call, &order, (&channel, node));
            self.asked.insert(self.last_number, asked);
            self.deadlines
                .push_back((now + self.answer_timeout, self.last_number));
            self.last_number
        });
        let head = OrderHead {
            origin: self.node,
            number: number.unwrap_or_default(),
            lane: core.0,
            namespaces: self.spaces.names(reach),
        };
        self.publish(channel, &ClusterMessage::Order(head, order), number);
    }

    pub(super) fn publish(
        &mut self,
        channel: String,
        message: &ClusterMessage,
        number: Option<u64>,
    ) {
        let bytes = encode(message);
        self.command_bytes += bytes.len();
        self.commands.push(RedisCommand::Publish {
            channel,
            bytes,
            number,
        });
    }

    /// What it was to do in the next batch, of which there will be none.
    pub fn take_waiting(&mut self) -> Vec<RedisCommand> {
        self.command_bytes = 0;
        std::mem::take(&mut self.commands)
    }

    /// What Redis is to do now.
    pub fn next_batch(&mut self, now: Instant) -> Vec<RedisCommand> {
        self.keep_on(now);
        for (node, mut answers) in std::mem::take(&mut self.answers) {
            let channel = self.channel_of_node(node);
            while !answers.is_empty() {
                let rest = answers.split_off(answers.len().min(ANSWERS_PER_MESSAGE));
                self.publish(channel.clone(), &ClusterMessage::Answers(answers), None);
                answers = rest;
            }
        }
        for client in self.members.take_fenced() {
            self.commands.push(RedisCommand::Fence(client));
        }
        let unseen = self.members.take_unseen();
        if !unseen.is_empty() {
            self.look_at(unseen, Vec::new());
        }
        // Behind all that was sent before.
        self.look_for_unsure();
        self.take_waiting()
    }

    /// Whether nothing waits to be told to Redis.
    pub fn has_said_all(&self) -> bool {
        self.commands.is_empty() && self.answers.is_empty()
    }

    /// Something has come by a channel. Whether it is this node's own word.
    pub fn arrived(&mut self, bus: &mut Endpoint<Body>, bytes: &[u8]) -> bool {
        match self.turnover.role {
            TurnoverRole::Alone => self.arrived_now(bus, bytes),
            _ => self.arrived_between(bus, bytes),
        }
    }

    pub(super) fn arrived_now(&mut self, bus: &mut Endpoint<Body>, bytes: &[u8]) -> bool {
        ClusterFigures::add(&self.own.figures.received, 1);
        let (position, bytes) = match placed(bytes) {
            Some((position, bytes)) => (position, bytes),
            None => ("", bytes),
        };
        match decode(bytes) {
            Ok(ClusterMessage::Order(head, order)) if !position.is_empty() => {
                self.arrived_placed(bus, position, (head, order));
            }
            Ok(ClusterMessage::Order(head, NodeOrder::Hold(order))) => {
                self.hold_came(bus, &head, &order);
            }
            Ok(ClusterMessage::Order(head, NodeOrder::Release(order))) => {
                self.release_came(bus, &head, &order);
            }
            Ok(ClusterMessage::Order(head, NodeOrder::Stick { uid, group, sticks })) => {
                self.sticky_came(bus, &head, (uid, group, sticks));
            }
            Ok(ClusterMessage::Order(_, NodeOrder::StickyBegun)) => self.note_mark(bus, true),
            Ok(ClusterMessage::Order(head, order)) if head.origin == self.node => {
                let answer = match order {
                    NodeOrder::Describe => NodeAnswer::Described(self.own.facts(self.node)),
                    _ => NodeAnswer::Reached(0),
                };
                self.answered(bus, head.number, answer);
            }
            Ok(ClusterMessage::Order(head, NodeOrder::Describe)) => {
                let answer = NodeAnswer::Described(self.own.facts(self.node));
                self.answer_node(head.origin, head.number, answer);
            }
            Ok(ClusterMessage::Order(head, NodeOrder::Roster { group, about })) => {
                self.do_roster(bus, &head, (group, about));
            }
            Ok(ClusterMessage::Order(head, order)) => self.do_order(bus, &head, order),
            Ok(ClusterMessage::Word(word)) => {
                let is_own = self.heard(&word);
                self.tell_gone(bus);
                return is_own;
            }
            Ok(ClusterMessage::Answers(answers)) => {
                for (number, answer) in answers {
                    self.answered(bus, number, answer);
                }
            }
            // Of an upgrade that has failed since.
            Ok(ClusterMessage::Marker(_)) => {}
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
        false
    }

    fn do_order(&mut self, bus: &mut Endpoint<Body>, head: &OrderHead, mut order: NodeOrder) {
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
        if self.is_behind(bus) {
            return;
        }
        let own_number = self.next_order();
        if number != 0 {
            self.orders.insert(own_number, (origin, number));
        }
        if let NodeOrder::Look(NodeLook::Connections(asked)) = &mut order {
            self.own.name_listeners(asked);
        }
        let bytes = order.bytes();
        // What comes by one lane is done by one core, and so in its order.
        let core = bus.core_of_lane(origin.0.wrapping_add(u64::from(lane)));
        let order = FromEngine {
            reach,
            order,
            number: own_number,
        };
        bus.post(
            core,
            Some((ConnId::NOBODY, bytes)),
            Until::Taken,
            Body::FromEngine(Box::new(order)),
        );
    }

    /// Whether so much waits for the cores that what comes is dropped.
    pub(super) fn is_behind(&mut self, bus: &Endpoint<Body>) -> bool {
        if bus.in_transit_bytes() <= INCOMING_BYTES_MAX {
            return false;
        }
        ClusterFigures::add(&self.own.figures.dropped, 1);
        if let Some(unsaid) = self.dropped.may_log(Instant::now()) {
            warn!(
                unsaid,
                "cluster: the cores are late; what another node asks is dropped, and unknown there"
            );
        }
        true
    }

    /// By which a core answers what a node has asked; 0 if nobody is to know.
    pub(super) fn number_of_order(&mut self, of: (NodeId, u64)) -> u64 {
        if of.1 == 0 {
            return 0;
        }
        let number = self.next_order();
        self.orders.insert(number, of);
        number
    }

    /// By which a core's answer finds the party that has asked, among all of the node
    /// ([`asked_by`](super::placement::asked_by)).
    pub(super) fn next_order(&mut self) -> u64 {
        self.last_order += u64::from(self.partition.of);
        self.last_order
    }

    /// A core has done what a node wanted.
    fn done_here(&mut self, bus: &mut Endpoint<Body>, order: u64, done: Abroad) {
        if let Some((origin, number)) = self.orders.remove(&order) {
            let answer = match done.refused {
                0 => NodeAnswer::Reached(done.reached),
                refused => NodeAnswer::Joined(done.reached, refused),
            };
            self.answer_node_or_self(bus, (origin, number), answer);
        }
    }

    /// Tells the node that has asked, which may be this one.
    pub(super) fn answer_node_or_self(
        &mut self,
        bus: &mut Endpoint<Body>,
        (origin, number): (NodeId, u64),
        answer: NodeAnswer,
    ) {
        match origin == self.node {
            true => self.answered(bus, number, answer),
            false => self.answer_node(origin, number, answer),
        }
    }

    /// A core has told whom it, and the others of this node, have.
    fn looked_here(&mut self, order: u64, found: QueryResult, cores: usize) {
        if let Some((origin, number)) = self.orders.remove(&order)
            && let Some(answer) = self.own.look_answer(found, cores)
        {
            self.answer_node(origin, number, NodeAnswer::Look(answer));
        }
    }

    pub(super) fn answer_node(&mut self, origin: NodeId, number: u64, answer: NodeAnswer) {
        if number != 0 {
            let answers = self.answers.entry(origin).or_default();
            answers.push((number, answer));
        }
    }

    /// When something is to be looked at next.
    pub fn next_due(&self) -> Option<Instant> {
        let deadline = self.deadlines.front().map(|(at, _)| *at);
        let leaving = self.interests.next_due();
        let more = self
            .keeper_due()
            .into_iter()
            .chain(self.turnover.next_due());
        deadline.into_iter().chain(leaving).chain(more).min()
    }
}

pub(super) fn unknown(unknown: Unknown) -> Abroad {
    Abroad {
        unknown,
        ..Abroad::default()
    }
}

/// What nodes have told of whom they have.
pub(super) fn tell_looked(
    bus: &mut Endpoint<Body>,
    (core, call): (CoreId, u64),
    answers: Vec<LookAnswer>,
    unknown: Unknown,
) {
    let part = AnswerPart::Found(Box::new(QueryResult::Looked(answers, unknown)));
    bus.post(core, None, Until::Taken, Body::Answer { call, part });
}

pub(super) fn answer(bus: &mut Endpoint<Body>, core: CoreId, call: u64, abroad: Abroad) {
    let part = AnswerPart::Abroad(abroad);
    bus.post(core, None, Until::Taken, Body::Answer { call, part });
}
