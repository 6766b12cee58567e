//! Proofs of each kind: what is taken, what is not, and what changes when the keys do.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{Auth, Config};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "another secret of 32 characters!";
const NOW: WallTime = 1_800_000_000_000;
const LATER: u64 = 1_800_000_060;

/// A file that is there as long as this is.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        let name = format!("ringpost-keys-{}-{}", std::process::id(), fastrand::u64(..));
        let file = File(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a file is written");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn config(auth: Auth, file: &File) -> Config {
    Config {
        auth,
        auth_key_file: Some(file.0.clone()),
        ..Config::default()
    }
}

fn open(config: &Config) -> Arc<Keyring> {
    Keyring::open(config).expect("good keys").expect("a ring")
}

/// A verifier on keys of this text.
fn verifier(auth: Auth, keys: &str) -> Verifier {
    Verifier::new(open(&config(auth, &File::new(keys))))
}

fn refused(auth: Auth, keys: &str) -> String {
    let opened = Keyring::open(&config(auth, &File::new(keys)));
    opened.err().expect("these are no keys").to_string()
}

fn pem(name: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {name}-----\n{body}\n-----END {name}-----\n")
}

/// What signs, and the public half in PEM.
fn ed25519() -> (EncodingKey, String) {
    let pair = Ed25519KeyPair::generate().expect("a pair");
    let private = pair.to_pkcs8().expect("PKCS #8");
    let public = pair.public_key().as_der().expect("DER");
    (
        EncodingKey::from_ed_der(private.as_ref()),
        pem("PUBLIC KEY", public.as_ref()),
    )
}

fn rsa() -> (EncodingKey, String) {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a pair");
    let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).expect("PKCS #8");
    let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key());
    let private = pem("PRIVATE KEY", private.as_ref());
    let signs = EncodingKey::from_rsa_pem(private.as_bytes()).expect("a key");
    (signs, pem("PUBLIC KEY", public.expect("DER").as_ref()))
}

fn jwt(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("it signs")
}

fn hs256(secret: &str, claims: &Value) -> String {
    jwt(
        Algorithm::HS256,
        &EncodingKey::from_secret(secret.as_bytes()),
        claims,
    )
}

fn tom() -> Value {
    json!({"sub": "tom", "exp": LATER})
}

fn proof(uid: &str) -> Result<Proof, ProofError> {
    Ok(Proof {
        uid: uid.into(),
        expires: LATER * 1_000,
    })
}

fn plain_token(secret: &str, uid: &str, expires: u64) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    plain::mint(&key, uid, expires)
}

#[test]
fn a_plain_token_as_other_languages_make_it() {
    // printf dG9t.1800000060 | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary | base64
    let token = "dG9t.1800000060.ztTYfHnGliXqsb1ROw3ipXybjfCn8dFegnxcC0rcrLg";
    assert_eq!(plain_token(SECRET, "tom", LATER), token);
    assert_eq!(
        verifier(Auth::Hmac, SECRET).verify(token, NOW),
        proof("tom")
    );
}

#[test]
fn a_plain_token_of_any_uid() {
    let mut verifier = verifier(Auth::Hmac, &format!("  {SECRET} \r\n\n"));
    let longest = "ü".repeat(64);
    for uid in ["a.b", "a.1", ".", "李雷", "a b\"c", &longest] {
        let token = plain_token(SECRET, uid, LATER);
        assert!(looks_like_token(token.as_bytes()));
        assert_eq!(verifier.verify(&token, NOW), proof(uid));
    }
    let too_long = "x".repeat(129);
    for (uid, error) in [
        ("", UidError::Empty),
        ("all", UidError::Reserved),
        ("a\nb", UidError::ControlCharacter),
        (too_long.as_str(), UidError::TooLong),
    ] {
        let token = plain_token(SECRET, uid, LATER);
        assert_eq!(verifier.verify(&token, NOW), Err(ProofError::Uid(error)));
    }
}

#[test]
fn a_plain_token_ends_when_it_says() {
    let mut verifier = verifier(Auth::Hmac, SECRET);
    let token = plain_token(SECRET, "tom", LATER);
    assert_eq!(verifier.verify(&token, LATER * 1_000 - 1), proof("tom"));
    assert_eq!(
        verifier.verify(&token, LATER * 1_000),
        Err(ProofError::Expired)
    );
    // Of a token that is not ours nothing is told but that.
    let foreign = plain_token(OTHER, "tom", 1);
    assert_eq!(verifier.verify(&foreign, NOW), Err(ProofError::Signature));
}

