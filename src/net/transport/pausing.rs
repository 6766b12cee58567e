//! Connections that are not read for now, and when they are again.
//!
//! Bound: a round looks at [`LOOKED_AT`] of them, and at none while nothing
//! has changed that could let one go on.

use std::sync::LazyLock;
use std::time::Duration;

use tracing::info;

use super::Transport;
use super::paused::Pause;
use crate::app::host::{Flow, Host};
use crate::ident::ConnId;
use crate::log_limiter::SharedLogLimiter;
use crate::stats::Hold;
use crate::unix_peer::ShownPeer;

/// Looked at in one round, some 30 µs.
const LOOKED_AT: usize = 1_024;
/// Places that the list keeps when it is empty.
const KEPT: usize = 64;

/// How often it is said, by all cores together, that somebody is slowed.
static SAID: LazyLock<SharedLogLimiter> =
    LazyLock::new(|| SharedLogLimiter::every(Duration::from_secs(60)));

impl Transport {
    pub(super) fn pause(&mut self, host: &mut Host, id: ConnId) {
        let hold = host.hold(id).unwrap_or(Hold::Memory);
        if host.shard().set_paused(id, true) {
            let counted = host.now();
            self.paused.push(Pause { id, hold, counted });
            host.shard().stats.pauses += 1;
            if !host.is_binding(id)
                && let Some(more) = SAID.may_log(counted)
            {
                let listener = host.shard().connections.listener_number(id);
                let peer = host
                    .shard()
                    .connections
                    .peer(id)
                    .map(ShownPeer)
                    .map(tracing::field::display);
                let reason = hold.name();
                info!(
                    listener,
                    peer,
                    reason,
                    more,
                    "a connection is not read for a while: it sends faster than what it sends can be passed on \
                     (ringpost_paused_seconds_total tells whom it costs how much)"
                );
            }
            if let Some(rates) = &mut self.rates {
                rates.fall_behind(id, counted);
            }
        }
    }

    /// One that has come was paused already.
    pub(super) fn stay_paused(&mut self, host: &Host, id: ConnId) {
        let hold = host.hold(id).unwrap_or(Hold::Memory);
        let counted = host.now();
        self.paused.push(Pause { id, hold, counted });
    }

    /// Lets those be read that may be again, and ends what has its answers.
    pub fn resume(&mut self, host: &mut Host) {
        if !self.stage.is_quiet && self.paused.wants_look(host) {
            for _ in 0..self.paused.unseen.min(LOOKED_AT) {
                self.paused.unseen -= 1;
                if let Some(pause) = self.paused.pop() {
                    self.look_at(host, pause);
                }
            }
            self.paused.list.shrink_to(KEPT.max(self.paused.list.len()));
        }
        host.bus().want_credit(!self.paused.list.is_empty());
        if !self.paused.half_closed.is_empty() {
            let half_closed = std::mem::take(&mut self.paused.half_closed);
            for id in half_closed {
                match host.flow(id) {
                    Flow::Gone | Flow::End => {}
                    _ => self.reached_end(host, id),
                }
            }
        }
    }

    /// One that is paused is read on, behind those that wait for that already, or stays where it is.
    fn look_at(&mut self, host: &mut Host, mut pause: Pause) {
        let now = host.now();
        let Some(listener) = host.shard().connections.shown_listener(pause.id) else {
            return;
        };
        let time = now.saturating_duration_since(pause.counted);
        host.shard().stats.count_pause(listener, pause.hold, time);
        if host.flow(pause.id) == Flow::Pause {
            pause.counted = now;
            pause.hold = host.hold(pause.id).unwrap_or(pause.hold);
            self.paused.push(pause);
        } else {
            host.shard().set_paused(pause.id, false);
            self.read_later(pause.id);
        }
    }

    /// Whether a connection that was paused may be one to be read now.
    pub fn can_resume(&mut self, host: &Host) -> bool {
        !self.stage.is_quiet && self.paused.wants_look(host)
    }
}
