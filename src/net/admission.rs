//! Who may come in: connections of the process and of one address, counted across its cores, and opening
//! handshakes on this one.
//!
//! What the cores share is touched when a connection comes and when it is gone, and only where a limit is
//! set: one atomic, and a table of addresses behind locks (many, so that cores seldom meet). The
//! count has to be exact and known at once, while the kernel may give one address' connections to any core.
//! Bound: an entry for each address that has a connection. Called by the transport.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ahash::RandomState;
use crossbeam_utils::CachePadded;
use tracing::warn;

use super::proxies::Proxies;
use crate::close::CloseReason;
use crate::config::Config;
use crate::hush::Hush;

/// Locks that the table of addresses is cut into.
const PARTS: usize = 64;
/// Refused connections of one core that are still being told so. Further ones just end.
const TOLD_MAX: usize = 64;

/// What a connection counts towards. Its end gives back just that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// None of the limits: it was refused, and is being told so.
    Nothing,
    /// The process' connections.
    Connection,
    /// Its address' connections, too.
    Address,
}

/// A part of the table: connections by address.
type Part = CachePadded<Mutex<HashMap<u128, usize, RandomState>>>;

/// The counts that all cores share.
pub struct Census {
    connections: AtomicUsize,
    parts: Box<[Part]>,
}

impl Census {
    pub fn new() -> Census {
        Census {
            connections: AtomicUsize::new(0),
            parts: (0..PARTS).map(|_| Part::default()).collect(),
        }
    }

    /// Counts one more connection, unless there are so many.
    fn enter(&self, max: usize) -> bool {
        // Never above the limit, not even for a moment: another core could refuse someone over it.
        let more = |count| (count < max).then_some(count + 1);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        self.connections.fetch_update(set, get, more).is_ok()
    }

    fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Does something with an address' count, which is dropped at zero.
    fn count_of<R>(&self, address: IpAddr, change: impl FnOnce(&mut usize) -> R) -> R {
        let key = key_of(address);
        // Any spread will do: two addresses of one part wait for each other for a moment at most.
        let part = (key ^ key >> 64 ^ key >> 80) as usize % PARTS;
        let mut counts = self.parts[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        let result = change(count);
        if *count == 0 {
            counts.remove(&key);
        }
        result
    }
}

/// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, the least that anyone with
/// IPv6 is given.
fn key_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

/// The limits as one core keeps them.
pub struct Admission {
    census: Arc<Census>,
    connections_max: usize,
    per_address_max: usize,
    pub handshakes_max: usize,
    pub proxies: Proxies,
    /// Whether a listener's connections begin with a PROXY protocol header.
    proxied: Box<[bool]>,
    /// Connections that are being told that they are refused.
    told: usize,
    /// Of connections refused, by limit.
    refusals: HashMap<CloseReason, Hush>,
}

impl Admission {
    /// `proxied` says of each listener whether its connections begin with a PROXY protocol header.
    pub fn new(config: &Config, census: Arc<Census>, proxied: &[bool]) -> Admission {
        Admission {
            census,
            connections_max: config.max_connections,
            per_address_max: config.connections_per_address_max,
            handshakes_max: config.handshakes_max,
            proxies: Proxies::new(&config.trusted_proxies),
            proxied: proxied.into(),
            told: 0,
            refusals: HashMap::new(),
        }
    }

    pub fn is_proxied(&self, listener: u16) -> bool {
        self.proxied[usize::from(listener)]
    }

    /// Counts a newcomer, or says which limit keeps it out.
    pub fn enter(&mut self, listener: u16, peer: SocketAddr) -> Result<Counted, CloseReason> {
        let proxied = self.is_proxied(listener);
        if proxied && !self.proxies.is_empty() && !self.proxies.trust(peer.ip()) {
            self.complain(CloseReason::BadProxy, peer, "it is none of trusted_proxies");
            return Err(CloseReason::BadProxy);
        }
        let max = self.connections_max;
        if max > 0 && !self.census.enter(max) {
            self.complain(CloseReason::ConnectionLimit, peer, "");
            return Err(CloseReason::ConnectionLimit);
        }
        // Behind a proxy the address that counts is told later.
        if proxied {
            return Ok(Counted::Connection);
        }
        self.enter_address(peer)
            .inspect_err(|_| self.leave(Counted::Connection, Some(peer)))
    }

    /// Counts one more connection of an address, unless it is a trusted proxy's.
    pub fn enter_address(&mut self, peer: SocketAddr) -> Result<Counted, CloseReason> {
        let max = self.per_address_max;
        if max == 0 || self.proxies.trust(peer.ip()) {
            return Ok(Counted::Connection);
        }
        let enters = self.census.count_of(peer.ip(), |count| {
            let enters = *count < max;
            *count += usize::from(enters);
            enters
        });
        if !enters {
            self.complain(CloseReason::AddressLimit, peer, "");
            return Err(CloseReason::AddressLimit);
        }
        Ok(Counted::Address)
    }

