//! Where a server listens: [`Listen`], as it is asked for by a URL, and [`Listening`], what that turned out to be.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::config::{ListenerLimits, SocketFile, TlsFiles};
use crate::net::listen_address::ListenAddress;
use crate::protocol::Codec;

/// A listener to be: its URL, and its own limits if it has any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// `websocket://`, `text://`, `frame://` or `http://`, or by TLS `wss://`, `tls+text://`, `tls+frame://` or `https://`;
    /// then host and port. Port 0 takes a free one. A `websocket://` URL with a path is served by the `http://` listener of
    /// the same host and port, and `wss://` by that of `https://`. With `+unix` behind its scheme it is a Unix socket
    /// (`text+unix:///run/ringpost/back-end.sock`, `text+unix://@name`), with `+fd` one that was passed to the process, by
    /// its name (`text+fd://name`, sd_listen_fds(3)); a path stands behind a colon then
    /// (`websocket+unix:///run/ringpost/web.sock:/ws`).
    pub url: String,
    /// Limits in place of the server's.
    pub limits: ListenerLimits,
    /// Whether each connection must begin with a PROXY protocol header (version 2, or 1), which tells the
    /// client's address.
    pub proxy_protocol: bool,
    /// Whether a websocket's clients may speak `ringpost.v1`: `docs/ringpost-v1.md`. What they say is then not the app's, which
    /// is told what they have proved or claim to be ([`App::on_proved`](crate::app::App::on_proved),
    /// [`App::on_claimed`](crate::app::App::on_claimed)) and has to bind them to that, as it does by default.
    pub v1: bool,
    /// By TLS: its own certificate in place of the server's ([`Server::tls`](crate::Server::tls)), and what it asks of
    /// clients.
    pub tls: TlsFiles,
    /// At a Unix socket: whose its file is.
    pub socket_file: SocketFile,
}

impl Listen {
    /// A listener with the server's limits.
    pub fn new(url: impl Into<String>) -> Listen {
        Listen {
            url: url.into(),
            limits: ListenerLimits::default(),
            proxy_protocol: false,
            v1: false,
            tls: TlsFiles::default(),
            socket_file: SocketFile::default(),
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

    /// Its scheme, without what that says of its place.
    fn plain_scheme(&self) -> Result<&str, String> {
        let (scheme, rest) = self.parts()?;
        Ok(ListenAddress::parse(scheme, rest).map_or(scheme, |(scheme, _)| scheme))
    }

    /// The codec; `None` for HTTP.
    pub(super) fn codec(&self) -> Result<Option<Codec>, String> {
        match self.plain_scheme()? {
            "websocket" | "ws" | "wss" => Ok(Some(Codec::WebSocket)),
            "text" | "tls+text" => Ok(Some(Codec::Text)),
            "frame" | "tls+frame" => Ok(Some(Codec::Frame)),
            "events" => Ok(Some(Codec::Sse)),
            "http" | "https" => Ok(None),
            other => Err(format!(
                "{}: unknown scheme {other:?}; expected websocket, text, frame or http, or wss, tls+text, tls+frame or \
                 https, each alone, with +unix or with +fd",
                self.url
            )),
        }
    }

    /// Whether its connections speak TLS.
    pub(super) fn has_tls(&self) -> bool {
        matches!(
            self.plain_scheme(),
            Ok("wss" | "https" | "tls+text" | "tls+frame")
        )
    }

    /// The certificates that it shows, where it speaks TLS: its own, or the server's.
    pub(super) fn tls_files(&self, server: &TlsFiles) -> Result<Option<TlsFiles>, String> {
        match self.has_tls() {
            false if self.tls != TlsFiles::default() => Err(format!(
                "{}: it has a certificate, and speaks no TLS; write wss://, https://, tls+text:// or tls+frame://",
                self.url
            )),
            false => Ok(None),
            true => {
                let files = self.tls.or(server);
                match files.is_empty() {
                    true => Err(format!(
                        "{}: TLS needs a certificate and its key (tls.certificate_file and tls.key_file)",
                        self.url
                    )),
                    false => Ok(Some(files)),
                }
            }
        }
    }

    /// The path that its URL has, if it is more than a slash.
    pub(super) fn path(&self) -> Option<&str> {
        let (scheme, rest) = self.parts().ok()?;
        let path = match ListenAddress::parse(scheme, rest) {
            Some((_, read)) => read.ok()?.1?,
            None => &rest[rest.find('/')?..],
        };
        (path != "/").then_some(path)
    }

    /// Whether browsers of this machine reach it, and no other machine does. What has no address is found out when it is
    /// bound.
    pub(super) fn is_on_loopback(&self) -> bool {
        let ip = self.address().ok().and_then(|address| address.ip());
        ip.is_some_and(|address| address.ip().to_canonical().is_loopback())
    }

    pub(super) fn address(&self) -> io::Result<ListenAddress> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let (scheme, authority) = self.parts().map_err(invalid)?;
        if let Some((_, read)) = ListenAddress::parse(scheme, authority) {
            let read = read.map_err(|text| invalid(format!("{}: {text}", self.url)));
            return read.map(|(address, _)| address);
        }
        let authority = authority.split('/').next().unwrap_or_default();
        let found: Option<SocketAddr> = authority
            .to_socket_addrs()
            .map_err(|error| invalid(format!("{}: {error}", self.url)))?
            .next();
        let found = found.map(ListenAddress::Ip);
        found.ok_or_else(|| invalid(format!("{}: the host has no address", self.url)))
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

/// A URL's scheme as clients write it.
pub fn scheme(codec: Codec, has_tls: bool) -> &'static str {
    match (codec, has_tls) {
        (Codec::WebSocket | Codec::V1, false) => "ws",
        (Codec::WebSocket | Codec::V1, true) => "wss",
        (Codec::Text, false) => "text",
        (Codec::Text, true) => "tls+text",
        (Codec::Frame, false) => "frame",
        (Codec::Frame, true) => "tls+frame",
        (Codec::Sse, _) => "events",
        (Codec::Http, false) => "http",
        (Codec::Http, true) => "https",
    }
}

/// A listener as it was bound.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Listening {
    /// The namespace of its app; `http` for a site.
    pub namespace: &'static str,
    /// The URL as a client uses it: `ws://`, `text://`, `frame://` or `http://`, or with TLS, and the actual port; at a
    /// Unix socket `ws+unix://` and so on.
    pub url: String,
    /// What it is bound to: of a socket that was passed, what that is.
    pub address: ListenAddress,
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
        let by_tls = [
            "wss://h:1",
            "tls+text://h:1",
            "tls+frame://h:1",
            "https://h:1",
        ];
        let plain = ["ws://h:1", "text://h:1", "frame://h:1", "http://h:1"];
        for (by_tls, plain) in by_tls.map(Listen::new).iter().zip(plain.map(Listen::new)) {
            assert_eq!(by_tls.codec(), plain.codec());
            assert_eq!((by_tls.has_tls(), plain.has_tls()), (true, false));
        }
        assert!(Listen::new("udp://h:1").codec().is_err());
        assert!(Listen::new("h:1").codec().is_err());
    }

