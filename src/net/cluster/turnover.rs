//! How a [`Party`] goes from one process of its node to another, in an upgrade, and nobody else sees it: [`Turnover`].
//!
//! Before the pause the new process, a *shadow*, subscribes to all channels of the old one. What comes to it is the old one's,
//! and it says so ([`NodeAnswer::Aside`]), for Redis has counted it. In the pause the old one publishes a marker. Redis gives
//! everybody the same order: what comes before the marker is the old one's, and what comes behind it the new one's, which
//! holds it until it goes on. The old one holds that, too, and does it if the upgrade fails; else it says `Aside`, until it
//! is subscribed to nothing any more. Bound: what is held has [`HELD_BYTES_MAX`]; what comes beyond is dropped, and unknown
//! where it was asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::warn;

use super::own_standing::OwnStanding;
use super::party::Party;
use super::turnover_state::{PartyState, Turnover, TurnoverRole};
use crate::app::envelope::Body;
use crate::bus::Endpoint;
use crate::net::http::ClusterFigures;
use crate::protocol::cluster::{
    ClusterMessage, DecodeError, NodeAnswer, NodeState, OrderHead, decode,
};
use crate::protocol::kept_record::placed;

/// What is held.
const HELD_BYTES_MAX: usize = 64 << 20;

/// While the cores come to rest, what others ask is given to them that often: in between nothing new comes.
const BURST_INTERVAL: Duration = Duration::from_millis(20);

/// The numbers of what the new process asks begin so far behind those of the old one.
const NUMBERS_APART: u64 = 1 << 32;

impl Party {
    /// Whether this process says nothing of the node, for the other one does.
    pub fn is_mute(&self) -> bool {
        matches!(
            self.turnover.role,
            TurnoverRole::Gone | TurnoverRole::Shadow(_) | TurnoverRole::Heir
        )
    }

    /// Something has come while there are two processes. Whether it is this node's own word.
    pub(super) fn arrived_between(&mut self, bus: &mut Endpoint<Body>, bytes: &[u8]) -> bool {
        let message = decode(placed(bytes).map_or(bytes, |(_, message)| message));
        match (self.turnover.role, message) {
            (TurnoverRole::Shadow(marker), Ok(ClusterMessage::Marker(number))) => {
                if number == marker {
                    self.turnover.role = TurnoverRole::Heir;
                }
            }
            (TurnoverRole::Shadow(_), message) => self.stand_aside(message),
            (TurnoverRole::Heir | TurnoverRole::Settling, _) => self.set_aside(bytes),
            (TurnoverRole::Marking(marker), Ok(ClusterMessage::Marker(number))) => {
                if number == marker {
                    self.release_set_aside(bus);
                    self.divide_now();
                }
            }
            (
                TurnoverRole::Resting | TurnoverRole::Marking(_) | TurnoverRole::Divided,
                Ok(ClusterMessage::Order(..)) | Err(DecodeError::Unknown(_)),
            ) => self.set_aside(bytes),
            (TurnoverRole::Gone, message) => self.stand_aside(message),
            _ => return self.arrived_now(bus, bytes),
        }
        false
    }

    /// It is the node's other process' to do, which Redis has counted as well.
    fn stand_aside(&mut self, message: Result<ClusterMessage, DecodeError>) {
        match message {
            Ok(ClusterMessage::Order(head, _)) | Err(DecodeError::Unknown(head)) => {
                self.answer_aside(&head);
            }
            Ok(ClusterMessage::Word(word)) if word.asks && word.node != self.node => {
                let own = ClusterMessage::Word(self.word(NodeState::Shadow, false));
                self.publish(self.channel_of_node(word.node), &own, None);
            }
            _ => {}
        }
    }

    fn answer_aside(&mut self, head: &OrderHead) {
        self.answer_node(head.origin, head.number, NodeAnswer::Aside);
    }

    fn set_aside(&mut self, bytes: &[u8]) {
        let turnover = &mut self.turnover;
        if turnover.held_bytes + bytes.len() <= HELD_BYTES_MAX {
            turnover.held_bytes += bytes.len();
            return turnover.held.push_back(bytes.to_vec());
        }
        ClusterFigures::add(&self.own.figures.dropped, 1);
        if let Some(unsaid) = self.strange.may_log(Instant::now()) {
            warn!(
                unsaid,
                "cluster: the upgrade takes long; what another node asks is dropped, and unknown there"
            );
        }
    }

    fn take_set_aside(&mut self) -> VecDeque<Vec<u8>> {
        self.turnover.held_bytes = 0;
        std::mem::take(&mut self.turnover.held)
    }

    fn release_set_aside(&mut self, bus: &mut Endpoint<Body>) {
        for bytes in self.take_set_aside() {
            self.arrived_now(bus, &bytes);
        }
    }

