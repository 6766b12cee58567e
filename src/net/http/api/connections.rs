//! What the API tells of single connections, and does with them: a list of them, one of them, its attributes, its uid.
//!
//! Bounds: [`CONNECTIONS_PER_PAGE_MAX`] a page, and [`PIECES_PER_PAGE`] questions for one; for the fullest ones all connections
//! are looked at, piece by piece.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::connection_told::{ConnectionTold, connection_told, object};
use super::errors::ApiError;
use super::names;
use super::queries::{no_answer, text};
use super::requests;
use super::service::Api;
use crate::app::query::{ConnectionAnswer, Query, QueryResult};
use crate::app::to_connection::Order;
use crate::ident::{ConnName, CoreId};
use crate::protocol::attributes::AttributesError;
use crate::protocol::http::Request;
use crate::protocol::http::query::unescape;
use crate::shard::{CONNECTIONS_PER_PAGE_MAX, ConnectionInfo, ConnectionQuery};

/// Connections of a page, unless the request says otherwise.
const CONNECTIONS_PER_PAGE: usize = 100;
/// Questions for one page that is in no order.
const PIECES_PER_PAGE: usize = 16;

#[derive(Serialize)]
struct ConnectionList<'l> {
    connections: Vec<ConnectionTold<'l>>,
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

#[derive(Serialize)]
struct AttributesTold<'l> {
    connection: String,
    attributes: &'l RawValue,
}

#[derive(Serialize)]
struct BindTold<'l> {
    connection: String,
    uid: Option<&'l str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

impl Api {
    /// `GET /v1/connections/{connection}`.
    pub(super) async fn connection(&self, part: &str) -> Result<String, ApiError> {
        let name = names::connection(part)?;
        match self.order(name, Order::Look).await? {
            ConnectionAnswer::Is(info) => text(&connection_told(&info, &self.facts, true)),
            other => Err(refused(&other)),
        }
    }

    /// `PUT` and `PATCH /v1/connections/{connection}/attributes`.
    pub(super) async fn set_attributes(
        &self,
        part: &str,
        request: &Request,
        merges: bool,
    ) -> Result<String, ApiError> {
        let name = names::connection(part)?;
        let text = requests::text(request)?;
        let order = Order::SetAttributes(Box::from(text), merges);
        match self.order(name, order).await? {
            ConnectionAnswer::Attributes(attributes) => super::queries::text(&AttributesTold {
                connection: name.to_string(),
                attributes: object(attributes.as_ref()),
            }),
            other => Err(refused(&other)),
        }
    }

    /// `POST /v1/connections/{connection}/bind`.
    pub(super) async fn bind(&self, part: &str, request: &Request) -> Result<String, ApiError> {
        let name = names::connection(part)?;
        let uid = requests::bind(request)?;
        match self.order(name, Order::Bind(Box::from(&*uid))).await? {
            ConnectionAnswer::Bound => text(&BindTold {
                connection: name.to_string(),
                uid: Some(&uid),
            }),
            other => Err(refused(&other)),
        }
    }

    /// `POST /v1/connections/{connection}/unbind`.
    pub(super) async fn unbind(&self, part: &str, request: &Request) -> Result<String, ApiError> {
        let name = names::connection(part)?;
        requests::read::<NoBody>(request, "{}")?;
        match self.order(name, Order::Unbind).await? {
            ConnectionAnswer::Unbound => text(&BindTold {
                connection: name.to_string(),
                uid: None,
            }),
            other => Err(refused(&other)),
        }
    }