#[test]
fn no_byte_of_a_plain_token_can_be_changed() {
    let mut verifier = verifier(Auth::Hmac, SECRET);
    let token = plain_token(SECRET, "tom", LATER);
    for at in 0..token.len() {
        for byte in *b"A0.-_" {
            let mut changed = token.clone().into_bytes();
            if changed[at] == byte {
                continue;
            }
            changed[at] = byte;
            let changed = String::from_utf8(changed).expect("ASCII");
            let outcome = verifier.verify(&changed, NOW);
            assert!(outcome.is_err(), "{changed}: {outcome:?}");
        }
        assert!(verifier.verify(&token[..at], NOW).is_err());
    }
    assert!(verifier.verify(&format!("{token}="), NOW).is_err());
    assert!(verifier.verify(&format!("{token}A"), NOW).is_err());
    let (claim, mac) = token.rsplit_once('.').expect("dots");
    let longer = format!("{}.{mac}", claim.replace('.', ".0"));
    assert_eq!(verifier.verify(&longer, NOW), Err(ProofError::Signature));
}

#[test]
fn each_algorithm_by_its_key() {
    let (ed_signs, ed_public) = ed25519();
    let (rsa_signs, rsa_public) = rsa();
    let both = format!("# two keys\n{ed_public}\n{rsa_public}");
    for (keys, algorithm, signs) in [
        (
            SECRET,
            Algorithm::HS256,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        ),
        (&ed_public, Algorithm::EdDSA, &ed_signs),
        (&rsa_public, Algorithm::RS256, &rsa_signs),
        (&both, Algorithm::EdDSA, &ed_signs),
        (&both, Algorithm::RS256, &rsa_signs),
    ] {
        let mut verifier = verifier(Auth::Jwt, keys);
        let token = jwt(algorithm, signs, &tom());
        assert_eq!(verifier.verify(&token, NOW), proof("tom"), "{algorithm:?}");
        assert_eq!(
            verifier.verify(&token, LATER * 1_000),
            Err(ProofError::Expired)
        );
        // The same with another key of that kind.
        let foreign = match algorithm {
            Algorithm::HS256 => hs256(OTHER, &tom()),
            Algorithm::EdDSA => jwt(algorithm, &ed25519().0, &tom()),
            _ => jwt(algorithm, &rsa().0, &tom()),
        };
        assert_eq!(verifier.verify(&foreign, NOW), Err(ProofError::Signature));
    }
}

#[test]
fn the_key_decides_the_algorithm() {
    let (_, rsa_public) = rsa();
    let mut verifier = verifier(Auth::Jwt, &rsa_public);
    let der = STANDARD
        .decode(rsa_public.lines().nth(1).expect("a body"))
        .expect("base64");
    // The public key as a secret, in each form that somebody might take it for one.
    for secret in [
        rsa_public.as_bytes(),
        rsa_public.trim().as_bytes(),
        &der,
        &der[24..],
    ] {
        let key = EncodingKey::from_secret(secret);
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let forged = jwt(algorithm, &key, &tom());
            assert_eq!(verifier.verify(&forged, NOW), Err(ProofError::Signature));
        }
    }
    let mut verifier = self::verifier(Auth::Jwt, SECRET);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let other = jwt(Algorithm::HS512, &key, &tom());
    assert_eq!(verifier.verify(&other, NOW), Err(ProofError::Signature));
    for none in ["none", "None", "NONE", "", "hs256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": none, "typ": "JWT"}).to_string());
        let payload = URL_SAFE_NO_PAD.encode(tom().to_string());
        for signature in ["", "AA"] {
            let forged = format!("{header}.{payload}.{signature}");
            assert!(verifier.verify(&forged, NOW).is_err(), "{none}");
        }
    }
}

#[test]
fn what_a_json_web_token_must_say() {
    let mut verifier = verifier(Auth::Jwt, SECRET);
    for (claims, expected) in [
        (
            json!({"sub": "tom", "exp": LATER, "name": "Tom", "iss": "me"}),
            proof("tom"),
        ),
        (json!({"sub": "tom", "exp": LATER as f64}), proof("tom")),
        (json!({"sub": "tom"}), Err(ProofError::Malformed)),
        (json!({"exp": LATER}), Err(ProofError::Malformed)),
        (
            json!({"sub": "tom", "exp": LATER.to_string()}),
            Err(ProofError::Malformed),
        ),
        (
            json!({"sub": "tom", "exp": null}),
            Err(ProofError::Malformed),
        ),
        (json!({"sub": "tom", "exp": -1}), Err(ProofError::Malformed)),
        (json!({"sub": 7, "exp": LATER}), Err(ProofError::Malformed)),
        (
            json!({"sub": ["tom"], "exp": LATER}),
            Err(ProofError::Malformed),
        ),
        (
            json!({"sub": "", "exp": LATER}),
            Err(ProofError::Uid(UidError::Empty)),
        ),
        (
            json!({"sub": "all", "exp": LATER}),
            Err(ProofError::Uid(UidError::Reserved)),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "nbf": LATER}),
            proof("tom"),
        ),
        (
            json!({"sub": "tom", "exp": LATER + 100, "nbf": LATER + 1}),
            Err(ProofError::Early),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "nbf": "soon"}),
            Err(ProofError::Malformed),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "aud": "push"}),
            Err(ProofError::Elsewhere),
        ),
        (json!(["tom", LATER]), Err(ProofError::Malformed)),
    ] {
        assert_eq!(
            verifier.verify(&hs256(SECRET, &claims), NOW),
            expected,
            "{claims}"
        );
    }
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#);
    let token = format!("{header}.{}.AA", URL_SAFE_NO_PAD.encode(tom().to_string()));
    assert_eq!(verifier.verify(&token, NOW), Err(ProofError::Malformed));
}

