//! Which pages may open a websocket here: the `Origin` that a browser sends (RFC 6455, section 10.2).
//!
//! By default the same host on any port, loopback names being equal; no origin (not a browser) and
//! `null` (a page opened from a file) are let in, too. A list in the configuration replaces that.

/// The origins let in.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    listed: Vec<String>,
}

impl Origins {
    pub fn new(listed: &[String]) -> Origins {
        Origins {
            listed: listed.iter().map(|one| one.to_ascii_lowercase()).collect(),
        }
    }

    /// Whether a page of `origin` may connect to `host` (the request's `Host`).
    pub fn admits(&self, origin: Option<&str>, host: &str) -> bool {
        let Some(origin) = origin else { return true };
        let origin = origin.to_ascii_lowercase();
        if !self.listed.is_empty() {
            return self.listed.iter().any(|one| *one == "*" || *one == origin);
        }
        if origin == "null" {
            return true;
        }
        let Some((_, authority)) = origin.split_once("://") else {
            return false;
        };
        let host = host.to_ascii_lowercase();
        let (page, own) = (host_name(authority), host_name(&host));
        page == own || is_loopback(page) && is_loopback(own)
    }
}

/// The host of `host:port`, brackets of IPv6 included.
pub fn host_name(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority
            .find(']')
            .map_or(authority, |end| &authority[..=end]);
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

pub fn is_loopback(host: &str) -> bool {
    let ip = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host == "localhost"
        || ip
            .parse::<std::net::IpAddr>()
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
            (Some("http://evil.example"), "push.example:1234", false),
            (Some("http://evil.example"), "127.0.0.1:1234", false),
            (Some("http://localhost.evil.example"), "localhost:1", false),
            (Some("http://127.0.0.1.evil.example"), "127.0.0.1:1", false),
            (Some("evil"), "push.example", false),
            (Some(""), "push.example", false),
        ] {
            assert_eq!(origins.admits(origin, host), admitted, "{origin:?} {host}");
        }
    }

    #[test]
    fn a_list_replaces_that() {
        let origins = Origins::new(&["https://Shop.example".into()]);
        assert!(origins.admits(Some("https://shop.example"), "push.example"));
        assert!(!origins.admits(Some("https://push.example"), "push.example"));
        assert!(!origins.admits(Some("null"), "push.example"));
        assert!(origins.admits(None, "push.example"));
        assert!(Origins::new(&["*".into()]).admits(Some("http://any.example"), "x"));
    }
}
