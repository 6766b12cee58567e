//! Files of keys: JSON web key sets, what only looks like a key, and what editors leave in a file.

use super::*;

/// A public key of RSA as a JSON web key's members.
fn rsa_jwk(public: &rsa::PublicKey) -> Value {
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "kty": "RSA",
        "n": number(public.modulus().big_endian_without_leading_zero()),
        "e": number(public.exponent().big_endian_without_leading_zero()),
    })
}

fn rsa_pair() -> (EncodingKey, Value) {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a pair");
    let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).expect("PKCS #8");
    let private = pem("PRIVATE KEY", private.as_ref());
    let signs = EncodingKey::from_rsa_pem(private.as_bytes()).expect("a key");
    (signs, rsa_jwk(pair.public_key()))
}

fn ec_jwk(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({"kty": "EC", "crv": curve, "x": part(x), "y": part(y)})
}

fn ed_pair() -> (EncodingKey, Value) {
    let pair = Ed25519KeyPair::generate().expect("a pair");
    let private = pair.to_pkcs8().expect("PKCS #8");
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    (
        EncodingKey::from_ed_der(private.as_ref()),
        json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
    )
}

fn oct_jwk(secret: &str) -> Value {
    json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret)})
}

/// A key with more members.
fn with(mut jwk: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        jwk[name] = value.clone();
    }
    jwk
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A token that names its key.
fn jwt_by(kid: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    let header = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, &tom(), key).expect("it signs")
}

#[test]
fn a_set_has_keys_of_every_kind() {
    let (rsa_signs, rsa_key) = rsa_pair();
    let (pss_signs, pss_key) = rsa_pair();
    let (ec_signs, point, _) = p256();
    let (larger_signs, larger, _) = p384();
    let (ed_signs, ed_key) = ed_pair();
    let hmac_signs = EncodingKey::from_secret(SECRET.as_bytes());
    let keys = set(&[
        with(rsa_key, json!({"kid": "rsa", "use": "sig", "x5t": "?"})),
        with(pss_key, json!({"kid": "pss", "alg": "PS256"})),
        with(
            ec_jwk("P-256", &point),
            json!({"kid": "ec", "key_ops": ["verify"]}),
        ),
        with(
            ec_jwk("P-384", &larger),
            json!({"kid": "larger", "alg": "ES384"}),
        ),
        with(ed_key, json!({"kid": "ed", "alg": "EdDSA"})),
        with(oct_jwk(SECRET), json!({"kid": "secret"})),
    ]);
    // As others write it: over many lines, with a byte-order mark.
    let pretty: Value = serde_json::from_str(&keys).expect("JSON");
    let pretty = format!("\u{feff}{pretty:#}\r\n");
    for keys in [&keys, &pretty] {
        let mut verifier = verifier(Auth::Jwt, keys);
        for (kid, algorithm, signs) in [
            ("rsa", Algorithm::RS256, &rsa_signs),
            ("pss", Algorithm::PS256, &pss_signs),
            ("ec", Algorithm::ES256, &ec_signs),
            ("larger", Algorithm::ES384, &larger_signs),
            ("ed", Algorithm::EdDSA, &ed_signs),
            ("secret", Algorithm::HS256, &hmac_signs),
        ] {
            // With the name of its key, and without.
            let named = jwt_by(kid, algorithm, signs);
            assert_eq!(verifier.verify(&named, NOW), credential("tom"), "{kid}");
            let unnamed = jwt(algorithm, signs, &tom());
            assert_eq!(verifier.verify(&unnamed, NOW), credential("tom"), "{kid}");
            let unknown = jwt_by("other", algorithm, signs);
            assert_eq!(verifier.verify(&unknown, NOW), Err(CredentialError::Key));
        }
        // The algorithm is the key's: this one is for PS256.
        let other = jwt_by("pss", Algorithm::RS256, &pss_signs);
        assert_eq!(verifier.verify(&other, NOW), Err(CredentialError::Key));
    }
}

