//! [`TrustArgs`]: whom a client command trusts by TLS, and what it shows.

use std::path::PathBuf;

/// Whom a client command trusts by TLS, and what it shows.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TrustArgs {
    /// By TLS: trust the certificates in this file (PEM) in place of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// By TLS: trust the one certificate with this SHA-256, as of --tls-self-signed
    #[arg(long, value_name = "SHA256", conflicts_with = "ca_file")]
    pub fingerprint: Option<String>,
    /// By TLS: show this certificate (PEM, with its chain)
    #[arg(long, value_name = "FILE")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, unless that is in the same file
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    pub key_file: Option<PathBuf>,
}
