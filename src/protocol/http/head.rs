//! The strict check of a request's head: first its [bytes](HeadScan), as they come, then its
//! [fields](check_head). Only what has passed both goes to monoio-http's decoder.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use monoio_codec::{Decoded, Decoder};
use monoio_http::common::request::RequestHead;
use monoio_http::h1::codec::decoder::RequestHeadDecoder;

use super::fields::{Field, Fields};
use super::response::HttpError;

/// Most header fields of a request; one more gets 431.
pub const FIELDS_MAX: usize = 64;
/// Longest method. Something longer is no HTTP, and need not be waited for.
pub(super) const METHOD_BYTES_MAX: usize = 24;
/// Most empty lines before a request line. One may come of a client that ends a body with one too many (RFC 9112,
/// section 2.2).
pub(super) const EMPTY_LINES_MAX: u8 = 4;
/// What a record of TLS begins with, as long as a handshake is to come (RFC 8446, section 5.1). No request does.
const TLS_HANDSHAKE: u8 = 0x16;

pub(super) const NOT_HTTP: HttpError = HttpError::new(400, "this is not an HTTP/1.1 request");
/// Somebody speaks TLS to a port that does not.
pub const TLS: HttpError = HttpError::new(
    400,
    "this is TLS, and the port speaks none: use ws:// or http:// here, or put a proxy in front that ends TLS",
);
const HEAD_TOO_LARGE: HttpError = HttpError::new(
    431,
    "the request's head is larger than request_head_bytes_max",
);
const TARGET_TOO_LONG: HttpError = HttpError::new(
    414,
    "the request's target is longer than request_head_bytes_max",
);

pub(super) fn bad(text: &'static str) -> HttpError {
    HttpError::new(400, text)
}

/// Looks for the end of a head in bytes that come in pieces, each byte once, and refuses at the
/// first byte that no head can have there.
#[derive(Clone, Debug)]
pub struct HeadScan {
    bytes_max: usize,
    at: usize,
    line_start: usize,
    /// Where the request line begins: behind the empty lines before it.
    first: usize,
    empty_lines: u8,
}

impl HeadScan {
    /// A scan for a head of at most `bytes_max`.
    pub fn new(bytes_max: usize) -> HeadScan {
        HeadScan {
            bytes_max,
            at: 0,
            line_start: 0,
            first: 0,
            empty_lines: 0,
        }
    }

    /// Whether the request line is still to end.
    fn in_first_line(&self) -> bool {
        self.line_start == self.first
    }

