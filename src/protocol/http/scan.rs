//! The end of a request's head, looked for in bytes as they come: [`HeadScan`]. Bound: what it is given, and it keeps no byte.

use super::response::{HttpError, bad};

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

/// Whether a byte may be in a method or a field's name (RFC 9110, section 5.6.2).
pub(in crate::protocol) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
