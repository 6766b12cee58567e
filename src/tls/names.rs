//! Names: which of a server's certificates a host's name calls for, and what a client is called by its own.

use super::x509;

/// Whether a certificate's name covers a host's, both in lower case (RFC 6125, 6.4.3): it is the same, or begins with
/// `*.` in place of one label.
pub fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => name == host,
    }
}

/// What a client's certificate calls it: names of hosts, URIs, e-mail addresses; the common name only if there are none
/// (RFC 6125, 6.4.4), since not every authority looks at it.
pub fn of_client(certificate: &[u8]) -> Vec<Box<str>> {
    let Some(facts) = x509::read(certificate) else {
        return Vec::new();
    };
    let names = facts.dns.iter().chain(&facts.others);
    let names: Vec<Box<str>> = names.map(|name| (*name).into()).collect();
    match names.is_empty() && facts.ips.is_empty() {
        true => facts.common_name.into_iter().map(Into::into).collect(),
        false => names,
    }
}
