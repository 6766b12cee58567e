//! What values are in text: switches, sizes, origins, networks, tokens.

use std::net::IpAddr;

use ringpost::accounts::uid_of;
use ringpost::auth::backend_tokens::BACKEND_TOKEN_BYTES_MAX;
use ringpost::config::IpNet;
use ringpost::unix_peer::{UNIX_NETWORK, UnixPeer};

/// The bits that peers by Unix sockets have in common, and those of one user.
const UNIX_BITS: u8 = 32;
const USER_BITS: u8 = 64;

/// Longest token.
pub const TOKEN_BYTES_MAX: usize = BACKEND_TOKEN_BYTES_MAX;

pub fn parse_origins(text: &str) -> Option<Vec<String>> {
    let parts = text.split(',').map(str::trim);
    let origins: Vec<String> = parts
        .filter(|one| !one.is_empty())
        .map(str::to_owned)
        .collect();
    origins.iter().all(|one| is_origin(one)).then_some(origins)
}

/// A network is an address with the bits that count, or one address alone. IPv4 stands in its plain form,
/// as peers do.
pub fn parse_networks(text: &str) -> Option<Vec<IpNet>> {
    let parts = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let network = |one: &str| match one.parse::<IpAddr>() {
        // As nginx writes it.
        _ if one == "unix:" => UNIX_NETWORK.parse().ok(),
        _ if one.starts_with("unix:") => {
            let user = UnixPeer::network_of_user(uid_of(&one["unix:".len()..]).ok()?);
            IpNet::new(user, USER_BITS).ok()
        }
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => one.parse().ok().map(|network: IpNet| network.trunc()),
    };
    parts.map(network).collect()
}

/// The network as it is read.
pub fn show_network(network: &IpNet) -> String {
    let user = UnixPeer::of(network.addr());
    match (user, network.prefix_len()) {
        (Some(_), UNIX_BITS) => "unix:".to_owned(),
        (Some(user), USER_BITS) => format!("unix:{}", user.uid),
        _ => network.to_string(),
    }
}

/// An origin is a scheme, a host and perhaps a port (RFC 6454, section 6.2), `null` or `*`. `*.` before the host stands
/// for all below it. What no browser would write lets nobody in, so it is a mistake.
fn is_origin(text: &str) -> bool {
    let (scheme, authority) = match text {
        "*" | "null" | "none" => return true,
        _ => match text.split_once("://") {
            Some(parts) => parts,
            None => return false,
        },
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, port.parse::<u16>().is_ok()),
        _ => (authority, true),
    };
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        // Pages in a WebView have a scheme alone, as `file://`.
        None if host.is_empty() => authority.is_empty() && !is_web(scheme),
        None => match host.strip_prefix("*.") {
            // An address has nothing below it.
            Some(end) => {
                is_host_name(end) && !end.starts_with('.') && end.parse::<IpAddr>().is_err()
            }
            None => is_host_name(host),
        },
    };
    !scheme.is_empty() && has_only(scheme, b"+-.") && is_host && port
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty() && has_only(text, b"-._")
}

/// Whether pages of this scheme come from a host.
fn is_web(scheme: &str) -> bool {
    ["http", "https", "ws", "wss"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web))
}

fn has_only(text: &str, others: &[u8]) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

pub fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

pub fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let scale = match unit {
        "" | "B" => 1,
        // Only the binary units: "64 kB" means 64,000 to some and 65,536 to others.
        _ => {
            UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))?
                .1
        }
    };
    number.parse::<usize>().ok()?.checked_mul(scale)
}

/// The size in the largest unit that needs no fraction.
pub fn show_bytes(bytes: usize) -> String {
    for (name, scale) in UNITS {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{} {name}", bytes / scale);
        }
    }
    bytes.to_string()
}

/// A token is one word of a line: no blank and no control character.
pub fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("64 KiB", 65_536),
            ("64kib", 65_536),
            ("1 MiB", 1 << 20),
            ("3GiB", 3 << 30),
            ("7 B", 7),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5 MiB",
            "64 kB",
            "1 MiB 2",
            "99999999999 GiB",
            "1 M",
        ] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_shown_size_reads_back() {
        for bytes in [
            0,
            1,
            1_000,
            1 << 10,
            1_025,
            64 << 10,
            3 << 20,
            1 << 30,
            (1 << 30) + 1,
        ] {
            assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes));
        }
    }
}
