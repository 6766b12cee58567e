//! What groups there are, page by page, and who is in one; and one is emptied.
//!
//! Bounds: [`GROUPS_PER_PAGE_MAX`] groups a page, [`MEMBERS_MAX`] members, and those of [`super::gathered`].

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::errors::ApiError;
use super::gathered::NamesPage;
use super::names;
use super::queries::text;
use super::service::Api;
use super::stuck_groups::StuckPlace;
use crate::app::looks::UNGROUPED_AT_ONCE;
use crate::app::query::{Query, QueryResult};
use crate::protocol::cluster::{LookAnswer, NamesOf, NodeLook};
use crate::shard::{GroupCount, MEMBERS_MAX};

/// Groups of a page, and members of a group, unless the request says otherwise.
const GROUPS_PER_PAGE: usize = 1_000;
const MEMBERS: usize = 100;
/// Most groups of one page.
const GROUPS_PER_PAGE_MAX: usize = 10_000;

#[derive(Serialize)]
struct GroupTold {
    group: String,
    connections: usize,
    #[serde(skip_serializing_if = "is_zero")]
    sticky: usize,
    members: Map<String, Value>,
    complete: bool,
}

#[derive(Serialize)]
struct GroupList<'g> {
    groups: Vec<GroupEntry<'g>>,
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

#[derive(Serialize)]
struct GroupEntry<'g> {
    group: &'g str,
    connections: usize,
    /// Uids that are in it with a connection or without.
    #[serde(skip_serializing_if = "is_zero")]
    sticky: usize,
}

