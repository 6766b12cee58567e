//! Which other nodes there are, as far as this one knows, and of which of them Redis knows all users: [`Members`].
//!
//! Redis says how many nodes have a uid, and where that is none nobody is asked. That is the whole truth only if every node
//! is subscribed to all that its users are. So each says of itself whether it is ([`NodeWord`]), and where one is not, what
//! would be `offline` is unknown:
//!
//! - a node that subscribes, after it has joined;
//! - one whose link Redis has ended while its process lives, for as long as it may take to come back;
//! - all that were known before this node itself lost Redis, until they are heard again.
//!
//! That a node has been subscribed all the while is seen by a channel that it takes first on each of its connections to Redis
//! and that is named by that connection alone: where it is still there, all that follow were. Whether its process lives is
//! seen by another channel, that of its [life line](super::life_line): where neither is there, it has ended, and its users
//! are nobody's at once. Only of a link that this node has seen there itself, on its own present one, it is concluded so:
//! what else it knows may be of another run of Redis, or of connections that ended together with its own, and whose node has
//! not noticed that yet. A node that is not heard while this one hears itself ([`SILENT_WORDS`]) has vanished or is frozen;
//! Redis is told to end its connection, so that its users are nobody's. Whatever has a time is over when a word of this
//! node's own has come back that was said after it: so what others had said by then has been heard. Bound: an entry for each
//! node.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::protocol::cluster::{NodeId, NodeState, NodeWord};

/// A node that is not heard for so many of this node's own words is gone.
pub(super) const SILENT_WORDS: u32 = 4;
/// One whose link has ended while its process lives comes back within this time, or is gone.
pub(super) const LOST: Duration = Duration::from_secs(2);
/// One that was known before this node lost Redis is heard within this time, or is gone.
pub(super) const AWAITED: Duration = Duration::from_secs(9);
/// Links that are looked at together where nobody asks: each in its turn, and all of so many nodes with each word.
const LOOKED_AT_MAX: usize = 128;
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
    /// Redis has had its link since this node has heard of that.
    is_seen: bool,
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
    /// Those whose process has ended without a word, and that another Redis is to be asked for. They are no departures, for
    /// nobody is left of whom one might not know.
    ended: Vec<NodeId>,
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
    /// Some links are to be looked at, since they are new.
    is_any_unseen: bool,
    /// The link that was looked at last.
    looked_at: u64,
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
            member.is_seen = false;
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
                is_seen: false,
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
            is_quiet: self.is_quiet,
            is_any_unseen: true,
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
        let is_seen = was_linked && known.is_some_and(|it| it.is_seen);
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
            is_seen,
            heard: self.own_words,
        };
        self.is_any_unseen |= !is_seen;
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
        self.incomplete_but_lost(audience) + self.lost_of(audience)
    }

    /// Those of them that Redis has lost.
    pub fn lost_of(&self, audience: Audience) -> u32 {
        match audience {
            Audience::One => 0,
            Audience::All | Audience::Some => self.count(|it| matches!(it, NodeStanding::Lost(_))),
        }
    }

    /// And the others.
    pub fn incomplete_but_lost(&self, audience: Audience) -> u32 {
        if audience == Audience::One {
            return 0;
        }
        let away = self.count(|it| matches!(it, NodeStanding::Awaited(_)));
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

    /// Those that have ended without a word since this was last asked.
    pub fn take_ended(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.ended)
    }

    /// The links of those that are joined, or were and are lost: each has channels.
    pub fn links(&self) -> Vec<u64> {
        let others = self.others.values();
        let looked_at = others.filter(|it| !matches!(it.standing, NodeStanding::Awaited(_)));
        looked_at.map(|member| member.link).collect()
    }

    /// Those of them that are looked at next.
    pub fn next_links(&mut self) -> Vec<u64> {
        let mut links = self.links();
        if links.len() > LOOKED_AT_MAX {
            links.sort_unstable();
            let next = links.partition_point(|link| *link <= self.looked_at);
            links.rotate_left(next);
            links.truncate(LOOKED_AT_MAX);
            self.looked_at = links[LOOKED_AT_MAX - 1];
        }
        links
    }

    /// Those that are new.
    pub fn take_unseen(&mut self) -> Vec<u64> {
        if !std::mem::take(&mut self.is_any_unseen) {
            return Vec::new();
        }
        let others = self.others.values().filter(|it| !it.is_seen);
        let unseen = others.filter(|it| !matches!(it.standing, NodeStanding::Awaited(_)));
        unseen.map(|member| member.link).collect()
    }

    /// Redis has these links.
    pub fn saw(&mut self, links: impl Iterator<Item = u64>) {
        if self.others.values().all(|member| member.is_seen) {
            return;
        }
        let links: AHashSet<u64> = links.collect();
        for member in self.others.values_mut() {
            member.is_seen |= links.contains(&member.link);
        }
    }

    /// Redis has neither this one's connection any more nor its process' life line.
    pub fn ended(&mut self, link: u64, now: Instant) {
        let is_it = |member: &OtherNode| {
            let is_awaited = matches!(member.standing, NodeStanding::Awaited(_));
            member.link == link && member.is_seen && !is_awaited
        };
        let ended = self.others.iter().find(|(_, member)| is_it(member));
        let Some((node, member)) = ended.map(|(node, member)| (*node, member)) else {
            return self.lost(link, now);
        };
        if !self.is_quiet {
            let name = &member.name;
            warn!(node = %name, "cluster: all connections of a node to Redis have ended; its users are offline until it is back");
        }
        self.others.remove(&node);
        self.gone.push(node);
        self.ended.push(node);
    }

    /// Redis does not have this one's connection any more, and its process lives.
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
