//! How a [`Party`] comes to know what has become of what it has asked of other nodes, and tells its cores.

use std::time::Instant;

use tracing::warn;

use super::asked::{Asked, abroad_of};
use super::members::Audience;
use super::party::{Party, RedisAnswer, RedisCommand, answer, tell_looked};
use crate::app::envelope::{AnswerPart, Body};
use crate::app::outcome::{Abroad, Unknown};
use crate::app::query::{ClusterLook, QueryResult};
use crate::bus::{Endpoint, Until};
use crate::ident::CoreId;
use crate::net::http::ClusterFigures;
use crate::protocol::cluster::{NodeAnswer, NodeFacts, NodeId, NodeLook, NodeOrder};

impl Party {
    /// What is asked now.
    pub(super) fn asked_now(
        &self,
        core: CoreId,
        call: u64,
        order: &NodeOrder,
        (channel, node): (&str, Option<NodeId>),
    ) -> Asked {
        let audience = match order.is_for_all() {
            _ if node.is_some() => Audience::One,
            true => Audience::All,
            false => Audience::Some,
        };
        Asked {
            core,
            call,
            audience,
            node,
            is_here: self.interests.is_wanted(channel),
            is_counted: matches!(
                order,
                NodeOrder::PushToGroup { .. }
                    | NodeOrder::Look(NodeLook::Group { .. } | NodeLook::ConnectionsOfUid { .. })
                    | NodeOrder::Roster { .. }
            ),
            nodes: None,
            answered: 0,
            asides: 0,
            abroad: Abroad::default(),
            incomplete: self.members.incomplete_but_lost(audience),
            lost: self.members.lost_of(audience),
            departures: self.members.departures(),
            is_unsure: false,
            nodes_told: matches!(order, NodeOrder::Describe).then(Vec::new),
            looked: matches!(order, NodeOrder::Look(_)).then(Vec::new),
        }
    }

    /// What is asked for a core, and published later, in this channel. Its number.
    pub(super) fn ask_later(&mut self, core: CoreId, call: u64, now: Instant) -> u64 {
        self.last_number += 1;
        let asked = Asked {
            core,
            call,
            audience: Audience::Some,
            node: None,
            // That it has it itself is no answer.
            is_here: false,
            is_counted: false,
            nodes: None,
            answered: 0,
            asides: 0,
            abroad: Abroad::default(),
            incomplete: 0,
            lost: 0,
            departures: 0,
            is_unsure: false,
            nodes_told: None,
            looked: None,
        };
        self.asked.insert(self.last_number, asked);
        self.deadlines
            .push_back((now + self.answer_timeout, self.last_number));
        self.last_number
    }

