//! What is in a file of keys: PEM blocks, JSON web keys, or secrets, a line each; and what only looks like a key.
//!
//! A secret may be any text, so whatever else is meant has to be told by its looks: a public key taken for a secret
//! would let in whoever knows it. Errors name the place and never quote a line.

use std::fmt::Write;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;

use super::jwks;
use super::jwt::{JwtKey, Parties};
use super::key_set::Keys;
use super::{KEYS_MAX, SECRET_BYTES_MIN};
use crate::config::Auth;

/// What a file may hold, after "expected".
const EXPECTED: &str = "public keys in PEM (-----BEGIN PUBLIC KEY-----; RSA, P-256, P-384 or Ed25519), a JSON web key \
                        set, or secrets of at least 32 characters, one a line";

/// What editors on Windows put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads what is in a file.
pub fn parse(auth: Auth, bytes: &[u8], parties: &Parties) -> Result<Keys, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| not_text(bytes))?;
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
    let (keys, most) = if text.starts_with(['{', '[']) {
        only_jwt(auth, "JSON web keys")?;
        (Keys::Jwt(jwks::read(text, parties)?), jwks::JWKS_KEYS_MAX)
    } else if text.contains("-----BEGIN ") {
        only_jwt(auth, "PEM")?;
        (Keys::Jwt(public_keys(text, parties)?), KEYS_MAX)
    } else {
        (secrets(auth, text, parties)?, KEYS_MAX)
    };
    match keys.count() {
        0 => Err(format!("there is no key in it; expected {EXPECTED}")),
        count if count <= most => Ok(keys),
        count => Err(format!("{count} keys; at most {most} are tried")),
    }
}

fn only_jwt(auth: Auth, found: &str) -> Result<(), String> {
    match auth {
        Auth::Hmac => Err(format!(
            "auth = \"hmac\" takes a secret, and this is {found}; public keys are for \"jwt\""
        )),
        _ => Ok(()),
    }
}

fn not_text(bytes: &[u8]) -> String {
    let found = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16: save it as UTF-8",
        [0x30, ..] => "it is binary (DER?): openssl pkey -pubin -inform DER -in FILE",
        _ => "it is no text in UTF-8",
    };
    format!("{found}; expected {EXPECTED}")
}

fn public_keys(text: &str, parties: &Parties) -> Result<Vec<JwtKey>, String> {
    let blocks = blocks(text)?;
    let beside = blocks
        .iter()
        .fold(text.to_owned(), |beside, block| beside.replace(block, "\n"));
    if beside
        .lines()
        .any(|line| line.trim().len() >= SECRET_BYTES_MIN && !line.trim().starts_with('#'))
    {
        return Err("it holds PEM and what may be secrets; a file has keys of one kind".to_owned());
    }
    let mut keys = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let key = public_key(block, parties);
        keys.push(key.map_err(|problem| match blocks.len() {
            1 => problem,
            _ => format!("block {}: {problem}", number + 1),
        })?);
    }
    Ok(keys)
}

/// Takes PEM apart into its blocks.
fn blocks(text: &str) -> Result<Vec<&str>, String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        rest = &rest[begin..];
        let unended = || format!("PEM block {} is without its END", blocks.len() + 1);
        let end = rest.find("-----END ").ok_or_else(unended)?;
        let after = rest[end..].find('\n').map_or(rest.len(), |line| end + line);
        blocks.push(&rest[..after]);
        rest = &rest[after..];
    }
    Ok(blocks)
}

fn public_key(block: &str, parties: &Parties) -> Result<JwtKey, String> {
    let label = block.trim_start_matches("-----BEGIN ");
    let label = label.split("-----").next().unwrap_or_default();
    if label.ends_with("PRIVATE KEY") {
        return Err(
            "a private key does not belong on this server, which only checks: openssl pkey -in FILE -pubout"
                .to_owned(),
        );
    }
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => JwtKey::public(block.as_bytes(), parties),
        "CERTIFICATE" => Err(
            "it is a certificate; expected public keys: openssl x509 -in FILE -pubkey -noout"
                .to_owned(),
        ),
        _ => Err(format!(
            "expected public keys (-----BEGIN PUBLIC KEY-----), not {:?}",
            label.escape_debug().to_string()
        )),
    }
}

