//! JSON web keys (RFC 7517): a file with a set of them (`{"keys":[…]}`), as identity providers publish it, or with one.
//!
//! What checks no signatures here is passed over, as RFC 7517, section 5 asks for: keys for encryption, of other kinds
//! and curves. A key that is ours by its kind and broken, or private, is refused by its place and name. An algorithm
//! named by `alg` holds; without one it is RS256, ES256, ES384, EdDSA or HS256, by the key's kind.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::jwt::{JwtKey, Parties};

/// Most keys of a set. A token names its key there, so few of them are tried.
pub const JWKS_KEYS_MAX: usize = 64;

const EXPECTED: &str = "expected a JSON web key set {\"keys\":[…]} with keys of RSA, EC (P-256, P-384), OKP (Ed25519) \
                        or oct that check signatures";

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    k: Option<String>,
    /// What only a private key has. It is not read.
    #[serde(default)]
    d: Option<serde::de::IgnoredAny>,
}

/// Reads a set, or one key.
pub fn read(text: &str, parties: &Parties) -> Result<Vec<JwtKey>, String> {
    // The error of a syntax: it names a place, and quotes nothing.
    let json: Value = serde_json::from_str(text)
        .map_err(|error| format!("it begins like JSON and is none: {error}; {EXPECTED}"))?;
    let entries = match &json {
        Value::Object(object) if object.contains_key("kty") => vec![&json],
        Value::Object(object) => match object.get("keys") {
            Some(Value::Array(keys)) => keys.iter().collect(),
            _ => return Err(EXPECTED.to_owned()),
        },
        _ => return Err(EXPECTED.to_owned()),
    };
    if entries.len() > JWKS_KEYS_MAX {
        let count = entries.len();
        return Err(format!("{count} keys; a set has at most {JWKS_KEYS_MAX}"));
    }
    let mut keys = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let named = |problem: String| format!("{}: {problem}", name(number, entry));
        keys.extend(key(entry, parties).map_err(named)?);
    }
    match keys.is_empty() {
        true => Err(format!(
            "none of its {} keys checks signatures; {EXPECTED}",
            entries.len()
        )),
        false => Ok(keys),
    }
}

/// `keys[2] (kid "a")`.
fn name(number: usize, entry: &Value) -> String {
    match entry.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("keys[{number}] (kid {:?})", kid.escape_debug().to_string()),
        None => format!("keys[{number}]"),
    }
}

/// One key; `None` if it is for something else.
fn key(entry: &Value, parties: &Parties) -> Result<Option<JwtKey>, String> {
    // Not with serde's own words, which could quote a secret.
    let jwk = Jwk::deserialize(entry)
        .map_err(|_| "expected an object with kty and the members of its kind".to_owned())?;
    let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig")
        || jwk.key_ops.as_ref().is_some_and(|ops| !verifies(ops))
    {
        return Ok(None);
    }
    let curve = jwk.crv.as_deref();
    use Algorithm::*;
    let algorithms: &[Algorithm] = match (jwk.kty.as_str(), curve) {
        ("RSA", _) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        ("EC", Some("P-256")) => &[ES256],
        ("EC", Some("P-384")) => &[ES384],
        ("OKP", Some("Ed25519")) => &[EdDSA],
        ("oct", _) => &[HS256, HS384, HS512],
        _ => return Ok(None),
    };
    let algorithm = match jwk.alg.as_deref() {
        None => algorithms[0],
        // Ed25519 is RFC 9864's newer name of it.
        Some("Ed25519") if algorithms == [EdDSA] => EdDSA,
        Some(named) => match named.parse() {
            Ok(algorithm) if algorithms.contains(&algorithm) => algorithm,
            _ => return Ok(None),
        },
    };
    if jwk.d.is_some() {
        return Err(
            "a private key (it has \"d\") does not belong on this server, which only checks"
                .to_owned(),
        );
    }
    let key = match algorithms[0] {
        RS256 => JwtKey::rsa(
            algorithm,
            &der(&part(&jwk.n, "n")?, &part(&jwk.e, "e")?),
            parties,
        ),
        EdDSA => JwtKey::ed25519(&part(&jwk.x, "x")?, parties),
        HS256 => JwtKey::secret(algorithm, &part(&jwk.k, "k")?, parties),
        _ => {
            let point = [&[4], &*part(&jwk.x, "x")?, &*part(&jwk.y, "y")?].concat();
            JwtKey::ec(algorithm, &point, parties)
        }
    };
    key.map(|key| Some(key.named(jwk.kid)))
}

fn part(member: &Option<String>, name: &str) -> Result<Vec<u8>, String> {
    let expected = || format!("expected \"{name}\" in base64url without padding");
    let text = member.as_deref().filter(|text| !text.is_empty());
    let text = text.ok_or_else(expected)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| expected())
}

/// An RSA key by its numbers as PKCS #1 has it (RFC 8017, A.1.1).
fn der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = &bytes[zeros.min(bytes.len().saturating_sub(1))..];
        let sign: &[u8] = match digits.first() {
            Some(0x80..) => &[0],
            _ => &[],
        };
        element(0x02, &[sign, digits].concat())
    };
    element(0x30, &[number(modulus), number(exponent)].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let mut bytes = vec![tag];
    match content.len() {
        short @ ..128 => bytes.push(short as u8),
        _ => {
            bytes.push(0x80 | (length.len() - zeros) as u8);
            bytes.extend_from_slice(&length[zeros..]);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}
