//! Proofs of each kind: what is taken, what is not, and what changes when the keys do.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{Auth, Config};

mod files;
mod plain_tokens;

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

/// On P-256 or P-384: what signs, the point, and the public half in PEM.
fn ec(kind: &'static EcdsaSigningAlgorithm) -> (EncodingKey, Vec<u8>, String) {
    let pair = EcdsaKeyPair::generate(kind).expect("a pair");
    let private = pair.to_pkcs8v1().expect("PKCS #8");
    let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key());
    (
        EncodingKey::from_ec_der(private.as_ref()),
        pair.public_key().as_ref().to_vec(),
        pem("PUBLIC KEY", public.expect("DER").as_ref()),
    )
}

fn p256() -> (EncodingKey, Vec<u8>, String) {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING)
}

fn p384() -> (EncodingKey, Vec<u8>, String) {
    ec(&ECDSA_P384_SHA384_FIXED_SIGNING)
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

fn credential(uid: &str) -> Result<Credential, CredentialError> {
    Ok(Credential {
        uid: uid.into(),
        expires: LATER * 1_000,
        groups: GroupClaim::default(),
    })
}

fn plain_token(secret: &str, uid: &str, expires: u64) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    plain::mint(&key, uid, expires)
}

#[test]
fn each_algorithm_by_its_key() {
    let (ed_signs, ed_public) = ed25519();
    let (rsa_signs, rsa_public) = rsa();
    let (ec_signs, _, ec_public) = p256();
    let (larger_signs, _, larger_public) = p384();
    let all = format!("# a few keys\r\n{ed_public}\n{rsa_public}{ec_public}\n\n{larger_public}");
    for (keys, algorithm, signs) in [
        (
            SECRET,
            Algorithm::HS256,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        ),
        (&ed_public, Algorithm::EdDSA, &ed_signs),
        (&rsa_public, Algorithm::RS256, &rsa_signs),
        (&ec_public, Algorithm::ES256, &ec_signs),
        (&larger_public, Algorithm::ES384, &larger_signs),
        (&all, Algorithm::EdDSA, &ed_signs),
        (&all, Algorithm::RS256, &rsa_signs),
        (&all, Algorithm::ES256, &ec_signs),
        (&all, Algorithm::ES384, &larger_signs),
    ] {
        let mut verifier = verifier(Auth::Jwt, keys);
        let token = jwt(algorithm, signs, &tom());
        assert_eq!(
            verifier.verify(&token, NOW),
            credential("tom"),
            "{algorithm:?}"
        );
        assert_eq!(
            verifier.verify(&token, LATER * 1_000),
            Err(CredentialError::Expired)
        );
        // The same with another key of that kind.
        let foreign = match algorithm {
            Algorithm::HS256 => hs256(OTHER, &tom()),
            Algorithm::EdDSA => jwt(algorithm, &ed25519().0, &tom()),
            Algorithm::ES256 => jwt(algorithm, &p256().0, &tom()),
            Algorithm::ES384 => jwt(algorithm, &p384().0, &tom()),
            _ => jwt(algorithm, &rsa().0, &tom()),
        };
        assert_eq!(
            verifier.verify(&foreign, NOW),
            Err(CredentialError::Signature)
        );
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
            assert_eq!(
                verifier.verify(&forged, NOW),
                Err(CredentialError::Algorithm)
            );
        }
    }
    let mut verifier = self::verifier(Auth::Jwt, SECRET);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let other = jwt(Algorithm::HS512, &key, &tom());
    assert_eq!(
        verifier.verify(&other, NOW),
        Err(CredentialError::Algorithm)
    );
    for none in ["none", "None", "NONE", "", "hs256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": none, "typ": "JWT"}).to_string());
        let payload = URL_SAFE_NO_PAD.encode(tom().to_string());
        for signature in ["", "AA"] {
            let forged = format!("{header}.{payload}.{signature}");
            assert!(verifier.verify(&forged, NOW).is_err(), "{none}");
        }
    }
}

/// That each of these claims proves this uid, or is refused with these words.
fn say<'a>(claims: impl IntoIterator<Item = (Value, Result<Credential, &'a str>)>) {
    let mut verifier = verifier(Auth::Jwt, SECRET);
    for (claims, expected) in claims {
        let shown = verifier.verify(&hs256(SECRET, &claims), NOW);
        holds(&shown, expected, &claims.to_string());
    }
}

fn of_uid(uid: &str) -> Result<Credential, &'static str> {
    credential(uid).map_err(|_| "")
}

