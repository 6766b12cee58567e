//! The HTTP API of back ends: what is served under `/v1/` ([`ROUTES`]), who may ask for it, and its errors.
//!
//! Every core serves it, and asks the cores that a request is about; see [`execute`] for what does something and
//! [`queries`] and [`groups`] for what only tells. Bounds: the body's bytes (`http_body_bytes_max`), and what each of these files
//! names. Called by the port for each request under its paths.

mod batch;
mod claims;
mod connection_lists;
mod connection_told;
mod connections;
mod errors;
mod execute;
mod gathered;
mod groups;
mod history;
mod idempotency;
mod log;
mod names;
mod nodes;
mod outcomes;
mod pacing;
mod queries;
mod requests;
mod service;
mod stickies;
mod stuck_groups;

pub use service::Api;

use std::rc::Rc;

use super::HttpAnswer;
use crate::auth::backend_tokens::Rights;
use crate::protocol::http::Request;

/// One path and its method.
pub struct ApiRoute {
    method: ApiMethod,
    /// A part in braces is a name.
    path: &'static str,
    /// What whoever asks must have, if there are tokens.
    right: Option<Rights>,
    call: Operation,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ApiMethod {
    /// It only tells something; HEAD, too.
    Get,
    /// Its body says what is to be done.
    Post,
    Put,
    Patch,
    Delete,
}

impl ApiMethod {
    /// Whether it has a body of JSON.
    fn has_body(self) -> bool {
        !matches!(self, ApiMethod::Get | ApiMethod::Delete)
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Push,
    Broadcast,
    Kick,
    Batch,
    Join,
    Leave,
    Ungroup,
    Uid,
    Uids,
    Group,
    Groups,
    Connections,
    Connection,
    SetAttributes,
    MergeAttributes,
    Bind,
    Unbind,
    History,
    ForgetHistory,
    Log,
    Nodes,
    Stats,
    Description,
}

const fn post(path: &'static str, right: Rights, call: Operation) -> ApiRoute {
    ApiRoute {
        method: ApiMethod::Post,
        path,
        right: Some(right),
        call,
    }
}

const fn get(path: &'static str, call: Operation) -> ApiRoute {
    ApiRoute {
        method: ApiMethod::Get,
        path,
        right: Some(Rights::READ),
        call,
    }
}

/// All that is served. `openapi.json` describes it; a test holds one against the other.
const ROUTES: &[ApiRoute] = &[
    post("/v1/push", Rights::PUSH, Operation::Push),
    post("/v1/broadcast", Rights::PUSH, Operation::Broadcast),
    post("/v1/kick", Rights::KICK, Operation::Kick),
    // Each of its entries needs the right to it.
    post("/v1/batch", Rights::NONE, Operation::Batch),
    post("/v1/groups/{group}/join", Rights::PUSH, Operation::Join),
    post("/v1/groups/{group}/leave", Rights::PUSH, Operation::Leave),
    post(
        "/v1/groups/{group}/ungroup",
        Rights::PUSH,
        Operation::Ungroup,
    ),
    get("/v1/groups/{group}", Operation::Group),
    get("/v1/groups", Operation::Groups),
    get("/v1/uids/{uid}", Operation::Uid),
    get("/v1/uids", Operation::Uids),
    get("/v1/connections", Operation::Connections),
    get("/v1/connections/{connection}", Operation::Connection),
    ApiRoute {
        method: ApiMethod::Put,
        path: ATTRIBUTES,
        right: Some(Rights::PUSH),
        call: Operation::SetAttributes,
    },
    ApiRoute {
        method: ApiMethod::Patch,
        path: ATTRIBUTES,
        right: Some(Rights::PUSH),
        call: Operation::MergeAttributes,
    },
    post(
        "/v1/connections/{connection}/bind",
        Rights::BIND,
        Operation::Bind,
    ),
    post(
        "/v1/connections/{connection}/unbind",
        Rights::BIND,
        Operation::Unbind,
    ),
    get("/v1/history", Operation::History),
    ApiRoute {
        method: ApiMethod::Delete,
        path: "/v1/history",
        right: Some(Rights::PUSH),
        call: Operation::ForgetHistory,
    },
    get("/v1/log", Operation::Log),
    get("/v1/nodes", Operation::Nodes),
    get("/v1/stats", Operation::Stats),
    ApiRoute {
        method: ApiMethod::Get,
        path: "/openapi.json",
        right: None,
        call: Operation::Description,
    },
];

const ATTRIBUTES: &str = "/v1/connections/{connection}/attributes";
const DESCRIPTION: &str = include_str!("openapi.json");

impl ApiRoute {
    /// The name in the path if this is its route; an empty one if it has none.
    fn name<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (mut parts, mut name) = (path.split('/'), "");
        for wanted in self.path.split('/') {
            let part = parts.next()?;
            if wanted.starts_with('{') {
                name = part;
            } else if wanted != part {
                return None;
            }
        }
        parts.next().is_none().then_some(name)
    }

    fn takes(&self, method: &str) -> bool {
        match self.method {
            ApiMethod::Get => matches!(method, "GET" | "HEAD"),
            ApiMethod::Post => method == "POST",
            ApiMethod::Put => method == "PUT",
            ApiMethod::Patch => method == "PATCH",
            ApiMethod::Delete => method == "DELETE",
        }
    }
}

/// Whether a path is the API's, known there or not.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/openapi.json"
}

