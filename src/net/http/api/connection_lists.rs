//! Lists of connections, those of all nodes of a cluster: page by page, node by node, and there core by core.
//!
//! Bounds: [`CONNECTIONS_PER_PAGE_MAX`] a page, and [`PIECES_PER_PAGE`] questions for one; for the fullest ones all connections
//! are looked at, piece by piece.

use std::cmp::Reverse;

use serde::Serialize;

use super::connection_told::{ConnectionTold, connection_told};
use super::errors::ApiError;
use super::gathered::Nodes;
use super::names;
use super::queries::{no_answer, text};
use super::service::Api;
use crate::app::query::{Query, QueryResult};
use crate::ident::CoreId;
use crate::protocol::cluster::{LookAnswer, NodeId, NodeLook};
use crate::protocol::connection_facts::{ConnectionFacts, ConnectionsAsked};
use crate::protocol::http::query::unescape;
use crate::shard::{CONNECTIONS_PER_PAGE_MAX, ConnectionQuery};

/// Connections of a page, unless the request says otherwise.
const CONNECTIONS_PER_PAGE: usize = 100;
/// Questions for one page that is in no order.
const PIECES_PER_PAGE: usize = 16;

#[derive(Serialize)]
struct ConnectionList<'l> {
    connections: Vec<ConnectionTold<'l>>,
    cursor: Option<String>,
    /// In a cluster: whether all nodes have told theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

/// Where a page begins: on which node, if there are several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PageStart {
    node: Option<NodeId>,
    core: u16,
    from: u32,
}

impl PageStart {
    /// The first of a node.
    fn of(node: Option<NodeId>) -> PageStart {
        PageStart {
            node,
            core: 0,
            from: 0,
        }
    }

    /// The inverse of [`PageStart::text`]; `None` if it is none.
    fn read(text: &str, in_cluster: bool) -> Option<PageStart> {
        let (node, rest) = match in_cluster {
            false => (None, text),
            true => {
                let (node, rest) = text.split_once('.')?;
                let node = u64::from_str_radix(node, 16).ok()?;
                (Some(NodeId(node)), rest)
            }
        };
        let (core, place) = rest.split_once('.')?;
        let core = u16::from_str_radix(core, 16).ok()?;
        let from = u32::from_str_radix(place, 16).ok()?;
        Some(PageStart { node, core, from })
    }

    fn text(self) -> String {
        let PageStart { node, core, from } = self;
        match node {
            Some(node) => format!("{:x}.{core:x}.{from:x}", node.0),
            None => format!("{core:x}.{from:x}"),
        }
    }
}

/// Some of a core's connections, where the core's next one is, and how many cores there are.
type ListPiece = (Vec<ConnectionFacts>, Option<u32>, usize);

impl Api {
    /// `GET /v1/connections`.
    pub(super) async fn connections(&self, query: &str) -> Result<String, ApiError> {
        let names = [
            "uid",
            "listener",
            "unbound",
            "sort",
            "attributes",
            "cursor",
            "limit",
        ];
        let [uid, listener, unbound, sort, attributes, cursor, limit] =
            names::fields(query, names)?;
        let uid = uid.map(names::uid_in_query).transpose()?;
        let limit = names::limit(limit, CONNECTIONS_PER_PAGE, CONNECTIONS_PER_PAGE_MAX)?;
        let with_attributes = flag("attributes", attributes)?;
        let by_bytes = match sort {
            None => false,
            Some("bytes_waiting") => true,
            Some(_) => {
                let words = "sort: expected bytes_waiting, the fullest first";
                return Err(ApiError::new(400, "bad_sort", words));
            }
        };
        if by_bytes && cursor.is_some() {
            let words = "the fullest are one page: sort goes without cursor";
            return Err(ApiError::new(400, "bad_query", words));
        }
        let asked = ConnectionsAsked {
            uid: uid.map(String::into_boxed_str),
            listeners: listener.map(|url| self.listeners_at(url)).transpose()?,
            listener: listener.and_then(unescape).map(|url| Box::from(&*url)),
            unbound: flag("unbound", unbound)?,
            by_bytes,
            ..ConnectionsAsked::default()
        };
        if asked.uid.is_some() && asked.unbound {
            let words = "a connection has a uid or is unbound";
            return Err(ApiError::new(400, "bad_query", words));
        }
        let nodes = self.nodes_to_ask().await;
        let mut complete = nodes.as_ref().map(|nodes| !nodes.unknown.is_some());
        let (found, cursor) = match by_bytes {
            true => {
                let found = self.fullest(asked, nodes.as_ref(), limit, &mut complete);
                (found.await?, None)
            }
            false => {
                let at = self.page_start(&asked, nodes.as_ref(), cursor)?;
                self.page_of(asked, nodes.as_ref(), (at, limit), &mut complete)
                    .await?
            }
        };
        let connections = found.iter();
        text(&ConnectionList {
            connections: connections
                .map(|one| connection_told(one, with_attributes))
                .collect(),
            cursor,
            complete,
        })
    }