    /// The cores are to come to rest: what others ask waits from now on, and is given to them now and then.
    pub fn rest(&mut self, now: Instant) {
        self.turnover.role = TurnoverRole::Resting;
        self.turnover.next_burst = Some(now + BURST_INTERVAL);
    }

    /// It is time to give them what waits, if it is.
    pub fn burst(&mut self, bus: &mut Endpoint<Body>, now: Instant) {
        if let Some(next) = &mut self.turnover.next_burst
            && *next <= now
        {
            *next = now + BURST_INTERVAL;
            self.release_set_aside(bus);
        }
    }

    /// Publishes the marker.
    pub fn mark(&mut self, marker: u64, now: Instant) {
        self.rest(now);
        self.turnover.role = TurnoverRole::Marking(marker);
        let channel = self.channel_of_node(self.node);
        self.publish(channel, &ClusterMessage::Marker(marker), None);
    }

    /// From now on what comes is held, whoever does it in the end.
    pub fn divide_now(&mut self) {
        self.turnover.next_burst = None;
        self.turnover.role = TurnoverRole::Divided;
        self.turnover.state = Some(PartyState {
            last_number: self.last_number,
            members: self.members.pack(Instant::now()),
        });
    }

    /// Whether it is so.
    pub fn is_divided(&self) -> bool {
        self.turnover.role == TurnoverRole::Divided
    }

    /// Which of the processes this is.
    pub fn role_between(&self) -> TurnoverRole {
        self.turnover.role
    }

    /// Whether the other process is the node now.
    pub fn is_gone(&self) -> bool {
        self.turnover.role == TurnoverRole::Gone
    }

    /// What was known when the marker came.
    pub fn take_state(&mut self) -> Option<PartyState> {
        self.turnover.state.take()
    }

    /// The cores serve, in this process after all or by now: what was held is done, and what comes as it comes.
    pub fn resume(&mut self, bus: &mut Endpoint<Body>) {
        self.interests.end_recording();
        let held = self.take_set_aside();
        self.turnover = Turnover::default();
        for bytes in held {
            self.arrived_now(bus, &bytes);
        }
    }

    /// The other process goes on. This one is subscribed to nothing when that is done.
    pub fn be_gone(&mut self, now: Instant) {
        for bytes in self.take_set_aside() {
            self.stand_aside(decode(
                placed(&bytes).map_or(&bytes[..], |(_, message)| message),
            ));
        }
        self.turnover = Turnover {
            role: TurnoverRole::Gone,
            ..Turnover::default()
        };
        let standing = [
            self.channel_of_node(self.node),
            self.channel_of_all(),
            self.channel_of_own_link(),
        ];
        self.interests.leave_all(standing, now);
    }

    /// Nobody is here, and another process is the node, until this marker comes.
    pub fn be_shadow(&mut self, marker: u64) {
        self.turnover.role = TurnoverRole::Shadow(marker);
    }

    /// Goes on as the node with what the other process has known. What was held, and what comes, is done when the cores serve
    /// ([`Party::resume`]): before they have told whom they have, nobody else's question has its answer.
    pub fn inherit(&mut self, state: PartyState, now: Instant) {
        self.turnover.role = TurnoverRole::Settling;
        self.last_number = state.last_number + NUMBERS_APART;
        self.members.unpack(state.members, now);
        self.interests.end_adoption(now);
        self.ask_for_mark();
        // The others know the node, and are not asked; before anything else they hear by which connection it is there.
        self.standing = OwnStanding {
            said: Some(NodeState::Subscribing),
            ..std::mem::take(&mut self.standing)
        };
        self.tell_standing(now);
    }

