//! Whom the nodes of a cluster have, as one of them lists it: asked here, told for another.

use std::sync::Arc;

use super::abroad::ToEngine;
use super::envelope::{AnswerPart, Body};
use super::local::Local;
use super::outcome::{Abroad, Unknown};
use super::pending::Caller;
use super::query::{Query, QueryResult};
use crate::ident::{CoreId, Reach};
use crate::protocol::cluster::{LookAnswer, NamesOf, NodeId, NodeLook, PagePlace};
use crate::protocol::connection_facts::ConnectionsAsked;
use crate::shard::{CONNECTIONS_PER_PAGE_MAX, ConnectionQuery, Cursor, GroupCount};

/// Connections, and sticky uids, that leave a group on a core in one go.
pub const UNGROUPED_AT_ONCE: usize = 4_096;

impl Local {
    /// Asks one node of the cluster, or all others, whom they have.
    pub(super) fn ask_for_look(
        &mut self,
        caller: Caller,
        reach: Reach,
        look: NodeLook,
        node: Option<NodeId>,
    ) {
        let call = self.pending.open(caller, 1, None, false);
        self.tell_engine(ToEngine::Look {
            reach,
            look,
            node,
            call,
        });
    }

    /// Another node asks.
    pub(super) fn look_for_node(&mut self, reach: Reach, number: u64, look: NodeLook) {
        let caller = Caller::Node(number);
        match look {
            NodeLook::Connections(asked) => self.look_at_connections(caller, reach, number, asked),
            NodeLook::ConnectionsOfUid { uid, .. } => {
                let home = self.outgoing.home(&uid);
                self.query(caller, home, Query::Uid { reach, uid });
            }
            NodeLook::Connection { name, order } => {
                self.order(reach, caller, name, order.into(), 0);
            }
            NodeLook::Ungroup { group, most } => self.query_each(caller, || Query::Ungroup {
                reach,
                group: group.clone(),
                most: (most as usize).min(UNGROUPED_AT_ONCE),
            }),
            NodeLook::Group { group, most } => self.query_each(caller, || Query::Group {
                reach,
                group: group.clone(),
                members_max: most as usize,
            }),
            NodeLook::CountGroups(groups) => {
                let groups: Arc<[Box<str>]> = groups.into();
                self.query_each(caller, || Query::CountGroups {
                    reach,
                    groups: Arc::clone(&groups),
                });
            }
            NodeLook::Page {
                of,
                core,
                from,
                most,
            } => {
                let PagePlace {
                    namespace,
                    place,
                    until,
                } = from;
                let is_known = usize::from(core) < self.outgoing.cores()
                    && namespace < self.namespaces.count();
                if !is_known {
                    return self.answer_node(number, Abroad::default());
                }
                let from = Cursor {
                    namespace,
                    place,
                    until,
                };
                let most = most as usize;
                let what = match of {
                    NamesOf::Uids => Query::Uids {
                        reach,
                        from,
                        uids_max: most,
                    },
                    NamesOf::Groups => Query::Groups {
                        reach,
                        from,
                        groups_max: most,
                    },
                };
                self.query(caller, CoreId(core), what);
            }
        }
    }

    fn look_at_connections(
        &mut self,
        caller: Caller,
        reach: Reach,
        number: u64,
        asked: ConnectionsAsked,
    ) {
        let core = match &asked.uid {
            Some(uid) => self.outgoing.home(uid),
            None => CoreId(asked.core),
        };
        if core.index() >= self.outgoing.cores() {
            return self.answer_node(number, Abroad::default());
        }
        let what = ConnectionQuery {
            reach,
            uid: asked.uid,
            listeners: asked.listeners,
            unbound: asked.unbound,
            by_bytes: asked.by_bytes,
            from: asked.from,
            most: (asked.most as usize).min(CONNECTIONS_PER_PAGE_MAX),
        };
        self.query(caller, core, Query::Connections(Box::new(what)));
    }

    fn query_each(&mut self, caller: Caller, what: impl Fn() -> Query) {
        let cores = self.outgoing.cores();
        let call = self.pending.open(caller, cores, None, false);
        let own = self.core();
        for core in self.other_cores().chain([own]) {
            self.query_as(call, core, what());
        }
    }

    /// What the cores have found of that; `None` if it was something else.
    pub(super) fn look_answer(&self, found: &[QueryResult]) -> Option<LookAnswer> {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match found.first()? {
            QueryResult::Group(_) => {
                let (mut connections, mut sticky, mut complete) = (0, 0, true);
                let mut members = Vec::new();
                for result in found {
                    if let QueryResult::Group(look) = result {
                        connections += look.connections;
                        sticky += look.sticky;
                        complete &= look.complete;
                        members.extend(look.members.iter().cloned());
                    }
                }
                Some(LookAnswer::Group {
                    connections: narrow(connections),
                    sticky: narrow(sticky),
                    members,
                    complete,
                })
            }
            QueryResult::GroupCounts(first) => {
                let mut counts = vec![GroupCount::default(); first.len()];
                for result in found {
                    if let QueryResult::GroupCounts(of_core) = result {
                        for (count, more) in counts.iter_mut().zip(of_core) {
                            count.add(*more);
                        }
                    }
                }
                let counts = counts.into_iter();
                let counts = counts.map(|it| (narrow(it.connections), narrow(it.sticky)));
                Some(LookAnswer::Counts(counts.collect()))
            }
            QueryResult::Ungrouped(_) => {
                let (mut connections, mut sticky, mut is_more) = (0, 0, false);
                for result in found {
                    if let QueryResult::Ungrouped(done) = result {
                        connections += done.connections;
                        sticky += done.sticky;
                        is_more |= done.is_more;
                    }
                }
                Some(LookAnswer::Ungrouped {
                    connections,
                    sticky,
                    is_more,
                })
            }
            QueryResult::Uids(page) => Some(self.page(&page.uids, page.next)),
            QueryResult::Groups(page) => Some(self.page(&page.groups, page.next)),
            _ => None,
        }
    }

    fn page(&self, names: &[Box<str>], next: Option<Cursor>) -> LookAnswer {
        let next = next.map(|at| PagePlace {
            namespace: at.namespace,
            place: at.place,
            until: at.until,
        });
        LookAnswer::Page {
            names: names.to_vec(),
            next,
            cores: u16::try_from(self.outgoing.cores()).unwrap_or(u16::MAX),
        }
    }

    /// Gives the engine what another node wants to know.
    pub(super) fn tell_looked(&mut self, number: u64, answer: LookAnswer) {
        let looked = QueryResult::Looked(vec![answer], Unknown::default());
        self.tell_found_by_node(number, looked);
    }

    /// Gives it that as it was found: by what other nodes know it, it says itself.
    pub(super) fn tell_found_by_node(&mut self, number: u64, found: QueryResult) {
        if let Some(engine) = self.outgoing.engine() {
            let part = AnswerPart::Found(Box::new(found));
            let call = number;
            self.outgoing.post_free(engine, Body::Answer { call, part });
        }
    }
}
