//! What the HTTP port answers: the page, its list of listeners, health, `/metrics`, and `POST /v1/push`.

use serde::Deserialize;
use serde_json::json;

use super::{Port, Request};
use crate::app::Answer;
use crate::auth::bearer::Rights;
use crate::ident::{EVERYBODY, check_uid};
use crate::net::origin::{host_name, is_loopback};
use crate::payload::Message;
use crate::protocol::websocket::offers::bearer;

/// The page loads nothing from elsewhere, runs no inline script, and talks to this host alone, on
/// whatever ports the listeners have.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Most characters of what an answer says of a bad body.
const MESSAGE_CHARS_MAX: usize = 200;

pub struct HttpAnswer {
    pub status: u16,
    pub fields: Vec<(&'static str, &'static str)>,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    fn json(status: u16, body: &serde_json::Value) -> HttpAnswer {
        HttpAnswer {
            status,
            fields: vec![
                ("Content-Type", "application/json"),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
            ],
            body: format!("{body}\n").into_bytes(),
        }
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> HttpAnswer {
        HttpAnswer::json(
            status,
            &json!({"error": {"code": code, "message": message}}),
        )
    }

    fn method_not_allowed(allowed: &'static str) -> HttpAnswer {
        let mut answer =
            HttpAnswer::error(405, "method_not_allowed", "this path takes other methods");
        answer.fields.push(("Allow", allowed));
        answer
    }
}

/// The body of `POST /v1/push`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    uid: Uid,
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Uid {
    Text(String),
    Number(i64),
}

impl Port {
    pub(super) async fn route(&self, request: &Request) -> HttpAnswer {
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        if request.path == "/healthz" {
            if !reads {
                return HttpAnswer::method_not_allowed("GET, HEAD");
            }
            return HttpAnswer {
                status: 200,
                fields: vec![
                    ("Content-Type", "text/plain; charset=utf-8"),
                    ("Cache-Control", "no-store"),
                ],
                body: b"ok\n".to_vec(),
            };
        }
        // A name that resolves here today and elsewhere tomorrow must not borrow a browser's trust
        // (DNS rebinding). Where a token is asked for there is no such trust.
        let host = request.host.to_ascii_lowercase();
        if self.bearers.is_empty() && !host_name(&host).is_some_and(is_loopback) {
            return HttpAnswer::error(421, "unknown_host", "this Host is not served here");
        }
        match request.path.as_str() {
            "/v1/push" if request.method == "POST" => self.push(request).await,
            "/v1/push" => HttpAnswer::method_not_allowed("POST"),
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
            path => match self.site.assets.iter().find(|asset| asset.path == path) {
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
                None => HttpAnswer::error(404, "not_found", "nothing is served at this path"),
            },
        }
    }

    /// Whether who asks may do this; what is answered if not.
    pub(super) fn authorize(&self, request: &Request, right: Rights) -> Result<(), HttpAnswer> {
        if self.bearers.is_empty() {
            return Ok(());
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

    async fn push(&self, request: &Request) -> HttpAnswer {
        if let Err(refused) = self.authorize(request, Rights::PUSH) {
            return refused;
        }
        let own = format!("http://{}", request.host);
        if request
            .origin
            .as_ref()
            .is_some_and(|origin| !origin.eq_ignore_ascii_case(&own))
        {
            return HttpAnswer::error(
                403,
                "foreign_origin",
                "only the page of this server may push",
            );
        }
        let media = request.content_type.as_deref().unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") {
            return HttpAnswer::error(415, "not_json", "expected Content-Type: application/json");
        }
        let push: Push = match serde_json::from_slice(&request.body) {
            Ok(push) => push,
            Err(error) => {
                let mut message = format!("expected {{\"uid\":\"…\",\"text\":\"…\"}}: {error}");
                // It quotes a name that is none of ours, which may be as long as the body.
                if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
                    message.truncate(end);
                }
                return HttpAnswer::error(400, "bad_request", &message);
            }
        };
        let uid = match push.uid {
            Uid::Text(uid) => uid,
            Uid::Number(number) => number.to_string(),
        };
        if let Err(error) = check_uid(&uid)
            && uid != EVERYBODY
        {
            return HttpAnswer::error(400, "bad_uid", &error.to_string());
        }
        let waiting = self
            .host
            .borrow_mut()
            .push(self.reach, &uid, Message::Text(&push.text));
        (self.turn)();
        let connections = match waiting.await {
            Answer::Reached(connections) => connections,
            Answer::Stats(_) => 0,
        };
        let verdict = if connections > 0 {
            "delivered"
        } else {
            "offline"
        };
        HttpAnswer::json(
            200,
            &json!({"verdict": verdict, "connections": connections}),
        )
    }
}
