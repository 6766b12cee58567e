//! What is due for a connection, and when: [`Due`]. Each is computed from when something last happened.

use super::exchange::Exchange;
use super::limits::ShardLimits;
use super::listener_spec::ListenerSpec;
use super::slot::{Binding, Phase, Slot};
use super::wheel::{TICKS_SECOND, Tick};
use crate::close::CloseReason;

/// One that asks nothing, or does not take its answer, for this long is closed.
const KEEP_ALIVE: Tick = 60 * TICKS_SECOND;

/// Time in which one without a place is to say what it wants.
const PROVISIONAL: Tick = TICKS_SECOND;

/// A closing connection that takes its last messages slowly is cut off after this many `close_timeout`s.
const CLOSE_TIMEOUTS_MAX: Tick = 10;

/// What is due for a connection, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Never,
    Ping(Tick),
    Close(Tick, CloseReason),
    CutOff(Tick),
}

impl Due {
    pub fn tick(self) -> Option<Tick> {
        match self {
            Due::Never => None,
            Due::Ping(tick) | Due::Close(tick, _) | Due::CutOff(tick) => Some(tick),
        }
    }
}

/// Idle checks happen once a second.
fn whole_second(tick: Tick) -> Tick {
    tick.div_ceil(TICKS_SECOND).saturating_mul(TICKS_SECOND)
}

/// What is due for a connection next, but for what it has proved and has not taken.
pub fn next_due(slot: &Slot, spec: &ListenerSpec, limits: &ShardLimits) -> Due {
    match slot.phase {
        Phase::Free => Due::Never,
        Phase::Http => slot.http_due(limits),
        // While we do not read it, its silence is ours.
        Phase::Opening | Phase::Open | Phase::Home if slot.paused => Due::Never,
        Phase::Opening => Due::Close(slot.since + limits.handshake, CloseReason::HandshakeTimeout),
        Phase::Open if !spec.binds || !spec.codec.hears() => Due::Never,
        Phase::Open => Due::Close(slot.since + limits.login, CloseReason::LoginTimeout),
        Phase::Closing => Due::CutOff(
            (slot.since + slot.time_to_end(limits)).min(
                slot.heard
                    .saturating_add(slot.time_to_end(limits).saturating_mul(CLOSE_TIMEOUTS_MAX)),
            ),
        ),
        Phase::Home if !spec.binds => Due::Never,
        // It had one, and has the time of a login for another.
        Phase::Home if slot.uid.is_none() && !spec.optional && spec.codec.hears() => {
            Due::Close(slot.since + limits.login, CloseReason::LoginTimeout)
        }
        Phase::Home => {
            let idle = whole_second(slot.heard + limits.idle);
            let quiet_since = slot.heard.max(slot.since);
            let ping = whole_second(quiet_since + limits.ping);
            let pings = limits.ping > 0 && spec.codec.pings();
            match (limits.idle > 0 && spec.codec.hears(), pings) {
                (true, true) if ping < idle => Due::Ping(ping),
                (true, _) => Due::Close(idle, CloseReason::Idle),
                (false, true) => Due::Ping(ping),
                (false, false) => Due::Never,
            }
        }
    }
}

impl Slot {
    /// What is due while it asks.
    fn http_due(&self, limits: &ShardLimits) -> Due {
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
    fn time_to_end(&self, limits: &ShardLimits) -> Tick {
        match self.is_http() && self.reason != CloseReason::Stopping {
            true => limits.handshake.max(limits.close),
            false => limits.close,
        }
    }
}
