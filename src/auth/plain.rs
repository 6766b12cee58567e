//! The plain proof (`auth = "hmac"`), which any language makes in a few lines:
//!
//! ```text
//! claim = base64url(uid) "." expiry
//! token = claim "." base64url(HMAC-SHA-256(key, claim))
//! ```
//!
//! base64url is that of RFC 4648, section 5, without padding; the expiry is in seconds since 1970, in
//! decimal digits. What is signed is the text of the token itself up to its second dot, so that no two uids
//! and times make the same text.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Credential, CredentialError, FAR_MAX, GroupClaim, NO_TOKEN, WallTime};
use crate::ident::check_uid;

/// Most digits of an expiry. Of milliseconds, and even of nanoseconds, it is said what they are.
const DIGITS_MAX: usize = 19;
const MAC_BYTES: usize = 32;

const MAC: CredentialError = CredentialError::Malformed(
    "this is not a token: its last part is no HMAC-SHA-256 in base64url without padding",
);
const EXPIRY: CredentialError =
    CredentialError::Malformed("the token's expiry is no number of seconds since 1970 in digits");
const FAR: CredentialError = CredentialError::Malformed(
    "the token's expiry is more than ten years away: it is in seconds, not in milliseconds",
);
const UID: CredentialError =
    CredentialError::Malformed("the token's uid is no UTF-8 in base64url without padding");

/// Makes a token.
pub fn mint(key: &hmac::Key, uid: &str, expires: u64) -> String {
    let mut token = format!("{}.{expires}", URL_SAFE_NO_PAD.encode(uid));
    let mac = hmac::sign(key, token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(mac.as_ref(), &mut token);
    token
}

/// Checks one against each of the keys.
pub fn verify(
    keys: &[hmac::Key],
    token: &str,
    now: WallTime,
) -> Result<Credential, CredentialError> {
    let (claim, mac) = token.rsplit_once('.').ok_or(NO_TOKEN)?;
    let (uid, expiry) = claim.split_once('.').ok_or(NO_TOKEN)?;
    let mut given = [0; MAC_BYTES];
    if URL_SAFE_NO_PAD.decode_slice(mac, &mut given) != Ok(MAC_BYTES) {
        return Err(MAC);
    }
    let expires = seconds(expiry).ok_or(EXPIRY)?;
    // Nothing more is told of a token before it is known to be ours.
    if !keys
        .iter()
        .any(|key| hmac::verify(key, claim.as_bytes(), &given).is_ok())
    {
        return Err(CredentialError::Signature);
    }
    let uid = URL_SAFE_NO_PAD.decode(uid).map_err(|_| UID)?;
    let uid = String::from_utf8(uid).map_err(|_| UID)?;
    check_uid(&uid).map_err(CredentialError::Uid)?;
    if expires > now.saturating_add(FAR_MAX) {
        return Err(FAR);
    }
    if expires <= now {
        return Err(CredentialError::Expired);
    }
    Ok(Credential {
        uid: uid.into_boxed_str(),
        expires,
        groups: GroupClaim::default(),
    })
}

fn seconds(digits: &str) -> Option<WallTime> {
    let fits = (1..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = digits.parse().ok().filter(|_| fits)?;
    Some(seconds.saturating_mul(1_000))
}