    /// The numbers of the listeners that have this URL.
    pub(super) fn listeners_at(&self, url: &str) -> Result<Box<[u16]>, ApiError> {
        let url = unescape(url).unwrap_or_default();
        let found = self.facts.listeners_at(&url);
        match found.is_empty() {
            true => Err(ApiError::new(
                400,
                "bad_listener",
                "listener: no listener of apps has this URL; stats names them",
            )),
            false => Ok(found),
        }
    }

    /// Where a page begins. Of another node, that looks at it itself.
    fn page_start(
        &self,
        asked: &ConnectionsAsked,
        nodes: Option<&Nodes>,
        cursor: Option<&str>,
    ) -> Result<Option<PageStart>, ApiError> {
        let Some(text) = cursor else {
            return Ok(match nodes {
                Some(nodes) => nodes.first_from(0).map(|node| PageStart::of(Some(node))),
                None => Some(PageStart::of(None)),
            });
        };
        let (cores, _) = self.cores_of(asked);
        let start = PageStart::read(text, nodes.is_some()).filter(|start| {
            let is_own = nodes.is_none_or(|nodes| start.node == Some(nodes.own));
            // All of a uid's are on one core, whichever that is.
            let is_there = match asked.uid {
                Some(_) => start.core == 0,
                None => usize::from(start.core) < cores,
            };
            !is_own || is_there
        });
        let words = "this is no cursor of such a page of connections";
        start
            .map(Some)
            .ok_or_else(|| ApiError::new(400, "bad_cursor", words))
    }

    /// One page, in no order: node by node, core by core, and there by their places.
    async fn page_of(
        &self,
        mut asked: ConnectionsAsked,
        nodes: Option<&Nodes>,
        (mut at, limit): (Option<PageStart>, usize),
        complete: &mut Option<bool>,
    ) -> Result<(Vec<ConnectionFacts>, Option<String>), ApiError> {
        let mut found = Vec::new();
        for _ in 0..PIECES_PER_PAGE {
            let Some(start) = at.filter(|_| found.len() < limit) else {
                break;
            };
            (asked.core, asked.from) = (start.core, start.from);
            asked.most = (limit - found.len()) as u32;
            let next = match self.piece(start.node, nodes, &asked).await? {
                Some((list, next, cores)) => {
                    found.extend(list);
                    next_on_node(start, next, (cores, asked.uid.is_some()))
                }
                None => {
                    *complete = Some(false);
                    None
                }
            };
            let next_node = || {
                let next = nodes?.next_after(start.node?)?;
                Some(PageStart::of(Some(next)))
            };
            at = next.or_else(next_node);
        }
        Ok((found, at.map(PageStart::text)))
    }