#[test]
fn the_kid_chooses() {
    let (signs, others) = (ed_pair(), ed_pair());
    let keys = set(&[
        with(signs.1.clone(), json!({"kid": "new"})),
        with(others.1.clone(), json!({"kid": "old"})),
    ]);
    let mut verifier = verifier(Auth::Jwt, &keys);
    for (kid, key, expected) in [
        ("new", &signs.0, credential("tom")),
        ("old", &others.0, credential("tom")),
        ("new", &others.0, Err(CredentialError::Signature)),
        ("old", &signs.0, Err(CredentialError::Signature)),
    ] {
        let token = jwt_by(kid, Algorithm::EdDSA, key);
        assert_eq!(verifier.verify(&token, NOW), expected, "{kid}");
    }
    // One key alone, and keys that have no name take any.
    let mut verifier = self::verifier(Auth::Jwt, &signs.1.to_string());
    let token = jwt_by("any", Algorithm::EdDSA, &signs.0);
    assert_eq!(verifier.verify(&token, NOW), credential("tom"));
    let keyring = open(&config(
        Auth::Jwt,
        &File::new(&set(&[with(oct_jwk(SECRET), json!({"kid": "a"}))])),
    ));
    let minted = keyring.mint("tom", LATER).expect("a secret signs");
    assert_eq!(
        Verifier::new(keyring).verify(&minted, NOW),
        credential("tom")
    );
}

#[test]
fn of_a_set_what_checks_no_signatures_is_passed_over() {
    let (signs, key) = ed_pair();
    let foreign = [
        with(rsa_pair().1, json!({"use": "enc"})),
        with(rsa_pair().1, json!({"alg": "RSA-OAEP-256"})),
        with(rsa_pair().1, json!({"key_ops": ["encrypt"]})),
        json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
    ];
    let mut all = foreign.to_vec();
    all.push(key);
    let token = jwt(Algorithm::EdDSA, &signs, &tom());
    assert_eq!(
        verifier(Auth::Jwt, &set(&all)).verify(&token, NOW),
        credential("tom")
    );
    let error = refused(Auth::Jwt, &set(&foreign));
    assert!(error.contains("none of its 6 keys"), "{error}");
}

#[test]
fn a_broken_set_is_refused_by_the_place_and_never_a_secret() {
    let good = ed_pair().1;
    let (_, point, _) = p256();
    let mut off_curve = point.clone();
    off_curve[40] ^= 1;
    let private = with(ed_pair().1, json!({"d": "c2VjcmV0", "kid": "mine"}));
    for (keys, words) in [
        (json!({"keys": []}).to_string(), "none of its 0 keys"),
        (
            json!({"keys": good}).to_string(),
            "expected a JSON web key set",
        ),
        (
            json!({"key": [good]}).to_string(),
            "expected a JSON web key set",
        ),
        (json!([good]).to_string(), "expected a JSON web key set"),
        (
            set(&[good.clone(), json!("x")]),
            "keys[1]: expected an object",
        ),
        (
            set(&[good.clone(), private]),
            "keys[1] (kid \"mine\"): a private key",
        ),
        (
            set(&[
                good.clone(),
                json!({"kty": "OKP", "crv": "Ed25519", "kid": "a\nb"}),
            ]),
            "keys[1] (kid \"a\\\\nb\"): expected \"x\"",
        ),
        (set(&[ec_jwk("P-256", &off_curve)]), "a point on P-256"),
        (
            set(&[ec_jwk("P-256", &point[..33])]),
            "an uncompressed point on P-256",
        ),
        (
            set(&[ec_jwk("P-384", &point)]),
            "an uncompressed point on P-384",
        ),
        (
            set(&[json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})]),
            "2048 bits",
        ),
        (
            set(&[json!({"kty": "RSA", "n": "!", "e": "AQAB"})]),
            "expected \"n\"",
        ),
        (set(&[oct_jwk("short")]), "at least 32 bytes"),
        (set(&vec![good.clone(); 65]), "at most 64"),
    ] {
        let error = refused(Auth::Jwt, &keys);
        assert!(error.contains(words), "{words}: {error}");
    }
    // Cut off, on one line or on several.
    let whole = set(&[with(good, json!({"kid": "a key with a long name"}))]);
    for cut in [whole.len() - 1, whole.len() / 2, 40] {
        let error = refused(Auth::Jwt, &whole[..cut]);
        assert!(error.contains("begins like JSON and is none"), "{error}");
    }
}

