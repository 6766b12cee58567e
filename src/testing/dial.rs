//! How a client connects: [`Dial`].

use std::fmt::Write;
use std::net::SocketAddr;

use crate::protocol::http::request::EVENTS_PATH;

/// How a client connects to a [`TestServer`](super::TestServer), where it matters: to which listener, on which core,
/// and with what. What is not said is the first listener, the next core, and an address on loopback.
///
/// ```
/// use ringpost::testing::Dial;
///
/// let dial = Dial::to("text://127.0.0.1:5678").on_core(1).from(([10, 0, 0, 7], 40_000));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Dial {
    pub(super) url: Option<String>,
    pub(super) core: Option<usize>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) uid: Option<String>,
    target: Option<String>,
    fields: Vec<(String, String)>,
}

impl Dial {
    /// The server's first listener.
    pub fn new() -> Dial {
        Dial::default()
    }

    /// The listener of this URL, written as the server was asked for it. `events://` is the one of an app that has
    /// [`Listen::events`](crate::Listen::events), on a server with a site.
    pub fn to(url: impl Into<String>) -> Dial {
        Dial {
            url: Some(url.into()),
            ..Dial::default()
        }
    }

    /// On this core, from 0, where the connection stays until it is bound.
    #[must_use]
    pub fn on_core(self, core: usize) -> Dial {
        Dial {
            core: Some(core),
            ..self
        }
    }

    /// From this address ([`Context::peer`](crate::app::Context::peer)).
    #[must_use]
    pub fn from(self, peer: impl Into<SocketAddr>) -> Dial {
        Dial {
            peer: Some(peer.into()),
            ..self
        }
    }

    /// With this token in the request, which proves who the client is
    /// ([`App::on_proved`](crate::app::App::on_proved)). A token that proves nothing ends the connection before its app
    /// knows of it.
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Dial {
        self.with_header("Authorization", &format!("Bearer {}", token.into()))
    }

    /// Asks for this path and query, in place of `/` ([`OpeningRequest`](crate::app::OpeningRequest)).
    #[must_use]
    pub fn at(self, target: impl Into<String>) -> Dial {
        Dial {
            target: Some(target.into()),
            ..self
        }
    }

    /// With one more header field in the request, `Cookie` say.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Dial {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this uid in the request, where the client listens by events and proves nothing
    /// ([`App::on_claimed`](crate::app::App::on_claimed)).
    #[must_use]
    pub fn as_uid(self, uid: impl Into<String>) -> Dial {
        Dial {
            uid: Some(uid.into()),
            ..self
        }
    }

    /// The head of its request, as a client writes it that opens a websocket or, if it `listens`, asks for events.
    pub(super) fn head(&self, listens: bool) -> String {
        let target = match (&self.target, listens) {
            (Some(target), _) => target,
            (None, true) => EVENTS_PATH,
            (None, false) => "/",
        };
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n");
        if !listens {
            head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        }
        for (name, value) in &self.fields {
            // Writing into a String does not fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}
