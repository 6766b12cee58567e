//! The server's side of the opening handshake (RFC 6455, section 4.2): an HTTP request's head in, a
//! 101 or a refusal out.
//!
//! Bound: a head of [`HEAD_BYTES_MAX`], kept only if it comes in pieces. Called by the transport,
//! which drops it when the connection is open.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::protocol::http::head::{Framing, Head, HeadScan, check_head};
use crate::protocol::http::response::HttpError;

/// Largest request head; a longer one gets 431.
pub const HEAD_BYTES_MAX: usize = 8 << 10;

const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An opening handshake under way.
#[derive(Debug)]
pub struct Handshake {
    head: Vec<u8>,
    scan: HeadScan,
}

/// A handshake that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// How many bytes of the last input belonged to the head. The rest is for the decoder.
    pub consumed: usize,
    /// The 101 to send.
    pub response: Vec<u8>,
    /// The path asked for, beginning with `/`, escapes as they came.
    pub path: String,
    /// What followed the first `?`.
    pub query: Option<String>,
    /// The host and port that the client meant.
    pub host: String,
    /// The page that a browser was on.
    pub origin: Option<String>,
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
    /// A handshake of which nothing has come.
    pub fn new() -> Handshake {
        Handshake {
            head: Vec::new(),
            scan: HeadScan::new(HEAD_BYTES_MAX),
        }
    }

    /// Takes what has come. `None` means that all of it was taken and more is needed. Not called
    /// again after an outcome.
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<Accepted>, Refused> {
        let held = self.head.len();
        let bytes = if held == 0 {
            input
        } else {
            // Past the bound the scan refuses, whatever more has come.
            let room = HEAD_BYTES_MAX - held;
            self.head.extend_from_slice(&input[..input.len().min(room)]);
            &self.head
        };
        let Some(head) = check_head(&mut self.scan, bytes)? else {
            if held == 0 {
                self.head.extend_from_slice(input);
            }
            return Ok(None);
        };
        let mut accepted = accept(&head)?;
        accepted.consumed = head.len - held;
        Ok(Some(accepted))
    }

    /// Heap bytes kept.
    pub fn bytes_held(&self) -> usize {
        self.head.capacity()
    }
}

fn accept(head: &Head<'_>) -> Result<Accepted, HttpError> {
    let bad = |text| Err(HttpError::new(400, text));
    if head.method != "GET" {
        return Err(HttpError::new(405, "a websocket opens with GET"));
    }
    if !head.lists("upgrade", "websocket") {
        return Err(HttpError::new(
            426,
            "this port speaks websocket (ws://), not plain HTTP",
        ));
    }
    if !head.lists("connection", "upgrade") {
        return bad("the Connection field must name upgrade");
    }
    if head.single("sec-websocket-version")? != Some("13") {
        return Err(HttpError::new(
            426,
            "this server speaks websocket version 13",
        ));
    }
    if !matches!(head.framing, Framing::None | Framing::Length(0)) {
        return bad("a websocket opens without a body");
    }
    let key = head.single("sec-websocket-key")?.unwrap_or_default();
    let mut nonce = [0; 18];
    if key.len() != 24 || STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return bad("the Sec-WebSocket-Key field must be the base64 of 16 bytes");
    }
    let proof = STANDARD.encode(
        Sha1::new()
            .chain_update(key)
            .chain_update(ACCEPT_GUID)
            .finalize(),
    );
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {proof}\r\n\r\n"
    );
    Ok(Accepted {
        consumed: 0,
        response: response.into_bytes(),
        path: head.path.to_owned(),
        query: head.query.map(str::to_owned),
        host: head.host.to_owned(),
        origin: head.origin.map(str::to_owned),
    })
}
