//! JSON web tokens: each algorithm with its key, and those that the key is not for.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::http::get;
use crate::on_cores;
use crate::server::Server;
use crate::tokens::{CARRIERS, Carrier, File, OTHER, SECRET, in_seconds, server, sign};

on_cores! {
    hs256_rs256_es256_and_eddsa,
    a_set_of_keys_whose_names_tokens_say,
    a_number_is_a_uid_and_each_fault_is_named,
    a_token_in_the_query_may_be_escaped,
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

/// On P-256: what signs, the point, and the public half in PEM.
fn p256() -> (EncodingKey, Vec<u8>, String) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a pair");
    let private = pair.to_pkcs8v1().expect("PKCS #8");
    let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key());
    (
        EncodingKey::from_ec_der(private.as_ref()),
        pair.public_key().as_ref().to_vec(),
        pem("PUBLIC KEY", public.expect("DER").as_ref()),
    )
}

async fn a_set_of_keys_whose_names_tokens_say(cores: usize) {
    let key = |kid: &str, point: &[u8]| {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (part(&point[1..33]), part(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y})
    };
    let ((old, old_point, _), (new, new_point, _)) = (p256(), p256());
    let keys = json!({"keys": [key("2026-01", &old_point), key("2026-02", &new_point)]});
    let file = File::new(&keys.to_string());
    let server = server(cores, "jwt", &file, &[]).await;
    let by = |kid: &str, key: &EncodingKey| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(kid.to_owned());
        encode(&header, &tom(), key).expect("it signs")
    };
    for token in [by("2026-01", &old), by("2026-02", &new)] {
        gets_in(&server, Carrier::Query, &token).await;
    }
    for token in [by("2026-01", &new), by("2025-12", &old)] {
        is_kept_out(&server, Carrier::Query, &token, 4006).await;
    }
    // The public key is no secret.
    let forged = EncodingKey::from_secret(keys.to_string().as_bytes());
    let forged = jwt(Algorithm::HS256, &forged, &tom());
    is_kept_out(&server, Carrier::Query, &forged, 4006).await;
}

async fn a_number_is_a_uid_and_each_fault_is_named(cores: usize) {
    let file = File::new(SECRET);
    let origins = [("ORIGINS", "none, http://127.0.0.1:8080")];
    let server = server(cores, "jwt", &file, &origins).await;
    let later = in_seconds(600);
    let number = hs256(&json!({"sub": 9_007_199_254_740_993_u64, "exp": later}));
    for carrier in CARRIERS {
        let mut client = carrier
            .connect(&server, "relay", &number)
            .await
            .expect("101");
        client
            .expect("login success, your uid is 9007199254740993")
            .await;
    }
    // Push says nothing but the code; why is in the log, and the token is not.
    for (claims, words) in [
        (json!({"sub": 7.5, "exp": later}), "the token's sub is"),
        (json!({"sub": true, "exp": later}), "the token's sub is"),
        (
            json!({"sub": "tom", "exp": later * 1_000}),
            "exp is more than ten years away",
        ),
        (
            json!({"sub": "tom", "exp": later, "iat": later * 1_000}),
            "iat is more than",
        ),
        (json!({"sub": "tom"}), "the token's exp is missing"),
    ] {
        let token = hs256(&claims);
        for scheme in ["ws", "text"] {
            let mut client = server.connect(scheme, "push").await;
            client.send(&token).await;
            client.expect_end(4006).await;
        }
        server
            .wait_log(&["INFO", "a bind was refused: ", words])
            .await;
        let query = format!("/v1/events?token={token}");
        let answer = get(server.address("http", "page"), &query).await;
        assert_eq!(answer.status, 401);
        assert!(answer.body.contains(words), "{}", answer.body);
        assert!(!server.log().contains(&token));
    }
    let foreign = EncodingKey::from_secret(OTHER.as_bytes());
    let foreign = jwt(Algorithm::HS256, &foreign, &tom());
    let mut client = server.connect("text", "push").await;
    client.send(&foreign).await;
    client.expect_end(4006).await;
    let words = ["INFO", "not signed by a key of this server"];
    server.wait_log(&words).await;
}

async fn a_token_in_the_query_may_be_escaped(cores: usize) {
    let file = File::new(SECRET);
    let server = server(cores, "jwt", &file, &[]).await;
    let token = hs256(&tom());
    let all: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for token in [token.replace('.', "%2E"), token.replace('.', "%2e"), all] {
        gets_in(&server, Carrier::Query, &token).await;
    }
}

async fn hs256_rs256_es256_and_eddsa(cores: usize) {
    let (es, _, es_public) = p256();
    let (ed, ed_public) = ed25519();
    let (rsa, rsa_public) = rsa();
    for (keys, tokens) in [
        (SECRET.to_owned(), vec![hs256(&tom())]),
        (
            ed_public + &rsa_public + &es_public,
            vec![
                jwt(Algorithm::EdDSA, &ed, &tom()),
                jwt(Algorithm::RS256, &rsa, &tom()),
                jwt(Algorithm::ES256, &es, &tom()),
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
            json!({"sub": 7.5, "exp": later, "aud": aud, "iss": iss}),
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
