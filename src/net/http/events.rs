//! `GET /v1/events?uid=…`: a client that listens by Server-Sent Events.
//!
//! Here its request is held against the rules: who may ask from which page, and who it is. Then its socket goes to the
//! core's transport ([`Subscriber`]), and this port has nothing more to do with it: it counts as a client there.
//! Nothing is kept. Called by the port for each request.
//!
//! A page's own requests to its host have no `Origin`, but `Sec-Fetch-Site` then, where the browser trusts the
//! connection (TLS, or this machine); and what a foreign page has embedded, as an image, says `cross-site` there.

use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{FromRawFd, IntoRawFd};

use monoio::net::TcpStream;
use tracing::warn;

use super::routes::HttpAnswer;
use super::{Port, Request};
use crate::app::ending;
use crate::auth::ProofError;
use crate::close::CloseReason;
use crate::ident::check_uid;
use crate::net::origin::{Foreign, Visitor};
use crate::net::transport::{Claim, Subscriber};
use crate::protocol::http::HttpError;
use crate::protocol::http::head::Head;
use crate::protocol::http::query::unescape;
use crate::protocol::websocket::offers::{self, Token};

const PATH: &str = "/v1/events";

/// What such a request says beside the parts that every request has.
pub struct Ask {
    query: Option<String>,
    /// What proxies say of the client.
    forwarded: Option<String>,
    token: Result<Option<Token>, HttpError>,
    /// What a browser says of where the request comes from.
    fetch_site: Option<String>,
}

impl Ask {
    /// Of a request's head, if it is one.
    pub fn of(head: &Head<'_>) -> Option<Ask> {
        (head.path == PATH).then(|| Ask {
            query: head.query.map(str::to_owned),
            forwarded: head.forwarded(),
            token: offers::token(head),
            fetch_site: head
                .each("Sec-Fetch-Site")
                .next()
                .map(|site| String::from_utf8_lossy(site).into_owned()),
        })
    }
}

/// Where the clients of a port go that listen.
#[derive(Clone, Copy)]
pub struct Door {
    /// The listener that they are connections of.
    pub listener: u16,
    /// Whether they must prove who they are.
    pub proves: bool,
}

/// A client that is let in.
pub struct Admitted {
    claim: Claim,
    peer: SocketAddr,
    origin: Option<String>,
}

/// One that is not, or asked only whether it would be.
pub struct Declined {
    pub answer: HttpAnswer,
    /// Pages of this origin may read it.
    pub readable_by: Option<String>,
}

impl From<HttpAnswer> for Declined {
    fn from(answer: HttpAnswer) -> Declined {
        Declined {
            answer,
            readable_by: None,
        }
    }
}

impl Port {
    /// Lets a client in that asks to listen, or says why not. `None` of any other request.
    pub(super) fn admit(
        &self,
        request: &Request,
        peer: SocketAddr,
    ) -> Option<Result<Admitted, Declined>> {
        let (ask, door) = (request.events.as_ref()?, self.events?);
        let refused = self.misses(request).map(|answer| Err(answer.into()));
        refused.or_else(|| Some(self.examine(request, ask, door, peer)))
    }

    fn examine(
        &self,
        request: &Request,
        ask: &Ask,
        door: Door,
        peer: SocketAddr,
    ) -> Result<Admitted, Declined> {
        let peer = match self.gate.client(peer, ask.forwarded.as_deref()) {
            Ok(peer) => peer,
            Err(error) => {
                return Err(HttpAnswer::error(error.status, "bad_request", error.text).into());
            }
        };
        let token = match &ask.token {
            Ok(token) => token.as_ref().filter(|_| door.proves),
            Err(error) => {
                return Err(HttpAnswer::error(error.status, "bad_token", error.text).into());
            }
        };
        // A page that sends the field has asked before whether it may (below).
        let by_field = token.is_some_and(|token| token.authorization);
        if let Err(foreign) = self.admit_origin(request, ask, door.proves && !by_field) {
            let (origin, host) = (request.origin.as_deref(), &request.host);
            let mut origins = self.origins.borrow_mut();
            origins.log_refusal(foreign, origin, host, Some(peer));
            self.count(CloseReason::BadHandshake);
            let HttpError { status, text } = foreign.answer();
            return Err(HttpAnswer::error(status, "foreign_origin", text).into());
        }
        let tell = |answer: HttpAnswer| Declined {
            answer,
            readable_by: request.origin.clone(),
        };
        match request.method.as_str() {
            "GET" => {}
            "OPTIONS" => return Err(tell(preflight())),
            _ => return Err(tell(HttpAnswer::method_not_allowed("GET, OPTIONS"))),
        }
        if self.stopping.get() {
            let reason = CloseReason::Stopping;
            self.count(reason);
            let mut answer = HttpAnswer::error(503, "stopping", reason.text());
            answer.fields.push(("Retry-After", "1"));
            return Err(tell(answer));
        }
        let claim = self.claim_uid(ask, door, token).map_err(tell)?;
        Ok(Admitted {
            claim,
            peer,
            origin: request.origin.clone(),
        })
    }

