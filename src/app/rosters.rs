//! What the homes of a group on the nodes of a cluster tell each other of who is in it ([`GroupRoster`]), by the engine.
//!
//! Who begins asks all others, and its members are told, and have lists, when these have answered, or a second later. From
//! then on each tells what changes of its own members. Whoever sees that something is missing asks again, and so do all
//! when Redis has been away; while it is, everybody stays who was there.

use std::time::Duration;

use super::abroad::{RosterNews, RosterOrder, ToEngine};
use super::envelope::AnswerPart;
use super::local::Local;
use super::outcome::{Abroad, Unknown};
use super::pending::{Caller, RosterCaller};
use super::presence::{MembersAsked, NodesWake, PresenceWake};
use super::roster::{GroupRoster, Seating};
use crate::ident::{CoreId, NamespaceId};
use crate::protocol::cluster::NodeId;
use crate::protocol::cluster_roster::{RosterState, RosterWords};
use crate::protocol::partitions::Partition;

/// For so long whoever is in a group is told nothing while other nodes have not told whom they have.
const OPENS_WITHIN: Duration = Duration::from_secs(1);

impl Local {
    fn with_roster<R>(
        &mut self,
        namespace: NamespaceId,
        group: &str,
        does: impl FnOnce(&mut GroupRoster, &mut Seating<'_>) -> R,
    ) -> Option<R> {
        let rules = (&self.shard.groups.rules, self.now);
        self.homes.with_roster((namespace, group), rules, does)
    }

    fn say_of_group(
        &mut self,
        namespace: NamespaceId,
        group: &str,
        about: RosterWords,
        (node, call): (Option<NodeId>, Option<u64>),
    ) {
        self.tell_engine(ToEngine::Roster(RosterOrder {
            namespace,
            group: Box::from(group),
            about,
            node,
            call,
        }));
    }

    /// A group has members here: where they are told of each other, those of other nodes are to be known.
    pub(super) fn begin_roster(&mut self, namespace: NamespaceId, group: &str) {
        let rules = &self.shard.groups.rules;
        if rules.presence_of(namespace, group).is_none() || self.homes.has_roster(namespace, group)
        {
            return;
        }
        let life = fastrand::u64(1..);
        if self.homes.begin_roster(namespace, group, life) {
            self.with_roster(namespace, group, |roster, seating| {
                let opens = seating.now + OPENS_WITHIN;
                seating
                    .wakes
                    .push((opens, PresenceWake::Nodes(NodesWake::Open)));
                seating
                    .wakes
                    .extend(roster.compare_after(true, seating.now));
            });
            self.ask_all_nodes(namespace, group);
        }
    }

    /// Nobody is in the group here any more.
    pub(super) fn end_roster(
        &mut self,
        namespace: NamespaceId,
        group: &str,
        mut roster: GroupRoster,
    ) {
        for (core, call, _) in roster.open() {
            let part = AnswerPart::Members(Box::default());
            self.answer_part(Some((core, call)), part);
        }
        if roster.state().serial > 0 {
            self.say_of_group(namespace, group, RosterWords::Ended, (None, None));
        }
        self.tell_watchers(namespace, group);
    }

    /// Tells the others what has changed; how far it is told then.
    fn tell_nodes(&mut self, namespace: NamespaceId, group: &str) -> RosterState {
        let told = self.with_roster(namespace, group, |roster, seating| {
            let words = roster.tell(seating.presence, seating.now);
            if !words.is_empty() {
                seating
                    .wakes
                    .extend(roster.compare_after(true, seating.now));
            }
            (words, roster.state())
        });
        let (words, state) = told.unwrap_or_default();
        for about in words {
            self.say_of_group(namespace, group, about, (None, None));
        }
        state
    }

    fn ask_all_nodes(&mut self, namespace: NamespaceId, group: &str) {
        let call = self.ask_roster(namespace, group, None);
        self.with_roster(namespace, group, |roster, _| roster.ask(call));
    }

    /// Asks one node, or all.
    fn ask_roster(&mut self, namespace: NamespaceId, group: &str, node: Option<NodeId>) -> u64 {
        let state = self.tell_nodes(namespace, group);
        let caller = RosterCaller {
            namespace,
            group: Box::from(group),
            node,
        };
        let caller = Caller::Roster(Box::new(caller));
        let call = self.pending.open(caller, 1, None, false);
        let about = RosterWords::Ask(state);
        self.say_of_group(namespace, group, about, (node, Some(call)));
        call
    }

    /// Those that were asked have answered, or have not in time.
    pub(super) fn roster_asked(&mut self, call: u64, of: &RosterCaller, unknown: Unknown) {
        let (namespace, group) = (of.namespace, &*of.group);
        if let Some(node) = of.node {
            self.with_roster(namespace, group, |roster, _| roster.list_failed(node));
            return;
        }
        let is_latest = self.with_roster(namespace, group, |roster, seating| {
            let is_latest = roster.asked(call, !unknown.is_some(), seating);
            // When Redis is back all are asked in any case.
            if is_latest && unknown.is_some() && !unknown.is_away() {
                seating.wakes.push(roster.ask_again(seating.now));
            }
            is_latest
        });
        if is_latest == Some(true) {
            self.open_roster(namespace, group);
            if !unknown.is_some() {
                self.tell_watchers(namespace, group);
            }
        }
    }

    fn open_roster(&mut self, namespace: NamespaceId, group: &str) {
        let rules = (&self.shard.groups.rules, self.now);
        let Some((told, waiting)) = self.homes.open((namespace, group), rules) else {
            return;
        };
        self.tell_members_here(&told);
        // Where not all have told whom they have, an app is not told that nobody is there.
        let is_watched = self.shard.groups.rules.is_watched(namespace, group);
        if is_watched && !self.homes.elsewhere(namespace, group).is_empty() {
            self.tell_watchers(namespace, group);
        }
        for (core, call, ask) in waiting {
            let part = self.find_members(&ask);
            self.answer_part(Some((core, call)), part);
        }
    }

    /// Who asks for members waits while other nodes have not told theirs; gives it back if that is not so.
    pub(super) fn wait_for_nodes(
        &mut self,
        (core, call): (CoreId, u64),
        ask: Box<MembersAsked>,
    ) -> Option<Box<MembersAsked>> {
        // One that has come without a name, after a rule that is new, begins it.
        if self.homes.has(ask.namespace, &ask.group) {
            self.begin_roster(ask.namespace, &ask.group);
        }
        let (namespace, group) = (ask.namespace, ask.group.clone());
        let mut ask = Some(ask);
        self.with_roster(namespace, &group, |roster, _| {
            if roster.is_opening()
                && let Some(ask) = ask.take()
            {
                roster.wait((core, call, ask));
            }
        });
        ask
    }

    /// Something is due.
    pub(super) fn roster_due(&mut self, namespace: NamespaceId, group: &str, wake: &NodesWake) {
        match *wake {
            NodesWake::Tell => {
                self.tell_nodes(namespace, group);
            }
            NodesWake::Open => self.open_roster(namespace, group),
            NodesWake::Others => {
                let is_opening = self.with_roster(namespace, group, |roster, seating| {
                    roster.others_told(seating.now);
                    roster.is_opening()
                });
                if is_opening == Some(false) {
                    self.tell_watchers(namespace, group);
                }
            }
            NodesWake::Stale(number) => {
                self.with_roster(namespace, group, |roster, seating| {
                    roster.clear_stale(number, seating);
                });
            }
            NodesWake::Compare(number) => {
                let due = self.with_roster(namespace, group, |roster, seating| {
                    let next = roster.compared(number, seating.now)?;
                    seating.wakes.push(next);
                    Some(roster.is_whole() || roster.is_asking())
                });
                match due.flatten() {
                    Some(true) => {
                        let state = self.tell_nodes(namespace, group);
                        let about = RosterWords::Check(state);
                        self.say_of_group(namespace, group, about, (None, None));
                    }
                    Some(false) => self.ask_all_nodes(namespace, group),
                    None => {}
                }
            }
        }
    }

    /// Redis is there, or it is not.
    pub(super) fn rosters_joined(&mut self, partition: Partition, is_joined: bool) {
        for (namespace, group) in self.homes.with_rosters(partition) {
            self.with_roster(namespace, &group, |roster, _| roster.be_partial());
            if is_joined {
                self.ask_all_nodes(namespace, &group);
            }
        }
    }

    /// The engine has something of other nodes.
    pub(super) fn take_roster_news(&mut self, news: RosterNews) {
        match news {
            RosterNews::Gone(node, partition) => {
                for (namespace, group) in self.homes.with_rosters(partition) {
                    self.with_roster(namespace, &group, |roster, seating| {
                        roster.forget(node, seating);
                    });
                }
            }
            RosterNews::Said {
                from,
                namespace,
                group,
                about,
                number,
            } => {
                if let RosterWords::Ask(_) = about {
                    self.list_for_node(namespace, &group, from);
                }
                let is_missing =
                    self.with_roster(namespace, &group, |roster, seating| match about {
                        RosterWords::Ask(state) | RosterWords::Check(state) => {
                            !roster.compare(from, &state, seating)
                        }
                        RosterWords::Told {
                            life,
                            serial,
                            members,
                        } => roster.take_told(from, (life, serial), members, seating),
                        RosterWords::List {
                            life,
                            serial,
                            first,
                            last,
                            members,
                        } => {
                            let state = RosterState {
                                life,
                                serial,
                                ..RosterState::default()
                            };
                            roster.take_list(from, state, (first, last), members, seating)
                        }
                        RosterWords::Ended => {
                            roster.forget(from, seating);
                            false
                        }
                    });
                if is_missing == Some(true) {
                    self.ask_roster(namespace, &group, Some(from));
                }
                if number != 0 {
                    self.answer_node(number, Abroad::default());
                }
            }
        }
    }

    fn list_for_node(&mut self, namespace: NamespaceId, group: &str, node: NodeId) {
        self.tell_nodes(namespace, group);
        let list = self.with_roster(namespace, group, |roster, seating| {
            roster.list(seating.presence)
        });
        for about in list.unwrap_or_default() {
            self.say_of_group(namespace, group, about, (Some(node), None));
        }
    }
}
