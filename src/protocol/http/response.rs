//! What the server answers over HTTP: responses with their length, and errors.

use std::fmt;
use std::io::Write;

use serde_json::json;

/// A request that is refused; the connection closes after the answer, since nobody knows where
/// another request would begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpError {
    /// The status, 400–599.
    pub status: u16,
    /// What is wrong, in words for whoever wrote the client.
    pub text: &'static str,
}

impl HttpError {
    pub(crate) const fn new(status: u16, text: &'static str) -> HttpError {
        HttpError { status, text }
    }

    /// The whole answer, `Connection: close` included.
    pub fn response(self) -> Vec<u8> {
        self.response_with(&[])
    }

    /// The whole answer of a port that speaks HTTP: in JSON, with a name for programs.
    pub fn refusal(self) -> Vec<u8> {
        let code = match self.status {
            408 => "request_timeout",
            411 => "length_required",
            413 => "body_too_large",
            414 | 431 => "head_too_large",
            417 => "expectation_failed",
            429 => "too_many_requests",
            501 => "not_implemented",
            503 => "unavailable",
            505 => "version_not_supported",
            _ => "bad_request",
        };
        let body = error_text(code, self.text) + "\n";
        response(self.status, &JSON_FIELDS, body.as_bytes(), false)
    }

    /// The whole answer, with further header fields.
    pub fn response_with(self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut all = vec![("Content-Type", "text/plain; charset=utf-8")];
        all.extend_from_slice(fields);
        let body = format!("{} {}: {}\n", self.status, phrase(self.status), self.text);
        response(self.status, &all, body.as_bytes(), false)
    }
}

/// What an answer in JSON says of itself.
pub const JSON_FIELDS: [(&str, &str); 3] = [
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
];

/// An error in JSON: a name for programs, and words for people.
pub fn error_text(code: &str, message: &str) -> String {
    json!({"error": {"code": code, "message": message}}).to_string()
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, phrase(self.status), self.text)
    }
}

/// A whole response. `fields` are the header fields beside Content-Length and Connection; a Date is
/// the caller's, as there is no clock here.
pub fn response(status: u16, fields: &[(&str, &str)], body: &[u8], keep_alive: bool) -> Vec<u8> {
    let mut out = response_head(status, fields, Some(body.len()), keep_alive);
    out.extend_from_slice(body);
    out
}

/// A response's head alone: for an answer to HEAD, or (with no length) for a stream that ends with
/// the connection or that `fields` declare chunked.
pub fn response_head(
    status: u16,
    fields: &[(&str, &str)],
    body_len: Option<usize>,
    keep_alive: bool,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + body_len.unwrap_or(0).min(64 << 10));
    // Writing into a Vec does not fail.
    let _ = write!(out, "HTTP/1.1 {status} {}\r\n", phrase(status));
    for (name, value) in fields {
        debug_assert!(!name.contains(['\r', '\n', ':']) && !value.contains(['\r', '\n']));
        let _ = write!(out, "{name}: {value}\r\n");
    }
    // These two never have a body, nor may they announce one (RFC 9110, section 8.6).
    if let Some(len) = body_len
        && status != 204
        && status >= 200
    {
        let _ = write!(out, "Content-Length: {len}\r\n");
    }
    // An Upgrade field must be named here, too (RFC 9110, section 7.8).
    let upgrade = fields
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
    match (keep_alive, upgrade) {
        (true, true) => out.extend_from_slice(b"Connection: Upgrade\r\n"),
        (false, true) => out.extend_from_slice(b"Connection: close, Upgrade\r\n"),
        (false, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, false) => {}
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// A request that is faulty.
pub(super) fn bad(text: &'static str) -> HttpError {
    HttpError::new(400, text)
}
