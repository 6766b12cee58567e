//! Connections that have something to be read, in the order in which they are: [`ReadQueues`].
//!
//! Bound: each connection is in one of the queues, once (`Link::queued`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ident::ConnId;
use crate::net::connection::Link;
use crate::net::wire::READY_PER_TURN;

/// When the wire has had more events than were read for so long, deadlines are looked at even so.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Default)]
pub struct ReadQueues {
    /// Newcomers, and connections that the wire has reported and that a round had no room for.
    fresh: VecDeque<ConnId>,
    /// Connections with more to read than their helping, in a later turn.
    again: VecDeque<ConnId>,
    /// Connections whose TLS handshake is to go on.
    hellos: VecDeque<ConnId>,
    /// Since when the wire has had more events than were read.
    behind_since: Option<Instant>,
}

impl ReadQueues {
    /// Has one read that has had nothing read lately.
    pub fn push_fresh(&mut self, link: &mut Link) {
        link.queued = true;
        self.fresh.push_back(link.id);
    }

    /// Has one read on in a later turn, if it is not to be read anyway.
    pub fn push_again(&mut self, link: &mut Link) {
        if !link.queued {
            link.queued = true;
            self.again.push_back(link.id);
        }
    }

    /// Has one go on with its TLS handshake when it is its turn.
    pub fn push_hello(&mut self, link: &mut Link) {
        if !link.queued {
            link.queued = true;
            self.hellos.push_back(link.id);
        }
    }

    pub fn has_hellos(&self) -> bool {
        !self.hellos.is_empty()
    }

    pub fn next_hello(&mut self) -> Option<ConnId> {
        let next = self.hellos.pop_front();
        if next.is_none() {
            self.hellos.shrink_to(READY_PER_TURN);
        }
        next
    }

    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    pub fn next_fresh(&mut self) -> Option<ConnId> {
        self.fresh.pop_front()
    }

    /// How many are to be read on.
    pub fn again_count(&self) -> usize {
        self.again.len()
    }

    pub fn next_again(&mut self) -> Option<ConnId> {
        self.again.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.again.is_empty() && self.hellos.is_empty()
    }

    /// The wire has been asked: it had as many events as it gives at once, or not.
    pub fn took_ready(&mut self, is_full: bool, now: Instant) {
        match is_full || self.has_fresh() {
            true => drop(self.behind_since.get_or_insert(now)),
            false => self.behind_since = None,
        }
        self.fresh.shrink_to(READY_PER_TURN);
    }

    /// Those that were to be read on have been.
    pub fn trim_again(&mut self) {
        self.again.shrink_to(READY_PER_TURN);
    }

    /// Whether what the wire had has been read, or has not been for so long that it is no matter.
    pub fn has_caught_up(&self, now: Instant) -> bool {
        self.behind_since
            .is_none_or(|since| now.saturating_duration_since(since) > BEHIND_MAX)
    }
}
