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
use crate::shard::{Cursor, GroupCount};

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
        if let Some(engine) = self.outgoing.engine() {
            let looked = QueryResult::Looked(vec![answer], Unknown::default());
            let part = AnswerPart::Found(Box::new(looked));
            let call = number;
            self.outgoing.post_free(engine, Body::Answer { call, part });
        }
    }
}
