//! Bytes in, values out: how messages are cut out of a connection's byte stream and put into one.
//! No I/O and no runtime. The transport calls a [`Decoder`] with what it has read, and [`Codec`] to
//! write.
//!
//! Bound: a decoder keeps at most one incomplete message of `message_bytes_max` (its buffer grows
//! as bytes arrive, never as they are announced), and nothing at all between messages.

pub mod attributes;
pub mod cluster;
pub mod cluster_holds;
pub mod cluster_roster;
mod codec;
pub mod connection_facts;
mod decoded;
mod decoder;
pub mod frame;
pub mod http;
mod incomplete;
pub mod json;
pub mod kept_record;
pub mod partitions;
pub mod proxy;
pub mod sse;
pub mod stranger;
pub mod text;
pub mod v1;
pub mod websocket;

#[cfg(test)]
mod linear;
#[cfg(test)]
mod tests;

pub use codec::{CODECS, Codec};
pub use decoded::Decoded;
pub use decoder::Decoder;