    /// A connection is gone.
    pub fn leave(&mut self, counted: Counted, peer: Option<SocketAddr>) {
        if counted == Counted::Nothing {
            self.told -= 1;
            return;
        }
        if self.connections_max > 0 {
            self.census.leave();
        }
        if counted == Counted::Address
            && let Some(peer) = peer
        {
            self.census.count_of(peer.ip(), |count| *count -= 1);
        }
    }

    /// Whether one that is refused may be told so. It counts as [`Counted::Nothing`] then.
    pub fn may_tell(&mut self) -> bool {
        let may = self.told < TOLD_MAX;
        self.told += usize::from(may);
        may
    }

    /// Says that a connection was refused, by which key or why, once a second for each limit.
    pub fn complain(&mut self, reason: CloseReason, peer: SocketAddr, cause: &str) {
        let hush = self.refusals.entry(reason).or_default();
        let Some(more) = hush.ends(Instant::now()) else {
            return;
        };
        let by = match reason {
            CloseReason::ConnectionLimit => {
                format!("max_connections = {} are there", self.connections_max)
            }
            CloseReason::AddressLimit => format!(
                "connections_per_address_max = {} of its address are there",
                self.per_address_max
            ),
            CloseReason::HandshakeLimit => format!(
                "more than handshakes_max = {} are under way on a core, and it is the oldest",
                self.handshakes_max
            ),
            CloseReason::BadProxy => format!("proxy_protocol: {cause}"),
            _ => cause.to_owned(),
        };
        warn!(%peer, more, "a connection was refused: {by}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(config: Config, census: &Arc<Census>) -> Admission {
        Admission::new(&config, Arc::clone(census), &[false, true])
    }

    fn peer(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 4660)
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let key = |ip: &str| key_of(ip.parse().unwrap());
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn of_one_address_so_many_on_any_core() {
        let census = Arc::new(Census::new());
        let config = || Config {
            connections_per_address_max: 2,
            ..Config::default()
        };
        let (mut one, mut other) = (admission(config(), &census), admission(config(), &census));
        let here = peer("192.0.2.1");
        assert_eq!(one.enter(0, here), Ok(Counted::Address));
        assert_eq!(other.enter(0, here), Ok(Counted::Address));
        assert_eq!(one.enter(0, here), Err(CloseReason::AddressLimit));
        assert_eq!(one.enter(0, peer("192.0.2.2")), Ok(Counted::Address));
        // It ends on another core than it began.
        other.leave(Counted::Address, Some(here));
        other.leave(Counted::Address, Some(here));
        assert_eq!(other.enter(0, here), Ok(Counted::Address));
        one.leave(Counted::Address, Some(here));
        one.leave(Counted::Address, Some(peer("192.0.2.2")));
        let left: usize = census
            .parts
            .iter()
            .map(|part| part.lock().unwrap().len())
            .sum();
        assert_eq!(left, 0, "addresses without a connection are kept");
    }

    #[test]
    fn who_is_refused_for_its_address_is_no_connection() {
        let census = Arc::new(Census::new());
        let config = Config {
            max_connections: 2,
            connections_per_address_max: 1,
            ..Config::default()
        };
        let mut admission = admission(config, &census);
        assert!(admission.enter(0, peer("192.0.2.1")).is_ok());
        for _ in 0..5 {
            let again = admission.enter(0, peer("192.0.2.1"));
            assert_eq!(again, Err(CloseReason::AddressLimit));
        }
        assert!(admission.enter(0, peer("192.0.2.2")).is_ok());
        let third = admission.enter(0, peer("192.0.2.3"));
        assert_eq!(third, Err(CloseReason::ConnectionLimit));
    }

    #[test]
    fn proxies_have_no_limit_of_their_own() {
        let census = Arc::new(Census::new());
        let config = Config {
            connections_per_address_max: 1,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::default()
        };
        let mut admission = admission(config, &census);
        for _ in 0..3 {
            assert_eq!(
                admission.enter(0, peer("10.0.0.1")),
                Ok(Counted::Connection)
            );
            assert_eq!(
                admission.enter(1, peer("10.0.0.1")),
                Ok(Counted::Connection)
            );
        }
        let stranger = admission.enter(1, peer("192.0.2.1"));
        assert_eq!(stranger, Err(CloseReason::BadProxy));
    }

    #[test]
    fn cores_that_count_at_once_never_pass_the_limit() {
        let census = Census::new();
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if census.enter(3) {
                            most.fetch_max(
                                census.connections.load(Ordering::Relaxed),
                                Ordering::Relaxed,
                            );
                            census.leave();
                        }
                    }
                });
            }
        });
        assert_eq!(census.connections.load(Ordering::Relaxed), 0);
        assert!((1..=3).contains(&most.into_inner()));
    }
}
