//! `GET /v1/events?uid=…`: a client that listens by Server-Sent Events.
//!
//! Here its request is held against the rules: who may ask from which page, and who it is. Then its connection becomes
//! one of the app's, with another codec, which the transport sees to. Nothing is kept. Called for each request.
//!
//! A page's own requests to its host have no `Origin`, but `Sec-Fetch-Site` then, where the browser trusts the
//! connection (TLS, or this machine); and what a foreign page has embedded, as an image, says `cross-site` there.

use std::net::SocketAddr;

use super::{Desk, HttpAnswer, ServedSite, SseListener};
use crate::app::ending;
use crate::auth::{Credential, CredentialError};
use crate::close::CloseReason;
use crate::ident::check_uid;
use crate::net::origin::{Foreign, Visitor};
use crate::protocol::http::opening::OpeningRequest;
use crate::protocol::http::query::unescape;
use crate::protocol::http::token::Token;
use crate::protocol::http::{HttpError, Request};
use crate::shard::Following;
use crate::streams::Pattern;

/// Who a client is.
pub enum ClientIdentity {
    /// It says so.
    Uid(String),
    /// It has proved it.
    Credential(Credential),
}

/// A client that is let in.
pub struct Admitted {
    pub door: SseListener,
    pub claim: ClientIdentity,
    /// What it follows, and from where on.
    pub following: Following,
    /// Its own address, whoever is in between.
    pub peer: SocketAddr,
    /// The page's origin, if that is to be told that it is let in.
    pub origin: Option<String>,
    /// What its app is shown.
    pub request: OpeningRequest,
}

/// Lets a client in that asks to listen, or says why not. `None` of any other request.
pub(super) fn admit(
    served: &ServedSite,
    request: &Request,
    desk: &mut Desk<'_>,
) -> Option<Result<Admitted, HttpAnswer>> {
    let door = served.sse_at(request.path())?;
    Some(examine(request, door, desk))
}

fn examine(
    request: &Request,
    door: SseListener,
    desk: &mut Desk<'_>,
) -> Result<Admitted, HttpAnswer> {
    let peer = desk
        .client(request)
        .map_err(|error| HttpAnswer::error(error.status, "bad_request", error.text))?;
    let token = match &request.token {
        Ok(token) => token.as_ref().filter(|_| door.proves),
        Err(error) => return Err(HttpAnswer::error(error.status, "bad_token", error.text)),
    };
    let origin = request.field("origin");
    // A page that sends the field has asked before whether it may (below).
    let by_field = token.is_some_and(|token| token.authorization);
    if let Err(foreign) = admit_origin(request, door.proves && !by_field, desk) {
        let host = &request.host;
        desk.origins.log_refusal(foreign, origin, host, Some(peer));
        desk.count(CloseReason::BadHandshake);
        let HttpError { status, text } = foreign.answer();
        return Err(HttpAnswer::error(status, "foreign_origin", text));
    }
    let tell = |answer: HttpAnswer| HttpAnswer {
        readable_by: origin.map(str::to_owned),
        ..answer
    };
    match request.method() {
        "GET" => {}
        "OPTIONS" => return Err(tell(preflight())),
        _ => return Err(tell(HttpAnswer::method_not_allowed("GET, OPTIONS"))),
    }
    if desk.stopping {
        let reason = CloseReason::Stopping;
        desk.count(reason);
        let answer = HttpAnswer::error(503, "stopping", reason.text());
        return Err(tell(answer.with("Retry-After", "1")));
    }
    let claim = claim_uid(request, door, token, desk).map_err(tell)?;
    let most = desk.host.shard().groups_per_connection_max();
    let groups = groups_in(request.query(), most).map_err(tell)?;
    if let ClientIdentity::Credential(credential) = &claim {
        check_rights(credential, &groups).map_err(tell)?;
    }
    let following = follow(request, &groups);
    Ok(Admitted {
        door,
        claim,
        following,
        peer,
        origin: origin.map(str::to_owned),
        request: request.opening(door.headers),
    })
}

impl Desk<'_> {
    /// A client's own address: what trusted proxies say, if it comes by one. An error if they say none.
    fn client(&self, request: &Request) -> Result<SocketAddr, HttpError> {
        match request.forwarded() {
            Some(forwarded) if self.proxies.trust(self.peer.ip()) => {
                let ip = self.proxies.client(&forwarded)?;
                Ok(SocketAddr::new(ip, self.peer.port()))
            }
            _ => Ok(self.peer),
        }
    }

    fn count(&mut self, reason: CloseReason) {
        self.host.shard().count_refused(reason);
    }
}

