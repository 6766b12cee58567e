//! The TLS of a server's listeners: [`TlsListeners`], shared by the cores, with certificates that are read anew while it runs;
//! and each core's view of it, [`TlsAcceptor`].
//!
//! Cores look at a counter when a client begins a handshake, and take the lock only if that has changed. Whoever has the same
//! files has the same configuration, and the same tickets.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::credentials::{Pair, Sources, Stamp};
use super::outcome::TlsRefusal;
use super::own_tickets::TicketSecret;
use super::{TlsConnection, TlsServer};
use crate::config::TlsFiles;

/// By listener's number; `None` of those that speak no TLS.
type Servers = Arc<[Option<Arc<TlsServer>>]>;

/// See the module.
pub struct TlsListeners {
    current: Mutex<CurrentTls>,
    /// How often they have changed.
    changes: AtomicU64,
    /// When the first certificate expires: seconds since 1970.
    expires: AtomicI64,
}

struct CurrentTls {
    files: Vec<Option<TlsFiles>>,
    servers: Servers,
    /// What the files were when they were read.
    stamps: Vec<Stamp>,
}

/// What has been read.
struct Read {
    servers: Servers,
    stamps: Vec<Stamp>,
    expires: i64,
    warnings: Vec<String>,
}

impl TlsListeners {
    /// Reads the files of listeners, by number. `None` if none speaks TLS. Says what is wrong that is no error.
    pub fn open(
        files: Vec<Option<TlsFiles>>,
    ) -> io::Result<(Option<Arc<TlsListeners>>, Vec<String>)> {
        if files.iter().all(Option::is_none) {
            return Ok((None, Vec::new()));
        }
        let read = read(&files, &[]).map_err(invalid)?;
        let listeners = TlsListeners {
            current: Mutex::new(CurrentTls {
                files,
                servers: read.servers,
                stamps: read.stamps,
            }),
            changes: AtomicU64::new(0),
            expires: AtomicI64::new(read.expires),
        };
        Ok((Some(Arc::new(listeners)), read.warnings))
    }

    /// Reads these files, to be [taken over](TlsListeners::take_over). `None` if they are those that it has, unchanged.
    pub fn read(&self, files: Vec<Option<TlsFiles>>) -> io::Result<Option<FreshTls>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&files).map_err(invalid)?;
        if current.files == files && current.stamps == stamps {
            return Ok(None);
        }
        let read = read(&files, &current.known()).map_err(invalid)?;
        Ok(Some(FreshTls { files, read }))
    }

    /// Goes on with these, for connections to come. Says what is wrong with them that is no error.
    pub fn take_over(&self, fresh: FreshTls) -> Vec<String> {
        let FreshTls { files, read } = fresh;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.files = files;
        current.servers = read.servers;
        current.stamps = read.stamps;
        self.expires.store(read.expires, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
        read.warnings
    }

    /// The files that it has, if one of them has changed.
    pub fn look(&self) -> io::Result<Option<FreshTls>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let files = current.files.clone();
        drop(current);
        self.read(files)
    }

    /// How often others have been taken over.
    #[cfg(test)]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// When the first certificate expires: seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// By what a client knows the certificate of a server that has made its own: the SHA-256 of it, in hexadecimal digits.
    pub fn fingerprint(&self) -> Option<String> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut servers = current.servers.iter().flatten();
        servers.find_map(|server| server.fingerprint().map(str::to_owned))
    }
}

/// What was read, and holds when it is [taken over](TlsListeners::take_over).
pub struct FreshTls {
    files: Vec<Option<TlsFiles>>,
    read: Read,
}

impl CurrentTls {
    /// The servers that there are, by their files.
    fn known(&self) -> Vec<(TlsFiles, Arc<TlsServer>)> {
        let files = self.files.iter().cloned();
        let both = files.zip(self.servers.iter().cloned());
        both.filter_map(|(files, server)| files.zip(server))
            .collect()
    }
}

