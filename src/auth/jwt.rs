//! JSON web tokens (`auth = "jwt"`): RFC 7519, signed with a secret (HS256), RSA (RS256), on a curve (ES256, ES384) or
//! by EdDSA.
//!
//! Which algorithm is decided by the key and not by the token: a token says what it is signed with, and is
//! held against the keys of that algorithm alone. So a public key is never taken for a secret, and `none`,
//! which no key is for, proves nothing. Where keys have names, a token's `kid` chooses among them. `sub` is the uid, a
//! string or a whole number; `exp` is needed, `nbf` holds; `aud` and `iss` hold as configured, and a token that names
//! an audience where none is configured is another's.

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Credential, CredentialError, FAR_MAX, GroupClaim, KEYS_MAX, NO_TOKEN, SECRET_BYTES_MIN,
    WallTime, from_seconds,
};
use crate::ident::check_uid;

/// How far the issuer's clock may be ahead of ours, in what it says of a token's beginning.
const EARLY_MAX: WallTime = 60_000;
/// Shortest RSA key that signatures are checked with, as PKCS #1 has one of 2,048 bits.
const RSA_BYTES_MIN: usize = 256;
/// Of an uncompressed point on P-256, and on P-384.
const P256_BYTES: usize = 65;
const P384_BYTES: usize = 97;

/// A key, and what a token signed with it must say.
pub struct JwtKey {
    algorithm: Algorithm,
    /// By which tokens may call it.
    kid: Option<String>,
    key: DecodingKey,
    validation: Validation,
    /// What signs with it, where that is the same.
    secret: Option<EncodingKey>,
}

/// What tokens must say of who they are for, and who made them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parties {
    pub audience: Option<String>,
    pub issuer: Option<String>,
}

/// What is looked at before the signature.
#[derive(Deserialize)]
struct JwtHeader {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// It insists on something that we do not know (RFC 7515, section 4.1.11).
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// As they are written, so that none is rounded and each can be named.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Option<Box<RawValue>>,
    #[serde(default)]
    exp: Option<Box<RawValue>>,
    #[serde(default)]
    nbf: Option<Box<RawValue>>,
    #[serde(default)]
    iat: Option<Box<RawValue>>,
    #[serde(default)]
    groups: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Minted<'a> {
    sub: &'a str,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
}

