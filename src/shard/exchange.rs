//! Connections that ask by HTTP: where each is in asking and being answered ([`Exchange`]), and what is due for it then.
//!
//! They have no app and are in no table, and most counters leave them out. Such a connection is a slot like any other
//! otherwise: its answers are replies in their order, wait in its outbox, and its deadlines are on the wheel. It becomes
//! one of an app's by [`Shard::turn_into`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::deadlines::Due;
use super::slot::{Binding, Phase, Slot};
use super::wheel::{TICKS_SECOND, Tick};
use super::{ConnId, Shard, ShardLimits};
use crate::close::CloseReason;
use crate::protocol::http::HttpError;

/// One that asks nothing, or does not take its answer, for this long is closed.
const KEEP_ALIVE: Tick = 60 * TICKS_SECOND;

/// Time in which one without a place is to say what it wants.
const PROVISIONAL: Tick = TICKS_SECOND;

/// There is no place.
pub const FULL: HttpError = HttpError::new(
    503,
    "this server has as many HTTP connections as it may have",
);
const TOO_SLOW: HttpError = HttpError::new(408, "the request took too long to arrive");

/// Where a connection is in asking and being answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exchange {
    /// It has not asked anything yet.
    New,
    /// The same, and it has found no place: it gets a moment to show that it needs none.
    Provisional,
    /// A request is arriving.
    Arriving,
    /// One has come whole, and its answer is not known.
    Answering,
    /// What it has asked is answered.
    Idle,
}

/// Whether the end of one that asks is counted for this. That it has asked and been answered, or has gone, is not.
pub fn is_counted(reason: CloseReason) -> bool {
    !matches!(
        reason,
        CloseReason::Normal
            | CloseReason::Stopping
            | CloseReason::Protocol
            | CloseReason::Internal
            | CloseReason::Idle
            | CloseReason::HandshakeTimeout
            | CloseReason::ByPeer
            | CloseReason::Reset
    )
}

impl Slot {
    /// Whether it asks by HTTP, or has until it was to end.
    #[inline]
    pub fn is_http(&self) -> bool {
        matches!(self.binding, Binding::Http(_))
    }

    /// What is due while it asks.
    pub(super) fn http_due(&self, limits: &ShardLimits) -> Due {
        match self.binding {
            Binding::Http(Exchange::Provisional) => {
                Due::Close(self.since + PROVISIONAL, CloseReason::ConnectionLimit)
            }
            Binding::Http(Exchange::New | Exchange::Arriving) => {
                Due::Close(self.since + limits.handshake, CloseReason::HandshakeTimeout)
            }
            _ => Due::Close(self.since + KEEP_ALIVE, CloseReason::Idle),
        }
    }

    /// How long it may take to end. One that asks has the time for a request, for it may still be sending one that is
    /// answered already, and a reset would take the answer away; but while the server stops not longer than any other.
    pub(super) fn time_to_end(&self, limits: &ShardLimits) -> Tick {
        match self.is_http() && self.reason != CloseReason::Stopping {
            true => limits.handshake.max(limits.close),
            false => limits.close,
        }
    }

    /// Tells one whose request has not come in time, or that finds no place. Returns what that costs.
    pub(super) fn push_timeout(&mut self, asked: bool, reason: CloseReason) -> usize {
        let error = match (self.binding, reason) {
            _ if !asked => return 0,
            (Binding::Http(Exchange::Arriving), CloseReason::HandshakeTimeout) => TOO_SLOW,
            (Binding::Http(Exchange::Provisional), CloseReason::ConnectionLimit) => FULL,
            _ => return 0,
        };
        let answer = error.refusal();
        self.outbox
            .push_own(answer.len(), |out| out.extend_from_slice(&answer))
    }
}

impl Shard {
    /// A new connection of an HTTP listener.
    pub fn insert_http(&mut self, listener: u16, peer: SocketAddr) -> ConnId {
        let id = self.take(listener, peer);
        self.stats.connections -= 1;
        self.http_connections += 1;
        let slot = &mut self.slots[id.slot];
        slot.phase = Phase::Http;
        slot.binding = Binding::Http(Exchange::New);
        self.schedule(id);
        id
    }

    /// How many there are, those closing included.
    pub fn http_connections(&self) -> usize {
        self.http_connections
    }

    /// Where it is in asking, if it asks and is not to end.
    pub fn exchange(&self, id: ConnId) -> Option<Exchange> {
        let slot = self.get(id).filter(|slot| slot.phase == Phase::Http)?;
        match slot.binding {
            Binding::Http(exchange) => Some(exchange),
            _ => None,
        }
    }

    /// It has come to there.
    pub fn set_exchange(&mut self, id: ConnId, exchange: Exchange) {
        let now = self.now;
        if let Some(slot) = self.get_mut(id)
            && slot.phase == Phase::Http
        {
            slot.binding = Binding::Http(exchange);
            if exchange == Exchange::Idle {
                // Most connections that ask nothing go on so.
                slot.replies = None;
            }
            slot.since = now;
            self.schedule(id);
        }
    }

    /// When it came to where it is.
    pub fn since(&self, id: ConnId) -> Tick {
        self.get(id).map_or(0, |slot| slot.since)
    }

    /// The time that everything in this turn happens at.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// It becomes a connection of this listener, whose handshake is done next: another codec, on the same socket.
    pub fn turn_into(&mut self, id: ConnId, listener: u16) {
        let now = self.now;
        let Some(slot) = self.get_mut(id) else { return };
        assert_eq!(
            slot.phase,
            Phase::Http,
            "only one that asks becomes another"
        );
        let was = std::mem::replace(&mut slot.listener, listener);
        slot.phase = Phase::Opening;
        slot.binding = Binding::NotAsked;
        slot.replies = None;
        slot.since = now;
        slot.heard = now;
        *self.at_listener(was) -= 1;
        *self.at_listener(listener) += 1;
        self.http_connections -= 1;
        self.stats.connections += 1;
        self.stats.opening += 1;
        self.schedule(id);
    }

    /// The server stops: one that is closing is to be quick about it.
    pub fn hasten(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(slot) = self.get_mut(id)
            && slot.phase == Phase::Closing
            && slot.is_http()
            && slot.reason != CloseReason::Stopping
        {
            slot.reason = CloseReason::Stopping;
            slot.since = now;
            self.schedule(id);
        }
    }
}
