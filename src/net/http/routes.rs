//! What the HTTP port answers: the page, its list of listeners, health, `/metrics`, and what the API does (see [`api`]).

use std::net::SocketAddr;
use std::rc::Rc;

use super::events::Admitted;
use super::pending::AnswerFuture;
use super::{HttpAnswer, Port, Roles, api};
use crate::app::host::Host;
use crate::auth::backend_tokens::Rights;
use crate::net::origin::{Origins, host_name, is_loopback};
use crate::net::proxies::Proxies;
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
/// What a core has for deciding about a request.
pub struct Desk<'a> {
    pub host: &'a mut Host,
    pub origins: &'a mut Origins,
    pub proxies: &'a Proxies,
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// Whether this machine alone reaches the listener.
    pub on_loopback: bool,
    /// Whether the server stops.
    pub stopping: bool,
}

/// What is to become of a request.
pub enum Routed {
    /// Its answer is known.
    Now(HttpAnswer),
    /// It will be.
    Later(AnswerFuture),
    /// Its connection is to listen.
    Listens(Box<Admitted>),
}

impl Port {
    /// Decides about a request that has come whole.
    pub fn route(self: &Rc<Port>, request: Request, desk: &mut Desk<'_>) -> Routed {
        match self.admit(&request, desk) {
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

    fn find(self: &Rc<Port>, request: Request) -> Routed {
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
        let port = Rc::clone(self);
        Routed::Now(match request.path() {
            path if api::is_path(path) => match self.find_call(&request) {
                Ok(route) => {
                    return Routed::Later(Box::pin(async move { port.api(route, request).await }));
                }
                Err(refused) => refused,
            },
            "/metrics" if reads => match self.access.authorize(&request, Rights::READ) {
                Ok(()) => return Routed::Later(Box::pin(async move { port.metrics().await })),
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
        let is_open = self.access.asks_for_token() || role.are_for_clients();
        let host = request.host.to_ascii_lowercase();
        if is_open || host.is_empty() || host_name(&host).is_some_and(is_loopback) {
            return None;
        }
        Some(HttpAnswer::told(UNKNOWN_HOST, "unknown_host"))
    }
}
