//! The handshake and the records against rustls' own client, OpenSSL, Python and curl.

mod credentials;
mod driver;
mod failing;
mod handshakes;
mod peers;
mod s_server;
mod tickets;

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use super::{Established, HandshakeError, HandshakeStep, Pair, Sources, TlsHandshake, TlsServer};

/// A moment at which the test certificates are valid.
pub const NOW: i64 = 1_800_000_000;

/// A file of `tests/certificates`.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/certificates")
        .join(name)
}

pub fn pair(name: &str) -> Pair {
    Pair {
        certificate_file: file(&format!("{name}.pem")),
        key_file: file(&format!("{name}.key")),
    }
}

pub fn sources(names: &[&str]) -> Sources {
    Sources {
        pairs: names.iter().map(|name| pair(name)).collect(),
        ..Sources::default()
    }
}

pub fn server(names: &[&str]) -> TlsServer {
    TlsServer::open(&sources(names), NOW)
        .expect("certificates")
        .0
}

/// What a client may choose of.
pub struct Terms {
    pub suites: Vec<rustls::SupportedCipherSuite>,
    pub groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
    /// The certificate that it shows.
    pub certificate: Option<&'static str>,
    pub alpn: Vec<Vec<u8>>,
}

impl Default for Terms {
    fn default() -> Terms {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Terms {
            suites: provider.cipher_suites,
            groups: provider.kx_groups,
            certificate: None,
            alpn: Vec::new(),
        }
    }
}

impl Terms {
    /// One configuration, whose clients remember their tickets.
    pub fn client(self) -> Arc<ClientConfig> {
        let provider = rustls::crypto::CryptoProvider {
            cipher_suites: self.suites,
            kx_groups: self.groups,
            ..rustls::crypto::aws_lc_rs::default_provider()
        };
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate");
        roots.add(ca).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(file(&format!("{name}.pem")));
                let chain = chain
                    .expect("a file")
                    .map(|one| one.expect("PEM"))
                    .collect();
                let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key")));
                builder
                    .with_client_auth_cert(chain, key.expect("a key"))
                    .expect("a pair")
            }
        };
        config.alpn_protocols = self.alpn;
        Arc::new(config)
    }
}

pub fn connect(config: &Arc<ClientConfig>, host: &'static str) -> ClientConnection {
    let name = ServerName::try_from(host).expect("a name");
    ClientConnection::new(config.clone(), name).expect("a client")
}

/// All that a client wants to send.
pub fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a buffer takes all");
    }
    bytes
}

/// Gives a client bytes, and what it makes of them back.
pub fn heard(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        let read = client.read_tls(&mut bytes).expect("a buffer has no errors");
        let state = client.process_new_packets()?;
        let mut now = vec![0; state.plaintext_bytes_to_read()];
        client
            .reader()
            .read_exact(&mut now)
            .expect("as much as it said");
        plain.append(&mut now);
        if read == 0 {
            break;
        }
    }
    Ok(plain)
}

/// A handshake in which the server's input comes in pieces of the lengths that `cut` gives. What the client's last
/// piece held beyond it comes back.
pub fn shake(
    server: &Arc<ServerConfig>,
    client: &mut ClientConnection,
    mut cut: impl FnMut() -> usize,
) -> Result<(Box<Established>, Vec<u8>), HandshakeError> {
    let mut handshake = TlsHandshake::new(server)?;
    let mut input = Vec::new();
    loop {
        let arrived = sent(client);
        assert!(!arrived.is_empty(), "both sides wait");
        input.extend(arrived);
        while !input.is_empty() {
            let piece = cut().clamp(1, input.len());
            let mut output = Vec::new();
            let (taken, step) = handshake.advance(&input[..piece], &mut output);
            // It is told why there is none, before that is told here.
            let heard = heard(client, &output);
            input.drain(..taken);
            if let HandshakeStep::Done(established) = step? {
                heard.expect("a client that is content");
                return Ok((established, input));
            }
            assert_eq!(taken, piece, "nothing is left while it is under way");
            let _ = heard;
        }
    }
}

/// Sends by both, and holds what arrives against it.
pub fn converse(
    client: &mut ClientConnection,
    established: &mut Established,
    random: &mut fastrand::Rng,
    rounds: usize,
) {
    let records = &mut established.records;
    for _ in 0..rounds {
        match random.u8(..8) {
            0 if records.version() == super::Version::Tls13 => {
                client.refresh_traffic_keys().expect("a new key");
            }
            1 => records.update_key(random.bool()),
            _ => {}
        }
        let question: Vec<u8> = (0..random.usize(1..40_000))
            .map(|_| random.u8(..))
            .collect();
        client.writer().write_all(&question).expect("room");
        let mut input = sent(client);
        while client.wants_write() {
            input.extend(sent(client));
        }
        let mut got = Vec::new();
        let mut held = Vec::new();
        while !input.is_empty() {
            let now = random.usize(1..=input.len());
            held.extend(input.drain(..now));
            let opened = records.open(&mut held);
            assert_eq!(opened.end, None);
            got.extend_from_slice(&held[..opened.plain]);
            held.drain(..opened.taken);
        }
        assert!(held.is_empty() && got == question);
        let answer: Vec<u8> = (0..random.usize(1..40_000))
            .map(|_| random.u8(..))
            .collect();
        let cut = random.usize(..=answer.len());
        let mut output = Vec::new();
        let pieces = [&answer[..cut], &[], &answer[cut..]];
        records
            .seal(pieces, &mut output)
            .expect("a key that is good");
        assert!(output.len() <= super::Records::sealed_bytes_max(answer.len()));
        let got = heard(client, &output).expect("records that it opens");
        assert!(got == answer);
    }
}

/// A folder of its own, that goes with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let folder =
            std::env::temp_dir().join(format!("ringpost-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    pub fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, contents).expect("a file");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
