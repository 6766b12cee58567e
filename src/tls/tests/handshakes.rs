//! Handshakes that succeed, with every version, suite, group and kind of key, however the bytes are cut.

use std::io::Write;

use rustls::HandshakeKind;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, DEFAULT_KX_GROUPS};

use super::*;
use crate::tls::Version;

#[test]
fn every_suite_and_group_comes_to_the_same_keys() {
    let server = server(&["p256", "rsa", "p384", "ed25519"]);
    let mut random = fastrand::Rng::with_seed(1);
    let mut seen = Vec::new();
    for suite in ALL_CIPHER_SUITES {
        for group in DEFAULT_KX_GROUPS {
            let is_hybrid = group.name() == rustls::NamedGroup::X25519MLKEM768;
            if suite.version() == &rustls::version::TLS12 && is_hybrid {
                continue;
            }
            let terms = Terms {
                suites: vec![*suite],
                groups: vec![*group],
                ..Terms::default()
            };
            let mut client = connect(&terms.client(), "localhost");
            let cut = || random.usize(1..3_000);
            let shaken = shake(server.http(), &mut client, cut);
            let (mut established, rest) =
                shaken.unwrap_or_else(|error| panic!("{suite:?} {group:?}: {error}"));
            assert!(rest.is_empty());
            converse(&mut client, &mut established, &mut random, 6);
            seen.push((established.records.version(), established.records.cipher()));
        }
    }
    seen.dedup();
    // Six kinds of records; TLS 1.2 has each for RSA and for elliptic curves.
    assert_eq!(seen.len(), 9, "{seen:?}");
}