#[derive(Serialize)]
struct UngroupedTold {
    connections: u64,
    sticky: u64,
    /// Nodes of the cluster that have not said.
    #[serde(skip_serializing_if = "is_none")]
    nodes_unknown: u32,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Api {
    pub(super) async fn groups(&self, query: &str) -> Result<String, ApiError> {
        let [cursor, limit] = names::fields(query, ["cursor", "limit"])?;
        let limit = names::limit(limit, GROUPS_PER_PAGE, GROUPS_PER_PAGE_MAX)?;
        let (page, stuck) = self.groups_page(cursor, limit).await?;
        let mut complete = page.complete;
        let groups: Arc<[Box<str>]> = page.names.into();
        let mut counts = self.count_groups(&groups).await;
        if !self.add_counts(&groups, &mut counts).await {
            complete = Some(false);
        }
        let entries = groups.iter().zip(&counts);
        // One is wanted somewhere for a member that is still to come; and the nodes have told those of Redis' that have
        // connections.
        let entries = (0..).zip(entries).filter(|(nth, (_, count))| {
            !count.is_empty() && (*nth < stuck || count.connections == 0)
        });
        text(&GroupList {
            groups: entries
                .map(|(_, (group, count))| GroupEntry {
                    group,
                    connections: count.connections,
                    sticky: count.sticky,
                })
                .collect(),
            cursor: page.cursor,
            complete,
        })
    }

    /// Names of groups that nodes have, and from where on they are those that Redis has.
    async fn groups_page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(NamesPage, usize), ApiError> {
        if let Some(place) = cursor.and_then(StuckPlace::of) {
            let mut page = NamesPage {
                names: Vec::new(),
                cursor: None,
                complete: Some(true),
            };
            self.add_stuck_groups(&mut page, place?, limit).await;
            return Ok((page, 0));
        }
        let mut page = self.names_page(NamesOf::Groups, cursor, limit).await?;
        let stuck = page.names.len();
        if page.cursor.is_none() && self.is_in_cluster() {
            let first = StuckPlace::default();
            self.add_stuck_groups(&mut page, first, limit).await;
        }
        Ok((page, stuck))
    }

    /// Empties a group, piece by piece.
    pub(super) async fn ungroup(
        &self,
        group: Result<String, ApiError>,
    ) -> Result<String, ApiError> {
        let group = group?;
        let mut told = UngroupedTold {
            connections: 0,
            sticky: 0,
            nodes_unknown: 0,
        };
        let (mut is_more_here, mut is_more_elsewhere) = (true, self.is_in_cluster());
        while is_more_here || is_more_elsewhere {
            if is_more_here {
                is_more_here = self.ungroup_here(&group, &mut told).await;
            }
            if is_more_elsewhere {
                is_more_elsewhere = self.ungroup_elsewhere(&group, &mut told).await;
            }
        }
        if self.is_in_cluster() {
            // What nodes know of them is of those that have a connection there.
            told.sticky = self.unstick_all(&group).await?;
        }
        text(&told)
    }

    /// A piece of it on this node; whether there is more.
    async fn ungroup_here(&self, group: &str, told: &mut UngroupedTold) -> bool {
        let reach = self.reach;
        let promise = self.host.borrow_mut().tasks().query_all(|| Query::Ungroup {
            reach,
            group: Box::from(group),
            most: UNGROUPED_AT_ONCE,
        });
        let mut is_more = false;
        for result in promise.await {
            if let QueryResult::Ungrouped(done) = result {
                told.connections += u64::from(done.connections);
                told.sticky += u64::from(done.sticky);
                is_more |= done.is_more;
            }
        }
        is_more
    }

    /// A piece of it on each other node; whether there is more, and all have said so.
    async fn ungroup_elsewhere(&self, group: &str, told: &mut UngroupedTold) -> bool {
        let look = NodeLook::Ungroup {
            group: Box::from(group),
            most: UNGROUPED_AT_ONCE as u32,
        };
        let (answers, unknown) = self.look(look, None).await.unwrap_or_default();
        let mut is_any_more = false;
        for answer in answers {
            if let LookAnswer::Ungrouped {
                connections,
                sticky,
                is_more,
            } = answer
            {
                told.connections += u64::from(connections);
                told.sticky += u64::from(sticky);
                is_any_more |= is_more;
            }
        }
        told.nodes_unknown = unknown.nodes();
        is_any_more && !unknown.is_some()
    }

    /// Adds what the other nodes of a cluster have; whether all have said.
    async fn add_counts(&self, groups: &[Box<str>], counts: &mut [GroupCount]) -> bool {
        if groups.is_empty() {
            return true;
        }
        let look = NodeLook::CountGroups(groups.to_vec());
        let Some((answers, unknown)) = self.look(look, None).await else {
            return true;
        };
        for answer in answers {
            if let LookAnswer::Counts(of_node) = answer {
                for (count, (connections, sticky)) in counts.iter_mut().zip(of_node) {
                    count.add(GroupCount {
                        connections: connections as usize,
                        sticky: sticky as usize,
                    });
                }
            }
        }
        self.count_stuck(groups, counts).await && !unknown.is_some()
    }

    /// What each of these groups has on all cores together.
    async fn count_groups(&self, groups: &Arc<[Box<str>]>) -> Vec<GroupCount> {
        let mut counts = vec![GroupCount::default(); groups.len()];
        if groups.is_empty() {
            return counts;
        }
        let reach = self.reach;
        let promise = self
            .host
            .borrow_mut()
            .tasks()
            .query_all(|| Query::CountGroups {
                reach,
                groups: Arc::clone(groups),
            });
        for result in promise.await {
            if let QueryResult::GroupCounts(of_core) = result {
                for (count, more) in counts.iter_mut().zip(of_core) {
                    count.add(more);
                }
            }
        }
        counts
    }

    pub(super) async fn group(&self, name: &str, query: &str) -> Result<String, ApiError> {
        let group = names::group(name)?;
        let [limit] = names::fields(query, ["limit"])?;
        let limit = names::limit(limit, MEMBERS, MEMBERS_MAX)?;
        let reach = self.reach;
        let promise = self.host.borrow_mut().tasks().query_all(|| Query::Group {
            reach,
            group: Box::from(&*group),
            members_max: limit,
        });
        let (mut connections, mut sticky, mut complete) = (0, 0, true);
        let mut members = Map::new();
        for result in promise.await {
            let QueryResult::Group(look) = result else {
                continue;
            };
            connections += look.connections;
            sticky += look.sticky;
            complete &= look.complete && members.len() + look.members.len() <= limit;
            let room = limit - members.len();
            let some = look.members.into_iter().take(room);
            members.extend(some.map(|(uid, count)| (uid.into(), count.into())));
        }
        let look = NodeLook::Group {
            group: Box::from(&*group),
            most: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let (answers, unknown) = self.look(look, None).await.unwrap_or_default();
        complete &= !unknown.is_some();
        for answer in answers {
            if let LookAnswer::Group {
                connections: more,
                sticky: stuck,
                members: theirs,
                complete: are_all,
            } = answer
            {
                connections += more as usize;
                sticky += stuck as usize;
                complete &= are_all & add_members(&mut members, theirs, limit);
            }
        }
        if self.is_in_cluster() {
            let mut counts = [GroupCount::default()];
            complete &= self.count_stuck(&[&group], &mut counts).await;
            sticky = counts[0].sticky;
        }
        text(&GroupTold {
            group,
            connections,
            sticky,
            members,
            complete,
        })
    }
}

/// Adds another node's; whether there was room for all. Who is on both is one.
fn add_members(
    members: &mut Map<String, Value>,
    theirs: Vec<(Box<str>, u32)>,
    limit: usize,
) -> bool {
    let mut fit = true;
    for (uid, count) in theirs {
        let there = members.get(&*uid).and_then(Value::as_u64);
        if there.is_some() || members.len() < limit {
            let count = there.unwrap_or_default() + u64::from(count);
            members.insert(uid.into(), count.into());
        } else {
            fit = false;
        }
    }
    fit
}
