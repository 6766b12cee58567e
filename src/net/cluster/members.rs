//! Which other nodes there are, as far as this one knows, and of which of them Redis knows all users: [`Members`].
//!
//! Redis says how many nodes have a uid, and where that is none nobody is asked. That is the whole truth only if every node
//! is subscribed to all that its users are. So each says of itself whether it is ([`NodeWord`]), and where one is not, what
//! would be `offline` is unknown:
//!
//! - a node that subscribes, after it has joined;
//! - one that Redis has lost, for as long as it may take to come back;
//! - all that were known before this node itself lost Redis, until they are heard again.
//!
//! That a node has been subscribed all the while is seen by a channel that it takes first on each of its connections to Redis
//! and that is named by that connection alone: where it is still there, all that follow were. A node that is not heard while
//! this one hears itself ([`SILENT_WORDS`]) has vanished or is frozen; Redis is told to end its connection, so that its users
//! are nobody's. Whatever has a time is over when a word of this node's own has come back that was said after it: so what
//! others had said by then has been heard. Bound: an entry for each node.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::protocol::cluster::{NodeId, NodeState, NodeWord};

/// A node that is not heard for so many of this node's own words is gone.
const SILENT_WORDS: u32 = 4;
/// One that Redis has lost comes back within this time, or is gone.
const LOST: Duration = Duration::from_secs(2);
/// One that was known before this node lost Redis is heard within this time, or is gone.
const AWAITED: Duration = Duration::from_secs(9);
/// Nodes that nobody here knows of are subscribed within this time after Redis has come.
pub const SETTLING: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NodeStanding {
    Whole,
    Subscribing,
    /// Redis has lost it; until then it may come back.
    Lost(Instant),
    /// It was there before this node lost Redis.
    Awaited(Instant),
}

struct OtherNode {
    name: Box<str>,
    link: u64,
    client: u64,
    standing: NodeStanding,
    /// How many of this node's own words that are said now and then had come before its last one.
    heard: u32,
}

/// A word of this node's own, which is to come back.
struct OwnWord {
    said: Instant,
    /// Said because it was time.
    is_timely: bool,
}

/// What is known of the other nodes, for another process of this one.
#[derive(Serialize, Deserialize, Debug)]
pub struct WrittenMembers {
    others: Vec<WrittenNode>,
    /// Milliseconds that are left, as in what follows.
    settles: Option<u64>,
    expected: Option<(u64, u32)>,
    shadows: u32,
}

#[derive(Serialize, Deserialize, Debug)]
struct WrittenNode {
    node: NodeId,
    name: Box<str>,
    link: u64,
    client: u64,
    standing: WrittenStanding,
}

#[derive(Serialize, Deserialize, Debug)]
enum WrittenStanding {
    Whole,
    Subscribing,
    Lost(u64),
    Awaited(u64),
}

/// What of the others there is to know for an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Who has joined has it.
    All,
    /// Who is subscribed to a uid, or a group, has it.
    Some,
    /// It is for one node.
    One,
}

/// See the module.
#[derive(Default)]
pub struct Members {
    others: AHashMap<NodeId, OtherNode>,
    /// This node's own words that are under way.
    words: VecDeque<OwnWord>,
    last_said: Option<Instant>,
    /// Those that were said now and then and have come back since it joined.
    own_words: u32,
    /// Grows with each that has gone, was lost, or is no longer whole.
    departures: u64,
    /// Until then nodes may come that nobody here knows.
    settles: Option<Instant>,
    /// How many Redis says there are, until so many have been heard.
    expected: Option<(Instant, u32)>,
    /// Second processes of nodes, which are no nodes, that have said so since it joined.
    shadows: u32,
    /// Connections that Redis is to end.
    fenced: Vec<u64>,
    /// Those that were silent.
    silent: u64,
    /// Those that have left, are gone, or were silent.
    gone: Vec<NodeId>,
    /// Nodes that are joined to another Redis of the cluster, and not to this one.
    elsewhere: u32,
    /// Another of this node's parts tells the log who comes and goes.
    is_quiet: bool,
}

impl Members {
    pub fn new(is_quiet: bool) -> Members {
        Members {
            is_quiet,
            ..Members::default()
        }
    }

