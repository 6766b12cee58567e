//! [`UnixPeer`]: who is at the other end of a Unix socket, in the form of an address.
//!
//! A connection by a Unix socket has no address, and limits, lists and logs are by address. So it gets one that nobody
//! else has: `100:0:UID:PID:NUMBER`, 32 bits each, of a block that is reserved (RFC 4291, 2.4) and no network has. The
//! user is in its first half, which is what limits count by. The number keeps connections apart. Made by the listener
//! that accepts; a peer of TCP, or a proxy, that claims one is refused.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Serialize, Serializer};

/// The first 32 bits.
const BLOCK: u128 = 0x0100_0000 << 96;
/// The block as people and `trusted_proxies` write it, and as a network.
pub const UNIX_NETWORK: &str = "100::/32";

/// Who is at the other end of a Unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnixPeer {
    /// The user that connected, as the kernel knows it (unix(7), SO_PEERCRED).
    pub uid: u32,
    /// The process that did.
    pub pid: u32,
    /// No other connection of that process has it, for as long as 2³² come.
    pub number: u32,
}

impl UnixPeer {
    /// The address that stands for it. Its port is a part of the number, which keeps apart those whom a proxy brings.
    pub fn address(self) -> SocketAddr {
        let UnixPeer { uid, pid, number } = self;
        let bits = BLOCK | u128::from(uid) << 64 | u128::from(pid) << 32 | u128::from(number);
        SocketAddr::new(IpAddr::V6(Ipv6Addr::from(bits)), number as u16)
    }

    /// Whom an address stands for; `None` if it is one of IP.
    pub fn of(address: IpAddr) -> Option<UnixPeer> {
        let IpAddr::V6(address) = address else {
            return None;
        };
        let bits = u128::from(address);
        (bits >> 96 == BLOCK >> 96).then_some(UnixPeer {
            uid: (bits >> 64) as u32,
            pid: (bits >> 32) as u32,
            number: bits as u32,
        })
    }

    /// The network that all connections of a user are in.
    pub fn network_of_user(uid: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(BLOCK | u128::from(uid) << 64))
    }
}

/// A peer's address as people read it: `192.0.2.7:4711`, or `unix:uid=33,pid=812`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShownPeer(pub SocketAddr);

impl fmt::Display for ShownPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UnixPeer::of(self.0.ip()) {
            Some(UnixPeer { uid, pid, .. }) => write!(f, "unix:uid={uid},pid={pid}"),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for ShownPeer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_an_address_of_its_own_that_tells_who_it_is() {
        let peer = UnixPeer {
            uid: 33,
            pid: 4_000_000,
            number: 70_001,
        };
        let address = peer.address();
        assert_eq!(address.to_string(), "[100::21:3d:900:1:1171]:4465");
        assert_eq!(UnixPeer::of(address.ip()), Some(peer));
        assert_eq!(ShownPeer(address).to_string(), "unix:uid=33,pid=4000000");
        let most = UnixPeer {
            uid: u32::MAX,
            pid: u32::MAX,
            number: u32::MAX,
        };
        assert_eq!(UnixPeer::of(most.address().ip()), Some(most));
        let network: ipnet::IpNet = UNIX_NETWORK.parse().expect("a network");
        for peer in [peer, most] {
            assert!(network.contains(&peer.address().ip()));
        }
    }

    #[test]
    fn an_address_of_ip_is_nobodys() {
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:1.0.0.0",
            "2001:db8::1",
            "101::",
            "100:1::",
        ] {
            let ip = address.parse().expect("an address");
            assert_eq!(UnixPeer::of(ip), None, "{address}");
        }
        let plain: SocketAddr = "192.0.2.7:4711".parse().expect("an address");
        assert_eq!(ShownPeer(plain).to_string(), "192.0.2.7:4711");
    }
}
