//! Certificates and keys from files, checked so that a mistake is met at the start and not by the first client. Errors
//! name the file and what to do; they never quote a key.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::resolver::Served;
use super::self_signed;
use super::x509::{self, CertificateFacts};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most pairs: each is looked at for each handshake.
pub const PAIRS_MAX: usize = 1_000;

/// A certificate with its chain, and its key: PEM files. They may be one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The server's certificate first, then those that lead to a root.
    pub certificate_file: PathBuf,
    /// Its private key, without a passphrase.
    pub key_file: PathBuf,
}

/// Where certificates come from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// The first is shown to those who ask for no name, or for one that none has.
    pub pairs: Vec<Pair>,
    /// More of them: `NAME.pem` (or `.crt`, `.cer`) with `NAME.key`, or with the key in it; and folders with
    /// `fullchain.pem` and `privkey.pem`, as certbot makes them.
    pub folder: Option<PathBuf>,
    /// Clients have to show a certificate that leads to one of those in this file.
    pub client_ca_file: Option<PathBuf>,
    /// Keys of tickets that other servers take, too.
    pub ticket_keys_file: Option<PathBuf>,
    /// One more, made now.
    pub self_signed: bool,
}

/// What a file was when it was read: its path, and by what it is known that it has changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Result<Stamp, String> {
        let found = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Stamp {
            path: path.to_owned(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Whether certificates that are not valid now are an error (at a start) or a warning (while a server runs).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expired {
    /// An error.
    Refused,
    /// A warning.
    Warned,
}

/// What was read.
pub(super) struct Certificates {
    pub served: Vec<Served>,
    pub client_roots: Option<Arc<RootCertStore>>,
    /// When the first of them expires: seconds since 1970.
    pub expires: i64,
    pub warnings: Vec<String>,
}

impl Sources {
    /// All files as they are now.
    pub(super) fn stamps(&self) -> Result<Vec<Stamp>, String> {
        let pairs = self.all_pairs()?;
        let files = pairs
            .iter()
            .flat_map(|pair| [&pair.certificate_file, &pair.key_file]);
        let files = files.chain(&self.client_ca_file);
        let files = files.chain(&self.ticket_keys_file);
        files.map(|file| Stamp::of(file)).collect()
    }

    fn all_pairs(&self) -> Result<Vec<Pair>, String> {
        let mut pairs = self.pairs.clone();
        if let Some(folder) = &self.folder {
            pairs.extend(pairs_in(folder)?);
        }
        Ok(pairs)
    }

    /// Reads all. `now` is in seconds since 1970.
    pub(super) fn read(
        &self,
        provider: &CryptoProvider,
        now: i64,
        expired: Expired,
    ) -> Result<Certificates, String> {
        let pairs = self.all_pairs()?;
        if pairs.is_empty() && !self.self_signed {
            return Err(match &self.folder {
                Some(folder) => format!(
                    "{}: there is no certificate in it; expected NAME.pem with NAME.key, or folders with fullchain.pem \
                     and privkey.pem",
                    folder.display()
                ),
                None => {
                    "TLS needs a certificate and its key: certificate_file and key_file".to_owned()
                }
            });
        }
        if pairs.len() > PAIRS_MAX {
            return Err(format!("{} certificates; at most {PAIRS_MAX}", pairs.len()));
        }
        let mut credentials = Certificates {
            served: Vec::new(),
            client_roots: None,
            expires: i64::MAX,
            warnings: Vec::new(),
        };
        for pair in &pairs {
            let chain = certificates(&pair.certificate_file)?;
            let key = private_key(&pair.key_file)?;
            credentials.add(pair, (chain, key), provider, now, expired)?;
        }
        if self.self_signed {
            let (certificate, key) = self_signed::make(now)?;
            let made = Pair {
                certificate_file: "self_signed".into(),
                key_file: "self_signed".into(),
            };
            let chain = vec![certificate];
            credentials.add(&made, (chain, key), provider, now, expired)?;
        }
        if let Some(file) = &self.client_ca_file {
            credentials.client_roots = Some(Arc::new(roots(file)?));
        }
        Ok(credentials)
    }
}

impl Certificates {
    fn add(
        &mut self,
        pair: &Pair,
        (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
        provider: &CryptoProvider,
        now: i64,
        expired: Expired,
    ) -> Result<(), String> {
        let file = pair.certificate_file.display();
        let key = provider.key_provider.load_private_key(key).map_err(|_| {
            format!(
                "{}: it is a private key of a kind that TLS does not use here; expected RSA of 2048 to 8192 bits, P-256, \
                 P-384, P-521 or Ed25519",
                pair.key_file.display()
            )
        })?;
        let facts = chain.iter().map(|der| x509::read(der));
        let facts: Option<Vec<CertificateFacts<'_>>> = facts.collect();
        let facts = facts.ok_or_else(|| format!("{file}: a certificate in it is damaged"))?;
        let own = &facts[0];
        for (number, facts) in facts.iter().enumerate() {
            if let Some(problem) = validity(facts, now) {
                let problem = match number {
                    0 => format!("{file}: the certificate {problem}"),
                    _ => format!("{file}: certificate {} of the chain {problem}", number + 1),
                };
                match expired {
                    Expired::Refused => return Err(problem),
                    Expired::Warned => self.warnings.push(problem),
                }
            }
            self.expires = self.expires.min(facts.not_after);
        }
        if let Some(at) = facts
            .windows(2)
            .position(|two| two[0].issuer != two[1].subject)
        {
            self.warnings.push(format!(
                "{file}: certificate {} of the chain is not the issuer of the one before it, and some clients will not find \
                 their way; put the server's own first, then each one's issuer",
                at + 2
            ));
        }
        let names = own
            .dns
            .iter()
            .copied()
            .chain(own.ips.iter().map(String::as_str));
        let names: Vec<Box<str>> = names.map(|name| name.to_ascii_lowercase().into()).collect();
        if names.is_empty() {
            return Err(format!(
                "{file}: the certificate names no host (subjectAltName), and no client will take it; the common name is not \
                 looked at"
            ));
        }
        let certified = CertifiedKey::new(chain.clone(), key);
        certified.keys_match().map_err(|_| {
            format!(
                "{}: the key does not belong to the certificate in {file}; the first certificate there has to be the \
                 server's own",
                pair.key_file.display()
            )
        })?;
        self.served.push(Served {
            names,
            key: Arc::new(certified),
        });
        Ok(())
    }
}

/// What is wrong with a certificate's time.
fn validity(facts: &CertificateFacts<'_>, now: i64) -> Option<String> {
    let days = |seconds: i64| match seconds / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    };
    if now > facts.not_after {
        let ago = days(now - facts.not_after);
        return Some(format!("expired {ago} ago; renew it"));
    }
    if now < facts.not_before {
        let ahead = days(facts.not_before - now);
        return Some(format!(
            "is valid in {ahead} only; is this machine's clock right?"
        ));
    }
    None
}

/// A file that holds PEM.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, String> {
    let name = file.display();
    let found = fs::metadata(file).map_err(|error| format!("{name}: {error}"))?;
    if found.is_dir() {
        return Err(format!("{name}: it is a folder; expected a PEM file"));
    }
    if found.len() > FILE_BYTES_MAX {
        return Err(format!(
            "{name}: {} bytes; at most {FILE_BYTES_MAX} are read of a PEM file",
            found.len()
        ));
    }
    let bytes = fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    if bytes.trim_ascii().is_empty() {
        return Err(format!("{name}: the file is empty; expected PEM"));
    }
    if bytes.starts_with(&[0x30]) {
        return Err(format!(
            "{name}: it is binary (DER, or PKCS #12); expected PEM: openssl x509 -inform DER -in FILE, openssl pkey -inform \
             DER -in FILE, or openssl pkcs12 -nodes -in FILE"
        ));
    }
    Ok(bytes)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(file)?;
    let name = file.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| format!("{name}: PEM that cannot be read ({error})"))?;
    if chain.is_empty() {
        let found = match holds_key(&bytes) {
            true => "a private key is in it, and no certificate",
            false => "there is no certificate in it",
        };
        return Err(format!(
            "{name}: {found}; expected PEM (-----BEGIN CERTIFICATE-----), the server's own first"
        ));
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(file)?;
    let name = file.display();
    let holds = |mark: &str| contains(&bytes, mark);
    if holds("-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds("Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{name}: the private key has a passphrase, which nobody can type here; store it without one: openssl pkey -in \
             FILE -out NEW"
        ));
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            let found = match holds("-----BEGIN CERTIFICATE-----") {
                true => "a certificate is in it, and no private key",
                false => "there is no private key in it",
            };
            Err(format!(
                "{name}: {found}; expected PEM (-----BEGIN PRIVATE KEY-----)"
            ))
        }
        Err(error) => Err(format!("{name}: PEM that cannot be read ({error})")),
    }
}

