//! Session tickets: who comes back to another server that has the same keys skips a part of the handshake, until it has
//! them no more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, Stream};

use crate::by_tls::{client_config, file};
use crate::on_cores;
use crate::server::{Server, command};

on_cores! {
    a_client_comes_back_to_another_server_by_keys_that_both_have,
    who_has_shown_no_certificate_is_asked_for_one_all_the_same,
    a_client_comes_back_to_the_process_that_goes_on,
}

/// A file of keys of our own.
struct KeysFile(PathBuf);

impl KeysFile {
    fn new(keys: &[u8]) -> KeysFile {
        let name = format!("ringpost-keys-{}-{}", std::process::id(), fastrand::u64(..));
        let made = KeysFile(std::env::temp_dir().join(name));
        made.put(keys);
        made
    }

    /// Keys of 48 bytes each, all the same one.
    fn put(&self, keys: &[u8]) {
        let lines = keys.iter().map(|key| {
            // Three bytes are four digits.
            let digits = [
                (key >> 2),
                (key & 3) << 4 | key >> 4,
                (key & 15) << 2 | key >> 6,
                key & 63,
            ];
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let four = digits.map(|digit| char::from(alphabet[usize::from(digit)]));
            format!("{}\n", String::from_iter(four).repeat(16))
        });
        let fresh = self.0.with_extension("fresh");
        std::fs::write(&fresh, lines.collect::<String>()).expect("a file");
        std::fs::rename(fresh, &self.0).expect("a new name");
    }
}

impl Drop for KeysFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A client with a memory of its own, which shows a certificate where it is asked.
fn client() -> Arc<ClientConfig> {
    let key = PrivateKeyDer::from_pem_file(file("client.key")).expect("a key");
    let certificate = CertificateDer::from_pem_file(file("client.pem")).expect("a certificate");
    let mut config = (*client_config()).clone();
    config.resumption = Resumption::in_memory_sessions(8);
    let provider = Arc::clone(config.crypto_provider());
    let key = rustls::sign::CertifiedKey::from_der(vec![certificate], key, &provider);
    let key = rustls::sign::SingleCertAndKey::from(key.expect("a pair"));
    config.client_auth_cert_resolver = Arc::new(key);
    Arc::new(config)
}

/// One connection: how its handshake went, and what `online tom` is answered.
fn visit(address: SocketAddr, config: &Arc<ClientConfig>) -> (HandshakeKind, String) {
    let mut socket = TcpStream::connect(address).expect("a connection");
    let patience = Some(Duration::from_secs(20));
    socket.set_read_timeout(patience).expect("a time");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut answer = Vec::new();
    let mut stream = Stream::new(&mut tls, &mut socket);
    stream.write_all(b"online tom\n").expect("it takes them");
    while !answer.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    let kind = tls.handshake_kind().expect("a handshake");
    (
        kind,
        String::from_utf8_lossy(answer.trim_ascii_end()).into_owned(),
    )
}

fn comes_back(address: SocketAddr, config: &Arc<ClientConfig>) -> bool {
    visit(address, config).0 == HandshakeKind::Resumed
}

async fn server(cores: usize, keys: &KeysFile, asks: bool) -> Server {
    let listener = ["tls+text://127.0.0.1:0=push-backend"];
    let mut command = command(cores, &[], &listener);
    command.env("RINGPOST_TLS_CERTIFICATE_FILE", file("p256.pem"));
    command.env("RINGPOST_TLS_KEY_FILE", file("p256.key"));
    command.env("RINGPOST_TLS_TICKET_KEYS_FILE", &keys.0);
    if asks {
        command.env("RINGPOST_TLS_CLIENT_CA_FILE", file("ca.pem"));
        command.env("RINGPOST_BACKEND_CERTIFICATES", "shop.test=read");
    }
    Server::spawn(command, listener.len()).await
}

fn address(server: &Server) -> SocketAddr {
    server.address("tls+text", "push-backend")
}

async fn a_client_comes_back_to_another_server_by_keys_that_both_have(cores: usize) {
    // Each has its own file, for they look at them once a minute.
    let (keys_of_one, keys) = (KeysFile::new(b"a"), KeysFile::new(b"a"));
    let one = server(cores, &keys_of_one, false).await;
    let mut another = server(cores, &keys, false).await;
    let config = client();
    assert!(!comes_back(address(&one), &config));
    assert!(comes_back(address(&another), &config));
    assert!(comes_back(address(&one), &config));
    // One that has other keys knows nobody. It gives tickets of its own.
    let strange = KeysFile::new(b"z");
    let stranger = server(cores, &strange, false).await;
    let other = client();
    assert!(!comes_back(address(&one), &other));
    assert!(!comes_back(address(&stranger), &other));
    // Another key, with the old one behind it, and then without.
    keys.put(b"ba");
    another.signal_on(libc::SIGHUP);
    another
        .wait_log(&["certificates have been read anew"])
        .await;
    assert!(comes_back(address(&another), &config));
    // Its ticket is of the new key, which the other has not seen.
    assert!(!comes_back(address(&one), &config));
    assert!(comes_back(address(&another), &config));
    keys.put(b"b");
    another.signal_on(libc::SIGHUP);
    // A ticket of the old one is taken until that is read.
    let start = Instant::now();
    loop {
        let config = client();
        assert!(!comes_back(address(&one), &config));
        if !comes_back(address(&another), &config) {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the old key is still good"
        );
    }
    let config = client();
    assert!(!comes_back(address(&another), &config));
    // A mistake changes nothing.
    std::fs::write(&keys.0, "secret\n").expect("a file");
    another.signal_on(libc::SIGHUP);
    another.wait_log(&["expected a key a line"]).await;
    assert!(comes_back(address(&another), &config));
}

async fn a_client_comes_back_to_the_process_that_goes_on(cores: usize) {
    let listener = ["tls+text://127.0.0.1:0=push-backend"];
    let mut command = command(cores, &[], &listener);
    command.env("RINGPOST_TLS_CERTIFICATE_FILE", file("p256.pem"));
    command.env("RINGPOST_TLS_KEY_FILE", file("p256.key"));
    let mut server = Server::spawn(command, listener.len()).await;
    let config = client();
    assert!(!comes_back(address(&server), &config));
    for _ in 0..3 {
        server.upgrade().await.expect("it is upgraded");
        assert!(comes_back(address(&server), &config));
    }
}

async fn who_has_shown_no_certificate_is_asked_for_one_all_the_same(cores: usize) {
    let keys = KeysFile::new(b"a");
    let open = server(cores, &keys, false).await;
    let asking = server(cores, &keys, true).await;
    let config = client();
    assert_eq!(visit(address(&open), &config).0, HandshakeKind::Full);
    // It is asked for its certificate, which the ticket has nothing of, and has its rights.
    let full = (HandshakeKind::Full, "fail".to_owned());
    assert_eq!(visit(address(&asking), &config), full);
    // By this one's ticket it is known without being asked.
    let resumed = (HandshakeKind::Resumed, "fail".to_owned());
    assert_eq!(visit(address(&asking), &config), resumed);
    assert_eq!(visit(address(&open), &config).0, HandshakeKind::Full);
}
