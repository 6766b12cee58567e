//! Where a server listens: URLs, the sockets bound for them, and what they turned out to be.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use serde_json::json;
use tracing::warn;

use super::layout::{Layout, Listeners, SiteListener};
use super::spaces::Spaces;
use super::start_error;
use crate::config::{Config, ListenerLimits};
use crate::net::admission::Pool;
use crate::net::handover::Handover;
use crate::net::http::{Facts, SITE};
use crate::net::listener::{KeepaliveMode, Listener};
use crate::protocol::Codec;

/// A listener to be: its URL, and its own limits if it has any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// `websocket://`, `text://`, `frame://` or `http://`, then host and port. Port 0 takes a free one. A `websocket://` URL
    /// with a path is served by the `http://` listener of the same host and port.
    pub url: String,
    /// Limits in place of the server's.
    pub limits: ListenerLimits,
    /// Whether each connection must begin with a PROXY protocol header (version 2, or 1), which tells the
    /// client's address.
    pub proxy_protocol: bool,
}

impl Listen {
    /// A listener with the server's limits.
    pub fn new(url: impl Into<String>) -> Listen {
        Listen {
            url: url.into(),
            limits: ListenerLimits::default(),
            proxy_protocol: false,
        }
    }

    /// No address of its own, but `GET /v1/events` of every site that has the role: Server-Sent Events, for an app
    /// whose connections bind a uid. That is in the request, or proved by its token; the app gets it as the first
    /// message. What it sends before the connection is bound is lost where that then fails.
    pub fn events() -> Listen {
        Listen::new("events://")
    }

    /// The listener with limits of its own, where it has any.
    pub fn with_limits(self, limits: ListenerLimits) -> Listen {
        Listen { limits, ..self }
    }

    fn parts(&self) -> Result<(&str, &str), String> {
        self.url
            .split_once("://")
            .ok_or_else(|| format!("{:?}: expected scheme://host:port", self.url))
    }

    /// The codec; `None` for HTTP.
    pub(super) fn codec(&self) -> Result<Option<Codec>, String> {
        match self.parts()?.0 {
            "websocket" | "ws" => Ok(Some(Codec::WebSocket)),
            "text" => Ok(Some(Codec::Text)),
            "frame" => Ok(Some(Codec::Frame)),
            "events" => Ok(Some(Codec::Events)),
            "http" => Ok(None),
            "wss" | "https" => Err(format!(
                "{}: TLS is not served here yet; put a TLS proxy (nginx, HAProxy, Caddy) in front and \
                 listen on websocket:// or http:// behind it",
                self.url
            )),
            other => Err(format!(
                "{}: unknown scheme {other:?}; expected websocket, text, frame or http",
                self.url
            )),
        }
    }

    /// The path that its URL has, if it is more than a slash.
    pub(super) fn path(&self) -> Option<&str> {
        let (_, rest) = self.parts().ok()?;
        let path = &rest[rest.find('/')?..];
        (path != "/").then_some(path)
    }

    /// Whether this machine alone reaches it. What has no address is found out when it is bound.
    pub(super) fn is_on_loopback(&self) -> bool {
        self.address()
            .is_ok_and(|address| address.ip().to_canonical().is_loopback())
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let (_, authority) = self.parts().map_err(invalid)?;
        let authority = authority.split('/').next().unwrap_or_default();
        authority
            .to_socket_addrs()
            .map_err(|error| invalid(format!("{}: {error}", self.url)))?
            .next()
            .ok_or_else(|| invalid(format!("{}: the host has no address", self.url)))
    }
}

impl<U: Into<String>> From<U> for Listen {
    fn from(url: U) -> Listen {
        Listen::new(url)
    }
}

/// One listener or several.
pub trait Listens {
    /// All of them.
    fn listens(self) -> Vec<Listen>;
}

impl Listens for &str {
    fn listens(self) -> Vec<Listen> {
        vec![Listen::new(self)]
    }
}

impl Listens for String {
    fn listens(self) -> Vec<Listen> {
        vec![Listen::new(self)]
    }
}

impl Listens for Listen {
    fn listens(self) -> Vec<Listen> {
        vec![self]
    }
}

impl<L: Into<Listen>> Listens for Vec<L> {
    fn listens(self) -> Vec<Listen> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<L: Into<Listen>, const N: usize> Listens for [L; N] {
    fn listens(self) -> Vec<Listen> {
        self.into_iter().map(Into::into).collect()
    }
}

/// A listener as it was bound.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Listening {
    /// The space of its app; `http` for a site.
    pub space: &'static str,
    /// The URL as a client uses it: `ws://`, `text://`, `frame://` or `http://`, and the actual port.
    pub url: String,
    /// The address it is bound to.
    pub address: SocketAddr,
}

/// One core's listening sockets.
pub struct Bound {
    /// In the order of the specs: the apps', then the sites'.
    pub listeners: Vec<Listener>,
    /// How connections move, where each core has a descriptor table of its own.
    pub handover: Option<Handover>,
}

