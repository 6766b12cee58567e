//! What a node is called that nobody has given a name.

use std::fs;

/// The host's name, and a random part: two nodes of one host have two.
pub fn own_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().split('.').next().unwrap_or_default();
    let plain = host
        .chars()
        .filter(|it| it.is_ascii_alphanumeric() || *it == '-');
    let host: String = plain.take(48).collect();
    let random: String =
        std::iter::repeat_with(|| fastrand::choice(*b"abcdefghijkmnpqrstuvwxyz23456789"))
            .take(4)
            .flatten()
            .map(char::from)
            .collect();
    format!("{}-{random}", if host.is_empty() { "node" } else { &host })
}
