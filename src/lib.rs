//! ringpost: a push server for Linux, on every core at once.

pub mod app;
#[doc(hidden)]
pub mod bus;
pub mod close;
pub mod config;
pub mod escape;
pub mod ident;
mod net;
pub mod payload;
#[doc(hidden)]
pub mod protocol;
mod server;
mod shard;
pub mod stats;

pub use close::CloseReason;
pub use config::Config;
pub use net::http::{Asset, Site};
pub use payload::Message;
pub use server::{Listen, Listening, Listens, Running, Server};
