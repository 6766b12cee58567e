//! Places of HTTP connections: where there are as many as may be, one that asks nothing goes for a newcomer.
//!
//! Bound: twice as many entries as there are such connections on this core, and some. Called by the transport for each
//! newcomer, and after each answer.

use std::collections::VecDeque;

use super::Transport;
use crate::app::host::Host;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::shard::{Exchange, Shard, TICK, Tick};

/// One that has asked nothing for less than this is about to ask, and keeps its place.
const IDLE_MIN: Tick = (5_000 / TICK.as_millis()) as Tick;
/// Entries that may be stale beside as many that are not.
const STALE_MAX: usize = 64;

/// Connections by when they began to ask nothing; some of them have asked, or are gone, by now.
#[derive(Default)]
pub struct Places(VecDeque<(ConnId, Tick)>);

impl Places {
    /// It asks nothing from now on.
    pub fn add(&mut self, shard: &Shard, id: ConnId) {
        self.0.push_back((id, shard.since(id)));
        if self.0.len() > 2 * shard.asking() + STALE_MAX {
            self.0.retain(|entry| is_idle(shard, *entry));
            self.0.shrink_to(STALE_MAX);
        }
    }

    /// The one that has asked nothing for longest, if that is a while, of those for which this holds.
    fn longest(&mut self, shard: &Shard, holds: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        while let Some(front) = self.0.front()
            && !is_idle(shard, *front)
        {
            self.0.pop_front();
        }
        let long = self
            .0
            .iter()
            .take_while(|(_, since)| shard.now() - since >= IDLE_MIN);
        let long = long.filter(|entry| is_idle(shard, **entry));
        long.map(|(id, _)| *id).find(|id| holds(*id))
    }
}

/// Whether it has asked nothing since.
fn is_idle(shard: &Shard, (id, since): (ConnId, Tick)) -> bool {
    let idles = matches!(shard.exchange(id), Some(Exchange::New | Exchange::Idle));
    idles && shard.since(id) == since
}

impl Transport {
    /// Ends a connection that asks nothing, for a newcomer of this listener. False if there is none that has for a while.
    pub(super) fn make_room(&mut self, host: &mut Host, listener: u16) -> bool {
        let shard = &*host.shard();
        let counted = |id| shard.listener_number(id);
        let admission = &self.admission;
        let longest = self.places.longest(shard, |id| {
            counted(id).is_some_and(|own| admission.are_counted_together(own, listener))
        });
        let Some(id) = longest else { return false };
        host.close(id, CloseReason::Idle);
        self.end(host, id);
        true
    }
}
