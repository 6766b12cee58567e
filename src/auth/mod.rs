//! Who a client is, proved: a token signed by whoever knows the users, checked with a key from a file.
//!
//! A [`Keyring`] is read at the start and may be read again while the server runs; each core has a
//! [`Verifier`] on it, which looks at one number to see whether the keys are still the same. Checking costs
//! a signature, so it is done when a connection says who it is, and not again. Bound:
//! [`TOKEN_BYTES_MAX`] of a token, `KEYS_MAX` keys tried. Beside it, [`backend_tokens`]: who a back end is.

pub mod backend_tokens;
mod group_claim;
#[cfg(feature = "auth")]
mod jwks;
#[cfg(feature = "auth")]
mod jwt;
#[cfg(feature = "auth")]
mod key_set;
#[cfg(feature = "auth")]
mod keyfile;
#[cfg(feature = "auth")]
mod keys;
#[cfg(not(feature = "auth"))]
#[path = "absent.rs"]
mod keys;
#[cfg(feature = "auth")]
mod plain;
#[cfg(all(test, feature = "auth"))]
mod tests;

pub use group_claim::GroupClaim;
pub use keys::{Keyring, Verifier};

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ident::UidError;

/// Longest token that is looked at. Some issuers put many claims into a token; a request's head has 8 KiB.
pub const TOKEN_BYTES_MAX: usize = 4 << 10;

/// Most keys of a file, but for a set whose keys have names; and most that are tried for one token.
#[cfg(feature = "auth")]
const KEYS_MAX: usize = 8;

/// Shortest secret: as long as what it signs with (RFC 7518, section 3.2).
#[cfg(feature = "auth")]
const SECRET_BYTES_MIN: usize = 32;

/// Further away no token ends, or begins: it is one that has milliseconds in place of seconds. Ten years, three leap
/// days among them.
#[cfg(feature = "auth")]
const FAR_MAX: WallTime = 3_653 * 24 * 3_600 * 1_000;

pub(crate) const NO_TOKEN: CredentialError = CredentialError::Malformed(
    "this is not a token: expected three parts of base64url with dots between them",
);

/// A moment in milliseconds since 1970. What a token says of its end is a time of the clock on the wall.
pub type WallTime = u64;

/// The time now.
pub fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is none, and then nothing has expired.
    since.map_or(0, |since| since.as_millis() as WallTime)
}

/// What a token has proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// Whose it is.
    pub uid: Box<str>,
    /// From when on it proves nothing.
    pub expires: WallTime,
    /// The groups that its client may put itself into.
    pub groups: GroupClaim,
}

/// Why a token proves nothing, or not what was claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CredentialError {
    /// There is none.
    Missing,
    /// It is not of the form that is configured, or says something that cannot be: this, in words.
    Malformed(&'static str),
    /// It has more than [`TOKEN_BYTES_MAX`].
    TooLong,
    /// It is signed by a key that is not ours.
    Signature,
    /// It is signed by an algorithm that none of our keys is for.
    Algorithm,
    /// It names a key (`kid`) that is none of ours.
    Key,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    Early,
    /// It is for another audience, or by another issuer.
    Elsewhere,
    /// What it proves is no uid.
    Uid(UidError),
    /// It proves another uid.
    OtherUid,
}

impl CredentialError {
    /// In words, for whoever sent it.
    pub fn text(self) -> &'static str {
        match self {
            CredentialError::Missing => "a token is needed here",
            CredentialError::Malformed(text) => text,
            CredentialError::TooLong => "the token is too long",
            CredentialError::Signature => "the token is not signed by a key of this server",
            CredentialError::Algorithm => {
                "the token's alg is none that a key of this server is for"
            }
            CredentialError::Key => "the token's kid names no key of this server",
            CredentialError::Expired => "the token has expired",
            CredentialError::Early => "the token is not valid yet",
            CredentialError::Elsewhere => "the token is for another audience, or by another issuer",
            CredentialError::Uid(UidError::Empty) => "the token's uid is none: it is empty",
            CredentialError::Uid(UidError::TooLong) => {
                "the token's uid is none: it has more than 128 bytes"
            }
            CredentialError::Uid(UidError::ControlCharacter) => {
                "the token's uid is none: it has a control character"
            }
            CredentialError::Uid(UidError::Reserved) => {
                "the token's uid is none: \"all\" is reserved"
            }
            CredentialError::OtherUid => "the token is another uid's",
        }
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for CredentialError {}

/// Whether the bytes have the outer form of a token: three parts of base64url with dots between them.
pub(crate) fn looks_like_token(bytes: &[u8]) -> bool {
    bytes.len() <= TOKEN_BYTES_MAX
        && bytes.iter().filter(|byte| **byte == b'.').count() == 2
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Seconds as tokens have them.
#[cfg(feature = "auth")]
fn from_seconds(seconds: f64) -> Option<WallTime> {
    // What is too large becomes the end of time; NaN and what is negative is no time.
    (seconds >= 0.0).then_some((seconds * 1_000.0) as WallTime)
}

/// When a token that is made now ends.
pub fn ends_after(time: Duration) -> u64 {
    (wall_time() / 1_000).saturating_add(time.as_secs().max(1))
}