    /// The most bytes of the head.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Goes on over `bytes`, which begin where the head begins and are at least as many as before.
    /// Returns where the head ends, its empty line included.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, HttpError> {
        let within = &bytes[..bytes.len().min(self.bytes_max)];
        // Nearly always, and found at once; else each line tells what comes first in it.
        let clean = is_text(&within[self.at..], |byte| {
            matches!(byte, b'\t' | b'\r' | b'\n')
        });
        while self.at < within.len() {
            if self.at > self.line_start && within[self.at - 1] == b'\r' {
                if self.end_line(within)? {
                    return Ok(Some(self.at));
                }
            } else if self.in_first_line() && self.at - self.first <= METHOD_BYTES_MAX {
                self.begin(within)?;
            } else {
                self.pass_text(within, clean)?;
            }
        }
        if bytes.len() >= self.bytes_max {
            return Err(match self.in_first_line() {
                true => TARGET_TOO_LONG,
                false => HEAD_TOO_LARGE,
            });
        }
        Ok(None)
    }

    /// Takes the line feed that must follow a carriage return. True if that was the empty line.
    fn end_line(&mut self, bytes: &[u8]) -> Result<bool, HttpError> {
        if bytes[self.at] != b'\n' {
            return Err(bad("a bare carriage return in the head"));
        }
        let line = &bytes[self.line_start..self.at - 1];
        self.at += 1;
        if self.in_first_line() {
            if line.is_empty() {
                self.empty_lines += 1;
                if self.empty_lines > EMPTY_LINES_MAX {
                    return Err(NOT_HTTP);
                }
                self.first = self.at;
            } else {
                check_request_line(line)?;
            }
        } else if line.is_empty() {
            return Ok(true);
        }
        self.line_start = self.at;
        Ok(false)
    }

    /// Goes on byte by byte while the method may still be going on: TLS, another protocol or plain
    /// noise is refused at once.
    fn begin(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        let first = self.first;
        let mut in_method = !bytes[first..self.at].contains(&b' ');
        while self.at < bytes.len() && self.at - first <= METHOD_BYTES_MAX {
            let byte = bytes[self.at];
            let at = self.at - first;
            let fits = match byte {
                b'\n' => return Err(bad("a bare line feed in the head")),
                TLS_HANDSHAKE if at == 0 => return Err(TLS),
                b' ' => at > 0,
                b'\r' if at == 0 || !in_method => {
                    self.at += 1;
                    return Ok(());
                }
                _ if in_method => is_token(byte) && at < METHOD_BYTES_MAX,
                _ => byte.is_ascii_graphic(),
            };
            if !fits {
                return Err(NOT_HTTP);
            }
            in_method &= byte != b' ';
            self.at += 1;
        }
        Ok(())
    }

    /// Goes on to the line's end, or to the last byte, and takes the carriage return. `clean` says that
    /// no byte from here on is a control character but these and the tab.
    fn pass_text(&mut self, bytes: &[u8], clean: bool) -> Result<(), HttpError> {
        let rest = &bytes[self.at..];
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        if !clean && !is_text(&rest[..end], |byte| byte == b'\t') {
            return Err(bad("a control character in the head"));
        }
        if rest.get(end) == Some(&b'\n') {
            return Err(bad("a bare line feed in the head"));
        }
        self.at += rest.len().min(end + 1);
        Ok(())
    }
}

/// Whether no control character but those allowed is among the bytes. All are looked at, for that goes
/// many at a time.
fn is_text(bytes: &[u8], is_allowed: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |text, &byte| {
        text & ((byte >= b' ') & (byte != 0x7f) | is_allowed(byte))
    })
}

/// Checks the request line's shape, so that the rest of another protocol is not waited for.
pub(super) fn check_request_line(line: &[u8]) -> Result<(), HttpError> {
    let mut words = line.split(|&byte| byte == b' ');
    let (_method, target) = (words.next(), words.next());
    let (Some(target), Some(version), None) = (target, words.next(), words.next()) else {
        return Err(NOT_HTTP);
    };
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(bad(
            "the request's target has a character that must be escaped",
        ));
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HttpError::new(
                505,
                "this server speaks HTTP/1.1 and HTTP/1.0",
            ))
        }
        _ => Err(NOT_HTTP),
    }
}

/// How a request's body is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// It has none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

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

/// One way to delimit the body, and no other: two parties that read a request differently can be
/// made to see different requests.
fn framing(fields: &Fields<'_>) -> Result<Framing, HttpError> {
    let length = fields.single(Field::ContentLength)?;
    let coding = fields.single(Field::TransferEncoding)?;
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(bad("both Content-Length and Transfer-Encoding")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => Err(HttpError::new(501, "no transfer coding but chunked")),
        (Some(length), None) => {
            let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            match length.parse() {
                Ok(length) if digits => Ok(Framing::Length(length)),
                _ => Err(bad("a malformed Content-Length")),
            }
        }
    }
}

/// The framing of a request of HTTP/1.0, which knows no chunks: one that has any is faulty (RFC 9112, section 6.1). And
/// where no length says where a body ends, the end of the stream would have to, which may as well be a broken one.
fn old_framing(method: &str, fields: &Fields<'_>) -> Result<Framing, HttpError> {
    if fields.single(Field::TransferEncoding)?.is_some() {
        return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
    }
    match framing(fields)? {
        Framing::None if matches!(method, "POST" | "PUT" | "PATCH") => Err(HttpError::new(
            411,
            "a body needs a Content-Length in HTTP/1.0",
        )),
        framing => Ok(framing),
    }
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

pub(in crate::protocol) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
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
