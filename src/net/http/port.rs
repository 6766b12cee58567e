//! [`Port`]: what an HTTP listener answers on one core, which is the page, its list of listeners, health, `/metrics`, and
//! what the API does (see [`api`]). Bound: a body's bytes ([`Port::body_bounds`]).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::api::{self, Api};
use super::desk::Desk;
use super::pending::AnswerFuture;
use super::sse::{self, Admitted};
use super::{HttpAnswer, Pausing, Readiness, Roles, ServedSite, metrics};
use crate::auth::backend_tokens::Rights;
use crate::net::origin::{host_name, is_loopback};
use crate::protocol::http::{HttpError, Request, health};

/// The page loads nothing from elsewhere, runs no inline script, and talks to this host alone, on
/// whatever ports the listeners have.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const UNKNOWN_HOST: HttpError = HttpError {
    status: 421,
    text: "this Host is not served here: without backend.token only localhost, 127.0.0.1 and [::1] are, for any other \
           name can be made to resolve here",
};
const NO_WEBSOCKET: HttpError = HttpError {
    status: 426,
    text: "this path speaks websocket (ws://), not plain HTTP",
};
/// What is to become of a request.
pub enum Routed {
    /// Its answer is known.
    Now(HttpAnswer),
    /// It will be.
    Later(AnswerFuture),
    /// Its connection is to listen.
    Listens(Box<Admitted>),
}

/// Largest body of a request that may not use the API.
const STRANGERS_BODY_BYTES_MAX: usize = 64 << 10;

const LARGE_AND_UNKNOWN: HttpError = HttpError::new(
    401,
    "expected Authorization: Bearer TOKEN, with a token that is known here",
);

/// Whose a request is, which decides what its connection counts towards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// A back end's, or a scraper's, that may do what it asks for.
    BackEnd,
    /// A load balancer's or monitor's.
    Health,
    /// A client's that wants to listen.
    Stream,
    /// A page's, or anybody's.
    Other,
}

/// What one HTTP listener serves on one core.
pub struct Port {
    served: ServedSite,
    api: Rc<Api>,
    /// What `/listeners.json` answers.
    listeners: Rc<str>,
    /// Who waits since his token was wrong.
    pausing: Rc<Pausing>,
    /// What `/readyz` answers.
    readiness: Arc<Readiness>,
}

impl Port {
    /// Of what is served, the API, what `/listeners.json` answers, and what `/readyz` does.
    pub fn new(
        served: ServedSite,
        api: Api,
        listeners: Rc<str>,
        readiness: Arc<Readiness>,
    ) -> Port {
        Port {
            served,
            pausing: Rc::new(Pausing::new(Rc::clone(&api.pending_requests))),
            api: Rc::new(api),
            listeners,
            readiness,
        }
    }

    /// The listener whose websockets are at this path.
    pub fn websocket_at(&self, path: &str) -> Option<u16> {
        self.served.websocket_at(path)
    }

    /// Whose it is, by what its head says.
    pub fn kind(&self, request: &Request) -> RequestKind {
        let role = Roles::of_path(request.path());
        match role {
            Roles::NONE if request.health.is_some() => RequestKind::Health,
            role if !self.served.has(role) => RequestKind::Other,
            Roles::EVENTS => RequestKind::Stream,
            Roles::API | Roles::METRICS if self.api.access.may_act(request) => RequestKind::BackEnd,
            _ => RequestKind::Other,
        }
    }

    /// How large a body may be, where the configuration lets it have `bytes_max`, and what is said of a larger one, if not
    /// just that. It is kept whole until the request is answered, so there is little room for who may not use the API.
    pub fn body_bounds(&self, request: &Request, bytes_max: usize) -> (usize, Option<HttpError>) {
        let is_for_api =
            self.served.has(Roles::API) && Roles::of_path(request.path()) == Roles::API;
        if is_for_api && self.api.access.may_act(request) {
            return (bytes_max, None);
        }
        let asks = self.api.access.asks_for_token();
        let unknown = (is_for_api && asks).then_some(LARGE_AND_UNKNOWN);
        (bytes_max.min(STRANGERS_BODY_BYTES_MAX), unknown)
    }