    /// This node has joined; for so long others may come that it has not heard of.
    pub fn begin_anew(&mut self, settling: Duration, now: Instant) {
        for member in self.others.values_mut() {
            member.standing = NodeStanding::Awaited(now + AWAITED);
        }
        self.own_words = 0;
        self.words.clear();
        self.last_said = None;
        self.departures += 1;
        self.settles = Some(now + settling).filter(|_| !settling.is_zero());
        self.expected = None;
        self.shadows = 0;
        self.fenced.clear();
    }

    /// What is known of the others, in writing.
    pub fn pack(&self, now: Instant) -> WrittenMembers {
        let left = |at: Instant| at.saturating_duration_since(now).as_millis() as u64;
        let others = self.others.iter().map(|(node, member)| WrittenNode {
            node: *node,
            name: member.name.clone(),
            link: member.link,
            client: member.client,
            standing: match member.standing {
                NodeStanding::Whole => WrittenStanding::Whole,
                NodeStanding::Subscribing => WrittenStanding::Subscribing,
                NodeStanding::Lost(at) => WrittenStanding::Lost(left(at)),
                NodeStanding::Awaited(at) => WrittenStanding::Awaited(left(at)),
            },
        });
        WrittenMembers {
            others: others.collect(),
            settles: self.settles.map(left),
            expected: self.expected.map(|(at, others)| (left(at), others)),
            shadows: self.shadows,
        }
    }

    /// Goes on with what another process of this node has known.
    pub fn unpack(&mut self, written: WrittenMembers, now: Instant) {
        let at = |left: u64| now + Duration::from_millis(left).min(AWAITED);
        let others = written.others.into_iter().map(|it| {
            let standing = match it.standing {
                WrittenStanding::Whole => NodeStanding::Whole,
                WrittenStanding::Subscribing => NodeStanding::Subscribing,
                WrittenStanding::Lost(left) => NodeStanding::Lost(at(left)),
                WrittenStanding::Awaited(left) => NodeStanding::Awaited(at(left)),
            };
            let member = OtherNode {
                name: it.name,
                link: it.link,
                client: it.client,
                standing,
                heard: 0,
            };
            (it.node, member)
        });
        *self = Members {
            others: others.collect(),
            departures: self.departures + 1,
            settles: written.settles.map(at),
            expected: written.expected.map(|(left, others)| (at(left), others)),
            shadows: written.shadows,
            silent: self.silent,
            ..Members::default()
        };
    }

    /// So many others are joined, says Redis.
    pub fn expect(&mut self, others: u32, now: Instant) {
        let is_more = self.known_here() + self.shadows < others;
        self.expected = is_more.then(|| (now + AWAITED, others));
    }

    /// Another node has said something of itself.
    pub fn heard(&mut self, word: &NodeWord) {
        let known = self.others.get(&word.node);
        let was_whole = known.is_some_and(|it| it.standing == NodeStanding::Whole);
        let was_linked = known.is_some_and(|it| it.link == word.link);
        let standing = match word.state {
            NodeState::Whole => NodeStanding::Whole,
            NodeState::Subscribing => NodeStanding::Subscribing,
            NodeState::Shadow => {
                // Redis has counted it.
                self.shadows += 1;
                return self.see_whom_is_waited_for();
            }
            NodeState::Leaving => {
                self.expected = self
                    .expected
                    .map(|(at, others)| (at, others.saturating_sub(1)));
                // Whoever it had has gone before it.
                if self.others.remove(&word.node).is_some() {
                    self.gone.push(word.node);
                    if self.is_quiet {
                        return;
                    }
                    info!(node = %word.name, "cluster: a node has left");
                }
                return;
            }
        };
        if known.is_none() && !self.is_quiet {
            info!(node = %word.name, "cluster: a node is there");
        }
        // The first word by another connection asks, but for that of a process that has had all of it before it has taken
        // the node over from another.
        let is_taken_over = was_whole && standing == NodeStanding::Whole && !word.asks;
        let is_another = !was_linked && !is_taken_over;
        if known.is_some() && (was_whole && standing != NodeStanding::Whole || is_another) {
            self.departures += 1;
        }
        let member = OtherNode {
            name: word.name.clone(),
            link: word.link,
            client: word.client,
            standing,
            heard: self.own_words,
        };
        self.others.insert(word.node, member);
        self.see_whom_is_waited_for();
    }

    fn see_whom_is_waited_for(&mut self) {
        let known = self.known_here() + self.shadows;
        self.expected = self.expected.filter(|(_, others)| known < *others);
    }

