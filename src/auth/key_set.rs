//! The keys of a file, whichever kind they are of: [`Keys`].

use aws_lc_rs::hmac;

use super::jwt::{self, JwtKey, Parties};
use super::{Credential, CredentialError, WallTime, plain};

/// The keys of a file.
pub enum Keys {
    Plain(Vec<hmac::Key>),
    Jwt(Vec<JwtKey>),
}

impl Keys {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Keys::Plain(keys) => keys.len(),
            Keys::Jwt(keys) => keys.len(),
        }
    }

    /// Whether whoever knows a key can make proofs: a public one cannot.
    pub fn have_secrets(&self) -> bool {
        match self {
            Keys::Plain(_) => true,
            Keys::Jwt(keys) => keys.iter().any(JwtKey::is_secret),
        }
    }

    /// What a token proves at this time, by one of them.
    pub fn verify(&self, token: &str, now: WallTime) -> Result<Credential, CredentialError> {
        match self {
            Keys::Plain(keys) => plain::verify(keys, token, now),
            Keys::Jwt(keys) => jwt::verify(keys, token, now),
        }
    }

    /// A proof for a uid by the first that can sign, until `expires` (in seconds since 1970).
    pub fn mint(
        &self,
        uid: &str,
        groups: &[String],
        expires: u64,
        parties: &Parties,
    ) -> Option<String> {
        match self {
            Keys::Plain(keys) => keys.first().map(|key| plain::mint(key, uid, expires)),
            Keys::Jwt(keys) => {
                let mut keys = keys.iter();
                keys.find_map(|key| key.mint(uid, groups, expires, parties))
            }
        }
    }
}
