//! Connections that have shown no token, or a wrong one.
//!
//! Whoever shows a wrong one is told so after a pause, and then closed; meanwhile nothing of it is looked at, so that it
//! tries once a second at most. Of one address so many pause at a time; more are told at once. A right token is never
//! kept waiting, whoever else comes from its address: behind a proxy that is everybody. Bound: [`PAUSED_MAX`] a core.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use ringpost::ident::{ConnId, Reply};
use ringpost::unix_peer::ShownPeer;

/// Time until a wrong token is answered.
pub const PAUSE: Duration = Duration::from_secs(1);
/// Connections of one address that pause on a core.
const PAUSED_OF_ADDRESS_MAX: usize = 16;
/// Connections that pause on a core.
const PAUSED_MAX: usize = 256;
/// The least time between two lines of the log.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// One core's.
#[derive(Default)]
pub struct Strangers {
    /// Those that have not shown one.
    silent: AHashSet<ConnId>,
    /// Those that wait for the answer to a wrong one.
    paused: AHashMap<ConnId, (Reply, u128)>,
    of_address: AHashMap<u128, usize>,
    next_line: Option<Instant>,
    unsaid: u64,
}

impl Strangers {
    /// One has come.
    pub fn enter(&mut self, connection: ConnId) {
        self.silent.insert(connection);
    }

    /// It has said something. False if it had before.
    pub fn speaks(&mut self, connection: ConnId) -> bool {
        self.silent.remove(&connection)
    }

    /// It pauses before it gets this answer, unless too many do.
    pub fn pause(
        &mut self,
        connection: ConnId,
        peer: SocketAddr,
        place: Reply,
    ) -> Result<(), Reply> {
        let address = key_of(peer.ip());
        let count = self.of_address.get(&address).copied().unwrap_or(0);
        if count >= PAUSED_OF_ADDRESS_MAX || self.paused.len() >= PAUSED_MAX {
            return Err(place);
        }
        self.of_address.insert(address, count + 1);
        self.paused.insert(connection, (place, address));
        Ok(())
    }

    /// Its pause is over, or it has gone: the place of its answer, if it was one of those.
    pub fn end_pause(&mut self, connection: ConnId) -> Option<Reply> {
        let (place, address) = self.paused.remove(&connection)?;
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
        Some(place)
    }

    /// It is gone.
    pub fn leave(&mut self, connection: ConnId) {
        self.silent.remove(&connection);
        self.end_pause(connection);
    }

    /// Says that a token was wrong, once a second.
    pub fn tell(&mut self, peer: SocketAddr) {
        let now = Instant::now();
        if self.next_line.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return;
        }
        self.next_line = Some(now + LINE_INTERVAL);
        let more = std::mem::take(&mut self.unsaid);
        let peer = ShownPeer(peer);
        tracing::warn!(%peer, more, "a back end has shown a wrong token");
    }
}

/// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits.
fn key_of(address: IpAddr) -> u128 {
    let bits = |address: Ipv6Addr| u128::from(address);
    match address.to_canonical() {
        IpAddr::V4(address) => bits(address.to_ipv6_mapped()),
        IpAddr::V6(address) => bits(address) >> 64 << 64,
    }
}