impl Api {
    /// The route of a request of one of the API's paths, or why it goes none.
    pub(super) fn find(&self, request: &Request) -> Result<&'static ApiRoute, HttpAnswer> {
        let routes = ROUTES.iter();
        let of_path = routes.filter(|route| route.name(request.path()).is_some());
        let mut found = of_path.clone().peekable();
        if found.peek().is_none() {
            return Err(HttpAnswer::not_found());
        }
        let Some(route) = found.find(|route| route.takes(request.method())) else {
            let methods: Vec<ApiMethod> = of_path.map(|route| route.method).collect();
            return Err(HttpAnswer::method_not_allowed(match methods[..] {
                [ApiMethod::Get] => "GET, HEAD",
                [ApiMethod::Post] => "POST",
                [ApiMethod::Put, ApiMethod::Patch] => "PUT, PATCH",
                _ => "GET, HEAD, DELETE",
            }));
        };
        if let Some(right) = route.right {
            self.access.authorize(request, right)?;
        }
        if is_foreign(request) {
            let words = "only pages of this server may ask";
            return Err(HttpAnswer::error(403, "foreign_origin", words));
        }
        if route.method.has_body() && !is_json(request) {
            let words = "expected Content-Type: application/json";
            return Err(HttpAnswer::error(415, "not_json", words));
        }
        Ok(route)
    }

    /// The answer to a request of this route.
    pub(super) async fn serve(self: Rc<Self>, route: &ApiRoute, request: Request) -> HttpAnswer {
        let request = &request;
        let name = route.name(request.path()).unwrap_or_default();
        let answer = match route.call {
            Operation::Push => self.execute(requests::push(request)).await,
            Operation::Broadcast => self.execute(requests::broadcast(request)).await,
            Operation::Kick => self.execute(requests::kick(request)).await,
            Operation::Join => self.execute(requests::join(request, name)).await,
            Operation::Leave => self.execute(requests::leave(request, name)).await,
            Operation::Ungroup => self.ungroup(requests::ungroup(request, name)).await,
            Operation::Batch => self.batch(request).await,
            Operation::Uid => self.uid(name).await,
            Operation::Uids => self.uids(request.query()).await,
            Operation::Group => self.group(name, request.query()).await,
            Operation::Groups => self.groups(request.query()).await,
            Operation::Connections => self.connections(request.query()).await,
            Operation::Connection => self.connection(name).await,
            Operation::SetAttributes => self.set_attributes(name, request, false).await,
            Operation::MergeAttributes => self.set_attributes(name, request, true).await,
            Operation::Bind => self.bind(name, request).await,
            Operation::Unbind => self.unbind(name, request).await,
            Operation::History => self.history(request.query()).await,
            Operation::ForgetHistory => self.forget_history(request.query()).await,
            Operation::Log => return self.log(request).await,
            Operation::Nodes => self.nodes().await,
            Operation::Stats => self.stats().await,
            Operation::Description => Ok(DESCRIPTION.to_owned()),
        };
        match answer {
            Ok(text) => HttpAnswer::json_text(200, text),
            Err(error) => error.answer(),
        }
    }
}

/// Whether a page of another origin asks.
fn is_foreign(request: &Request) -> bool {
    // A proxy in front may have taken TLS off.
    let own = ["http", "https"].map(|scheme| format!("{scheme}://{}", request.host));
    let origin = request.field("origin");
    origin.is_some_and(|origin| !own.iter().any(|own| origin.eq_ignore_ascii_case(own)))
}

fn is_json(request: &Request) -> bool {
    let media = request.field("content-type").unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Of every path and method in the file and in the table; neither has one that the other has not.
    #[test]
    fn the_description_has_every_route_and_no_other() {
        let file: serde_json::Value = serde_json::from_str(DESCRIPTION).expect("it is JSON");
        let paths = file["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("methods").keys();
                methods.map(move |method| (path.clone(), method.clone()))
            })
            .filter(|(_, method)| method != "parameters")
            .collect();
        let served: BTreeSet<(String, String)> = ROUTES
            .iter()
            .map(|route| {
                let method = match route.method {
                    ApiMethod::Get => "get",
                    ApiMethod::Post => "post",
                    ApiMethod::Put => "put",
                    ApiMethod::Patch => "patch",
                    ApiMethod::Delete => "delete",
                };
                (route.path.to_owned(), method.to_owned())
            })
            .collect();
        assert_eq!(described, served);
    }

    fn found(path: &str) -> Vec<(&'static str, &str)> {
        let found = ROUTES.iter();
        let found = found.filter_map(|route| Some((route.path, route.name(path)?)));
        found.collect()
    }

    #[test]
    fn a_path_is_one_route_at_most() {
        assert_eq!(found("/v1/push"), [("/v1/push", "")]);
        assert_eq!(found("/v1/uids/a%2Fb"), [("/v1/uids/{uid}", "a%2Fb")]);
        assert_eq!(found("/v1/uids/"), [("/v1/uids/{uid}", "")]);
        assert_eq!(found("/v1/uids"), [("/v1/uids", "")]);
        let join = "/v1/groups/{group}/join";
        assert_eq!(found("/v1/groups/join/join"), [(join, "join")]);
        for path in ["/v1", "/v1/", "/v1/uids/a/b", "/v1/push/", "/v1/groups/g/x"] {
            assert!(found(path).is_empty(), "{path}");
        }
    }
}