/// Binds every listener once a core. The first core's decides the port where 0 was asked for.
pub fn bind_all(
    listeners: &Listeners,
    spaces: &Spaces,
    cores: usize,
    config: &Config,
) -> io::Result<(Vec<Bound>, Vec<Listening>)> {
    let mut bound: Vec<Bound> = (0..cores)
        .map(|_| Bound {
            listeners: Vec::new(),
            handover: None,
        })
        .collect();
    let mut listening = Vec::new();
    let idles = !config.idle_timeout.is_zero();
    let apps = listeners
        .apps
        .iter()
        .map(|app| (&app.listen, Some(&app.spec)));
    let sites = listeners.sites.iter().map(|site| (&site.listen, None));
    for (listen, spec) in apps.chain(sites) {
        let mut address = listen.address()?;
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !Listener::has_ipv6() {
            address.set_ip(Ipv4Addr::UNSPECIFIED.into());
            warn!(
                "this machine has no IPv6: {} listens on {address} instead, every IPv4 address",
                listen.url
            );
        }
        if address.port() != 0 {
            Listener::check_free(address).map_err(|error| refused(&listen.url, &error))?;
        }
        let watch = match spec {
            Some(spec) if spec.pauses => KeepaliveMode::Silence,
            Some(spec) if spec.binds && idles => KeepaliveMode::Sent,
            _ => KeepaliveMode::SentAndSilence,
        };
        // A proxy, or a client of HTTP. To others the app may have something to say.
        let first = listen.proxy_protocol
            || spec.is_none_or(|spec| matches!(spec.codec, Codec::WebSocket | Codec::Http));
        for of_core in &mut bound {
            let listener = Listener::bind(address, config.send_buffer_bytes, watch, first)
                .map_err(|error| refused(&listen.url, &error))?;
            address = listener.address()?;
            of_core.listeners.push(listener);
        }
        let (space, scheme) = match spec {
            Some(spec) => (
                spaces.name(spec.space),
                match spec.codec {
                    Codec::WebSocket => "ws",
                    Codec::Text => "text",
                    Codec::Frame => "frame",
                    Codec::Events => "events",
                    Codec::Http => "http",
                },
            ),
            None => (SITE, "http"),
        };
        listening.push(Listening {
            space,
            url: format!("{scheme}://{address}"),
            address,
        });
    }
    Ok((bound, listening))
}

/// Without tokens whoever reaches a site can push to anybody, unless it is for clients alone. `listening` are the
/// sites' own.
pub fn keep_sites_to_loopback(listening: &[Listening], sites: &[SiteListener]) -> io::Result<()> {
    let is_open = |one: &Listening| !one.address.ip().to_canonical().is_loopback();
    let open = listening
        .iter()
        .zip(sites)
        .find(|(one, asked)| is_open(one) && !asked.site.roles.are_for_clients());
    open.map_or(Ok(()), |(one, _)| {
        let text = format!(
            "{}: whoever reaches it could push to anybody; keep it to loopback, or give the server tokens of \
             back ends",
            one.url
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    })
}

fn refused(url: &str, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there (see: ss -ltnp)",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            "; this machine has no IPv6: write 127.0.0.1 for [::1]"
        }
        _ => return start_error::named(&format!("cannot listen on {url}"), error),
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on {url}: {error}{hint}"),
    )
}

/// The apps' listeners, for the page: each with its app, its address, and whether it asks for a token, a client's or, if
/// back ends have `tokens`, theirs.
pub fn to_json(listening: &[Listening], layout: &Layout, tokens: bool) -> String {
    let apps: Vec<_> = listening
        .iter()
        .zip(&layout.specs)
        .zip(&layout.doors)
        .filter(|((one, _), _)| one.space != SITE)
        .map(|((one, spec), door)| {
            let token = spec.proves || tokens && door.pool == Pool::BackEnds;
            json!({"app": one.space, "url": one.url, "token": token})
        })
        .collect();
    format!("{}\n", serde_json::Value::from(apps))
}

/// The listeners by number, and when the server started, for its metrics.
pub fn facts(listening: &[Listening]) -> Arc<Facts> {
    let listeners = listening.iter().map(|one| (one.space, one.url.clone()));
    Arc::new(Facts::new(listeners.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        assert_eq!(
            Listen::new("websocket://h:1").codec(),
            Ok(Some(Codec::WebSocket))
        );
        assert_eq!(Listen::new("text://h:1").codec(), Ok(Some(Codec::Text)));
        assert_eq!(Listen::new("frame://h:1").codec(), Ok(Some(Codec::Frame)));
        assert_eq!(Listen::new("http://h:1").codec(), Ok(None));
        assert!(
            Listen::new("wss://h:1")
                .codec()
                .is_err_and(|text| text.contains("TLS proxy"))
        );
        assert!(Listen::new("udp://h:1").codec().is_err());
        assert!(Listen::new("h:1").codec().is_err());
    }

    #[test]
    fn addresses() {
        let v6 = Listen::new("websocket://[::1]:1234").address();
        assert_eq!(v6.ok(), "[::1]:1234".parse().ok());
        assert!(Listen::new("websocket://127.0.0.1").address().is_err());
        assert!(
            Listen::new("websocket://127.0.0.1:99999")
                .address()
                .is_err()
        );
    }
}
