//! Places of HTTP connections: where a port has as many as it may, one that asks nothing goes for a newcomer.
//!
//! Called by the port for each connection, and after each answer. Nothing is kept but a time for each connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::gate::{Guest, Refusal};
use super::{KEEP_ALIVE, Port, shut_down};
use crate::close::CloseReason;
use crate::protocol::http::HttpError;

/// One that has asked nothing for less than this is about to ask, and keeps its place.
const IDLE_MIN: Duration = Duration::from_secs(5);
/// Rounds of the core in which a connection that was ended is gone.
const ROUNDS_TO_END: usize = 8;

impl Port {
    /// It asks nothing for now.
    pub(super) fn be_idle(&self, key: usize) {
        self.set_deadline(key, KEEP_ALIVE);
        if let Some(deadline) = self.deadlines.borrow_mut().get_mut(key) {
            deadline.idle_since = Some(Instant::now());
        }
    }

    /// Lets a newcomer in. If there are too many already, one of those on this core that ask nothing goes for it: the
    /// one that has asked nothing for longest.
    pub(super) async fn enter(&self, peer: SocketAddr) -> Result<Guest<'_>, Refusal> {
        let entered = self.gate.enter(peer);
        match &entered {
            Err(refusal)
                if refusal.reason == Some(CloseReason::ConnectionLimit) && self.end_idle() => {}
            _ => return entered,
        }
        for _ in 0..ROUNDS_TO_END {
            // Its task sees its end in one of the next rounds.
            if self.pass.give_way().await.is_err() || self.gate.has_room() {
                break;
            }
        }
        self.gate.enter(peer)
    }

    /// Ends the connection that has asked nothing for longest. False if there is none that has for a while.
    fn end_idle(&self) -> bool {
        let mut deadlines = self.deadlines.borrow_mut();
        let idle = deadlines.iter_mut().map(|(_, deadline)| deadline);
        let idle = idle.filter_map(|deadline| Some((deadline.idle_since?, deadline)));
        let longest = idle.min_by_key(|(since, _)| *since);
        let Some((_, deadline)) = longest.filter(|(since, _)| since.elapsed() >= IDLE_MIN) else {
            return false;
        };
        deadline.idle_since = None;
        shut_down(deadline.socket, libc::SHUT_RDWR);
        true
    }

    /// Counts what is turned away, and gives the answer to it.
    pub(super) fn refuse(&self, refusal: &Refusal) -> HttpError {
        if let Some(reason) = refusal.reason {
            let mut host = self.host.borrow_mut();
            host.shard().count_refused(reason);
        }
        refusal.answer
    }
}
