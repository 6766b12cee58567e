//! What is wrong with the cluster's settings, and what is risky about them.

use std::fmt::Write;
use std::net::IpAddr;

use ringpost::config::Cluster;
use ringpost::escape::Escaped;

use super::settings::Settings;

/// What is wrong with them.
pub fn problem(settings: &Settings) -> Option<String> {
    let checked = ringpost::check_cluster(&settings.cluster);
    checked.err().map(|error| error.to_string())
}

/// What is right and may not be meant.
pub fn warning(cluster: &Cluster) -> Option<String> {
    let mut scheme = "";
    for url in cluster.redis.as_deref()?.split(',').map(str::trim) {
        // One without a scheme is another host of the URL before it.
        let authority = match url.split_once("://") {
            Some((own, authority)) => {
                scheme = own;
                authority
            }
            None => url,
        };
        if matches!(scheme, "redis" | "redis+sentinel" | "redis+cluster")
            && let Some(warning) = warning_of(scheme, authority)
        {
            return Some(warning);
        }
    }
    None
}

fn warning_of(scheme: &str, authority: &str) -> Option<String> {
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_inner = match address {
        Some(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Some(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        // A name with a dot is not one of the machine's own network.
        None => !host.contains('.') || host.ends_with(".internal") || host.ends_with(".local"),
    };
    (!is_inner).then(|| {
        format!(
            "cluster.redis goes to {host} by {scheme}://: messages and the password can be read on the way; {}:// hides \
             them",
            scheme.replacen("redis", "rediss", 1)
        )
    })
}

/// What has come of trying its Redis, in lines; nothing where there is no cluster.
pub fn describe(cluster: &Cluster) -> String {
    let mut text = String::new();
    for trial in ringpost::try_cluster(cluster).unwrap_or_default() {
        // Writing into a string does not fail.
        let _ = match &trial.found {
            Ok(found) => writeln!(text, "the cluster's Redis would do: {}", Escaped(found)),
            Err(error) => writeln!(
                text,
                "warning: the cluster's Redis would not do: {}",
                Escaped(error)
            ),
        };
        for doubt in &trial.doubts {
            let _ = writeln!(text, "warning: the cluster's Redis: {}", doubt.because);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_network_in_the_clear_is_told() {
        for (url, warned) in [
            ("redis://r.example:6379", true),
            ("redis://192.0.2.7", true),
            ("redis://me@r.example/1", true),
            ("rediss://r.example", false),
            ("redis://localhost, redis://r.example", true),
            ("redis+sentinel://10.0.0.1,r.example/shop", true),
            ("redis+cluster://10.0.0.1:7,10.0.0.2:7", false),
            ("redis+cluster://me@10.0.0.1,192.0.2.7?partitions=8", true),
            ("rediss+cluster://10.0.0.1,192.0.2.7", false),
            ("redis://localhost:6379", false),
            ("redis://redis", false),
            ("redis://10.1.2.3:6379", false),
            ("redis://[::1]:6379", false),
            ("redis://redis.shop.internal", false),
            ("unix:///run/redis.sock", false),
        ] {
            let cluster = Cluster {
                redis: Some(url.to_owned()),
                ..Cluster::default()
            };
            assert_eq!(warning(&cluster).is_some(), warned, "{url}");
        }
        assert!(warning(&Cluster::default()).is_none());
    }
}
