//! What a [`Party`] says of its node to the others, and hears of theirs.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::error;

use super::members::Audience;
use super::own_standing::OwnStanding;
use super::party::Party;
use crate::log_limiter::SharedLogLimiter;
use crate::net::http::ClusterFigures;
use crate::protocol::cluster::{ClusterMessage, NodeState, NodeWord};

/// Subscribing may last that long before the others are told.
const BEHIND: Duration = Duration::from_millis(250);
/// How often it is said, by all parts of the node together, that a node has another list of Redis.
static OTHER_LISTS: LazyLock<SharedLogLimiter> =
    LazyLock::new(|| SharedLogLimiter::every(Duration::from_secs(60)));

impl Party {
    /// The number by which the first word on a connection is known.
    pub(super) const HELLO: u64 = u64::MAX;

    /// The channels that a node has from its joining to the end of that connection: its own first. By the last, which no
    /// other connection ever has, the others see that it has not ended; it is taken before any of a uid.
    pub fn standing_channels(&mut self) -> [String; 3] {
        self.standing = OwnStanding {
            link: fastrand::u64(1..),
            ..OwnStanding::default()
        };
        [
            self.channel_of_node(self.node),
            self.channel_of_all(),
            self.channel_of_link(self.standing.link),
        ]
    }

    /// By which the others see that its present connection is there.
    pub fn channel_of_own_link(&self) -> String {
        self.channel_of_link(self.standing.link)
    }

    pub(super) fn channel_of_link(&self, link: u64) -> String {
        format!("{}l:{link:016x}", self.prefix)
    }

    /// By which they see that its process lives, though that connection has ended.
    pub fn channel_of_own_life(&self) -> String {
        self.channel_of_life(self.standing.link)
    }

    pub(super) fn channel_of_life(&self, link: u64) -> String {
        format!("{}c:{link:016x}", self.prefix)
    }

    /// This node has joined by a connection that Redis calls so, and for so long others may come that are not known.
    pub fn begin_anew(&mut self, client: u64, settling: Duration, now: Instant) {
        self.standing.client = client;
        self.interests.begin_anew(now);
        let joins = self.own.redis().map(|redis| &redis.joins);
        if joins.is_some_and(|joins| joins.load(Ordering::Relaxed) > 1) {
            let figures = &self.own.figures;
            ClusterFigures::add(&figures.resubscriptions, self.interests.count() as u64);
        }
        self.members.begin_anew(settling, now);
    }

    /// Tells the others if it is different now with what Redis knows of this node's users, or when a word is wanted to see
    /// who is there.
    pub fn tell_standing(&mut self, now: Instant) {
        let state = match self.interests.are_told(BEHIND, now) {
            true => NodeState::Whole,
            false => NodeState::Subscribing,
        };
        let is_mute = self.standing.said == Some(NodeState::Leaving) || self.is_mute();
        let is_new = self.standing.said != Some(state);
        if !is_mute && (is_new || self.members.wants_word(now)) {
            self.say(state, now, false);
        }
    }

    /// Says that it is there, as every now and then.
    pub fn say_again(&mut self, now: Instant) {
        let state = self.standing.said.unwrap_or(NodeState::Subscribing);
        self.say(state, now, true);
        self.compare_mark();
        let links = self.members.next_links();
        if !links.is_empty() {
            self.look_at(links, Vec::new());
        }
    }

    /// Says that it ends.
    pub fn say_the_last(&mut self, now: Instant) {
        if self.is_mute() {
            return;
        }
        self.say(NodeState::Leaving, now, false);
    }

    /// What a scrape of the metrics is told.
    pub fn show(&self) {
        let Some(figures) = self.own.redis() else {
            return;
        };
        let (members, store) = (&self.members, |figure: &AtomicU64, value: u64| {
            figure.store(value, Ordering::Relaxed);
        });
        store(&figures.nodes, u64::from(members.known_here() + 1));
        let incomplete = members.incomplete(Audience::Some);
        store(&figures.incomplete, u64::from(incomplete));
        store(&figures.silent, members.silent());
        store(&figures.channels, self.interests.count() as u64);
    }

    fn say(&mut self, state: NodeState, now: Instant, is_timely: bool) {
        self.members.said(now, is_timely);
        let is_first = self.standing.said.is_none();
        self.standing.said = Some(state);
        let word = self.word(state, is_first);
        let number = is_first.then_some(Party::HELLO);
        self.publish(self.channel_of_all(), &ClusterMessage::Word(word), number);
    }

    pub(super) fn word(&self, state: NodeState, asks: bool) -> NodeWord {
        NodeWord {
            node: self.node,
            name: self.own.name().into(),
            link: self.standing.link,
            client: self.standing.client,
            state,
            asks,
            partition: self.partition,
        }
    }

    /// A node has another list of Redis than this one. What would be `offline` here is unknown, for its users may be known
    /// to another Redis.
    fn heard_of_another_list(&mut self, word: &NodeWord) {
        if OTHER_LISTS.may_log(Instant::now()).is_some() {
            error!(
                node = %word.name,
                "cluster: a node has another list of Redis (cluster.redis), or the same in another order; all need one \
                 and the same"
            );
        }
        let state = match word.state {
            NodeState::Whole => NodeState::Subscribing,
            state => state,
        };
        let word = NodeWord {
            state,
            ..word.clone()
        };
        self.members.heard(&word);
    }

    /// A node has said something of itself. Whether it was this one, and just so.
    pub(super) fn heard(&mut self, word: &NodeWord) -> bool {
        if word.node == self.node {
            let is_own = word.link == self.standing.link;
            if is_own {
                self.members.heard_oneself();
            }
            return is_own;
        }
        match word.partition == self.partition {
            true => self.members.heard(word),
            false => self.heard_of_another_list(word),
        }
        if *word.name == *self.own.name() && word.state != NodeState::Leaving {
            self.own.has_namesake();
        }
        if word.asks
            && let Some(state) = self.standing.said
        {
            let own = ClusterMessage::Word(self.word(state, false));
            self.publish(self.channel_of_node(word.node), &own, None);
        }
        false
    }
}
