//! Mistakes with files are named, and what to do.

use super::*;
use crate::tls::x509;

fn problem(sources: &Sources) -> String {
    match TlsServer::open(sources, NOW) {
        Ok((server, warnings)) => panic!("{server:?} {warnings:?}"),
        Err(problem) => problem,
    }
}

fn of(certificate: &str, key: &str) -> Sources {
    Sources {
        pairs: vec![Pair {
            certificate_file: file(certificate),
            key_file: file(key),
        }],
        ..Sources::default()
    }
}

/// That these mistakes are told with the file and what to do: a certificate's file, a key's, the one that is named, and
/// the words.
fn are_told(mistakes: &[(&str, &str, &str, &str)]) {
    for &(certificate, key, file, expected) in mistakes {
        let told = problem(&of(certificate, key));
        assert!(told.contains(expected), "{told}");
        assert!(
            told.split(':').next().expect("a file").ends_with(file),
            "{told}"
        );
        assert!(!told.contains("PRIVATE KEY-----M"), "{told}");
    }
}

#[test]
fn mistakes_are_told_with_the_file_and_what_to_do() {
    are_told(&[
        (
            "p256.pem",
            "p384.key",
            "p384.key",
            "the key does not belong to the certificate in",
        ),
        (
            "p256.pem",
            "other.key",
            "other.key",
            "the key does not belong to the certificate in",
        ),
        (
            "p256.pem",
            "p256.pem",
            "p256.pem",
            "a certificate is in it, and no private key",
        ),
        (
            "p256.key",
            "p256.key",
            "p256.key",
            "a private key is in it, and no certificate",
        ),
        (
            "p256.pem",
            "passphrase.key",
            "passphrase.key",
            "openssl pkey -in FILE -out NEW",
        ),
        (
            "expired.pem",
            "expired.key",
            "expired.pem",
            "the certificate expired 1019 days ago; renew it",
        ),
        (
            "nameless.pem",
            "nameless.key",
            "nameless.pem",
            "names no host (subjectAltName)",
        ),
        (
            "absent.pem",
            "p256.key",
            "absent.pem",
            "No such file or directory",
        ),
    ]);
    assert!(problem(&Sources::default()).contains("certificate_file and key_file"));
}

#[test]
fn what_is_no_key_and_no_certificate_is_told_with_the_file_and_what_to_do() {
    let folder = Folder::new("mistakes");
    let empty = folder.put("empty.pem", "\n");
    let text = folder.put("text.pem", "hello");
    let broken = folder.put("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let damaged = folder.put(
        "damaged.pem",
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
    );
    let der = folder.put("cert.der", [0x30, 0x82, 1, 2]);
    let long = folder.put("long.pem", vec![b'a'; (1 << 20) + 1]);
    let bad_key = folder.put(
        "bad.key",
        "-----BEGIN PRIVATE KEY-----\nMAMCAQE=\n-----END PRIVATE KEY-----\n",
    );
    let with = |path: &PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
    are_told(&[
        (&with(&empty), "p256.key", "empty.pem", "the file is empty"),
        ("p256.pem", &with(&empty), "empty.pem", "the file is empty"),
        (
            &with(&text),
            "p256.key",
            "text.pem",
            "there is no certificate in it",
        ),
        (
            "p256.pem",
            &with(&text),
            "text.pem",
            "there is no private key in it",
        ),
        (
            &with(&broken),
            "p256.key",
            "broken.pem",
            "PEM that cannot be read",
        ),
        (
            &with(&damaged),
            "p256.key",
            "damaged.pem",
            "a certificate in it is damaged",
        ),
        (
            &with(&der),
            "p256.key",
            "cert.der",
            "openssl x509 -inform DER",
        ),
        (&with(&long), "p256.key", "long.pem", "at most 1048576"),
        (&with(&folder.0), "p256.key", "mistakes", "it is a folder"),
        (
            "p256.pem",
            &with(&bad_key),
            "bad.key",
            "a private key of a kind that TLS does not use here",
        ),
    ]);
}

