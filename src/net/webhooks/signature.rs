//! How a batch is signed, so that its receiver knows whose it is and that it is fresh:
//!
//! ```text
//! Ringpost-Signature: t=SECONDS,v1=hex(HMAC-SHA-256(secret, SECONDS "." body))
//! ```
//!
//! The time is in seconds since 1970, that of the request and not of the batch: one that is made again is signed
//! again, and so a receiver can refuse what is minutes old.

use std::fmt::Write;

use aws_lc_rs::hmac;

/// The name of the header field.
pub const FIELD: &str = "Ringpost-Signature";

/// Its value.
pub fn sign(key: &hmac::Key, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut value = format!("t={seconds},v1=");
    for byte in context.sign().as_ref() {
        let _ = write!(value, "{byte:02x}");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python: hmac.new(secret, b"1700000000." + body, "sha256").hexdigest()
    #[test]
    fn a_known_signature() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        let value = sign(&key, 1_700_000_000, br#"{"events":[]}"#);
        assert_eq!(
            value,
            "t=1700000000,v1=df29826f9365a4c39eb569c867ae31fb39108dee0a0b3e4bcf09f11a0ba43081"
        );
    }
}
