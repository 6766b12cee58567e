//! Lists that are those of all nodes of a cluster, page by page: node by node, and there core by core.
//!
//! Bound: [`PIECES_PER_PAGE`] questions a page.

use std::collections::HashSet;

use super::errors::ApiError;
use super::queries::{bad_cursor, cursor_of, no_answer, place_of};
use super::service::Api;
use crate::app::outcome::Unknown;
use crate::app::query::{Query, QueryResult};
use crate::ident::CoreId;
use crate::protocol::cluster::{LookAnswer, NamesOf, NodeId, NodeLook, PagePlace};
use crate::shard::Cursor;

/// Questions for one page: a small server's cores fill one together, a large one's are asked page by page.
const PIECES_PER_PAGE: usize = 16;

/// One page of names.
pub(super) struct NamesPage {
    pub names: Vec<Box<str>>,
    pub cursor: Option<String>,
    /// In a cluster: whether all nodes were there to be asked.
    pub complete: Option<bool>,
}

/// Where a page begins: on which node, if there are several.
struct ListPlace {
    node: Option<NodeId>,
    core: CoreId,
    from: Cursor,
}

/// What one core had of it, and where the node's list goes on.
type NamesPiece = (Vec<Box<str>>, Option<(CoreId, Cursor)>);

/// The nodes that are asked one after the other.
pub(super) struct Nodes {
    pub own: NodeId,
    /// In their order, this one among them.
    pub all: Vec<NodeId>,
    pub unknown: Unknown,
}

impl Nodes {
    pub fn first_from(&self, node: u64) -> Option<NodeId> {
        let mut later = self.all.iter().filter(|other| other.0 >= node);
        later.next().copied()
    }

    pub fn next_after(&self, node: NodeId) -> Option<NodeId> {
        self.first_from(node.0.checked_add(1)?)
    }

    fn after(&self, node: NodeId) -> Option<ListPlace> {
        let next = self.next_after(node)?;
        Some(ListPlace {
            node: Some(next),
            core: CoreId(0),
            from: Cursor::default(),
        })
    }
}

impl Api {
    /// Asks a node, or all others, whom they have; `None` if there is no cluster.
    pub(super) async fn look(
        &self,
        look: NodeLook,
        node: Option<NodeId>,
    ) -> Option<(Vec<LookAnswer>, Unknown)> {
        let asked = self
            .host
            .borrow_mut()
            .tasks()
            .cluster_look(self.reach, look, node);
        match asked?.await.pop() {
            Some(QueryResult::Looked(answers, unknown)) => Some((answers, unknown)),
            _ => Some((Vec::new(), Unknown::away())),
        }
    }

    /// Those of the cluster; `None` if there is none.
    pub(super) async fn nodes_to_ask(&self) -> Option<Nodes> {
        let asked = self.host.borrow_mut().tasks().cluster_nodes();
        let Some(QueryResult::Nodes(look)) = asked?.await.pop() else {
            return None;
        };
        let mut all: Vec<NodeId> = look.nodes.iter().map(|facts| facts.node).collect();
        all.sort_unstable();
        Some(Nodes {
            own: look.own,
            all,
            unknown: look.unknown,
        })
    }

