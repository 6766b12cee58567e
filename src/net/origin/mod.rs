//! Which pages may open a websocket or listen here: the `Origin` that a browser sends (RFC 6455, section 10.2).
//!
//! By default the same host on any port, loopback names being equal; and whoever sends no origin, for that is no
//! browser. On a loopback listener the same host must be a loopback name: whoever owns another name may have it resolve
//! to this machine (DNS rebinding), and it would then be the same host. A list in the configuration replaces that, and
//! only it lets `null` in, which any site can have for an origin. Where clients prove who they are, a missing origin
//! must be listed, too, as `none`.
//! Called by the transport for each opening handshake, and by the HTTP port for who listens.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tracing::warn;

use crate::escape::Escaped;
use crate::log_limiter::LogLimiter;
use crate::protocol::http::HttpError;
use crate::unix_peer::ShownPeer;

/// Most characters of an origin in the log.
const LOGGED_MAX: usize = 128;

/// The origins let in.
#[derive(Default)]
pub struct Origins {
    listed: Vec<OriginPattern>,
    /// Of pages that were refused.
    refusals: LogLimiter,
}

/// One entry of the list.
enum OriginPattern {
    /// `*`: all of them, and none.
    Any,
    /// An origin as it is compared; or `null`, or `none`.
    One(String),
    /// Every host below one, of this scheme: `https`, and `.shop.example` with the port if there is one.
    Below { scheme: String, end: String },
}

impl OriginPattern {
    fn new(text: &str) -> OriginPattern {
        let text = plain(text);
        match text.split_once("://*") {
            _ if text == "*" => OriginPattern::Any,
            Some((scheme, end)) if end.starts_with('.') => OriginPattern::Below {
                scheme: scheme.to_owned(),
                end: end.to_owned(),
            },
            _ => OriginPattern::One(text),
        }
    }

    /// Whether an origin as it is compared is one of these.
    fn has(&self, origin: &str) -> bool {
        match self {
            OriginPattern::Any => true,
            // What stands for no origin is none.
            OriginPattern::One(one) => one == origin && origin != "none",
            OriginPattern::Below { scheme, end } => origin
                .split_once("://")
                .filter(|(own, _)| own == scheme)
                .and_then(|(_, host)| host.strip_suffix(end.as_str()))
                .is_some_and(are_labels),
        }
    }
}

/// Whether this is one name or several with dots between, and nothing else.
fn are_labels(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(is_part))
}

/// Who asks, as far as it matters here.
#[derive(Clone, Copy)]
pub struct Visitor<'a> {
    pub origin: Option<&'a str>,
    /// The request's `Host`.
    pub host: &'a str,
    /// Where clients prove who they are: what says nothing of where it comes from must be listed.
    pub strict: bool,
    /// The listener is one that this machine alone reaches.
    pub on_loopback: bool,
}

/// Why one is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// Its page is of another host, or of none that is listed.
    Origin,
    /// Its page is of the host that it asks for, which is none of this machine's own names.
    Host,
    /// Its page has no origin of its own.
    Null,
    /// It is no page, or does not say so.
    Nothing,
    /// A page of another origin has embedded it as an image or a script, say.
    Embedded,
}

impl Foreign {
    /// What is answered, with the key that would let it in.
    pub fn answer(self) -> HttpError {
        HttpError {
            status: 403,
            text: match self {
                Foreign::Origin => {
                    "pages of this origin are not let in here, unless \"origins\" in the server's configuration \
                     lists it"
                }
                Foreign::Host => {
                    "this Host is no name of the machine that listens here, so its pages are not let in unless \
                     \"origins\" in the server's configuration lists their origin (behind a proxy, too)"
                }
                Foreign::Null => {
                    "pages without an origin of their own (Origin: null) are not let in here, unless \"origins\" in \
                     the server's configuration lists null"
                }
                Foreign::Nothing => {
                    "clients without an Origin send their token in an Authorization field here, unless \"origins\" \
                     in the server's configuration lists none"
                }
                Foreign::Embedded => {
                    "this is embedded in a page of another origin; a page opens it by EventSource or fetch, and \
                     \"origins\" in the server's configuration lists its origin"
                }
            },
        }
    }
}

impl Origins {
    pub fn new(listed: &[String]) -> Origins {
        Origins {
            listed: listed.iter().map(|one| OriginPattern::new(one)).collect(),
            refusals: LogLimiter::default(),
        }
    }