#[test]
fn what_looks_like_a_key_is_never_taken_for_a_secret() {
    let bodies = [p256().2, p384().2, ed25519().1, rsa().1].map(|pem| {
        let body = pem.lines().nth(1).expect("a body").to_owned();
        let lines = body.as_bytes().chunks(64);
        let lines = lines.map(|line| std::str::from_utf8(line).expect("base64"));
        [body.clone(), lines.collect::<Vec<_>>().join("\n")]
    });
    let commented = format!("# our identity provider's\n{}", bodies[0][1]);
    let bodies = bodies.iter().flatten().map(|body| (body.as_str(), "BEGIN"));
    let ssh = "AAAAB3NzaC1yc2EAAAADAQABAAABAQC7vbqajDh1mYgTNB9iPRVnPFnHkAzkHLuXwqyQeBZUCk1";
    let [rsa_line, ecdsa_line, bare, ed_line] = [
        format!("ssh-rsa {ssh} tom@example"),
        format!("ecdsa-sha2-nistp256 {ssh}"),
        format!("{ssh} tom"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5mzEfNJ0Q7xOVqsxQbVAy0n7cGyoQO tom".to_owned(),
    ];
    let token = hs256(SECRET, &tom());
    let below = format!("{SECRET}\n{rsa_line}\n");
    for (keys, words) in bodies.chain([
        (commented.as_str(), "BEGIN"),
        (&rsa_line, "SSH public key"),
        (&ecdsa_line, "SSH public key"),
        (&bare, "SSH public key"),
        (&ed_line, "SSH public key"),
        (&below, "line 2: it is an SSH public key"),
        ("https://login.example/.well-known/jwks.json", "URL"),
        ("file:///etc/ringpost/keys/public.pem", "URL"),
        (&token, "a token, not a key"),
        (
            "<RSAKeyValue><Modulus>xA7SEU+e0yQH5rm9kbCDN9o3aPIo7HbP",
            "XML",
        ),
        (
            "---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2EAAAADAQABAAABAQC7",
            "broken BEGIN",
        ),
        (
            "----BEGIN PUBLIC KEY----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7l",
            "broken BEGIN",
        ),
        ("PuTTY-User-Key-File-3: ssh-ed25519 and more of it", "PuTTY"),
    ]) {
        for auth in [Auth::Jwt, Auth::Hmac] {
            let error = refused(auth, keys);
            assert!(error.contains(words), "{keys:?}: {error}");
            assert!(error.contains("expected public keys in PEM"), "{error}");
            assert!(!error.contains(keys), "{error}");
        }
    }
}

#[test]
fn secrets_as_people_make_them_are_taken() {
    let forms = [
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "q1wvVbQvyvjFdvXFQ1FHV2sKHSzPE8zZcCJ1nqXmPGU=",
        "correct horse battery staple, and some more of it",
    ];
    for secret in forms {
        let file = format!("# made by: openssl rand, on a Monday in March\n\u{feff}{secret}\r\n");
        let mut verifier = verifier(Auth::Jwt, &file);
        let shown = verifier.verify(&hs256(secret, &tom()), NOW);
        assert_eq!(shown, credential("tom"), "{secret}");
        // The comment is no secret.
        let comment = "# made by: openssl rand, on a Monday in March";
        let forged = verifier.verify(&hs256(comment, &tom()), NOW);
        assert_eq!(forged, Err(CredentialError::Signature));
    }
}

#[test]
fn what_is_no_text_is_told_by_its_form() {
    let file = File::new("");
    let utf16: Vec<u8> = [0xfffe]
        .into_iter()
        .chain(SECRET.encode_utf16().map(u16::swap_bytes))
        .flat_map(u16::to_be_bytes)
        .collect();
    for (bytes, words) in [
        (utf16.as_slice(), "UTF-16"),
        (&[0x30, 0x59, 0x30, 0x13, 0xff], "binary (DER?)"),
        (&[0xc3, 0x28], "no text in UTF-8"),
    ] {
        std::fs::write(&file.0, bytes).expect("a file is written");
        let error = Keyring::open(&config(Auth::Jwt, &file))
            .err()
            .expect("no keys");
        assert!(error.to_string().contains(words), "{error}");
    }
    let (signs, public) = ed25519();
    let mut verifier = verifier(Auth::Jwt, &format!("\u{feff}{public}"));
    let token = jwt(Algorithm::EdDSA, &signs, &tom());
    assert_eq!(verifier.verify(&token, NOW), credential("tom"));
}
