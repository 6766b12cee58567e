//! [`TlsClient`]: TLS under one client's bytes, by rustls.
//!
//! A load generator is no browser: it takes any certificate, so that a server is measured with whichever it has.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, SignatureScheme,
};

/// Bytes that are sealed before the kernel is offered them.
const SEAL_BYTES: usize = 64 << 10;
/// Tickets that wait to be shown, of a kilobyte or so.
const TICKETS_MAX: usize = 10_000;

/// How clients shake hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tickets {
    /// Each handshake is a full one.
    Unused,
    /// Who comes again shows the ticket that another has got.
    Shown,
}

/// One client's TLS.
#[derive(Debug)]
pub struct TlsClient(ClientConnection);

impl TlsClient {
    /// Not begun. `host` is the name that is asked for, with its port or without.
    pub fn new(host: &str, tickets: Tickets) -> Result<TlsClient, String> {
        let config = match tickets {
            Tickets::Unused => &FULL,
            Tickets::Shown => &RESUMED,
        };
        let connection = ClientConnection::new(Arc::clone(config), server_name(host)?);
        let mut connection = connection.map_err(|error| format!("TLS: {error}"))?;
        connection.set_buffer_limit(None);
        Ok(TlsClient(connection))
    }

    /// Whether messages can be sent.
    pub fn is_ready(&self) -> bool {
        !self.0.is_handshaking()
    }

    /// Whether it has something for the kernel.
    pub fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    /// Takes what has come, and appends what it says; whether that was the end of the stream.
    pub fn open(&mut self, mut sealed: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        while !sealed.is_empty() {
            self.0.read_tls(&mut sealed)?;
            self.0
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}")))?;
            match self.0.reader().read_to_end(plain) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Seals and writes what the kernel takes of these; how many bytes are sealed, and whether all of it has left.
    pub fn write(&mut self, mut plain: &[u8], to: &mut impl Write) -> io::Result<(usize, bool)> {
        let whole = plain.len();
        loop {
            while self.0.wants_write() {
                match self.0.write_tls(to) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok((whole - plain.len(), false));
                    }
                    Err(error) => return Err(error),
                }
            }
            if plain.is_empty() || !self.is_ready() {
                return Ok((whole - plain.len(), true));
            }
            let (now, later) = plain.split_at(plain.len().min(SEAL_BYTES));
            self.0.writer().write_all(now)?;
            plain = later;
        }
    }

    /// Says that nothing more comes.
    pub fn close(&mut self) {
        self.0.send_close_notify();
    }
}

static FULL: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| config(Resumption::disabled()));
static RESUMED: LazyLock<Arc<ClientConfig>> =
    LazyLock::new(|| config(Resumption::store(Arc::new(TicketPool::default()))));

fn config(resumption: Resumption) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    // As browsers offer them: AES-128 comes first (Chrome, Firefox and Safari; rustls alone says AES-256).
    provider
        .cipher_suites
        .sort_by_key(|suite| u8::from(suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256));
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has what both versions need")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakeAny(provider)))
        .with_no_client_auth();
    config.resumption = resumption;
    Arc::new(config)
}

/// Tickets of one server, of which each is shown once, by whoever comes next. rustls' own store keeps eight of a server,
/// which so many clients have used up at once.
#[derive(Debug, Default)]
struct TicketPool {
    tickets: Mutex<Vec<Tls13ClientSessionValue>>,
    hint: Mutex<Option<NamedGroup>>,
    session: Mutex<Option<Tls12ClientSessionValue>>,
}

impl ClientSessionStore for TicketPool {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        *locked(&self.hint) = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        *locked(&self.hint)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        *locked(&self.session) = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        locked(&self.session).clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *locked(&self.session) = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = locked(&self.tickets);
        if tickets.len() < TICKETS_MAX {
            tickets.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        locked(&self.tickets).pop()
    }
}

/// What a panic leaves behind is as good as before: each change is one step.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_matches(['[', ']']);
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) => Ok(ServerName::IpAddress(IpAddr::from(ip))),
        Err(_) => ServerName::try_from(name.to_owned())
            .map_err(|_| format!("\"{name}\" is no name that TLS can ask for")),
    }
}

/// Takes any certificate, and checks that the server has its key.
#[derive(Debug)]
struct TakeAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        let name = |host| server_name(host).map(|name| name.to_str().into_owned());
        assert_eq!(name("push.example:443").as_deref(), Ok("push.example"));
        assert_eq!(name("127.0.0.1:1").as_deref(), Ok("127.0.0.1"));
        assert_eq!(name("[::1]:1").as_deref(), Ok("::1"));
        assert!(name("a_b..c:1").is_err());
    }
}