#[test]
fn every_kind_of_key_signs() {
    let mut random = fastrand::Rng::with_seed(2);
    for name in ["p256", "p384", "ed25519", "rsa", "chain"] {
        let host = if name == "chain" {
            "chain.test"
        } else {
            "localhost"
        };
        let mut client = connect(&Terms::default().client(), host);
        let server = server(&[name]);
        let (mut established, _) =
            shake(server.http(), &mut client, || usize::MAX).expect("a handshake");
        assert_eq!(established.records.version(), Version::Tls13);
        converse(&mut client, &mut established, &mut random, 2);
    }
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let server = server(&["p256"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut terms = Terms::default();
        terms.suites.retain(|suite| suite.version() == version);
        let mut client = connect(&terms.client(), "localhost");
        let (mut established, _) = shake(server.http(), &mut client, || 1).expect("a handshake");
        let mut random = fastrand::Rng::with_seed(3);
        converse(&mut client, &mut established, &mut random, 3);
    }
}

#[test]
fn what_follows_the_handshake_at_once_is_left_for_the_records() {
    let server = server(&["p256"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut terms = Terms::default();
        terms.suites.retain(|suite| suite.version() == version);
        let mut client = connect(&terms.client(), "localhost");
        // It leaves with what ends the handshake, as far as the client may.
        client.writer().write_all(b"hello").expect("room");
        let (mut established, mut rest) =
            shake(server.http(), &mut client, || usize::MAX).expect("a handshake");
        rest.extend(sent(&mut client));
        let opened = established.records.open(&mut rest);
        assert_eq!(&rest[..opened.plain], b"hello");
        assert_eq!(opened.taken, rest.len());
    }
}

#[test]
fn handshakes_on_one_thread_at_the_same_time_keep_their_secrets_apart() {
    let server = server(&["p256"]);
    let config = Terms::default().client();
    let mut pairs: Vec<_> = (0..5)
        .map(|_| {
            let client = connect(&config, "localhost");
            (client, TlsHandshake::new(server.http()).expect("one"), None)
        })
        .collect();
    for _ in 0..4 {
        for (client, handshake, done) in &mut pairs {
            let mut output = Vec::new();
            if let (_, Ok(HandshakeStep::Done(established))) =
                handshake.advance(&sent(client), &mut output)
            {
                *done = Some(established);
            }
            heard(client, &output).expect("a client that is content");
        }
    }
    let mut random = fastrand::Rng::with_seed(4);
    for (client, _, done) in &mut pairs {
        let established = done.as_mut().expect("a handshake that is done");
        converse(client, established, &mut random, 2);
    }
}

#[test]
fn a_client_that_guesses_the_group_wrong_is_asked_again() {
    let server = server(&["p256"]);
    // The first is what it guesses; of the second the server knows.
    let terms = Terms {
        groups: vec![
            rustls::crypto::aws_lc_rs::kx_group::SECP384R1,
            rustls::crypto::aws_lc_rs::kx_group::X25519,
        ],
        ..Terms::default()
    };
    let mut client = connect(&terms.client(), "localhost");
    let config = (**server.http()).clone();
    let mut provider = (**config.crypto_provider()).clone();
    provider
        .kx_groups
        .retain(|group| group.name() == rustls::NamedGroup::X25519);
    let mut narrow = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(config.cert_resolver.clone());
    narrow.enable_secret_extraction = true;
    narrow.key_log = config.key_log.clone();
    let narrow = Arc::new(narrow);
    let (mut established, _) = shake(&narrow, &mut client, || 7).expect("a handshake");
    assert!(established.is_retried);
    assert_eq!(
        client.handshake_kind(),
        Some(HandshakeKind::FullWithHelloRetryRequest)
    );
    converse(
        &mut client,
        &mut established,
        &mut fastrand::Rng::with_seed(5),
        2,
    );
}

#[test]
fn the_certificate_is_the_one_for_the_name() {
    let server = server(&["p256", "other", "star", "chain"]);
    let config = Terms::default().client();
    for host in [
        "localhost",
        "other.test",
        "OTHER.test",
        "a.star.test",
        "chain.test",
        "127.0.0.1",
    ] {
        let mut client = connect(&config, host);
        // The client holds the name against the certificate.
        shake(server.http(), &mut client, || usize::MAX)
            .unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    for host in ["star.test", "a.b.star.test", "nobody.test"] {
        let mut client = connect(&config, host);
        let error = shake(server.http(), &mut client, || usize::MAX).expect_err(host);
        assert!(
            matches!(error, HandshakeError::Alert(42)),
            "{host}: {error}"
        );
    }
}

#[test]
fn two_keys_for_a_name_serve_clients_that_know_one_kind() {
    let server = server(&["p256", "rsa"]);
    for (suite, bytes_max) in [
        (
            rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            2_000,
        ),
        (
            rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            1_000,
        ),
    ] {
        let terms = Terms {
            suites: vec![suite],
            ..Terms::default()
        };
        let mut client = connect(&terms.client(), "localhost");
        shake(server.http(), &mut client, || usize::MAX).expect("a handshake");
        let shown = client.peer_certificates().expect("a certificate")[0].len();
        assert!(shown < bytes_max, "{suite:?}: {shown}");
    }
}

#[test]
fn a_client_that_speaks_http_1_is_told_so() {
    let server = server(&["p256"]);
    let terms = || Terms {
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..Terms::default()
    };
    let mut client = connect(&terms().client(), "localhost");
    shake(server.http(), &mut client, || usize::MAX).expect("a handshake");
    assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut client = connect(&terms().client(), "localhost");
    shake(server.lines(), &mut client, || usize::MAX).expect("a handshake");
    assert_eq!(client.alpn_protocol(), None);
}

#[test]
fn a_client_with_a_certificate_is_known_by_its_names() {
    let sources = Sources {
        client_ca_file: Some(file("ca.pem")),
        ..sources(&["p256"])
    };
    let (server, _) = TlsServer::open(&sources, NOW).expect("certificates");
    let known: [(_, &[&str]); 2] = [
        ("client", &["shop.test", "spiffe://ringpost.test/shop"]),
        // The common name counts where there is no other.
        ("till", &["till"]),
    ];
    for (certificate, expected) in known {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut terms = Terms {
                certificate: Some(certificate),
                ..Terms::default()
            };
            terms.suites.retain(|suite| suite.version() == version);
            let mut client = connect(&terms.client(), "localhost");
            let (established, _) = shake(server.http(), &mut client, || 11).expect("a handshake");
            let names = established.client_names.iter().map(|name| &**name);
            assert!(
                names.eq(expected.iter().copied()),
                "{:?}",
                established.client_names
            );
        }
    }
}
