//! Who may come in: connections of each pool and of one address, counted across the cores, and opening
//! handshakes on this one.
//!
//! There are four [pools](Pool), each with a limit of its own: however many clients there are, a back end gets
//! in. What the cores share is touched when a connection comes and when it is gone: one atomic a pool (without a limit,
//! too, for one may be set while the server runs), and where a limit is set a table of addresses behind locks (many,
//! so that cores seldom meet). The count has to be exact and known at once, while the kernel may give one address' connections to any core.
//! Bound: an entry for each address that has a connection. Called by the transport and the HTTP port.

mod counters;
mod pool;
mod refusal_log;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{info, warn};

pub use self::counters::{ConnectionCounters, DescriptorRoom, key_of};
pub use self::pool::{CLIENTS_TOGETHER, EntryRules, HTTP_TOGETHER, Pool};
use self::pool::{POOLS, POOLS_ALL};
use self::refusal_log::RefusalLog;
use super::proxies::Proxies;
use crate::close::CloseReason;
use crate::config::Config;
use crate::migration::Counted;
use crate::protocol::http::HttpError;
use crate::unix_peer::{ShownPeer, UnixPeer};

/// Refused connections of one core that are still being told so. Further ones just end.
const TOLD_MAX: usize = 64;

/// The limits of each pool, and of clients and HTTP together.
fn limits(config: &Config, room: Option<DescriptorRoom>) -> ([usize; POOLS], usize) {
    let mut limits = POOLS_ALL.map(|pool| pool.connections_max(config));
    match room.filter(|_| config.max_connections == 0) {
        Some(room) => {
            limits[Pool::Clients as usize] = room.clients;
            (limits, room.with_http)
        }
        None => (limits, usize::MAX),
    }
}

/// The limits as one core keeps them.
pub struct Admission {
    counters: Arc<ConnectionCounters>,
    /// By pool.
    connections_max: [usize; POOLS],
    /// Of clients and HTTP together, where nobody has said how many clients there may be.
    together_max: usize,
    pub handshakes_max: usize,
    pub request_head_bytes_max: usize,
    pub proxies: Proxies,
    /// By listener.
    doors: Box<[EntryRules]>,
    /// Connections that are being told that they are refused.
    told: usize,
    log: RefusalLog,
}

impl Admission {
    pub fn new(
        config: &Config,
        counters: Arc<ConnectionCounters>,
        doors: &[EntryRules],
    ) -> Admission {
        let (connections_max, together_max) = limits(config, counters.room);
        Admission {
            counters,
            connections_max,
            together_max,
            handshakes_max: config.handshakes_max,
            request_head_bytes_max: config.request_head_bytes_max,
            proxies: Proxies::new(&config.trusted_proxies),
            doors: doors.into(),
            told: 0,
            log: RefusalLog::default(),
        }
    }

    /// Goes on with other limits. Connections keep what they count towards.
    pub fn renew(&mut self, config: &Config, doors: &[EntryRules]) {
        (self.connections_max, self.together_max) = limits(config, self.counters.room);
        self.handshakes_max = config.handshakes_max;
        self.request_head_bytes_max = config.request_head_bytes_max;
        self.proxies = Proxies::new(&config.trusted_proxies);
        self.doors = doors.into();
    }

    /// Whether descriptors leave none for one more of a pool, where they are the limit: clients leave some to HTTP, and
    /// both to back ends.
    fn is_full(&self, pool: Pool) -> bool {
        let clients = self.counters.count(Pool::Clients) + self.counters.count(Pool::HttpClients);
        match pool {
            Pool::Clients | Pool::HttpClients => {
                clients >= self.connections_max[Pool::Clients as usize]
            }
            Pool::Http => clients + self.counters.count(pool) >= self.together_max,
            Pool::BackEnds => false,
        }
    }

    /// Whether a pool is bounded by descriptors, and not by its key.
    fn is_room_of(&self, pool: Pool) -> bool {
        let key_max = self.connections_max[pool as usize];
        match pool {
            Pool::Clients => self.together_max < usize::MAX,
            Pool::Http | Pool::HttpClients => {
                self.together_max < usize::MAX && self.counters.count(pool) < key_max
            }
            Pool::BackEnds => false,
        }
    }

    fn door(&self, listener: u16) -> EntryRules {
        self.doors[usize::from(listener)]
    }