    /// Whether one may come in, or why not.
    pub fn admit(&self, visitor: Visitor<'_>) -> Result<(), Foreign> {
        let Some(origin) = visitor.origin else {
            let is_listed = |one: &OriginPattern| match one {
                OriginPattern::Any => true,
                OriginPattern::One(one) => one == "none",
                OriginPattern::Below { .. } => false,
            };
            return match !visitor.strict || self.listed.iter().any(is_listed) {
                true => Ok(()),
                false => Err(Foreign::Nothing),
            };
        };
        let origin = plain(origin);
        if self.lists(&origin) {
            return Ok(());
        }
        if origin == "null" {
            return Err(Foreign::Null);
        }
        if !self.listed.is_empty() {
            return Err(Foreign::Origin);
        }
        let host = visitor.host.to_ascii_lowercase();
        let page = origin.split_once("://").map(|(_, page)| page);
        match (page.and_then(host_name), host_name(&host)) {
            (Some(page), Some(own)) if is_loopback(page) && is_loopback(own) => Ok(()),
            (Some(page), Some(own)) if page == own => match visitor.on_loopback {
                true => Err(Foreign::Host),
                false => Ok(()),
            },
            _ => Err(Foreign::Origin),
        }
    }

    /// Whether one may ask that says no origin but may be a page all the same, as a page's own requests do: not on a
    /// loopback listener by a name that only resolves here, unless a page of that name is listed.
    pub fn admit_host(&self, host: &str, on_loopback: bool) -> Result<(), Foreign> {
        let host = host.to_ascii_lowercase();
        let is_own = |scheme: &str| self.lists(&plain(&format!("{scheme}://{host}")));
        // No browser leaves the Host out.
        let is_known = host.is_empty() || host_name(&host).is_some_and(is_loopback);
        match !on_loopback || is_known || is_own("https") || is_own("http") {
            true => Ok(()),
            false => Err(Foreign::Host),
        }
    }

    /// Whether an origin as it is compared is listed.
    fn lists(&self, origin: &str) -> bool {
        self.listed.iter().any(|one| one.has(origin))
    }

    /// Tells the log of one that was refused, and what would let it in.
    pub fn log_refusal(
        &mut self,
        foreign: Foreign,
        origin: Option<&str>,
        host: &str,
        peer: Option<SocketAddr>,
    ) {
        let Some(more) = self.refusals.may_log(Instant::now()) else {
            return;
        };
        let peer = peer.map(ShownPeer).map(tracing::field::display);
        let origin = origin.map(|origin| tracing::field::display(Escaped(cut(origin))));
        let host = Escaped(cut(host));
        match foreign {
            Foreign::Origin => warn!(
                origin,
                peer,
                more,
                "a page of a foreign origin was refused; list it under \"origins\" to let it in"
            ),
            Foreign::Host => warn!(
                origin,
                %host,
                peer,
                more,
                "a page of a foreign host was refused on a loopback listener, for any name can be made to resolve here; \
                 if it comes by a proxy on this machine, list its origin under \"origins\""
            ),
            Foreign::Null => warn!(
                origin,
                peer,
                more,
                "a page without an origin of its own was refused; list \"null\" under \"origins\" to let such \
                 pages in, but any site can have one"
            ),
            Foreign::Nothing => warn!(
                peer,
                more,
                "a client without an origin was refused; have it send its token in an Authorization field, \
                 or list \"none\" under \"origins\" to let such clients in"
            ),
            Foreign::Embedded => warn!(
                peer,
                more,
                "what a page of another origin has embedded was refused; have it use EventSource, and list its origin \
                 under \"origins\""
            ),
        }
    }
}

/// As much of a text as goes into the log.
fn cut(text: &str) -> &str {
    match text.char_indices().nth(LOGGED_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// An origin as it is compared: a browser writes it in lower case, and leaves out the scheme's own port.
fn plain(origin: &str) -> String {
    let mut origin = origin.to_ascii_lowercase();
    let own_port = match origin.split_once("://") {
        Some(("http", _)) => ":80",
        Some(("https", _)) => ":443",
        _ => return origin,
    };
    if let Some(short) = origin.strip_suffix(own_port) {
        origin.truncate(short.len());
    }
    origin
}

/// The host of `host` or `host:port`, brackets of IPv6 included; `None` of anything else.
pub fn host_name(authority: &str) -> Option<&str> {
    let end = match authority.starts_with('[') {
        true => authority.find(']')? + 1,
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', '\\']);
    (is_host && is_port).then_some(host)
}

/// Whether a host in lower case is this machine by its name or its address (RFC 6761, section 6.3).
pub fn is_loopback(host: &str) -> bool {
    let ip = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || ip
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