    /// Those for whom the most waits, of all.
    async fn fullest(
        &self,
        mut asked: ConnectionsAsked,
        nodes: Option<&Nodes>,
        limit: usize,
        complete: &mut Option<bool>,
    ) -> Result<Vec<ConnectionFacts>, ApiError> {
        asked.most = limit as u32;
        let all = match nodes {
            Some(nodes) => nodes.all.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let mut found = Vec::new();
        for node in all {
            let mut at = Some(PageStart::of(node));
            while let Some(start) = at {
                (asked.core, asked.from) = (start.core, start.from);
                let Some((list, next, cores)) = self.piece(node, nodes, &asked).await? else {
                    *complete = Some(false);
                    break;
                };
                found.extend(list);
                found.sort_by_key(|one: &ConnectionFacts| Reverse(one.bytes_waiting));
                found.truncate(limit);
                at = next_on_node(start, next, (cores, asked.uid.is_some()));
            }
        }
        Ok(found)
    }

    /// How many cores there are, and the one that has all of a uid's.
    fn cores_of(&self, asked: &ConnectionsAsked) -> (usize, Option<CoreId>) {
        let mut host = self.host.borrow_mut();
        let tasks = host.tasks();
        (tasks.cores(), asked.uid.as_ref().map(|uid| tasks.home(uid)))
    }

    /// Some of one core's; `None` if it is of a node that has not said.
    async fn piece(
        &self,
        node: Option<NodeId>,
        nodes: Option<&Nodes>,
        asked: &ConnectionsAsked,
    ) -> Result<Option<ListPiece>, ApiError> {
        let elsewhere = node.filter(|node| nodes.is_some_and(|nodes| nodes.own != *node));
        if elsewhere.is_some() {
            let look = NodeLook::Connections(asked.clone());
            let (answers, _) = self.look(look, elsewhere).await.unwrap_or_default();
            return Ok(match answers.into_iter().next() {
                Some(LookAnswer::Connections(told)) => {
                    Some((told.list, told.next, usize::from(told.cores)))
                }
                _ => None,
            });
        }
        let (cores, home) = self.cores_of(asked);
        let what = ConnectionQuery {
            reach: self.reach,
            uid: asked.uid.clone(),
            listeners: asked.listeners.clone(),
            unbound: asked.unbound,
            by_bytes: asked.by_bytes,
            from: asked.from,
            most: asked.most as usize,
        };
        let core = home.unwrap_or(CoreId(asked.core));
        let what = Query::Connections(Box::new(what));
        let promise = self.host.borrow_mut().tasks().query(core, what);
        let Some(QueryResult::Connections(page)) = promise.await.pop() else {
            return Err(no_answer());
        };
        let list = page.list.into_iter();
        let list = list.map(|info| self.facts.connection(info)).collect();
        Ok(Some((list, page.next, cores)))
    }
}

/// Where a node's list goes on behind a piece; of one uid all are on one core.
fn next_on_node(
    start: PageStart,
    next: Option<u32>,
    (cores, is_of_uid): (usize, bool),
) -> Option<PageStart> {
    // Another node may say anything; a list that does not go on ends.
    if let Some(from) = next.filter(|from| *from > start.from) {
        return Some(PageStart { from, ..start });
    }
    let core = start.core.checked_add(1)?;
    let goes_on = !is_of_uid && usize::from(core) < cores;
    goes_on.then_some(PageStart {
        core,
        from: 0,
        ..start
    })
}

pub(super) fn flag(name: &str, value: Option<&str>) -> Result<bool, ApiError> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => {
            let words = format!("{name}: expected true or false");
            Err(ApiError::new(400, "bad_query", words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_or_ends() {
        let start = PageStart {
            node: None,
            core: 1,
            from: 7,
        };
        let on = |next, cores| next_on_node(start, next, (cores, false)).map(PageStart::text);
        assert_eq!(on(Some(8), 2).as_deref(), Some("1.8"));
        for next in [None, Some(7), Some(0)] {
            assert_eq!(on(next, 2), None);
            assert_eq!(on(next, 3).as_deref(), Some("2.0"));
        }
    }

    #[test]
    fn a_cursor_is_a_node_a_core_and_a_place() {
        for node in [None, Some(NodeId(u64::MAX))] {
            let start = PageStart {
                node,
                core: 1,
                from: 255,
            };
            assert_eq!(PageStart::read(&start.text(), node.is_some()), Some(start));
        }
        assert_eq!(PageStart::of(None).text(), "0.0");
        for bad in ["", "1", "1.", ".1", "1.100000000", "x.0", "1.0.0"] {
            assert_eq!(PageStart::read(bad, false), None, "{bad}");
        }
        for bad in ["", "1.0", "x.0.0", "1.0.0.0", "1.x.0", "1..0"] {
            assert_eq!(PageStart::read(bad, true), None, "{bad}");
        }
    }
}
