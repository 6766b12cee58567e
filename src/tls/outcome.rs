//! What a handshake has come to, in words that need no rustls: [`Handshaken`] and [`TlsRefusal`].

/// Why handshakes fail, and established connections: as they are counted, in this order.
pub const FAILURE_KINDS: [&str; 9] = [
    "plain",
    "alert",
    "too_long",
    "incompatible",
    "certificate",
    "protocol",
    "internal",
    "peer_alert",
    "record",
];
/// An established connection that its peer gave up, by an alert.
pub const PEER_ALERT: &str = "peer_alert";
/// An established connection whose peer broke the protocol.
pub const RECORD: &str = "record";

/// A handshake that is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handshaken {
    /// Whether the client had been here before, and showed a ticket.
    pub is_resumed: bool,
    /// Whether it was asked to begin again, with another key exchange.
    pub is_retried: bool,
    /// Whether it is one of TLS 1.2.
    pub is_old: bool,
    /// What a client is called that has shown a certificate.
    pub client_names: Vec<Box<str>>,
}

/// A handshake that comes to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsRefusal {
    /// One of [`FAILURE_KINDS`].
    pub kind: &'static str,
    /// What to say of it, in a log.
    pub text: String,
}

/// The place of a kind in [`FAILURE_KINDS`].
pub fn failure_index(kind: &str) -> usize {
    let index = FAILURE_KINDS.iter().position(|known| *known == kind);
    index.unwrap_or_default()
}
