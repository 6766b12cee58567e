//! What is spoken, and how records are sealed.

use serde::{Deserialize, Serialize};

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// How records are sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cipher {
    /// AES-128-GCM; with SHA-256 in TLS 1.3.
    Aes128Gcm,
    /// AES-256-GCM; with SHA-384 in TLS 1.3.
    Aes256Gcm,
    /// ChaCha20-Poly1305; with SHA-256 in TLS 1.3.
    ChaCha20Poly1305,
}
