//! The proxies that are believed when they tell a client's address.
//!
//! Bound: the configured list, looked through once for each newcomer. Called by the transport, with what a
//! request's `X-Forwarded-For` fields say.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::protocol::http::HttpError;
use crate::unix_peer::UnixPeer;

/// The networks that trusted proxies are in.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    networks: Vec<IpNet>,
}

impl Proxies {
    pub fn new(networks: &[IpNet]) -> Proxies {
        Proxies {
            networks: networks.to_vec(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether this address is a trusted proxy's. IPv4 counts in either form.
    pub fn trust(&self, address: IpAddr) -> bool {
        let plain = address.to_canonical();
        let mapped = match plain {
            IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
            address => address,
        };
        let holds = |network: &IpNet| network.contains(&plain) || network.contains(&mapped);
        self.networks.iter().any(holds)
    }

    /// The client whose request came from a trusted proxy with these addresses, nearest last: each proxy adds the one
    /// that it got the request from. The nearest that is no trusted proxy's is the client's, whatever stands before
    /// it, for that may be the client's own invention. Empty elements say nothing (RFC 9110, section 5.6.1).
    ///
    /// An error if that place holds no address: whose request it is then is not known, and a proxy's own address in
    /// its stead would count towards no limit.
    pub fn client(&self, forwarded: &str) -> Result<IpAddr, HttpError> {
        let elements = forwarded.rsplit(',').map(str::trim);
        let mut client = None;
        for element in elements.filter(|element| !element.is_empty()) {
            let address = read_address(element).ok_or(BAD_FORWARDED)?;
            client = Some(address);
            if !self.trust(address) {
                break;
            }
        }
        client.ok_or(BAD_FORWARDED)
    }
}

/// A trusted proxy does not tell whose request it forwards.
const BAD_FORWARDED: HttpError = HttpError {
    status: 400,
    text: "X-Forwarded-For, from one of trusted_proxies, has no address where the client's should be",
};

/// An address, alone or with a port, as proxies write it: in quotes, too, or with the zone of a link's own address.
fn read_address(text: &str) -> Option<IpAddr> {
    let text = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    let plain;
    let text = match text.split_once('%') {
        Some((address, zone)) => {
            let end = zone.find(']').map_or("", |end| &zone[end..]);
            plain = format!("{address}{end}");
            &plain
        }
        None => text,
    };
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare.unwrap_or(text).parse() {
        Ok(address) => address,
        Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
    };
    // What stands for a user of this machine would be taken for one.
    Some(address.to_canonical()).filter(|address| UnixPeer::of(*address).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(networks: &[&str]) -> Proxies {
        let networks: Vec<IpNet> = networks.iter().map(|one| one.parse().unwrap()).collect();
        Proxies::new(&networks)
    }

    #[test]
    fn who_is_trusted() {
        let proxies = proxies(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        for (address, trusted) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(
                proxies.trust(address.parse().unwrap()),
                trusted,
                "{address}"
            );
        }
        let unix = Proxies::new(&[
            "100::/32".parse().unwrap(),
            "100:0:0:21::/64".parse().unwrap(),
        ]);
        let peer = UnixPeer {
            uid: 33,
            pid: 1,
            number: 2,
        };
        assert!(unix.trust(peer.address().ip()));
        assert!(!Proxies::default().trust("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_nearest_address_that_is_no_proxys_is_the_clients() {
        let proxies = proxies(&["10.0.0.0/8", "::1/128"]);
        for (forwarded, client) in [
            ("203.0.113.5", "203.0.113.5"),
            // What a client claims stands before what the proxy has seen.
            ("198.51.100.1, 203.0.113.5", "203.0.113.5"),
            ("10.9.9.9,203.0.113.5", "203.0.113.5"),
            ("nonsense, 203.0.113.5", "203.0.113.5"),
            // Two proxies.
            ("198.51.100.1, 203.0.113.5 , 10.0.0.2", "203.0.113.5"),
            ("203.0.113.5, ::1, 10.0.0.2", "203.0.113.5"),
            // All of them proxies: the farthest began it.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            // Ports and brackets.
            ("203.0.113.5:4660", "203.0.113.5"),
            ("2001:db8::5", "2001:db8::5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("[2001:db8::5]:4660", "2001:db8::5"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("\"[2001:db8::5]:4660\"", "2001:db8::5"),
            ("fe80::5%eth0", "fe80::5"),
            ("[fe80::5%25eth0]:4660", "fe80::5"),
            // Elements of nothing.
            ("203.0.113.5,", "203.0.113.5"),
            (",, 203.0.113.5 ,\t, 10.0.0.2 ,", "203.0.113.5"),
        ] {
            let expected: IpAddr = client.parse().unwrap();
            assert_eq!(proxies.client(forwarded), Ok(expected), "{forwarded:?}");
        }
    }

    #[test]
    fn where_no_address_is_nobody_is_taken_for_the_client() {
        let proxies = proxies(&["10.0.0.0/8", "::1/128"]);
        for forwarded in [
            "",
            " , ,",
            "unknown",
            "_hidden",
            "203.0.113.5, unknown",
            "203.0.113.5, unknown, 10.0.0.2",
            "203.0.113.5; 10.0.0.2",
            "203.0.113.5 10.0.0.2",
            "203.0.113",
            "203.0.113.256",
            "010.0.0.1",
            "203.0.113.5:port",
            "203.0.113.5:",
            "[203.0.113.5",
            "2001:db8::5]",
            "for=203.0.113.5",
            "\"203.0.113.5",
            "localhost",
            "\u{fffd}",
            "100::21:3d:900:1:1171",
            "[100::]:4660",
        ] {
            assert!(proxies.client(forwarded).is_err(), "{forwarded:?}");
        }
    }
}