#[test]
fn audience_and_issuer_hold_as_configured() {
    let file = File::new(SECRET);
    let config = Config {
        auth_audience: Some("push".into()),
        auth_issuer: Some("login".into()),
        ..config(Auth::Jwt, &file)
    };
    let keyring = open(&config);
    let mut verifier = Verifier::new(Arc::clone(&keyring));
    for (more, expected) in [
        (json!({"aud": "push", "iss": "login"}), proof("tom")),
        (json!({"aud": ["x", "push"], "iss": "login"}), proof("tom")),
        (
            json!({"aud": "pull", "iss": "login"}),
            Err(ProofError::Elsewhere),
        ),
        (
            json!({"aud": "push", "iss": "other"}),
            Err(ProofError::Elsewhere),
        ),
        (json!({"aud": "push"}), Err(ProofError::Elsewhere)),
        (json!({"iss": "login"}), Err(ProofError::Elsewhere)),
    ] {
        let mut claims = tom();
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        assert_eq!(
            verifier.verify(&hs256(SECRET, &claims), NOW),
            expected,
            "{more}"
        );
    }
    let minted = keyring.mint("tom", LATER).expect("a secret signs");
    assert_eq!(verifier.verify(&minted, NOW), proof("tom"));
}

#[test]
fn keys_are_read_anew() {
    let file = File::new(SECRET);
    let keyring = open(&config(Auth::Hmac, &file));
    let mut verifier = Verifier::new(Arc::clone(&keyring));
    let (old, new) = (
        plain_token(SECRET, "tom", LATER),
        plain_token(OTHER, "tom", LATER),
    );
    let mut outcomes = || {
        (
            verifier.verify(&old, NOW).is_ok(),
            verifier.verify(&new, NOW).is_ok(),
        )
    };
    assert_eq!(outcomes(), (true, false));
    file.write(&format!("{OTHER}\n{SECRET}\n"));
    assert_eq!(outcomes(), (true, false));
    assert_eq!(keyring.reload().expect("good keys"), 2);
    assert_eq!(outcomes(), (true, true));
    file.write(OTHER);
    assert_eq!(keyring.reload().expect("good keys"), 1);
    assert_eq!(outcomes(), (false, true));
    for bad in ["", "short", "-----BEGIN PUBLIC KEY-----\n"] {
        file.write(bad);
        assert!(keyring.reload().is_err(), "{bad:?}");
        assert_eq!(outcomes(), (false, true));
    }
}

#[test]
fn files_that_hold_no_keys_are_told_apart() {
    let (_, public) = ed25519();
    for (auth, keys, words) in [
        (Auth::Hmac, "", "no key"),
        (Auth::Jwt, "too short\n", "at least 32"),
        (Auth::Hmac, public.as_str(), "takes a secret"),
        (Auth::Jwt, &pem("PRIVATE KEY", b"x"), "private key"),
        (Auth::Jwt, &pem("RSA PRIVATE KEY", b"x"), "private key"),
        (
            Auth::Jwt,
            &format!("{}{}\n", pem("PUBLIC KEY", b"x"), "s".repeat(32)),
            "keys of one kind",
        ),
        (Auth::Jwt, &pem("PUBLIC KEY", b"x"), "expected public keys"),
        (Auth::Jwt, &pem("CERTIFICATE", b"x"), "expected public keys"),
        (
            Auth::Jwt,
            "-----BEGIN PUBLIC KEY-----\nAAAA\n",
            "without its END",
        ),
        (Auth::Jwt, &format!("{SECRET}\n").repeat(9), "at most 8"),
    ] {
        let error = refused(auth, keys);
        assert!(error.contains(words), "{keys:?}: {error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    let nothing = Config {
        auth: Auth::Jwt,
        ..Config::default()
    };
    let error = Keyring::open(&nothing).err().expect("no file");
    assert!(error.to_string().contains("auth_key_file"));
    assert!(
        Keyring::open(&Config::default())
            .expect("no auth")
            .is_none()
    );
}

#[test]
fn a_long_token_is_not_looked_at() {
    for auth in [Auth::Hmac, Auth::Jwt] {
        let mut verifier = verifier(auth, SECRET);
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        assert_eq!(verifier.verify(&long, NOW), Err(ProofError::TooLong));
        assert_ne!(verifier.verify(&long[1..], NOW), Err(ProofError::TooLong));
    }
}

proptest! {
    #[test]
    fn whatever_is_no_token_proves_nothing(
        text in prop_oneof![
            "\\PC{0,80}",
            "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,50}",
            "eyJhbGciOiJIUzI1NiJ9\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{43}",
        ],
    ) {
        for auth in [Auth::Hmac, Auth::Jwt] {
            prop_assert!(verifier(auth, SECRET).verify(&text, NOW).is_err());
        }
    }
}
