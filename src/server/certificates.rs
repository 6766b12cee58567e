//! The files of certificates, looked at once a minute ([`LOOK_INTERVAL`]) while a server runs: [`CertificateWatch`], a
//! thread.
//!
//! Whoever renews certificates replaces files, and need not tell. A mistake changes nothing, and is logged once a minute
//! until it is mended.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tracing::{error, info, warn};

use super::start_error::named;
use crate::tls::{FreshTls, TlsListeners};

/// Between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// See the module. It ends when this is dropped.
pub struct CertificateWatch {
    _end: Sender<()>,
}

impl CertificateWatch {
    pub fn start(tls: Arc<TlsListeners>, interval: Duration) -> io::Result<CertificateWatch> {
        let (end, ended) = mpsc::channel();
        let watch = move || {
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                match tls.look() {
                    Ok(fresh) => take_over(&tls, fresh),
                    Err(error) => error!("TLS: {error}; the certificates stay what they were"),
                }
            }
        };
        let thread = thread::Builder::new().name("certificates".into());
        thread
            .spawn(watch)
            .map_err(|error| named("no thread for certificates", &error))?;
        Ok(CertificateWatch { _end: end })
    }
}

/// Has it go on with what was read, if something was, and tells the log.
pub fn take_over(tls: &TlsListeners, fresh: Option<FreshTls>) {
    let Some(fresh) = fresh else { return };
    let warnings = tls.take_over(fresh);
    info!("TLS: the certificates have been read anew, for connections to come");
    for warning in warnings {
        warn!("TLS: {warning}");
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use super::*;
    use crate::config::TlsFiles;
    use crate::tls::check_files;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Puts a certificate of `tests/certificates` in the place of the one in a folder, in one step, as those who renew do.
    fn put(folder: &Path, names: [&str; 2]) {
        let of_tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
        for (from, to) in names.into_iter().zip(["own.key", "own.pem"]) {
            let fresh = folder.join("fresh");
            fs::copy(of_tests.join(from), &fresh).expect("a copy");
            fs::rename(fresh, folder.join(to)).expect("a new name");
        }
    }

    fn expires(name: &str) -> i64 {
        let of_tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
        let path = |end: &str| of_tests.join(format!("{name}.{end}"));
        let checked = check_files(&TlsFiles::new(path("pem"), path("key"))).expect("a pair");
        let since = checked
            .expires
            .expect("a time")
            .duration_since(std::time::UNIX_EPOCH);
        since.expect("after 1970").as_secs() as i64
    }

    #[test]
    fn new_files_are_found_without_a_word_and_a_mistake_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("ringpost-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        put(&folder, ["p256.key", "p256.pem"]);
        let files = TlsFiles::new(folder.join("own.pem"), folder.join("own.key"));
        let (tls, _) = TlsListeners::open(vec![Some(files)]).expect("a pair");
        let tls = tls.expect("a listener that speaks it");
        let watch = CertificateWatch::start(Arc::clone(&tls), Duration::from_millis(5));
        let await_change = |changes: u64| {
            let start = Instant::now();
            while tls.changes() < changes {
                assert!(start.elapsed() < PATIENCE, "{changes} changes");
                thread::sleep(Duration::from_millis(1));
            }
        };
        assert_eq!((tls.changes(), tls.expires()), (0, expires("p256")));
        // The key comes first. Between the two they do not fit, which is a mistake that is mended.
        put(&folder, ["other.key", "other.pem"]);
        await_change(1);
        assert_eq!(tls.expires(), expires("other"));
        put(&folder, ["p384.key", "p384.key"]);
        let read = tls.look();
        assert!(read.is_err_and(|error| error.to_string().contains("no certificate")));
        thread::sleep(Duration::from_millis(50));
        assert_eq!((tls.changes(), tls.expires()), (1, expires("other")));
        put(&folder, ["p384.key", "p384.pem"]);
        await_change(2);
        assert_eq!(tls.expires(), expires("p384"));
        drop(watch);
        let _ = fs::remove_dir_all(folder);
    }
}