/// A secret a line; `#` begins a comment.
fn secrets(auth: Auth, text: &str, parties: &Parties) -> Result<Keys, String> {
    // Keys may go over several lines, and stand below a comment.
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    if let Some(found) = looks(&lines.collect::<Vec<_>>().join("\n")) {
        return Err(format!("{found}; expected {EXPECTED}"));
    }
    let mut secrets = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "line {}: a secret has at least {SECRET_BYTES_MIN} characters on one line; make one with: openssl \
                 rand -hex 32",
                number + 1
            ));
        }
        if let Some(found) = looks(line) {
            return Err(format!("line {}: {found}; expected {EXPECTED}", number + 1));
        }
        secrets.push(line.as_bytes());
    }
    let plain = |secret: &&[u8]| hmac::Key::new(hmac::HMAC_SHA256, secret);
    match auth {
        Auth::Hmac => Ok(Keys::Plain(secrets.iter().map(plain).collect())),
        _ => secrets
            .iter()
            .map(|secret| JwtKey::secret(Algorithm::HS256, secret, parties))
            .collect::<Result<_, _>>()
            .map(Keys::Jwt),
    }
}

/// What a text is instead of a secret, if it looks like something that others may know.
fn looks(text: &str) -> Option<String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    let ssh = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    if ssh.iter().any(|begin| text.starts_with(begin)) || is_ssh_body(first) {
        return Some("it is an SSH public key: ssh-keygen -e -m PKCS8 -f FILE".to_owned());
    }
    let marks = ["--BEGIN ", "-- BEGIN ", "--END ", "-- END "];
    if marks.iter().any(|mark| text.contains(mark)) {
        return Some("it looks like a key with a broken BEGIN or END line".to_owned());
    }
    if text.starts_with(['{', '[', '<']) {
        return Some("it looks like JSON or XML, beside other lines".to_owned());
    }
    if let Some((scheme, _)) = text.split_once("://")
        && !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    {
        let mut found = "it is a URL, and nothing is fetched".to_owned();
        if scheme.starts_with("http") {
            let _ = write!(found, ": save what is there in a file (curl -o FILE URL)");
        }
        return Some(found);
    }
    if text.starts_with("PuTTY-User-Key-File") {
        return Some("it is PuTTY's form of a key".to_owned());
    }
    let parts: Vec<&str> = first.split('.').collect();
    if parts.len() == 3 && first.starts_with("eyJ") {
        return Some("it is a token, not a key".to_owned());
    }
    is_der(text).then(|| {
        "it is what stands between -----BEGIN and -----END of a key or certificate, without these lines"
            .to_owned()
    })
}

/// Whether it is a public key as SSH writes it: its kind, as long as four bytes say, comes first (RFC 4253, 6.6).
fn is_ssh_body(word: &str) -> bool {
    // Its beginning is enough, and what comes after may be cut off.
    let begin = word.get(..16).filter(|begin| begin.starts_with("AAAA"));
    begin.and_then(decoded).is_some_and(|bytes| {
        let kind = bytes.get(4..11).unwrap_or_default();
        kind.starts_with(b"ssh-") || kind.starts_with(b"ecdsa-s") || kind.starts_with(b"sk-")
    })
}

/// How base64 of keys and certificates begins: RSA and all that is long; P-256; P-384; Ed25519.
const DER_BEGINNINGS: [&str; 4] = ["MII", "MFkwEwYHKoZIzj", "MHYwEAYHKoZIzj", "MCowBQYDK2V"];

/// Whether it is base64 of DER: a sequence (X.690, 8.9) that is as long as it says, or one that begins as keys do. Of a
/// million secrets four do.
fn is_der(text: &str) -> bool {
    let body: String = text.split_whitespace().collect();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    if body.len() < SECRET_BYTES_MIN || !body.bytes().all(is_base64) {
        return false;
    }
    if DER_BEGINNINGS.iter().any(|begin| body.starts_with(begin)) {
        return true;
    }
    let Some(bytes) = decoded(&body) else {
        return false;
    };
    match *bytes {
        [0x30, length @ ..=0x7f, ref rest @ ..] => rest.len() == usize::from(length),
        [0x30, 0x81, length, ref rest @ ..] => rest.len() == usize::from(length),
        _ => false,
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let ways = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    ways.iter().find_map(|way| way.decode(text).ok())
}
