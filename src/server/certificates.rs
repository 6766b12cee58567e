//! The files of certificates, looked at once a minute while a server runs: [`CertificateWatch`], a thread.
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
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// See the module. It ends when this is dropped.
pub struct CertificateWatch {
    _end: Sender<()>,
}

impl CertificateWatch {
    pub fn start(tls: Arc<TlsListeners>) -> io::Result<CertificateWatch> {
        let (end, ended) = mpsc::channel();
        let watch = move || {
            while ended.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
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
