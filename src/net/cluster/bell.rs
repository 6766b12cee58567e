//! The doorbell of the cluster's mailbox, waited on by tokio: [`Bell`].

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::bus::{Doorbell, Eventfd};

struct BellRing(Arc<Doorbell<Eventfd>>);

impl AsRawFd for BellRing {
    fn as_raw_fd(&self) -> RawFd {
        self.0.ring().descriptor().as_raw_fd()
    }
}

/// See the module.
pub struct Bell(AsyncFd<BellRing>);

impl Bell {
    /// Within the thread's runtime.
    pub fn new(bell: &Arc<Doorbell<Eventfd>>) -> io::Result<Bell> {
        let ring = BellRing(Arc::clone(bell));
        // SAFETY: the descriptor is the doorbell's, always that same one, and open for as long as `ring` holds the doorbell.
        let watched = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        watched.map(Bell).map_err(Into::into)
    }

    /// Until it is rung. It may be so for no reason.
    pub async fn rung(&self) {
        if let Ok(mut ready) = self.0.readable().await {
            // Before it is made silent, so that a ring in between is not missed.
            ready.clear_ready();
        }
        self.0.get_ref().0.ring().drain();
    }
}
