//! Where a server listens: [`Listen`], as it is asked for by a URL, and [`Listening`], what that turned out to be.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::config::ListenerLimits;
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
            "events" => Ok(Some(Codec::Sse)),
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
    /// The namespace of its app; `http` for a site.
    pub namespace: &'static str,
    /// The URL as a client uses it: `ws://`, `text://`, `frame://` or `http://`, and the actual port.
    pub url: String,
    /// The address it is bound to.
    pub address: SocketAddr,
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
