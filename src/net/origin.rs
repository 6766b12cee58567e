//! Which pages may open a websocket here: the `Origin` that a browser sends (RFC 6455, section 10.2).
//!
//! By default the same host on any port, loopback names being equal; no origin (not a browser) and
//! `null` (a page opened from a file) are let in, too. A list in the configuration replaces that. Where
//! clients prove who they are, these two must be listed, the former as `none`.
//! Called by the transport for each opening handshake.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tracing::warn;

use crate::escape::Escaped;
use crate::hush::Hush;

/// Most characters of an origin in the log.
const LOGGED_MAX: usize = 128;

/// The origins let in.
#[derive(Default)]
pub struct Origins {
    listed: Vec<String>,
    /// Of pages that were refused.
    refusals: Hush,
}

impl Origins {
    pub fn new(listed: &[String]) -> Origins {
        Origins {
            listed: listed.iter().map(|one| plain(one)).collect(),
            refusals: Hush::default(),
        }
    }

    /// Whether a page of `origin` may connect to `host` (the request's `Host`). With `strict`, what says
    /// nothing of where it comes from must be listed.
    pub fn admits(&self, origin: Option<&str>, host: &str, strict: bool) -> bool {
        let lists = |name: &str| self.listed.iter().any(|one| *one == "*" || *one == name);
        let Some(origin) = origin else {
            return !strict || lists("none");
        };
        let origin = plain(origin);
        if !self.listed.is_empty() {
            return lists(&origin);
        }
        if origin == "null" {
            return !strict;
        }
        let host = host.to_ascii_lowercase();
        let page = origin.split_once("://").map(|(_, page)| page);
        match (page.and_then(host_name), host_name(&host)) {
            (Some(page), Some(own)) => page == own || is_loopback(page) && is_loopback(own),
            _ => false,
        }
    }

    /// Tells the log of a page that was refused, and what would let it in.
    pub fn log_refusal(&mut self, origin: Option<&str>, peer: Option<SocketAddr>) {
        let Some(more) = self.refusals.ends(Instant::now()) else {
            return;
        };
        let Some(origin) = origin else {
            let peer = peer.map(tracing::field::display);
            return warn!(
                peer,
                more,
                "a client without an origin was refused; have it send its token in an Authorization field, \
                 or list \"none\" under \"origins\" to let such clients in"
            );
        };
        let end = origin.char_indices().nth(LOGGED_MAX);
        let origin = Escaped(end.map_or(origin, |(end, _)| &origin[..end]));
        let peer = peer.map(tracing::field::display);
        warn!(
            %origin,
            peer,
            more,
            "a page of a foreign origin was refused; list it under \"origins\" to let it in"
        );
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
mod tests {
    use super::*;

    #[test]
    fn by_default_the_same_host_on_any_port() {
        let origins = Origins::default();
        for (origin, host, admitted) in [
            (None, "push.example:1234", true),
            (Some("null"), "push.example", true),
            (Some("https://push.example"), "push.example:1234", true),
            (Some("http://PUSH.example:8080"), "push.example:1234", true),
            (Some("http://localhost:8080"), "127.0.0.1:1234", true),
            (Some("http://127.0.0.1:8080"), "[::1]:1234", true),
            (Some("http://[::1]"), "LOCALHOST:1234", true),
            (Some("http://[::ffff:127.0.0.1]:1"), "127.9.9.9", true),
            (Some("https://app.localhost:3000"), "127.0.0.1:1234", true),
            (
                Some("http://[2001:db8::1]:8080"),
                "[2001:db8::1]:1234",
                true,
            ),
            (Some("http://[2001:db8::1]"), "[2001:db8::2]", false),
            (Some("http://evil.example"), "push.example:1234", false),
            (Some("http://evil.example"), "127.0.0.1:1234", false),
            (Some("http://localhost.evil.example"), "localhost:1", false),
            (Some("http://127.0.0.1.evil.example"), "127.0.0.1:1", false),
            (Some("http://notlocalhost"), "localhost:1", false),
            (
                Some("http://push.example.evil.example"),
                "push.example",
                false,
            ),
            (Some("http://evil.push.example"), "push.example", false),
            (Some("http://10.0.0.1"), "127.0.0.1", false),
            (Some("http://0.0.0.0"), "127.0.0.1", false),
            // No browser writes these, and nobody else gets in by them.
            (
                Some("http://push.example:80@evil.example"),
                "push.example",
                false,
            ),
            (Some("http://127.0.0.1:80@evil.example"), "127.0.0.1", false),
            (Some("http://push.example:1/../"), "push.example", false),
            (Some("http://push.example/"), "push.example", false),
            (Some("http://[::1]evil.example"), "[::1]", false),
            (Some("http://[::1"), "[::1", false),
            (Some("http://:80"), ":80", false),
            (Some("http://"), "push.example", false),
            (Some("push.example"), "push.example", false),
            (Some("evil"), "push.example", false),
            (Some(""), "push.example", false),
        ] {
            assert_eq!(
                origins.admits(origin, host, false),
                admitted,
                "{origin:?} {host}"
            );
        }
    }

    #[test]
    fn what_says_nothing_is_listed_where_that_matters() {
        let listed = |names: &[&str]| {
            Origins::new(
                &names
                    .iter()
                    .map(|one| (*one).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        let own = "push.example:1234";
        let default = Origins::default();
        assert!(default.admits(Some("https://push.example"), own, true));
        assert!(!default.admits(Some("null"), own, true));
        assert!(!default.admits(None, own, true));
        assert!(!listed(&["https://push.example"]).admits(None, own, true));
        assert!(listed(&["https://push.example", "none"]).admits(None, own, true));
        assert!(!listed(&["none"]).admits(Some("null"), own, true));
        assert!(listed(&["null"]).admits(Some("null"), own, true));
        assert!(listed(&["*"]).admits(Some("null"), own, true));
        assert!(listed(&["*"]).admits(None, own, true));
    }

    #[test]
    fn a_list_replaces_that() {
        let origins = Origins::new(&["https://Shop.example".into()]);
        assert!(origins.admits(Some("https://shop.example"), "push.example", false));
        assert!(!origins.admits(Some("https://push.example"), "push.example", false));
        assert!(!origins.admits(Some("null"), "push.example", false));
        assert!(origins.admits(None, "push.example", false));
        assert!(!origins.admits(Some("http://shop.example"), "push.example", false));
        assert!(!origins.admits(Some("https://shop.example:8443"), "push.example", false));
        assert!(Origins::new(&["*".into()]).admits(Some("http://any.example"), "x", false));
        assert!(Origins::new(&["NULL".into()]).admits(Some("null"), "x", false));
        // The port that a browser leaves out may be written.
        for (listed, sent) in [
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example", "http://shop.example:80"),
        ] {
            let origins = Origins::new(&[listed.into()]);
            assert!(origins.admits(Some(sent), "push.example", false), "{sent}");
        }
        let origins = Origins::new(&["http://shop.example:443".into()]);
        assert!(!origins.admits(Some("http://shop.example"), "push.example", false));
    }
}
