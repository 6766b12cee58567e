//! HTTP/1 on the server's side: a request's [head], its [body], both out of one connection's bytes ([`RequestDecoder`]), and the
//! [answer](mod@response).
//!
//! The strict check comes first, because what reads the head afterwards is lenient where leniency
//! is dangerous: two lengths, a length beside a transfer coding, a folded line. The websocket
//! handshake uses the same check, and so do requests that ask after a server's [health]. HTTP/1.0 is understood, too.
//! Bounds: of a head what its scan is given, and [`head::FIELDS_MAX`]; of a body what its reader is given.

pub mod body;
pub mod decoder;
pub mod fields;
pub mod framing;
pub mod head;
pub mod health;
pub mod opening;
pub mod query;
pub mod reader;
pub mod request;
pub mod response;
pub mod scan;
pub mod token;

#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;

pub use body::{BodyReader, Part};
pub use decoder::RequestDecoder;
pub use framing::Framing;
pub use head::{Head, check_head, decode_head};
pub use health::Health;
pub use reader::HeadReader;
pub use request::Request;
pub use response::{HttpError, response, response_head};
pub use scan::HeadScan;
