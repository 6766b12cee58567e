//! Binds that are refused, on the log: why, once a second for each reason. [`BindRefusals`].
//!
//! Bound: there are as many reasons as there are faults, and none quotes what was sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use tracing::info;

use super::outcome::BindError;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::log_limiter::LogLimiter;
use crate::unix_peer::ShownPeer;

/// See the module.
#[derive(Default)]
pub struct BindRefusals {
    /// Of binds that an app has refused.
    by_apps: LogLimiter,
    /// Of binds that were refused here, by the reason.
    reasons: HashMap<String, LogLimiter>,
    /// The connection whose reason has been told last.
    told: Option<ConnId>,
}

impl BindRefusals {
    /// Tells why a connection may not be who it wants to be: what it is told itself is no more than a code.
    #[cold]
    pub fn tell(&mut self, id: ConnId, peer: Option<SocketAddr>, error: &BindError) {
        self.told = Some(id);
        let Some(peer) = peer else { return };
        let log_limiter = self.reasons.entry(error.to_string()).or_default();
        if let Some(more) = log_limiter.may_log(Instant::now()) {
            let peer = ShownPeer(peer);
            info!(%peer, more, "a bind was refused: {error}");
        }
    }

    /// A connection has ended for its bind. If that has not been told of, an app has refused it.
    #[cold]
    pub fn ended(&mut self, id: ConnId, peer: Option<SocketAddr>, reason: CloseReason) {
        if self.told != Some(id)
            && let Some(peer) = peer
            && let Some(more) = self.by_apps.may_log(Instant::now())
        {
            let peer = ShownPeer(peer);
            info!(%peer, %reason, more, "a bind was refused");
        }
    }
}
