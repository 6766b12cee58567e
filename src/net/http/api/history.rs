//! `/v1/history`: what a stream keeps, page by page, and to throw it away.
//!
//! Bounds: [`MESSAGES_MAX`] messages and [`BYTES_MAX`] bytes of them a page.

use std::borrow::Cow;

use serde::Serialize;

use super::errors::ApiError;
use super::names;
use super::queries::{no_answer, text};
use super::service::Api;
use crate::app::query::{HistoryPage, HistoryQuery, Query, QueryResult};
use crate::ident::EVERYBODY;
use crate::protocol::http::query::unescape;
use crate::protocol::v1::Content;
use crate::streams::{Gap, Kind, Limit, Position};

/// Messages of a page, unless the request says otherwise, and at most.
const MESSAGES: usize = 100;
const MESSAGES_MAX: usize = 1_000;
/// Bytes of a page's messages at most. The first is there however large it is.
const BYTES_MAX: usize = 1 << 20;

#[derive(Serialize)]
struct PageTold<'p> {
    top: String,
    messages: Vec<HistoryMessage<'p>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<GapTold>,
}

#[derive(Serialize)]
struct HistoryMessage<'p> {
    position: String,
    #[serde(flatten)]
    content: Content<'p>,
}

/// Why the page does not begin behind the position asked for.
#[derive(Serialize)]
struct GapTold {
    asked: Option<String>,
    first: Option<String>,
    top: String,
}

impl From<Gap> for GapTold {
    fn from(gap: Gap) -> GapTold {
        GapTold {
            asked: gap.asked.map(|position| position.to_string()),
            first: gap.first.map(|position| position.to_string()),
            top: gap.top.to_string(),
        }
    }
}

/// Which stream a request is about.
struct StreamName {
    kind: Kind,
    name: Box<str>,
}

impl Api {
    /// A page of what a stream keeps.
    pub(super) async fn history(&self, query: &str) -> Result<String, ApiError> {
        let known = ["uid", "group", "since", "limit", "reverse"];
        let [uid, group, since, limit, reverse] = names::fields(query, known)?;
        let StreamName { kind, name } = stream(uid, group)?;
        let messages = names::limit(limit, MESSAGES, MESSAGES_MAX)?;
        let query = HistoryQuery {
            reach: self.reach,
            kind,
            name,
            since: since.filter(|text| !text.is_empty()).map(position),
            limit: Limit {
                messages,
                bytes: BYTES_MAX,
            },
            reverse: is_reverse(reverse)?,
        };
        let promise = {
            let mut host = self.host.borrow_mut();
            let mut tasks = host.tasks();
            let home = tasks.home(&query.name);
            tasks.query(home, Query::History(query))
        };
        match promise.await.pop() {
            Some(QueryResult::History(page)) => told(page),
            Some(QueryResult::Abroad(_)) => Err(redis_is_away()),
            _ => Err(no_answer()),
        }
    }

    /// Throws away what a stream keeps.
    pub(super) async fn forget_history(&self, query: &str) -> Result<String, ApiError> {
        let [uid, group] = names::fields(query, ["uid", "group"])?;
        let StreamName { kind, name } = stream(uid, group)?;
        let reach = self.reach;
        let promise = {
            let mut host = self.host.borrow_mut();
            let mut tasks = host.tasks();
            let home = tasks.home(&name);
            tasks.query(home, Query::ForgetHistory { reach, kind, name })
        };
        match promise.await.pop() {
            Some(QueryResult::Reached(forgotten)) => Ok(format!("{{\"forgotten\":{forgotten}}}")),
            Some(QueryResult::Abroad(_)) => Err(redis_is_away()),
            _ => Err(no_answer()),
        }
    }
}

fn redis_is_away() -> ApiError {
    let words = "the cluster's Redis, which keeps it, is away";
    ApiError::new(503, "redis_away", words)
}

fn told(page: HistoryPage) -> Result<String, ApiError> {
    let messages = page.messages.iter();
    let messages = messages.map(|(position, payload)| HistoryMessage {
        position: position.to_string(),
        content: Content::of(payload.message().bytes()),
    });
    text(&PageTold {
        top: page.top.to_string(),
        messages: messages.collect(),
        gap: page.gap.map(GapTold::from),
    })
}

fn stream(uid: Option<&str>, group: Option<&str>) -> Result<StreamName, ApiError> {
    let (kind, name) = match (uid, group) {
        (Some(EVERYBODY), None) => (Kind::All, EVERYBODY.to_owned()),
        (Some(uid), None) => (Kind::Uid, names::uid_in_query(uid)?),
        (None, Some(group)) => (Kind::Group, names::group_in_query(group)?),
        _ => {
            let words = "expected uid=UID (all is everybody's) or group=GROUP";
            return Err(ApiError::new(400, "bad_query", words));
        }
    };
    let name = name.into();
    Ok(StreamName { kind, name })
}

/// What cannot be read is a gap, as it is for clients.
fn position(text: &str) -> Option<Position> {
    let text = unescape(text).map_or(Cow::Borrowed(text), Cow::Owned);
    text.parse().ok()
}

fn is_reverse(value: Option<&str>) -> Result<bool, ApiError> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => {
            let words = "reverse: expected true or false";
            Err(ApiError::new(400, "bad_query", words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_stream() {
        let found = |uid, group| {
            let found = stream(uid, group).map(|found| (found.kind, found.name));
            found.map_err(|error| error.code)
        };
        assert_eq!(found(Some("u+1"), None), Ok((Kind::Uid, "u 1".into())));
        assert_eq!(found(Some("all"), None), Ok((Kind::All, "all".into())));
        assert_eq!(found(None, Some("a%2Fb")), Ok((Kind::Group, "a/b".into())));
        assert_eq!(found(None, None), Err("bad_query"));
        assert_eq!(found(Some("u"), Some("g")), Err("bad_query"));
        assert_eq!(found(Some(""), None), Err("bad_uid"));
        assert_eq!(found(None, Some("all")), Err("bad_group"));
    }
}