    #[test]
    fn certificates_are_the_listeners_own_or_the_servers() {
        let (server, own) = (
            TlsFiles::new("a.pem", "a.key"),
            TlsFiles::new("b.pem", "b.key"),
        );
        let none = TlsFiles::default();
        let listen = Listen::new("wss://h:1");
        assert_eq!(listen.tls_files(&server), Ok(Some(server.clone())));
        assert!(
            listen
                .tls_files(&none)
                .is_err_and(|text| text.contains("tls.certificate_file"))
        );
        let tls = own.clone();
        let listen = Listen { tls, ..listen };
        assert_eq!(listen.tls_files(&server), Ok(Some(own.clone())));
        let plain = Listen::new("websocket://h:1");
        assert_eq!(plain.tls_files(&server), Ok(None));
        let plain = Listen { tls: own, ..plain };
        assert!(
            plain
                .tls_files(&server)
                .is_err_and(|text| text.contains("speaks no TLS"))
        );
        // What clients are asked for is the listener's own beside the server's certificate.
        let tls = TlsFiles {
            client_ca_file: Some("ca.pem".into()),
            ..TlsFiles::default()
        };
        let listen = Listen {
            tls,
            ..Listen::new("https://h:1")
        };
        let files = listen.tls_files(&server).ok().flatten();
        let files = files.map(|files| (files.certificate_file, files.client_ca_file));
        assert_eq!(files, Some((Some("a.pem".into()), Some("ca.pem".into()))));
    }

    #[test]
    fn addresses() {
        let v6 = Listen::new("websocket://[::1]:1234").address();
        let ip = v6.ok().and_then(|address| address.ip());
        assert_eq!(ip, "[::1]:1234".parse().ok());
        let unix = Listen::new("ws+unix:///run/a.sock:/ws");
        assert_eq!(unix.codec(), Ok(Some(Codec::WebSocket)));
        assert_eq!(unix.path(), Some("/ws"));
        let path = ListenAddress::Path("/run/a.sock".to_owned());
        assert_eq!(unix.address().ok(), Some(path));
        assert!(!unix.has_tls() && !unix.is_on_loopback());
        let passed = Listen::new("https+fd://web");
        assert!(passed.has_tls() && passed.path().is_none());
        assert!(Listen::new("text+unix://a.sock").address().is_err());
        assert!(Listen::new("websocket://127.0.0.1").address().is_err());
        assert!(
            Listen::new("websocket://127.0.0.1:99999")
                .address()
                .is_err()
        );
    }
}
