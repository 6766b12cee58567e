//! How the TLS of a connection ends: what the peer has said or done, and the alert that answers it (RFC 8446, 6; RFC
//! 5246, 7.2).

use serde::{Deserialize, Serialize};

/// Why nothing more can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// The peer has said that it sends no more (close_notify). What we have for it may still be sent.
    Closed,
    /// The peer has given up and said so by this alert.
    Alert(u8),
    /// The peer broke the protocol.
    Failed(Failure),
}

/// What a peer did that TLS forbids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Failure {
    /// A record is not by who has the key, or was changed, repeated or left out on its way.
    BadRecordMac,
    /// A record is longer than TLS allows.
    RecordOverflow,
    /// A record or message of a kind that has no place here.
    UnexpectedMessage,
    /// A message that is not as long as it has to be.
    Decode,
    /// A key update that says neither yes nor no.
    IllegalParameter,
    /// A second handshake on a connection of TLS 1.2.
    Renegotiation,
    /// `FRUITLESS_MAX` records in succession brought nothing.
    Fruitless,
}

/// `close_notify`.
pub const CLOSE_NOTIFY: u8 = 0;
/// `user_canceled`: a close_notify follows.
pub const USER_CANCELED: u8 = 90;
/// `no_renegotiation`.
pub const NO_RENEGOTIATION: u8 = 100;

impl Failure {
    /// The alert that tells the peer.
    pub fn alert(self) -> u8 {
        match self {
            Failure::UnexpectedMessage | Failure::Fruitless => 10,
            Failure::BadRecordMac => 20,
            Failure::RecordOverflow => 22,
            Failure::IllegalParameter => 47,
            Failure::Decode => 50,
            Failure::Renegotiation => NO_RENEGOTIATION,
        }
    }

    /// What to say of it, in a log.
    pub fn text(self) -> &'static str {
        match self {
            Failure::BadRecordMac => "a TLS record that was not sealed with the connection's key",
            Failure::RecordOverflow => "a TLS record that is longer than TLS allows",
            Failure::UnexpectedMessage => "a TLS record or message that has no place there",
            Failure::Decode => "a TLS message of a wrong length",
            Failure::IllegalParameter => "a TLS key update that is none",
            Failure::Renegotiation => "a second TLS handshake (renegotiation), which is refused",
            Failure::Fruitless => "many TLS records in succession without a byte in them",
        }
    }
}

/// The name of an alert.
pub fn alert_name(alert: u8) -> &'static str {
    match alert {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "an unknown alert",
    }
}
