//! What is answered to the head of a request that is to open a websocket: [`accept`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::extension::{Offer, Window};
use crate::protocol::http::fields::Field;
use crate::protocol::http::framing::Framing;
use crate::protocol::http::head::Head;
use crate::protocol::http::opening::OpeningRequest;
use crate::protocol::http::response::HttpError;
use crate::protocol::http::token::{Token, subprotocols, token};
use crate::protocol::v1;

/// The subprotocol that is none: it is taken up beside a token, and changes nothing.
const SUBPROTOCOL: &str = "ringpost";
/// The base64 of 16 bytes.
const KEY_BYTES: usize = 24;
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is looked for in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wants {
    /// Whether what proxies say of the client is wanted.
    pub forwarded: bool,
    /// Whether an offer of compression is taken up.
    pub compress: bool,
    /// Whether a token is looked for.
    pub token: bool,
    /// Whether `ringpost.v1` is taken up.
    pub v1: bool,
}

/// A handshake that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// How many bytes of the last input belonged to the head. The rest is for the decoder.
    pub consumed: usize,
    /// The 101 to send.
    pub response: Vec<u8>,
    /// What its app is shown.
    pub request: OpeningRequest,
    /// The host and port that the client meant.
    pub host: String,
    /// The page that a browser was on.
    pub origin: Option<String>,
    /// What the X-Forwarded-For fields say, joined by commas; only behind a trusted proxy.
    pub forwarded: Option<String>,
    /// The token that it brings, if one was looked for.
    pub token: Option<Token>,
    /// If compression is agreed on, how far back what is sent may refer.
    pub window: Option<Window>,
    /// It speaks `ringpost.v1`.
    pub v1: bool,
}

/// Whether it looks like a handshake, be it a bad one.
pub fn opens(head: &Head<'_>) -> bool {
    // A proxy that speaks HTTP/1.0 has taken Upgrade away, but not these.
    head.to_websocket() || !matches!(head.single(Field::WebSocketKey), Ok(None))
}

/// What is answered to a head that is to open a websocket, for an app that wants to see these `headers`. None of what
/// follows it is counted as consumed.
pub fn accept(
    head: &Head<'_>,
    wants: Wants,
    headers: &[&'static str],
) -> Result<Accepted, HttpError> {
    let bad = |text| Err(HttpError::new(400, text));
    if head.method != "GET" {
        return Err(HttpError::new(405, "a websocket opens with GET"));
    }
    if head.is_old && opens(head) {
        return Err(HttpError::new(
            505,
            "a websocket opens over HTTP/1.1; have the proxy in between speak it and pass Upgrade and Connection on \
             (nginx: proxy_http_version 1.1)",
        ));
    }
    if !head.to_websocket() {
        return Err(HttpError::new(
            426,
            "this port speaks websocket (ws://), not plain HTTP",
        ));
    }
    if head.host.is_empty() {
        return bad("the Host field is missing");
    }
    if !head.upgrades() {
        return bad("the Connection field must name upgrade");
    }
    if head.single(Field::WebSocketVersion)? != Some("13") {
        return Err(HttpError::new(
            426,
            "this server speaks websocket version 13",
        ));
    }
    if !matches!(head.framing, Framing::None | Framing::Length(0)) {
        return bad("a websocket opens without a body");
    }
    let key = head.single(Field::WebSocketKey)?.unwrap_or_default();
    let Some(key) = checked(key) else {
        return bad("the Sec-WebSocket-Key field must be the base64 of 16 bytes");
    };
    let offer = match wants.compress {
        true => head.each("Sec-WebSocket-Extensions").find_map(Offer::first),
        false => None,
    };
    let subprotocol = subprotocol(head, wants.v1)?;
    Ok(Accepted {
        consumed: 0,
        response: response(key, offer, subprotocol),
        request: OpeningRequest::new(head.path, head.query, head.fields(), headers),
        host: head.host.to_owned(),
        origin: head.origin.map(str::to_owned),
        token: match wants.token {
            true => token(head)?,
            false => None,
        },
        forwarded: match wants.forwarded {
            true => head.forwarded(),
            false => None,
        },
        window: offer.map(Offer::window),
        v1: subprotocol == Some(v1::NAME),
    })
}

/// The key, if it is one.
fn checked(key: &str) -> Option<&[u8; KEY_BYTES]> {
    let key = key.as_bytes().try_into().ok()?;
    let mut nonce = [0; 18];
    matches!(STANDARD.decode_slice(key, &mut nonce), Ok(16)).then_some(key)
}

/// The 101, with the proof that the key was read (section 4.2.2), and what is taken up of the offers.
fn response(
    key: &[u8; KEY_BYTES],
    offer: Option<Offer>,
    subprotocol: Option<&'static str>,
) -> Vec<u8> {
    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: ";
    let mut keyed = [0; KEY_BYTES + ACCEPT_GUID.len()];
    keyed[..KEY_BYTES].copy_from_slice(key);
    keyed[KEY_BYTES..].copy_from_slice(ACCEPT_GUID);
    let digest = Sha1::digest(keyed);
    let mut proof = [0; 28];
    let written = STANDARD.encode_slice(digest, &mut proof);
    debug_assert_eq!(written, Ok(proof.len()), "20 bytes in base64");
    let extension = offer.map_or_else(String::new, Offer::answer);
    let subprotocol = subprotocol.map_or_else(String::new, |name| {
        format!("Sec-WebSocket-Protocol: {name}\r\n")
    });
    let (extension, subprotocol) = (extension.as_bytes(), subprotocol.as_bytes());
    [HEAD, &proof, b"\r\n", extension, subprotocol, b"\r\n"].concat()
}

/// Which of the subprotocols that are offered is taken up. Where `ringpost.v1` is spoken, who offers nothing but other
/// versions is told.
fn subprotocol(head: &Head<'_>, v1: bool) -> Result<Option<&'static str>, HttpError> {
    let mut taken = None;
    let mut is_other_version = false;
    for offered in subprotocols(head) {
        if v1 && offered == v1::NAME.as_bytes() {
            return Ok(Some(v1::NAME));
        }
        if offered == SUBPROTOCOL.as_bytes() {
            taken = Some(SUBPROTOCOL);
        }
        let number = offered.strip_prefix(v1::NAMES.as_bytes());
        is_other_version |= number.is_some_and(|number| number.iter().all(u8::is_ascii_digit));
    }
    match taken {
        None if v1 && is_other_version => Err(HttpError::new(
            400,
            "of the subprotocol's versions this server speaks ringpost.v1",
        )),
        taken => Ok(taken),
    }
}
