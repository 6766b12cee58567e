//! One direction's key, and the next one (RFC 8446, 5.3, 7.1 to 7.3).

use std::fmt;

use aws_lc_rs::aead::{self, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, Prk};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::cipher::{Cipher, Version};

/// Longest hash, SHA-384's.
const SECRET_BYTES_MAX: usize = 48;
const KEY_BYTES_MAX: usize = 32;
/// So many records are sealed with one key of AES-GCM at most (RFC 8446, 5.5, allows 2^24.5).
pub(super) const RECORDS_PER_KEY_MAX: u64 = 1 << 23;

impl Cipher {
    pub(super) fn key_bytes(self) -> usize {
        match self {
            Cipher::Aes128Gcm => 16,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32,
        }
    }

    /// How long a traffic secret is in TLS 1.3.
    pub(super) fn secret_bytes(self) -> usize {
        match self {
            Cipher::Aes256Gcm => 48,
            Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => 32,
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn hash(self) -> hkdf::Algorithm {
        match self {
            Cipher::Aes256Gcm => hkdf::HKDF_SHA384,
            Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
        }
    }

    /// So many records are sealed with one key at most.
    pub(super) fn records_per_key_max(self) -> u64 {
        match self {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => RECORDS_PER_KEY_MAX,
            Cipher::ChaCha20Poly1305 => u64::MAX,
        }
    }
}

/// A traffic secret of TLS 1.3, of which keys are made. Cleared when dropped.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret([[u8; SECRET_BYTES_MAX / 2]; 2]);

impl Secret {
    /// None: for TLS 1.2, whose keys do not change.
    pub(super) fn none() -> Secret {
        Secret([[0; SECRET_BYTES_MAX / 2]; 2])
    }

    /// `None` if it is too long to be one.
    pub fn new(secret: &[u8]) -> Option<Secret> {
        let mut kept = Secret::none();
        let all = kept.0.as_flattened_mut();
        all.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(kept)
    }

    /// HKDF-Expand-Label without context, into `out` (RFC 8446, 7.1).
    fn expand(&self, cipher: Cipher, label: &[u8], out: &mut [u8]) {
        struct Bytes(usize);
        impl hkdf::KeyType for Bytes {
            fn len(&self) -> usize {
                self.0
            }
        }
        let secret = &self.0.as_flattened()[..cipher.secret_bytes()];
        let length = (out.len() as u16).to_be_bytes();
        let label_len = [(b"tls13 ".len() + label.len()) as u8];
        let info = [&length[..], &label_len, b"tls13 ", label, &[0]];
        let bytes = Bytes(out.len());
        Prk::new_less_safe(cipher.hash(), secret)
            .expand(&info, bytes)
            .and_then(|okm| okm.fill(out))
            .expect("less than 255 hashes are asked for");
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.as_flattened_mut().zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What one direction's records are sealed with. Cleared when dropped.
#[derive(Serialize, Deserialize)]
pub(super) struct TrafficKeys {
    /// TLS 1.3: what the next key is made of.
    secret: Secret,
    key: [u8; KEY_BYTES_MAX],
    iv: [u8; NONCE_LEN],
    sequence: Sequence,
}

/// How many records were sealed with a key (with TLS 1.2: in this connection). Bytes, which lie anywhere: a number
/// between them would leave four of a connection's bytes unused, twice.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
struct Sequence([u8; 8]);

impl From<u64> for Sequence {
    fn from(number: u64) -> Sequence {
        Sequence(number.to_be_bytes())
    }
}

impl From<Sequence> for u64 {
    fn from(sequence: Sequence) -> u64 {
        u64::from_be_bytes(sequence.0)
    }
}

impl TrafficKeys {
    /// The first ones of a traffic secret.
    pub fn derived(cipher: Cipher, secret: &Secret) -> TrafficKeys {
        let mut keys = TrafficKeys {
            secret: secret.clone(),
            key: [0; KEY_BYTES_MAX],
            iv: [0; NONCE_LEN],
            sequence: Sequence::from(0),
        };
        keys.derive(cipher);
        keys
    }

    /// Those of TLS 1.2, `sequence` records on. `None` if they are not of this cipher's length.
    pub fn given(cipher: Cipher, key: &[u8], iv: &[u8], sequence: u64) -> Option<TrafficKeys> {
        let mut keys = TrafficKeys {
            secret: Secret::none(),
            key: [0; KEY_BYTES_MAX],
            iv: [0; NONCE_LEN],
            sequence: sequence.into(),
        };
        if key.len() != cipher.key_bytes() || iv.len() != NONCE_LEN {
            return None;
        }
        keys.key[..key.len()].copy_from_slice(key);
        keys.iv.copy_from_slice(iv);
        Some(keys)
    }

    /// Whether they are these.
    pub fn are(&self, cipher: Cipher, key: &[u8], iv: &[u8]) -> bool {
        // Both are ours, so the time that it takes tells nobody anything.
        &self.key[..cipher.key_bytes()] == key && self.iv == iv
    }

    fn derive(&mut self, cipher: Cipher) {
        let key = &mut self.key[..cipher.key_bytes()];
        self.secret.expand(cipher, b"key", key);
        self.secret.expand(cipher, b"iv", &mut self.iv);
        self.set_sequence(0);
    }

    /// How many records were sealed with the key (with TLS 1.2: in this connection).
    pub fn sequence(&self) -> u64 {
        self.sequence.into()
    }

    pub fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence.into();
    }

    /// One more; how many that makes.
    pub fn count(&mut self) -> u64 {
        let sequence = self.sequence() + 1;
        self.set_sequence(sequence);
        sequence
    }

    /// The next generation of them (RFC 8446, 7.2).
    pub fn update(&mut self, cipher: Cipher) {
        let mut next = Secret::none();
        let bytes = cipher.secret_bytes();
        let out = &mut next.0.as_flattened_mut()[..bytes];
        self.secret.expand(cipher, b"traffic upd", out);
        self.secret = next;
        self.derive(cipher);
    }

    /// As they are now, for what is to seal or open many records.
    pub fn expanded(&self, cipher: Cipher) -> LessSafeKey {
        let key = UnboundKey::new(cipher.algorithm(), &self.key[..cipher.key_bytes()]);
        LessSafeKey::new(key.expect("a key of the algorithm's length"))
    }

    /// The nonce of the record that is next (RFC 8446, 5.3). TLS 1.2 with AES-GCM sends the last eight bytes along.
    pub fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.0) {
            *byte ^= sequence;
        }
        nonce
    }

    /// The nonce of a record of TLS 1.2 that has brought its own part of it.
    pub fn nonce_with(&self, explicit: [u8; 8]) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..].copy_from_slice(&explicit);
        Nonce::assume_unique_for_key(nonce)
    }

    /// What a record of TLS 1.2 is authenticated with (RFC 5246, 6.2.3.3).
    pub fn associated_12(&self, kind: u8, len: usize) -> [u8; 13] {
        let mut associated = [0; 13];
        associated[..8].copy_from_slice(&self.sequence.0);
        associated[8..11].copy_from_slice(&[kind, 3, 3]);
        associated[11..].copy_from_slice(&(len as u16).to_be_bytes());
        associated
    }

    /// These keys again, for the connection's other end.
    pub fn again(&self) -> TrafficKeys {
        TrafficKeys {
            secret: self.secret.clone(),
            key: self.key,
            iv: self.iv,
            sequence: self.sequence,
        }
    }
}

impl Drop for TrafficKeys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

/// Whether records of this kind bring a part of their nonce along.
pub(super) fn has_explicit_nonce(version: Version, cipher: Cipher) -> bool {
    version == Version::Tls12 && cipher != Cipher::ChaCha20Poly1305
}
