//! What the API tells of single connections, and does with them: one of them, its attributes, its uid.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::connection_told::{connection_told, object};
use super::errors::ApiError;
use super::names;
use super::queries::{no_answer, text};
use super::requests;
use super::service::Api;
use crate::app::query::QueryResult;
use crate::ident::ConnName;
use crate::protocol::attributes::AttributesError;
use crate::protocol::cluster::{LookAnswer, NodeLook};
use crate::protocol::connection_facts::{ConnectionOrder, ConnectionOutcome};
use crate::protocol::http::Request;

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
        match self.order(name, ConnectionOrder::Look).await? {
            ConnectionOutcome::Is(info) => text(&connection_told(&info, true)),
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
        let order = ConnectionOrder::SetAttributes {
            text: Box::from(text),
            merges,
        };
        match self.order(name, order).await? {
            ConnectionOutcome::Attributes(attributes) => super::queries::text(&AttributesTold {
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
        match self
            .order(name, ConnectionOrder::Bind(Box::from(&*uid)))
            .await?
        {
            ConnectionOutcome::Bound => text(&BindTold {
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
        match self.order(name, ConnectionOrder::Unbind).await? {
            ConnectionOutcome::Unbound => text(&BindTold {
                connection: name.to_string(),
                uid: None,
            }),
            other => Err(refused(&other)),
        }
    }

    /// Has something done with a connection, on whichever node of a cluster it is.
    async fn order(
        &self,
        name: ConnName,
        order: ConnectionOrder,
    ) -> Result<ConnectionOutcome, ApiError> {
        let (promise, is_own) = {
            let mut host = self.host.borrow_mut();
            let mut tasks = host.tasks();
            let is_own = tasks.is_of_this_node(name);
            (tasks.order(self.reach, name, order.clone().into()), is_own)
        };
        let Some(QueryResult::Connection(answer)) = promise.await.pop() else {
            return Err(no_answer());
        };
        let here = self.facts.outcome(answer);
        if is_own || here != ConnectionOutcome::None {
            return Ok(here);
        }
        let Some((answers, unknown)) = self.look(NodeLook::Connection { name, order }, None).await
        else {
            return Ok(here);
        };
        let outcomes = answers.into_iter().map(|answer| match answer {
            LookAnswer::Connection(outcome) => outcome,
            _ => ConnectionOutcome::None,
        });
        let mut known = outcomes.filter(|outcome| *outcome != ConnectionOutcome::None);
        match known.next() {
            Some(outcome) => Ok(outcome),
            None if unknown.is_some() => {
                let words = format!("{unknown}: it may have the connection");
                Err(ApiError::new(503, "unknown", words))
            }
            None => Ok(here),
        }
    }
}

/// Why something was not done with a connection.
fn refused(answer: &ConnectionOutcome) -> ApiError {
    let (status, code, words) = match answer {
        ConnectionOutcome::Flawed(AttributesError::TooLarge(most)) => {
            let words = AttributesError::TooLarge(*most).to_string();
            return ApiError::new(413, "attributes_too_large", words);
        }
        ConnectionOutcome::Flawed(error @ AttributesError::NoObject(_)) => {
            return ApiError::bad_request(error.to_string());
        }
        ConnectionOutcome::InUse => (
            409,
            "uid_in_use",
            "the uid is in use (uid_policy, connections_per_uid_max); the connection is closed with 4002",
        ),
        ConnectionOutcome::Busy => (
            409,
            "binding",
            "the connection is being bound, or is of a listener whose connections never are",
        ),
        ConnectionOutcome::Flawed(AttributesError::NoConnection) | ConnectionOutcome::None => (
            404,
            "no_connection",
            "no connection has this id, or it has ended",
        ),
        _ => return no_answer(),
    };
    ApiError::new(status, code, words)
}
