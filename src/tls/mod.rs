//! TLS, bytes in and bytes out: rustls does the handshake ([`TlsHandshake`]), and what a connection keeps of it are the
//! [`Records`], some 230 bytes by which it opens what arrives and seals what leaves.
//!
//! Knows neither sockets nor clocks. Bound: a handshake holds what rustls needs (some 10 KB) and
//! [`HANDSHAKE_BYTES_MAX`](handshake::HANDSHAKE_BYTES_MAX) of input; records hold nothing, a half one stays with the
//! caller. TLS 1.3 and 1.2, without renegotiation, compression and 0-RTT.

mod checking;
mod connection;
pub mod credentials;
pub mod failure;
pub mod handshake;
mod listeners;
mod names;
mod outcome;
mod own_tickets;
pub mod records;
mod resolver;
mod secrets;
mod self_signed;
pub mod server;
#[cfg(test)]
mod tests;
mod tickets;
mod x509;

pub use checking::{CheckedChains, CheckedFiles, check_chains, check_files};
pub use connection::{TlsConnection, WornOut};
pub use credentials::{Pair, Sources};
pub use failure::{End, Failure};
pub use handshake::{Established, HandshakeError, HandshakeStep, NotTls, TlsHandshake};
pub use listeners::{FreshTls, TlsAcceptor, TlsListeners};
pub use outcome::{FAILURE_KINDS, Handshaken, PEER_ALERT, RECORD, TlsRefusal, failure_index};
pub use own_tickets::TicketSecret;
pub use records::{Cipher, Given, OpenedRecords, Records, Secret, Version};
pub use server::TlsServer;
