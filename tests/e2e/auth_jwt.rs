//! JSON web tokens: each algorithm with its key, and those that the key is not for.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::on_cores;
use crate::server::Server;
use crate::tokens::{CARRIERS, Carrier, File, OTHER, SECRET, in_seconds, server, sign};

on_cores! {
    hs256_rs256_and_eddsa,
    claims_hold,
    no_other_algorithm_gets_in,
}

fn pem(name: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {name}-----\n{body}\n-----END {name}-----\n")
}

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

fn tom() -> Value {
    json!({"sub": "tom", "exp": in_seconds(600)})
}

fn jwt(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).expect("it signs")
}

fn hs256(claims: &Value) -> String {
    jwt(
        Algorithm::HS256,
        &EncodingKey::from_secret(SECRET.as_bytes()),
        claims,
    )
}

async fn gets_in(server: &Server, carrier: Carrier, token: &str) {
    let mut client = carrier.connect(server, "relay", token).await.expect("101");
    client.expect("login success, your uid is tom").await;
}

async fn is_kept_out(server: &Server, carrier: Carrier, token: &str, code: u16) {
    match carrier.connect(server, "push", token).await {
        Ok(mut client) => client.expect_end(code).await,
        Err(status) => assert_eq!(status, 401, "{carrier:?} {token}"),
    }
}

async fn hs256_rs256_and_eddsa(cores: usize) {
    let (ed, ed_public) = ed25519();
    let (rsa, rsa_public) = rsa();
    for (keys, tokens) in [
        (SECRET.to_owned(), vec![hs256(&tom())]),
        (
            ed_public + &rsa_public,
            vec![
                jwt(Algorithm::EdDSA, &ed, &tom()),
                jwt(Algorithm::RS256, &rsa, &tom()),
            ],
        ),
    ] {
        let file = File::new(&keys);
        let server = server(cores, "jwt", &file, &[]).await;
        for token in tokens {
            for carrier in CARRIERS {
                gets_in(&server, *carrier, &token).await;
            }
        }
    }
}

async fn claims_hold(cores: usize) {
    let file = File::new(SECRET);
    let parties = [
        ("AUTH_AUDIENCE", "push.example"),
        ("AUTH_ISSUER", "login.example"),
    ];
    let server = server(cores, "jwt", &file, &parties).await;
    let (later, aud, iss) = (in_seconds(600), "push.example", "login.example");
    gets_in(
        &server,
        Carrier::Query,
        &hs256(&json!({"sub": "tom", "exp": later, "aud": aud, "iss": iss})),
    )
    .await;
    for (claims, code) in [
        (
            json!({"sub": "tom", "exp": in_seconds(-1), "aud": aud, "iss": iss}),
            4008,
        ),
        (json!({"sub": "tom", "aud": aud, "iss": iss}), 4006),
        (
            json!({"sub": 7, "exp": later, "aud": aud, "iss": iss}),
            4006,
        ),
        (
            json!({"sub": "all", "exp": later, "aud": aud, "iss": iss}),
            4006,
        ),
        (json!({"exp": later, "aud": aud, "iss": iss}), 4006),
        (
            json!({"sub": "tom", "exp": later, "aud": "pull.example", "iss": iss}),
            4006,
        ),
        (
            json!({"sub": "tom", "exp": later, "aud": aud, "iss": "evil.example"}),
            4006,
        ),
        (json!({"sub": "tom", "exp": later, "iss": iss}), 4006),
        (json!({"sub": "tom", "exp": later, "aud": aud}), 4006),
        (
            json!({"sub": "tom", "exp": later, "nbf": in_seconds(300), "aud": aud, "iss": iss}),
            4006,
        ),
    ] {
        for carrier in [
            Carrier::Subprotocol,
            Carrier::Message("ws"),
            Carrier::Message("text"),
        ] {
            is_kept_out(&server, carrier, &hs256(&claims), code).await;
        }
    }
}

async fn no_other_algorithm_gets_in(cores: usize) {
    let (_, public) = rsa();
    let der = STANDARD
        .decode(public.lines().nth(1).expect("a body"))
        .expect("base64");
    let forge = |secret: &[u8]| jwt(Algorithm::HS256, &EncodingKey::from_secret(secret), &tom());
    let none = |signature: &str| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        format!(
            "{header}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(tom().to_string())
        )
    };
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    for (keys, tokens) in [
        // A public key taken for a secret.
        (
            public.as_str(),
            vec![
                forge(public.as_bytes()),
                forge(public.trim().as_bytes()),
                forge(&der),
                jwt(Algorithm::RS256, &rsa().0, &tom()),
                jwt(Algorithm::EdDSA, &ed25519().0, &tom()),
                none(""),
                none("AA"),
            ],
        ),
        (
            SECRET,
            vec![
                jwt(Algorithm::HS384, &secret, &tom()),
                jwt(Algorithm::HS512, &secret, &tom()),
                forge(OTHER.as_bytes()),
                forge(b""),
                sign(SECRET, "tom", in_seconds(600)),
                none(""),
            ],
        ),
    ] {
        let file = File::new(keys);
        let server = server(cores, "jwt", &file, &[]).await;
        for token in tokens {
            for carrier in CARRIERS {
                is_kept_out(&server, *carrier, &token, 4006).await;
            }
        }
        assert_eq!(server.count("uids").await, 0);
    }
}
