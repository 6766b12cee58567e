//! What groups there are, page by page, and who is in one; and one is emptied.
//!
//! Bounds: [`GROUPS_PER_PAGE_MAX`] groups a page and [`PIECES_PER_PAGE`] questions for it, [`MEMBERS_MAX`] members.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::errors::ApiError;
use super::names;
use super::queries::{bad_cursor, cursor_of, no_answer, place_of, text};
use super::service::Api;
use crate::app::query::{Query, QueryResult};
use crate::ident::CoreId;
use crate::shard::{Cursor, GroupCount, MEMBERS_MAX};

/// Connections, and sticky uids, that leave a group on a core in one go.
const UNGROUPED_AT_ONCE: usize = 4_096;
/// Groups of a page, and members of a group, unless the request says otherwise.
const GROUPS_PER_PAGE: usize = 1_000;
const MEMBERS: usize = 100;
/// Most groups of one page.
const GROUPS_PER_PAGE_MAX: usize = 10_000;
/// Questions for one page of groups: a small server's cores fill one together, a large one's are asked page by page.
const PIECES_PER_PAGE: usize = 16;

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
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Api {
    pub(super) async fn groups(&self, query: &str) -> Result<String, ApiError> {
        let [cursor, limit] = names::fields(query, ["cursor", "limit"])?;
        let limit = names::limit(limit, GROUPS_PER_PAGE, GROUPS_PER_PAGE_MAX)?;
        let (cores, namespaces) = {
            let mut host = self.host.borrow_mut();
            let tasks = host.tasks();
            (tasks.cores(), tasks.namespaces())
        };
        let mut at = match cursor {
            None => Some((CoreId(0), Cursor::default())),
            Some(text) => Some(place_of(text, cores, namespaces).ok_or_else(bad_cursor)?),
        };
        let mut groups = Vec::new();
        for _ in 0..PIECES_PER_PAGE {
            let Some((core, from)) = at.filter(|_| groups.len() < limit) else {
                break;
            };
            let what = Query::Groups {
                reach: self.reach,
                from,
                groups_max: limit - groups.len(),
            };
            let promise = self.host.borrow_mut().tasks().query(core, what);
            let Some(QueryResult::Groups(page)) = promise.await.pop() else {
                return Err(no_answer());
            };
            groups.extend(page.groups);
            let later = CoreId(core.0 + 1);
            at = match page.next {
                Some(next) => Some((core, next)),
                None => (later.index() < cores).then_some((later, Cursor::default())),
            };
        }
        let groups: Arc<[Box<str>]> = groups.into();
        let counts = self.count_groups(&groups).await;
        let entries = groups.iter().zip(&counts);
        // One is wanted somewhere for a member that is still to come.
        let entries = entries.filter(|(_, count)| !count.is_empty());
        text(&GroupList {
            groups: entries
                .map(|(group, count)| GroupEntry {
                    group,
                    connections: count.connections,
                    sticky: count.sticky,
                })
                .collect(),
            cursor: at.map(|(core, from)| cursor_of(core, from)),
            complete: self.is_of_all_nodes(),
        })
    }

    /// Empties a group, piece by piece.
    pub(super) async fn ungroup(
        &self,
        group: Result<String, ApiError>,
    ) -> Result<String, ApiError> {
        let (group, reach) = (group?, self.reach);
        if self.is_in_cluster() {
            let words = "a group is emptied on one node alone, and that does not work across nodes of a cluster yet";
            return Err(ApiError::new(501, "not_in_cluster", words));
        }
        let mut told = UngroupedTold {
            connections: 0,
            sticky: 0,
        };
        loop {
            let promise = self.host.borrow_mut().tasks().query_all(|| Query::Ungroup {
                reach,
                group: Box::from(&*group),
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
            if !is_more {
                return text(&told);
            }
        }
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
        let (mut connections, mut sticky, mut complete) = (0, 0, !self.is_in_cluster());
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
        text(&GroupTold {
            group,
            connections,
            sticky,
            members,
            complete,
        })
    }
}
