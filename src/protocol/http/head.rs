//! The strict check of a request's head: first its [bytes](HeadScan), as they come ([`super::scan`]), then its
//! [fields](check_head). Only what has passed both goes to monoio-http's decoder.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use monoio_codec::{Decoded, Decoder};
use monoio_http::common::request::RequestHead;
use monoio_http::h1::codec::decoder::RequestHeadDecoder;

use super::fields::{Field, Fields};
use super::framing::{Framing, framing, old_framing};
use super::response::{HttpError, bad};
use super::scan::{HeadScan, NOT_HTTP};

/// Most header fields of a request; one more gets 431.
pub const FIELDS_MAX: usize = 64;

/// A checked head, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// How many bytes it has.
    pub len: usize,
    /// The method, as sent.
    pub method: &'a str,
    /// The target's path, beginning with `/` (or `*` alone in an OPTIONS request).
    pub path: &'a str,
    /// What follows the target's first `?`.
    pub query: Option<&'a str>,
    /// Whether it is a request of HTTP/1.0, as load balancers and some proxies send: it may be without a Host, and
    /// what its answer may be differs.
    pub is_old: bool,
    /// The host and port the client meant: the Host field, or an absolute target's authority. Empty if a request of
    /// HTTP/1.0, or one that asks after health, names none.
    pub host: &'a str,
    /// The Origin field.
    pub origin: Option<&'a str>,
    /// The Content-Type field.
    pub content_type: Option<&'a str>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client would send another request on the connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    fields: Fields<'a>,
    bytes: &'a [u8],
}

impl<'a> Head<'a> {
    /// The value of a field that may be there once.
    pub fn single(&self, field: Field) -> Result<Option<&'a str>, HttpError> {
        self.fields.single(field)
    }

    /// Its bytes, with the empty lines before it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the Connection field names `upgrade`.
    pub fn upgrades(&self) -> bool {
        self.fields.upgrades
    }

    /// Whether the Upgrade field names `websocket`.
    pub fn to_websocket(self) -> bool {
        self.fields.to_websocket
    }

    /// What the X-Forwarded-For fields say, in their order, for each proxy may have added its own.
    pub fn forwarded(&self) -> Option<String> {
        let fields = self.each("X-Forwarded-For").map(String::from_utf8_lossy);
        let fields: Vec<_> = fields.collect();
        (!fields.is_empty()).then(|| fields.join(","))
    }

    /// Whether a proxy says that it forwards this: by any of X-Forwarded-…, Forwarded, Via and X-Real-IP.
    pub fn is_forwarded(&self) -> bool {
        self.fields.forwarded
    }

    /// Whether there is a Sec-WebSocket-Protocol field.
    pub fn offers_protocols(&self) -> bool {
        self.fields.offers_protocols
    }

    /// The values of a field that may be there more than once, which are looked for when it is asked for.
    pub fn each(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields();
        fields.filter_map(move |(own, value)| {
            own.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
        })
    }

    /// All its fields as they came, name and value, but that a request line with a colon looks like one, too: whose name no
    /// field has.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let lines = self.bytes.split(|&byte| byte == b'\n');
        lines.filter_map(|line| {
            let at = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at(at);
            Some((name, value[1..].trim_ascii()))
        })
    }
}

/// Looks for a request's head at the start of `bytes` and checks it; `None` if more bytes are needed.
/// The scan belongs to this one request and is called again with the same bytes and more.
pub fn check_head<'a>(scan: &mut HeadScan, bytes: &'a [u8]) -> Result<Option<Head<'a>>, HttpError> {
    match scan.advance(bytes)? {
        Some(len) => check_fields(&bytes[..len]).map(Some),
        None => Ok(None),
    }
}

fn check_fields(bytes: &[u8]) -> Result<Head<'_>, HttpError> {
    let mut all = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut all) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(_) => return Err(NOT_HTTP),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HttpError::new(431, "too many header fields"));
        }
        Err(httparse::Error::HeaderName) => {
            return Err(bad("a header line that is folded, or has a bad name"));
        }
        Err(_) => return Err(bad("a malformed head")),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(NOT_HTTP);
    };
    let fields = Fields::new(request.headers);
    let (authority, resource) = split_target(method, target)?;
    let (path, query) = match resource.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (resource, None),
    };
    let is_old = request.version == Some(0);
    let host = match fields.single(Field::Host)? {
        Some(host) if is_authority(host) => host,
        Some(_) => return Err(bad("the Host field is malformed")),
        None if is_old || asks_health(method, path) => "",
        None => return Err(bad("the Host field is missing")),
    };
    Ok(Head {
        len: bytes.len(),
        method,
        path: if path.is_empty() { "/" } else { path },
        query,
        is_old,
        host: authority.unwrap_or(host),
        origin: fields.single(Field::Origin)?,
        content_type: fields.single(Field::ContentType)?,
        framing: match is_old {
            true => old_framing(method, &fields)?,
            false => framing(&fields)?,
        },
        keep_alive: match is_old {
            true => fields.keeps_alive && !fields.closes,
            false => !fields.closes,
        },
        expect_continue: match fields.single(Field::Expect)? {
            // HTTP/1.0 has no answer before the answer (RFC 9110, section 10.1.1).
            _ if is_old => false,
            None => false,
            Some(value) if value.eq_ignore_ascii_case("100-continue") => true,
            Some(_) => return Err(HttpError::new(417, "only 100-continue can be expected")),
        },
        fields,
        bytes,
    })
}

/// Takes an absolute target apart; its authority goes before the Host field (RFC 9112, section 3.2).
pub(super) fn split_target<'a>(
    method: &str,
    target: &'a str,
) -> Result<(Option<&'a str>, &'a str), HttpError> {
    if target.contains('#') {
        return Err(bad("the request's target has a fragment"));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let absolute = target.split_once("://").filter(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    });
    let Some((_, rest)) = absolute else {
        return Err(bad("the request's target must begin with a slash"));
    };
    let (authority, resource) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_authority(authority) {
        return Err(bad("the request's target has a malformed host"));
    }
    Ok((Some(authority), resource))
}

/// Host and port in the characters of RFC 3986; no user, nothing empty.
pub(super) fn is_authority(host: &str) -> bool {
    let fits = |byte: u8| {
        matches!(byte,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'
            | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'[' | b']')
    };
    !host.is_empty() && host.bytes().all(fits)
}

/// Reads a checked head (exactly its bytes) into the types of the `http` crate.
pub fn decode_head(mut head: &[u8]) -> Result<RequestHead, HttpError> {
    // That decoder takes the first empty line for the head's end.
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    match RequestHeadDecoder.decode(&mut BytesMut::from(head)) {
        Ok(Decoded::Some(request)) => Ok(request),
        _ => Err(bad("a malformed head")),
    }
}

/// Whether a method and a path ask after health wherever they come. RFC 9112, section 3.2, wants each request of HTTP/1.1
/// without a Host refused; but this one is the same for every host, some balancers' checks have none, and would take a
/// live server for dead.
pub(super) fn asks_health(method: &str, path: &str) -> bool {
    match method {
        "GET" | "HEAD" => matches!(path, "/healthz" | "/readyz"),
        "OPTIONS" => matches!(path, "/healthz" | "/readyz" | "/" | "*"),
        _ => false,
    }
}
