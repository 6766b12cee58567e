//! How a request's body is delimited: [`Framing`].

use super::fields::{Field, Fields};
use super::response::{HttpError, bad};

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

/// One way to delimit the body, and no other: two parties that read a request differently can be
/// made to see different requests.
pub(super) fn framing(fields: &Fields<'_>) -> Result<Framing, HttpError> {
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
pub(super) fn old_framing(method: &str, fields: &Fields<'_>) -> Result<Framing, HttpError> {
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