/// Whether the page that asks is let in, or the client that is no page.
fn admit_origin(request: &Request, strict: bool, desk: &Desk<'_>) -> Result<(), Foreign> {
    let (origins, host) = (&desk.origins, request.host.as_str());
    let visitor = Visitor {
        origin: request.field("origin"),
        host,
        strict,
        on_loopback: desk.on_loopback,
    };
    match (visitor.origin, request.field("sec-fetch-site")) {
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
            .admit_host(host, desk.on_loopback)
            .and_then(|()| origins.admit(visitor)),
        (Some(_), _) => origins.admit(visitor),
    }
}

/// Who the client is, by what it says or, where that is asked for, by what it proves.
fn claim_uid(
    request: &Request,
    door: SseListener,
    token: Option<&Token>,
    desk: &mut Desk<'_>,
) -> Result<ClientIdentity, HttpAnswer> {
    let bad_uid = |text: &str| HttpAnswer::error(400, "bad_uid", text);
    let uid = uid_in(request.query()).map_err(bad_uid)?;
    if !door.proves {
        let uid = uid.ok_or_else(|| bad_uid("expected /v1/events?uid=UID"))?;
        check_uid(&uid).map_err(|error| bad_uid(&error.to_string()))?;
        return Ok(ClientIdentity::Uid(uid));
    }
    let shown = match token {
        Some(token) => desk.host.check_credential(&token.text),
        None => Err(CredentialError::Missing),
    };
    let shown = shown.and_then(|credential| match uid {
        Some(uid) if *uid != *credential.uid => Err(CredentialError::OtherUid),
        _ => Ok(credential),
    });
    shown.map(ClientIdentity::Credential).map_err(|error| {
        desk.count(ending(error));
        let answer = HttpAnswer::error(401, "unauthorized", error.text());
        answer.with("WWW-Authenticate", "Bearer")
    })
}

/// What a browser asks first where a page sends fields of its own.
fn preflight() -> HttpAnswer {
    let fields = [
        ("Access-Control-Allow-Methods", "GET"),
        (
            "Access-Control-Allow-Headers",
            "Authorization, Cache-Control, Last-Event-ID",
        ),
        ("Access-Control-Max-Age", "600"),
    ];
    HttpAnswer::new(204, &fields, "")
}

/// The groups that a query names.
fn groups_in(query: &str, groups_max: usize) -> Result<Vec<String>, HttpAnswer> {
    let bad = |code: &'static str, text: &str| HttpAnswer::error(400, code, text);
    let mut groups: Vec<String> = Vec::new();
    let values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("group="));
    for value in values {
        let group =
            unescape(value).ok_or_else(|| bad("bad_group", "the group's escapes are no UTF-8"))?;
        check_uid(&group).map_err(|error| bad("bad_group", &error.to_string()))?;
        if groups.contains(&group) {
            return Err(bad("bad_group", "a group is named twice"));
        }
        if groups.len() == groups_max {
            let words = format!("a connection has at most {groups_max} groups");
            return Err(bad("too_many_groups", &words));
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Whether what a client has proved lets it into all of these groups; if not, the answer names the first that it does not.
fn check_rights(credential: &Credential, groups: &[String]) -> Result<(), HttpAnswer> {
    if groups.is_empty() {
        return Ok(());
    }
    let patterns = credential.groups.patterns();
    let allowed: Vec<Pattern> = patterns.as_deref().map_or_else(
        |_| Vec::new(),
        |patterns| patterns.iter().map(|one| Pattern::new(one)).collect(),
    );
    let is_foreign = |group: &&String| !allowed.iter().any(|one| one.fits(group));
    let Some(group) = groups.iter().find(is_foreign) else {
        return Ok(());
    };
    let why = patterns.err().unwrap_or("the token's groups have it not");
    let words = format!("group \"{group}\": {why}");
    Err(HttpAnswer::error(403, "forbidden_group", &words))
}

/// What a client follows: its uid's stream, those of its groups, and everybody's; from where it says that it was, by the
/// field that a browser sends or else by its query.
fn follow(request: &Request, groups: &[String]) -> Following {
    let mut pairs = request.query().split('&');
    let since = pairs.rfind(|pair| pair.starts_with("since="));
    let since = since.and_then(|pair| pair.strip_prefix("since="));
    // What cannot be read is a gap.
    let since = since.map(|value| unescape(value).unwrap_or_else(|| value.to_owned()));
    // A browser that comes back asks by the URL of its page, which is older.
    let field = request.field("last-event-id").map(str::to_owned);
    let since = field
        .filter(|id| !id.is_empty())
        .or(since.filter(|text| !text.is_empty()));
    Following::of_client(groups, since.as_deref())
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