    /// It is published now.
    pub(super) fn asked_only_now(&mut self, number: u64) {
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.incomplete = self.members.incomplete_but_lost(asked.audience);
            asked.lost = self.members.lost_of(asked.audience);
            asked.departures = self.members.departures();
        }
    }

    /// Redis has done a batch.
    pub fn done(
        &mut self,
        bus: &mut Endpoint<Body>,
        batch: &[RedisCommand],
        results: Vec<RedisAnswer>,
        now: Instant,
    ) {
        for (command, result) in batch.iter().zip(results) {
            match (command, result) {
                (RedisCommand::Publish { number, .. }, RedisAnswer::Published(nodes)) => {
                    let Some(number) = *number else {
                        continue;
                    };
                    if number == Party::HELLO {
                        self.members.expect(nodes.saturating_sub(1), now);
                    }
                    if let Some(asked) = self.asked.get_mut(&number) {
                        asked.nodes = Some(nodes);
                    }
                    self.end_if_answered(bus, number);
                }
                (RedisCommand::Look { links, numbers, .. }, RedisAnswer::Looked(counts)) => {
                    self.looked(bus, (links, numbers), &counts, now);
                }
                (RedisCommand::Run { what, .. }, RedisAnswer::Ran(value)) => {
                    self.ran(bus, what, &value, now);
                }
                (_, RedisAnswer::Refused(error)) => {
                    if let Some(unsaid) = self.strange.may_log(now) {
                        warn!(unsaid, "cluster: Redis refuses: {error}");
                    }
                    self.undone(bus, command, Unknown::refused(), now);
                }
                _ => {}
            }
        }
    }

    /// Nobody knows what has become of a batch.
    pub fn lost(&mut self, bus: &mut Endpoint<Body>, batch: &[RedisCommand], now: Instant) {
        for command in batch {
            self.undone(bus, command, Unknown::away(), now);
        }
    }

    fn undone(
        &mut self,
        bus: &mut Endpoint<Body>,
        command: &RedisCommand,
        why: Unknown,
        now: Instant,
    ) {
        match command {
            RedisCommand::Publish { number, .. } => {
                if let Some(number) = *number {
                    self.end(bus, number, why);
                }
            }
            RedisCommand::Look { numbers, .. } => {
                for number in numbers {
                    self.end(bus, *number, why);
                }
            }
            RedisCommand::Fence(_) => {}
            RedisCommand::Run { what, .. } => self.ran_not(bus, what, why, now),
        }
    }

    /// The connection is gone, and with it what waits for a look.
    pub fn lose_unsure(&mut self, bus: &mut Endpoint<Body>) {
        for number in std::mem::take(&mut self.unsure) {
            self.end(bus, number, Unknown::away());
        }
    }

    /// Has Redis look whether the others were subscribed all the while.
    pub(super) fn look_for_unsure(&mut self) {
        let looks = std::mem::take(&mut self.keeper.claims.looks);
        if looks || !self.unsure.is_empty() {
            self.look();
        }
    }

    /// Has Redis look at the others' connections.
    pub(super) fn look(&mut self) {
        let numbers = std::mem::take(&mut self.unsure);
        self.look_at(self.members.links(), numbers);
    }

    /// Has Redis look whether these links are there.
    pub(super) fn look_at(&mut self, links: Vec<u64>, numbers: Vec<u64>) {
        let channels = links.iter().map(|link| self.channel_of_link(*link));
        let channels = channels.collect();
        self.commands.push(RedisCommand::Look {
            links,
            channels,
            numbers,
        });
    }

    /// These links have ended: has Redis look whether their processes live.
    fn look_for_lives(&mut self, links: Vec<u64>, numbers: Vec<u64>) {
        let channels = links.iter().map(|link| self.channel_of_link(*link));
        let lives = links.iter().map(|link| self.channel_of_life(*link));
        let channels = channels.chain(lives).chain([self.channel_of_own_link()]);
        let channels = channels.collect();
        self.commands.push(RedisCommand::Look {
            links,
            channels,
            numbers,
        });
    }

    /// So many have each of the channels by which the others are known: their links', or also their life lines'.
    fn looked(
        &mut self,
        bus: &mut Endpoint<Body>,
        (links, numbers): (&[u64], &[u64]),
        counts: &[u32],
        now: Instant,
    ) {
        let is_there = |nth: usize| counts.get(nth).is_some_and(|count| *count > 0);
        if counts.len() <= links.len() {
            let there = links.iter().enumerate();
            let there = there.filter(|(nth, _)| is_there(*nth));
            self.members.saw(there.map(|(_, link)| *link));
            let gone = links.iter().enumerate();
            let gone = gone.filter(|(nth, _)| !is_there(*nth));
            let gone: Vec<u64> = gone.map(|(_, link)| *link).collect();
            if !gone.is_empty() {
                return self.look_for_lives(gone, numbers.to_vec());
            }
        }
        // Where this node's own is not there either, something has befallen all.
        let is_own_there = is_there(2 * links.len());
        for (nth, link) in links.iter().enumerate().filter(|(nth, _)| !is_there(*nth)) {
            match is_there(links.len() + nth) || !is_own_there {
                true => self.members.lost(*link, now),
                false => self.members.ended(*link, now),
            }
        }
        self.tell_gone(bus);
        for number in numbers {
            if let Some(asked) = self.asked.get(number) {
                let silent = self.silent_after_look(asked);
                self.end(bus, *number, Unknown::nodes_silent(silent));
            }
        }
    }

    /// Who has not said now that it is known who is there.
    fn silent_after_look(&self, asked: &Asked) -> u32 {
        let members = &self.members;
        match asked.audience {
            // It was reached, whoever has gone since.
            Audience::Some if !asked.needs_look() => members.lost_of(asked.audience),
            Audience::Some if asked.departures == members.departures() => {
                members.lost_of(asked.audience)
            }
            Audience::Some => members.incomplete(asked.audience).max(1),
            Audience::All | Audience::One => {
                self.silent_now(asked, members.lost_of(asked.audience))
            }
        }
    }

    /// Who has not said of those that are known, with these that Redis has lost.
    fn silent_now(&self, asked: &Asked, lost: u32) -> u32 {
        let nodes = asked.nodes.unwrap_or_default().saturating_sub(asked.asides);
        match asked.audience {
            Audience::Some => asked.incomplete + lost,
            // Who is joined has it, or is not any more.
            Audience::All => {
                let others = self.members.known_here() + 1;
                (asked.incomplete + lost).max(others.saturating_sub(nodes))
            }
            Audience::One => {
                let may_be = asked.node.is_some_and(|node| self.members.may_be(node));
                u32::from(nodes == 0 && may_be)
            }
        }
    }

    /// Whether a look says more than is known without: that nobody was lost meanwhile, or that who was has ended.
    fn needs_look(&self, asked: &Asked) -> bool {
        if asked.incomplete > 0 || self.members.links().is_empty() {
            return false;
        }
        match asked.audience {
            Audience::Some => asked.needs_look() || asked.lost > 0,
            Audience::All | Audience::One => self.silent_now(asked, asked.lost) > 0,
        }
    }

    /// A node has done what was asked of it.
    pub(super) fn answered(&mut self, bus: &mut Endpoint<Body>, number: u64, answer: NodeAnswer) {
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.answered += 1;
            asked.asides += u32::from(answer == NodeAnswer::Aside);
            if let (NodeAnswer::Described(facts), Some(told)) = (&answer, &mut asked.nodes_told) {
                told.push(facts.clone());
            }
            if let (NodeAnswer::Look(look), Some(looked)) = (&answer, &mut asked.looked) {
                looked.push(look.clone());
            }
            asked.abroad.add(abroad_of(&answer));
            self.end_if_answered(bus, number);
        } else {
            self.answered_kept(bus, number, &answer);
        }
    }

    fn end_if_answered(&mut self, bus: &mut Endpoint<Body>, number: u64) {
        let asked = self.asked.get(&number);
        let Some(asked) = asked.filter(|it| it.nodes.is_some_and(|nodes| it.answered >= nodes))
        else {
            return;
        };
        if !self.needs_look(asked) {
            let silent = self.silent_now(asked, asked.lost);
            return self.end(bus, number, Unknown::nodes_silent(silent));
        }
        if let Some(asked) = self.asked.get_mut(&number)
            && !asked.is_unsure
        {
            asked.is_unsure = true;
            self.unsure.push(number);
        }
    }

    /// Tells who asked; these have not said.
    pub(super) fn end(&mut self, bus: &mut Endpoint<Body>, number: u64, silent: Unknown) {
        if let Some(mut asked) = self.asked.remove(&number) {
            asked.abroad.unknown.add(silent);
            self.hold_answered(number, &asked.abroad);
            let is_unknown = u64::from(asked.abroad.unknown.is_some());
            ClusterFigures::add(&self.own.figures.unknown, is_unknown);
            if let Some(answers) = asked.looked {
                let unknown = asked.abroad.unknown;
                return tell_looked(bus, (asked.core, asked.call), answers, unknown);
            }
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

    pub(super) fn tell_nodes(
        &self,
        bus: &mut Endpoint<Body>,
        (core, call): (CoreId, u64),
        nodes: Vec<NodeFacts>,
        unknown: Unknown,
    ) {
        let look = ClusterLook {
            own: self.node,
            nodes,
            unknown,
            redis: self.own.all_redis(),
        };
        let part = AnswerPart::Found(Box::new(QueryResult::Nodes(look)));
        bus.post(core, None, Until::Taken, Body::Answer { call, part });
    }

    /// Ends what has waited for too long.
    pub fn expire(&mut self, bus: &mut Endpoint<Body>, now: Instant) {
        self.expire_kept(bus, now);
        while let Some((at, number)) = self.deadlines.front().copied() {
            let silent = match self.asked.get(&number) {
                None => Unknown::default(),
                Some(_) if at > now => return,
                Some(asked) => match asked.nodes {
                    Some(nodes) => {
                        let incomplete = asked.incomplete + asked.lost;
                        let silent = nodes.saturating_sub(asked.answered) + incomplete;
                        Unknown::nodes_silent(silent.max(u32::from(asked.is_unsure)))
                    }
                    None => Unknown::away(),
                },
            };
            self.deadlines.pop_front();
            self.end(bus, number, silent);
        }
    }
}