    /// A page of up to so many names.
    pub(super) async fn names_page(
        &self,
        of: NamesOf,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<NamesPage, ApiError> {
        let nodes = self.nodes_to_ask().await;
        let mut at = self.place(nodes.as_ref(), cursor)?;
        let mut complete = nodes.as_ref().map(|nodes| !nodes.unknown.is_some());
        let (mut names, mut seen) = (Vec::new(), HashSet::new());
        for _ in 0..PIECES_PER_PAGE {
            let Some(place) = at.take_if(|_| names.len() < limit) else {
                break;
            };
            let most = limit - names.len();
            let is_own = nodes
                .as_ref()
                .is_none_or(|nodes| place.node == Some(nodes.own));
            let piece = match (is_own, place.node) {
                (false, Some(node)) => self.piece_of_node(of, node, &place, most).await,
                _ => Some(self.own_piece(of, &place, most).await?),
            };
            let next = piece.map(|(piece, next)| {
                // Who is on two nodes is listed once, where that is seen.
                names.extend(piece.into_iter().filter(|name| seen.insert(name.clone())));
                next
            });
            if next.is_none() {
                complete = Some(false);
            }
            at = match (next.flatten(), &nodes, place.node) {
                (Some((core, from)), ..) => Some(ListPlace {
                    core,
                    from,
                    ..place
                }),
                (None, Some(nodes), Some(node)) => nodes.after(node),
                _ => None,
            };
        }
        let cursor = at.map(|place| {
            let text = cursor_of(place.core, place.from);
            match place.node {
                Some(node) => format!("{:x}.{text}", node.0),
                None => text,
            }
        });
        Ok(NamesPage {
            names,
            cursor,
            complete,
        })
    }

    /// Where a page begins; at the end of all nodes there is none.
    fn place(
        &self,
        nodes: Option<&Nodes>,
        cursor: Option<&str>,
    ) -> Result<Option<ListPlace>, ApiError> {
        let (cores, namespaces) = {
            let mut host = self.host.borrow_mut();
            let tasks = host.tasks();
            (tasks.cores(), tasks.namespaces())
        };
        let Some(nodes) = nodes else {
            let (core, from) = match cursor {
                None => (CoreId(0), Cursor::default()),
                Some(text) => place_of(text, cores, namespaces).ok_or_else(bad_cursor)?,
            };
            let node = None;
            return Ok(Some(ListPlace { node, core, from }));
        };
        let Some(text) = cursor else {
            let first = nodes.first_from(0);
            return Ok(first.map(|node| ListPlace {
                node: Some(node),
                core: CoreId(0),
                from: Cursor::default(),
            }));
        };
        let (node, rest) = text.split_once('.').ok_or_else(bad_cursor)?;
        let node = u64::from_str_radix(node, 16).map_err(|_| bad_cursor())?;
        let is_own = node == nodes.own.0;
        let (cores, namespaces) = match is_own {
            true => (cores, namespaces),
            // Another node looks at that itself.
            false => (usize::from(u16::MAX), u32::MAX),
        };
        let (core, from) = place_of(rest, cores, namespaces).ok_or_else(bad_cursor)?;
        let node = Some(NodeId(node));
        Ok(Some(ListPlace { node, core, from }))
    }

    async fn own_piece(
        &self,
        of: NamesOf,
        place: &ListPlace,
        most: usize,
    ) -> Result<NamesPiece, ApiError> {
        let (reach, from) = (self.reach, place.from);
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
        let (promise, cores) = {
            let mut host = self.host.borrow_mut();
            let mut tasks = host.tasks();
            (tasks.query(place.core, what), tasks.cores())
        };
        let (names, next) = match promise.await.pop() {
            Some(QueryResult::Uids(page)) => (page.uids, page.next),
            Some(QueryResult::Groups(page)) => (page.groups, page.next),
            _ => return Err(no_answer()),
        };
        Ok((names, following(place.core, next, cores)))
    }

    /// `None` if the node is not there any more, or has not said in time.
    async fn piece_of_node(
        &self,
        of: NamesOf,
        node: NodeId,
        place: &ListPlace,
        most: usize,
    ) -> Option<NamesPiece> {
        let look = NodeLook::Page {
            of,
            core: place.core.0,
            from: PagePlace {
                namespace: place.from.namespace,
                place: place.from.place,
                until: place.from.until,
            },
            most: u32::try_from(most).unwrap_or(u32::MAX),
        };
        let (answers, _) = self.look(look, Some(node)).await?;
        let Some(LookAnswer::Page { names, next, cores }) = answers.into_iter().next() else {
            return None;
        };
        let next = next.map(|at| Cursor {
            namespace: at.namespace,
            place: at.place,
            until: at.until,
        });
        Some((names, following(place.core, next, usize::from(cores))))
    }
}

/// Where a node's list goes on behind a page of this core.
fn following(core: CoreId, next: Option<Cursor>, cores: usize) -> Option<(CoreId, Cursor)> {
    match next {
        Some(next) => Some((core, next)),
        None => {
            let later = CoreId(core.0.checked_add(1)?);
            (later.index() < cores).then_some((later, Cursor::default()))
        }
    }
}
