//! Plain tokens: as other languages make them, of any uid, until when, and what each is refused for.

use super::*;

#[test]
fn a_plain_token_as_other_languages_make_it() {
    // printf dG9t.1800000060 | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary | base64
    let token = "dG9t.1800000060.ztTYfHnGliXqsb1ROw3ipXybjfCn8dFegnxcC0rcrLg";
    assert_eq!(plain_token(SECRET, "tom", LATER), token);
    assert_eq!(
        verifier(Auth::Hmac, SECRET).verify(token, NOW),
        credential("tom")
    );
}

#[test]
fn a_plain_token_of_any_uid() {
    let mut verifier = verifier(Auth::Hmac, &format!("  {SECRET} \r\n\n"));
    let longest = "ü".repeat(64);
    for uid in ["a.b", "a.1", ".", "李雷", "a b\"c", &longest] {
        let token = plain_token(SECRET, uid, LATER);
        assert!(looks_like_token(token.as_bytes()));
        assert_eq!(verifier.verify(&token, NOW), credential(uid));
    }
    let too_long = "x".repeat(129);
    for (uid, error) in [
        ("", UidError::Empty),
        ("all", UidError::Reserved),
        ("a\nb", UidError::ControlCharacter),
        (too_long.as_str(), UidError::TooLong),
    ] {
        let token = plain_token(SECRET, uid, LATER);
        assert_eq!(
            verifier.verify(&token, NOW),
            Err(CredentialError::Uid(error))
        );
    }
}

#[test]
fn a_plain_token_ends_when_it_says() {
    let mut verifier = verifier(Auth::Hmac, SECRET);
    let token = plain_token(SECRET, "tom", LATER);
    assert_eq!(
        verifier.verify(&token, LATER * 1_000 - 1),
        credential("tom")
    );
    assert_eq!(
        verifier.verify(&token, LATER * 1_000),
        Err(CredentialError::Expired)
    );
    // Of a token that is not ours nothing is told but that.
    let foreign = plain_token(OTHER, "tom", 1);
    assert_eq!(
        verifier.verify(&foreign, NOW),
        Err(CredentialError::Signature)
    );
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
    assert_eq!(
        verifier.verify(&longer, NOW),
        Err(CredentialError::Signature)
    );
}

#[test]
fn what_a_plain_token_must_say() {
    let mut verifier = verifier(Auth::Hmac, SECRET);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = |claim: &str| {
        let mac = aws_lc_rs::hmac::sign(&key, claim.as_bytes());
        format!("{claim}.{}", URL_SAFE_NO_PAD.encode(mac))
    };
    let (millis, far) = (NOW + 60_000, NOW / 1_000 + 3_653 * 24 * 3_600 + 1);
    for (token, words) in [
        ("tom".to_owned(), "three parts"),
        (format!("dG9t.{LATER}.AAAA"), "last part"),
        (signed("dG9t.soon"), "expiry is no number"),
        (signed("dG9t."), "expiry is no number"),
        (signed(&format!("dG9t.{millis}")), "ten years"),
        (signed(&format!("dG9t.{millis}000000")), "ten years"),
        (signed(&format!("dG9t.{far}")), "ten years"),
        (signed(&format!("!.{LATER}")), "uid is no UTF-8"),
        (signed(&format!("_w.{LATER}")), "uid is no UTF-8"),
    ] {
        holds(&verifier.verify(&token, NOW), Err(words), &token);
    }
    let longest = signed(&format!("dG9t.{}", far - 1));
    assert!(verifier.verify(&longest, NOW).is_ok());
}
