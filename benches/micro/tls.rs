//! TLS: records sealed and opened, and a server's part of a handshake, beside that of rustls' own `ServerConnection`. Each call
//! expands its key, as a connection's does that has one small write or read.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ringpost::tls::{
    Cipher, HandshakeStep, Pair, Records, Secret, Sources, TlsHandshake, TlsServer,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

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
        let bare = bare(file("p256.pem"), file("p256.key"));
        let of_rustls = config();
        group.bench_function(BenchmarkId::new("handshake-of-rustls", name), |bencher| {
            bencher.iter_custom(|times| {
                let one = |_| {
                    let config = if is_resumed {
                        of_rustls.clone()
                    } else {
                        config()
                    };
                    shake_bare(&bare, &mut client(&config))
                };
                (0..times).map(one).sum()
            });
        });
        group.bench_function(BenchmarkId::new("handshake", name), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
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

/// rustls without us: the certificate, and tickets.
fn bare(certificate: PathBuf, key: PathBuf) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let builder = builder.expect("versions").with_no_client_auth();
    let config = builder.with_single_cert(vec![certificate], key);
    let mut config = config.expect("a pair");
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("random bytes");
    Arc::new(config)
}

/// One handshake with rustls' own connection: how long the server's part took.
fn shake_bare(config: &Arc<ServerConfig>, client: &mut ClientConnection) -> Duration {
    let mut spent = Duration::ZERO;
    let mut server = None;
    loop {
        let mut input = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut input).expect("a buffer takes all");
        }
        let start = Instant::now();
        let server =
            server.get_or_insert_with(|| ServerConnection::new(config.clone()).expect("one"));
        let (mut rest, mut output) = (&input[..], Vec::new());
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("a buffer has no errors");
            server.process_new_packets().expect("a handshake");
        }
        while server.wants_write() {
            server.write_tls(&mut output).expect("a buffer takes all");
        }
        spent += start.elapsed();
        hear(client, &output);
        if !server.is_handshaking() {
            return spent;
        }
    }
}

/// Gives a client what its server has sent.
fn hear(client: &mut ClientConnection, mut output: &[u8]) {
    while !output.is_empty() {
        client
            .read_tls(&mut output)
            .expect("a buffer has no errors");
        client
            .process_new_packets()
            .expect("a client that is content");
    }
}

/// One handshake: how long the server's part took.
fn shake(server: &TlsServer, client: &mut ClientConnection) -> Duration {
    let mut spent = Duration::ZERO;
    let mut handshake = None;
    loop {
        let mut input = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut input).expect("a buffer takes all");
        }
        let start = Instant::now();
        let handshake =
            handshake.get_or_insert_with(|| TlsHandshake::new(server.http()).expect("one"));
        let mut output = Vec::new();
        let (_, step) = handshake.advance(&input, &mut output);
        spent += start.elapsed();
        hear(client, &output);
        if let HandshakeStep::Done(established) = step.expect("a handshake") {
            black_box(established);
            return spent;
        }
    }
}
