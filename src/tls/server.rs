//! What a server's TLS is, made of its certificates once and shared by all cores: rustls' configuration for listeners that
//! speak HTTP and for those that do not.

use std::fmt;
use std::sync::Arc;

use ::aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::credentials::{Expired, Sources};
use super::own_tickets::OwnTickets;
use super::resolver::{Resolver, Served};
use super::secrets::Catch;
use super::tickets::TicketKeys;

/// TLS 1.3 tickets that a client is given. Each is good for one connection.
const TICKETS: usize = 2;

/// A server's TLS.
pub struct TlsServer {
    http: Arc<ServerConfig>,
    lines: Arc<ServerConfig>,
    /// Those that stay good when certificates change, if they do.
    tickets: Option<Arc<OwnTickets>>,
    expires: i64,
    resolver: Arc<Resolver>,
    /// Of one that was made here.
    fingerprint: Option<String>,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer")
            .field("certificates", &self.served().len())
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Reads the files: the server's TLS, and what is wrong with them that is no error. `now` is in seconds since 1970.
    pub fn open(sources: &Sources, now: i64) -> Result<(TlsServer, Vec<String>), String> {
        TlsServer::build(sources, now, Expired::Refused, None)
    }

    /// Reads the files again, for connections to come. Tickets stay good, unless clients show certificates: who has one
    /// is not asked again, and the new files may know him no more. Those with keys of a file are good as long as the file has
    /// the key, and clients' certificates lead where they have led.
    pub fn renewed(&self, sources: &Sources, now: i64) -> Result<(TlsServer, Vec<String>), String> {
        TlsServer::build(sources, now, Expired::Warned, self.tickets.as_ref())
    }

    fn build(
        sources: &Sources,
        now: i64,
        expired: Expired,
        earlier: Option<&Arc<OwnTickets>>,
    ) -> Result<(TlsServer, Vec<String>), String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let credentials = sources.read(&provider, now, expired)?;
        let fingerprint = credentials.served.last().filter(|_| sources.self_signed);
        let fingerprint = fingerprint.map(|served| fingerprint_of(&served.key));
        let roots = credentials.client_roots.as_deref();
        let (tickets, stays) = tickets(sources, roots, earlier)?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?;
        let builder = match credentials.client_roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let resolver = Arc::new(Resolver(credentials.served));
        let mut http = builder.with_cert_resolver(resolver.clone());
        http.enable_secret_extraction = true;
        http.key_log = Arc::new(Catch);
        // Tickets hold all: nothing is kept here of who has been here.
        http.session_storage = Arc::new(NoServerSessionStorage {});
        http.ticketer = tickets.clone();
        http.send_tls13_tickets = TICKETS;
        // What arrives before the handshake is over could be sent again by anybody.
        http.max_early_data_size = 0;
        let lines = http.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = TlsServer {
            http: Arc::new(http),
            lines: Arc::new(lines),
            tickets: stays,
            expires: credentials.expires,
            resolver,
            fingerprint,
        };
        Ok((server, credentials.warnings))
    }

    /// For listeners that speak HTTP or websocket: a client that offers protocols (ALPN) has to offer `http/1.1`.
    pub fn http(&self) -> &Arc<ServerConfig> {
        &self.http
    }

    /// For listeners of the text and frame codecs: what a client offers is ignored.
    pub fn lines(&self) -> &Arc<ServerConfig> {
        &self.lines
    }

    /// The tickets that stay good when certificates change, if they do.
    pub(super) fn own_tickets(&self) -> Option<&OwnTickets> {
        self.tickets.as_deref()
    }

    /// When the first certificate expires: seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.expires
    }

    /// The certificates, in their order.
    pub(super) fn served(&self) -> &[Served] {
        &self.resolver.0
    }

    /// The SHA-256 of the certificate that was made here, if one was.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }
}

/// What makes tickets, and our own of them.
type Tickets = (Arc<dyn ProducesTickets>, Option<Arc<OwnTickets>>);

/// What makes tickets, and that once more if they stay good when certificates change.
fn tickets(
    sources: &Sources,
    client_roots: Option<&RootCertStore>,
    earlier: Option<&Arc<OwnTickets>>,
) -> Result<Tickets, String> {
    if let Some(file) = &sources.ticket_keys_file {
        return Ok((Arc::new(TicketKeys::read(file, client_roots)?), None));
    }
    let stays = client_roots.is_none();
    let tickets = match earlier.filter(|_| stays) {
        Some(earlier) => Arc::clone(earlier),
        None => Arc::new(OwnTickets::new()?),
    };
    Ok((tickets.clone(), stays.then_some(tickets)))
}

/// As `openssl x509 -fingerprint -sha256` writes it.
fn fingerprint_of(key: &CertifiedKey) -> String {
    let certificate = key.cert.first().map_or(&[][..], |certificate| certificate);
    let digest = digest::digest(&digest::SHA256, certificate);
    let pairs = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
    pairs.collect::<Vec<_>>().join(":")
}
