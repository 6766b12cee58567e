//! What only tells: who is connected, and the counters; [`super::groups`] tells of groups.
//!
//! Bounds: those of `shard/listing.rs`, and of [`super::gathered`].

use std::fmt::Write;

use serde::Serialize;

use super::connection_told::{ConnectionTold, connection_told};
use super::errors::ApiError;
use super::names;
use super::service::Api;
use crate::app::Answer;
use crate::app::query::{Query, QueryResult};
use crate::ident::CoreId;
use crate::protocol::cluster::{LookAnswer, NamesOf, NodeLook};
use crate::protocol::connection_facts::ConnectionFacts;
use crate::shard::{CONNECTIONS_LISTED_MAX, Cursor, UIDS_PER_PAGE_MAX};

/// Uids of a page, unless the request says otherwise.
const UIDS_PER_PAGE: usize = 1_000;

#[derive(Serialize)]
struct UidTold<'l> {
    uid: String,
    connections: usize,
    list: Vec<ConnectionTold<'l>>,
    /// Groups that it is in with a connection or without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sticky: Vec<Box<str>>,
    /// In a cluster: whether all of its connections are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

#[derive(Serialize)]
struct UidList {
    uids: Vec<Box<str>>,
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

impl Api {
    pub(super) async fn uid(&self, name: &str) -> Result<String, ApiError> {
        let uid = names::uid(name)?;
        let promise = {
            let mut host = self.host.borrow_mut();
            let mut tasks = host.tasks();
            let home = tasks.home(&uid);
            let (reach, uid) = (self.reach, Box::from(&*uid));
            tasks.query(home, Query::Uid { reach, uid })
        };
        let look = NodeLook::ConnectionsOfUid {
            uid: Box::from(&*uid),
            most: CONNECTIONS_LISTED_MAX as u32,
        };
        let elsewhere = self.look(look, None).await;
        let Some(QueryResult::Uid(look)) = promise.await.pop() else {
            return Err(no_answer());
        };
        let listed = look.listed.into_iter();
        let mut list: Vec<ConnectionFacts> =
            listed.map(|info| self.facts.connection(info)).collect();
        let mut connections = look.connections;
        let mut complete = elsewhere.map(|(answers, unknown)| {
            for answer in answers {
                if let LookAnswer::Connections(told) = answer {
                    connections += told.count as usize;
                    let room = CONNECTIONS_LISTED_MAX - list.len();
                    list.extend(told.list.into_iter().take(room));
                }
            }
            list.len() >= connections && !unknown.is_some()
        });
        let mut sticky = look.sticky;
        if let Some(complete) = &mut complete {
            match self.stuck_groups(&uid).await {
                Some(groups) => sticky = groups,
                None => *complete = false,
            }
        }
        let listed = list.iter();
        let list = listed.map(|one| connection_told(one, false)).collect();
        text(&UidTold {
            uid,
            connections,
            list,
            sticky,
            complete,
        })
    }

    /// Whether this node is one of a cluster.
    pub(super) fn is_in_cluster(&self) -> bool {
        self.host.borrow_mut().tasks().is_in_cluster()
    }

    pub(super) async fn uids(&self, query: &str) -> Result<String, ApiError> {
        let [cursor, limit] = names::fields(query, ["cursor", "limit"])?;
        let limit = names::limit(limit, UIDS_PER_PAGE, UIDS_PER_PAGE_MAX)?;
        let page = self.names_page(NamesOf::Uids, cursor, limit).await?;
        text(&UidList {
            uids: page.names,
            cursor: page.cursor,
            complete: page.complete,
        })
    }

    pub(super) async fn stats(&self) -> Result<String, ApiError> {
        let promise = self.host.borrow_mut().tasks().stats();
        match promise.await {
            Answer::Stats(stats) => text(&*stats),
            _ => Err(no_answer()),
        }
    }
}

pub(super) fn text(answer: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(answer).map_err(|_| no_answer())
}

pub(super) fn cursor_of(core: CoreId, from: Cursor) -> String {
    let Cursor {
        namespace,
        place,
        until,
    } = from;
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write!(text, "{:x}.{namespace:x}.{place:x}.{until:x}", core.0);
    text
}

/// The inverse; `None` if it is no cursor of a server with so many cores and namespaces.
pub(super) fn place_of(text: &str, cores: usize, namespaces: u32) -> Option<(CoreId, Cursor)> {
    let mut numbers = text
        .splitn(4, '.')
        .map(|part| u64::from_str_radix(part, 16));
    let mut next = || numbers.next()?.ok();
    let (core, namespace, place, until) = (next()?, next()?, next()?, next()?);
    let core = CoreId(u16::try_from(core).ok()?);
    let namespace = u32::try_from(namespace).ok()?;
    let known = core.index() < cores && namespace < namespaces;
    let from = Cursor {
        namespace,
        place: u32::try_from(place).ok()?,
        until: u32::try_from(until).ok()?,
    };
    known.then_some((core, from))
}

pub(super) fn bad_cursor() -> ApiError {
    ApiError::new(
        400,
        "bad_cursor",
        "this is no cursor of a page that was asked for here",
    )
}

pub(super) fn no_answer() -> ApiError {
    ApiError::new(500, "internal", "a core has no answer to this")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_written_and_nothing_else_is() {
        let from = Cursor {
            namespace: 3,
            place: 70_000,
            until: u32::MAX,
        };
        let text = cursor_of(CoreId(9), from);
        assert_eq!(place_of(&text, 10, 4), Some((CoreId(9), from)));
        assert_eq!(place_of(&text, 9, 4), None);
        assert_eq!(place_of(&text, 10, 3), None);
        for bad in [
            "",
            "0",
            "0.0.0",
            "0.0.0.",
            "0.0.0.0.0",
            "0.100000000.0.0",
            "x.0.0.0",
            "-1.0.0.0",
            "0.0.0.100000000",
        ] {
            assert_eq!(place_of(bad, 10, u32::MAX), None, "{bad}");
        }
    }
}
