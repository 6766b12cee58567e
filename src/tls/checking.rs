//! Files of certificates looked at before they are served: [`check_files`], what the server itself would refuse and which
//! hosts they are for; and [`check_chains`], whether clients find their way to an authority, as far as that can be said here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::TlsServer;
use super::listeners::{invalid, seconds_now, sources};
use super::names::covers;
use super::resolver::Served;
use super::x509;
use crate::config::TlsFiles;

/// What is known of files that are right.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CheckedFiles {
    /// What is wrong that is no error.
    pub warnings: Vec<String>,
    /// When the first of the certificates expires.
    pub expires: Option<SystemTime>,
    /// Whole days until then.
    pub days_left: i64,
    /// Names of hosts that the certificates are for, in their order.
    pub names: Vec<String>,
}

impl CheckedFiles {
    /// Whether one of the certificates is for this host, a name or an address.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.names.iter().any(|name| covers(name, &host))
    }
}

/// Whether files are as they should be, now: what is wrong that is no error, when the first certificate expires, and which
/// names they have.
pub fn check_files(files: &TlsFiles) -> io::Result<CheckedFiles> {
    let now = seconds_now();
    let sources = sources(files).map_err(invalid)?;
    let (server, warnings) = TlsServer::open(&sources, now).map_err(invalid)?;
    let names = server.served().iter().flat_map(|one| &one.names);
    Ok(CheckedFiles {
        warnings,
        expires: UNIX_EPOCH.checked_add(Duration::from_secs(server.expires().max(0) as u64)),
        days_left: (server.expires() - now) / 86_400,
        names: names.map(|name| name.to_string()).collect(),
    })
}

/// Where certificates lead, if not where they should.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CheckedChains {
    /// Those that no client takes, and why.
    pub broken: Vec<String>,
    /// Those that lead to no authority that this machine trusts, and whom they come from.
    pub untrusted: Vec<String>,
}

/// Whether clients find their way from the certificates in files to an authority, now. Reads what this machine trusts, too.
pub fn check_chains(files: &TlsFiles) -> io::Result<CheckedChains> {
    let now = seconds_now();
    let sources = sources(files).map_err(invalid)?;
    let (server, _) = TlsServer::open(&sources, now).map_err(invalid)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let judge = ChainJudge::new(&provider, now);
    // What was made for a try is the last, and leads nowhere.
    let from_files = server.served().len() - usize::from(sources.self_signed);
    let mut checked = CheckedChains::default();
    for served in &server.served()[..from_files] {
        let name = named(served);
        match judge.look(served) {
            Trust::Trusted | Trust::Unknown => {}
            Trust::Untrusted(issuer) => checked.untrusted.push(format!("{name} by {issuer}")),
            Trust::Broken(problem) => checked.broken.push(format!(
                "the certificate for {name}: its chain does not hold ({problem}), and no client will take it"
            )),
        }
    }
    Ok(checked)
}

fn named(served: &Served) -> &str {
    served.names.first().map_or("", |name| name)
}

/// Whether clients find their way.
enum Trust {
    /// As this machine does.
    Trusted,
    /// Not by what this machine trusts: the issuer of the chain's last.
    Untrusted(String),
    /// No client does.
    Broken(String),
    /// This machine trusts nobody at all.
    Unknown,
}

/// Clients' way from a certificate to an authority.
struct ChainJudge<'a> {
    provider: &'a Arc<CryptoProvider>,
    system: Option<Verifier>,
    now: UnixTime,
}

impl<'a> ChainJudge<'a> {
    fn new(provider: &'a Arc<CryptoProvider>, now: i64) -> ChainJudge<'a> {
        ChainJudge {
            provider,
            system: Verifier::new(Arc::clone(provider)).ok(),
            now: UnixTime::since_unix_epoch(Duration::from_secs(now.max(0) as u64)),
        }
    }

    fn look(&self, served: &Served) -> Trust {
        let chain = &served.key.cert;
        // Any host below a star is as good.
        let host = named(served).replace('*', "any");
        let (Some((own, between)), Ok(host)) = (chain.split_first(), ServerName::try_from(host))
        else {
            return Trust::Unknown;
        };
        let Some(system) = &self.system else {
            return Trust::Unknown;
        };
        match system.verify_server_cert(own, between, &host, &[], self.now) {
            Ok(_) => Trust::Trusted,
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => match self.holds(own, between, &host) {
                Ok(()) => Trust::Untrusted(issuer(between.last().unwrap_or(own))),
                Err(error) => Trust::Broken(error.to_string()),
            },
            Err(Error::InvalidCertificate(CertificateError::Other(_))) => {
                Trust::Untrusted(issuer(own))
            }
            Err(error) => Trust::Broken(error.to_string()),
        }
    }

    /// Whether the certificate leads to the last one of its chain, whoever that is.
    fn holds(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'static>],
        host: &ServerName<'_>,
    ) -> Result<(), Error> {
        let Some((last, between)) = between.split_last() else {
            return Ok(());
        };
        let mut roots = RootCertStore::empty();
        roots.add(last.clone())?;
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(self.provider));
        let verifier = builder
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(own, between, host, &[], self.now);
        verified.map(|_| ())
    }
}

/// What the issuer of a certificate is called.
fn issuer(certificate: &CertificateDer<'_>) -> String {
    let facts = x509::read(certificate);
    let name = facts.and_then(|facts| x509::common_name(facts.issuer));
    name.unwrap_or("an authority without a name").to_owned()
}
