//! The websocket subprotocol `ringpost.v1`: one JSON object a text frame. What a client asks ([`ClientRequest`]), what it is
//! told ([`told`]), and a message in its [`envelope`]. `docs/ringpost-v1.md` is its contract.
//!
//! Its frames are those of [`super::websocket`]; here is what is in them. Called by the shard for each message, and by the
//! host for what a client asks.

mod content;
mod envelope;
mod request;
pub mod told;

pub use content::Content;
pub use envelope::{ToldStream, envelope};
pub use request::{
    BindRequest, ClientRequest, RequestError, RequestId, Spoken, SpokenStream, Wanted,
};

/// The subprotocol's name.
pub const NAME: &str = "ringpost.v1";

/// What the names of all its versions begin with.
pub const NAMES: &str = "ringpost.v";

/// The ping, which a page sees.
pub(super) const PING: &str = r#"{"type":"ping"}"#;

/// The answer to a client's.
pub const PONG: &str = r#"{"type":"pong"}"#;