    pub fn is_proxied(&self, listener: u16) -> bool {
        self.door(listener).proxied
    }

    /// Whether this machine alone reaches it.
    pub fn is_on_loopback(&self, listener: u16) -> bool {
        self.door(listener).on_loopback
    }

    /// Whether those who come in by it are clients from then on.
    pub fn is_for_clients(&self, listener: u16) -> bool {
        self.door(listener).pool == Pool::Clients
    }

    /// Counts a newcomer, or says which limit keeps it out.
    pub fn enter(&mut self, listener: u16, peer: SocketAddr) -> Result<Counted, CloseReason> {
        let EntryRules { pool, proxied, .. } = self.door(listener);
        // Who may connect to a Unix socket, its owner and mode say.
        let is_known = UnixPeer::of(peer.ip()).is_some() || self.proxies.trust(peer.ip());
        if proxied && !self.proxies.is_empty() && !is_known {
            self.complain(
                listener,
                CloseReason::BadProxy,
                peer,
                "it is none of trusted_proxies",
            );
            return Err(CloseReason::BadProxy);
        }
        let max = self.connections_max[pool as usize];
        let most = if max == 0 { usize::MAX } else { max };
        // Two counts at a time may pass it by as many as there are cores, for which there is room.
        let is_full = self.together_max < usize::MAX && self.is_full(pool);
        if is_full || !self.counters.enter(pool, most) {
            self.complain(listener, CloseReason::ConnectionLimit, peer, "");
            return Err(CloseReason::ConnectionLimit);
        }
        // Behind a proxy the address that counts is told later.
        if proxied {
            return Ok(Counted::Connection);
        }
        self.enter_address(listener, peer)
            .inspect_err(|_| self.leave(listener, Counted::Connection, Some(peer)))
    }

    /// Counts one more connection of an address, unless it is a trusted proxy's.
    pub fn enter_address(
        &mut self,
        listener: u16,
        peer: SocketAddr,
    ) -> Result<Counted, CloseReason> {
        let door = self.door(listener);
        let max = door.per_address_max;
        if max == 0 || self.proxies.trust(peer.ip()) {
            return Ok(Counted::Connection);
        }
        let enters = self
            .counters
            .count_of(peer.ip(), door.counted_with, |count| {
                let enters = *count < max;
                *count += usize::from(enters);
                enters
            });
        if !enters {
            self.complain(listener, CloseReason::AddressLimit, peer, "");
            return Err(CloseReason::AddressLimit);
        }
        Ok(Counted::Address)
    }

    /// One that is counted so has shown to be a back end's: it takes a place of these, and gives its own back. An error if
    /// there is none.
    pub fn promote(
        &mut self,
        listener: u16,
        counted: &mut Counted,
        peer: SocketAddr,
    ) -> Result<(), CloseReason> {
        let own = *counted;
        if own.is_back_end() || own == Counted::Nothing {
            return Ok(());
        }
        let max = self.connections_max[Pool::Http as usize];
        let most = if max == 0 { usize::MAX } else { max };
        let is_full = self.together_max < usize::MAX && self.is_full(Pool::Http);
        if is_full || !self.counters.enter(Pool::Http, most) {
            self.complain(listener, CloseReason::ConnectionLimit, peer, "");
            return Err(CloseReason::ConnectionLimit);
        }
        let mut left = own;
        *counted = match own {
            // It stays counted where its address has a number on this listener.
            Counted::Address if self.has_own_limit(listener) => {
                left = Counted::Connection;
                Counted::BackEndOfAddress
            }
            Counted::Provisional if self.has_own_limit(listener) => {
                match self.enter_address(listener, peer) {
                    Ok(Counted::Address) => Counted::BackEndOfAddress,
                    Ok(_) => Counted::BackEnd,
                    Err(reason) => {
                        self.counters.leave(Pool::Http);
                        return Err(reason);
                    }
                }
            }
            _ => Counted::BackEnd,
        };
        self.leave(listener, left, Some(peer));
        Ok(())
    }

    /// Whether a listener has a number of its own for each address.
    pub fn has_own_limit(&self, listener: u16) -> bool {
        let door = self.door(listener);
        door.per_address_max > 0 && !matches!(door.counted_with, CLIENTS_TOGETHER | HTTP_TOGETHER)
    }