    async fn order(&self, name: ConnName, order: Order) -> Result<ConnectionAnswer, ApiError> {
        let reach = self.reach;
        let promise = self.host.borrow_mut().tasks().order(reach, name, order);
        match promise.await.pop() {
            Some(QueryResult::Connection(ConnectionAnswer::None)) if self.is_in_cluster() => {
                let words = "no connection of this id is on this node; what is asked of one on another node of the \
                             cluster is to be asked there";
                Err(ApiError::new(501, "not_on_this_node", words))
            }
            Some(QueryResult::Connection(answer)) => Ok(answer),
            _ => Err(no_answer()),
        }
    }

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
        let mut what = ConnectionQuery {
            reach: self.reach,
            uid: uid.map(String::into_boxed_str),
            listeners: listener.map(|url| self.listeners_at(url)).transpose()?,
            unbound: flag("unbound", unbound)?,
            by_bytes,
            from: 0,
            most: limit,
        };
        if what.uid.is_some() && what.unbound {
            let words = "a connection has a uid or is unbound";
            return Err(ApiError::new(400, "bad_query", words));
        }
        let (found, cursor) = match by_bytes {
            true => (self.fullest(what, limit).await?, None),
            false => self.page_of(&mut what, cursor, limit).await?,
        };
        let connections = found.iter();
        text(&ConnectionList {
            connections: connections
                .map(|info| connection_told(info, &self.facts, with_attributes))
                .collect(),
            cursor,
            complete: self.is_of_all_nodes(),
        })
    }

    /// The numbers of the listeners that have this URL.
    pub(super) fn listeners_at(&self, url: &str) -> Result<Box<[u16]>, ApiError> {
        let url = unescape(url).unwrap_or_default();
        let numbers = (0..u16::MAX).map_while(|number| match self.facts.has_listener(number) {
            true => Some((number, self.facts.app_listener(number))),
            false => None,
        });
        let of_url = numbers.filter(|(_, listener)| listener.is_some_and(|(_, own)| own == url));
        let found: Box<[u16]> = of_url.map(|(number, _)| number).collect();
        match found.is_empty() {
            true => Err(ApiError::new(
                400,
                "bad_listener",
                "listener: no listener of apps has this URL; stats names them",
            )),
            false => Ok(found),
        }
    }

    /// One page, in no order: core by core, and there by their places.
    async fn page_of(
        &self,
        what: &mut ConnectionQuery,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ConnectionInfo>, Option<String>), ApiError> {
        let (cores, home) = self.cores_of(what);
        let mut at = match cursor {
            None => Some((home.unwrap_or(CoreId(0)), 0)),
            Some(text) => {
                let place = place_of(text, cores);
                Some(
                    place
                        .filter(|(core, _)| home.is_none_or(|home| home == *core))
                        .ok_or_else(|| {
                            let words = "this is no cursor of such a page of connections";
                            ApiError::new(400, "bad_cursor", words)
                        })?,
                )
            }
        };
        let mut found = Vec::new();
        for _ in 0..PIECES_PER_PAGE {
            let Some((core, from)) = at.filter(|_| found.len() < limit) else {
                break;
            };
            (what.from, what.most) = (from, limit - found.len());
            let next = self.piece(core, what, &mut found).await?;
            let later = CoreId(core.0 + 1);
            at = match next {
                Some(next) => Some((core, next)),
                None => (home.is_none() && later.index() < cores).then_some((later, 0)),
            };
        }
        let cursor = at.map(|(core, from)| format!("{:x}.{from:x}", core.0));
        Ok((found, cursor))
    }

    /// Those for whom the most waits, of all.
    async fn fullest(
        &self,
        mut what: ConnectionQuery,
        limit: usize,
    ) -> Result<Vec<ConnectionInfo>, ApiError> {
        let (cores, home) = self.cores_of(&what);
        let cores = match home {
            Some(home) => home.0..home.0 + 1,
            None => 0..cores as u16,
        };
        let mut found = Vec::new();
        for core in cores.map(CoreId) {
            what.from = 0;
            loop {
                let next = self.piece(core, &what, &mut found).await?;
                found.sort_by_key(|info: &ConnectionInfo| Reverse(info.bytes_waiting));
                found.truncate(limit);
                let Some(next) = next else { break };
                what.from = next;
            }
        }
        Ok(found)
    }

    /// How many cores there are, and the one that has all of a uid's.
    fn cores_of(&self, what: &ConnectionQuery) -> (usize, Option<CoreId>) {
        let mut host = self.host.borrow_mut();
        let tasks = host.tasks();
        (tasks.cores(), what.uid.as_ref().map(|uid| tasks.home(uid)))
    }

    /// Some of one core's; where it goes on.
    async fn piece(
        &self,
        core: CoreId,
        what: &ConnectionQuery,
        found: &mut Vec<ConnectionInfo>,
    ) -> Result<Option<u32>, ApiError> {
        let what = Query::Connections(Box::new(what.clone()));
        let promise = self.host.borrow_mut().tasks().query(core, what);
        let Some(QueryResult::Connections(page)) = promise.await.pop() else {
            return Err(no_answer());
        };
        found.extend(page.list);
        Ok(page.next)
    }
}

/// Where a page begins; `None` if the text is no cursor of a server with so many cores.
fn place_of(text: &str, cores: usize) -> Option<(CoreId, u32)> {
    let (core, place) = text.split_once('.')?;
    let core = CoreId(u16::from_str_radix(core, 16).ok()?);
    let place = u32::from_str_radix(place, 16).ok()?;
    (core.index() < cores).then_some((core, place))
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

/// Why something was not done with a connection.
fn refused(answer: &ConnectionAnswer) -> ApiError {
    let (status, code, words) = match answer {
        ConnectionAnswer::Flawed(AttributesError::TooLarge(most)) => {
            let words = AttributesError::TooLarge(*most).to_string();
            return ApiError::new(413, "attributes_too_large", words);
        }
        ConnectionAnswer::Flawed(error @ AttributesError::NoObject(_)) => {
            return ApiError::bad_request(error.to_string());
        }
        ConnectionAnswer::InUse => (
            409,
            "uid_in_use",
            "the uid is in use (uid_policy, connections_per_uid_max); the connection is closed with 4002",
        ),
        ConnectionAnswer::Busy => (
            409,
            "binding",
            "the connection is being bound, or is of a listener whose connections never are",
        ),
        ConnectionAnswer::Flawed(AttributesError::NoConnection) | ConnectionAnswer::None => (
            404,
            "no_connection",
            "no connection has this id, or it has ended",
        ),
        _ => return no_answer(),
    };
    ApiError::new(status, code, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_core_and_a_place() {
        assert_eq!(place_of("1.ff", 2), Some((CoreId(1), 255)));
        for bad in ["", "1", "1.", ".1", "2.0", "1.100000000", "x.0", "1.0.0"] {
            assert_eq!(place_of(bad, 2), None, "{bad}");
        }
    }
}
