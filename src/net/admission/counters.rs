//! The counts of connections that all cores share: [`ConnectionCounters`].
//!
//! One atomic a pool, and a table of addresses behind locks: many, so that cores seldom meet. Bound: an entry for each
//! address that has a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use crossbeam_utils::CachePadded;

use super::pool::{POOLS, Pool};

/// Locks that the table of addresses is cut into.
const PARTS: usize = 64;
/// A part of the table: connections by address, and by the number of the doors that are added up.
type AddressCounts = CachePadded<Mutex<HashMap<(u128, u16), usize, RandomState>>>;

/// How many connections the process' descriptors hold, where `max_connections` leaves that to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DescriptorRoom {
    /// Clients, so that back ends and HTTP find some left.
    pub clients: usize,
    /// Clients and HTTP connections together, so that back ends do.
    pub with_http: usize,
}

/// The counts that all cores share.
pub struct ConnectionCounters {
    pub room: Option<DescriptorRoom>,
    connections: [CachePadded<AtomicUsize>; POOLS],
    parts: Box<[AddressCounts]>,
}

impl ConnectionCounters {
    /// Without connections. Where no limit of clients is configured, room is left for others.
    pub fn new(room: Option<DescriptorRoom>) -> ConnectionCounters {
        ConnectionCounters {
            room,
            connections: Default::default(),
            parts: (0..PARTS).map(|_| AddressCounts::default()).collect(),
        }
    }

    /// Counts one more connection of a pool, unless there are so many.
    pub fn enter(&self, pool: Pool, max: usize) -> bool {
        // Never above the limit, not even for a moment: another core could refuse someone over it.
        let more = |count| (count < max).then_some(count + 1);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        self.connections[pool as usize]
            .fetch_update(set, get, more)
            .is_ok()
    }

    /// How many there are of a pool.
    pub fn count(&self, pool: Pool) -> usize {
        self.connections[pool as usize].load(Ordering::Relaxed)
    }

    /// One of a pool is gone.
    pub fn leave(&self, pool: Pool) {
        self.connections[pool as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Addresses that are counted.
    #[cfg(test)]
    pub fn addresses(&self) -> usize {
        let parts = self.parts.iter();
        parts.map(|part| part.lock().unwrap().len()).sum()
    }

    /// Does something with an address' count, which is dropped at zero.
    pub fn count_of<R>(
        &self,
        address: IpAddr,
        counted_with: u16,
        change: impl FnOnce(&mut usize) -> R,
    ) -> R {
        let key = key_of(address);
        // Any spread will do: two addresses of one part wait for each other for a moment at most.
        let part = (key ^ key >> 64 ^ key >> 80) as usize % PARTS;
        let mut counts = self.parts[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (key, counted_with);
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
pub fn key_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}