    /// Counts a request that a trusted proxy brings, as a connection of its client's. Whether it counts.
    pub fn enter_client(&mut self, listener: u16, client: SocketAddr) -> Result<bool, CloseReason> {
        let counted = self.enter_address(listener, client)?;
        Ok(counted == Counted::Address)
    }

    /// A connection is gone.
    pub fn leave(&mut self, listener: u16, counted: Counted, peer: Option<SocketAddr>) {
        match counted {
            Counted::Nothing => {
                self.told -= 1;
                return;
            }
            Counted::Provisional => return,
            Counted::BackEnd | Counted::BackEndOfAddress => self.counters.leave(Pool::Http),
            Counted::Connection | Counted::Address => {
                self.counters.leave(self.door(listener).pool);
            }
        }
        if counted.has_address()
            && let Some(peer) = peer
        {
            self.leave_address(listener, peer);
        }
    }

    /// One connection of an address is gone, or serves it no more.
    pub fn leave_address(&self, listener: u16, peer: SocketAddr) {
        let counted_with = self.door(listener).counted_with;
        self.counters
            .count_of(peer.ip(), counted_with, |count| *count -= 1);
    }

    /// Whether one that is refused may be told so. It counts as [`Counted::Nothing`] then.
    pub fn may_tell(&mut self) -> bool {
        let may = self.told < TOLD_MAX;
        self.told += usize::from(may);
        may
    }

    /// One that is in already has come from another process, whatever the limits are here.
    pub fn readmit(
        &mut self,
        listener: u16,
        counted: Counted,
        peer: SocketAddr,
        proxied_client: Option<SocketAddr>,
    ) {
        let one_more = |address: SocketAddr| {
            let counted_with = self.door(listener).counted_with;
            self.counters
                .count_of(address.ip(), counted_with, |count| *count += 1);
        };
        match counted {
            Counted::Nothing | Counted::Provisional => {}
            Counted::BackEnd | Counted::BackEndOfAddress => {
                self.counters.enter(Pool::Http, usize::MAX);
            }
            Counted::Connection | Counted::Address => {
                self.counters.enter(self.door(listener).pool, usize::MAX);
            }
        }
        if counted.has_address() {
            one_more(peer);
        }
        if let Some(proxied_client) = proxied_client {
            one_more(proxied_client);
        }
    }

    /// One that is being told that it is refused has come from another core.
    pub fn count_told(&mut self) {
        self.told += 1;
    }

    /// Says that a connection was refused, by which key or why, once a second for each limit.
    pub fn complain(&mut self, listener: u16, reason: CloseReason, peer: SocketAddr, cause: &str) {
        if let Some(more) = self.log.may_tell_of(reason) {
            let by = self.by_which(self.door(listener), reason, cause);
            let peer = ShownPeer(peer);
            warn!(%peer, more, "a connection was refused: {by}");
        }
    }

    /// Which key a connection was refused by, or why.
    fn by_which(&self, door: EntryRules, reason: CloseReason, cause: &str) -> String {
        match reason {
            CloseReason::ConnectionLimit if self.is_room_of(door.pool) => format!(
                "as many connections are there as descriptors leave room for beside back ends (clients {}, HTTP \
                 {}; ulimit -n, LimitNOFILE=)",
                self.counters.count(Pool::Clients),
                self.counters.count(Pool::Http) + self.counters.count(Pool::HttpClients)
            ),
            CloseReason::ConnectionLimit => {
                let max = self.connections_max[door.pool as usize];
                format!("{} = {max} are there", door.pool.key())
            }
            CloseReason::AddressLimit => format!(
                "connections_per_address_max = {} of its address are there",
                door.per_address_max
            ),
            CloseReason::HandshakeLimit => format!(
                "more than handshakes_max = {} are under way on a core, and it is the oldest",
                self.handshakes_max
            ),
            CloseReason::BadProxy => format!("proxy_protocol: {cause}"),
            _ => cause.to_owned(),
        }
    }

    /// Says that a request was refused, and why, once a second for each cause. The peer has been told, but who runs the
    /// server has not.
    pub fn explain(&mut self, peer: SocketAddr, error: HttpError) {
        let Some(more) = self.log.may_tell_of_request(error.text) else {
            return;
        };
        let HttpError { status, text } = error;
        let limit = match status {
            414 | 431 => format!(" (= {})", self.request_head_bytes_max),
            _ => String::new(),
        };
        let peer = ShownPeer(peer);
        info!(%peer, status, more, "a request was refused: {text}{limit}");
    }
}
