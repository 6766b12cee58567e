//! Connections that ask by HTTP, in the shard.
//!
//! They have no app and are in no table, and most counters leave them out. Such a connection is a slot like any other
//! otherwise: its answers are replies in their order, wait in its outbox, and its deadlines are on the wheel. It becomes
//! one of an app's by [`Shard::turn_into`].

use std::net::SocketAddr;

use super::Shard;
use super::exchange::{Exchange, FULL};
use super::slot::{Binding, Phase, Slot};
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::protocol::http::HttpError;

const TOO_SLOW: HttpError = HttpError::new(408, "the request took too long to arrive");

impl Slot {
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
        self.connections.http += 1;
        let slot = &mut self.connections.slots[id.slot];
        slot.phase = Phase::Http;
        slot.binding = Binding::Http(Exchange::New);
        self.schedule(id);
        id
    }

    /// It has come to there.
    pub fn set_exchange(&mut self, id: ConnId, exchange: Exchange) {
        let now = self.clock.now();
        if let Some(slot) = self.connections.get_mut(id)
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

    /// It becomes a connection of this listener, whose handshake is done next: another codec, on the same socket.
    pub fn turn_into(&mut self, id: ConnId, listener: u16) {
        let now = self.clock.now();
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
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
        self.connections.http -= 1;
        self.stats.connections += 1;
        self.stats.opening += 1;
        self.schedule(id);
    }

    /// One whose handshake is under way speaks `ringpost.v1`, which is this listener's codec.
    pub fn speak_v1(&mut self, id: ConnId, listener: u16) {
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        let was = std::mem::replace(&mut slot.listener, listener);
        *self.at_listener(was) -= 1;
        *self.at_listener(listener) += 1;
    }

    /// The server stops: one that is closing is to be quick about it.
    pub fn hasten(&mut self, id: ConnId) {
        let now = self.clock.now();
        if let Some(slot) = self.connections.get_mut(id)
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