#[test]
fn a_certificate_that_has_expired_is_an_error_at_first_and_then_a_warning() {
    let server = server(&["p256"]);
    let (renewed, warnings) = server
        .renewed(&sources(&["p256", "expired"]), NOW)
        .expect("a warning only");
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("expired.pem: the certificate expired"),
        "{warnings:?}"
    );
    assert_eq!(renewed.served().len(), 2);
    assert_eq!(renewed.expires(), 1_711_929_600);
    // A day before its end it is good, and before its beginning it is not.
    assert!(TlsServer::open(&sources(&["expired"]), 1_711_843_200).is_ok());
    let early = TlsServer::open(&sources(&["expired"]), 1_700_000_000).expect_err("an error");
    assert!(
        early.contains("is valid in 47 days only; is this machine's clock right?"),
        "{early}"
    );
    // A mistake is one at a reload, too.
    assert!(server.renewed(&of("p256.pem", "p384.key"), NOW).is_err());
}

#[test]
fn a_chain_out_of_order_is_a_warning() {
    let folder = Folder::new("order");
    let read = |name: &str| fs::read_to_string(file(name)).expect("a file");
    let chain = folder.put("chain.pem", read("chain.pem") + &read("other.pem"));
    let sources = Sources {
        pairs: vec![Pair {
            certificate_file: chain,
            key_file: file("chain.key"),
        }],
        ..Sources::default()
    };
    let (_, warnings) = TlsServer::open(&sources, NOW).expect("a warning only");
    assert!(
        warnings[0].contains("certificate 3 of the chain is not the issuer"),
        "{warnings:?}"
    );
}

#[test]
fn a_folder_of_pairs_is_read_in_all_its_ways() {
    let folder = Folder::new("pairs");
    let read = |name: &str| fs::read_to_string(file(name)).expect("a file");
    folder.put("README", "certbot's");
    folder.put("a.pem", read("p256.pem"));
    folder.put("a.key", read("p256.key"));
    folder.put("b.crt", read("other.pem") + &read("other.key"));
    folder.put("live/fullchain.pem", read("chain.pem"));
    folder.put("live/privkey.pem", read("chain.key"));
    folder.put("empty/README", "no certificate");
    let sources = Sources {
        folder: Some(folder.0.clone()),
        ..Sources::default()
    };
    let (server, warnings) = TlsServer::open(&sources, NOW).expect("certificates");
    assert_eq!((server.served().len(), warnings.len()), (3, 0));
    let config = Terms::default().client();
    for host in ["localhost", "other.test", "chain.test"] {
        let mut client = connect(&config, host);
        shake(server.http(), &mut client, || usize::MAX).expect(host);
    }
    folder.put("c.pem", read("star.pem"));
    let told = problem(&sources);
    assert!(told.contains("c.pem: its key is missing"), "{told}");
    let none = Folder::new("none");
    let told = problem(&Sources {
        folder: Some(none.0.clone()),
        ..Sources::default()
    });
    assert!(told.contains("there is no certificate in it"), "{told}");
}

#[test]
fn certificates_are_read_as_openssl_reads_them() {
    let der = CertificateDer::from_pem_file(file("p256.pem")).expect("a certificate");
    let facts = x509::read(&der).expect("facts");
    assert_eq!(facts.dns, ["localhost", "ringpost.test"]);
    assert_eq!(facts.ips, ["127.0.0.1", "::1"]);
    assert_eq!(facts.common_name, Some("localhost"));
    // A hundred years, which GeneralizedTime is for.
    assert_eq!(facts.not_after - facts.not_before, 36_500 * 86_400);
    let issuer = CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate");
    assert_eq!(facts.issuer, x509::read(&issuer).expect("facts").subject);
    let der = CertificateDer::from_pem_file(file("expired.pem")).expect("a certificate");
    let facts = x509::read(&der).expect("facts");
    // date -u -d 2024-01-01 +%s
    assert_eq!(
        (facts.not_before, facts.not_after),
        (1_704_067_200, 1_711_929_600)
    );
    // Cut or changed, it is read or refused.
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..20_000 {
        let mut bytes = der.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        let _ = x509::read(&bytes);
    }
}