    /// This node says something of itself.
    pub fn said(&mut self, now: Instant, is_timely: bool) {
        self.last_said = Some(now);
        let said = now;
        self.words.push_back(OwnWord { said, is_timely });
    }

    /// A word of this node's own has come back: whose time was over by then is gone, and who has been silent for too long.
    pub fn heard_oneself(&mut self) {
        let Some(OwnWord { said, is_timely }) = self.words.pop_front() else {
            return;
        };
        self.own_words += u32::from(is_timely);
        self.settles = self.settles.filter(|at| *at > said);
        self.expected = self.expected.filter(|(at, _)| *at > said);
        let (own, fenced, silent) = (self.own_words, &mut self.fenced, &mut self.silent);
        let (before, gone, is_quiet) = (self.others.len(), &mut self.gone, self.is_quiet);
        self.others.retain(|node, member| {
            let name = &member.name;
            if let NodeStanding::Lost(at) | NodeStanding::Awaited(at) = member.standing {
                if at <= said {
                    gone.push(*node);
                }
                if at <= said && !is_quiet {
                    info!(node = %name, "cluster: a node has gone; its users count as offline");
                }
                return at > said;
            }
            let is_silent = own.saturating_sub(member.heard) >= SILENT_WORDS;
            if is_silent {
                warn!(node = %name, "cluster: a node is silent; its users count as offline until it is heard");
                *silent += 1;
                gone.push(*node);
                fenced.extend(Some(member.client).filter(|client| *client != 0));
            }
            !is_silent
        });
        self.departures += (before - self.others.len()) as u64;
    }