    /// Whether the page that asks is let in, or the client that is no page.
    fn admit_origin(&self, request: &Request, ask: &Ask, strict: bool) -> Result<(), Foreign> {
        let origins = self.origins.borrow();
        let (host, on_loopback) = (request.host.as_str(), self.gate.is_on_loopback());
        let visitor = Visitor {
            origin: request.origin.as_deref(),
            host,
            strict,
            on_loopback,
        };
        match (visitor.origin, ask.fetch_site.as_deref()) {
            (None, Some("same-origin")) => {
                let own = ["https", "http"].map(|scheme| format!("{scheme}://{host}"));
                let [https, http] = own.each_ref().map(|own| {
                    origins.admit(Visitor {
                        origin: Some(own),
                        ..visitor
                    })
                });
                https.or(http)
            }
            (None, Some("cross-site" | "same-site")) => Err(Foreign::Embedded),
            // Over plain HTTP to a name that is no loopback's a page's own request says nothing at all.
            (None, _) => origins
                .admit_host(host, on_loopback)
                .and_then(|()| origins.admit(visitor)),
            (Some(_), _) => origins.admit(visitor),
        }
    }

    /// Who the client is, by what it says or, where that is asked for, by what it proves.
    fn claim_uid(&self, ask: &Ask, door: Door, token: Option<&Token>) -> Result<Claim, HttpAnswer> {
        let bad_uid = |text: &str| HttpAnswer::error(400, "bad_uid", text);
        let uid = match uid_in(ask.query.as_deref().unwrap_or_default()) {
            Ok(uid) => uid,
            Err(text) => return Err(bad_uid(text)),
        };
        if !door.proves {
            let uid = uid.ok_or_else(|| bad_uid("expected /v1/events?uid=UID"))?;
            check_uid(&uid).map_err(|error| bad_uid(&error.to_string()))?;
            return Ok(Claim::Uid(uid));
        }
        let shown = match token {
            Some(token) => self.host.borrow_mut().check_proof(&token.text),
            None => Err(ProofError::Missing),
        };
        let shown = shown.and_then(|proof| match uid {
            Some(uid) if *uid != *proof.uid => Err(ProofError::OtherUid),
            _ => Ok(proof),
        });
        shown.map(Claim::Proof).map_err(|error| {
            self.count(ending(error));
            let mut answer = HttpAnswer::error(401, "unauthorized", error.text());
            answer.fields.push(("WWW-Authenticate", "Bearer"));
            answer
        })
    }

    fn count(&self, reason: CloseReason) {
        self.host.borrow_mut().shard().count_refused(reason);
    }

    /// Hands a client's connection over, on which nothing is in flight any more.
    pub(super) fn hand_over(&self, stream: TcpStream, admitted: Admitted) {
        let Some(door) = self.events else { return };
        let descriptor = stream.into_raw_fd();
        // SAFETY: the runtime has just given it up, and nobody else has it.
        let stream = unsafe { StdTcpStream::from_raw_fd(descriptor) };
        if let Err(error) = stream.set_nonblocking(true) {
            return warn!(%error, "a client that listens could not be served");
        }
        let Admitted {
            claim,
            peer,
            origin,
        } = admitted;
        let subscriber = Subscriber {
            stream,
            peer,
            claim,
            origin,
        };
        (self.subscribe)(door.listener, subscriber);
    }
}

/// What a browser asks first where a page sends fields of its own.
fn preflight() -> HttpAnswer {
    HttpAnswer {
        status: 204,
        fields: vec![
            ("Access-Control-Allow-Methods", "GET"),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Cache-Control, Last-Event-ID",
            ),
            ("Access-Control-Max-Age", "600"),
        ],
        body: Vec::new(),
    }
}

/// The uid that a query names, if it does.
fn uid_in(query: &str) -> Result<Option<String>, &'static str> {
    let mut found = None;
    for pair in query.split('&') {
        if let Some(value) = pair.strip_prefix("uid=") {
            let uid = unescape(value).ok_or("the uid's escapes are no UTF-8")?;
            if found.replace(uid).is_some() {
                return Err("more than one uid");
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_of_queries() {
        for (query, uid) in [
            ("", Ok(None)),
            ("uid", Ok(None)),
            ("uid=", Ok(Some(""))),
            ("a=1&uid=u%201+b&token=x", Ok(Some("u 1 b"))),
            ("uid=%e6%B0%b4", Ok(Some("水"))),
            ("uid=a=b", Ok(Some("a=b"))),
            ("uid=a&uid=a", Err(())),
            ("uid=%", Err(())),
            ("uid=%4", Err(())),
            ("uid=%+4", Err(())),
            ("uid=%ff", Err(())),
            ("uid=%e6%B0", Err(())),
        ] {
            let found = uid_in(query).map_err(|_| ());
            assert_eq!(found, uid.map(|uid| uid.map(str::to_owned)), "{query}");
        }
    }
}