    /// Goes on as the node, by a connection that knows of nothing.
    pub fn inherit_nothing(&mut self) {
        self.take_set_aside();
        self.turnover.role = TurnoverRole::Settling;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::app::namespaces::Registry;
    use crate::bus::connect_with_engine;
    use crate::net::admission::ConnectionCounters;
    use crate::net::cluster::own_facts::OwnFacts;
    use crate::net::cluster::party::RedisCommand;
    use crate::net::cluster::spaces::Spaces;
    use crate::net::http::Facts;
    use crate::payload::{Message, Payload};
    use crate::protocol::cluster::{NamespaceName, NodeId, NodeOrder, encode};
    use crate::protocol::partitions::Partition;

    const OTHER: NodeId = NodeId(9);
    const MARKER: u64 = 7;

    /// A process of the node, and its one core.
    struct Process {
        party: Party,
        engine: Endpoint<Body>,
        core: Endpoint<Body>,
    }

    impl Process {
        fn new() -> Process {
            let (mut cores, engine) = connect_with_engine(1).expect("doorbells");
            let spaces = Spaces::new(vec!["push"], Registry::new(1));
            let counters = Arc::new(ConnectionCounters::new(None));
            let facts = Arc::new(Facts::new(Vec::new(), None));
            let own = OwnFacts::new("one", 0, counters, facts);
            let who = (NodeId(1), Partition::WHOLE);
            let party = Party::new(who, "p:", spaces, Duration::from_secs(1), own);
            let core = cores.pop().expect("one");
            Process {
                party,
                engine,
                core,
            }
        }

        fn hear(&mut self, messages: &[Vec<u8>]) {
            for bytes in messages {
                self.party.arrived(&mut self.engine, bytes);
            }
        }

        /// What the core is to do, by the numbers of who has asked.
        fn given(&mut self) -> Vec<String> {
            let mut given = Vec::new();
            while let Some(envelope) = self.core.take() {
                if let Body::FromEngine(from) = envelope.body
                    && let NodeOrder::PushToUid { payload, .. } = &from.order
                {
                    given.push(payload.message().text().expect("a text").to_owned());
                }
            }
            given
        }

        /// What it publishes.
        fn said(&mut self) -> Vec<ClusterMessage> {
            let batch = self.party.next_batch(Instant::now());
            let said = batch.iter().filter_map(|command| match command {
                RedisCommand::Publish { bytes, .. } => decode(bytes).ok(),
                _ => None,
            });
            said.collect()
        }
    }

    fn push(number: u64) -> Vec<u8> {
        let head = OrderHead {
            origin: OTHER,
            number,
            lane: 0,
            namespaces: vec![NamespaceName::Apps("push".into())],
        };
        let order = NodeOrder::PushToUid {
            uid: "u".into(),
            payload: Payload::new(Message::Text(&number.to_string())),
        };
        encode(&ClusterMessage::Order(head, order))
    }

    fn asides(numbers: &[u64]) -> Vec<ClusterMessage> {
        let answers = numbers.iter().map(|number| (*number, NodeAnswer::Aside));
        vec![ClusterMessage::Answers(answers.collect())]
    }

    /// Both have had the same, the marker in the middle.
    fn divided() -> (Process, Process) {
        let (mut old, mut new, now) = (Process::new(), Process::new(), Instant::now());
        new.party.be_shadow(MARKER);
        old.party.rest(now);
        let before = [push(1), push(2)];
        old.hear(&before);
        new.hear(&before);
        assert!(old.given().is_empty(), "it waits for the next burst");
        old.party.burst(&mut old.engine, now + BURST_INTERVAL);
        assert_eq!(old.given(), ["1", "2"]);
        old.party.mark(MARKER, now);
        assert_eq!(old.said(), [ClusterMessage::Marker(MARKER)]);
        let rest = [
            push(3),
            encode(&ClusterMessage::Marker(MARKER + 1)),
            encode(&ClusterMessage::Marker(MARKER)),
            push(4),
            push(5),
        ];
        old.hear(&rest);
        new.hear(&rest);
        assert_eq!(old.given(), ["3"]);
        assert!(old.party.is_divided() && new.given().is_empty());
        assert_eq!(new.said(), asides(&[1, 2, 3]));
        (old, new)
    }

    #[test]
    fn what_comes_behind_the_marker_is_the_new_process_own() {
        let (mut old, mut new) = divided();
        let state = old.party.take_state().expect("it is divided");
        let written = postcard::to_allocvec(&state).expect("it is written");
        let state = postcard::from_bytes(&written).expect("it is read");
        new.party.inherit(state, Instant::now());
        assert!(new.given().is_empty(), "its core knows nobody yet");
        assert!(new.party.last_number >= NUMBERS_APART);
        let said = new.said();
        let [ClusterMessage::Word(word)] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(word.state == NodeState::Whole && !word.asks);
        new.party.resume(&mut new.engine);
        assert_eq!(new.given(), ["4", "5"]);
        old.party.be_gone(Instant::now());
        old.hear(&[push(6)]);
        new.hear(&[push(6)]);
        assert_eq!(old.said(), asides(&[4, 5, 6]));
        assert_eq!((old.given(), new.given()), (vec![], vec!["6".to_owned()]));
    }

    #[test]
    fn what_comes_behind_the_marker_is_the_old_ones_if_the_upgrade_fails() {
        let (mut old, _) = divided();
        old.party.resume(&mut old.engine);
        assert_eq!(old.given(), ["4", "5"]);
        old.hear(&[push(6)]);
        assert_eq!(old.given(), ["6"]);
        assert!(old.said().is_empty());
    }

    #[test]
    fn what_is_held_has_a_bound() {
        let mut new = Process::new();
        new.party.turnover.role = TurnoverRole::Heir;
        let large = vec![0; HELD_BYTES_MAX / 2];
        new.hear(&[large.clone(), large.clone(), large]);
        assert_eq!(new.party.turnover.held.len(), 2);
        assert_eq!(
            new.party
                .own
                .figures
                .dropped
                .load(std::sync::atomic::Ordering::Relaxed),
            1
        );
    }
}
