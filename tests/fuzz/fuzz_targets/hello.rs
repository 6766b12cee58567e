//! The beginning of a TLS connection, whole and in pieces: nothing that arrives before a client has the keys comes to an
//! end that is none, holds much, or panics; strangers are known as such however they are cut.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use ringpost::tls::handshake::HANDSHAKE_BYTES_MAX;
use ringpost::tls::{HandshakeStep, Pair, Sources, TlsHandshake, TlsServer};

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = outcome(bytes, usize::MAX);
    let pieces = outcome(bytes, 1 + usize::from(piece));
    assert_eq!(whole, pieces);
});

/// What it comes to, in a word. What has been answered differs by random numbers.
fn outcome(bytes: &[u8], piece: usize) -> String {
    let mut handshake = TlsHandshake::new(server().http()).expect("one");
    let mut output = Vec::new();
    for part in bytes.chunks(piece.min(bytes.len().max(1))) {
        let (taken, step) = handshake.advance(part, &mut output);
        assert!(taken <= part.len());
        assert!(handshake.bytes_held() <= 2 * HANDSHAKE_BYTES_MAX);
        match step {
            Ok(HandshakeStep::More) => assert_eq!(taken, part.len()),
            Ok(HandshakeStep::Done(_)) => panic!("there is no key"),
            Err(error) => return error.to_string(),
        }
    }
    "more".to_owned()
}

fn server() -> &'static Arc<TlsServer> {
    static SERVER: OnceLock<Arc<TlsServer>> = OnceLock::new();
    SERVER.get_or_init(|| {
        let file = |name: &str| {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../certificates")
                .join(name)
        };
        let sources = Sources {
            pairs: vec![Pair {
                certificate_file: file("p256.pem"),
                key_file: file("p256.key"),
            }],
            ..Sources::default()
        };
        Arc::new(
            TlsServer::open(&sources, 1_800_000_000)
                .expect("certificates")
                .0,
        )
    })
}
