//! What the HTTP port answers: the page, its list of listeners, health, `/metrics`, and what the API does (see [`api`]).

use serde_json::json;

use super::{Port, Request, Roles, api};
use crate::auth::bearer::Rights;
use crate::net::origin::{host_name, is_loopback};
use crate::protocol::http::{HttpError, health};
use crate::protocol::websocket::offers::bearer;

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
const FORWARDED: HttpError = HttpError {
    status: 403,
    text: "a proxy has forwarded this; without backend.token the API and the metrics are for this machine alone",
};

pub struct HttpAnswer {
    pub status: u16,
    pub fields: Vec<(&'static str, &'static str)>,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// One value of JSON, as its text.
    pub(super) fn json_text(status: u16, mut text: String) -> HttpAnswer {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        HttpAnswer {
            status,
            fields: vec![
                ("Content-Type", "application/json"),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
            ],
            body: text.into_bytes(),
        }
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> HttpAnswer {
        let body = json!({"error": {"code": code, "message": message}});
        HttpAnswer::json_text(status, body.to_string())
    }

    fn not_found() -> HttpAnswer {
        HttpAnswer::error(404, "not_found", "nothing is served at this path")
    }

    pub(super) fn method_not_allowed(allowed: &'static str) -> HttpAnswer {
        let mut answer =
            HttpAnswer::error(405, "method_not_allowed", "this path takes other methods");
        answer.fields.push(("Allow", allowed));
        answer
    }
}

impl Port {
    pub(super) async fn route(&self, request: &Request) -> HttpAnswer {
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        let asset = self.site.assets.iter();
        let asset = asset.clone().find(|asset| asset.path == request.path);
        let shows_page = asset.is_some() && self.roles.has(Roles::PAGE) && reads;
        if let Some(health) = request.health.filter(|_| !shows_page) {
            let (status, fields, body) = health.answer(self.standing.answer());
            return HttpAnswer {
                status,
                fields,
                body: body.into(),
            };
        }
        if let "/healthz" | "/readyz" = request.path.as_str() {
            return HttpAnswer::method_not_allowed(health::METHODS);
        }
        if let Some(refused) = self.misses(request) {
            return refused;
        }
        match request.path.as_str() {
            path if api::is_path(path) => self.api(request).await,
            "/metrics" if reads => self.metrics(request).await,
            "/metrics" => HttpAnswer::method_not_allowed("GET, HEAD"),
            "/listeners.json" if reads => HttpAnswer {
                status: 200,
                fields: vec![
                    ("Content-Type", "application/json"),
                    ("Cache-Control", "no-store"),
                ],
                body: self.listeners.as_bytes().to_vec(),
            },
            _ => match asset {
                Some(_) if !reads => HttpAnswer::method_not_allowed("GET, HEAD"),
                Some(asset) => HttpAnswer {
                    status: 200,
                    fields: vec![
                        ("Content-Type", asset.content_type),
                        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
                        ("X-Content-Type-Options", "nosniff"),
                        ("Referrer-Policy", "no-referrer"),
                        ("Cache-Control", "no-cache"),
                    ],
                    body: asset.bytes.to_vec(),
                },
                None => HttpAnswer::not_found(),
            },
        }
    }

    /// What is answered to a request that has no business here: its path has a role that this listener has not, or it
    /// was meant for another host.
    pub(super) fn misses(&self, request: &Request) -> Option<HttpAnswer> {
        if !self.roles.has(Roles::of_path(&request.path)) {
            return Some(HttpAnswer::not_found());
        }
        // A name that resolves here today and elsewhere tomorrow must not borrow a browser's trust
        // (DNS rebinding). Where a token is asked for there is no such trust, nor where clients alone come in.
        // And no browser leaves the Host out, as a request of HTTP/1.0 may.
        let is_open = !self.bearers.is_empty() || self.roles.are_for_clients();
        let host = request.host.to_ascii_lowercase();
        if is_open || host.is_empty() || host_name(&host).is_some_and(is_loopback) {
            return None;
        }
        self.gate.explain(request.peer, UNKNOWN_HOST);
        let HttpError { status, text } = UNKNOWN_HOST;
        Some(HttpAnswer::error(status, "unknown_host", text))
    }

    /// Whether who asks may do this; what is answered if not.
    pub(super) fn authorize(&self, request: &Request, right: Rights) -> Result<(), HttpAnswer> {
        if self.bearers.is_empty() {
            // Whoever is on this machine may; but a proxy is on it for others.
            if !request.is_forwarded {
                return Ok(());
            }
            self.gate.explain(request.peer, FORWARDED);
            let HttpError { status, text } = FORWARDED;
            return Err(HttpAnswer::error(status, "forwarded", text));
        }
        let token = request.authorization.as_deref().and_then(bearer);
        match token.and_then(|token| self.bearers.rights(token)) {
            Some(rights) if rights.has(right) => Ok(()),
            Some(_) => Err(HttpAnswer::error(
                403,
                "no_right",
                &format!("this token has no right to {right}"),
            )),
            None => {
                let words = match token {
                    Some(_) => "wrong token",
                    None => "expected Authorization: Bearer TOKEN",
                };
                let mut answer = HttpAnswer::error(401, "unauthorized", words);
                answer.fields.push(("WWW-Authenticate", "Bearer"));
                Err(answer)
            }
        }
    }
}