#[test]
fn what_a_json_web_token_must_say() {
    say([
        (
            json!({"sub": "tom", "exp": LATER, "name": "Tom", "iss": "me"}),
            of_uid("tom"),
        ),
        (json!({"sub": "tom", "exp": LATER as f64}), of_uid("tom")),
        (json!({"sub": "tom"}), Err("exp is missing")),
        (json!({"exp": LATER}), Err("sub is missing")),
        (json!({"sub": "tom", "exp": LATER.to_string()}), Err("exp")),
        (json!({"sub": "tom", "exp": null}), Err("exp")),
        (json!({"sub": "tom", "exp": -1}), Err("exp")),
        (json!({"sub": 7, "exp": LATER}), of_uid("7")),
        (json!({"sub": -7, "exp": LATER}), of_uid("-7")),
        (json!({"sub": 0, "exp": LATER}), of_uid("0")),
        (
            json!({"sub": u64::MAX, "exp": LATER}),
            of_uid("18446744073709551615"),
        ),
        (json!({"sub": 7.0, "exp": LATER}), Err("sub")),
        (json!({"sub": 7.5, "exp": LATER}), Err("sub")),
        (json!({"sub": true, "exp": LATER}), Err("sub")),
        (json!({"sub": null, "exp": LATER}), Err("sub")),
        (json!({"sub": ["tom"], "exp": LATER}), Err("sub")),
        (json!({"sub": {"id": 7}, "exp": LATER}), Err("sub")),
        (
            json!({"sub": "", "exp": LATER}),
            Err("uid is none: it is empty"),
        ),
        (json!({"sub": "all", "exp": LATER}), Err("reserved")),
        (
            json!({"sub": "a\nb", "exp": LATER}),
            Err("control character"),
        ),
        (
            json!({"sub": "x".repeat(129), "exp": LATER}),
            Err("128 bytes"),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "aud": "push"}),
            Err("another audience"),
        ),
        (json!(["tom", LATER]), Err("claims")),
        (json!("tom"), Err("claims")),
    ]);
}

#[test]
fn what_a_json_web_token_may_say_of_times() {
    let ten_years = 3_653 * 24 * 3_600;
    let now = NOW / 1_000;
    say([
        (
            json!({"sub": "tom", "exp": LATER, "nbf": LATER}),
            of_uid("tom"),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "nbf": null}),
            of_uid("tom"),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "nbf": 0, "iat": 0}),
            of_uid("tom"),
        ),
        (
            json!({"sub": "tom", "exp": LATER + 100, "nbf": LATER + 1}),
            Err("not valid yet"),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "nbf": "soon"}),
            Err("nbf"),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "iat": "now"}),
            Err("iat"),
        ),
        // Milliseconds for seconds, and what else is further away than anybody means.
        (
            json!({"sub": "tom", "exp": LATER * 1_000}),
            Err("exp is more than ten years away"),
        ),
        (
            json!({"sub": "tom", "exp": now + ten_years + 1}),
            Err("exp is more than ten years away"),
        ),
        (
            json!({"sub": "tom", "exp": 1e300}),
            Err("exp is more than ten"),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "nbf": NOW}),
            Err("nbf is more than ten years away"),
        ),
        (
            json!({"sub": "tom", "exp": LATER, "iat": NOW}),
            Err("iat is more than ten years away"),
        ),
        (
            json!({"sub": "tom", "exp": now + ten_years}),
            Ok(Credential {
                expires: NOW + ten_years * 1_000,
                ..credential("tom").expect("a proof")
            }),
        ),
    ]);
}

/// A proof, or an error with these words.
fn holds(
    shown: &Result<Credential, CredentialError>,
    expected: Result<Credential, &str>,
    of: &str,
) {
    match (shown, &expected) {
        (Err(error), Err(words)) if error.text().contains(words) => {}
        (Ok(shown), Ok(expected)) if shown == expected => {}
        _ => panic!("{of}: {shown:?}, not {expected:?}"),
    }
}

/// A token whose parts are these texts, signed as it should be.
fn hs256_of(header: &str, claims: &str) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let mac = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