fn read(files: &[Option<TlsFiles>], known: &[(TlsFiles, Arc<TlsServer>)]) -> Result<Read, String> {
    let now = seconds_now();
    let stamps = stamps(files)?;
    let mut of_files: HashMap<&TlsFiles, Arc<TlsServer>> = HashMap::new();
    let mut warnings = Vec::new();
    for files in files.iter().flatten() {
        if of_files.contains_key(files) {
            continue;
        }
        let sources = sources(files)?;
        let earlier = known.iter().find(|(known, _)| known == files);
        let (server, own) = match earlier {
            Some((_, server)) => server.renewed(&sources, now)?,
            None => TlsServer::open(&sources, now)?,
        };
        warnings.extend(own);
        of_files.insert(files, Arc::new(server));
    }
    let expires = of_files.values().map(|server| server.expires()).min();
    let servers = files
        .iter()
        .map(|files| of_files.get(files.as_ref()?).cloned());
    Ok(Read {
        servers: servers.collect(),
        stamps,
        expires: expires.unwrap_or(i64::MAX),
        warnings,
    })
}

fn stamps(files: &[Option<TlsFiles>]) -> Result<Vec<Stamp>, String> {
    let mut stamps = Vec::new();
    for files in files.iter().flatten() {
        stamps.extend(sources(files)?.stamps()?);
    }
    stamps.sort();
    stamps.dedup();
    Ok(stamps)
}

/// What of a configuration is to be read.
pub(super) fn sources(files: &TlsFiles) -> Result<Sources, String> {
    let pairs = match (&files.certificate_file, &files.key_file) {
        (Some(certificate_file), key_file) => {
            let key_file = key_file.as_ref().unwrap_or(certificate_file);
            vec![Pair {
                certificate_file: certificate_file.clone(),
                key_file: key_file.clone(),
            }]
        }
        (None, Some(key_file)) => {
            return Err(format!(
                "tls.key_file is {}, and there is no tls.certificate_file",
                key_file.display()
            ));
        }
        (None, None) => Vec::new(),
    };
    Ok(Sources {
        pairs,
        folder: files.folder.clone(),
        client_ca_file: files.client_ca_file.clone(),
        ticket_keys_file: files.ticket_keys_file.clone(),
        self_signed: files.self_signed,
    })
}

/// By what files are known to another process.
fn named(files: &TlsFiles) -> String {
    format!("{files:?}")
}

/// Seconds since 1970.
pub(super) fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// One core's view of a server's TLS.
pub struct TlsAcceptor {
    shared: Arc<TlsListeners>,
    seen: u64,
    servers: Servers,
}

impl TlsAcceptor {
    pub fn new(shared: Arc<TlsListeners>) -> TlsAcceptor {
        let seen = shared.changes.load(Ordering::Acquire);
        let servers = shared.servers();
        TlsAcceptor {
            shared,
            seen,
            servers,
        }
    }

    /// Whether a listener speaks TLS.
    pub fn has(&self, listener: u16) -> bool {
        let server = self.servers.get(usize::from(listener));
        server.is_some_and(Option::is_some)
    }

    /// Begins the TLS of a connection of this listener, of which HTTP is spoken or not.
    pub fn begin(
        &mut self,
        listener: u16,
        is_http: bool,
    ) -> Option<Result<TlsConnection, TlsRefusal>> {
        let changes = self.shared.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.seen = changes;
            self.servers = self.shared.servers();
        }
        let server = self.servers.get(usize::from(listener))?.as_ref()?;
        let config = match is_http {
            true => server.http(),
            false => server.lines(),
        };
        Some(TlsConnection::new(config))
    }
}

impl TlsListeners {
    /// The keys of tickets, the newest first, by the files of the listeners that have them.
    pub fn ticket_secrets(&self) -> Vec<(String, Vec<TicketSecret>)> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let known = current.known().into_iter();
        let secrets = known
            .filter_map(|(files, server)| Some((named(&files), server.own_tickets()?.secrets())));
        let mut secrets: Vec<_> = secrets.collect();
        secrets.dedup_by(|one, other| one.0 == other.0);
        secrets
    }

    /// Goes on with those that another process has had for listeners with the same files. False if there are none here.
    pub fn take_ticket_secrets(&self, files: &str, secrets: Vec<TicketSecret>) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let known = current.known().into_iter();
        let mut same = known.filter(|(own, _)| named(own) == files);
        let server = same.next().map(|(_, server)| server);
        let tickets = server.as_ref().and_then(|server| server.own_tickets());
        tickets.is_some_and(|tickets| tickets.take_over(secrets))
    }

    fn servers(&self) -> Servers {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.servers)
    }
}