fn contains(bytes: &[u8], mark: &str) -> bool {
    bytes
        .windows(mark.len())
        .any(|part| part == mark.as_bytes())
}

fn holds_key(bytes: &[u8]) -> bool {
    contains(bytes, "PRIVATE KEY-----")
}

pub(super) fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates(file)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            format!(
                "{}: certificate {} cannot be a root ({error})",
                file.display(),
                number + 1
            )
        })?;
    }
    Ok(roots)
}

/// The pairs in a folder, by their names' order.
fn pairs_in(folder: &Path) -> Result<Vec<Pair>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut pairs = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            let certificate_file = path.join("fullchain.pem");
            if certificate_file.exists() {
                pairs.push(Pair {
                    certificate_file,
                    key_file: path.join("privkey.pem"),
                });
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("pem" | "crt" | "cer")) {
            continue;
        }
        let key_file = path.with_extension("key");
        if key_file.exists() {
            pairs.push(Pair {
                certificate_file: path,
                key_file,
            });
        } else if holds_key(&read(&path)?) {
            pairs.push(Pair {
                certificate_file: path.clone(),
                key_file: path,
            });
        } else {
            return Err(format!(
                "{}: its key is missing; put it beside it as {}, or into it",
                path.display(),
                key_file.display()
            ));
        }
    }
    pairs.sort_by(|a, b| a.certificate_file.cmp(&b.certificate_file));
    Ok(pairs)
}
