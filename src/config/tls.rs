//! [`TlsFiles`]: the certificates that a server, or one listener, shows, and where they are.

use std::path::PathBuf;

/// Where the TLS of a server, or of one listener, comes from. All files are PEM.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate with its chain, the server's own first. It is shown to those who ask for no name, or for one that
    /// no other certificate has.
    pub certificate_file: Option<PathBuf>,
    /// The certificate's private key, without a passphrase. It may be in the same file.
    pub key_file: Option<PathBuf>,
    /// More certificates, chosen by the name that a client asks for (SNI, RFC 6066, section 3): `NAME.pem` (or `.crt`,
    /// `.cer`) with `NAME.key`, or with the key in it; and folders with `fullchain.pem` and `privkey.pem`, as certbot makes
    /// them. At most 1,000.
    pub folder: Option<PathBuf>,
    /// Clients have to show a certificate that leads to one of those in this file.
    pub client_ca_file: Option<PathBuf>,
    /// Keys of session tickets, for servers that share them: one a line, the first seals. Without it each process has keys
    /// of its own, which change every six hours.
    pub ticket_keys_file: Option<PathBuf>,
    /// A certificate for this machine's own names, made at the start: for a try. No client trusts it by itself.
    pub self_signed: bool,
}

impl TlsFiles {
    /// A certificate with its chain, and its key.
    pub fn new(certificate_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> TlsFiles {
        TlsFiles {
            certificate_file: Some(certificate_file.into()),
            key_file: Some(key_file.into()),
            ..TlsFiles::default()
        }
    }

    /// Whether there is no certificate in it.
    pub fn is_empty(&self) -> bool {
        self.certificate_file.is_none()
            && self.key_file.is_none()
            && self.folder.is_none()
            && !self.self_signed
    }

    /// These, and what they leave out of the server's: the certificates as a whole, what clients are asked for, and the keys
    /// of tickets.
    pub fn or(&self, server: &TlsFiles) -> TlsFiles {
        let mut files = match self.is_empty() {
            true => server.clone(),
            false => self.clone(),
        };
        let own = self.client_ca_file.as_ref();
        files.client_ca_file = own.or(server.client_ca_file.as_ref()).cloned();
        let own = self.ticket_keys_file.as_ref();
        files.ticket_keys_file = own.or(server.ticket_keys_file.as_ref()).cloned();
        files
    }
}
