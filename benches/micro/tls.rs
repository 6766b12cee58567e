//! TLS: records sealed and opened, and a server's part of a handshake. Each call expands its key, as a connection's does
//! that has one small write or read.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ringpost::tls::{
    Cipher, HandshakeStep, Pair, Records, Secret, Sources, TlsHandshake, TlsServer,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::input::ascii;

pub fn run(criterion: &mut Criterion) {
    let ciphers = [
        (Cipher::Aes128Gcm, 32),
        (Cipher::Aes256Gcm, 48),
        (Cipher::ChaCha20Poly1305, 32),
    ];
    let mut group = criterion.benchmark_group("tls");
    for (cipher, secret_bytes) in ciphers {
        let secret = |byte| Secret::new(&vec![byte; secret_bytes]).expect("a secret");
        for bytes in [130, 2_080, 16_000] {
            let plain = ascii(bytes).into_bytes();
            let mut server = Records::new(cipher, &secret(1), &secret(2));
            let mut out = Vec::new();
            server.seal([&plain[..]], &mut out).expect("a new key");
            let mut client = Records::new(cipher, &secret(2), &secret(1));
            assert_eq!(client.open(&mut out.clone()).plain, bytes);

            group.throughput(Throughput::Bytes(bytes as u64));
            let name = |what: &str| BenchmarkId::new(format!("{what}-{}", cipher.name()), bytes);
            group.bench_function(name("seal"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    server.seal([black_box(&plain[..])], &mut out)
                });
            });
            group.bench_function(name("open"), |bencher| {
                let fresh = || Records::new(cipher, &secret(2), &secret(1));
                let mut sealing = Records::new(cipher, &secret(1), &secret(2));
                let mut record = Vec::new();
                sealing.seal([&plain[..]], &mut record).expect("a new key");
                let once = || (fresh(), record.clone());
                bencher.iter_batched_ref(
                    once,
                    |(client, record)| client.open(black_box(record)).plain,
                    BatchSize::SmallInput,
                );
            });
        }
    }
    handshakes(&mut group);
    group.finish();
}

fn handshakes(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let file = |name: &str| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/certificates")
            .join(name)
    };
    let sources = Sources {
        pairs: vec![Pair {
            certificate_file: file("p256.pem"),
            key_file: file("p256.key"),
        }],
        ..Sources::default()
    };
    let (server, _) = TlsServer::open(&sources, 1_800_000_000).expect("certificates");
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate");
    roots.add(ca).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = || {
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        let builder = builder.with_root_certificates(roots.clone());
        Arc::new(builder.with_no_client_auth())
    };
    let client = |config: &Arc<ClientConfig>| {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(config.clone(), name).expect("a client")
    };
    group.throughput(Throughput::Elements(1));
    // The client's answers cost time, too, so both flights are prepared and only the server's part is looked at: from its
    // hello to what it answers; then from what the client has finished with to the keys.
    for is_resumed in [false, true] {
        let remembering = config();
        let name = if is_resumed { "resumed" } else { "full" };
        group.bench_function(BenchmarkId::new("handshake", name), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..times {
                    let config = if is_resumed {
                        remembering.clone()
                    } else {
                        config()
                    };
                    let mut client = client(&config);
                    spent += shake(&server, &mut client);
                }
                spent
            });
        });
    }
}

/// One handshake: how long the server's part took.
fn shake(server: &TlsServer, client: &mut ClientConnection) -> std::time::Duration {
    let mut spent = std::time::Duration::ZERO;
    let mut handshake = None;
    loop {
        let mut input = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut input).expect("a buffer takes all");
        }
        let start = std::time::Instant::now();
        let handshake =
            handshake.get_or_insert_with(|| TlsHandshake::new(server.http()).expect("one"));
        let mut output = Vec::new();
        let (_, step) = handshake.advance(&input, &mut output);
        spent += start.elapsed();
        let mut output = &output[..];
        while !output.is_empty() {
            client
                .read_tls(&mut output)
                .expect("a buffer has no errors");
            client
                .process_new_packets()
                .expect("a client that is content");
        }
        if let HandshakeStep::Done(established) = step.expect("a handshake") {
            black_box(established);
            return spent;
        }
    }
}
