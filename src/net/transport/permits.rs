//! Permits of HTTP connections: where there are as many as may be, one that asks nothing goes for a newcomer.
//!
//! Where none does, the newcomer is provisional. Back ends have permits of their own, listening clients and websockets
//! those of clients, and health needs none; so a provisional connection that asks for one of these at once is served,
//! whoever has the others, and one that asks for something else, or dawdles, is told that there is no place. Of too many
//! provisional ones the oldest is.
//!
//! Bound: twice as many entries as there are such connections on this core, and some; [`PROVISIONAL_MAX`] provisional
//! ones. Called by the transport for each newcomer, and for each request's head.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::ident::ConnId;
use crate::shard::{Exchange, Shard, TICK, Tick};

/// One that has asked nothing for less than this is about to ask, and keeps its permit.
const IDLE_MIN: Tick = (5_000 / TICK.as_millis()) as Tick;
/// Entries that may be stale beside as many that are not.
const STALE_MAX: usize = 64;

/// See the module.
#[derive(Default)]
pub struct HttpPermits {
    /// Connections, by a time until when they had asked something; some of them have asked later, or are gone, by now.
    idle: VecDeque<(ConnId, Tick)>,
    /// Provisional ones as they came; some are so no more.
    pub(super) provisional: VecDeque<ConnId>,
    /// Clients of proxies that are believed, each counted while its request is under way: by connection, the listener and
    /// its address.
    clients: HashMap<ConnId, (u16, SocketAddr)>,
}

impl HttpPermits {
    /// A newcomer, which asks nothing yet.
    pub fn add(&mut self, shard: &Shard, id: ConnId) {
        self.idle.push_back((id, shard.connections.since(id)));
        if self.idle.len() > 2 * shard.connections.http_connections() + STALE_MAX {
            self.idle
                .retain(|(id, _)| shard.connections.exchange(*id).is_some());
            self.idle.shrink_to(STALE_MAX);
        }
    }

    /// One that has come from elsewhere.
    pub fn come_back(&mut self, shard: &Shard, id: ConnId) {
        match shard.connections.exchange(id) {
            Some(Exchange::Provisional) => self.provisional.push_back(id),
            _ => self.add(shard, id),
        }
    }

    /// A proxy's client is counted, for a request of this connection.
    pub fn add_client(&mut self, id: ConnId, listener: u16, client: SocketAddr) {
        self.clients.insert(id, (listener, client));
    }

    /// Whether a proxy's client is counted for this connection.
    pub fn has_client(&self, id: ConnId) -> bool {
        self.clients.contains_key(&id)
    }

    /// The client that is counted for this connection, which from now on is not: its listener and its address.
    pub fn take_client(&mut self, id: ConnId) -> Option<(u16, SocketAddr)> {
        match self.clients.is_empty() {
            true => None,
            false => self.clients.remove(&id),
        }
    }

    /// The one that has asked nothing for longest, if that is a while, of those for which this holds.
    pub fn longest(&mut self, shard: &Shard, holds: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        let is_long = |since: Tick| shard.clock.now().saturating_sub(since) >= IDLE_MIN;
        let (mut found, mut others) = (None, Vec::new());
        // By when they were noted: who has asked since then is noted anew, and comes up later.
        while let Some((id, noted)) = self.idle.front().copied()
            && is_long(noted)
        {
            self.idle.pop_front();
            let since = shard.connections.since(id);
            match shard.connections.exchange(id) {
                Some(Exchange::New | Exchange::Idle) if since > noted => {
                    self.idle.push_back((id, since));
                }
                Some(Exchange::New | Exchange::Idle) if holds(id) => {
                    found = Some(id);
                    break;
                }
                Some(Exchange::New | Exchange::Idle) => others.push((id, noted)),
                Some(_) => self.idle.push_back((id, shard.clock.now())),
                None => {}
            }
        }
        for entry in others.into_iter().rev() {
            self.idle.push_front(entry);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::close::CloseReason;
    use crate::config::Config;
    use crate::ident::NamespaceId;
    use crate::protocol::Codec;
    use crate::shard::ListenerSpec;

    fn shard() -> Shard {
        let spec = ListenerSpec {
            pauses: true,
            message_bytes_max: 0,
            outbox_bytes_max: 1_000,
            ..ListenerSpec::new(0, Codec::Http, NamespaceId(0))
        };
        Shard::new(&Config::default(), Rc::from([spec]), 1)
    }

    fn come(shard: &mut Shard, permits: &mut HttpPermits) -> ConnId {
        let id = shard.insert_http(0, ([127, 0, 0, 1], 1).into());
        permits.add(shard, id);
        id
    }

    #[test]
    fn who_has_asked_nothing_for_longest_goes() {
        let (mut shard, mut permits) = (shard(), HttpPermits::default());
        let [first, second, third] = [(); 3].map(|()| come(&mut shard, &mut permits));
        assert_eq!(permits.longest(&shard, |_| true), None);
        shard.clock.set_now(IDLE_MIN / 2);
        shard.set_exchange(first, Exchange::Idle);
        shard.clock.set_now(IDLE_MIN);
        // The first has asked since, and another is asking.
        shard.set_exchange(second, Exchange::Arriving);
        assert_eq!(permits.longest(&shard, |_| true), Some(third));
        shard.close(third, CloseReason::Idle);
        assert_eq!(permits.longest(&shard, |_| true), None);
        shard.set_exchange(second, Exchange::Idle);
        shard.clock.set_now(3 * IDLE_MIN);
        // Of those that it holds for; the others stay where they are.
        assert_eq!(permits.longest(&shard, |id| id == second), Some(second));
        assert_eq!(permits.longest(&shard, |_| true), Some(first));
        assert_eq!(permits.longest(&shard, |_| true), None);
    }

    #[test]
    fn those_gone_leave_no_entries() {
        let (mut shard, mut permits) = (shard(), HttpPermits::default());
        for _ in 0..10_000 {
            let id = come(&mut shard, &mut permits);
            shard.close(id, CloseReason::ByPeer);
            shard.remove(id);
        }
        assert!(permits.idle.len() <= 2 * STALE_MAX);
    }
}
