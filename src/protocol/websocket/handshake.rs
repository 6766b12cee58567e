//! The server's side of the opening handshake (RFC 6455, section 4.2): an HTTP request's head in, a
//! 101 or a refusal out. A load balancer that asks after the server's health is answered as on an HTTP port.
//!
//! Bound: a head of `request_head_bytes_max`, kept only if it comes in pieces. Called by the transport,
//! which drops it when the connection is open.

use serde::{Deserialize, Serialize};

use super::accepting::{Accepted, Wants, accept, opens};
use crate::config::REQUEST_HEAD_BYTES_DEFAULT;
use crate::protocol::http::response::HttpError;
use crate::protocol::http::{HeadReader, Health};

/// An opening handshake under way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handshake {
    head: HeadReader,
    wants: Wants,
}

/// A request that opens no websocket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Declined {
    /// It was a handshake that failed, or should have been one.
    Refused(Refused),
    /// It asks after the server's health.
    Health(Health),
}

impl From<HttpError> for Declined {
    fn from(error: HttpError) -> Declined {
        Declined::Refused(error.into())
    }
}

/// A handshake that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What was wrong, in words.
    pub text: &'static str,
    /// The whole answer to send before closing.
    pub response: Vec<u8>,
}

impl From<HttpError> for Refused {
    fn from(error: HttpError) -> Refused {
        let response = match error.status {
            405 => error.response_with(&[("Allow", "GET")]),
            426 => {
                error.response_with(&[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")])
            }
            401 => error.response_with(&[("WWW-Authenticate", "Bearer")]),
            _ => error.response(),
        };
        Refused {
            status: error.status,
            text: error.text,
            response,
        }
    }
}

impl Default for Handshake {
    fn default() -> Handshake {
        Handshake::new()
    }
}

impl Handshake {
    /// A handshake of which nothing has come. It takes up no offer.
    pub fn new() -> Handshake {
        Handshake {
            head: HeadReader::new(REQUEST_HEAD_BYTES_DEFAULT),
            wants: Wants::default(),
        }
    }

    /// A handshake whose head may have so many bytes.
    pub fn with_head_bytes_max(self, bytes_max: usize) -> Handshake {
        Handshake {
            head: HeadReader::new(bytes_max),
            ..self
        }
    }

    /// A handshake that comes by a trusted proxy, if it does: that says whom it got it from.
    pub fn behind_proxy(mut self, trusted: bool) -> Handshake {
        self.wants.forwarded = trusted;
        self
    }

    /// A handshake that may agree on compression.
    pub fn with_compression(mut self, compress: bool) -> Handshake {
        self.wants.compress = compress;
        self
    }

    /// A handshake that may bring a token.
    pub fn with_token(mut self, wanted: bool) -> Handshake {
        self.wants.token = wanted;
        self
    }

    /// A handshake that may agree on `ringpost.v1`.
    pub fn with_v1(mut self, spoken: bool) -> Handshake {
        self.wants.v1 = spoken;
        self
    }

    /// Takes what has come. `None` means that all of it was taken and more is needed. Not called
    /// again after an outcome.
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<Accepted>, Declined> {
        self.advance_for(input, &[])
    }

    /// As [`Handshake::advance`], for an app that wants to see these header fields, which are told each time: nothing is
    /// kept of them.
    pub fn advance_for(
        &mut self,
        input: &[u8],
        headers: &[&'static str],
    ) -> Result<Option<Accepted>, Declined> {
        let Some((head, consumed)) = self.head.advance(input)? else {
            return Ok(None);
        };
        if !opens(&head)
            && let Some(health) = Health::of_bare(&head)
        {
            return Err(Declined::Health(health));
        }
        let accepted = accept(&head, self.wants, headers)?;
        Ok(Some(Accepted {
            consumed,
            ..accepted
        }))
    }

    /// Heap bytes kept.
    pub fn bytes_held(&self) -> usize {
        self.head.bytes_held()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const RFC: &str = "GET /chat?a=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn status(request: &str) -> u16 {
        match Handshake::new().advance(request.as_bytes()) {
            Ok(Some(_)) => 101,
            Ok(None) => 0,
            Err(Declined::Refused(refused)) => refused.status,
            Err(Declined::Health(_)) => 200,
        }
    }

    fn refused<T: std::fmt::Debug>(outcome: Result<T, Declined>) -> Refused {
        match outcome.expect_err("no websocket") {
            Declined::Refused(refused) => refused,
            Declined::Health(health) => panic!("{health:?}"),
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        let input = [RFC.as_bytes(), b"\x81\x80"].concat();
        let accepted = Handshake::new().advance(&input);
        let accepted = accepted.expect("valid").expect("complete");
        assert_eq!(accepted.consumed, RFC.len());
        let response = String::from_utf8(accepted.response).expect("text");
        assert!(response.starts_with("HTTP/1.1 101 "));
        assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(response.ends_with("\r\n\r\n"));
        assert_eq!(
            (accepted.request.path(), accepted.request.query()),
            ("/chat", Some("a=1"))
        );
        assert_eq!(accepted.host, "server.example.com");
        assert_eq!(accepted.origin.as_deref(), Some("http://example.com"));
    }

    #[test]
    fn what_proxies_say_is_taken_if_wanted() {
        let request = RFC.replace(
            "Origin:",
            "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nA: b\r\nx-forwarded-for:192.0.2.3 \r\nOrigin:",
        );
        let forwarded = |handshake: Handshake, request: &str| {
            let mut handshake = handshake;
            let accepted = handshake.advance(request.as_bytes());
            accepted.expect("valid").expect("complete").forwarded
        };
        let all = Some("192.0.2.1, 192.0.2.2,192.0.2.3".to_owned());
        let behind_proxy = || Handshake::new().behind_proxy(true);
        assert_eq!(forwarded(behind_proxy(), &request), all);
        assert_eq!(forwarded(behind_proxy(), RFC), None);
        assert_eq!(forwarded(Handshake::new(), &request), None);
    }

    #[test]
    fn what_browsers_vary() {
        let lists = RFC
            .replace("Connection: Upgrade", "connection: keep-alive , upgrade")
            .replace("Upgrade: websocket", "UPGRADE: h2c, WebSocket");
        assert_eq!(status(&lists), 101);
        assert_eq!(
            status(&RFC.replace("Host:", "Content-Length: 0\r\nHost:")),
            101
        );
    }

    #[test]
    fn what_is_refused() {
        let cases = [
            ("GET", "POST", 405),
            ("HTTP/1.1", "HTTP/1.0", 505),
            ("HTTP/1.1", "HTTP/2.0", 505),
            ("Host: server.example.com\r\n", "", 400),
            ("Host:", "Host: x\r\nHost:", 400),
            ("Upgrade: websocket\r\n", "", 426),
            ("Upgrade: websocket", "Upgrade: websockets", 426),
            ("Connection: Upgrade", "Connection: close", 400),
            ("Version: 13", "Version: 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            ("Origin:", "Sec-WebSocket-Version: 13\r\nOrigin:", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWFh", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j*Q==", 400),
            (
                "Origin:",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin:",
                400,
            ),
            ("Origin:", "Content-Length: 1\r\nOrigin:", 400),
            ("Origin:", "Transfer-Encoding: chunked\r\nOrigin:", 400),
            ("Origin:", "Origin: http://x\r\nOrigin:", 400),
            ("Origin: ", "Origin: a\r\n b", 400),
        ];
        for (from, to, expected) in cases {
            let request = RFC.replace(from, to);
            assert_ne!(request, RFC);
            assert_eq!(status(&request), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn which_subprotocol() {
        let answered = |spoken: bool, offered: &str| {
            let request = RFC.replace("chat, superchat", offered);
            let accepted = Handshake::new().with_v1(spoken).advance(request.as_bytes());
            let accepted = match accepted {
                Ok(accepted) => accepted.expect("complete"),
                Err(declined) => return Err(refused::<()>(Err(declined))),
            };
            let response = String::from_utf8(accepted.response).expect("text");
            let mut lines = response.lines();
            let answer = lines.find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
            let answer = answer.map(str::to_owned);
            assert_eq!(accepted.v1, answer.as_deref() == Some("ringpost.v1"));
            Ok(answer)
        };
        for (offered, answer) in [
            ("ringpost.v1", Some("ringpost.v1")),
            ("ringpost.token.a.b.c, ringpost.v1", Some("ringpost.v1")),
            ("ringpost, ringpost.v2,ringpost.v1", Some("ringpost.v1")),
            ("ringpost.v2, ringpost", Some("ringpost")),
            ("ringpost, ringpost.token.a.b.c", Some("ringpost")),
            ("chat, ringpost.video", None),
            ("RINGPOST.V1", None),
        ] {
            let answer = answer.map(str::to_owned);
            assert_eq!(answered(true, offered), Ok(answer), "{offered}");
        }
        for offered in ["ringpost.v2", "ringpost.v3, ringpost.v10, chat"] {
            let refused = answered(true, offered).expect_err("another version");
            assert_eq!(refused.status, 400);
            assert!(refused.text.contains("ringpost.v1"), "{}", refused.text);
            assert_eq!(answered(false, offered), Ok(None));
        }
        assert_eq!(answered(false, "ringpost.v1"), Ok(None));
    }

    #[test]
    fn a_refusal_tells_why() {
        let request = RFC.replace("Version: 13", "Version: 8");
        let refused = refused(Handshake::new().advance(request.as_bytes()));
        let response = String::from_utf8(refused.response).expect("text");
        assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(response.contains("\r\nConnection: close"));
        assert!(response.ends_with("this server speaks websocket version 13\n"));
    }

    #[test]
    fn what_asks_after_health_is_no_handshake() {
        for (request, expected) in [
            ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
            ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
            ("OPTIONS / HTTP/1.0\r\n\r\n", 200),
            ("GET / HTTP/1.0\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
            ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", 426),
            ("HEAD /chat HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            ("GET /healthz HTTP/1.1\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\n\r\n", 400),
        ] {
            assert_eq!(status(request), expected, "{request}");
        }
        // What opens a websocket does so at any path.
        let named = RFC.replace("/chat", "/healthz");
        assert_eq!(status(&named), 101);
        assert_eq!(
            status(&named.replace("Host: server.example.com\r\n", "")),
            400
        );
    }

    #[test]
    fn a_handshake_that_a_proxy_has_made_http_1_0_is_told_why() {
        let old = "GET / HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        for request in [old, &old.replace("Host: x\r\n", "")] {
            let refused = refused(Handshake::new().advance(request.as_bytes()));
            assert_eq!(refused.status, 505);
            assert!(refused.text.contains("proxy_http_version 1.1"));
        }
    }

    #[test]
    fn a_large_cookie_is_taken() {
        let cookie = |len| {
            RFC.replace(
                "Origin:",
                &format!("Cookie: {}\r\nOrigin:", "c".repeat(len)),
            )
        };
        assert_eq!(status(&cookie(12_000)), 101);
        assert_eq!(status(&cookie(REQUEST_HEAD_BYTES_DEFAULT)), 431);
        let mut larger = Handshake::new().with_head_bytes_max(2 * REQUEST_HEAD_BYTES_DEFAULT);
        let outcome = larger.advance(cookie(REQUEST_HEAD_BYTES_DEFAULT).as_bytes());
        assert!(outcome.is_ok_and(|accepted| accepted.is_some()));
    }

    #[test]
    fn the_head_is_bounded_however_it_comes() {
        const MAX: usize = 8 << 10;
        let request = RFC.replace("Origin: ", &format!("A: {}\r\nOrigin: ", "b".repeat(9_000)));
        let mut handshake = Handshake::new().with_head_bytes_max(MAX);
        assert_eq!(refused(handshake.advance(request.as_bytes())).status, 431);
        let mut handshake = Handshake::new().with_head_bytes_max(MAX);
        let mut taken = 0;
        let refused = loop {
            match handshake.advance(&request.as_bytes()[taken..taken + 1]) {
                Ok(None) => taken += 1,
                outcome => break refused(outcome),
            }
        };
        assert_eq!((refused.status, taken + 1), (431, MAX));
        assert!(handshake.bytes_held() <= 2 * MAX);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            cuts in vec(1..200usize, 1..6),
            noise in prop_oneof![
                2 => Just(None),
                1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some),
            ],
        ) {
            let mut stream = [RFC.as_bytes(), b"\x81\x80more"].concat();
            if let Some((at, byte)) = noise {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let whole = Handshake::new().advance(&stream);
            let mut handshake = Handshake::new();
            let mut rest = &stream[..];
            let mut cuts = cuts.iter().cycle();
            let pieces = loop {
                let len = cuts.next().copied().unwrap_or(1).min(rest.len());
                match handshake.advance(&rest[..len]) {
                    Ok(None) if len < rest.len() => rest = &rest[len..],
                    Ok(Some(mut accepted)) => {
                        accepted.consumed += stream.len() - rest.len();
                        break Ok(Some(accepted));
                    }
                    outcome => break outcome,
                }
            };
            prop_assert_eq!(pieces, whole);
        }
    }
}