impl JwtKey {
    /// A secret.
    pub fn secret(
        algorithm: Algorithm,
        secret: &[u8],
        parties: &Parties,
    ) -> Result<JwtKey, String> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!("a secret has at least {SECRET_BYTES_MIN} bytes"));
        }
        Ok(JwtKey {
            secret: Some(EncodingKey::from_secret(secret)),
            ..JwtKey::new(algorithm, DecodingKey::from_secret(secret), parties)
        })
    }

    /// A public key in PEM, of any kind that we know.
    pub fn public(pem: &[u8], parties: &Parties) -> Result<JwtKey, String> {
        let bytes = |key: DecodingKey| key.try_get_as_bytes().map(<[u8]>::to_vec).ok();
        if let Some(key) = DecodingKey::from_ed_pem(pem).ok().and_then(bytes) {
            return JwtKey::ed25519(&key, parties);
        }
        if let Some(point) = DecodingKey::from_ec_pem(pem).ok().and_then(bytes) {
            return match point.len() {
                P384_BYTES => JwtKey::ec(Algorithm::ES384, &point, parties),
                _ => JwtKey::ec(Algorithm::ES256, &point, parties),
            };
        }
        match DecodingKey::from_rsa_pem(pem).ok().and_then(bytes) {
            Some(der) => JwtKey::rsa(Algorithm::RS256, &der, parties),
            None => Err(
                "expected public keys of RSA (RS256), P-256 (ES256), P-384 (ES384) or Ed25519 (EdDSA)"
                    .to_owned(),
            ),
        }
    }

    /// An RSA key as PKCS #1 has it.
    pub fn rsa(algorithm: Algorithm, der: &[u8], parties: &Parties) -> Result<JwtKey, String> {
        if der.len() < RSA_BYTES_MIN {
            return Err("an RSA key has at least 2048 bits".to_owned());
        }
        let known = &signature::RSA_PKCS1_2048_8192_SHA256;
        checked(known, der, "an RSA key of 2048 to 8192 bits")?;
        Ok(JwtKey::new(
            algorithm,
            DecodingKey::from_rsa_der(der),
            parties,
        ))
    }

    /// A point on P-256 for ES256, or on P-384 for ES384, uncompressed.
    pub fn ec(algorithm: Algorithm, point: &[u8], parties: &Parties) -> Result<JwtKey, String> {
        let (known, length, name): (&'static dyn VerificationAlgorithm, _, _) = match algorithm {
            Algorithm::ES384 => (&signature::ECDSA_P384_SHA384_FIXED, P384_BYTES, "P-384"),
            _ => (&signature::ECDSA_P256_SHA256_FIXED, P256_BYTES, "P-256"),
        };
        if point.len() != length || point[0] != 4 {
            return Err(format!(
                "expected an uncompressed point on {name} (ES256: P-256, ES384: P-384)"
            ));
        }
        checked(known, point, &format!("a point on {name}"))?;
        let key = DecodingKey::from_ec_der(point);
        Ok(JwtKey::new(algorithm, key, parties))
    }

    /// A public key of Ed25519.
    pub fn ed25519(key: &[u8], parties: &Parties) -> Result<JwtKey, String> {
        checked(&signature::ED25519, key, "a public key of Ed25519")?;
        let key = DecodingKey::from_ed_der(key);
        Ok(JwtKey::new(Algorithm::EdDSA, key, parties))
    }

    /// This key with a name that tokens may have in `kid`.
    pub fn named(self, kid: Option<String>) -> JwtKey {
        JwtKey { kid, ..self }
    }

    fn new(algorithm: Algorithm, key: DecodingKey, parties: &Parties) -> JwtKey {
        let mut validation = Validation::new(algorithm);
        let mut required = Vec::new();
        // Times are held against the core's own time, below, as is `sub`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        if let Some(audience) = &parties.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &parties.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        JwtKey {
            algorithm,
            kid: None,
            key,
            validation,
            secret: None,
        }
    }

    /// Whether it is a secret.
    pub fn is_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Makes a token, where the key can sign.
    pub fn mint(
        &self,
        uid: &str,
        groups: &[String],
        expires: u64,
        parties: &Parties,
    ) -> Option<String> {
        let claims = Minted {
            sub: uid,
            exp: expires,
            aud: parties.audience.as_deref(),
            iss: parties.issuer.as_deref(),
            groups,
        };
        let mut header = Header::new(self.algorithm);
        header.kid.clone_from(&self.kid);
        jsonwebtoken::encode(&header, &claims, self.secret.as_ref()?).ok()
    }
}

/// Whether the cryptography takes it: a key that no signature can be checked with would refuse everybody.
fn checked(
    known: &'static dyn VerificationAlgorithm,
    key: &[u8],
    expected: &str,
) -> Result<(), String> {
    match ParsedPublicKey::new(known, key) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("expected {expected}, and this is none")),
    }
}

/// Checks a token against the keys of its algorithm, and of its `kid` where keys have one.
pub fn verify(keys: &[JwtKey], token: &str, now: WallTime) -> Result<Credential, CredentialError> {
    let head = head(token)?;
    let algorithm: Option<Algorithm> = head.alg.parse().ok();
    let algorithm = algorithm.filter(|known| keys.iter().any(|key| key.algorithm == *known));
    let algorithm = algorithm.ok_or(CredentialError::Algorithm)?;
    let mut candidates: Vec<&JwtKey> = keys
        .iter()
        .filter(|key| key.algorithm == algorithm)
        .collect();
    if let Some(kid) = &head.kid {
        let is_called = |key: &&JwtKey| key.kid.as_ref() == Some(kid);
        match candidates.iter().any(is_called) {
            true => candidates.retain(is_called),
            false => candidates.retain(|key| key.kid.is_none()),
        }
    }
    let mut found = match candidates.is_empty() {
        true => Err(CredentialError::Key),
        false => Err(CredentialError::Signature),
    };
    for key in candidates.iter().take(KEYS_MAX) {
        match jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation) {
            Ok(decoded) => return judge(&decoded.claims, now),
            Err(error) => found = Err(refusal(error.kind(), token, now)),
        }
        if found != Err(CredentialError::Signature) {
            break;
        }
    }
    found
}

