//! Handshakes that fail, and what the client is told.

use super::*;
use crate::tls::handshake::HANDSHAKE_BYTES_MAX;
use crate::tls::{Established, NotTls};

/// What becomes of one, and what the client has heard.
fn fails(server: &Arc<ServerConfig>, terms: Terms) -> (HandshakeError, Option<rustls::Error>) {
    let mut client = connect(&terms.client(), "localhost");
    let mut handshake = TlsHandshake::new(server).expect("one");
    for _ in 0..4 {
        let mut output = Vec::new();
        let (_, step) = handshake.advance(&sent(&mut client), &mut output);
        let heard = heard(&mut client, &output).err();
        match step {
            Err(error) => return (error, heard),
            Ok(step) => assert!(matches!(step, HandshakeStep::More), "it has succeeded"),
        }
    }
    panic!("it has not failed");
}

#[test]
fn no_common_protocol_is_told_by_its_alert() {
    let terms = Terms {
        alpn: vec![b"h2".to_vec()],
        ..Terms::default()
    };
    let (error, heard) = fails(server(&["p256"]).http(), terms);
    assert_eq!(error.kind(), "incompatible", "{error}");
    let heard = heard.expect("an alert");
    assert!(
        format!("{heard:?}").contains("NoApplicationProtocol"),
        "{heard:?}"
    );
}

#[test]
fn a_client_without_a_certificate_that_is_asked_for_one_is_told() {
    let sources = Sources {
        client_ca_file: Some(file("ca.pem")),
        ..sources(&["p256"])
    };
    let (server, _) = TlsServer::open(&sources, NOW).expect("certificates");
    for (certificate, alert) in [
        (None, "CertificateRequired"),
        (Some("stranger"), "UnknownCA"),
    ] {
        let terms = Terms {
            certificate,
            ..Terms::default()
        };
        let (error, heard) = fails(server.http(), terms);
        assert_eq!(error.kind(), "certificate", "{error}");
        let heard = heard.expect("an alert, sealed");
        assert!(format!("{heard:?}").contains(alert), "{heard:?}");
    }
}

#[test]
fn a_client_that_does_not_trust_us_says_so() {
    let mut client = connect(&Terms::default().client(), "elsewhere.test");
    let error = shake(server(&["p256"]).http(), &mut client, || usize::MAX).expect_err("a refusal");
    assert_eq!(
        error.to_string(),
        "the client gave up: bad_certificate (42)"
    );
    assert_eq!(error.kind(), "alert");
}

#[test]
fn plain_http_gets_an_answer_that_names_tls() {
    let server = server(&["p256"]);
    for (request, is_http) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], true),
        (b"PROPFIND / HTTP/1.1\r\n", true),
        (b"GET / HT", true),
        (b"GET /", true),
        (b"SSH-2.0-OpenSSH_9.2\r\n", false),
        (b"{\"uid\":\"uid1\"}\n", false),
        (b"hello\n", false),
        (b"\x80\x2e\x01\x03\x01", false),
        (b"\x15\x03\x03\x00\x02\x02\x28", false),
    ] {
        for piece in [1, 2, 3, request.len()] {
            let mut handshake = TlsHandshake::new(server.http()).expect("one");
            let mut output = Vec::new();
            let mut pieces = request.chunks(piece);
            let error = loop {
                let piece = pieces.next().expect("it is known before all is there");
                match handshake.advance(piece, &mut output).1 {
                    Ok(step) => assert!(matches!(step, HandshakeStep::More)),
                    Err(error) => break error,
                }
            };
            let HandshakeError::NotTls(stranger) = error else {
                panic!("{request:?}: {error}");
            };
            assert_eq!(stranger == NotTls::Http, is_http, "{request:?} by {piece}");
            assert_eq!(output, stranger.answer());
        }
    }
    let answer = str::from_utf8(NotTls::Http.answer()).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(
        head.starts_with("HTTP/1.1 400 ") && body.contains("TLS"),
        "{answer}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{answer}"
    );
}

#[test]
fn a_handshake_that_does_not_end_is_cut_off_and_holds_little() {
    let server = server(&["p256"]);
    // A ClientHello of the greatest length, in records of a byte each.
    let mut handshake = TlsHandshake::new(server.http()).expect("one");
    let hello = [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat(0));
    let mut output = Vec::new();
    let mut sent = 0;
    let error = loop {
        let record: Vec<u8> = [0x16, 3, 1, 0, 1]
            .into_iter()
            .chain(hello.clone().nth(sent))
            .collect();
        sent += 1;
        match handshake.advance(&record, &mut output).1 {
            Ok(_) => assert!(handshake.bytes_held() <= 2 * HANDSHAKE_BYTES_MAX),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, HandshakeError::TooLong | HandshakeError::Refused(_)),
        "{error}"
    );
    assert!(sent <= HANDSHAKE_BYTES_MAX / 6 + 1, "{sent}");
    assert_eq!(output, [21, 3, 3, 0, 2, 2, 50]);
}

#[test]
fn nonsense_after_the_first_byte_is_refused_with_an_alert() {
    let server = server(&["p256"]);
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..2_000 {
        let mut handshake = TlsHandshake::new(server.http()).expect("one");
        let mut bytes = vec![0x16, 3, random.u8(..4)];
        bytes.extend((0..random.usize(2..400)).map(|_| random.u8(..)));
        if random.bool() {
            // A record of its own length.
            let length = bytes.len() as u16 - 5;
            bytes[3..5].copy_from_slice(&length.to_be_bytes());
        }
        let mut output = Vec::new();
        if let (_, Err(error)) = handshake.advance(&bytes, &mut output) {
            assert!(matches!(error, HandshakeError::Refused(_)), "{error}");
            assert!(
                output.starts_with(&[21, 3, 3, 0, 2, 2]),
                "{error}: {output:?}"
            );
        }
    }
}

#[test]
fn changed_bytes_of_a_real_handshake_never_succeed_or_panic() {
    let server = server(&["p256"]);
    let config = Terms::default().client();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let mut client = connect(&config, "localhost");
        let mut handshake = TlsHandshake::new(server.http()).expect("one");
        let flight = random.usize(..2);
        let mut outcome: Option<Box<Established>> = None;
        for number in 0..3 {
            let mut bytes = sent(&mut client);
            if number == flight && !bytes.is_empty() {
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u8(..8);
            }
            let mut output = Vec::new();
            let (_, step) = handshake.advance(&bytes, &mut output);
            let heard = heard(&mut client, &output);
            match step {
                Ok(HandshakeStep::More) if heard.is_ok() => {}
                Ok(HandshakeStep::Done(established)) => {
                    outcome = Some(established);
                    break;
                }
                _ => break,
            }
        }
        // Some bits are looked at by nobody: a record's version, and what changes nothing that is agreed on.
        if let Some(mut established) = outcome {
            converse(&mut client, &mut established, &mut random, 1);
        }
    }
}

#[test]
fn it_is_over_with_its_end() {
    let server = server(&["p256"]);
    let mut handshake = TlsHandshake::new(server.http()).expect("one");
    let mut output = Vec::new();
    let record = [0x16, 3, 1, 0, 4, 99, 0, 0, 0];
    assert!(handshake.advance(&record, &mut output).1.is_err());
    assert!(!output.is_empty());
    let length = output.len();
    let again = handshake
        .advance(&record, &mut output)
        .1
        .expect_err("it is over");
    assert_eq!((again.kind(), output.len()), ("internal", length));
}
