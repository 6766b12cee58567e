//! Requests with a wrong token of a back end, which are answered after a pause.
//!
//! A connection asks nothing meanwhile, so it tries once a second at most. Of one address so many pause at a time; more
//! are answered at once, so that strangers hold few connections. A right token is never kept waiting, whoever else comes
//! from its address. Bound: [`PAUSED_MAX`] a core and port.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::{HttpAnswer, Port, Routed};
use crate::log_limiter::LogLimiter;
use crate::net::admission::key_of;
use crate::protocol::http::Request;

/// Time until it is answered.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections of one address that pause.
const PAUSED_OF_ADDRESS_MAX: usize = 16;
/// Connections that pause.
const PAUSED_MAX: usize = 256;

/// Those of one port, by address.
#[derive(Default)]
pub struct Pausing {
    paused: RefCell<HashMap<u128, usize>>,
    log_limiter: RefCell<LogLimiter>,
}

/// One of them, for as long as it pauses.
struct PausePermit<'a>(&'a Pausing, u128);

impl Pausing {
    fn enter(&self, peer: SocketAddr) -> Option<PausePermit<'_>> {
        let mut paused = self.paused.borrow_mut();
        if paused.values().sum::<usize>() >= PAUSED_MAX {
            return None;
        }
        let address = key_of(peer.ip());
        let count = paused.entry(address).or_default();
        let may = *count < PAUSED_OF_ADDRESS_MAX;
        *count += usize::from(may);
        may.then(|| PausePermit(self, address))
    }
}

impl Drop for PausePermit<'_> {
    fn drop(&mut self) {
        let mut paused = self.0.paused.borrow_mut();
        if let Some(count) = paused.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                paused.remove(&self.1);
            }
        }
    }
}

impl Port {
    /// Whether it shows a token that is none which is known here. What proves who a client is, is another matter.
    pub(super) fn is_stranger(&self, request: &Request) -> bool {
        let listens = self.served.events_at(request.path()).is_some();
        !listens && self.access.is_wrong(request)
    }

    /// Keeps a stranger's answer back for a while, and says so.
    pub fn hold_back(self: &Rc<Port>, answer: HttpAnswer, peer: SocketAddr) -> Routed {
        if let Some(more) = self
            .pausing
            .log_limiter
            .borrow_mut()
            .may_log(Instant::now())
        {
            warn!(%peer, more, "a back end has shown a wrong token");
        }
        let port = Rc::clone(self);
        Routed::Later(Box::pin(async move {
            if let Some(_paused) = port.pausing.enter(peer) {
                port.pending_requests
                    .sleep_until(Instant::now() + PAUSE)
                    .await;
            }
            answer
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_address_so_many_and_no_more_in_all() {
        let pausing = Pausing::default();
        let peer = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), 1);
        let mut paused: Vec<_> = (0..20)
            .filter_map(|_| pausing.enter(peer("192.0.2.1")))
            .collect();
        assert_eq!(paused.len(), PAUSED_OF_ADDRESS_MAX);
        paused.pop();
        assert!(pausing.enter(peer("192.0.2.1")).is_some());
        for n in 0..400 {
            paused.extend(pausing.enter(peer(&format!("198.51.100.{}", n % 256))));
        }
        assert_eq!(paused.len(), PAUSED_MAX);
        drop(paused);
        assert!(pausing.paused.borrow().is_empty());
    }
}