fn head(token: &str) -> Result<JwtHeader, CredentialError> {
    let mut parts = token.split('.');
    let (Some(head), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NO_TOKEN);
    };
    let bytes = URL_SAFE_NO_PAD.decode(head).map_err(|_| NO_TOKEN)?;
    let head: JwtHeader = serde_json::from_slice(&bytes).map_err(|_| HEAD)?;
    match head.crit {
        Some(_) => Err(CredentialError::Malformed(
            "the token's header has crit, and asks for what is not known here",
        )),
        None => Ok(head),
    }
}

const HEAD: CredentialError = CredentialError::Malformed(
    "the token's header is no JSON object with the alg of a JSON web token",
);
const CLAIMS: CredentialError = CredentialError::Malformed("the token's claims are no JSON object");
const SUB: CredentialError =
    CredentialError::Malformed("the token's sub is missing, or no string and no whole number");
const EXP: CredentialError =
    CredentialError::Malformed("the token's exp is missing, or no number of seconds since 1970");
const NBF: CredentialError =
    CredentialError::Malformed("the token's nbf is no number of seconds since 1970");
const IAT: CredentialError =
    CredentialError::Malformed("the token's iat is no number of seconds since 1970");
const FAR_EXP: CredentialError = CredentialError::Malformed(
    "the token's exp is more than ten years away: it is in seconds, not in milliseconds",
);
const FAR_NBF: CredentialError = CredentialError::Malformed(
    "the token's nbf is more than ten years away: it is in seconds, not in milliseconds",
);
const FAR_IAT: CredentialError = CredentialError::Malformed(
    "the token's iat is more than ten years away: it is in seconds, not in milliseconds",
);

/// Holds what is signed against the time and our own rules.
fn judge(claims: &Claims, now: WallTime) -> Result<Credential, CredentialError> {
    let uid = subject(claims.sub.as_deref())?;
    let plausible = |time: WallTime, far| match time > now.saturating_add(FAR_MAX) {
        true => Err(far),
        false => Ok(time),
    };
    let expires = time(claims.exp.as_deref(), EXP)?.ok_or(EXP)?;
    let expires = plausible(expires, FAR_EXP)?;
    if let Some(issued) = time(claims.iat.as_deref(), IAT)? {
        plausible(issued, FAR_IAT)?;
    }
    if let Some(begins) = time(claims.nbf.as_deref(), NBF)?
        && plausible(begins, FAR_NBF)? > now.saturating_add(EARLY_MAX)
    {
        return Err(CredentialError::Early);
    }
    check_uid(&uid).map_err(CredentialError::Uid)?;
    if expires <= now {
        return Err(CredentialError::Expired);
    }
    Ok(Credential {
        uid: uid.into_boxed_str(),
        expires,
        groups: GroupClaim::new(claims.groups.as_deref().map(RawValue::get)),
    })
}

/// A string, or a whole number as it is written, as a back end may write it too.
fn subject(sub: Option<&RawValue>) -> Result<String, CredentialError> {
    let raw = sub.ok_or(SUB)?.get();
    match raw.as_bytes() {
        [b'"', ..] => serde_json::from_str(raw).map_err(|_| SUB),
        [b'-' | b'0'..=b'9', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Ok(raw.to_owned())
        }
        _ => Err(SUB),
    }
}

/// A time; `null` is none.
fn time(
    claim: Option<&RawValue>,
    wrong: CredentialError,
) -> Result<Option<WallTime>, CredentialError> {
    let Some(raw) = claim.map(RawValue::get).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let seconds: f64 = serde_json::from_str(raw).map_err(|_| wrong)?;
    from_seconds(seconds).map(Some).ok_or(wrong)
}

fn refusal(error: &ErrorKind, token: &str, now: WallTime) -> CredentialError {
    match error {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => CredentialError::Signature,
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => CredentialError::Elsewhere,
        ErrorKind::MissingRequiredClaim(claim) if matches!(claim.as_str(), "aud" | "iss") => {
            CredentialError::Elsewhere
        }
        ErrorKind::Json(_) | ErrorKind::Utf8(_) => fault(token, now),
        _ => NO_TOKEN,
    }
}

/// Which of the claims of a token that is signed as it should be is none.
fn fault(token: &str, now: WallTime) -> CredentialError {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.decode(payload).ok();
    let claims = claims.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    claims.map_or(CLAIMS, |claims| judge(&claims, now).err().unwrap_or(CLAIMS))
}