    /// Decides about a request that has come whole.
    pub fn route(&self, request: Request, desk: &mut Desk<'_>) -> Routed {
        match sse::admit(&self.served, &request, desk) {
            Some(Ok(admitted)) => return Routed::Listens(Box::new(admitted)),
            Some(Err(declined)) => return Routed::Now(declined),
            None => {}
        }
        let is_stranger = self.is_stranger(&request);
        match self.find(request) {
            Routed::Now(answer) if answer.status == 401 && is_stranger => {
                self.hold_back(answer, desk.peer)
            }
            routed => routed,
        }
    }

    fn find(&self, request: Request) -> Routed {
        let reads = request.reads();
        let asset = self.served.site.assets.iter();
        let asset = asset.clone().find(|asset| asset.path == request.path());
        let shows_page = asset.is_some() && self.served.has(Roles::PAGE) && reads;
        if let Some(health) = request.health.filter(|_| !shows_page) {
            let (status, fields, body) = health.answer(self.readiness.answer());
            return Routed::Now(HttpAnswer::new(status, &fields, body));
        }
        if let "/healthz" | "/readyz" = request.path() {
            return Routed::Now(HttpAnswer::method_not_allowed(health::METHODS));
        }
        if !shows_page && self.served.websocket_at(request.path()).is_some() {
            let answer = HttpAnswer::told(NO_WEBSOCKET, "websocket_only");
            return Routed::Now(answer.with("Upgrade", "websocket"));
        }
        if let Some(refused) = self.misses(&request) {
            return Routed::Now(refused);
        }
        let api = &self.api;
        Routed::Now(match request.path() {
            path if api::is_path(path) => match api.find(&request) {
                Ok(route) => {
                    let api = Rc::clone(api);
                    return Routed::Later(Box::pin(async move { api.serve(route, request).await }));
                }
                Err(refused) => refused,
            },
            "/metrics" if reads => match self.api.access.authorize(&request, Rights::READ) {
                Ok(()) => {
                    let (host, facts) = (Rc::clone(&api.host), Arc::clone(&api.facts));
                    return Routed::Later(Box::pin(metrics::scrape(host, facts)));
                }
                Err(refused) => refused,
            },
            "/metrics" => HttpAnswer::method_not_allowed("GET, HEAD"),
            "/listeners.json" if reads => HttpAnswer::new(
                200,
                &[
                    ("Content-Type", "application/json"),
                    ("Cache-Control", "no-store"),
                ],
                self.listeners.as_bytes(),
            ),
            _ => match asset {
                Some(_) if !reads => HttpAnswer::method_not_allowed("GET, HEAD"),
                Some(asset) => HttpAnswer::new(
                    200,
                    &[
                        ("Content-Type", asset.content_type),
                        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
                        ("X-Content-Type-Options", "nosniff"),
                        ("Referrer-Policy", "no-referrer"),
                        ("Cache-Control", "no-cache"),
                    ],
                    asset.bytes,
                ),
                None => HttpAnswer::not_found(),
            },
        })
    }

    /// What is answered to a request that has no business here: its path has a role that this listener has not, or it
    /// was meant for another host.
    fn misses(&self, request: &Request) -> Option<HttpAnswer> {
        let role = Roles::of_path(request.path());
        if !self.served.has(role) {
            return Some(HttpAnswer::not_found());
        }
        // A name that resolves here today and elsewhere tomorrow must not borrow a browser's trust
        // (DNS rebinding). Where a token is asked for there is no such trust, nor for clients, whose page is looked at.
        // And no browser leaves the Host out, as a request of HTTP/1.0 may.
        let is_open = self.api.access.asks_for_token() || role.are_for_clients();
        let host = request.host.to_ascii_lowercase();
        if is_open || host.is_empty() || host_name(&host).is_some_and(is_loopback) {
            return None;
        }
        Some(HttpAnswer::told(UNKNOWN_HOST, "unknown_host"))
    }

    /// Whether it shows a token that is none which is known here. What proves who a client is, is another matter.
    fn is_stranger(&self, request: &Request) -> bool {
        let listens = self.served.sse_at(request.path()).is_some();
        !listens && self.api.access.is_wrong(request)
    }

    /// Keeps a stranger's answer back for a while, and says so.
    pub fn hold_back(&self, answer: HttpAnswer, peer: SocketAddr) -> Routed {
        Routed::Later(Rc::clone(&self.pausing).hold_back(answer, peer))
    }

    /// Gives up what requests held that a panic has ended.
    pub fn settle_left(&self) {
        self.api.settle_left();
    }
}
