//! HTTP/1.1 on the server's side: a request's [head], its [body], and the [answer](mod@response).
//!
//! The strict check comes first, because what reads the head afterwards is lenient where leniency
//! is dangerous: two lengths, a length beside a transfer coding, a folded line. The websocket
//! handshake uses the same check. Bounds: [`head::HTTP_HEAD_BYTES_MAX`], [`head::FIELDS_MAX`], and
//! for a body what its reader is given.

pub mod body;
pub mod fields;
pub mod head;
pub mod response;

#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;

pub use body::{Body, Part};
pub use head::{Framing, Head, HeadScan, check_head, decode_head};
pub use response::{HttpError, response, response_head};
