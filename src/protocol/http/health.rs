//! Requests by which load balancers and monitors ask whether a server lives: on a port for HTTP, and on one for
//! websockets, which otherwise takes no plain request.
//!
//! Nothing is kept. Called by the opening handshake and by the HTTP port.

use super::head::{Head, asks_health};
use super::response;

/// What such a request asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// Whether the server lives.
    Life,
    /// Whether clients are to be sent to it.
    Readiness,
    /// What may be asked (OPTIONS, by which some load balancers ask whether it lives).
    Options,
}

/// One such request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// What it asks.
    pub asks: Asks,
    /// Whether its answer is to be without a body (HEAD).
    pub head_only: bool,
}

/// The methods that it may have.
pub const METHODS: &str = "GET, HEAD, OPTIONS";
const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");
const FRESH: (&str, &str) = ("Cache-Control", "no-store");

impl Health {
    /// What a request asks, if it is one: `/healthz` and `/readyz`, `OPTIONS` of these and of `/`, and `/` without a
    /// Host in HTTP/1.0, as load balancers send.
    pub fn of(head: &Head<'_>) -> Option<Health> {
        let reads = matches!(head.method, "GET" | "HEAD");
        let asks = match head.path {
            path if asks_health(head.method, path) => match (head.method, path) {
                ("OPTIONS", _) => Asks::Options,
                (_, "/readyz") => Asks::Readiness,
                _ => Asks::Life,
            },
            "/" if reads && head.is_old && head.host.is_empty() => Asks::Life,
            _ => return None,
        };
        Some(Health {
            asks,
            head_only: head.method == "HEAD",
        })
    }

    /// What a request asks of a port that has nothing else to show at `/`, and so to HEAD.
    pub fn of_bare(head: &Head<'_>) -> Option<Health> {
        let by_head = (head.method, head.path) == ("HEAD", "/");
        Health::of(head).or_else(|| {
            by_head.then_some(Health {
                asks: Asks::Life,
                head_only: true,
            })
        })
    }

    /// Status, fields and body of the answer; `readiness` is what there is to tell of that.
    pub fn answer(
        self,
        readiness: (u16, &'static str),
    ) -> (u16, Vec<(&'static str, &'static str)>, &'static str) {
        match self.asks {
            Asks::Life => (200, vec![TEXT, FRESH], "ok\n"),
            Asks::Readiness => (readiness.0, vec![TEXT, FRESH], readiness.1),
            Asks::Options => (200, vec![("Allow", METHODS), FRESH], ""),
        }
    }

    /// The whole answer, after which the connection ends.
    pub fn response(self, readiness: (u16, &'static str)) -> Vec<u8> {
        let (status, fields, body) = self.answer(readiness);
        let mut out = response::response_head(status, &fields, Some(body.len()), false);
        if !self.head_only {
            out.extend_from_slice(body.as_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::{HeadScan, check_head};

    fn asks(first: &str, host: &str) -> Option<Asks> {
        let request = format!("{first}\r\n{host}\r\n");
        let head = check_head(&mut HeadScan::new(1 << 10), request.as_bytes());
        let head = head.expect("valid").expect("complete");
        Health::of(&head).map(|health| health.asks)
    }

    #[test]
    fn what_is_one() {
        let host = "Host: x\r\n";
        for (first, host, expected) in [
            ("GET /healthz HTTP/1.1", host, Some(Asks::Life)),
            ("HEAD /readyz HTTP/1.1", host, Some(Asks::Readiness)),
            ("OPTIONS / HTTP/1.1", host, Some(Asks::Options)),
            ("OPTIONS * HTTP/1.1", host, Some(Asks::Options)),
            ("OPTIONS /healthz HTTP/1.0", "", Some(Asks::Options)),
            ("GET /healthz HTTP/1.0", "", Some(Asks::Life)),
            ("GET / HTTP/1.0", "", Some(Asks::Life)),
            ("HEAD / HTTP/1.0", "", Some(Asks::Life)),
            ("OPTIONS / HTTP/1.0", "", Some(Asks::Options)),
            ("GET / HTTP/1.0", host, None),
            ("GET / HTTP/1.1", host, None),
            ("GET /healthz HTTP/1.1", "", Some(Asks::Life)),
            ("OPTIONS / HTTP/1.1", "", Some(Asks::Options)),
            ("POST /healthz HTTP/1.1", host, None),
            ("OPTIONS /v1/push HTTP/1.1", host, None),
            ("GET /health HTTP/1.1", host, None),
        ] {
            assert_eq!(asks(first, host), expected, "{first}");
        }
    }

    #[test]
    fn answers() {
        let text = |asks, head_only| {
            let health = Health { asks, head_only };
            String::from_utf8(health.response((503, "draining\n"))).expect("text")
        };
        assert!(text(Asks::Life, false).ends_with("\r\nConnection: close\r\n\r\nok\n"));
        assert!(text(Asks::Life, true).ends_with("\r\n\r\n"));
        assert!(text(Asks::Life, true).contains("\r\nContent-Length: 3\r\n"));
        assert!(text(Asks::Readiness, false).starts_with("HTTP/1.1 503 "));
        assert!(text(Asks::Options, false).contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"));
        assert!(text(Asks::Options, false).contains("\r\nContent-Length: 0\r\n"));
    }
}
