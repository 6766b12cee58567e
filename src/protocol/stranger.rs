//! What begins a connection of the text or frame codec and is of another protocol: [`Stranger`]. A browser can be made
//! to send an HTTP request to any port, with lines in its body that an attacker has written; so a connection that
//! begins with one ends before the body is read. A TLS client at a plain port is a common mistake, worth a name.
//!
//! [`Opening`] is what a decoder keeps of it, one byte. Only a connection's beginning is looked at: what a client
//! sends later is its own.

use serde::{Deserialize, Serialize};

/// A protocol that does not belong here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stranger {
    /// A request line, of any method and version.
    Http,
    /// The record of a ClientHello.
    Tls,
}

impl Stranger {
    /// What to say of it, in a log.
    pub fn text(self) -> &'static str {
        match self {
            Stranger::Http => "an HTTP request came, as from a web page; HTTP is not spoken here",
            Stranger::Tls => {
                "a TLS handshake came to a plain port; have the client connect without TLS, or put a TLS proxy in front"
            }
        }
    }
}

/// How a connection has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Opening {
    /// Its first message is not complete.
    #[default]
    Unheard,
    /// With a message.
    Heard,
    /// With what ended it.
    Strange(Stranger),
}

/// The first bytes of a line or frame that may have begun to arrive before: `held`, then `rest`. Zeros stand for what
/// is still to come.
pub fn head_of(held: &[u8], rest: &[u8]) -> [u8; 4] {
    let mut head = [0; 4];
    for (to, from) in head.iter_mut().zip(held.iter().chain(rest)) {
        *to = *from;
    }
    head
}

/// Whether bytes are the beginning of a TLS handshake: a record of that type, whose version begins with 3 (RFC 8446,
/// 5.1).
pub fn is_tls(head: [u8; 4]) -> bool {
    head.starts_with(&[0x16, 0x03])
}

/// The methods that HTTP clients use, and HTTP/2's preface, as far as a frame's length would be.
const METHODS: [&str; 10] = [
    "GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PRI ",
];

/// Whether a frame's length is the beginning of an HTTP request. Read as one it says more than a gigabyte.
pub fn is_method(head: [u8; 4]) -> bool {
    METHODS
        .iter()
        .any(|method| method.as_bytes().starts_with(&head))
}

/// Whether a first line is an HTTP request's: it ends with a version (a page may make up a method), or has a known
/// method and a path.
pub fn is_request_line(line: &[u8]) -> bool {
    let end = line.len().saturating_sub(" HTTP/1.1".len());
    let by_version = match &line[end..] {
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    };
    let by_method = METHODS.iter().any(|method| {
        let path = line.strip_prefix(method.as_bytes());
        path.is_some_and(|path| path.starts_with(b"/"))
    });
    by_version || by_method
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        for line in [
            "GET / HTTP/1.1",
            "POST / HTTP/1.1",
            "POST /v1/push?x=y HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "CONNECT host:1 HTTP/1.1",
            "PRI * HTTP/2.0",
            "PURGE /x HTTP/1.1",
            "made-up /x HTTP/1.1",
            "GET http://127.0.0.1/ HTTP/1.1",
            " HTTP/1.1",
            "GET /",
        ] {
            assert!(is_request_line(line.as_bytes()), "{line:?}");
        }
        for line in [
            "",
            "tom",
            "GET",
            "GET well soon",
            "POST office",
            "HTTP/1.1",
            "login:GET",
            "I speak HTTP/1.1 well",
            "HTTP/x.y",
            "a HTTP/a.b",
            "{\"uid\":\"GET / HTTP/1.1\"}",
        ] {
            assert!(!is_request_line(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn heads() {
        assert!(is_tls(head_of(b"\x16", b"\x03\x01\x02\x00")));
        assert!(is_tls(head_of(b"", b"\x16\x03")));
        assert!(!is_tls(head_of(b"\x16", b"")));
        assert!(!is_tls(head_of(b"", b"\x00\x16\x03\x01")));
        for head in ["GET ", "POST", "HEAD", "PUT ", "OPTI", "PRI ", "PATC"] {
            let (held, rest) = head.as_bytes().split_at(2);
            assert!(is_method(head_of(held, rest)), "{head}");
        }
        for head in ["", "G", "GETT", "\0\0\0\u{9}"] {
            assert!(!is_method(head_of(b"", head.as_bytes())), "{head:?}");
        }
    }
}