#[test]
fn a_whole_number_loses_no_digit_and_each_fault_has_its_name() {
    let mut verifier = verifier(Auth::Jwt, SECRET);
    let head = r#"{"alg":"HS256","typ":"JWT"}"#;
    let later = LATER;
    for digits in ["9007199254740993", "123456789012345678901234567890", "-0"] {
        let claims = format!(r#"{{"sub": {digits} ,"exp":{later}}}"#);
        let shown = verifier.verify(&hs256_of(head, &claims), NOW);
        assert_eq!(shown, credential(digits));
    }
    let claims = |sub: &str| format!(r#"{{"sub":{sub},"exp":{later}}}"#);
    let tom = claims("\"tom\"");
    for (header, claims, words) in [
        (head, claims("1e3"), "sub"),
        (head, claims("7.0"), "sub"),
        (head, claims(&"7".repeat(129)), "128 bytes"),
        (head, r#"{"sub":"a","sub":"b","exp":1}"#.into(), "claims"),
        (head, "sub=tom".into(), "claims"),
        ("{}", tom.clone(), "header"),
        ("HS256", tom.clone(), "header"),
        (r#"{"alg":7}"#, tom.clone(), "header"),
        (r#"{"alg":"none"}"#, tom.clone(), "alg"),
        (r#"{"alg":"HS512"}"#, tom.clone(), "alg"),
        (r#"{"alg":"RS256"}"#, tom.clone(), "alg"),
        (
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            tom.clone(),
            "crit",
        ),
    ] {
        let token = hs256_of(header, &claims);
        let shown = verifier.verify(&token, NOW);
        holds(&shown, Err(words), &format!("{header} {claims}"));
    }
    for text in ["tom", "a.b", "a.b.c.d", "!.b.c", "..", ""] {
        let shown = verifier.verify(text, NOW);
        assert!(shown.is_err(), "{text:?}");
    }
    holds(&verifier.verify("tom", NOW), Err("three parts"), "tom");
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
        (json!({"aud": "push", "iss": "login"}), credential("tom")),
        (
            json!({"aud": ["x", "push"], "iss": "login"}),
            credential("tom"),
        ),
        (
            json!({"aud": "pull", "iss": "login"}),
            Err(CredentialError::Elsewhere),
        ),
        (
            json!({"aud": "push", "iss": "other"}),
            Err(CredentialError::Elsewhere),
        ),
        (json!({"aud": "push"}), Err(CredentialError::Elsewhere)),
        (json!({"iss": "login"}), Err(CredentialError::Elsewhere)),
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
    assert_eq!(verifier.verify(&minted, NOW), credential("tom"));
    let groups = ["news".to_owned(), "room.*".to_owned()];
    let minted = keyring.mint_with_groups("tom", &groups, LATER);
    let proved = verifier.verify(&minted.expect("a secret signs"), NOW);
    assert_eq!(
        proved.expect("a proof").groups.patterns(),
        Ok(groups.to_vec())
    );
}

#[test]
fn keys_are_read_anew() {
    let file = File::new(SECRET);
    let keyring = open(&config(Auth::Hmac, &file));
    assert!(
        keyring
            .mint_with_groups("tom", &["g".to_owned()], LATER)
            .is_err()
    );
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
    let two = format!("{public}{}", pem("PUBLIC KEY", b"x"));
    for (auth, keys, words) in [
        (Auth::Hmac, "", "no key"),
        (
            Auth::Jwt,
            "# a comment of more than 32 characters\n",
            "no key",
        ),
        (Auth::Jwt, "too short\n", "at least 32"),
        (Auth::Jwt, &format!("{SECRET}\n\ntoo short\n"), "line 3:"),
        (Auth::Hmac, public.as_str(), "takes a secret"),
        (Auth::Hmac, r#"{"keys":[]}"#, "takes a secret"),
        (Auth::Jwt, &pem("PRIVATE KEY", b"x"), "private key"),
        (Auth::Jwt, &pem("RSA PRIVATE KEY", b"x"), "private key"),
        (Auth::Jwt, &pem("EC PRIVATE KEY", b"x"), "private key"),
        (
            Auth::Jwt,
            &pem("ENCRYPTED PRIVATE KEY", b"x"),
            "private key",
        ),
        (Auth::Jwt, &pem("OPENSSH PRIVATE KEY", b"x"), "private key"),
        (
            Auth::Jwt,
            &format!("{}{}\n", pem("PUBLIC KEY", b"x"), "s".repeat(32)),
            "keys of one kind",
        ),
        (Auth::Jwt, &pem("PUBLIC KEY", b"x"), "expected public keys"),
        (Auth::Jwt, &two, "block 2: expected public keys"),
        (Auth::Jwt, &pem("CERTIFICATE", b"x"), "openssl x509"),
        (
            Auth::Jwt,
            &pem("EC PARAMETERS", b"x"),
            "expected public keys",
        ),
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
        assert_eq!(verifier.verify(&long, NOW), Err(CredentialError::TooLong));
        assert_ne!(
            verifier.verify(&long[1..], NOW),
            Err(CredentialError::TooLong)
        );
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
