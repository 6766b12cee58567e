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

/// All that a client's certificate calls it: names of hosts, URIs, e-mail addresses, and the common name last.
pub fn of_client(certificate: &[u8]) -> Vec<Box<str>> {
    let Some(facts) = x509::read(certificate) else {
        return Vec::new();
    };
    let mut names: Vec<Box<str>> = Vec::new();
    let all = facts.dns.iter().chain(&facts.others);
    for name in all.chain(facts.common_name.iter()) {
        if !names.iter().any(|known| **known == **name) {
            names.push((*name).into());
        }
    }
    names
}
