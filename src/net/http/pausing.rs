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

use super::HttpAnswer;
use super::pending::{AnswerFuture, PendingRequests};
use crate::log_limiter::LogLimiter;
use crate::net::admission::key_of;
use crate::unix_peer::ShownPeer;

/// Time until it is answered.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections of one address that pause.
const PAUSED_OF_ADDRESS_MAX: usize = 16;
/// Connections that pause.
const PAUSED_MAX: usize = 256;

/// Those of one port, by address.
pub struct Pausing {
    pending_requests: Rc<PendingRequests>,
    paused: RefCell<HashMap<u128, usize>>,
    log_limiter: RefCell<LogLimiter>,
}

/// One of them, for as long as it pauses.
struct PausePermit<'a>(&'a Pausing, u128);

impl Pausing {
    /// None yet, of a core with these requests.
    pub fn new(pending_requests: Rc<PendingRequests>) -> Pausing {
        Pausing {
            pending_requests,
            paused: RefCell::default(),
            log_limiter: RefCell::default(),
        }
    }

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

    /// This answer, after the pause; and a line of the log.
    pub fn hold_back(self: Rc<Self>, answer: HttpAnswer, peer: SocketAddr) -> AnswerFuture {
        let may_log = self.log_limiter.borrow_mut().may_log(Instant::now());
        if let Some(more) = may_log {
            let peer = ShownPeer(peer);
            warn!(%peer, more, "a back end has shown a wrong token");
        }
        Box::pin(async move {
            if let Some(_paused) = self.enter(peer) {
                let until = Instant::now() + PAUSE;
                self.pending_requests.sleep_until(until).await;
            }
            answer
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_address_so_many_and_no_more_in_all() {
        let pausing = Pausing::new(Rc::default());
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