    /// Those that have gone since this was last asked.
    pub fn take_gone(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.gone)
    }

    /// Whether it is known, and not gone.
    pub fn has(&self, node: NodeId) -> bool {
        self.others.contains_key(&node)
    }

    /// How many have been held to be gone for their silence.
    pub fn silent(&self) -> u64 {
        self.silent
    }

    /// Connections that Redis is to end now.
    pub fn take_fenced(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.fenced)
    }

    fn times(&self) -> impl Iterator<Item = Instant> {
        let others = self.others.values();
        let others = others.filter_map(|member| match member.standing {
            NodeStanding::Lost(at) | NodeStanding::Awaited(at) => Some(at),
            _ => None,
        });
        let expected = self.expected.map(|(at, _)| at);
        others.chain(self.settles).chain(expected)
    }

    /// Whether a time is over, and this node has said nothing since by which it would see that.
    pub fn wants_word(&self, now: Instant) -> bool {
        let is_unsaid = |at: &Instant| *at <= now && self.last_said.is_none_or(|said| said < *at);
        self.times().any(|at| is_unsaid(&at))
    }

    /// When such a time is over.
    pub fn next_due(&self) -> Option<Instant> {
        let is_to_come = |at: &Instant| self.last_said.is_none_or(|said| said < *at);
        self.times().filter(is_to_come).min()
    }

    fn count(&self, is_so: impl Fn(NodeStanding) -> bool) -> u32 {
        let standings = self.others.values().map(|member| member.standing);
        standings.filter(|standing| is_so(*standing)).count() as u32
    }

    /// Those that are joined, as far as is known.
    pub fn known_here(&self) -> u32 {
        self.count(|it| matches!(it, NodeStanding::Whole | NodeStanding::Subscribing))
    }

    /// Whether this one, which Redis does not have now, may still come back or has not been heard yet.
    pub fn may_be(&self, node: NodeId) -> bool {
        self.others.contains_key(&node) || self.settles.is_some() || self.expected.is_some()
    }

    /// Nodes that may have somebody whom Redis does not know.
    pub fn incomplete(&self, audience: Audience) -> u32 {
        if audience == Audience::One {
            return 0;
        }
        let away = self.count(|it| matches!(it, NodeStanding::Lost(_) | NodeStanding::Awaited(_)));
        let subscribing = match audience {
            Audience::All | Audience::One => 0,
            Audience::Some => self.count(|it| it == NodeStanding::Subscribing),
        };
        let unheard = match self.expected {
            Some((_, others)) => others.saturating_sub(self.known_here() + self.shadows),
            None => 0,
        };
        let settling = u32::from(self.settles.is_some());
        (away + subscribing).max(unheard).max(settling) + self.elsewhere
    }

    /// Those that are joined.
    pub fn joined(&self) -> impl Iterator<Item = NodeId> {
        let others = self.others.iter();
        let is_joined =
            |it: NodeStanding| matches!(it, NodeStanding::Whole | NodeStanding::Subscribing);
        others.filter_map(move |(node, it)| is_joined(it.standing).then_some(*node))
    }

    /// These are joined to one Redis of the cluster or another. Those that this one has not heard of may have users of whom
    /// it does not know.
    pub fn compare(&mut self, joined: &AHashSet<NodeId>) {
        let missing = joined.iter().filter(|node| !self.others.contains_key(node));
        self.elsewhere = missing.count() as u32;
    }

    /// By which is seen whether somebody has gone meanwhile.
    pub fn departures(&self) -> u64 {
        self.departures
    }

    /// The connections of those that are joined: each has a channel.
    pub fn links(&self) -> Vec<u64> {
        let others = self.others.values();
        let joined = others
            .filter(|it| matches!(it.standing, NodeStanding::Whole | NodeStanding::Subscribing));
        joined.map(|member| member.link).collect()
    }

    /// Redis does not have this one's connection any more.
    pub fn lost(&mut self, link: u64, now: Instant) {
        let lost = self.others.values_mut().find(|member| member.link == link);
        if let Some(member) = lost
            && matches!(
                member.standing,
                NodeStanding::Whole | NodeStanding::Subscribing
            )
        {
            member.standing = NodeStanding::Lost(now + LOST);
            self.departures += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::partitions::Partition;

    fn word(node: u64, link: u64, state: NodeState) -> NodeWord {
        NodeWord {
            node: NodeId(node),
            name: "n".into(),
            link,
            client: link,
            state,
            asks: false,
            partition: Partition::WHOLE,
        }
    }

    fn hear_oneself(members: &mut Members, now: Instant) {
        members.said(now, true);
        members.heard_oneself();
    }

    #[test]
    fn who_subscribes_makes_users_unknown_and_everybody_is_reached() {
        let (mut members, now) = (Members::default(), Instant::now());
        members.begin_anew(Duration::ZERO, now);
        assert_eq!(members.incomplete(Audience::Some), 0);
        members.heard(&word(1, 10, NodeState::Subscribing));
        assert_eq!(members.incomplete(Audience::Some), 1);
        assert_eq!(members.incomplete(Audience::All), 0);
        members.heard(&word(1, 10, NodeState::Whole));
        assert_eq!(members.incomplete(Audience::Some), 0);
        assert_eq!(members.links(), [10]);
        members.heard(&word(1, 10, NodeState::Leaving));
        assert!(members.links().is_empty() && members.take_fenced().is_empty());
    }

    #[test]
    fn who_was_there_before_is_awaited() {
        let (mut members, now) = (Members::default(), Instant::now());
        members.begin_anew(Duration::ZERO, now);
        members.heard(&word(1, 10, NodeState::Whole));
        members.heard(&word(2, 20, NodeState::Whole));
        members.begin_anew(Duration::ZERO, now);
        assert_eq!(members.incomplete(Audience::All), 2);
        members.heard(&word(1, 11, NodeState::Whole));
        // It is not held against them that they are not heard.
        for _ in 0..10 {
            hear_oneself(&mut members, now);
            members.heard(&word(1, 11, NodeState::Whole));
        }
        assert_eq!(members.incomplete(Audience::Some), 1);
        assert_eq!(members.next_due(), Some(now + AWAITED));
        assert!(members.wants_word(now + AWAITED) && !members.wants_word(now));
        // One that was said before tells nothing.
        members.said(now, false);
        members.said(now + AWAITED, false);
        assert!(!members.wants_word(now + AWAITED) && members.next_due().is_none());
        members.heard_oneself();
        assert_eq!(members.incomplete(Audience::Some), 1);
        members.heard_oneself();
        assert_eq!(members.incomplete(Audience::Some), 0);
        assert_eq!(members.links(), [11]);
    }

    #[test]
    fn who_is_silent_is_gone_and_its_connection_ended() {
        let (mut members, now) = (Members::default(), Instant::now());
        members.begin_anew(Duration::ZERO, now);
        members.heard(&word(1, 10, NodeState::Whole));
        members.heard(&word(2, 20, NodeState::Whole));
        for _ in 0..SILENT_WORDS {
            assert!(members.take_fenced().is_empty());
            // Those that are said for a reason do not count.
            members.said(now, false);
            members.heard_oneself();
            hear_oneself(&mut members, now);
            members.heard(&word(2, 20, NodeState::Whole));
        }
        assert_eq!(members.take_fenced(), [10]);
        assert_eq!(members.links(), [20]);
    }

    #[test]
    fn a_node_whose_process_is_another_one_has_not_gone() {
        let (mut members, now) = (Members::default(), Instant::now());
        members.begin_anew(Duration::ZERO, now);
        // Redis counts the second process of a node in an upgrade, which says that it is none.
        members.expect(3, now);
        members.heard(&word(1, 10, NodeState::Whole));
        members.heard(&word(2, 20, NodeState::Whole));
        assert_eq!(members.incomplete(Audience::Some), 1);
        members.heard(&word(1, 11, NodeState::Shadow));
        assert_eq!(members.incomplete(Audience::Some), 0);
        let before = members.departures();
        members.heard(&word(1, 11, NodeState::Whole));
        assert_eq!(members.departures(), before);
        let links = |members: &Members| {
            let mut links = members.links();
            links.sort_unstable();
            links
        };
        assert_eq!(links(&members), [11, 20]);
        // This node's own next process knows them as well.
        members.heard(&word(2, 20, NodeState::Subscribing));
        members.lost(11, now);
        let (mut next, later) = (Members::default(), now + LOST / 2);
        let written = postcard::to_allocvec(&members.pack(now)).expect("it is written");
        next.unpack(postcard::from_bytes(&written).expect("it is read"), later);
        assert_eq!(next.incomplete(Audience::All), 1);
        assert_eq!(next.incomplete(Audience::Some), 2);
        assert_eq!(links(&next), [20]);
        hear_oneself(&mut next, later + LOST);
        assert_eq!(next.incomplete(Audience::All), 0);
        // One that comes back by another connection, which asks, may have lost something.
        let before = next.departures();
        let again = NodeWord {
            asks: true,
            ..word(2, 21, NodeState::Whole)
        };
        next.heard(&again);
        assert!(next.departures() > before);
    }

    #[test]
    fn who_is_elsewhere_may_have_users() {
        let (mut members, now) = (Members::default(), Instant::now());
        members.begin_anew(Duration::ZERO, now);
        members.heard(&word(1, 10, NodeState::Whole));
        members.compare(&members.joined().collect());
        assert_eq!(members.incomplete(Audience::Some), 0);
        members.compare(&[NodeId(1), NodeId(2)].into_iter().collect());
        assert_eq!(members.incomplete(Audience::Some), 1);
        members.compare(&AHashSet::new());
        assert_eq!(members.incomplete(Audience::Some), 0);
    }

    #[test]
    fn who_is_lost_may_come_back() {
        let (mut members, now) = (Members::default(), Instant::now());
        members.begin_anew(Duration::ZERO, now);
        members.heard(&word(1, 10, NodeState::Whole));
        let before = members.departures();
        members.lost(10, now);
        assert!(members.departures() > before);
        assert_eq!(members.incomplete(Audience::All), 1);
        members.heard(&word(1, 11, NodeState::Subscribing));
        hear_oneself(&mut members, now + LOST);
        assert_eq!(members.incomplete(Audience::All), 0);
        assert_eq!(members.incomplete(Audience::Some), 1);
        members.lost(11, now);
        hear_oneself(&mut members, now + LOST);
        assert_eq!(members.incomplete(Audience::Some), 0);
    }

    #[test]
    fn strangers_are_waited_for() {
        let (mut members, now) = (Members::default(), Instant::now());
        members.begin_anew(SETTLING, now);
        assert_eq!(members.incomplete(Audience::All), 1);
        members.expect(2, now);
        hear_oneself(&mut members, now + SETTLING);
        assert_eq!(members.incomplete(Audience::Some), 2);
        members.heard(&word(1, 10, NodeState::Whole));
        members.heard(&word(2, 20, NodeState::Whole));
        assert_eq!(members.incomplete(Audience::Some), 0);
        // Once they have been heard no more is expected.
        hear_oneself(&mut members, now + SETTLING);
        members.heard(&word(2, 20, NodeState::Leaving));
        assert_eq!(members.incomplete(Audience::Some), 0);
        members.expect(2, now);
        hear_oneself(&mut members, now + AWAITED);
        assert_eq!(members.incomplete(Audience::Some), 0);
    }
}
