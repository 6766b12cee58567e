//! JSON web tokens (`auth = "jwt"`): RFC 7519 with HS256, RS256 or EdDSA.
//!
//! Which algorithm is decided by the key and not by the token: a token says what it is signed with, and is
//! held against the keys of that algorithm alone. So a public key is never taken for a secret, and `none`,
//! which no key is for, proves nothing. `sub` is the uid, `exp` is needed, `nbf` holds; `aud` and
//! `iss` hold as configured, and a token that names an audience where none is configured is another's.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::{Proof, ProofError, WallTime, from_seconds};
use crate::ident::check_uid;

/// How far the issuer's clock may be ahead of ours, in what it says of a token's beginning.
const EARLY_MAX: WallTime = 60_000;

/// A key, and what a token signed with it must say.
pub struct JwtKey {
    algorithm: Algorithm,
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

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: Number,
    #[serde(default)]
    nbf: Option<Number>,
}

#[derive(Serialize)]
struct Minted<'a> {
    sub: &'a str,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

impl JwtKey {
    /// A secret, for HS256.
    pub fn secret(secret: &[u8], parties: &Parties) -> JwtKey {
        JwtKey {
            secret: Some(EncodingKey::from_secret(secret)),
            ..JwtKey::new(Algorithm::HS256, DecodingKey::from_secret(secret), parties)
        }
    }

    /// A public key in PEM: RSA for RS256, Ed25519 for EdDSA. `None` if it is neither.
    pub fn public(pem: &[u8], parties: &Parties) -> Option<JwtKey> {
        if let Ok(key) = DecodingKey::from_ed_pem(pem) {
            return Some(JwtKey::new(Algorithm::EdDSA, key, parties));
        }
        let key = DecodingKey::from_rsa_pem(pem).ok()?;
        Some(JwtKey::new(Algorithm::RS256, key, parties))
    }

    fn new(algorithm: Algorithm, key: DecodingKey, parties: &Parties) -> JwtKey {
        let mut validation = Validation::new(algorithm);
        let mut required = vec!["exp", "sub"];
        // Times are held against the core's own time, below.
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
            key,
            validation,
            secret: None,
        }
    }

    /// How many bytes it has, in the form that signatures are checked with.
    pub fn len(&self) -> usize {
        self.key.try_get_as_bytes().map_or(0, <[u8]>::len)
    }

    /// Whether it is for RS256.
    pub fn is_rsa(&self) -> bool {
        self.algorithm == Algorithm::RS256
    }

    /// Makes a token, where the key can sign.
    pub fn mint(&self, uid: &str, expires: u64, parties: &Parties) -> Option<String> {
        let claims = Minted {
            sub: uid,
            exp: expires,
            aud: parties.audience.as_deref(),
            iss: parties.issuer.as_deref(),
        };
        let header = Header::new(self.algorithm);
        jsonwebtoken::encode(&header, &claims, self.secret.as_ref()?).ok()
    }
}

/// Checks a token against the keys of its algorithm.
pub fn verify(keys: &[JwtKey], token: &str, now: WallTime) -> Result<Proof, ProofError> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| refusal(error.kind()))?;
    if header.crit.is_some() {
        // It insists on something that we do not know (RFC 7515, section 4.1.11).
        return Err(ProofError::Malformed);
    }
    let mut found = Err(ProofError::Signature);
    for key in keys.iter().filter(|key| key.algorithm == header.alg) {
        match jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation) {
            Ok(decoded) => return judge(decoded.claims, now),
            Err(error) => found = Err(refusal(error.kind())),
        }
        if found != Err(ProofError::Signature) {
            break;
        }
    }
    found
}

/// Holds what is signed against the time and our own rules.
fn judge(claims: Claims, now: WallTime) -> Result<Proof, ProofError> {
    let time = |number: &Number| {
        let seconds = number.as_f64().and_then(from_seconds);
        seconds.ok_or(ProofError::Malformed)
    };
    let expires = time(&claims.exp)?;
    if let Some(begins) = &claims.nbf
        && time(begins)? > now.saturating_add(EARLY_MAX)
    {
        return Err(ProofError::Early);
    }
    check_uid(&claims.sub).map_err(ProofError::Uid)?;
    if expires <= now {
        return Err(ProofError::Expired);
    }
    Ok(Proof {
        uid: claims.sub.into_boxed_str(),
        expires,
    })
}

fn refusal(error: &ErrorKind) -> ProofError {
    match error {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => ProofError::Signature,
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => ProofError::Elsewhere,
        ErrorKind::MissingRequiredClaim(claim) if matches!(claim.as_str(), "aud" | "iss") => {
            ProofError::Elsewhere
        }
        _ => ProofError::Malformed,
    }
}
